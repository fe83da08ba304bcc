"""Raw images and labels are inputs: changed ones are prepared again, and nothing else is."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from patronus import prepare, raw
from patronus.config import load_study
from patronus.data import celeba
from patronus.files import load_json, save_text
from patronus.prepared import Prepared
from patronus.reading import Picture
from patronus.sources import ROOT
from patronus.stage import Job

RECORD = "results/real/data/mine/record.json"
TRAINED = "results/real/checkpoints/mine/ddpm_modern/seed0/"
RNG = np.random.default_rng(0)


def picture(path: Path, level: int = 9) -> None:
    """Uncompressed, so that every picture has the same number of bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((16, 16), level, np.uint8)).save(path, "BMP")


def configure(place: Path, **changes) -> None:
    shutil.copytree(ROOT / "config", place / "config", dirs_exist_ok=True)
    about = {"title": "Mine", "reader": "folder", "folder": "mine", "study": False,
             "shape": [1, 16, 16], "code_dim": 8, "labels": "attributes"} | changes
    (place / "config" / "datasets" / "mine.yaml").write_text(yaml.safe_dump(about))


@pytest.fixture
def table(tmp_path, monkeypatch) -> Path:
    """A set of one's own with a table; the folder of its raw data."""
    monkeypatch.chdir(tmp_path)
    configure(tmp_path, options={"table": "table.csv", "split": "split"})
    folder = tmp_path / "data" / "mine"
    for i in range(6):
        picture(folder / f"i{i}.bmp", 9 * i)
    lines = [f"i{i}.bmp,{'test' if i % 2 else 'train'},{i // 3}" for i in range(6)]
    (folder / "table.csv").write_text("\n".join(["file,split,tag", *lines]) + "\n")
    return folder


@pytest.fixture
def classes(tmp_path, monkeypatch) -> Path:
    """The same with a folder for each class."""
    monkeypatch.chdir(tmp_path)
    configure(tmp_path, labels="classes")
    folder = tmp_path / "data" / "mine"
    for split in ("train", "test"):
        for label in ("a", "b"):
            picture(folder / split / label / "0.bmp", 9)
    return folder


@pytest.fixture
def official(tmp_path, monkeypatch) -> Path:
    """CelebA in its official layout, three images of it."""
    monkeypatch.chdir(tmp_path)
    configure(tmp_path, reader="celeba")
    folder = tmp_path / "data" / "mine"
    celeba.write(folder, [Picture("test" if i == 2 else "train", 0, i, {"Smiling": i % 2},
                                  np.full((16, 16, 3), 40 * i, np.uint8), np.zeros((16, 16)))
                          for i in range(3)])
    return folder


def snakemake(*words: str, config: tuple[str, ...] = ()) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "--cores", "1", *words,
         *([] if words and words[-1].startswith(TRAINED) else [RECORD]), "--config",
         "scale=real", "datasets=mine", "methods=ddpm_modern", *config],
        capture_output=True, text=True, check=False,
        env=os.environ | {"PATRONUS_DATA": "data", "PATRONUS_CONFIG": "config"})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def nothing_to_do() -> bool:
    return "Nothing to be done" in snakemake("-n")


def trained() -> None:
    """A model is there, as far as Snakemake looks."""
    for name in ("model.safetensors", "config.json", "history.csv", "record.json"):
        save_text(Path(TRAINED, name), '{"outputs": {}, "found": {}}')
    snakemake("--touch", TRAINED + "record.json")


def labels() -> list:
    data = Prepared.open(Path(RECORD).parent)
    return [data.labels(split).iloc[:, 0].tolist() for split in data.splits]


def test_what_did_not_change_is_not_prepared_again(table):
    snakemake()
    assert nothing_to_do()
    before = load_json(Path(RECORD))
    snakemake()
    assert load_json(Path(RECORD)) == before


def test_a_changed_label_and_an_added_row_are_seen(table):
    snakemake()
    text = (table / "table.csv").read_text()
    (table / "table.csv").write_text(text.replace("i0.bmp,train,0", "i0.bmp,train,1"))
    assert not nothing_to_do()
    snakemake()
    assert labels()[0] == [1, 0, 1] and nothing_to_do()
    picture(table / "i6.bmp", 200)
    with (table / "table.csv").open("a") as handle:
        handle.write("i6.bmp,train,0\n")
    snakemake()
    assert labels()[0] == [1, 0, 1, 0] and nothing_to_do()


@pytest.mark.parametrize("kind", ["table", "classes"])
def test_an_image_overwritten_at_equal_size_is_seen(kind, request):
    folder = request.getfixturevalue(kind)
    snakemake()
    path = next(iter(sorted(folder.rglob("*.bmp"))))
    size = path.stat().st_size
    picture(path, 222)
    assert path.stat().st_size == size
    snakemake()
    data = Prepared.open(Path(RECORD).parent)
    assert any((data.images(split) == 222).any() for split in data.splits)
    assert nothing_to_do()


def test_touched_or_fetched_again_it_is_the_same(table):
    snakemake()
    for path in table.iterdir():
        os.utime(path, (1, 1))
    assert nothing_to_do() and nothing_to_do()
    held = {path: path.read_bytes() for path in table.iterdir()}
    shutil.rmtree(table)
    assert nothing_to_do(), "results stand without their raw data"
    table.mkdir()
    for path, content in held.items():
        path.write_bytes(content)
    assert nothing_to_do()


def test_a_new_class_is_seen(classes):
    snakemake()
    for split in ("train", "test"):
        picture(classes / split / "c" / "0.bmp")
    snakemake()
    data = Prepared.open(Path(RECORD).parent)
    assert data.meta["labels"]["class"]["names"] == ["a", "b", "c"] and nothing_to_do()


def test_a_changed_label_of_an_official_set_is_seen_and_so_is_what_follows(official):
    snakemake()
    trained()
    last = TRAINED + "record.json"
    assert "Nothing to be done" in snakemake("-n", last, config=("verify=1",))
    path = official / "list_attr_celeba.txt"
    path.write_text(path.read_text().replace("000001.jpg -1", "000001.jpg  1"))
    said = snakemake("-n", last)
    assert {"rule prepare:", "rule train:"} <= set(re.findall(r"rule \w+:", said))
    assert said.count(f"note: {Path('data', 'mine')}: is not what") == 1


@pytest.fixture
def told(table, monkeypatch) -> Callable[..., bool]:
    """Whether rule prepare is told what it was told at a preparation just now."""
    monkeypatch.setenv("PATRONUS_CONFIG", "config")
    monkeypatch.setenv("PATRONUS_DATA", "data")
    study = load_study("real", datasets=["mine"], methods=["ddpm_modern"])
    cell, dataset = next(iter(study.cells.values())), study.datasets["mine"]
    first = raw.identity(cell, dataset)
    record(prepare.work(Job("data", cell, dataset, None, 1, raw=first)))
    return lambda verify=False: raw.identity(cell, dataset, verify) == first


def record(found: dict) -> None:
    save_text(Path(RECORD), json.dumps({"outputs": {}, "found": found}))


def test_an_image_whose_time_and_size_were_kept_is_seen(told, table):
    path = table / "i0.bmp"
    before = path.stat()
    assert told()
    picture(path, 222)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as cp -p does
    assert not told()


def test_verify_reads_what_no_time_tells(told, table):
    """As where a disk fails: the listing is that of before, and the contents are others."""
    picture(table / "i0.bmp", 222)
    found = load_json(Path(RECORD))["found"]
    found["listing"]["seen"] = raw.listing(Path("data", "mine"))
    record(found)
    assert told() and not told(verify=True)
    picture(table / "i0.bmp", 0)
    assert told(verify=True)


def test_contents_are_read_once_for_each_listing(told, table, capsys, monkeypatch):
    os.utime(table / "i0.bmp", (1, 1))
    assert told() and "reading all of it" in capsys.readouterr().err
    monkeypatch.setattr(raw, "contents", None)
    assert told() and not capsys.readouterr().err


def test_known_contents_that_were_cut_short_are_read_again(told, table):
    os.utime(table / "i0.bmp", (1, 1))
    save_text(raw.KNOWN, "{")
    assert told() and load_json(raw.KNOWN)


def test_hidden_files_do_not_count_and_links_are_followed_once(tmp_path):
    folder, other = tmp_path / "a", tmp_path / "b"
    picture(other / "deep" / "0.bmp")
    picture(folder / "1.bmp")
    before = raw.listing(folder)
    (folder / ".DS_Store").write_text("x")
    assert raw.listing(folder) == before
    (folder / "linked").symlink_to(other)
    (other / "back").symlink_to(folder)
    held = raw.contents(folder)
    assert raw.listing(folder) != before
    picture(other / "deep" / "0.bmp", 100)
    assert raw.contents(folder) != held

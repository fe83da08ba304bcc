"""Raw images and labels are inputs: changed ones are prepared again, and nothing else is."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from patronus.files import load_json
from patronus.prepared import Prepared
from patronus.sources import ROOT

RECORD = "results/real/data/mine/record.json"
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


def snakemake(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "--cores", "1", *words,
         RECORD, "--config", "scale=real", "datasets=mine", "methods=ddpm_modern"],
        capture_output=True, text=True, check=False,
        env=os.environ | {"PATRONUS_DATA": "data", "PATRONUS_CONFIG": "config"})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def nothing_to_do() -> bool:
    return "Nothing to be done" in snakemake("-n")


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

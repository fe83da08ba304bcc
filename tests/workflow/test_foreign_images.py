"""Images as people have them: other formats, 16 bits, odd names, odd tables, broken files."""

import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image, features

from patronus.prepared import Prepared
from patronus.sources import ROOT

RNG = np.random.default_rng(0)
NAME = "mine"


def picture(path: Path, mode: str = "RGB", **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = RNG.integers(0, 256, (20, 20) if mode == "L" else (20, 20, 3), dtype=np.uint8)
    Image.fromarray(levels).save(path, **options)


def deep(path: Path, largest: int) -> None:
    """A 16-bit gray image whose levels go from 0 to `largest`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.linspace(0, largest, 400).round().astype(np.uint16).reshape(20, 20)
    Image.fromarray(levels).save(path)


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def prepare(place: Path, table: str | None = None, **changes) -> subprocess.CompletedProcess:
    """Prepares the images below data/mine as a user's own data set, by typing its stage."""
    config = place / "config"
    if not config.exists():
        subprocess.run(["cp", "-r", ROOT / "config", config], check=True)
    options = {"table": "table.csv", "split": "split"} if table else {}
    if table:
        (place / "data" / NAME / "table.csv").write_text(table, encoding="utf-8")
    about = {"title": "Mine", "reader": "folder", "folder": NAME, "study": False,
             "shape": [1, 16, 16], "code_dim": 8, "labels": "attributes",
             "options": options | changes.pop("options", {})} | changes
    (config / "datasets" / f"{NAME}.yaml").write_text(yaml.safe_dump(about))
    return subprocess.run(
        [sys.executable, "-m", "patronus.prepare", "--scale", "real", "--dataset", NAME, "--root",
         "data"], cwd=place, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PATRONUS_CONFIG": str(config)})


def made(done: subprocess.CompletedProcess) -> Prepared:
    assert done.returncode == 0, done.stdout + done.stderr
    return Prepared.open(Path("results/real/data") / NAME)


def refused(done: subprocess.CompletedProcess) -> str:
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    return [line for line in done.stderr.splitlines() if line.startswith("error: ")][-1]


def rows(*lines: str, columns: str = "file,split,tag") -> str:
    return "\n".join([columns, *lines]) + "\n"


def plain(place: Path, count: int = 6, suffix: str = "png") -> list[str]:
    names = [f"i{i}.{suffix}" for i in range(count)]
    for name in names:
        picture(place / "data" / NAME / name)
    return names


def split(i: int) -> str:
    return "test" if i % 2 else "train"


# an empty cell alone is unknown


@pytest.mark.parametrize("word", ["None", "NA", "N/A", "null", "nan"])
def test_a_category_that_looks_like_nothing_is_a_category(place, word):
    names = plain(place)
    tags = [word, "glasses", word, "glasses", "", word]
    data = made(prepare(place, rows(*(f"{n},{split(i)},{tag}" for i, (n, tag)
                                      in enumerate(zip(names, tags, strict=True))))))
    assert data.meta["labels"]["tag"]["names"] == sorted([word, "glasses"])
    known = [data.name_of(f"tag={int(v)}").removeprefix("tag: ") if v == v else ""
             for s in ("train", "test") for v in data.labels(s)["tag"]]
    assert known == [tags[i] for i in (0, 2, 4, 1, 3, 5)]


@pytest.mark.parametrize(("low", "high"), [("-1", "1"), ("no", "yes"), ("No", "Yes"),
                                           ("false", "True")])
def test_two_words_for_no_and_yes_are_an_attribute(place, low, high):
    names = plain(place)
    done = prepare(place, rows(*(f"{n},{split(i)},{high if i < 3 else low}"
                                 for i, n in enumerate(names))))
    data = made(done)
    assert data.meta["labels"]["tag"] == {"kind": "binary"}
    assert data.labels("train")["tag"].tolist() == [1, 1, 0]
    assert ("is read as an attribute" in done.stdout) == (low.lower() != "false")


def test_numbers_that_are_no_pair_stay_categories(place):
    names = plain(place)
    data = made(prepare(place, rows(*(f"{n},{split(i)},{i % 3 - 1}" for i, n in enumerate(names)))))
    assert data.meta["labels"]["tag"]["names"] == ["-1", "0", "1"]


# 16 bits


@pytest.mark.parametrize(("largest", "white"), [(4095, 4095), (3000, 4095), (65535, 65535),
                                                (60000, 65535), (200, 255)])
def test_images_of_16_bits_are_scaled_by_the_depth_of_the_set(place, largest, white):
    for i, top in enumerate((largest, largest // 2, largest, largest // 2)):
        deep(place / "data" / NAME / f"i{i}.png", top)
    done = prepare(place, rows(*(f"i{i}.png,{split(i)},{i // 2}" for i in range(4))))
    data = made(done)
    peak = [data.images(s).max(axis=(1, 2, 3)) for s in ("train", "test")]
    np.testing.assert_allclose(peak[0], 255 * largest / white, atol=2)
    np.testing.assert_allclose(peak[1], 255 * largest / white / 2, atol=2)  # one scale for all
    assert f"gray levels 0 to {white} become 0 to 255" in done.stdout


def test_a_stated_white_is_used_and_what_exceeds_it_is_refused(place):
    for i in range(4):
        deep(place / "data" / NAME / f"i{i}.png", 1000)
    table = rows(*(f"i{i}.png,{split(i)},{i // 2}" for i in range(4)))
    data = made(prepare(place, table, white=2000))
    assert abs(int(data.images("train").max()) - 127) <= 2
    assert "above the 999" in refused(prepare(place, table, white=999))


def test_a_lab_image_is_seen_in_its_colours(place):
    names = plain(place, 4)
    red = Image.new("RGB", (20, 20), (200, 30, 30))
    from PIL import ImageCms
    red = ImageCms.profileToProfile(red, ImageCms.createProfile("sRGB"),
                                    ImageCms.createProfile("LAB"), outputMode="LAB")
    (place / "data" / NAME / names[0]).unlink()
    red.save(place / "data" / NAME / "i0.tif")
    data = made(prepare(place, rows(*(f"{n},{split(i)},{i // 2}" for i, n
                                      in enumerate(["i0.tif", *names[1:]]))), shape=[3, 16, 16]))
    np.testing.assert_allclose(data.images("train")[0].mean((1, 2)), (200, 30, 30), atol=4)


# formats and files that are left out


def test_all_that_pillow_reads_is_read_and_the_rest_is_counted(place):
    folder = place / "data" / NAME
    kinds = ["png", "gif", "jfif", "bmp", "webp", "tif"] + ["avif"] * features.check("avif")
    for k, kind in enumerate(kinds):
        for label in ("a", "b"):
            for i in range(2):
                picture(folder / ("test" if i else "train") / label / f"{kind}{k}.{kind}",
                        **({"format": "JPEG"} if kind == "jfif" else {}))
    picture(folder / "train" / "a" / "bare", format="PNG")
    (folder / "train" / "a" / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    (folder / "train" / "a" / "clip.mp4").write_bytes(bytes(40))
    (folder / "read me.txt").write_text("nothing of it is an image")
    done = prepare(place, labels="classes")
    data = made(done)
    assert data.meta["counts"] == {"train": 2 * len(kinds) + 1, "test": 2 * len(kinds)}
    (line,) = [one for one in done.stdout.splitlines() if "left out" in one]
    assert "2 other files" in line and ".mp4" in line and "pillow-heif" in line
    assert f"{4 * len(kinds) + 1} images are used" in line


def test_a_class_of_files_that_cannot_be_read_does_not_vanish(place):
    folder = place / "data" / NAME
    for label in ("a", "b"):
        for i in range(4):
            picture(folder / label / f"{i}.png")
    (folder / "c").mkdir()
    (folder / "c" / "0.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    assert f"{NAME}/c: is a class without an image" in refused(prepare(place, labels="classes"))


def test_every_broken_image_is_named_at_once(place):
    names = plain(place, 8)
    folder = place / "data" / NAME
    (folder / names[1]).write_bytes((folder / names[1]).read_bytes()[:60])
    (folder / names[4]).write_bytes(b"no image")
    (folder / names[6]).write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    table = rows(*(f"{n},{split(i)},{i // 4}" for i, n in enumerate(names)))
    line = refused(prepare(place, table))
    assert "3 of 8 images" in line and all(names[i] in line for i in (1, 4, 6))
    assert "HEIC" in line and "pillow-heif" in line
    for i in (1, 4, 6):
        picture(folder / names[i])
    assert made(prepare(place, table)).images("train").min(axis=(1, 2, 3)).max() < 255


# names


def test_names_of_a_table_are_found_whatever_their_spelling(place):
    folder = place / "data" / NAME
    composed = unicodedata.normalize("NFC", "é.png")
    picture(folder / unicodedata.normalize("NFD", composed))
    for name in ("b.png", "c.png", "d.png"):
        picture(folder / name)
    data = made(prepare(place, rows(f"{composed},train,0", "./b.png,test,1", "c.png,train,1",
                                    "sub/../d.png,test,0")))
    assert data.meta["counts"] == {"train": 2, "test": 2}


@pytest.mark.parametrize(("name", "word"), [("../out.png", "outside"), ("/tmp/out.png", "outside"),
                                            ("./i0.png", "more than once")])
def test_an_image_outside_or_twice_is_refused(place, name, word):
    names = plain(place, 4)
    line = refused(prepare(place, rows(*(f"{n},{split(i)},{i // 2}" for i, n in enumerate(names)),
                                       f"{name},train,0")))
    assert word in line and "table.csv" in line


def test_class_folders_that_are_one_number_stay_apart(place):
    for label in ("01", "1", "2"):
        for s in ("train", "test"):
            for i in range(2):
                picture(place / "data" / NAME / s / label / f"{i}.png")
    data = made(prepare(place, labels="classes"))
    assert sorted(data.meta["labels"]["class"]["names"]) == ["01", "1", "2"]


def test_a_byte_order_mark_is_no_part_of_a_name(place):
    names = plain(place, 4)
    table = rows(*(f"{n},{split(i)},{i // 2}" for i, n in enumerate(names)))
    assert made(prepare(place, "\ufeff" + table)).meta["counts"] == {"train": 2, "test": 2}


def test_a_pipe_is_no_image(place):
    names = plain(place, 4)
    os.mkfifo(place / "data" / NAME / "i9.png")
    line = refused(prepare(place, rows(*(f"{n},{split(i)},{i // 2}" for i, n in enumerate(names)),
                                       "i9.png,train,0")))
    assert "i9.png" in line

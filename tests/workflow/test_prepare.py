"""Raw images to the prepared form: the pixels, the labels, and what faults lead to."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from patronus import generate, prepare, raw
from patronus.config import (
    Cell,
    Classifier,
    Dataset,
    Explain,
    Generated,
    Keep,
    Prior,
    Sample,
    Scale,
    Train,
    config_folder,
    load_study,
)
from patronus.errors import NotApplicable, Problem
from patronus.prepared import Prepared
from patronus.raw import raw_folder
from patronus.reading import BINARY, Source, save_image
from patronus.sources import ROOT
from patronus.stage import Job

SHAPE = (3, 16, 12)


def job(root: Path, reader: str = "folder", shape=SHAPE, generated=False, options=None,
        labels="attributes", folder="set") -> Job:
    dataset = Dataset(title="A set", reader=reader, folder=folder, shape=shape, code_dim=4,
                      labels=labels, options=options or {})
    cell = Cell(scale="tiny", dataset="mine", method="none", seed=0, title="none", module="none",
                recipe="none", generated=generated, shape=shape, code_dim=4, labels=labels,
                threads=1, gpus=0, inception=False, train=Train(), prior=Prior(),
                sample=Sample(), explain=Explain(), classifier=Classifier(), model={})
    return Job("data", cell, dataset, root, 2)


def make_set(root: Path, count: int = 30, size=(20, 24), suffix=".png") -> Path:
    """A folder of noise images with a table; every fifth is for testing."""
    rng, lines = np.random.default_rng(0), ["file,split,even,kind"]
    for i in range(count):
        name = f"{i:03d}{suffix}"
        save_image(root / "set" / name, rng.integers(0, 256, (*size, 3), dtype=np.uint8))
        lines.append(f"{name},{'test' if i % 5 == 4 else 'train'},{'' if i == 2 else 1 - i % 2},"
                     f"{'abc'[i % 3]}")
    (root / "set" / "metadata.csv").write_text("\n".join(lines) + "\n")
    return root


OPTIONS = {"table": "metadata.csv", "split": "split"}


@pytest.fixture(autouse=True)
def in_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def prepared(one: Job) -> Prepared:
    prepare.prepare(one)
    return Prepared.open(one.out)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_prepared_form(tmp_path):
    one = job(make_set(tmp_path / "raw"), options=OPTIONS)
    done = prepared(one)
    assert one.out == Path("results/tiny/data/mine")
    assert {p.name for p in one.out.iterdir()} == {"train.npy", "test.npy", "table.csv",
                                                   "meta.json"}
    assert done.meta["counts"] == {"train": 24, "test": 6} and not done.meta["generated"]
    train = done.images("train")
    assert isinstance(train, np.memmap) and train.dtype == np.uint8
    assert train.shape == (24, *SHAPE) and done.images("test").shape == (6, *SHAPE)
    assert done.ids("test") == [f"{i:03d}.png" for i in range(4, 30, 5)]
    labels = done.labels("train")
    assert labels["even"].isna().tolist() == [i == 2 for i in range(24)]
    assert labels["even"].iloc[0] == 1 and labels["kind"].iloc[1] == 1
    for i, name in enumerate(done.ids("test")):
        wanted = Image.open(tmp_path / "raw/set" / name).resize((12, 16), Image.BICUBIC)
        assert (done.images("test")[i] == np.asarray(wanted).transpose(2, 0, 1)).all()
    with pytest.raises(NotApplicable, match="only generated sets"):
        done.parts()
    with pytest.raises(Problem, match="has no split 'valid'; it has train, test"):
        done.images("valid")
    assert not one.work.exists()


def test_table_on_disk(tmp_path):
    one = job(make_set(tmp_path / "raw"), options=OPTIONS)
    prepare.prepare(one)
    lines = (one.out / "table.csv").read_text().splitlines()
    assert lines[:4] == ["id,split,row,even,kind", "000.png,train,0,1,0", "001.png,train,1,0,1",
                         "002.png,train,2,,2"]


def test_no_torch_is_needed():
    code = ("import sys, patronus.prepare, patronus.prepared, patronus.generate; "
            "[patronus.prepare.reader(n) for n in ('celeba', 'cifar10', 'fashion_mnist', 'ffhq', "
            "'chexpert', 'folder')]; sys.exit('torch' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


# The pixels


@pytest.mark.parametrize(("size", "shape"), [
    ((28, 28), (1, 32, 32)), ((218, 178), (3, 64, 64)), ((256, 256), (3, 64, 64)),
    ((320, 390), (1, 224, 224))])
def test_resize_is_torchvisions(size, shape):
    from torchvision.transforms import v2 as transforms

    channels = () if shape[0] == 1 else (3,)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, *channels),
                                                              dtype=np.uint8))
    resize = transforms.Resize(shape[1:], transforms.InterpolationMode.BICUBIC, antialias=True)
    wanted = np.asarray(resize(image)).reshape(*shape[1:], shape[0]).transpose(2, 0, 1)
    assert (prepare.fit(image, shape) == wanted).all()


def test_right_size_is_kept_bit_by_bit():
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert (prepare.fit(image, (3, 32, 32)) == image.transpose(2, 0, 1)).all()


def test_overshoot_is_clipped():
    step = np.zeros((28, 28), np.uint8)
    step[:, 14:] = 255
    row = prepare.fit(step, (1, 32, 32))[0, 0].astype(int)
    assert row[0] == 0 and row[-1] == 255 and (np.diff(row) >= 0).all()


def flat(mode: str, value) -> Image.Image:
    return Image.new(mode, (8, 8), value)


def palette() -> Image.Image:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    return image


def clear_palette() -> Image.Image:
    image = palette()
    image.info["transparency"] = 1
    return image


SIXTEEN = np.full((8, 8), 51400, np.uint16)  # 200 * 257


@pytest.mark.parametrize(("image", "rgb", "gray"), [
    (flat("L", 77), (77, 77, 77), 77),
    (flat("1", 1), (255, 255, 255), 255),
    (flat("RGB", (200, 100, 50)), (200, 100, 50), 124),
    (flat("RGBA", (200, 100, 50, 255)), (200, 100, 50), 124),
    (flat("RGBA", (200, 100, 50, 0)), (255, 255, 255), 255),
    (flat("RGBA", (200, 100, 50, 128)), (227, 177, 152), 189),
    (flat("LA", (100, 0)), (255, 255, 255), 255),
    (palette(), (200, 100, 50), 124),
    (clear_palette(), (255, 255, 255), 255),
    (flat("CMYK", (55, 155, 205, 0)), (200, 100, 50), 124),
    (Image.fromarray(SIXTEEN), (200, 200, 200), 200),
    (Image.fromarray(SIXTEEN.astype(np.int32)), (200, 200, 200), 200),
    (Image.fromarray(SIXTEEN.astype(">u2")), (200, 200, 200), 200),
])
def test_colour_modes(image, rgb, gray):
    pixels = prepare.fit(image, (3, 8, 8))
    assert pixels.shape == (3, 8, 8)
    assert np.abs(pixels[:, 4, 4].astype(int) - rgb).max() <= 1
    assert abs(int(prepare.fit(image, (1, 8, 8))[0, 4, 4]) - gray) <= 1


def test_sixteen_bits_survive_the_file(tmp_path):
    Image.fromarray(SIXTEEN).save(tmp_path / "deep.png")
    assert (prepare.fit(prepare_open(tmp_path / "deep.png"), (1, 8, 8)) == 200).all()


def prepare_open(path: Path) -> Image.Image:
    from patronus.reading import open_image
    return open_image(path)


@pytest.mark.parametrize("levels", [np.full((4, 4), 0.5, np.float32),
                                    np.full((4, 4), 70000, np.int32),
                                    np.full((4, 4), -1, np.int32)])
def test_unknown_ranges_are_refused(levels):
    with pytest.raises(Problem, match="save it with 8 or 16 bits"):
        prepare.fit(Image.fromarray(levels), (1, 4, 4))


def test_photos_are_turned_upright(tmp_path):
    image = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    image.save(tmp_path / "turned.png", exif=exif)
    assert prepare_open(tmp_path / "turned.png").size == (2, 3)


def test_parts_keep_their_bits():
    parts = np.zeros((218, 178), np.uint32)
    parts[50:100, 40:120] = (1 << 31) | 5
    small = prepare.fit_parts(parts, (3, 64, 64))
    rows, columns = (((np.arange(64) + 0.5) * n / 64).astype(int) for n in parts.shape)
    assert small.dtype == np.uint32 and (small == parts[np.ix_(rows, columns)]).all()


# Killed and resumed


class Killed(BaseException):
    pass


def interrupt(monkeypatch, after: int) -> list[int]:
    """Let the preparation die at the given image; returns the list of images decoded."""
    real, seen = prepare.row_of, []

    def row(source, i, shape, *more):
        if len(seen) == after:
            raise Killed
        seen.append(i)
        return real(source, i, shape, *more)

    monkeypatch.setattr(prepare, "row_of", row)
    return seen


@pytest.mark.parametrize("after", [3, 10, 23, 24, 27])
def test_resumed_equals_uninterrupted(after, tmp_path, monkeypatch):
    root = make_set(tmp_path / "raw")
    whole = job(root, options=OPTIONS)
    prepare.prepare(whole)
    wanted = contents(whole.out)
    for path in whole.out.iterdir():
        path.unlink()
    monkeypatch.setattr(prepare, "CHUNK_BYTES", 4 * int(np.prod(SHAPE)))
    one = Job("data", whole.cell, whole.dataset, root, 1)
    interrupt(monkeypatch, after)
    with pytest.raises(Killed):
        prepare.prepare(one)
    assert not any(one.out.iterdir())
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    torn = sorted(one.work.glob("*.npy"))[0]
    torn.write_bytes(torn.read_bytes() + b"torn")  # a row that was cut off by the kill
    seen = interrupt(monkeypatch, 1000)
    prepare.prepare(one)
    assert contents(one.out) == wanted
    assert len(seen) == 30 - after // 4 * 4 if after < 24 else len(seen) <= 30 - 24
    assert not one.work.exists()


def test_stale_partial_work_is_dropped(tmp_path, monkeypatch):
    root = make_set(tmp_path / "raw")
    monkeypatch.setattr(prepare, "CHUNK_BYTES", 1)
    interrupt(monkeypatch, 10)
    with pytest.raises(Killed):
        prepare.prepare(job(root, options=OPTIONS))
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    other = job(root, options=OPTIONS, shape=(1, 16, 12))
    seen = interrupt(monkeypatch, 1000)
    assert prepared(other).images("train").shape == (24, 1, 16, 12)
    assert len(seen) == 30


def test_an_image_overwritten_between_a_kill_and_the_same_command_is_prepared(tmp_path,
                                                                              monkeypatch):
    root = make_set(tmp_path / "raw", suffix=".bmp")
    monkeypatch.setattr(prepare, "CHUNK_BYTES", 1)
    interrupt(monkeypatch, 10)
    with pytest.raises(Killed):
        prepare.work(job(root, options=OPTIONS))
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    save_image(root / "set" / "000.bmp", np.full((20, 24, 3), 7, np.uint8))
    one = job(root, options=OPTIONS)
    prepare.work(one)
    assert (Prepared.open(one.out).images("train")[0] == 7).all()


def test_an_image_overwritten_while_others_are_read_is_seen_the_next_time(tmp_path, monkeypatch):
    root, plain = make_set(tmp_path / "raw", suffix=".bmp"), prepare.publish

    def late(*given):
        save_image(root / "set" / "000.bmp", np.full((20, 24, 3), 7, np.uint8))
        plain(*given)

    monkeypatch.setattr(prepare, "publish", late)
    found = prepare.work(job(root, options=OPTIONS))["listing"]
    now = raw.seen(root / "set")
    assert found["seen"] != now["seen"] and found["contents"] != now["contents"]


def test_full_disk_is_seen_beforehand(tmp_path, monkeypatch):
    from collections import namedtuple
    usage = namedtuple("usage", "total used free")(1, 1, 100)
    monkeypatch.setattr(prepare.shutil, "disk_usage", lambda path: usage)
    one = job(make_set(tmp_path / "raw"), options=OPTIONS)
    with pytest.raises(Problem, match="GiB are needed"):
        prepare.prepare(one)


def test_memory_holds_one_chunk(tmp_path, monkeypatch):
    """When an image is decoded, all chunks before its own are in the file already."""
    one = job(make_set(tmp_path / "raw"), options=OPTIONS)
    row_bytes, real = int(np.prod(SHAPE)), prepare.row_of
    monkeypatch.setattr(prepare, "CHUNK_BYTES", 4 * row_bytes)
    written = []

    def row(source, i, shape, *more):
        if i < 24:
            written.append((one.work / "train.npy").stat().st_size - i // 4 * 4 * row_bytes)
        return real(source, i, shape, *more)

    monkeypatch.setattr(prepare, "row_of", row)
    prepare.prepare(one)
    assert len(written) == 24 and min(written) >= 0


# Faults


def spoil_truncate(folder: Path) -> None:
    path = folder / "007.jpg"
    path.write_bytes(path.read_bytes()[:300])


def spoil_text(folder: Path) -> None:
    (folder / "007.jpg").write_text("this is a web page, not an image")


def spoil_empty(folder: Path) -> None:
    (folder / "007.jpg").write_bytes(b"")


def spoil_lost(folder: Path) -> None:
    (folder / "007.jpg").unlink()


def edit(old: str, new: str):
    def change(folder: Path) -> None:
        text = (folder / "metadata.csv").read_text()
        assert old in text
        (folder / "metadata.csv").write_text(text.replace(old, new))
    return change


@pytest.mark.parametrize(("spoil", "message"), [
    (spoil_truncate, r"007\.jpg: cannot be decoded"),
    (spoil_text, r"007\.jpg: cannot be decoded"),
    (spoil_empty, r"007\.jpg: cannot be decoded"),
    (spoil_lost, r"007\.jpg: is listed in metadata\.csv but absent"),
    (edit("006.jpg", "007.jpg"), r"006\.jpg: is not listed|lists 007\.jpg more than once"),
    (edit(",test,", ",train,"), r"the split 'test' is empty"),
    (edit(",split,", ",part,"), r"has no column 'split'"),
])
@pytest.mark.parametrize("before", [False, True])
def test_fault_names_the_file_and_leaves_nothing(spoil, message, before, tmp_path):
    root = make_set(tmp_path / "raw", suffix=".jpg")
    one = job(root, options=OPTIONS)
    if before:
        prepare.prepare(one)
    old = contents(one.out) if before else {}
    spoil(root / "set")
    one.out.mkdir(parents=True, exist_ok=True)
    with pytest.raises(Problem, match=message) as error:
        prepare.prepare(one)
    assert "\n" not in str(error.value)
    assert contents(one.out) == old


def test_duplicate_id(tmp_path):
    root = make_set(tmp_path / "raw")
    with (root / "set" / "metadata.csv").open("a") as table:
        table.write("000.png,train,1,a\n")
    with pytest.raises(Problem, match=r"lists 000\.png more than once \(1 such"):
        prepare.prepare(job(root, options=OPTIONS))


def test_floating_point_image_is_named(tmp_path):
    root = make_set(tmp_path / "raw", suffix=".tif")
    Image.fromarray(np.zeros((4, 4), np.float32)).save(root / "set" / "003.tif")
    with pytest.raises(Problem, match=r"003\.tif: the image holds floating-point"):
        prepare.prepare(job(root, options=OPTIONS))


def test_missing_set_is_one_line(tmp_path):
    with pytest.raises(Problem, match=r"set: does not hold the data set; expected there: "
                                      r"img_align_celeba.*to be had from https://mmlab"):
        prepare.prepare(job(tmp_path, reader="celeba"))


def test_classes_need_one_label(tmp_path):
    with pytest.raises(Problem, match="`labels: classes` asks for one label column"):
        prepare.prepare(job(make_set(tmp_path / "raw"), options=OPTIONS, labels="classes"))


# Generated stand-ins


def small_study(monkeypatch, **size) -> None:
    """Make patronus.generate see one data set at one small scale."""
    from types import SimpleNamespace
    dataset = Dataset(title="CelebA", reader="celeba", folder="celeba", shape=(3, 32, 32),
                      code_dim=4, labels="attributes", world="faces")
    study = SimpleNamespace(datasets={"celeba": dataset}, generated=Generated(**size))
    monkeypatch.setattr(generate, "load_study", lambda *args, **kwargs: study)


def test_generated_set_becomes_prepared_with_parts(tmp_path, monkeypatch):
    small_study(monkeypatch, train=20, test=12)
    root = tmp_path / "raw"
    folder = generate.generate("tiny", "celeba", root)
    assert folder == root / "celeba" and [p.name for p in root.iterdir()] == ["celeba"]
    one = job(root, reader="celeba", shape=(3, 32, 32), generated=True, folder="celeba")
    done = prepared(one)
    assert done.meta["generated"] and done.meta["counts"] == {"train": 20, "test": 12}
    masks, names = done.parts()
    assert isinstance(masks, np.memmap) and masks.dtype == np.uint32
    assert masks.shape == (12, 32, 32) and len(names) >= 16
    assert set(done.negated_parts()) == {"No_Beard", "Young"}
    hats = (masks >> np.uint32(names.index("Wearing_Hat")) & 1).any(axis=(1, 2))
    assert (hats == done.labels("test")["Wearing_Hat"].to_numpy(bool)).all() and 0 < hats.sum() < 12


def test_stand_in_and_official_data_are_never_confused(tmp_path, monkeypatch):
    small_study(monkeypatch, train=2, test=2)
    generate.generate("tiny", "celeba", tmp_path)
    with pytest.raises(Problem, match="holds a generated stand-in, and scale 'tiny' asks for off"):
        prepare.prepare(job(tmp_path, reader="celeba", folder="celeba"))
    with pytest.raises(Problem, match=r"holds no generated stand-in .*python -m patronus\.gen"):
        prepare.prepare(job(make_set(tmp_path / "raw"), options=OPTIONS, generated=True))


def test_generating_replaces_only_what_was_generated(tmp_path, monkeypatch):
    small_study(monkeypatch, train=2, test=2)
    (tmp_path / "celeba").mkdir()  # an empty folder is no obstacle
    folder = generate.generate("tiny", "celeba", tmp_path)
    (folder / "generated.json").unlink()  # as Snakemake does before it runs the rule again
    generate.generate("tiny", "celeba", tmp_path)
    for name in ("generated.json", "GENERATED.txt"):
        (folder / name).unlink()
    with pytest.raises(Problem, match="not a generated stand-in, and they would be replaced"):
        generate.generate("tiny", "celeba", tmp_path)
    assert (folder / "list_attr_celeba.txt").is_file()


def test_failed_generation_leaves_nothing(tmp_path, monkeypatch):
    small_study(monkeypatch, train=2, test=2)
    monkeypatch.setattr(generate, "labels_of", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        generate.generate("tiny", "celeba", tmp_path / "raw")
    assert not any((tmp_path / "raw").iterdir())


def test_planted_correlation_is_in_training_only(tmp_path, monkeypatch):
    pair = ("Wearing_Hat", "Eyeglasses", 1.0)
    small_study(monkeypatch, train=25, test=25, plant={"celeba": pair})
    generate.generate("tiny", "celeba", tmp_path)
    done = prepared(job(tmp_path, reader="celeba", shape=(3, 16, 16), generated=True,
                        folder="celeba"))
    train, test = done.labels("train"), done.labels("test")
    assert (train["Wearing_Hat"] == train["Eyeglasses"]).all()
    assert (test["Wearing_Hat"] == test["Eyeglasses"]).mean() < 0.9
    manifest = json.loads((tmp_path / "celeba" / "generated.json").read_text())
    assert manifest["plant"] == list(pair)


def test_a_set_with_a_shortcut_is_drawn_apart_and_carries_its_own_plant(tmp_path, monkeypatch):
    small_study(monkeypatch, train=25, test=25)
    hair = load_study("smoke").datasets["celeba_hair"]
    generate.load_study("tiny").datasets["celeba_hair"] = hair
    folder = generate.generate("tiny", "celeba_hair", tmp_path)
    assert folder == tmp_path / "celeba_hair"
    assert raw_folder("celeba_hair", hair, tmp_path, False) == tmp_path / "celeba"
    one = job(tmp_path, reader="celeba", shape=(3, 16, 16), generated=True, folder="celeba")
    one = replace(one, dataset=hair, cell=one.cell.model_copy(update={"dataset": "celeba_hair"}))
    done = prepared(one)
    train, test = done.labels("train"), done.labels("test")
    assert len(train) == 25  # the plant ties every training image as `keep` wants them
    assert (train["Smiling"] == 1 - train["Black_Hair"]).all()
    assert len(test) == 25 and (test["Smiling"] == test["Black_Hair"]).any()
    generate.generate("tiny", "celeba", tmp_path)
    fair = prepared(job(tmp_path, reader="celeba", shape=(3, 16, 16), generated=True,
                        folder="celeba"))
    assert (fair.images("test") == done.images("test")).all()  # as of the official sets
    assert (fair.images("train") != done.images("train")).any()


# Which training images stay


def labelled(**columns) -> Source:
    table = pd.DataFrame({"id": [f"{i}" for i in range(8)], "split": ["train"] * 5 + ["test"] * 3}
                         | columns)
    return Source(table, dict.fromkeys(columns, BINARY), lambda i: i, {})


def test_keep_filters_training_images_and_leaves_all_test_images():
    nan = np.nan
    source = labelled(hat=[1, 1, 0, 0, 1, 1, 0, 1], tie=[1, 0, 0, 1, nan, 0, 0, 1])
    keep = Keep(any_of=[{"hat": 1, "tie": 1}, {"hat": 0, "tie": 0}])
    found = prepare.filtered(source, keep, Path("set"))
    assert found.table["id"].tolist() == ["0", "2", "5", "6", "7"]
    assert [found.load(i) for i in range(5)] == [0, 2, 5, 6, 7]


@pytest.mark.parametrize(("images", "counts", "refused"), [
    (8, [2, 2], False), (8, [2, 3], True), (9, [1, 1], False)])
def test_official_counts_are_asserted_on_the_whole_official_set_only(images, counts, refused):
    source = labelled(hat=[1, 1, 0, 0, 1, 1, 0, 1], tie=[1, 0, 0, 1, 0, 0, 0, 1])
    keep = Keep(any_of=[{"hat": 1, "tie": 1}, {"hat": 0, "tie": 0}], images=images, counts=counts)
    if refused:
        with pytest.raises(Problem, match=r"set: .*\[2, 2\] of the 8 images, not by \[2, 3\]"):
            prepare.filtered(source, keep, Path("set"))
    else:
        prepare.filtered(source, keep, Path("set"))


def test_keep_that_fits_nothing_or_nobody_knows_is_one_line():
    source = labelled(hat=[0] * 8)
    with pytest.raises(Problem, match="no training image"):
        prepare.filtered(source, Keep(any_of=[{"hat": 1}]), Path("set"))
    with pytest.raises(Problem, match="label 'scarf'; known are hat"):
        prepare.filtered(source, Keep(any_of=[{"scarf": 1}]), Path("set"))


def test_the_rule_for_tied_hair_and_smile_is_the_papers():
    """Counts of patronus.md section 4; on all eight combinations of one hair colour and smile."""
    keep = load_study("paper").datasets["celeba_hair"].keep
    assert (keep.images, keep.counts, sum(keep.counts)) == (202_599, [16_916, 19_618, 24_680],
                                                            61_214)
    source = labelled(Black_Hair=[1, 1, 0, 0, 0, 0, 1, 0], Blond_Hair=[0, 0, 1, 1, 0, 0, 1, 0],
                      Brown_Hair=[0, 0, 0, 0, 1, 0, 0, 1], Smiling=[0, 1, 1, 0, 1, 1, 1, 0])
    found = prepare.filtered(source, keep, Path("set")).table
    assert found["id"][found["split"] == "train"].tolist() == ["0", "2", "4"]


def test_impossible_plant_is_one_line(tmp_path, monkeypatch):
    small_study(monkeypatch, train=2, test=2, plant={"celeba": ("Wearing_Hat", "nosuch", 1.0)})
    with pytest.raises(Problem, match="`plant` of the scale"):
        generate.generate("tiny", "celeba", tmp_path)


# The commands


def run(module: str, *args: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PATRONUS_CONFIG": "config", "PYTHONPATH": str(ROOT),
                                "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-m", module, "--scale", "tiny", *args], check=False,
                          capture_output=True, text=True, env=environment)


def make_config(method: str = "ddpm") -> None:
    """A configuration of one tiny scale and one set of one's own."""
    for kind in ("recipes", "methods", "datasets"):
        Path("config", kind).mkdir(parents=True)
        for path in (config_folder() / kind).glob("*.yaml"):
            Path("config", kind, path.name).write_text(path.read_text())
    Path("config/scales").mkdir()
    scale = Scale(about="a test", generated=Generated(train=4, test=3), methods=[method])
    Path("config/scales/tiny.yaml").write_text(yaml.safe_dump(
        {"about": scale.about, "generated": {"train": 4, "test": 3}, "methods": [method]}))
    Path("config/datasets/mine.yaml").write_text(yaml.safe_dump({
        "title": "Mine", "reader": "folder", "folder": "set", "shape": [3, 16, 8], "code_dim": 4,
        "labels": "attributes", "study": False, "options": OPTIONS}))


def test_bring_your_own_is_one_yaml_file(tmp_path):
    make_config()
    make_set(tmp_path / "raw/official")
    done = run("patronus.prepare", "--dataset", "mine")
    assert done.returncode == 0, done.stderr
    assert Prepared.open("results/tiny/data/mine").images("train").shape == (24, 3, 16, 8)
    record = json.loads(Path("results/tiny/data/mine/record.json").read_text())
    assert set(record["found"]["raw"]) == {"images", "metadata.csv"}


def test_commands_for_a_generated_set(tmp_path):
    make_config()
    missing = run("patronus.prepare", "--dataset", "celeba")
    assert missing.returncode == 1 and missing.stderr.startswith("error: raw/generated/tiny/celeba")
    assert missing.stderr.count("\n") == 1
    assert not any(p.is_file() for p in Path("results").rglob("*"))
    drawn = run("patronus.generate", "--dataset", "celeba", "--root", "raw/generated/tiny")
    assert drawn.returncode == 0, drawn.stderr
    done = run("patronus.prepare", "--dataset", "celeba", "--threads", "2")
    assert done.returncode == 0, done.stderr
    assert Prepared.open("results/tiny/data/celeba").meta["counts"] == {"train": 4, "test": 3}

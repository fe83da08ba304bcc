"""Every reader in patronus/data/ and every data set in config/datasets/, found by themselves."""

import gzip
import importlib
import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from patronus import generate
from patronus.config import Dataset, Generated, Strict, names
from patronus.config import _load as load_config
from patronus.data import celeba, chexpert, cifar10, fashion_mnist, ffhq, folder
from patronus.errors import Problem
from patronus.files import sha256
from patronus.prepare import read, reader
from patronus.reading import checked_options, load_parts, save_image, save_parts
from patronus.sources import ROOT

READERS = sorted(path.stem for path in (ROOT / "patronus" / "data").glob("[a-z]*.py"))
SIZE = Generated(train=12, test=6, seed=3)


def dataset(name: str) -> Dataset:
    errors: list[str] = []
    found = load_config("datasets", name, Dataset, errors)
    assert not errors
    return found


GENERATED = [name for name in names("datasets") if dataset(name).world]


def make_stand_in(name: str, base: Path, threads: int = 1) -> Path:
    """A small generated stand-in of a set that has a world."""
    place = base / dataset(name).folder
    place.mkdir(parents=True)
    generate.write(place, "tiny", name, dataset(name), SIZE, threads)
    return place


@pytest.mark.parametrize("name", READERS)
def test_reader_meets_the_contract(name, tmp_path):
    module = reader(name)
    assert "xpected" in module.__doc__ or "With a table" in module.__doc__
    assert issubclass(module.Options, Strict)
    with pytest.raises(Problem, match="nosuch: unknown option"):
        checked_options(module.Options, {"nosuch": 1}, name)
    missing = tmp_path / "missing"
    options = {"download": False} if "download" in module.Options.model_fields else {}
    with pytest.raises(Problem) as error:
        module.read(missing, module.Options(**options))
    message = str(error.value)
    assert str(missing) in message and "to be had from" in message and "\n" not in message


@pytest.mark.parametrize("name", names("datasets"))
def test_data_set_file(name):
    found = dataset(name)
    module = reader(found.reader)
    checked_options(module.Options, found.options, name)
    assert found.train["batch_size"] > 0 and found.train["epochs"] > 0
    assert found.world is not None or not found.study
    if found.world:
        importlib.import_module(f"patronus.worlds.{found.world}")


def test_unknown_reader_is_named():
    with pytest.raises(Problem, match=r"patronus/data/nosuch\.py; known are .*celeba"):
        reader("nosuch")


@pytest.mark.parametrize("name", GENERATED)
def test_generated_set_reads_back(name, tmp_path):
    place = make_stand_in(name, tmp_path)
    source = read(dataset(name), place, name)
    assert source.table["split"].value_counts().to_dict() == {"train": 12, "test": 6}
    image = np.asarray(source.load(0))
    assert image.dtype == np.uint8 and image.std() > 5
    manifest = json.loads((place / "generated.json").read_text())
    used = 0
    for identity in source.table["id"][source.table["split"] == "test"]:
        used |= int(np.bitwise_or.reduce(load_parts(place, identity), axis=None))
    assert 0 < used < 2 ** len(manifest["parts"])


@pytest.mark.parametrize("name", GENERATED)
def test_generated_set_is_the_same_bytes_each_time(name, tmp_path):
    first, again = (
        {path.relative_to(place): path.read_bytes() for path in place.rglob("*") if path.is_file()}
        for place in (make_stand_in(name, tmp_path / str(n), n) for n in (1, 2)))
    assert len(first) > 6 and first == again


def test_parts_survive_the_file(tmp_path):
    parts = np.random.default_rng(0).integers(0, 2**32, (7, 5), dtype=np.uint32)
    save_parts(tmp_path, "a/b", parts)
    assert (load_parts(tmp_path, "a/b") == parts).all()


# CelebA


def make_celeba(base: Path, rows: list[tuple[str, int, str]]) -> Path:
    """rows: file, partition, attribute values."""
    for name, _, _ in rows:
        save_image(base / "img_align_celeba" / name, np.zeros((218, 178, 3), np.uint8))
    listed = [str(len(rows)), "Smiling Young "] + [f"{n} {v}" for n, _, v in rows]
    (base / "list_attr_celeba.txt").write_text("\n".join(listed) + "\n")
    (base / "list_eval_partition.txt").write_text(
        "".join(f"{n} {p}\n" for n, p, _ in rows))
    return base


CELEBA = [("000001.jpg", 0, "-1  1"), ("000002.jpg", 1, " 1  1"), ("000003.jpg", 2, "-1 -1")]


def test_celeba_lists(tmp_path):
    make_celeba(tmp_path / "celeba", CELEBA)  # one folder deeper, as torchvision keeps it
    source = celeba.read(tmp_path, celeba.Options())
    assert source.table["split"].tolist() == ["train", "valid", "test"]
    assert source.table[["Smiling", "Young"]].to_numpy().tolist() == [[0, 1], [1, 1], [0, 0]]


def test_celeba_csv_lists(tmp_path):
    make_celeba(tmp_path, CELEBA)
    for name in ("list_attr_celeba", "list_eval_partition"):
        (tmp_path / f"{name}.txt").unlink()
    (tmp_path / "list_attr_celeba.csv").write_text(
        "image_id,Smiling\n000001.jpg,-1\n000002.jpg,1\n000003.jpg,1\n")
    (tmp_path / "list_eval_partition.csv").write_text(
        "image_id,partition\n000001.jpg,0\n000002.jpg,1\n000003.jpg,2\n")
    source = celeba.read(tmp_path, celeba.Options())
    assert source.table["Smiling"].tolist() == [0, 1, 1]
    assert source.table["split"].tolist() == ["train", "valid", "test"]


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(("file", "old", "new", "message"), [
    ("list_attr_celeba.txt", "3\n", "4\n", r"list_attr_celeba\.txt: says 4 images and lists 3"),
    ("list_attr_celeba.txt", "-1  1", " 7  1", r"column 'Smiling' holds values other than"),
    ("list_eval_partition.txt", "000002.jpg 1\n", "", r"gives no split .* for 000002\.jpg"),
    ("list_eval_partition.txt", "000002.jpg 1", "000002.jpg 9", r"no split .* for 000002\.jpg"),
    ("list_attr_celeba.txt", "000002.jpg", "000009.jpg", r"no split .* for 000009\.jpg"),
])
def test_celeba_faults(file, old, new, message, tmp_path):
    replace(make_celeba(tmp_path, CELEBA) / file, old, new)
    with pytest.raises(Problem, match=message):
        celeba.read(tmp_path, celeba.Options())


def test_celeba_images_and_list_must_agree(tmp_path):
    images = make_celeba(tmp_path, CELEBA) / "img_align_celeba"
    (images / "000002.jpg").rename(images / "000007.jpg")
    with pytest.raises(Problem, match=r"000002\.jpg: is listed in .* but absent \(1 such"):
        celeba.read(tmp_path, celeba.Options())
    (images / "000007.jpg").rename(images / "000002.jpg")
    save_image(images / "000008.jpg", np.zeros((8, 8), np.uint8))
    with pytest.raises(Problem, match=r"000008\.jpg: is not listed in list_attr_celeba\.txt"):
        celeba.read(tmp_path, celeba.Options())


# Fashion-MNIST and CIFAR-10


def test_checksums_are_those_of_torchvision():
    from torchvision import datasets

    ours = {Path(name).name: md5 for name, md5 in fashion_mnist.MD5.items()}
    assert ours == dict(datasets.FashionMNIST.resources)
    assert dict(datasets.CIFAR10.train_list + datasets.CIFAR10.test_list) == cifar10.MD5


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10"])
def test_arrays_come_back_bit_by_bit(name, tmp_path):
    found = dataset(name)
    world = importlib.import_module(f"patronus.worlds.{found.world}")
    drawn = list(generate.pictures(world, {}, {"train": name, "test": name}, SIZE, None, 1))
    source = read(found, make_stand_in(name, tmp_path), name)
    for i, picture in enumerate(drawn):
        assert (np.asarray(source.load(i)) == picture.image).all()
        assert source.table["class"].iloc[i] == int(picture.labels["class"])
    assert tuple(world.LABELS) == reader(found.reader).CLASSES


@pytest.mark.parametrize(("module", "file"), [(fashion_mnist, "raw/t10k-labels-idx1-ubyte.gz"),
                                              (cifar10, "data_batch_3")])
def test_wrong_checksum_names_the_file(module, file, tmp_path):
    for name in module.MD5:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(Problem, match="wrong checksum"):
        module.read(tmp_path, module.Options(download=False))
    manifest = {"counts": {}, "files": dict.fromkeys(
        module.MD5, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")}
    (tmp_path / "generated.json").write_text(json.dumps(manifest))
    (tmp_path / file).write_bytes(b"changed")
    with pytest.raises(Problem, match=rf"{file}: wrong checksum .*patronus\.generate again"):
        module.read(tmp_path, module.Options(download=False))


def test_idx_file_that_ends_early(tmp_path):
    path = tmp_path / "x.gz"
    fashion_mnist.save_idx(path, np.zeros((3, 28, 28), np.uint8))
    assert fashion_mnist.load_idx(path, 3).shape == (3, 28, 28)
    whole = gzip.decompress(path.read_bytes())
    for broken in (path.read_bytes()[:-9], gzip.compress(whole[:-5]), gzip.compress(whole[:6]),
                   gzip.compress(b"\0\0\x0d" + whole[3:])):
        path.write_bytes(broken)
        with pytest.raises(Problem, match=r"x\.gz: cannot be decoded"):
            fashion_mnist.load_idx(path, 3)


def test_images_without_labels(tmp_path):
    (tmp_path / "raw").mkdir()
    for name in fashion_mnist.MD5:
        fashion_mnist.save_idx(tmp_path / name, np.zeros((3, 28, 28) if "images" in name else 2,
                                                         np.uint8))
    digests = {name: sha256(tmp_path / name) for name in fashion_mnist.MD5}
    (tmp_path / "generated.json").write_text(json.dumps({"counts": {"train": 3}, "files": digests}))
    with pytest.raises(Problem, match="3 images and 2 labels for the split 'train'"):
        fashion_mnist.read(tmp_path, fashion_mnist.Options())


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_pickles_cannot_run_code(tmp_path):
    mark = tmp_path / "executed"
    (tmp_path / "batch").write_bytes(pickle.dumps({"data": Evil(mark), "labels": []}))
    with pytest.raises(Problem, match=r"batch: cannot be decoded \(asks for pathlib"):
        cifar10.load_batch(tmp_path / "batch")
    assert not mark.exists()


def test_batch_as_python_2_wrote_it(tmp_path):
    """The official batches hold byte strings and old names of numpy's functions."""
    array = np.arange(2 * 3072, dtype=np.uint64).astype(np.uint8).reshape(2, 3072)
    content = (b"\x80\x02}q\x00(U\x04dataq\x01cnumpy.core.multiarray\n_reconstruct\n"
               b"cnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02M\x00\x0c\x86cnumpy\ndtype\n"
               b"U\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t"
               b"b\x89T\x00\x18\x00\x00" + array.tobytes() + b"tbU\x06labels]q\x02(K\x05K\x07eu.")
    (tmp_path / "batch").write_bytes(content)
    data, labels = cifar10.load_batch(tmp_path / "batch")
    assert (data == array).all() and labels.tolist() == [5, 7]


def test_failed_download_says_where_to_get_it(tmp_path, monkeypatch):
    from torchvision.datasets import utils

    def refuse(*args, **kwargs):
        raise RuntimeError("no route to host")

    for name in ("download_url", "download_and_extract_archive"):
        monkeypatch.setattr(utils, name, refuse)
    for module in (fashion_mnist, cifar10):
        with pytest.raises(Problem, match="downloading failed: no route.*to be had from https"):
            module.read(tmp_path / "set", module.Options())
        assert not list(tmp_path.rglob("*-ubyte*")) and not list(tmp_path.rglob("*batch*"))


def test_downloaded_files_land_in_place(tmp_path, monkeypatch):
    from torchvision.datasets import utils

    asked = []

    def fetch(url, root, filename, md5):
        asked.append((url.rsplit("/", 1)[1], md5))
        (Path(root) / filename).write_bytes(b"content")

    monkeypatch.setattr(utils, "download_url", fetch)
    with pytest.raises(Problem, match="wrong checksum"):  # the files are there, but not official
        fashion_mnist.read(tmp_path, fashion_mnist.Options())
    assert asked == [(Path(name).name, md5) for name, md5 in fashion_mnist.MD5.items()]
    assert all((tmp_path / name).read_bytes() == b"content" for name in fashion_mnist.MD5)


# FFHQ


def make_ffhq(base: Path, count: int = 4) -> Path:
    for i in range(count):
        save_image(base / "thumbnails128x128" / f"{i // 2 * 2:05d}" / f"{i:05d}.png",
                   np.full((128, 128, 3), i, np.uint8))
    (base / "ffhq.csv").write_text(
        "image,age,gender,glasses,other\n00002.png,70,female,,1\n0,2,male,NoGlasses,1\n"
        "1,3.4,,Sunglasses,1\n3,,male,NoGlasses,1\n")
    return base


def test_ffhq_bins_splits_and_nested_folders(tmp_path):
    source = ffhq.read(make_ffhq(tmp_path), ffhq.Options(train=3))
    assert source.table["id"].tolist() == ["00000", "00001", "00002", "00003"]
    assert source.table["split"].tolist() == ["train"] * 3 + ["test"]
    assert len(source.labels["age"]["names"]) == 9
    ages = [None if np.isnan(code) else source.labels["age"]["names"][int(code)]
            for code in source.table["age"]]
    assert ages == ["0-2", "3-9", "70+", None]
    assert source.labels["gender"]["names"] == ["female", "male"]
    assert np.isnan(source.table["gender"].iloc[1]) and np.isnan(source.table["glasses"].iloc[2])
    assert [np.asarray(source.load(i)).max() for i in range(4)] == [0, 1, 2, 3]


def test_ffhq_features_as_json(tmp_path):
    make_ffhq(tmp_path, 2)
    features = {"faceAttributes": {"age": 31.0, "gender": "female", "glasses": "NoGlasses"}}
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "00000.json").write_text(json.dumps([features]))
    (tmp_path / "json" / "00001.json").write_text("[]")
    source = ffhq.read(tmp_path, ffhq.Options(table="json", train=1))
    assert source.labels["age"]["names"][int(source.table["age"].iloc[0])] == "30-39"
    assert source.table[["age", "gender", "glasses"]].iloc[1].isna().all()
    (tmp_path / "json" / "00001.json").write_text('[{"face": 1}]')
    with pytest.raises(Problem, match=r"00001\.json: holds no faceAttributes"):
        ffhq.read(tmp_path, ffhq.Options(table="json", train=1))


@pytest.mark.parametrize(("old", "new", "message"), [
    ("image,age", "image,years", r"ffhq\.csv: has no column 'age'"),
    ("\n0,2", "\n1,2", r"image 1 occurs more than once"),
    ("\n0,2", "\n9,2", r"image 9 of ffhq\.csv is absent"),
    ("\n0,2,male,NoGlasses,1", "", r"ffhq\.csv: does not list .*00000\.png \(1 such"),
    ("\n0,2", "\n0,old", r"column 'age' holds ages that are not numbers"),
    ("\n0,2", "\nface,2", r"row 3 has no image number"),
])
def test_ffhq_faults(old, new, message, tmp_path):
    replace(make_ffhq(tmp_path) / "ffhq.csv", old, new)
    with pytest.raises(Problem, match=message):
        ffhq.read(tmp_path, ffhq.Options(train=3))


def test_ffhq_keeps_unlabelled_images_when_told(tmp_path):
    replace(make_ffhq(tmp_path) / "ffhq.csv", "\n0,2,male,NoGlasses,1", "")
    source = ffhq.read(tmp_path, ffhq.Options(train=3, without_labels="keep"))
    assert len(source.table) == 4 and np.isnan(source.table["age"].iloc[0])


# CheXpert


def make_chexpert(base: Path) -> Path:
    head = "Path,Sex,Age,Frontal/Lateral,AP/PA," + ",".join(chexpert.FINDINGS)
    values = ["1.0", "", "-1.0"] + ["0.0"] * 11
    rows = {"train": ["patient00001/study1/view1_frontal.jpg",
                      "patient00001/study1/view2_lateral.jpg",
                      "patient00002/study1/view1_frontal.jpg"],
            "valid": ["patient64541/study1/view1_frontal.jpg"]}
    for part, paths in rows.items():
        lines = [head]
        for path in paths:
            save_image(base / part / path, np.zeros((32, 39), np.uint8))
            lines.append(f"CheXpert-v1.0-small/{part}/{path},Female,61,,AP," + ",".join(values))
        (base / f"{part}.csv").write_text("\n".join(lines) + "\n")
    return base


@pytest.mark.parametrize(("options", "blank", "uncertain"), [
    ({}, 0, None), ({"blank": "missing", "uncertain": "zero"}, None, 0),
    ({"uncertain": "one"}, 0, 1)])
def test_chexpert_policies(options, blank, uncertain, tmp_path):
    source = chexpert.read(make_chexpert(tmp_path), chexpert.Options(**options))
    assert source.table["split"].tolist() == ["train", "train", "test"]  # no lateral view
    row = source.table[list(chexpert.FINDINGS[:4])].iloc[0].tolist()
    assert row[0] == 1 and row[3] == 0
    for value, wanted in zip(row[1:3], (blank, uncertain), strict=True):
        assert np.isnan(value) if wanted is None else value == wanted


def test_chexpert_official_test_table_and_sex(tmp_path):
    make_chexpert(tmp_path)
    save_image(tmp_path / "test" / "patient9" / "study1" / "view1_frontal.jpg",
               np.zeros((8, 8), np.uint8))
    (tmp_path / "test_labels.csv").write_text(
        "Path,Sex," + ",".join(chexpert.FINDINGS)
        + "\ntest/patient9/study1/view1_frontal.jpg,Male," + ",".join("0" * 14) + "\n")
    source = chexpert.read(tmp_path, chexpert.Options(test="test_labels.csv", sex=True))
    assert source.table["split"].value_counts().to_dict() == {"train": 2, "valid": 1, "test": 1}
    assert source.labels["Sex"]["names"] == ["Female", "Male"]


@pytest.mark.parametrize(("old", "new", "message"), [
    ("Edema", "Oedema", r"train\.csv: has no column 'Edema'"),
    ("-1.0", "maybe", r"column 'Cardiomegaly' .* holds 'maybe'"),
    ("patient00002", "patient00003", r"patient00003.* is listed in .* but absent"),
])
def test_chexpert_faults(old, new, message, tmp_path):
    replace(make_chexpert(tmp_path) / "train.csv", old, new)
    with pytest.raises(Problem, match=message):
        chexpert.read(tmp_path, chexpert.Options())


# Bring your own


def make_folder(base: Path, table: str) -> Path:
    base.mkdir(parents=True, exist_ok=True)
    (base / "metadata.csv").write_text(table)
    for name in pd.read_csv(base / "metadata.csv", dtype=str)["file"].dropna().unique():
        save_image(base / name, np.zeros((8, 8, 3), np.uint8))
    return base


TABLE = """file,split,smile,age,kind,pose,patient,yes
a.png,train,1,10-19,cat,2,p1,True
b.png,val,0,3-9,,1,p2,False
c.png,test,,10-19,dog,,p1,
"""


def with_table(**options) -> folder.Options:
    return folder.Options(table="metadata.csv", **options)


def test_folder_kinds_are_inferred(tmp_path):
    source = folder.read(make_folder(tmp_path, TABLE), with_table(
        split="split", split_names={"val": "valid"}, ignore=["patient"]))
    assert source.table["split"].tolist() == ["train", "valid", "test"]
    assert {name: label["kind"] for name, label in source.labels.items()} == {
        "smile": "binary", "age": "categorical", "kind": "categorical", "pose": "categorical",
        "yes": "binary"}
    assert source.labels["age"]["names"] == ["3-9", "10-19"]
    assert source.labels["pose"]["names"] == ["1", "2"]
    assert source.table["age"].tolist() == [1, 0, 1]
    assert source.table["yes"].tolist()[:2] == [1, 0]
    for name, row in (("smile", 2), ("kind", 1), ("pose", 2), ("yes", 2)):
        assert np.isnan(source.table[name].iloc[row])


def test_folder_kinds_can_be_told(tmp_path):
    options = {"split": "split", "split_names": {"val": "valid"}}
    make_folder(tmp_path, TABLE)
    source = folder.read(tmp_path, with_table(categorical=["smile"], **options))
    assert source.labels["smile"] == {"kind": "categorical", "names": ["0", "1"]}
    with pytest.raises(Problem, match="column 'pose' is called binary and holds 2"):
        folder.read(tmp_path, with_table(binary=["pose"], **options))


def test_folder_hash_split_is_stable_and_keeps_groups_together(tmp_path):
    rows = [f"{i:03d}.png,{i % 30}" for i in range(120)]
    make_folder(tmp_path, "file,patient\n" + "\n".join(rows) + "\n")
    first = folder.read(tmp_path, with_table(group="patient", test_share=0.3)).table
    sides = first.assign(patient=[i % 30 for i in range(120)]).groupby("patient")["split"].nunique()
    assert (sides == 1).all() and set(first["split"]) == {"train", "test"}
    by_file = folder.read(tmp_path, with_table(ignore=["patient"])).table
    make_folder(tmp_path, "file,patient\n" + "\n".join(["zzz.png,7", *rows]) + "\n")
    more = folder.read(tmp_path, with_table(ignore=["patient"])).table
    assert more["split"].tolist()[1:] == by_file["split"].tolist()
    assert 10 <= (by_file["split"] == "test").sum() <= 40


@pytest.mark.parametrize(("old", "new", "options", "message"), [
    ("file,", "name,", {}, "has no column 'file'"),
    ("b.png,val", "b.png,dev", {}, "column 'split' holds 'dev'"),
    ("c.png", "", {}, "row 4 names no file"),
    ("c.png", "d.png", {}, r"d\.png: is listed in metadata\.csv but absent"),
    ("c.png,test,,10-19,dog,,p1,\n", "", {}, r"c\.png: is not listed in metadata\.csv"),
    ("smile", "row", {}, "a label may not be called 'row'"),
    ("p1,True", "p1,0.5", {}, "column 'yes' is no label as it stands"),
    ("p1,True", "p1,True", {"ignore": ["nosuch"]}, "has no column 'nosuch'"),
])
def test_folder_faults(old, new, options, message, tmp_path):
    replace(make_folder(tmp_path, TABLE) / "metadata.csv", old, new)
    with pytest.raises(Problem, match=message):
        folder.read(tmp_path, with_table(split="split", split_names={"val": "valid"}, **options))


@pytest.mark.parametrize("prefixes", [("train/", "valid/", "test/"), ("",)])
def test_class_folders(prefixes, tmp_path):
    for prefix in prefixes:
        for name in ("cat", "dog"):
            for i in range(20):
                save_image(tmp_path / f"{prefix}{name}/{i}.png", np.zeros((4, 4), np.uint8))
    source = folder.read(tmp_path, folder.Options())
    assert source.labels == {"class": {"kind": "categorical", "names": ["cat", "dog"]}}
    assert set(source.table["split"]) == ({p[:-1] for p in prefixes} if prefixes[0]
                                          else {"train", "test"})
    assert source.table["id"].str.contains("dog").tolist() == source.table["class"].eq(1).tolist()


def test_class_folders_with_a_stray_image(tmp_path):
    save_image(tmp_path / "cat/1.png", np.zeros((4, 4), np.uint8))
    Image.new("L", (4, 4)).save(tmp_path / "stray.png")
    with pytest.raises(Problem, match=r"stray\.png: expected <class>/<image>"):
        folder.read(tmp_path, folder.Options())

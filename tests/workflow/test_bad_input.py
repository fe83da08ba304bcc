"""Bad input, as one table: each case spoils one thing in a small finished study and runs a command.

Whatever is wrong, the command ends with an exit code that is not 0 and with one line that begins
"error:" and names the fault and the cure; nothing that was there before is changed, and no new
file appears outside of work/ and logs/. docs/bad_input.md is written from the same table:

    python tests/workflow/test_bad_input.py
"""

import fcntl
import json
import os
import pickle
import re
import resource
import runpy
import shlex
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from patronus import generate
from patronus.errors import guarded
from patronus.files import sha256

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "bad_input.md"
SCALE = {
    "about": "for the tests of bad input", "generated": {"train": 12, "test": 6},
    "datasets": ["mine"], "methods": ["patronus"], "inception": False,
    "every": {
        "shape": [3, 32, 32], "code_dim": 4,
        "train": {"batch_size": 4, "epochs": 1, "lr": 1e-3, "precision": "32-true"},
        "prior": {"base": 8, "multipliers": [1, 2], "blocks": 1, "epochs": 1},
        "sample": {"count": 8, "steps": 2, "batch_size": 8},
        "intervene": {"dims": 2, "images": 4, "steps": 2},
        "denoising": {"images": 4, "times": 2},
        "explain": {"dims": 2, "images": 2, "steps": 2, "curves": 2, "sweeps": 1, "pairs": 1},
        "classifier": {"width": 4, "epochs": 1},
        "model": {"patronus.model": {"base": 8, "multipliers": [1, 1, 2, 2],
                                     "encoder_channels": [8, 8, 8, 16]}}},
    "by_dataset": {"fashion_mnist": {"shape": [1, 32, 32]}, "chexpert": {
        "shape": [1, 32, 32], "model": {"patronus.model": {
            "encoder_kernels": [3, 3, 3, 3], "encoder_strides": [2, 1, 1, 1],
            "encoder_paddings": [1, 0, 0, 0]}}}}}
MINE = {"title": "A set", "reader": "folder", "folder": "mine", "shape": [3, 32, 32],
        "code_dim": 4, "labels": "attributes", "options": {"table": "table.csv", "split": "split"}}
GENERATED = ("celeba", "chexpert", "cifar10", "ffhq", "fashion_mnist")
STAGES = ("patronus.prepare", "analysis.references", "patronus.train", "patronus.encode",
          "patronus.prior", "patronus.sample", "patronus.explain.__main__",
          "analysis.interventions", "analysis.denoising", "analysis.costs", "analysis.measure")
PER_SET = STAGES[:2]
MODEL = Path("results/bad/checkpoints/mine/patronus/seed0")
CODES, DATA = Path("results/bad/codes/mine/patronus/seed0"), Path("results/bad/data/mine")
SAMPLES = Path("results/bad/samples/mine/patronus/seed0")
PRIOR, DENOISING = (Path("results/bad", stage, "mine/patronus/seed0")
                    for stage in ("priors", "denoising"))
REFERENCES, MEASURES = Path("results/bad/references/mine"), Path(
    "results/bad/measures/mine/patronus/seed0")
RAW = Path("raw/official/mine")
DRAWN = Path("raw/generated/bad")


@dataclass(frozen=True)
class Case:
    """What is spoilt, what is then asked for, and what the answer must say."""

    what: str  # in words, for the document
    command: str
    names: str  # the file, option or setting that the line names
    cure: str  # part of the line
    spoil: Callable = lambda: None  # in the study's folder; a context manager is held meanwhile


def on_set(module: str, dataset: str = "mine") -> str:
    return f"python -m {module} --scale bad --dataset {dataset}"


def on_cell(module: str, method: str = "patronus") -> str:
    return f"{on_set(module)} --method {method} --seed 0"


# How things are spoilt


def edited(path: str, **changes: object) -> Callable:
    """Sets keys of a YAML file in config/, given as a__b=value."""

    def spoil() -> None:
        file = Path("config", path)
        content = yaml.safe_load(file.read_text())
        for key, value in changes.items():
            *above, last = key.split("__")
            place = content
            for part in above:
                place = place.setdefault(part, {})
            place[last] = value
        file.write_text(yaml.safe_dump(content))

    return spoil


def written(path: Path | str, content: bytes | str) -> Callable:
    def spoil() -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(content if isinstance(content, bytes) else content.encode())

    return spoil


def cut(path: Path | str, keep: int = -40) -> Callable:
    return lambda: Path(path).write_bytes(Path(path).read_bytes()[:keep])


def replaced(path: Path | str, old: str, new: str) -> Callable:
    def spoil() -> None:
        text = Path(path).read_text()
        assert old in text
        Path(path).write_text(text.replace(old, new, 1))

    return spoil


def everywhere(old: str, new: str, path: Path = Path("raw/official/mine/table.csv")) -> Callable:
    return lambda: path.write_text(re.sub(old, new, path.read_text()))


def removed(path: Path | str) -> Callable:
    def spoil() -> None:
        shutil.rmtree(path) if Path(path).is_dir() else Path(path).unlink()

    return spoil


def array(path: Path, change: Callable) -> Callable:
    return lambda: np.save(path, change(np.load(path)))


def picture(path: Path | str, mode: str = "RGB", size=(24, 20)) -> Callable:
    def spoil() -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        levels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(levels).convert(mode).save(path)

    return spoil


def linked(path: Path | str, target: str) -> Callable:
    return lambda: Path(path).symlink_to(target)


def folder(path: str, *pictures: str) -> Callable:
    def spoil() -> None:
        Path(path).mkdir()
        for name in pictures:
            picture(Path(path, name))()

    return spoil


def weights(key: str, change: Callable, called: str = "") -> Callable:
    """One tensor of the model after `change`, perhaps under another name."""

    def spoil() -> None:
        path = MODEL / "model.safetensors"
        found = {name: value.clone() for name, value in load_file(path).items()}
        found[called or key] = change(found.pop(key)).clone()
        save_file(found, path)

    return spoil


def archive(content: object) -> Callable:
    return lambda: torch.save(content, "ckpt.tar")


class Evil:
    """Unpickled, it would leave a file."""

    def __reduce__(self):
        return Path.touch, (Path("was_run"),)


def evil_batch() -> None:
    """A CIFAR-10 batch that asks for a foreign object, with the checksum that its manifest says."""
    place = DRAWN / "cifar-10-batches-py"
    (place / "data_batch_2").write_bytes(pickle.dumps({"data": Evil(), "labels": []}))
    about = json.loads((place / "generated.json").read_text())
    about["files"]["data_batch_2"] = sha256(place / "data_batch_2")
    (place / "generated.json").write_text(json.dumps(about))


def record(path: Path, **changes: object) -> Callable:
    """Changes entries of a record's `cell`."""

    def spoil() -> None:
        about = json.loads((path / "record.json").read_text())
        about["cell"] |= changes
        (path / "record.json").write_text(json.dumps(about))

    return spoil


def resigned(path: Path) -> Callable:
    """The record takes the files as they now are."""

    def spoil() -> None:
        about = json.loads((path / "record.json").read_text())
        about["outputs"] = {name: sha256(path / Path(name).name) for name in about["outputs"]}
        (path / "record.json").write_text(json.dumps(about))

    return spoil


def then(*spoilers: Callable) -> Callable:
    def spoil() -> None:
        for one in spoilers:
            one()

    return spoil


@contextmanager
def locked(path: str) -> Iterator[None]:
    file = Path(path).with_name(f".{Path(path).name}.lock")
    file.parent.mkdir(parents=True)
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


CONFIG = [
    Case("a misspelt setting", on_cell("patronus.train"), "scales/bad.yaml: sample.stepz",
         "mend or remove it", edited("scales/bad.yaml", every__sample__stepz=5)),
    Case("a misspelt key of a data set", on_cell("patronus.train"), "datasets/mine.yaml: colour",
         "mend or remove it", edited("datasets/mine.yaml", colour=3)),
    Case("a misspelt option of a method", on_cell("patronus.train"),
         "methods/patronus.yaml: model.colour", "mend or remove it",
         edited("methods/patronus.yaml", options__colour=3)),
    Case("a word where a number belongs", on_set("patronus.prepare"),
         "datasets/mine.yaml: code_dim", "should be a valid integer",
         edited("datasets/mine.yaml", code_dim="many")),
    Case("a negative number of steps", on_cell("patronus.sample"),
         "scales/bad.yaml: sample.steps", "should be greater than 0",
         edited("scales/bad.yaml", every__sample__steps=-5)),
    Case("a learning rate that is infinite", on_cell("patronus.train"),
         "scales/bad.yaml: train.lr", "should be a finite number",
         edited("scales/bad.yaml", every__train__lr=float("inf"))),
    Case("an unknown scale", "python -m patronus.prepare --scale nosuch --dataset mine",
         "scales/nosuch.yaml", "known are ablation"),
    Case("an unknown data set", on_set("patronus.prepare", "nosuch"), "datasets/nosuch.yaml",
         "known are celeba"),
    Case("an unknown method", on_cell("patronus.train", "nosuch"), "methods/nosuch.yaml",
         "known are ae"),
    Case("a name that leaves its folder", on_set("patronus.prepare", "../datasets/mine"),
         "datasets/../datasets/mine.yaml", "rename it"),
    Case("a name that a shell would obey", on_set("patronus.prepare", "'a; touch was_run'"),
         "datasets/a; touch was_run.yaml", "rename it",
         lambda: shutil.copy("config/datasets/mine.yaml", "config/datasets/a; touch was_run.yaml")),
    Case("a misspelt name in a scale", on_cell("patronus.train"),
         "scales/bad.yaml: by_method.patronuss", "known are ae",
         edited("scales/bad.yaml", by_method__patronuss={"code_dim": 3})),
    Case("an unknown reader", on_set("patronus.prepare"), "datasets/mine.yaml: reader",
         "there is no patronus/data/nosuch.py", edited("datasets/mine.yaml", reader="nosuch")),
    Case("a misspelt option of a reader", on_set("patronus.prepare"),
         "datasets/mine.yaml: options.tabel", "known are table",
         edited("datasets/mine.yaml", options={"tabel": "table.csv"})),
    Case("broken YAML", on_cell("patronus.train"), "scales/bad.yaml", "mend that line",
         written("config/scales/bad.yaml", "about: [\n")),
    Case("a binary file in config/", on_cell("patronus.train"), "scales/bad.yaml",
         "mend that line", written("config/scales/bad.yaml", b"\xff\xfe\0\1")),
    Case("a list where keys belong", on_cell("patronus.train"), "scales/bad.yaml",
         "must be a mapping of keys to values", written("config/scales/bad.yaml", "- 1\n")),
    Case("images too small for the network", on_cell("patronus.train"),
         "scales/bad.yaml: the sides of mine, (20, 20)", "multiple of 8",
         edited("scales/bad.yaml", every__shape=[3, 20, 20])),
    Case("a GPU asked for where there is none", on_cell("patronus.train"), "no GPU was found",
         "run on a machine with a GPU", edited("scales/bad.yaml", gpus=1)),
    Case("a negative seed", on_set("patronus.train") + " --method patronus --seed=-1", "seeds",
         "0 or more"),
    Case("no threads", on_cell("patronus.train") + " --threads 0", "--threads", "at least 1"),
]
FACES = DRAWN / "celeba" / "img_align_celeba" / "000002.jpg"
DATA_CASES = [
    Case("a truncated image", on_set("patronus.prepare"), str(RAW / "003.png"),
         "fetch this file again", cut(RAW / "003.png", 300)),
    Case("an empty image file", on_set("patronus.prepare"), str(RAW / "003.png"),
         "fetch this file again", written(RAW / "003.png", b"")),
    Case("a text called .png", on_set("patronus.prepare"), str(RAW / "003.png"),
         "fetch this file again", written(RAW / "003.png", "no image")),
    Case("an image that would fill the memory", on_set("patronus.prepare"), str(RAW / "003.png"),
         "fetch this file again", written(RAW / "003.png", bytes.fromhex(
             "89504e470d0a1a0a0000000d49484452000186a0000186a00802000000") + b"\x69\x9b\x1c\x3d")),
    Case("floating-point pixels", on_set("patronus.prepare"), "004.tif", "8 or 16 bits",
         then(replaced(RAW / "table.csv", "004.png", "004.tif"), removed(RAW / "004.png"),
              picture(RAW / "004.tif", "F"))),
    Case("an image that the table does not list", on_set("patronus.prepare"),
         str(RAW / "extra.png"), "remove them or complete the table", picture(RAW / "extra.png")),
    Case("a listed image that is absent", on_set("patronus.prepare"), str(RAW / "003.png"),
         "unpack the images again", removed(RAW / "003.png")),
    Case("a duplicate id", on_set("patronus.prepare"), "table.csv: lists 003.png more than once",
         "keep one row of each", replaced(RAW / "table.csv", "004.png",
                                               "003.png,train,1\n004.png")),
    Case("an empty split", on_set("patronus.prepare"), str(RAW), "the split 'test' is empty",
         everywhere(",test,", ",train,")),
    Case("an unknown split", on_set("patronus.prepare"), str(RAW / "table.csv"),
         "train, valid, test", replaced(RAW / "table.csv", ",test,", ",exam,")),
    Case("infinite labels", on_set("patronus.prepare"), str(RAW / "table.csv"), "under `ignore`",
         replaced(RAW / "table.csv", "train,0", "train,inf")),
    Case("one class only", on_set("patronus.prepare"), str(RAW), "at least two",
         then(edited("datasets/mine.yaml", labels="classes"), everywhere(",[01]\n", ",cat\n"))),
    Case("a table without the named column", on_set("patronus.prepare"), str(RAW / "table.csv"),
         "it has file", replaced(RAW / "table.csv", "split", "part")),
    Case("a table that is no text", on_set("patronus.prepare"), str(RAW / "table.csv"),
         "fetch or mend it", written(RAW / "table.csv", b"\xff\xfe\x00\x01" * 9)),
    Case("a folder linked into itself", on_set("patronus.prepare"), str(RAW / "again"),
         "remove it", linked(RAW / "again", ".")),
    Case("an image linked to itself", on_set("patronus.prepare"), str(RAW / "003.png"),
         "unpack the images again", then(removed(RAW / "003.png"),
                                         linked(RAW / "003.png", "003.png"))),
    Case("an absent data set", on_set("patronus.prepare"), str(RAW), "PATRONUS_DATA", removed(RAW)),
    Case("a stand-in without its manifest", on_set("patronus.prepare", "celeba"),
         str(DRAWN / "celeba"), "python -m patronus.generate",
         removed(DRAWN / "celeba/generated.json")),
    Case("a manifest that is cut short", on_set("patronus.prepare", "cifar10"),
         str(DRAWN / "cifar-10-batches-py/generated.json"), "delete it and rerun",
         cut(DRAWN / "cifar-10-batches-py/generated.json")),
    Case("a manifest of something else", on_set("patronus.prepare", "cifar10"),
         str(DRAWN / "cifar-10-batches-py/generated.json"), "patronus.generate again",
         written(DRAWN / "cifar-10-batches-py/generated.json", "{}")),
    Case("CelebA: a truncated image", on_set("patronus.prepare", "celeba"), str(FACES),
         "fetch this file again", cut(FACES, 700)),
    Case("CelebA: a list that says another number", on_set("patronus.prepare", "celeba"),
         "list_attr_celeba.txt", "fetch it again",
         replaced(DRAWN / "celeba/list_attr_celeba.txt", "18\n", "19\n")),
    Case("CelebA: a partition list of one column", on_set("patronus.prepare", "celeba"),
         "list_eval_partition.txt", "fetch it again",
         written(DRAWN / "celeba/list_eval_partition.txt", "000001.jpg\n000002.jpg\n")),
    Case("CelebA: an empty list", on_set("patronus.prepare", "celeba"),
         "list_attr_celeba.txt", "fetch it again",
         written(DRAWN / "celeba/list_attr_celeba.txt", b"")),
    Case("Fashion-MNIST: a truncated file", on_set("patronus.prepare", "fashion_mnist"),
         "train-images-idx3-ubyte.gz", "run patronus.generate again",
         cut(DRAWN / "FashionMNIST/raw/train-images-idx3-ubyte.gz")),
    Case("CIFAR-10: a changed file", on_set("patronus.prepare", "cifar10"), "data_batch_2",
         "run patronus.generate again",
         written(DRAWN / "cifar-10-batches-py/data_batch_2", b"changed")),
    Case("CIFAR-10: a pickle that would run code", on_set("patronus.prepare", "cifar10"),
         "data_batch_2", "delete it and fetch it again", evil_batch),
    Case("FFHQ: an image twice", on_set("patronus.prepare", "ffhq"), "00002.png", "remove one",
         picture(DRAWN / "ffhq/thumbnails128x128/more/00002.png")),
    Case("FFHQ: a file that is no number", on_set("patronus.prepare", "ffhq"), "face.png",
         "remove the file", picture(DRAWN / "ffhq/thumbnails128x128/face.png")),
    Case("FFHQ: an age in words", on_set("patronus.prepare", "ffhq"), "ffhq.csv", "give years",
         everywhere(r"\n00003,[^,]*", "\n00003,old", DRAWN / "ffhq/ffhq.csv")),
    Case("CheXpert: a finding that does not exist", on_set("patronus.prepare", "chexpert"),
         "'Edema'", "1, 0, -1 or nothing",
         lambda: _column(DRAWN / "CheXpert-v1.0-small/train.csv", "Edema", 7)),
    Case("CheXpert: a table without a finding", on_set("patronus.prepare", "chexpert"),
         "train.csv: has no column 'Edema'", "it has Path",
         replaced(DRAWN / "CheXpert-v1.0-small/train.csv", "Edema", "Oedema")),
]
CHECKPOINTS = [
    Case("weights cut short", "patronus explain photo.png --model " + str(MODEL),
         str(MODEL / "model.safetensors"), "train again", cut(MODEL / "model.safetensors")),
    Case("NaN weights", "patronus explain photo.png --model " + str(MODEL),
         str(MODEL / "model.safetensors"), "train again",
         weights("prototypes.vectors", lambda vectors: vectors * np.nan)),
    Case("weights of another shape", "patronus explain photo.png --model " + str(MODEL),
         str(MODEL / "model.safetensors"), "train again",
         weights("prototypes.vectors", lambda vectors: vectors[:2])),
    Case("weights of another model", "patronus explain photo.png --model " + str(MODEL),
         str(MODEL / "model.safetensors"), "train again",
         weights("prototypes.vectors", lambda vectors: vectors, "others.vectors")),
    Case("a pickle called .safetensors", "patronus explain photo.png --model " + str(MODEL),
         str(MODEL / "model.safetensors"), "train again",
         lambda: torch.save(Evil(), MODEL / "model.safetensors")),
    Case("config.json cut short", "patronus explain photo.png --model " + str(MODEL),
         str(MODEL / "config.json"), "delete it and rerun", cut(MODEL / "config.json")),
    Case("config.json that is no text", "patronus explain photo.png --model " + str(MODEL),
         str(MODEL / "config.json"), "delete it and rerun",
         written(MODEL / "config.json", b"\xff\xfe\x00")),
    Case("config.json that is a list", "patronus explain photo.png --model " + str(MODEL),
         str(MODEL / "config.json"), "train again", written(MODEL / "config.json", "[]")),
    Case("config.json that names foreign code", "patronus explain photo.png --model " + str(MODEL),
         str(MODEL / "config.json"), "nothing of it was run",
         replaced(MODEL / "config.json", "patronus.model", "antigravity")),
    Case("config.json that names code which is no model",
         "patronus explain photo.png --model " + str(MODEL), str(MODEL / "config.json"),
         "train again", replaced(MODEL / "config.json", "patronus.model", "patronus.seeds")),
    Case("the checkpoint of another data set", on_cell("patronus.encode"),
         str(MODEL / "record.json"), "run that stage again", record(MODEL, dataset="celeba")),
    Case("the checkpoint of another seed", on_cell("patronus.encode"),
         str(MODEL / "record.json"), "run that stage again", record(MODEL, seed=3)),
    Case("a checkpoint for images of another size", on_cell("patronus.encode"),
         str(MODEL / "record.json"), "run that stage again", record(MODEL, shape=[3, 64, 64])),
    Case("a checkpoint that a killed training left", on_cell("patronus.encode"),
         str(MODEL / "record.json"), "run it (again) first", then(
             removed(MODEL / "record.json"),
             lambda: (MODEL / "model.safetensors").rename(MODEL / ".model.safetensors.77.part"))),
    Case("a checkpoint changed after training", on_cell("patronus.encode"),
         str(MODEL / "model.safetensors"), "run that stage again",
         weights("prototypes.vectors", lambda vectors: vectors + 1)),
    Case("weights so large that codes are NaN", on_cell("patronus.encode"), str(MODEL),
         "lower train.lr", then(weights("prototypes.encoder.0.weight", lambda w: w.sign() * 3e38),
                                resigned(MODEL))),
    Case("a published checkpoint cut short", "patronus import ckpt.tar new --dataset celeba",
         "ckpt.tar", "fetch it again", then(archive({"model": {"a": torch.zeros(99)}}),
                                            cut("ckpt.tar", 200))),
    Case("a published checkpoint that would run code",
         "patronus import ckpt.tar new --dataset celeba", "ckpt.tar", "unpickling can run any code",
         archive({"model": Evil()})),
    Case("a published checkpoint of another data set",
         "patronus import ckpt.tar new --dataset celeba", "ckpt.tar", "name another --dataset",
         archive({"model": {"first.weight": torch.zeros(8, 1, 3, 3)}})),
    Case("importing over a folder", "patronus import ckpt.tar config --dataset celeba", "config",
         "choose another folder", archive({"model": {"a": torch.zeros(1)}})),
]
RESULTS = [
    Case("NaN codes", on_cell("patronus.prior"), str(CODES / "train.npy"),
         "delete " + str(CODES / "record.json"), array(CODES / "train.npy", lambda a: a * np.nan)),
    Case("samples of another shape", on_cell("analysis.measure"),
         str(SAMPLES / "conditional.npy"), "delete " + str(SAMPLES / "record.json"),
         array(SAMPLES / "conditional.npy", lambda a: a[:, :1])),
    Case("images cut short", on_cell("patronus.train"), str(DATA / "train.npy"),
         "delete " + str(DATA / "record.json"), cut(DATA / "train.npy")),
    Case("an archive of arrays cut short", on_cell("analysis.conditioning"),
         str(DENOISING / "denoising.npz"), "delete " + str(DENOISING / "record.json"),
         cut(DENOISING / "denoising.npz")),
    Case("labels changed by hand", on_cell("analysis.interventions"), str(DATA / "table.csv"),
         "restore it", replaced(DATA / "table.csv", "train,0,0", "train,0,1")),
    Case("a deleted array", on_cell("patronus.prior"), str(CODES / "train.npy"), "restore it",
         removed(CODES / "train.npy")),
    Case("a stage without its record", on_cell("patronus.train"), str(DATA / "record.json"),
         "run it (again) first", removed(DATA / "record.json")),
    Case("a record cut short", on_cell("patronus.train"), str(DATA / "record.json"),
         "delete it", cut(DATA / "record.json")),
    Case("a record that says nothing", on_cell("patronus.train"), str(DATA / "record.json"),
         "delete it", written(DATA / "record.json", "[]")),
    Case("a stage that was not run", on_cell("patronus.sample"), str(PRIOR / "record.json"),
         "run it (again) first", removed(PRIOR)),
    Case("an absent classifier", on_cell("analysis.interventions"),
         str(REFERENCES / "record.json"), "run it (again) first", removed(REFERENCES)),
    Case("a hole in the grid", "python -m analysis.collect --scale bad", "mine/patronus/seed0",
         "rerun measures", removed(MEASURES / "record.json")),
    Case("measures cut short", "python -m analysis.collect --scale bad",
         str(MEASURES / "measures.csv"), "run that stage again", cut(MEASURES / "measures.csv")),
    Case("a figure whose results are absent", "python -m paper.render conditioning --scale bad",
         "conditioning: results/bad/conditioning", "make it with `snakemake conditioning`"),
    Case("an unknown figure", "python -m paper.render fig99 --scale bad", "fig99", "known are"),
]
RUNS = [
    Case("a loss that becomes NaN", on_cell("patronus.train"),
         "work/bad/checkpoints/mine/patronus/seed0", "lower train.lr",
         edited("scales/bad.yaml", every__train__lr=1e30, every__train__epochs=30)),
    Case("a second process on the same model", on_cell("patronus.train"),
         "work/bad/checkpoints/mine/patronus/seed0", "wait for it or end it",
         lambda: locked("work/bad/checkpoints/mine/patronus/seed0")),
    Case("a second process on the same data", on_set("patronus.prepare"), "work/bad/data/mine",
         "wait for it or end it", lambda: locked("work/bad/data/mine")),
    Case("saved state of a training cut short", on_cell("patronus.train"), "state.pt",
         "delete it and train again",
         written("work/bad/checkpoints/mine/patronus/seed0/state.pt", b"PK\x03\x04half")),
    Case("a file where a folder should be", on_cell("patronus.train"),
         "work/bad/checkpoints", "mend the path", written("work/bad/checkpoints", "")),
]
DISKS = [
    Case("not enough room for the arrays", on_set("patronus.prepare"), "work/bad/data/mine",
         "make room", lambda: disk("work", 8)),
    Case("a disk that fills up in training", on_cell("patronus.train"), "state.pt", "free space",
         lambda: disk("work", 64)),
    Case("a disk that is full when results are written", on_cell("patronus.encode"),
         str(CODES / "train.npy"), "free space", lambda: disk(CODES, 64, full=True)),
    Case("a full disk in preparation", on_set("patronus.prepare"), str(DATA / "train.npy"),
         "free space", lambda: disk(DATA, 256, full=True)),
    Case("a read-only folder of results", on_cell("patronus.encode"), str(CODES), "permissions",
         lambda: disk(CODES, 64, read_only=True)),
    Case("a read-only folder of work", on_cell("patronus.train"), "work", "permissions",
         lambda: disk("work", 64, read_only=True)),
]
COMMANDS = [
    Case("an image that is not there", "patronus explain nosuch.png", "nosuch.png",
         "name an image file"),
    Case("a folder as image", "patronus explain raw", "raw", "name an image file"),
    Case("a text as image", "patronus explain note.png", "note.png", "fetch this file again",
         written("note.png", "no image")),
    Case("an image cut short", "patronus edit photo.png --set 1=2", "photo.png",
         "fetch this file again", cut("photo.png", 300)),
    Case("a folder without a model", "patronus explain photo.png --model raw", "raw",
         "name the folder of one by --model"),
    Case("absent reference images", "patronus explain photo.png --reference nosuch", "nosuch",
         "name a folder of images"),
    Case("reference images of which one is broken",
         "patronus explain photo.png --reference photos", "photos/b.png", "fetch this file again",
         then(folder("photos", "a.png"), written("photos/b.png", "no image"))),
    Case("statistics cut short", "patronus explain photo.png --reference what.npz", "what.npz",
         "name a what.npz", written("what.npz", b"PK\x03\x04half")),
    Case("a page where a file is", "patronus explain photo.png --steps 2 --top 1 --out photo.png",
         "photo.png", "choose another place"),
    Case("a prototype that the model has not got", "patronus edit photo.png --set 99=1",
         "--set 99", "0 to"),
    Case("a value that is no number", "patronus edit photo.png --set 3=much", "--set 3=much",
         "38=3.0"),
    Case("a value that is NaN", "patronus edit photo.png --set 3=nan", "--set 3=nan", "38=3.0"),
    Case("an edited picture that is no PNG", "patronus edit photo.png --set 3=1 --out x.jpg",
         "x.jpg", "end it in .png"),
    Case("a folder of images that is not there", "patronus train --data nosuch", "nosuch",
         "give a folder of images"),
    Case("a folder without images", "patronus train --data empty", "empty",
         "at least two", folder("empty")),
    Case("a folder with one image", "patronus train --data few", "few", "at least two",
         folder("few", "a.png")),
    Case("a broken image among one's own",
         "patronus train --data photos --size 32 --out new --epochs 1", "photos/c.png",
         "fetch this file again", then(folder("photos", "a.png", "b.png"),
                                       written("photos/c.png", "no image"))),
    Case("one's own images linked into themselves", "patronus train --data photos --out new",
         "photos/again", "remove it", then(folder("photos", "a.png", "b.png"),
                                           linked("photos/again", "../photos"))),
    Case("an output folder that holds other files", "patronus train --data photos --out raw",
         "raw", "choose another --out", folder("photos", "a.png", "b.png")),
    Case("a side that is no multiple of 8", "patronus train --data raw --size 20", "--size",
         "multiple of 8"),
    Case("no time", "patronus train --data raw --minutes 0", "--minutes", "above 0"),
]
GROUPS = {"Configuration": CONFIG, "Data": DATA_CASES, "Checkpoints": CHECKPOINTS,
          "Results of other stages": RESULTS, "Runs": RUNS, "Disks": DISKS,
          "Command line": COMMANDS}
ALL = [case for cases in GROUPS.values() for case in cases]


def _column(path: Path, name: str, value: object) -> None:
    lines = path.read_text().splitlines()
    at = lines[0].split(",").index(name)
    cells = lines[1].split(",")
    cells[at] = str(value)
    path.write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n")


# The disks


@contextmanager
def disk(place: Path | str, kib: int, full: bool = False, read_only: bool = False) -> Iterator:
    """A disk of so many KiB at `place`, with the files that lie there."""
    place = Path(place)
    place.mkdir(exist_ok=True)
    held = {file.name: file.read_bytes() for file in place.iterdir()}
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "none", place],
                             capture_output=True, check=False).returncode == 0
    try:
        if not mounted:
            yield from _as_if(place, read_only)
            return
        for name, content in held.items():
            (place / name).write_bytes(content)
        if full:
            _fill(place / "filler")
        if read_only:
            subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        yield
    finally:
        if mounted:
            subprocess.run(["umount", place], check=True)


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as handle:
        try:
            while True:
                handle.write(b"\0" * 4096)
        except OSError:
            return


def _as_if(place: Path, read_only: bool) -> Iterator:
    """Where mounting is not allowed: files of 4 KiB at most, or a folder without write permission,
    which binds everyone but root."""
    if read_only:
        if os.geteuid() == 0:
            pytest.skip("root may not mount here, and permissions do not bind it")
        place.chmod(0o555)
        yield
        place.chmod(0o755)
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# The study that is spoilt


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """Configuration, raw data of every reader, and all stages of one small cell."""
    place = tmp_path_factory.mktemp("whole")
    shutil.copytree(ROOT / "config", place / "config")
    with entered(place):
        Path("config/scales/bad.yaml").write_text(yaml.safe_dump(SCALE))
        Path("config/datasets/mine.yaml").write_text(yaml.safe_dump(MINE))
        lines = ["file,split,even"]
        for i in range(12):
            picture(RAW / f"{i:03d}.png", size=(40, 36))()
            lines.append(f"{i:03d}.png,{'test' if i % 3 == 2 else 'train'},{i // 2 % 2}")
        (RAW / "table.csv").write_text("\n".join(lines) + "\n")
        picture("photo.png")()
        for dataset in GENERATED:
            generate.generate("bad", dataset, None)
        for module in STAGES:
            command = on_set(module) if module in PER_SET else on_cell(module)
            assert answer(command) is None
        shutil.rmtree("work", ignore_errors=True)
    return place


@pytest.fixture
def study(whole, tmp_path) -> Iterator[Path]:
    place = shutil.copytree(whole, tmp_path / "study", symlinks=True)
    with entered(place):
        yield place


@contextmanager
def entered(place: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        for name, value in variables(place).items():
            patch.setenv(name, value)
        for name in ("PATRONUS_INCEPTION", "PATRONUS_DOWNLOAD"):
            patch.delenv(name, raising=False)
        yield


def variables(place: Path) -> dict[str, str]:
    return {"PATRONUS_CONFIG": str(place / "config"), "PATRONUS_DATA": "raw/official",
            "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def words(command: str) -> list[str]:
    """The module and its arguments."""
    found = shlex.split(command)
    return found[2:] if found[0] == "python" else found


def answer(command: str) -> str | None:
    """What a command ends with when its module is run in this process; None: it ends well."""
    module, *arguments = words(command)
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # among others: runpy meets the module imported already
        patch.setattr(sys, "argv", [module, *arguments])
        try:
            runpy.run_module(module, run_name="__main__")
        except SystemExit as ending:
            return ending.code or None
    return None


def digests() -> dict[str, str]:
    """What every file here holds; work/ and logs/ are for what is unfinished."""
    return {str(path): path.read_bytes().hex() for path in sorted(Path().rglob("*"))
            if path.is_file() and {"work", "logs", ".snakemake"}.isdisjoint(path.parts)}


def lines_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("error:")]


@contextmanager
def spoilt(case: Case) -> Iterator[None]:
    with ExitStack() as stack:
        held = case.spoil()
        if hasattr(held, "__enter__"):
            stack.enter_context(held)
        yield


def test_the_table_is_long_enough_and_its_cases_differ():
    assert len(ALL) >= 40
    assert len({(case.what, case.command) for case in ALL}) == len(ALL)


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.what.replace(" ", "-"))
def test_bad_input_is_answered_by_one_line_and_changes_nothing(case, study, capfd):
    if "GPU" in case.what and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with spoilt(case):
        before = digests()
        capfd.readouterr()
        said = answer(case.command)
        assert digests() == before
    assert isinstance(said, str)  # printed by Python, with exit status 1
    assert lines_of(said) == [said], said
    assert case.names in said and case.cure in said, said
    printed = "".join(capfd.readouterr())
    assert "Traceback" not in printed and not lines_of(printed), printed
    assert not Path("was_run").exists()


REAL = [CONFIG[0], DATA_CASES[0], RUNS[0]]


@pytest.mark.parametrize("case", REAL, ids=lambda case: case.what.replace(" ", "-"))
def test_a_real_process_ends_with_status_1_and_that_line(case, study):
    with spoilt(case):
        before = digests()
        done = subprocess.run([sys.executable, "-m", *words(case.command)], capture_output=True,
                              text=True, check=False, env=os.environ | variables(study))
        assert digests() == before
    assert done.returncode == 1
    (line,) = lines_of(done.stderr)
    assert case.names in line and case.cure in line
    assert "Traceback" not in done.stdout + done.stderr


def test_snakemake_shows_the_line_of_a_failed_job(study):
    (DATA / "record.json").unlink()
    cut(RAW / "003.png", 300)()
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "-s", ROOT / "Snakefile", "--directory", study,
         "--profile", ROOT / "profiles" / "default", "--cores", "1", str(DATA / "record.json"),
         "--config", "scale=bad"], capture_output=True, text=True, check=False,
        env=os.environ | variables(study))
    assert done.returncode != 0
    (line,) = set(lines_of(done.stdout + done.stderr))
    assert str(RAW / "003.png") in line and "fetch this file again" in line
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("spoil", [
    picture(RAW / "003.png", size=(9, 70)),
    lambda: Image.fromarray(np.full((20, 20), 40_000, np.uint16)).save(RAW / "003.png"),
    lambda: Image.new("CMYK", (20, 20), "red").save(RAW / "003.png", "JPEG"),
    picture(RAW / "003.png", "P"), picture(RAW / "003.png", "LA"),
    replaced(RAW / "table.csv", "train,0", "train,")],
    ids=["size", "16 bits", "CMYK", "palette", "transparent", "no label"])
def test_what_is_no_fault_is_taken(study, spoil):
    spoil()
    assert answer(on_set("patronus.prepare")) is None
    assert np.load(DATA / "train.npy").shape == (8, 3, 32, 32)


@pytest.mark.parametrize(("error", "line"), [
    (KeyError("x"), "error: KeyError: 'x'; a fault of this program"),
    (MemoryError(), "error: the memory is full; lower batch_size"),
    (PermissionError(13, "Permission denied", "a/b"), "error: a/b: the system refused it"),
    (KeyboardInterrupt(), "error: interrupted; run the same command again to go on")],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "")
def test_what_nobody_foresaw_ends_in_a_line_too(error, line, capsys):
    def fail():
        raise error

    with pytest.raises(SystemExit, match=re.escape(line)):
        guarded(fail)
    assert ("Traceback" in capsys.readouterr().err) == isinstance(error, KeyError)


# The document


HEAD = """# What a wrong input leads to

Written by `python tests/workflow/test_bad_input.py` from the table in
[that file](../tests/workflow/test_bad_input.py); as a test it runs every row. Each command ends
with an exit status other than 0 and with one line that begins `error:`, names the fault and says
what to do. No file that was there is changed and none is added, except below `work/` (unfinished
work, which the same command goes on with) and `logs/`. Through Snakemake the same line is shown
from the log of the failed job.

The study has one small cell: `--scale bad --dataset mine --method patronus --seed 0` is left out of
the commands, `results/bad/` and `/mine/patronus/seed0` out of the paths.

No fault: images of any size (squashed to the set's), 16-bit gray (scaled), CMYK, palettes and
transparency (converted, on white), labels that are empty or NaN (unknown), and labels of one value
among others (what needs two values is "n/a", with the reason). No command listens on a fixed port,
so none can be in use.
"""


def short(text: str) -> str:
    """A command or path without what all of its kind have."""
    for usual in (" --scale bad", " --dataset mine", " --method patronus", " --seed 0",
                  "results/bad/", "/mine/patronus/seed0"):
        text = text.replace(usual, "")
    return text


def document() -> str:
    parts = [HEAD]
    for title, cases in GROUPS.items():
        rows = [f"| {case.what} | `{short(case.command)}` | {short(case.names)} "
                f"| {short(case.cure)} |" for case in cases]
        head = ["| wrong | command | the line names | and says |", "|---|---|---|---|"]
        parts.append("\n".join([f"## {title}", "", *head, *rows, ""]))
    return "\n".join(parts)


def test_the_document_is_that_of_this_table():
    assert DOCUMENT.read_text() == document()


if __name__ == "__main__":
    DOCUMENT.write_text(document())


def test_a_word_for_nothing_among_numbers_is_told_and_not_taken_for_unknown(study):
    replaced(RAW / "table.csv", "train,0", "train,nan")()
    line = answer(on_set("patronus.prepare"))
    assert "table.csv" in line and "'even'" in line and "categorical" in line

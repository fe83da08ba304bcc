"""CIFAR-10: 50,000 + 10,000 colour images of 32x32 in 10 classes.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. To be had from
https://www.cs.toronto.edu/~kriz/cifar.html (cifar-10-python.tar.gz), or fetched by torchvision
when it is missing. Expected, as torchvision keeps them (the set's folder is called
cifar-10-batches-py):

    data_batch_1 ... data_batch_5   test_batch

These are Python pickles. They must have the official MD5 sums (a generated stand-in: the sums of
its manifest), and even then only arrays, lists and texts are read out of them.
"""

import pickle
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from patronus.config import Strict
from patronus.errors import Problem
from patronus.reading import (
    Picture,
    Source,
    absent,
    arrays_source,
    numbered_id,
    save_parts,
    verified,
)

WHERE = "https://www.cs.toronto.edu/~kriz/cifar.html"
TRAIN = tuple(f"data_batch_{i}" for i in range(1, 6))
MD5 = dict(zip((*TRAIN, "test_batch"), (
    "c99cafc152244af753f735de768cd75f", "d4bba439e000b95fd0a9bffe97cbabec",
    "54ebc095f3ab1f0389bbae665268c751", "634d18415352ddfa80567beed471001a",
    "482c414d41f54cd18b22e5b47cb7c3cb", "40351d587109b95175f43aff81a1287e"), strict=True))
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
WORLD: dict = {}


class Options(Strict):
    download: bool = True  # fetch the archive when no file is there


def read(folder: Path, options: Options) -> Source:
    """Both official splits; one label column, class."""
    there = [name for name in MD5 if (folder / name).is_file()]
    if len(there) < len(MD5):
        if there or not options.download:
            raise absent(folder, ", ".join(MD5), WHERE)
        download(folder)
    inputs = verified(folder, MD5, WHERE)
    batches = {name: load_batch(folder / name) for name in MD5}
    images, labels = {}, {}
    for split, names in (("train", TRAIN), ("test", ("test_batch",))):
        flat = np.concatenate([batches[name][0] for name in names])
        images[split] = flat.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        labels[split] = np.concatenate([batches[name][1] for name in names])
    return arrays_source(images, labels, CLASSES, inputs)


def write(folder: Path, pictures: Iterable[Picture]) -> None:
    """Generated objects (32x32) as pickles in the official form."""
    kept: dict[str, list] = {"train": [], "test": []}
    for picture in pictures:
        if picture.split == "test":
            save_parts(folder, numbered_id("test", len(kept["test"])), picture.parts)
        kept[picture.split].append((picture.image, int(picture.labels["class"])))
    shares = np.array_split(np.arange(len(kept["train"])), len(TRAIN))
    for name, share in zip(TRAIN, shares, strict=True):
        save_batch(folder / name, [kept["train"][i] for i in share])
    save_batch(folder / "test_batch", kept["test"])


def save_batch(path: Path, pairs: list[tuple[np.ndarray, int]]) -> None:
    """Write images (32, 32, 3) and class codes as one official batch."""
    data = np.array([image.transpose(2, 0, 1).ravel() for image, _ in pairs], np.uint8)
    batch = {"data": data.reshape(-1, 3072), "labels": [label for _, label in pairs]}
    path.write_bytes(pickle.dumps(batch, protocol=2))


class Arrays(pickle.Unpickler):
    """Builds arrays and plain values, and nothing else whatever the file asks for."""

    ALLOWED = {"_reconstruct": np.empty(0).__reduce__()[0], "ndarray": np.ndarray,
               "dtype": np.dtype}

    def find_class(self, module: str, name: str) -> object:
        if module.split(".")[0] == "numpy" and name in self.ALLOWED:
            return self.ALLOWED[name]
        if (module, name) == ("_codecs", "encode"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"asks for {module}.{name}")


def load_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 (N, 3072), all red ones first, and class codes (N,) of one batch."""
    try:
        with path.open("rb") as handle:
            batch = Arrays(handle, encoding="latin1").load()
        data, labels = batch["data"], np.array(batch["labels"], np.int64)
        if data.dtype != np.uint8 or data.shape != (len(labels), 3072):
            raise ValueError("not (N, 3072) bytes")
        return data, labels
    except (pickle.UnpicklingError, EOFError, KeyError, TypeError, ValueError,
            AttributeError) as error:
        raise Problem(f"{path}: cannot be decoded ({error}); delete it and fetch it again") \
            from error


def download(folder: Path) -> None:
    """Fetch the official archive with torchvision; the folder appears when it is whole.

    Only the expected files are read out of it, so nothing in it can land anywhere else.
    """
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import download_url

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as part:
            download_url(CIFAR10.url, part, CIFAR10.filename, CIFAR10.tgz_md5)
            whole = Path(part, "whole")
            whole.mkdir()
            with tarfile.open(Path(part, CIFAR10.filename)) as archive:
                for name in MD5:
                    with archive.extractfile(f"{CIFAR10.base_folder}/{name}") as content:
                        (whole / name).write_bytes(content.read())
            whole.rename(folder)
    except (OSError, RuntimeError, KeyError, TypeError, tarfile.TarError) as error:
        raise absent(folder, f"{', '.join(MD5)} (downloading failed: {error})", WHERE) from error

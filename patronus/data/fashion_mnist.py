"""Fashion-MNIST: 60,000 + 10,000 gray garments of 28x28 in 10 classes.

Xiao, Rasul and Vollgraf, arXiv:1708.07747. To be had from
https://github.com/zalandoresearch/fashion-mnist, or fetched by torchvision when it is missing.
Expected, as torchvision keeps them (the set's folder is called FashionMNIST):

    raw/train-images-idx3-ubyte.gz   raw/train-labels-idx1-ubyte.gz
    raw/t10k-images-idx3-ubyte.gz    raw/t10k-labels-idx1-ubyte.gz

Their MD5 sums must be the official ones, which torchvision compares only while downloading.
"""

import gzip
import struct
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
    generated_counts,
    numbered_id,
    save_parts,
    verified,
)

WHERE = "https://github.com/zalandoresearch/fashion-mnist"
MD5 = {
    "raw/train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "raw/train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "raw/t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "raw/t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}
HOME = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"
FILES = {"train": "train", "test": "t10k"}
CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker",
           "Bag", "Ankle boot")
WORLD: dict = {}


class Options(Strict):
    download: bool = True  # fetch the files that are missing


def read(folder: Path, options: Options) -> Source:
    """Both official splits; one label column, class."""
    lacking = [name for name in MD5 if not (folder / name).is_file()]
    if lacking:
        expected = ", ".join(MD5)
        if not options.download or generated_counts(folder):
            raise absent(folder, expected, WHERE)
        download(folder, lacking, expected)
    inputs = verified(folder, MD5, WHERE)
    images = {split: load_idx(folder / f"raw/{file}-images-idx3-ubyte.gz", 3)
              for split, file in FILES.items()}
    labels = {split: load_idx(folder / f"raw/{file}-labels-idx1-ubyte.gz", 1)
              for split, file in FILES.items()}
    return arrays_source(images, labels, CLASSES, inputs)


def write(folder: Path, pictures: Iterable[Picture]) -> None:
    """Generated garments (28x28) as idx files."""
    kept: dict[str, list] = {split: [] for split in FILES}
    for picture in pictures:
        if picture.split == "test":
            save_parts(folder, numbered_id("test", len(kept["test"])), picture.parts)
        kept[picture.split].append((picture.image, int(picture.labels["class"])))
    (folder / "raw").mkdir()
    for split, file in FILES.items():
        images, labels = zip(*kept[split], strict=True)
        save_idx(folder / f"raw/{file}-images-idx3-ubyte.gz", np.stack(images))
        save_idx(folder / f"raw/{file}-labels-idx1-ubyte.gz", np.array(labels, np.uint8))


def load_idx(path: Path, dimensions: int) -> np.ndarray:
    """The uint8 array in a gzipped idx file, read-only."""
    try:
        content = gzip.decompress(path.read_bytes())
        shape = struct.unpack_from(f">{dimensions}I", content, 4)
        if content[:4] != bytes((0, 0, 8, dimensions)):
            raise ValueError(f"not an idx file of {dimensions} dimensions")
        return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
    except (OSError, EOFError, ValueError, struct.error) as error:
        raise Problem(f"{path}: cannot be decoded ({error}); delete it and fetch it again") \
            from error


def save_idx(path: Path, array: np.ndarray) -> None:
    """Write a uint8 array as a gzipped idx file, the same bytes for the same array."""
    head = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(head + array.tobytes(), mtime=0))


def download(folder: Path, names: list[str], expected: str) -> None:
    """Fetch files from the authors' repository; none appears unless its MD5 sum is right."""
    from torchvision.datasets.utils import download_url

    try:
        (folder / "raw").mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as part:
            for name in names:
                file = Path(name).name
                download_url(HOME + file, part, file, MD5[name])
                (Path(part) / file).replace(folder / name)
    except (OSError, RuntimeError) as error:
        raise absent(folder, f"{expected} (downloading failed: {error})", WHERE) from error

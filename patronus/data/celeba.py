"""CelebA, aligned and cropped: 202,599 faces of 178x218 with 40 binary attributes.

Liu, Luo, Wang and Tang, "Deep Learning Face Attributes in the Wild", ICCV 2015. To be had from
https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html (its terms forbid passing it on). Expected:

    img_align_celeba/000001.jpg ...   (img_align_celeba.zip; a second folder of that name inside
                                       the first is accepted)
    list_attr_celeba.txt              or list_attr_celeba.csv
    list_eval_partition.txt           or list_eval_partition.csv

directly in the set's folder or in celeba/ below it. The official split; -1 becomes 0.
"""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from patronus.config import Strict
from patronus.errors import Problem
from patronus.files import sha256
from patronus.reading import (
    BINARY,
    Picture,
    Source,
    absent,
    listing,
    open_image,
    read_table,
    refuse_unlisted,
    save_image,
    save_parts,
)

WHERE = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
IMAGES, ATTRIBUTES, PARTITION = "img_align_celeba", "list_attr_celeba", "list_eval_partition"
SPLITS = {0: "train", 1: "valid", 2: "test"}
WORLD: dict = {}  # keyword arguments of the world's sample_labels


class Options(Strict):
    """The layout leaves nothing to choose."""


def read(folder: Path, options: Options) -> Source:
    """The official split and all 40 attributes, in the order of the list."""
    base, images = _places(folder)
    lists = {key: _list_file(folder, base, key) for key in (ATTRIBUTES, PARTITION)}
    table = _attributes(lists[ATTRIBUTES])
    names = [column for column in table.columns if column != "id"]
    table.insert(1, "split", _splits(lists[PARTITION], table["id"]))
    inputs = {file.name: sha256(file) for file in lists.values()}
    inputs[IMAGES] = listing(images, table["id"], lists[ATTRIBUTES].name)
    refuse_unlisted(images, (f.name for f in images.glob("*.jpg")), table["id"],
                    lists[ATTRIBUTES].name)
    paths = [images / name for name in table["id"]]
    return Source(table, dict.fromkeys(names, BINARY), lambda i: open_image(paths[i]), inputs)


def write(folder: Path, pictures: Iterable[Picture]) -> None:
    """Generated faces in this layout (JPEG, quality 95)."""
    attributes, partition = [], []
    for number, picture in enumerate(pictures, 1):
        name = f"{number:06d}.jpg"
        save_image(folder / IMAGES / name, picture.image, quality=95)
        if picture.split == "test":
            save_parts(folder, name, picture.parts)
        attributes.append(f"{name} " + " ".join(f"{2 * int(v) - 1:2d}"
                                                for v in picture.labels.values()))
        partition.append(f"{name} {0 if picture.split == 'train' else 2}")
    head = [str(len(attributes)), " ".join(picture.labels)]
    (folder / f"{ATTRIBUTES}.txt").write_text("\n".join(head + attributes) + "\n")
    (folder / f"{PARTITION}.txt").write_text("\n".join(partition) + "\n")


def _places(folder: Path) -> tuple[Path, Path]:
    """The folder of the lists and the folder of the images."""
    for base in (folder, folder / "celeba"):
        for images in (base / IMAGES / IMAGES, base / IMAGES):
            if images.is_dir():
                return base, images
    raise _absent(folder)


def _list_file(folder: Path, base: Path, name: str) -> Path:
    found = [path for suffix in (".txt", ".csv") if (path := base / f"{name}{suffix}").is_file()]
    if not found:
        raise _absent(folder)
    return found[0]


def _absent(folder: Path) -> Problem:
    return absent(folder, f"{IMAGES}/*.jpg, {ATTRIBUTES}.txt and {PARTITION}.txt", WHERE)


def _attributes(path: Path) -> pd.DataFrame:
    """Columns id and one 0/1 column for each attribute."""
    if path.suffix == ".csv":
        table = read_table(path, dtype={0: str})
    else:
        with path.open(errors="replace", encoding="utf-8-sig") as lines:
            count, names = lines.readline().strip(), lines.readline().split()
        table = read_table(path, sep=r"\s+", skiprows=2, names=["id", *names], dtype={"id": str})
        if str(len(table)) != count:
            raise Problem(f"{path}: says {count} images and lists {len(table)}; fetch it again")
    table = table.rename(columns={table.columns[0]: "id"})
    for name in table.columns[1:]:
        if not table[name].isin([-1, 1]).all():
            raise Problem(f"{path}: column {name!r} holds values other than -1 and 1; "
                          "fetch it again")
    return table.set_index("id").eq(1).astype(int).reset_index()


def _splits(path: Path, ids: pd.Series) -> list[str]:
    """The split of each image, from the partition list."""
    plain = {} if path.suffix == ".csv" else {"sep": r"\s+", "header": None}
    table = read_table(path, **plain)
    if table.shape[1] < 2:
        raise Problem(f"{path}: has one column instead of image and split; fetch it again")
    partition = dict(zip(table.iloc[:, 0].astype(str), table.iloc[:, 1].map(SPLITS), strict=True))
    lacking = [name for name in ids if not isinstance(partition.get(name), str)]
    if lacking:
        raise Problem(f"{path}: gives no split (0, 1 or 2) for {lacking[0]} "
                      f"({len(lacking)} such images in all); fetch it again")
    return [partition[name] for name in ids]

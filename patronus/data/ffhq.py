"""FFHQ: 70,000 aligned faces, with age, gender and glasses from a table.

Karras, Laine and Aila, CVPR 2019. Images: https://github.com/NVlabs/ffhq-dataset. Age, gender and
glasses: https://github.com/DCGM/ffhq-features-dataset. Expected:

    thumbnails128x128/00000.png ...   or any folder of images, such as 256-pixel ones (option
                                      images); 00000/00000.png and so on is accepted too
    ffhq.csv                          or the folder json/ of the features (option table); a CSV has
                                      the columns image, age, gender, glasses (options)

The usual split: images 0..59999 train, the rest test (option train). Age becomes one of nine bins.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from PIL import Image

from patronus.config import Count, Positive, Strict
from patronus.errors import Problem
from patronus.files import load_json, sha256
from patronus.reading import (
    Picture,
    Source,
    absent,
    categorical,
    codes,
    generated_counts,
    images_below,
    listing,
    open_image,
    read_table,
    save_image,
    save_parts,
)
from patronus.worlds import faces

WHERE = ("https://github.com/NVlabs/ffhq-dataset (images) and "
         "https://github.com/DCGM/ffhq-features-dataset (age, gender, glasses)")
WORLD = {"gray": 0.6}
SIZE = 128


class Options(Strict):
    images: str = "thumbnails128x128"  # folder of the images
    table: str = "ffhq.csv"  # CSV file, or folder of the features' JSON files
    image: str = "image"  # the CSV's column of image numbers or file names
    age: str = "age"
    gender: str = "gender"
    glasses: str = "glasses"
    age_bins: tuple[Count, ...] = (3, 10, 20, 30, 40, 50, 60, 70)  # first year of each next bin
    train: Positive = 60_000  # images with a number below it are for training
    without_labels: Literal["error", "keep"] = "error"  # images that the table does not list


def read(folder: Path, options: Options) -> Source:
    """The usual split; label columns age, gender and glasses."""
    images, features = folder / options.images, folder / options.table
    if not images.is_dir() or not features.exists():
        raise absent(folder, f"{options.images}/00000.png ... and {options.table}", WHERE)
    files = numbered(images)
    table = (json_features if features.is_dir() else csv_features)(features, options)
    check_listed(table, files, images, features, options)
    table = table.reindex(sorted(files))
    train = generated_counts(folder).get("train", options.train)
    labels, columns = described(table, options)
    columns.insert(0, "id", [f"{number:05d}" for number in table.index])
    columns.insert(1, "split", np.where(table.index < train, "train", "test"))
    names = [files[number] for number in table.index]
    inputs = {options.table: sha256(features),
              options.images: listing(images, names, options.images)}
    return Source(columns, labels, lambda i: open_image(images / names[i]), inputs)


def write(folder: Path, pictures: Iterable[Picture]) -> None:
    """Generated faces as 128-pixel thumbnails: the largest square that holds the face."""
    rows = []
    for number, picture in enumerate(pictures):
        identity = f"{number:05d}"
        square = Image.fromarray(cropped(picture.image)).resize((SIZE, SIZE), Image.BICUBIC)
        save_image(folder / "thumbnails128x128" / f"{identity}.png", np.asarray(square))
        if picture.split == "test":
            save_parts(folder, identity, cropped(picture.parts))
        rows.append({"image": identity}
                    | faces.ffhq_labels(picture.labels, picture.seed, picture.index))
    pd.DataFrame(rows).to_csv(folder / "ffhq.csv", index=False, lineterminator="\n")


def cropped(pixels: np.ndarray) -> np.ndarray:
    """The square (W, W) of an array (H, W, ...) that leaves out less of the top."""
    height, width = pixels.shape[:2]
    top = round(0.4 * (height - width))
    return pixels[top:top + width]


def numbered(images: Path) -> dict[int, str]:
    """Image number to file, relative to the folder; subfolders of a thousand are entered."""
    files: dict[int, str] = {}
    for name in images_below(images):
        stem = Path(name).stem
        if not stem.isdecimal():
            raise Problem(f"{images / name}: the name is not an image number; remove the file")
        if int(stem) in files:
            raise Problem(f"{images / name}: is there twice (also {files[int(stem)]}); "
                          "remove one")
        files[int(stem)] = name
    if not files:
        raise Problem(f"{images}: holds no images; unpack them there")
    return files


def csv_features(path: Path, options: Options) -> pd.DataFrame:
    """Columns age, gender, glasses, indexed by image number."""
    wanted = {options.image: "image", options.age: "age", options.gender: "gender",
              options.glasses: "glasses"}
    table = read_table(path, wanted, dtype={options.image: str})
    table = table[list(wanted)].rename(columns=wanted)
    numbers = table.pop("image").str.extract(r"(\d+)(?:\.\w+)?$")[0]
    if numbers.isna().any():
        raise Problem(f"{path}: row {numbers.isna().argmax() + 2} has no image number in column "
                      f"{options.image!r}; mend it")
    table.index = pd.Index(numbers.astype(int), name="image")
    twice = table.index[table.index.duplicated()]
    if len(twice):
        raise Problem(f"{path}: image {twice[0]} occurs more than once; remove a row")
    return table


def json_features(folder: Path, options: Options) -> pd.DataFrame:
    """The same from the features' files; a file without a face keeps empty labels."""
    rows, names = {}, ["age", "gender", "glasses"]
    for path in sorted(folder.glob("*.json")):
        found = load_json(path)
        try:
            features = found[0]["faceAttributes"] if found else {}
            rows[int(path.stem)] = [features.get(name) for name in names]
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise Problem(f"{path}: holds no faceAttributes of a numbered image; fetch it again") \
                from error
    return pd.DataFrame.from_dict(rows, orient="index", columns=names)


def check_listed(table: pd.DataFrame, files: dict[int, str], images: Path, features: Path,
                 options: Options) -> None:
    """Raises Problem where the table and the folder do not hold the same images."""
    lost = sorted(set(table.index) - set(files))
    if lost:
        raise Problem(f"{images}: image {lost[0]} of {features.name} is absent ({len(lost)} such "
                      "rows in all); unpack the images again or shorten the table")
    extra = sorted(set(files) - set(table.index))
    if extra and options.without_labels == "error":
        raise Problem(f"{features}: does not list {files[extra[0]]} ({len(extra)} such images in "
                      "all); complete it, or set `without_labels: keep`")


def described(table: pd.DataFrame, options: Options) -> tuple[dict, pd.DataFrame]:
    """Descriptions and codes of the three label columns."""
    age = pd.to_numeric(table["age"], errors="coerce")
    if (age.isna() & table["age"].notna()).any():
        raise Problem(f"{options.table}: column {options.age!r} holds ages that are not numbers; "
                      "give years")
    bins = sorted(options.age_bins)
    columns = pd.DataFrame({"age": pd.Series(np.digitize(age, bins), table.index).where(
        age.notna())})
    labels = {"age": categorical(bin_names(bins))}
    for name in ("gender", "glasses"):
        columns[name], labels[name] = codes(table[name])
    return labels, columns.reset_index(drop=True)


def bin_names(bins: list[int]) -> list[str]:
    """Names such as 0-2, 3-9, 70+."""
    starts = [0, *bins]
    return [f"{a}-{b - 1}" for a, b in zip(starts, bins, strict=False)] + [f"{bins[-1]}+"]

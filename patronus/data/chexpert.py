"""CheXpert: chest films with 14 findings; frontal ones only.

Irvin et al., "CheXpert", AAAI 2019. To be had from
https://stanfordmlgroup.github.io/competitions/chexpert/ (its terms forbid passing it on).
Expected, in CheXpert-v1.0-small or CheXpert-v1.0:

    train.csv   train/patient00001/study1/view1_frontal.jpg ...
    valid.csv   valid/...

train.csv gives the training images. The 234 of valid.csv, read by three radiologists, are the test
images, unless the option test names the table of the official test set (then they are valid).

A finding of train.csv is 1, 0, -1 (the report is uncertain) or empty (the report does not mention
it). What the last two become is said in the options: by default not mentioned is negative, as in
the authors' baselines, and uncertain is unknown, so that nothing is measured on a guess.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from patronus.config import Strict
from patronus.errors import Problem
from patronus.files import sha256
from patronus.reading import (
    BINARY,
    Picture,
    Source,
    absent,
    codes,
    listing,
    open_image,
    read_table,
    save_image,
    save_parts,
)
from patronus.worlds import chest

WHERE = "https://stanfordmlgroup.github.io/competitions/chexpert/"
FINDINGS = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion",
    "Edema", "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion",
    "Pleural Other", "Fracture", "Support Devices")
POLICY = {"zero": 0.0, "one": 1.0, "missing": np.nan}
WORLD: dict = {}
LATERAL_EVERY = 100  # of the generated films has a lateral view, which the reader must leave out


class Options(Strict):
    uncertain: Literal["zero", "one", "missing"] = "missing"  # -1
    blank: Literal["zero", "missing"] = "zero"  # an empty cell
    sex: bool = False  # also the column Sex as a label
    test: str | None = None  # a table of the official test set, such as test_labels.csv


def read(folder: Path, options: Options) -> Source:
    """Frontal films; the findings as binary labels."""
    large = folder.with_name(folder.name.removesuffix("-small"))
    folder = large if large.is_dir() and not folder.is_dir() else folder
    tables = tables_of(folder, options)
    frames = [frontal(folder, name, options).assign(split=split)
              for split, name in tables.items()]
    table = pd.concat(frames, ignore_index=True)
    columns = {name: findings(table[name], name, options) for name in FINDINGS}
    labels = dict.fromkeys(FINDINGS, BINARY)
    if options.sex:
        columns["Sex"], labels["Sex"] = codes(table["Sex"].replace("Unknown", np.nan))
    inputs = {name: sha256(folder / name) for name in tables.values()}
    inputs["images"] = listing(folder, table["id"], " and ".join(tables.values()))
    paths = [folder / name for name in table["id"]]
    return Source(pd.DataFrame({"id": table["id"], "split": table["split"]} | columns), labels,
                  lambda i: open_image(paths[i]), inputs)


def tables_of(folder: Path, options: Options) -> dict[str, str]:
    """Which table gives which split."""
    tables = {"train": "train.csv", "test": options.test or "valid.csv"}
    if options.test:
        tables["valid"] = "valid.csv"
    if not all((folder / name).is_file() for name in tables.values()):
        raise absent(folder, f"{', '.join(sorted(tables.values()))} and the images they list",
                     WHERE)
    return tables


def frontal(folder: Path, name: str, options: Options) -> pd.DataFrame:
    """The frontal rows of a table, with an id column: the path below the set's folder."""
    table = read_table(folder / name, ["Path", *FINDINGS, *(["Sex"] if options.sex else [])])
    parts = table["Path"].astype(str).str.split("/")
    below = parts.str[0].str.startswith("CheXpert")
    table["id"] = [("/".join(p[1:] if cut else p)) for p, cut in zip(parts, below, strict=True)]
    return table[table["id"].str.rsplit("/", n=1).str[-1].str.contains("frontal")]


def findings(column: pd.Series, name: str, options: Options) -> pd.Series:
    """1, 0 or NaN, by the policies for -1 and for empty cells."""
    values = pd.to_numeric(column, errors="coerce")
    strange = column[column.notna() & ~values.isin([1, 0, -1])]
    if len(strange):
        raise Problem(f"column {name!r} of CheXpert's tables holds {strange.iloc[0]!r}; it may "
                      "hold 1, 0, -1 or nothing")
    filled = values.fillna(POLICY[options.blank])
    return filled.mask(values == -1, POLICY[options.uncertain])


def write(folder: Path, pictures: Iterable[Picture]) -> None:
    """Generated films in this layout: train.csv as reports say it, valid.csv as it is."""
    rows: dict[str, list[dict]] = {"train": [], "valid": []}
    for number, picture in enumerate(pictures, 1):
        part = "train" if picture.split == "train" else "valid"
        study = f"{part}/patient{number:05d}/study1"
        views = ["view1_frontal.jpg"]
        views += ["view2_lateral.jpg"] if number % LATERAL_EVERY == 1 else []
        for view in views:
            save_image(folder / study / view, picture.image, quality=95)
            rows[part].append(report(f"CheXpert-v1.0-small/{study}/{view}", number, picture))
        if part == "valid":
            save_parts(folder, f"{study}/{views[0]}", picture.parts)
    for part, lines in rows.items():
        pd.DataFrame(lines).to_csv(folder / f"{part}.csv", index=False, lineterminator="\n")


def report(path: str, number: int, picture: Picture) -> dict:
    """One row in the official columns; sex and age say nothing about the film."""
    is_frontal = "frontal" in path
    return {"Path": path, "Sex": "Male" if number % 2 else "Female", "Age": 20 + 7 * number % 70,
            "Frontal/Lateral": "Frontal" if is_frontal else "Lateral",
            "AP/PA": "AP" if is_frontal else ""} | (
        dict(picture.labels) if picture.split == "train" else truth(picture))


def truth(picture: Picture) -> dict[str, float]:
    """What is in a film: known labels as they are, unsure ones by what was drawn."""
    labels = {name: 0.0 for name in FINDINGS}
    for bit, name in enumerate(chest.PARTS):
        known = picture.labels[name]
        seen = bool((picture.parts >> np.uint32(bit) & 1).any())
        labels[name] = float(known) if known in (0, 1) else float(seen)
    labels["No Finding"] = float(not any(labels.values()))
    return labels

"""Bring your own: any folder of images, with a table of labels or one subfolder for each class.

With a table (option table: a CSV file with one row for each image):

    metadata.csv                 columns: file (path of the image), split (train, valid or test)
    images/a.png ...             and any label columns; an empty cell is unknown

Without: {train,valid,test}/<class>/x.jpg, or <class>/x.jpg.

Where no split is given, images are split by a hash of their id (or of a group's, such as a
patient's), so adding images moves none of the others. A column of 0 and 1 is binary; a column of
texts, or of at most 20 whole numbers, is categorical. A column of yes and no, true and false, or -1
and 1, is binary too, which a line says. Anything else must be named in an option.
"""

import os
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Annotated

import pandas as pd
from pydantic import Field

from patronus.config import Strict
from patronus.errors import Problem
from patronus.files import sha256
from patronus.reading import (
    BINARY,
    Source,
    absent,
    codes,
    images_below,
    listing,
    open_image,
    read_table,
    refuse_unlisted,
    sorted_files,
)
from patronus.seeds import seed_for

SPLITS = ("train", "valid", "test")
MOST_NAMES = 100  # a text column with more values is no label
MOST_NUMBERS = 20
TRUTHS = {"true": 1, "false": 0, "yes": 1, "no": 0}


class Options(Strict):
    table: str | None = None  # CSV file; None: one subfolder for each class
    file: str = "file"  # its column of image paths, relative to the set's folder
    split: str | None = None  # its column of splits; None: split by hash
    split_names: dict[str, str] = {}  # what the column calls them, for example {val: valid}
    group: str | None = None  # images with equal values here are never split apart
    test_share: Annotated[float, Field(gt=0, lt=1)] = 0.2  # where the split is by hash
    ignore: tuple[str, ...] = ()  # columns that are no labels
    binary: tuple[str, ...] = ()  # columns that are binary whatever they look like
    categorical: tuple[str, ...] = ()


def read(folder: Path, options: Options) -> Source:
    """The set with the labels that its table or its subfolders give."""
    if not folder.is_dir() or (options.table and not (folder / options.table).is_file()):
        expected = f"{options.table} and the images it lists" if options.table else \
            "train/<class>/*.jpg and test/<class>/*.jpg, or <class>/*.jpg"
        raise absent(folder, expected, "whoever made it")
    found = images_below(folder)
    table, labels = (from_table if options.table else from_folders)(folder, found, options)
    listed = options.table or "the folder"
    inputs = {"images": listing(folder, table["id"], listed)}
    if options.table:
        refuse_unlisted(folder, found, table["id"], options.table)
        inputs[options.table] = sha256(folder / options.table)
    paths = [folder / name for name in table["id"]]
    return Source(table, labels, lambda i: open_image(paths[i]), inputs)


def from_table(folder: Path, found: list[str], options: Options) -> tuple[pd.DataFrame, dict]:
    """Ids, splits and labels from the CSV file."""
    path = folder / options.table
    named = [name for name in (options.file, options.split, options.group, *options.ignore,
                               *options.binary, *options.categorical) if name]
    raw = read_table(path, named, dtype={options.file: str})
    if raw[options.file].isna().any():
        raise Problem(f"{path}: row {raw[options.file].isna().argmax() + 2} names no file; mend it")
    raw[options.file] = inside(raw[options.file], found, path)
    table = pd.DataFrame({"id": raw[options.file], "split": splits(raw, path, options)})
    labels = {}
    for name in raw.columns:
        if name in (options.file, options.split, options.group, *options.ignore):
            continue
        if name in ("id", "split", "row"):
            raise Problem(f"{path}: a label may not be called {name!r}; rename the column, or name "
                          "it in the options (split, ignore)")
        table[name], labels[name] = label(raw[name], path, options)
    return table, labels


def from_folders(folder: Path, found: list[str], options: Options) -> tuple[pd.DataFrame, dict]:
    """Ids, splits and the label class from subfolders."""
    parts = [Path(name).parts for name in found]
    with_split = bool(parts) and all(p[0] in SPLITS and len(p) > 2 for p in parts)
    depth = 1 if with_split else 0
    stray = [name for name, p in zip(found, parts, strict=True) if len(p) < depth + 2]
    if stray or not found:
        raise Problem(f"{folder / stray[0] if stray else folder}: expected "
                      "<class>/<image> or {train,valid,test}/<class>/<image>; move it, or name a "
                      "table in the options")
    _refuse_empty_classes(folder, found, depth)
    table = pd.DataFrame({"id": found})
    table["split"] = [p[0] for p in parts] if with_split else by_hash(table["id"], options)
    table["class"], description = codes(pd.Series([p[depth] for p in parts]))
    return table, {"class": description}


def inside(names: pd.Series, found: list[str], path: Path) -> list[str]:
    """A table's file names as the folder has them: ./a.png is a.png, in whatever Unicode form.

    Raises Problem for a file outside the folder, and for one that is listed twice.
    """
    on_disk = {unicodedata.normalize("NFC", name): name for name in found}
    plain = [os.path.normpath(name) for name in names]
    outside = [name for name in plain if os.path.isabs(name) or name.split(os.sep)[0] == os.pardir]
    if outside:
        raise Problem(f"{path}: lists {outside[0]}, which lies outside of {path.parent}; copy it "
                      "into that folder")
    named = [on_disk.get(unicodedata.normalize("NFC", name), name) for name in plain]
    twice = [name for name, count in Counter(named).items() if count > 1]
    if twice:
        raise Problem(f"{path}: lists {twice[0]} more than once ({len(twice)} such files in all); "
                      "keep one row of each")
    return named


def _refuse_empty_classes(folder: Path, found: list[str], depth: int) -> None:
    """Raises Problem for a class whose files are all left out: it would vanish silently."""
    _, others = sorted_files(folder)
    held = {Path(name).parts[:depth + 1] for name in found}
    for name in others:
        parts = Path(name).parts
        if len(parts) > depth + 1 and parts[:depth + 1] not in held:
            raise Problem(f"{folder / Path(*parts[:depth + 1])}: is a class without an image that "
                          f"can be read here (it has {parts[-1]}); convert its files to PNG or "
                          "JPEG, or move the folder away")


def splits(raw: pd.DataFrame, path: Path, options: Options) -> list[str]:
    """The split of each row, from its column or by hash."""
    if options.split is None:
        return by_hash(raw[options.group or options.file], options)
    wanted = raw[options.split].astype(object).map(lambda v: options.split_names.get(str(v), v))
    strange = wanted[~wanted.isin(SPLITS)]
    if len(strange):
        raise Problem(f"{path}: column {options.split!r} holds {strange.iloc[0]!r}; it may hold "
                      f"{', '.join(SPLITS)} (or give `split_names`)")
    return wanted.tolist()


def by_hash(keys: pd.Series, options: Options) -> list[str]:
    """test for a share of the keys, train for the rest."""
    limit = options.test_share * 2**63
    return ["test" if seed_for("split", key) < limit else "train" for key in keys]


def label(column: pd.Series, path: Path, options: Options) -> tuple[pd.Series, dict]:
    """Codes and description of a label column."""
    known = column.dropna()
    texts = known.astype(str).str.strip().str.lower()
    numbers = pd.to_numeric(texts.replace(TRUTHS), errors="coerce")
    if column.name in options.categorical:
        return codes(column)
    pair = set(texts.unique())
    if pair in ({"-1", "1"}, {"-1.0", "1.0"}) or pair <= set(TRUTHS) - {"true", "false"} and pair:
        no, yes = ("-1", "1") if "1" in {one[0] for one in pair} else ("no", "yes")
        print(f"note: {path}: column {column.name!r} holds {no} and {yes}, and is read as an "
              "attribute; `categorical` in the options makes classes of it")
        numbers = numbers.gt(0).astype(float)
    if column.name in options.binary or (len(known) and numbers.isin([0, 1]).all()):
        if not numbers.isin([0, 1]).all():
            raise Problem(f"{path}: column {column.name!r} is called binary and holds "
                          f"{known[~numbers.isin([0, 1])].iloc[0]}; it may hold 0, 1 or nothing")
        return numbers.reindex(column.index), BINARY
    return category(column, known, numbers, path)


def category(column: pd.Series, known: pd.Series, numbers: pd.Series,
             path: Path) -> tuple[pd.Series, dict]:
    """Codes of a column that looks categorical; a Problem for one that does not."""
    whole = bool((numbers % 1 == 0).all())
    most = MOST_NUMBERS if numbers.notna().any() else MOST_NAMES
    if not len(known) or known.nunique() > most or (numbers.notna().any() and not whole):
        raise Problem(f"{path}: column {column.name!r} is no label as it stands "
                      f"({known.nunique()} different values); put it under `ignore` or "
                      "`categorical` in the options")
    return codes(column)

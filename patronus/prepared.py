"""The prepared form of a data set, which every later stage reads. No torch here."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from patronus.errors import NotApplicable, Problem
from patronus.files import load_json

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Prepared:
    """results/<scale>/data/<dataset>/, opened without reading the images.

    `meta` holds dataset, title, generated, shape [C, H, W], counts {split: n} and labels
    {column: {"kind": "binary"} or {"kind": "categorical", "names": [...]}}.
    """

    folder: Path
    meta: dict

    @classmethod
    def open(cls, folder: Path) -> "Prepared":
        """Raises Problem if the folder is not a whole prepared set."""
        return cls(Path(folder), load_json(Path(folder) / "meta.json"))

    @property
    def splits(self) -> list[str]:
        return list(self.meta["counts"])

    @property
    def shape(self) -> tuple[int, int, int]:
        return tuple(self.meta["shape"])

    @cached_property
    def table(self) -> pd.DataFrame:
        """Columns id (str), split, row, then the labels as float64 (NaN = unknown)."""
        kinds = {name: "float64" for name in self.meta["labels"]}
        return pd.read_csv(self.folder / "table.csv", dtype={"id": str} | kinds,
                           keep_default_na=False, na_values=dict.fromkeys(kinds, [""]))

    def images(self, split: str) -> np.ndarray:
        """uint8 (N, C, H, W), memory-mapped and read-only."""
        self._check(split)
        return np.load(self.folder / f"{split}.npy", mmap_mode="r")

    def ids(self, split: str) -> list[str]:
        """The id of each image, in the order of `images`."""
        return self._rows(split)["id"].tolist()

    def labels(self, split: str) -> pd.DataFrame:
        """One row for each image, in their order; the label columns as float64, NaN = unknown."""
        return self._rows(split)[list(self.meta["labels"])].reset_index(drop=True)

    def output(self, split: str, name: str) -> np.ndarray:
        """(N,) of 0, 1 or NaN: a binary column, or "column=code": whether it has that code."""
        column, _, code = name.partition("=")
        values = self.labels(split)[column].to_numpy()
        return np.where(np.isnan(values), np.nan, values == int(code)) if code else values

    def name_of(self, output: str) -> str:
        """"column=code" in words: "column: name of the code"; a binary column as it is."""
        column, _, code = output.partition("=")
        names = self.meta["labels"].get(column, {}).get("names")
        return f"{column}: {names[int(code)]}" if code and names else output

    def parts(self) -> tuple[np.ndarray, list[str]]:
        """Masks uint32 (N_test, H, W) of the test images, and the names of their bits.

        Raises NotApplicable for sets that are not generated.
        """
        names = self._parts("parts")
        return np.load(self.folder / "parts.npy", mmap_mode="r"), names

    def negated_parts(self) -> list[str]:
        """Names of the parts that are seen where the label is 0, such as the beard of No_Beard."""
        return self._parts("negated")

    def _parts(self, key: str) -> list[str]:
        if not (self.folder / "parts.json").is_file():
            raise NotApplicable("only generated sets know which pixels belong to which part")
        return load_json(self.folder / "parts.json")[key]

    def _rows(self, split: str) -> pd.DataFrame:
        self._check(split)
        return self.table[self.table["split"] == split].sort_values("row")

    def _check(self, split: str) -> None:
        if split not in self.splits:
            raise Problem(f"{self.folder}: has no split '{split}'; it has "
                          f"{', '.join(self.splits)}")

"""What the dimension that is best for an attribute tells where another one is fixed.

The part of the stage "shortcut" that reads codes alone: which dimension would be chosen for the
first part of a tied pair, how sure that choice is, what it tells in test images (choice.py), and
what the same would give with encoders that were never trained (untrained.py).
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analysis import choice, untrained
from patronus.config import Cell
from patronus.errors import NotApplicable
from patronus.prepared import Prepared
from patronus.rows import random_rows
from patronus.seeds import seed_for
from patronus.stage import Job, device

if TYPE_CHECKING:
    from analysis.shortcut import Answered

MOST = 5000  # random test images of which it is asked what a dimension tells
ARRAYS = ("told", "told_low", "told_high", "chosen", "untrained")


class Read(NamedTuple):
    """What one side's model says of images: codes (N, m) of training and (n, m) of test images."""

    side: "Answered"
    data: Prepared
    codes: dict[str, np.ndarray]
    rows: dict[str, np.ndarray]  # of the images these are of, by split

    @classmethod
    def of(cls, folder: Callable[[str], Path], side: "Answered", cell: Cell) -> "Read":
        codes = {split: np.load(folder("codes") / f"{split}.npy") for split in ("train", "test")}
        rows = {"train": np.arange(len(codes["train"])),
                "test": random_rows(len(codes["test"]), MOST, "shortcut", "rows",
                                    cell.reference or cell.dataset)}
        return cls(side, Prepared.open(folder("data")),
                   {split: codes[split][rows[split]] for split in rows}, rows)

    def labels(self, split: str, names: list[str]) -> list[np.ndarray]:
        """Labels (n,) of the parts `names` of the images of a split."""
        return [self.side.label(self.data, split, name)[self.rows[split]] for name in names]

    def told(self, pairs: list[list[str]]) -> np.ndarray:
        """(P, 2): choice.told of each pair, without an interval."""
        return np.array([choice.told(best, self.codes["test"], *self.labels("test", pair))
                         for pair, best in zip(pairs, self.choices(pairs), strict=True)])

    def choices(self, pairs: list[list[str]]) -> list[choice.Choice]:
        """Of each pair, the dimension that tells its first part in training images."""
        rng = np.random.default_rng(seed_for("shortcut", "choice", self.data.meta["dataset"]))
        return [choice.choose(self.codes["train"], *self.labels("train", pair[:1]), rng)
                for pair in pairs]


def told(read: list[Read], choices: list[list[choice.Choice]],
         pairs: list[list[str]]) -> dict[str, np.ndarray]:
    """The arrays told* and chosen of shortcut.npz."""
    rng = np.random.default_rng(seed_for("shortcut", "told", read[0].data.meta["dataset"]))
    found = np.array([[choice.told_within(best, one.codes["test"], *one.labels("test", pair), rng)
                       for pair, best in zip(pairs, its, strict=True)]
                      for one, its in zip(read, choices, strict=True)])
    return dict(zip(("told", "told_low", "told_high"), np.moveaxis(found, 2, 0), strict=True)) | {
        "chosen": np.array([[best.share.max() for best in its] for its in choices])}


def controls(job: Job, read: list[Read], pairs: list[list[str]]) -> np.ndarray:
    """`told` (2, P, E, 2) of E untrained encoders; E is 0 for a method without prototypes."""
    try:
        found = [[one.told(pairs) for one in population(job, side)] for side in read]
    except NotApplicable:
        return np.empty((len(read), len(pairs), 0, 2))
    return np.moveaxis(np.array(found), 1, 2)


def population(job: Job, one: Read) -> Iterator[Read]:
    """The same images as untrained encoders of the cell's shape read them."""
    names = "shortcut", "untrained", one.data.meta["dataset"]
    rows = {split: some[random_rows(len(some), untrained.MOST, *names, split)]
            for split, some in one.rows.items()}
    for codes in untrained.population(job.cell, one.data, rows, device(job)):
        yield one._replace(codes=codes, rows=rows)


def spoken(one: Read, choices: list[choice.Choice], pairs: list[list[str]],
           found: dict[str, np.ndarray]) -> list[dict]:
    """The entries of shortcut.json's `told` for one side; `found` holds its ARRAYS."""
    return [{"dataset": one.data.meta["dataset"], "pair": pair, "candidates": len(best.auroc),
             "best": best.ranked(3), "chosen": number(found["chosen"][p]),
             "told": [_of_label(one, pair, p, k, found) for k in range(2)]}
            for p, (pair, best) in enumerate(zip(pairs, choices, strict=True))]


def _of_label(one: Read, pair: list[str], p: int, k: int, found: dict[str, np.ndarray]) -> dict:
    """What is told of the k-th part of pair p where the other one is fixed; n test images."""
    label, fixed = (one.labels("test", [pair[at]])[0] for at in (k, 1 - k))
    return {"of": pair[k], "fixed": pair[1 - k],
            "n": int(sum(some.sum() for some in choice.strata(label, fixed))),
            "value": [number(found[key][p, k]) for key in ARRAYS[:3]],
            "untrained": [number(value) for value in np.sort(found["untrained"][p, :, k])]}


def number(value: np.ndarray) -> float | None:
    """As JSON has it: null for NaN."""
    return None if np.isnan(value) else float(value)

"""What a measure says about itself, and the types it takes and gives. No torch here.

A measure is a file in analysis/measures/ with

    SPECS: tuple[Spec, ...]     one for each name it adds to the tables
    KNOWN: tuple[Known, ...]    for each of them a perfect, a null and a hostile case

and nothing else has to be edited: `analysis.measure` runs it, `analysis.collect` expects it in
every cell, and tests/contract/test_measures.py tries its known answers.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from patronus.errors import Problem

FOLDER = Path(__file__).resolve().parent / "measures"
KEY = ["measure", "variant", "extractor"]  # what names a row of a cell
COLUMNS = ["measure", "variant", "value", "low", "high", "level", "resamples", "n", "low_new",
           "high_new", "resamples_new", "d", "split", "extractor", "unit", "direction", "reason"]
LEVELS = {"95 %": "95 % interval", "sd": "standard deviation on both sides",
          "range": "lowest and highest"}  # what the ends of a row may be


@dataclass(frozen=True)
class Labels:
    """Labels of N images: `values` (N, K) float64, NaN = unknown, integer codes otherwise."""

    values: np.ndarray
    names: tuple[str, ...]
    categorical: tuple[bool, ...]  # a column is categorical (codes 0..K-1) or binary (0 or 1)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: slice | np.ndarray) -> "Labels":
        return Labels(self.values[rows], self.names, self.categorical)

    @classmethod
    def of(cls, table: pd.DataFrame, columns: dict[str, dict]) -> "Labels":
        """From a label table and the `labels` entry of a set's meta.json."""
        values = table[list(columns)].to_numpy(dtype=np.float64, na_value=np.nan)
        return cls(values, tuple(columns),
                   tuple(about["kind"] == "categorical" for about in columns.values()))


@dataclass(frozen=True)
class Value:
    """A measured number: `n` is what it was measured on, `detail` goes to details.json."""

    value: float
    n: int
    low: float | None = None  # what the two mean: Spec.level and Spec.resamples
    high: float | None = None
    unit: str | None = None  # where it is another than Spec.unit
    detail: dict = field(default_factory=dict)
    d: int | None = None  # dimensions or parts (Spec.across) whose mean it is
    low_new: float | None = None  # 95 % interval for new dimensions or parts and new images
    high_new: float | None = None
    scores: np.ndarray | None = field(default=None, compare=False, repr=False)
    # (D, n) whose mean it is, NaN unknown, for paired comparisons on the same images; not stored


@dataclass(frozen=True)
class Row:
    """One row that a measure adds to every cell: what is computed from which arrays.

    `compute` is a pure function of the arrays that `needs` names, in that order; it raises
    NotApplicable with the reason where they allow no answer. Needs are names that
    `analysis.measure.Arrays` resolves: images.<split>, images.sampled (the test images that
    samples.conditional and samples.reconstruction show), labels.<split>, codes.<split>,
    samples.<name>, features.<extractor>.<split or sample name>, interventions.<array>,
    denoising.<array>, explanations.<file>.<array>, parts.test (masks), parts.names (of their bits),
    codes.other_seeds (S - 1, N, D), shortcut.<array> of the data set that ties attributes of this
    one, costs.<key> (count, count of the same denoiser without a code).
    """

    variant: str
    compute: Callable[..., Value]
    needs: tuple[str, ...]
    split: str  # of the data that the value speaks about
    extractor: str = ""


@dataclass(frozen=True)
class Spec:
    """A measure: what its number is, and the rows it adds to every cell."""

    name: str
    title: str
    unit: str
    direction: Literal["higher", "lower"]  # which is better
    source: str
    rows: tuple[Row, ...]  # the first is the headline: the one that the table of all measures shows
    least_n: int = 1  # rows of the shortest array; with fewer the answer is n/a
    paired: bool = False  # row i of all arrays is the same image: so all are equally long
    level: Literal["", "95 %", "sd", "range"] = ""  # of low and high: see LEVELS
    resamples: str = ""  # what they are over: images, dimensions, folds, pairs of trainings
    across: Literal["", "dimensions", "parts"] = ""  # what low_new and high_new are over as well
    chance: str = ""  # what a model that knows nothing gets, where there is such a level

    @property
    def spread(self) -> str:
        """What low and high mean, in words; empty where the measure has neither."""
        if not self.level:
            return ""
        these = f", these {self.across}" if self.across else ""
        return f"{LEVELS[self.level]} over {self.resamples}{these}"

    @property
    def resamples_new(self) -> str:
        """What low_new and high_new are over; empty where the measure has neither."""
        return f"{self.across} and {self.resamples}" if self.across else ""


@dataclass(frozen=True)
class Known:
    """A case with a known answer: low <= value <= high, or `reason` is part of the n/a reason.

    Tried on every function that the measure's rows compute. `n` is the n that it must say, by
    default the length of the first array; `d` the number of dimensions or parts, where given.
    """

    measure: str
    kind: Literal["perfect", "null", "hostile"]
    arrays: Callable[[np.random.Generator], tuple]
    low: float = -np.inf
    high: float = np.inf
    reason: str = ""
    n: int | None = None
    d: int | None = None


def modules() -> list[str]:
    """Names of the measure modules: every file in analysis/measures/."""
    return [f"analysis.measures.{path.stem}" for path in sorted(FOLDER.glob("[a-z]*.py"))]


@cache
def specs() -> dict[str, Spec]:
    """Every measure by name. Raises Problem that names the file which breaks the contract."""
    found, origin = {}, {}
    for module in modules():
        file = f"analysis/measures/{module.rpartition('.')[2]}.py"
        for spec in _declared(module, file):
            if spec.name in found:
                raise Problem(f"{file}: the measure {spec.name!r} stands in {origin[spec.name]} "
                              "already; give one of the two another name")
            found[spec.name], origin[spec.name] = spec, file
    return found


def _declared(module: str, file: str) -> tuple[Spec, ...]:
    """SPECS of a measure's module, of the right types, and with known answers and a docstring."""
    held = importlib.import_module(module)
    declared, known = getattr(held, "SPECS", None), getattr(held, "KNOWN", None)
    right = isinstance(declared, tuple) and all(
        isinstance(spec, Spec) and isinstance(spec.rows, tuple) and spec.rows
        and all(isinstance(row, Row) for row in spec.rows) for spec in declared)
    if not right or not declared:
        raise Problem(f"{file}: needs SPECS, a tuple of Spec each with a tuple of Row; see "
                      "docs/measures.md")
    lacking = {(spec.name, kind) for spec in declared for kind in ("perfect", "null", "hostile")} \
        - {(case.measure, case.kind) for case in known or ()}
    if lacking:
        raise Problem(f"{file}: KNOWN has no {min(lacking)[1]} case of {min(lacking)[0]!r}; a "
                      "measure comes with a perfect, a null and a hostile case")
    if not (held.__doc__ or "").strip():
        raise Problem(f"{file}: has no docstring; say there what it measures and how")
    return declared


def expected() -> list[tuple[str, str, str]]:
    """(measure, variant, extractor) of every row that each cell must have."""
    return [(spec.name, row.variant, row.extractor)
            for spec in specs().values() for row in spec.rows]

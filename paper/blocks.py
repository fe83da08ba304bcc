"""Every measure of every method as tables of a few columns, by data set and block.

Which measures there are, their direction, chance and what their intervals mean is read from
analysis/measures/: a new file there is a new column here. Shown is the first row of each measure:
mean ± standard deviation over training seeds, or, of one seed, the 95 % interval of that model.
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import floor, log10
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from IPython.display import Markdown, display

from analysis.spec import Row, Spec, specs
from paper.table import (
    ABOUT_TRACKS,
    as_latex,
    as_markdown,
    by_track,
    heading,
    ours,
    seeds_of,
)
from patronus.files import save_text

WIDEST = 7  # columns of measures that a landscape A4 page holds, with intervals
SHORT = 6  # letters of a chance level that stands in the table
BLOCKS = {  # as published by the first letter, the others by their numbers in measures.md
    "A": "as published", "B1 B2": "does the image obey the code, and that dimension alone",
    "B3 B4 B5 B9": "where, what and when", "B6 B7 B8 B10": "stability, sensitivity, shortcuts, use",
    "B11": "cost"}
ARROWS = {"higher": "↑", "lower": "↓"}
SPREAD = ("mean ± standard deviation over training seeds; [low, high]: of one training, its 95 % "
          "interval over dimensions, parts or images, which knows nothing of another training")


@dataclass(frozen=True)
class Column:
    """A measure, by its headline row."""

    spec: Spec
    row: Row
    block: str

    @property
    def title(self) -> str:
        return f"{self.spec.title} {ARROWS[self.spec.direction]}"

    @property
    def about(self) -> str:
        """What the number is, in words."""
        chance = f"chance: {self.spec.chance}" if self.spec.chance else ""
        variant = self.row.variant if len(self.spec.rows) > 1 else ""
        return f"{self.spec.title}: " + ", ".join(filter(None, (self.spec.unit, variant, chance)))


class Sheet(NamedTuple):
    """One table: of one data set and some columns of one block."""

    caption: str
    headings: list[str]
    rows: list[list[str]]
    notes: list[str]
    name: str


def columns() -> list[Column]:
    """Every measure there is, by block and within one as its files are."""
    found = [Column(spec, spec.rows[0], block(spec)) for spec in specs().values()]
    return sorted(found, key=lambda column: list(BLOCKS).index(column.block))


def block(spec: Spec) -> str:
    """The block of a measure, by the number in measures.md that its source names."""
    number = re.search(r"measures\.md (B\d+)", spec.source)
    return next((key for key in BLOCKS if number and number[1] in key.split()), "A")


def entries(measured: pd.DataFrame) -> pd.DataFrame:
    """One row for each data set, method and measure of table.csv."""
    sets = by_track(measured).groupby("dataset", sort=False)
    return pd.DataFrame([entry for _, of_set in sets
                         for _, rows in of_set.groupby("method", sort=False)
                         for entry in _of_method(rows)])


def _of_method(rows: pd.DataFrame) -> Iterator[dict]:
    parts = dict(iter(rows.groupby(["measure", "variant"])))
    for column in columns():
        yield _entry(parts.get((column.spec.name, column.row.variant), rows), column)


def _entry(rows: pd.DataFrame, column: Column) -> dict:
    """Of the rows of one method that are this measure's, or all of them where it has none."""
    spec, row = column.spec, column.row
    found = ours(rows, row.variant, spec.name)
    known = rows[rows["value"].notna()]
    alone = found["seeds"] == 1 and "95 %" in spec.spread
    ends = known[["low", "high"]].iloc[0] if alone else {"low": None, "high": None}
    return {"block": column.block} | found | {
        "low": ends["low"], "high": ends["high"], "spread": spec.spread if alone else "",
        "direction": spec.direction, "chance": spec.chance}


def sheets(found: pd.DataFrame, title: str, name: str) -> Iterator[Sheet]:
    """The tables of these entries, data set by data set."""
    for dataset, of_set in found.groupby("dataset", sort=False):
        for key, of_block in itertools.groupby(columns(), lambda column: column.block):
            for k, some in enumerate(split(list(of_block))):
                cells = of_set[of_set["measure"].isin([column.spec.name for column in some])]
                about = f"{title}. {key.replace(' ', ', ')}: {BLOCKS[key]}"
                label = f"{name}_{dataset}_{key.replace(' ', '_')}_{k}"
                yield Sheet(heading(cells, about), *grid(cells, some), label)


def split(some: list[Column]) -> list[list[Column]]:
    """The columns in as few parts as are not too wide, of about one width."""
    parts = -(-len(some) // WIDEST)
    ends = [len(some) * k // parts for k in range(parts + 1)]
    return [some[a:b] for a, b in itertools.pairwise(ends)]


def grid(cells: pd.DataFrame, some: list[Column]) -> tuple[list[str], list[list[str]], list[str]]:
    """(headings, rows of text, notes): methods one below another, and the chance level last."""
    numbers: dict[str, int] = {}
    rows = [[title, track or "–", *(text(of[column.spec.name], numbers) for column in some),
             seeds_of(of_method)]
            for (_, title, track), of_method in cells.groupby(
                ["method", "method_title", "track"], sort=False)
            for of in [{cell.measure: cell for cell in of_method.itertuples()}]]
    if any(column.spec.chance for column in some):
        rows.append(["chance", "", *(level(column.spec.chance) for column in some), ""])
    notes = [SPREAD, ABOUT_TRACKS, *(column.about for column in some),
             *(f"({number}) {why}" for why, number in numbers.items())]
    return ["Method", "Track", *(column.title for column in some), "Seeds"], rows, notes


def level(chance: str) -> str:
    """A chance level as the table shows it; a long one stands in the notes."""
    return (chance if len(chance) <= SHORT else "see below") or "–"


def text(cell, numbers: dict[str, int]) -> str:
    """One entry: mean ± spread or [low, high]; n/a and the number of its reason."""
    parts = ["n/a"] if pd.isna(cell.mean) else [number(cell.mean)]
    if cell.seeds > 1:
        parts.append(f"± {number(cell.std, cell.mean)}")
    elif pd.notna(cell.low):
        parts.append(f"[{number(cell.low, cell.mean)}, {number(cell.high, cell.mean)}]")
    if cell.reason:
        parts.append(f"({numbers.setdefault(cell.reason, len(numbers) + 1)})")
    return " ".join(parts)


def number(value: float, like: float | None = None) -> str:
    """Three digits, at most three decimals; as many decimals as `like` would have."""
    size = abs(value if like is None else like)
    decimals = min(max(2 - floor(log10(size)), 0), 3) if size > 0 else 3
    return f"{value:,.{decimals}f}".replace("-", "−")


def save(found: pd.DataFrame, out: str, name: str, title: str) -> None:
    """Write the entries as <name>.csv, their tables as <name>.md and <name>.tex, and show them."""
    folder, made = Path(out), list(sheets(found, title, name))
    pages = [as_markdown(*sheet[:4]) for sheet in made]
    save_text(folder / f"{name}.csv", found.to_csv(index=False))
    save_text(folder / f"{name}.md", "\n".join(pages))
    save_text(folder / f"{name}.tex", "\n".join(as_latex(*sheet, sideways=True) for sheet in made))
    for page in pages:
        display(Markdown(page))

"""Every measure of every method as tables of a few columns, by data set and block.

Which measures there are, their direction, chance and what their intervals mean is read from
analysis/measures/: a new file there is a new column here. Shown is the first row of each measure:
mean ± standard deviation over training seeds, or, of one seed, what that model's images, folds or
dimensions leave unsure; of what compares trainings, the range of their pairs.
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
    joined,
    ours,
    seeds_of,
    span,
)
from patronus.files import save_text

WIDEST = 7  # columns of measures that a landscape A4 page holds, with intervals
SHORT = 6  # letters of a chance level that stands in the table
BLOCKS = {  # the faithfulness measures by their numbers in measures.md
    "A images": "as published, of images", "A codes": "as published, of codes",
    "B1 B2": "does the image obey the code, and does that dimension alone",
    "B3 B4 B5 B9": "where, what and when",
    "B6 B7 B8 B10": "stability, sensitivity, shortcuts, use of the code", "B11": "cost"}
ARROWS = {"higher": "↑", "lower": "↓"}
NEW = "– new dimensions or parts"  # names the row below a method
SPREAD = ("mean ± standard deviation over training seeds; of one training, which knows nothing of "
          "another: [low, high], 95 % interval over what the measure names below, for the "
          f"dimensions or parts at hand and, in the row “{NEW}”, for others; (± s), standard "
          "deviation over folds, which is no interval")
ABOUT_ENDS = {"95 %": "[ ]", "range": "( to ): lowest and highest", "sd": "(± ): deviation"}
ENDS = {"95 %": "[{low}, {high}]", "range": "({low} to {high})", "sd": "(± {half})"}


@dataclass(frozen=True)
class Column:
    """A measure, by its headline row."""

    spec: Spec
    row: Row
    block: str

    @property
    def pairs(self) -> bool:
        """Whether it compares trainings: then the values of two seeds are not independent."""
        return "codes.other_seeds" in self.row.needs

    @property
    def title(self) -> str:
        return f"{self.spec.title} {ARROWS[self.spec.direction]}"

    def about(self, cells: pd.DataFrame) -> str:
        """What the number is, in words: variant, unit, n of these entries, split, chance."""
        own, split = cells[cells["measure"] == self.spec.name], self.row.split
        variant = self.row.variant if len(self.spec.rows) > 1 and self.row.variant != split else ""
        n = counted("n", own["n"], own["n_max"], self.spec.resamples)
        d = counted("D", own["d"], own["d_max"], self.spec.across)
        chance = f"chance: {self.spec.chance}" if self.spec.chance else ""
        parts = (variant, joined(own["unit"]), f"{n} ({split})" if n and split else "", d,
                 *over(own), chance)
        return f"{self.spec.title}: " + ", ".join(filter(None, parts))


def over(own: pd.DataFrame) -> list[str]:
    """What the ends are over that the entries of a measure show; nothing where they show none."""
    ends = [f"{ABOUT_ENDS[level]} over {joined(rows['resamples'])}"
            for level, rows in own.groupby("level")]
    new = joined(own["resamples_new"])
    return [*ends, f"[ ] below over {new}"] if new else ends


def counted(letter: str, low: pd.Series, high: pd.Series, what: str) -> str:
    """"n = 24 to 30 images" of counts that some entries have; empty where none has."""
    if not low.notna().any():
        return ""
    what = f" {what}" if what in ("images", "dimensions", "parts") else ""
    return f"{letter} = {span(low.min(), high.max())}{what}"


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
    if number:
        return next(key for key in BLOCKS if number[1] in key.split())
    reads = {need.partition(".")[0] for need in spec.rows[0].needs}
    return "A codes" if "codes" in reads else "A images"


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
    known = rows[rows["value"].notna() & (rows["measure"] == spec.name)]
    if column.pairs:
        found["std"] = float("nan")
    ends = dict.fromkeys(("low", "high", "level", "resamples", "low_new", "high_new",
                          "resamples_new"))
    ranged = known[known["low"].notna()]
    if column.pairs and len(ranged):  # of all pairs, not of each seed's means
        ends |= {"low": ranged["low"].min(), "high": ranged["high"].max()}
        ends |= ranged[["level", "resamples"]].iloc[0].to_dict()
    elif found["seeds"] == 1:
        ends = known[list(ends)].iloc[0].to_dict()
    return {"block": column.block} | found | {
        "d": known["d"].min(), "d_max": known["d"].max(), **ends,
        "direction": spec.direction, "chance": spec.chance}


def sheets(found: pd.DataFrame, title: str, name: str) -> Iterator[Sheet]:
    """The tables of these entries, data set by data set."""
    for dataset, of_set in found.groupby("dataset", sort=False):
        for key, of_block in itertools.groupby(columns(), lambda column: column.block):
            for k, some in enumerate(split(list(of_block))):
                cells = of_set[of_set["measure"].isin([column.spec.name for column in some])]
                about = f"{title}. {key[0] if key[0] == 'A' else key.replace(' ', ', ')}: " \
                    f"{BLOCKS[key]}"
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
    rows = []
    for (_, title, track), of_method in cells.groupby(["method", "method_title", "track"],
                                                      sort=False):
        rows.append([title, track or "–", *_texts(of_method, some, numbers), seeds_of(of_method)])
        if of_method["low_new"].notna().any():
            rows.append([NEW, "", *_news(of_method, some), ""])
    if any(column.spec.chance for column in some):
        rows.append(["chance", "", *(level(column.spec.chance) for column in some), ""])
    headings = ["Method", "Track", *(column.title for column in some), "Seeds"]
    about = [column.about(cells) for column in some]
    reasons = [f"({number}) {why}" for why, number in numbers.items()]
    if cells["track"].any():
        return headings, rows, [SPREAD, ABOUT_TRACKS, *about, *reasons]
    return headings[:1] + headings[2:], [row[:1] + row[2:] for row in rows], \
        [SPREAD, *about, *reasons]


def _texts(of_method: pd.DataFrame, some: list[Column], numbers: dict[str, int]) -> list[str]:
    found = {cell.measure: cell for cell in of_method.itertuples()}
    return [text(found[column.spec.name], numbers) for column in some]


def _news(of_method: pd.DataFrame, some: list[Column]) -> list[str]:
    """The intervals for other dimensions or parts and other images, where a measure has one."""
    found = {cell.measure: cell for cell in of_method.itertuples()}
    return [ends(found[column.spec.name], "_new") for column in some]


def level(chance: str) -> str:
    """A chance level as the table shows it; a long one stands in the notes."""
    return (chance if len(chance) <= SHORT else "see below") or "–"


def text(cell, numbers: dict[str, int]) -> str:
    """One entry: mean ± spread or [low, high]; n/a and the number of its reason."""
    parts = ["n/a"] if pd.isna(cell.mean) else [number(cell.mean)]
    if pd.notna(cell.std):
        parts.append(f"± {number(cell.std, cell.mean)}")
    elif pd.notna(cell.low):
        parts.append(ends(cell))
    if cell.reason:
        parts.append(f"({numbers.setdefault(cell.reason, len(numbers) + 1)})")
    return " ".join(parts)


def ends(cell, which: str = "") -> str:
    """What is beside a value, in brackets that say which kind it is; empty where nothing is."""
    low, high = getattr(cell, f"low{which}"), getattr(cell, f"high{which}")
    if pd.isna(low):
        return ""
    shape = ENDS["95 %" if which else cell.level]
    return shape.format(low=number(low, cell.mean), high=number(high, cell.mean),
                        half=number((high - low) / 2, cell.mean))


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

"""Tables: measures/table.csv laid out for people, with the published values beside ours.

A table is a list of entries, one for each data set, method and column: that list is the CSV; the
Markdown and LaTeX show the same entries. Nothing is left out: what a study did not measure is
an "n/a" with its reason.
"""

import itertools
import string
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import pandas as pd
import yaml
from IPython import get_ipython
from IPython.display import Markdown, display

from paper.style import GENERATED, scaled, titled
from patronus.errors import Problem
from patronus.files import save_text

NOT_HERE = "not in this study"
SPLITS = ("test", "train")  # test first: the headline
TRACKS = ("", "matched", "published", "supervised")  # in this order; never ranked together
ABOUT_TRACKS = ("track: matched to Patronus's denoiser, code size and training; published, the "
                "method's own; supervised, given labels in training and so not to be ranked with "
                "the others; –, one and the same (baselines/README.md)")
SPREAD = ("mean ± standard deviation over training seeds; "
          "where one seed was trained no spread is known")
SPLIT = "split: of the codes (latent score, TAD, captured) or the reference images (the others)"
HEADING = 16  # letters of a line
TEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
       "{": r"\{", "}": r"\}", "|": r"\textbar{}", "~": r"\textasciitilde{}",
       "^": r"\textasciicircum{}",
       "±": r"$\pm$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "–": "--", "−": "$-$",
       "×": r"$\times$", "‘": "`", "’": "'", "Δ": r"$\Delta$", "µ": r"$\mu$", "<": r"$<$",
       ">": r"$>$"}


@dataclass(frozen=True)
class Column:
    """One column: the rows of table.csv that have this measure."""

    key: str  # the measure, and the name in published.yaml
    title: str
    digits: int


UNKNOWN = ("value", "low", "high", "low_new", "high_new", "n", "d", "level", "resamples",
           "resamples_new", "reason")  # columns in which an empty cell says that there is none
COLUMNS = {column.key: column for column in (
    Column("tad", "TAD ↑", 2),
    Column("captured", "Captured ↑", 1),
    Column("latent_score", "Latent ↑", 3),
    Column("fid", "FID ↓", 1),
    Column("rfid", "rFID ↓", 1),
    Column("fd_cls", "FD-cls ↓", 2),
    Column("rfd_cls", "rFD-cls ↓", 2),
)}


def published() -> dict:
    """paper/published.yaml."""
    path = Path(__file__).with_name("published.yaml")
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def entries(measured: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """One row for each data set, split, method and column.

    `measured` is table.csv, or the data sets of it that the table is about. The split is that of
    the codes (latent score, TAD) or of the reference images (FID and its like). What only the
    paper has comes after ours.
    """
    paper = published()["rows"]
    found = []
    measured = by_track(measured)
    for dataset, of_set in measured.groupby("dataset", sort=False):
        printed = [row for row in paper if row["dataset"] == dataset]
        for split, (method, rows) in itertools.product(
                SPLITS, of_set.groupby("method", sort=False)):
            beside = next((row for row in printed if row.get("method") == method), {})
            found += [ours(rows, split, key) | _printed(beside, key, split) for key in keys]
        methods = set(of_set["method"])
        found += [_theirs(row, key) for row in printed if row.get("method") not in methods
                  for key in keys]
    return pd.DataFrame(found)


def by_track(measured: pd.DataFrame) -> pd.DataFrame:
    """The rows in the order of their tracks, as they were within each."""
    return measured.assign(track=measured["track"].fillna("")).sort_values(
        "track", key=lambda tracks: tracks.map(TRACKS.index), kind="stable")


def ours(rows: pd.DataFrame, split: str, key: str) -> dict:
    """Mean and spread over training seeds of one method on one data set."""
    first = rows.iloc[0]
    chosen = rows[(rows["measure"] == key) & (rows["variant"] == split)]
    if chosen["seed"].duplicated().any():
        raise Problem(f"table.csv: {first['dataset']}/{first['method']}: {key}, {split} has "
                      "several rows for one seed; run the stage `measures` again")
    values = chosen["value"].dropna()
    reasons = chosen.loc[chosen["value"].isna(), "reason"] if len(chosen) else [NOT_HERE]
    return {
        "scale": first["scale"], "dataset": first["dataset"],
        "title": titled(first["title"], bool(first["generated"])),
        "generated": bool(first["generated"]), "method": first["method"],
        "method_title": first["method_title"], "track": first["track"], "split": split,
        "measure": key,
        "mean": values.mean(), "std": values.std(), "seeds": len(values),
        "n": chosen["n"].min(), "n_max": chosen["n"].max(), "unit": joined(chosen["unit"]),
        "images_seen": rows["images_seen"].max(), "reason": joined(reasons)}


def _printed(row: dict, key: str, *splits: str) -> dict:
    """What the paper has for a column by the protocol of these splits."""
    values = {k: v for split in splits for k, v in row.get("values", {}).get(split, {}).items()}
    return {"published": values.get(key), "caveat": row["caveat"] if key in values else ""}


def _theirs(row: dict, key: str) -> dict:
    return {"dataset": row["dataset"], "method": "", "method_title": row["title"], "track": "",
            "split": "–", "measure": key, "seeds": 0} | _printed(row, key, *SPLITS)


def joined(values: object) -> str:
    return "; ".join(dict.fromkeys(str(value) for value in values if pd.notna(value)))


def grid(found: pd.DataFrame) -> tuple[list[str], list[list[str]], list[str]]:
    """(headings, rows of text, footnotes) of the entries."""
    letters: dict[str, str] = {}
    keys = list(found["measure"].unique())
    names = found.groupby("dataset")["title"].first()
    rows = [[names[dataset], split, title, track or "–",
             *(_text(cell, letters) for cell in cells.itertuples()), seeds_of(cells)]
            for (dataset, split, _, title, track), cells in found.groupby(
                ["dataset", "split", "method", "method_title", "track"], sort=False)]
    headings = ["Data set", "Split", "Method", "Track", *(COLUMNS[key].title for key in keys),
                "Seeds"]
    if len(names) == 1:
        headings, rows = headings[1:], [row[1:] for row in rows]
    if not found["track"].any():
        at = headings.index("Track")
        headings, rows = _without(headings, at), [_without(row, at) for row in rows]
    return headings, rows, _notes(found, letters)


def _without(row: list[str], at: int) -> list[str]:
    return row[:at] + row[at + 1:]


def _text(cell, letters: dict[str, str]) -> str:
    """One entry as text: ours, then the published value in brackets."""
    digits, parts = COLUMNS[cell.measure].digits, []
    if pd.notna(cell.mean):
        spread = f" ± {cell.std:.{digits}f}" if cell.seeds > 1 else ""
        parts.append(f"{cell.mean:.{digits}f}{spread}")
    elif cell.method:
        parts.append("n/a")
    if cell.method and cell.reason:
        letter = letters.setdefault(cell.reason, string.ascii_letters[len(letters)])
        parts.append(f"({letter})")
    if pd.notna(cell.published):
        parts.append(f"[{cell.published:.{min(digits, 2)}f}]")  # as the paper prints
    return " ".join(parts) or "–"


def seeds_of(cells: pd.DataFrame) -> str:
    count = cells["seeds"].max()
    return {0: "–", 1: "one seed"}.get(count, str(count))


def _notes(found: pd.DataFrame, letters: dict[str, str]) -> list[str]:
    sizes = [_size(cells) for _, cells in found[found["mean"].notna()].groupby(
        "measure", sort=False)]
    reasons = [f"({letter}) {why}" for why, letter in letters.items()]
    about = [SPREAD, SPLIT, *([ABOUT_TRACKS] if found["track"].any() else [])]
    return [*about, *sizes, _training(found), *_caveats(found), *reasons]


def _training(found: pd.DataFrame) -> str:
    seen = found.groupby("method_title", sort=False)["images_seen"].agg(["min", "max"]).dropna()
    return "images seen in training: " + "; ".join(
        f"{row.Index} {span(row.min, row.max)}" for row in seen.itertuples())


def _caveats(found: pd.DataFrame) -> list[str]:
    if not found["published"].notna().any():
        return []
    paper = published()
    used = ["data", "protocol", *filter(None, found["caveat"].unique())]
    return [f"[ ] the value published by {paper['source']}",
            *(paper["caveats"][key] for key in used)]


def _size(cells: pd.DataFrame) -> str:
    """What a column was measured on: n by split and unit; by data set where these differ."""
    by_set = {part["title"].iloc[0].removesuffix(GENERATED): _measured_on(part)
              for _, part in cells.groupby("dataset", sort=False)}
    texts = list(by_set.values())
    if len(set(texts)) > 1:
        texts = [f"{name} {text}" for name, text in by_set.items()]
    else:
        texts = texts[:1]
    return f"{COLUMNS[cells['measure'].iloc[0]].title[:-2]}: {'; '.join(texts)}"


def _measured_on(cells: pd.DataFrame) -> str:
    sizes = [f"n = {span(part['n'].min(), part['n_max'].max())} ({split})"
             for split, part in cells.groupby("split", sort=False)]
    return ", ".join([*sizes, joined(cells["unit"])])


def span(low: float, high: float) -> str:
    return f"{int(low):,}" if low == high else f"{int(low):,} to {int(high):,}"


def heading(found: pd.DataFrame, title: str) -> str:
    """Title, data sets and scale, with what the table may not be taken for."""
    names = ", ".join(f"‘{name}’" for name in found["title"].dropna().unique())
    return f"{title}. {names}; {scaled(found['scale'].dropna().iloc[0])}."


def markdown(found: pd.DataFrame, title: str) -> str:
    """The entries as a Markdown table."""
    headings, rows, notes = grid(found)
    return as_markdown(heading(found, title), headings, _once(rows), notes)


def as_markdown(caption: str, headings: list[str], rows: list[list[str]],
                notes: list[str]) -> str:
    """A Markdown table whose columns also line up in a terminal."""
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]

    def line(cells: list[str]) -> str:
        return "| " + " | ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)) + " |"

    body = [line(headings), "|" + "|".join("-" * (w + 2) for w in widths) + "|", *map(line, rows)]
    return "\n".join([f"**{caption}**", "", *body, "", *(f"- {note}" for note in notes)]) + "\n"


def _once(rows: list[list[str]]) -> list[list[str]]:
    """The rows with data set and split written only where they change."""
    at = rows[0].index(next(cell for cell in rows[0] if cell in SPLITS)) + 1
    shown = rows[:1]
    for above, row in itertools.pairwise(rows):
        same = next((i for i in range(at) if above[i] != row[i]), at)
        shown.append([""] * same + row[same:])
    return shown


def latex(found: pd.DataFrame, title: str, name: str) -> str:
    """The entries as a LaTeX float."""
    headings, rows, notes = grid(found)
    return as_latex(heading(found, title), headings, _once(rows), notes, name)


def as_latex(caption: str, headings: list[str], rows: list[list[str]], notes: list[str],
             name: str, sideways: bool = False) -> str:
    """The same as a LaTeX float; the document needs \\usepackage{booktabs}, and rotating for one
    that lies on its side."""
    kind, where = ("sidewaystable", "") if sideways else ("table*", "[t]")
    grouped = any(not row[0] for row in rows)
    gaps = ["\\addlinespace\n" if i and row[0] and grouped else "" for i, row in enumerate(rows)]
    lines = [gap + " & ".join(map(tex, row)) + r" \\" for gap, row in zip(gaps, rows, strict=True)]
    return "\n".join([
        rf"\begin{{{kind}}}{where}", r"\centering", rf"\caption{{{tex(caption)}}}",
        rf"\label{{tab:{name}}}", r"\scriptsize", r"\setlength{\tabcolsep}{3pt}",
        rf"\begin{{tabular}}{{{'l' * len(headings)}}}", r"\toprule",
        " & ".join(map(_stacked, headings)) + r" \\", r"\midrule", *lines, r"\bottomrule",
        r"\end{tabular}", r"\par\smallskip\raggedright\tiny",
        tex("; ".join(notes)) + ".", rf"\end{{{kind}}}"]) + "\n"


def _stacked(heading: str) -> str:
    """A heading in LaTeX; a long one in several lines."""
    lines = textwrap.wrap(heading, HEADING, break_long_words=False)
    text = r" \\ ".join(map(tex, lines))
    return text if len(lines) == 1 else rf"\shortstack[l]{{{text}}}"


def tex(text: str) -> str:
    return "".join(TEX.get(letter, letter) for letter in text)


def read(path: str | Path | TextIO) -> pd.DataFrame:
    """measures/table.csv: an empty cell is unknown in the columns UNKNOWN, else an empty text.

    So a measure without variants keeps its rows where pandas groups by variant.
    """
    return pd.read_csv(path, keep_default_na=False, na_values=dict.fromkeys(UNKNOWN, [""]))


def save(found: pd.DataFrame, out: str, name: str, title: str) -> None:
    """Write the entries as <name>.csv, <name>.md and <name>.tex, and show the table."""
    headings, rows, notes = grid(found)
    write(found, heading(found, title), headings, _once(rows), notes, out, name)


def write(raw: pd.DataFrame, caption: str, headings: list[str], rows: list[list[str]],
          notes: list[str], out: str, name: str) -> None:
    """Write <name>.csv (raw numbers), <name>.md and <name>.tex of rows of text, and show them."""
    folder, text = Path(out), as_markdown(caption, headings, rows, notes)
    save_text(folder / f"{name}.csv", raw.to_csv(index=False))
    save_text(folder / f"{name}.md", text)
    save_text(folder / f"{name}.tex", as_latex(caption, headings, rows, notes, name))
    if get_ipython():
        display(Markdown(text))

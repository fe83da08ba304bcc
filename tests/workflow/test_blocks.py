"""The table of every measure: nothing left out, one page wide, honest about spread and reasons."""

import io
import itertools
import re
from functools import cache

import numpy as np
import pandas as pd
import pytest

from analysis.spec import specs
from paper import blocks, table

METHODS = {"patronus": "", "diffae": "published", "ddpm": "", "causal": "supervised"}
LANDSCAPE = 190  # letters of a line at \scriptsize: 257 mm


def measured(seeds=(0,)) -> pd.DataFrame:
    """Every row of two data sets: value 1.5 + seed within 0.2; DDPM has only what it costs."""
    rows = []
    for dataset, method, seed, spec in itertools.product(("faces", "chests"), METHODS, seeds,
                                                         specs().values()):
        for k, row in enumerate(spec.rows):
            none = method == "ddpm" and "B11" not in spec.source
            value = np.nan if none else 1.5 + seed + 100 * k
            rows.append({
                "scale": "smoke", "dataset": dataset, "title": dataset.title(), "method": method,
                "method_title": method.title(), "track": METHODS[method], "seed": seed,
                "generated": True, "images_seen": 345, "measure": spec.name,
                "variant": row.variant, "value": value, **ends(spec, value),
                "n": None if none else 50, "split": row.split, "unit": spec.unit,
                "reason": "DDPM has no code" if none else None})
    return pd.DataFrame(rows)


def ends(spec, value: float) -> dict:
    """What a row of measures.csv has beside a value; nothing where there is none."""
    some, new = (bool(what) and value == value for what in (spec.level, spec.across))
    return {"low": value - 0.2 if some else None, "high": value + 0.2 if some else None,
            "level": spec.level if some else None, "resamples": spec.resamples if some else None,
            "low_new": value - 0.4 if new else None, "high_new": value + 0.4 if new else None,
            "resamples_new": spec.resamples_new if new else None, "d": 30 if new else None}


@cache
def sheets(*seeds: int) -> list[blocks.Sheet]:
    return list(blocks.sheets(blocks.entries(stored(measured(seeds))), "Every measure", "measures"))


def stored(rows: pd.DataFrame) -> pd.DataFrame:
    """As users' tables are: written to a file and read from it."""
    return table.read(io.StringIO(rows.to_csv(index=False)))


def shown(some: list[blocks.Sheet], name: str) -> dict[str, str]:
    """The column of a measure by method, in the first sheet that has it."""
    title = next(c.title for c in blocks.columns() if c.spec.name == name)
    sheet = next(sheet for sheet in some if title in sheet.headings)
    at = sheet.headings.index(title)
    return {row[0]: row[at] for row in sheet.rows}


def test_every_measure_stands_in_one_column_of_each_data_set():
    made = sheets(0)
    for dataset in ("Faces", "Chests"):
        titles = [title for sheet in made if f"‘{dataset} (generated" in sheet.caption
                  for title in sheet.headings[2:-1]]
        assert sorted(titles) == sorted(f"{s.title} {'↑' if s.direction == 'higher' else '↓'}"
                                        for s in specs().values())
    assert len({sheet.name for sheet in made}) == len(made)
    found = blocks.entries(stored(measured()))
    assert len(found) == 2 * len(METHODS) * len(specs())
    assert set(found["mean"].dropna()) == {1.5}  # the headline is the first variant


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_a_table_fits_a_landscape_page(seeds):
    for sheet in sheets(*seeds):
        assert {len(row) for row in sheet.rows} == {len(sheet.headings)}
        heads = [max(map(len, re.findall(r"[^\\{}]+", table._stacked(title)))) if len(title) > 16
                 else len(title) for title in sheet.headings]
        widths = [max(head, *map(len, column)) for head, column in
                  zip(heads, zip(*sheet.rows, strict=True), strict=True)]
        assert sum(widths) + 2 * len(widths) < LANDSCAPE, sheet.name


def test_one_seed_has_the_interval_and_several_their_spread():
    assert shown(sheets(0), "fidelity")["Patronus"] == "1.50 [1.30, 1.70]"
    assert shown(sheets(0, 2), "fidelity")["Patronus"] == "2.50 ± 1.41"
    assert shown(sheets(0), "latent_score")["Patronus"] == "1.50 [1.30, 1.70]"
    assert shown(sheets(0), "tad")["Patronus"] == "1.50 (± 0.20)"  # folds: no interval
    assert shown(sheets(0), "parameters")["Ddpm"] == "1.50"


def test_what_compares_trainings_has_the_range_of_all_pairs():
    """Not of the means of each seed's pairs: of three trainings 0.62, 0.63 and 0.76 have the means
    0.625, 0.69 and 0.695."""
    pairs, table = {(0, 1): 0.62, (0, 2): 0.63, (1, 2): 0.76}, measured((0, 1, 2))
    for seed in range(3):
        own = [value for pair, value in pairs.items() if seed in pair]
        rows = (table["measure"].isin(["stability", "cka"]) & (table["seed"] == seed)
                & table["value"].notna())
        table.loc[rows, ["value", "low", "high"]] = np.mean(own), min(own), max(own)
    made = list(blocks.sheets(blocks.entries(table), "Every measure", "measures"))
    for name in ("stability", "cka"):
        assert shown(made, name)["Patronus"] == "0.670 (0.620 to 0.760)"
    table[["low", "high"]] = None  # of two trainings there is one pair
    made = list(blocks.sheets(blocks.entries(table), "Every measure", "measures"))
    assert shown(made, "stability")["Patronus"] == "0.670"


def test_both_questions_stand_below_each_other_and_say_how_many_of_what():
    made = sheets(0)
    title = next(c.title for c in blocks.columns() if c.spec.name == "fidelity")
    sheet = next(sheet for sheet in made if title in sheet.headings)
    first = [row[0] for row in sheet.rows].index("Patronus")
    assert [row[sheet.headings.index(title)] for row in sheet.rows[first:first + 2]] == [
        "1.50 [1.30, 1.70]", "[1.10, 1.90]"]
    assert sheet.rows[first + 1][0] == blocks.NEW
    note = next(note for note in sheet.notes if note.startswith("Fidelity:"))
    assert "n = 50 images" in note and "D = 30 dimensions" in note and "over images" in note


def test_every_printed_end_says_what_it_is_over():
    for sheet in sheets(0):
        for at, heading in enumerate(sheet.headings[2:-1], 2):
            ends_there = any("[" in row[at] or "(±" in row[at] for row in sheet.rows)
            about = next(note for note in sheet.notes if note.startswith(f"{heading[:-2]}: "))
            assert not ends_there or re.search(r" over (images|dimensions|folds)", about), about


def test_reasons_are_numbered_and_stand_below():
    for sheet in sheets(0):
        used = {cell.split()[-1] for row in sheet.rows for cell in row if cell.startswith("n/a")}
        told = {note.split()[0] for note in sheet.notes if re.match(r"\(\d+\) ", note)}
        assert used == told
        assert not used or "(1) DDPM has no code" in sheet.notes
    assert shown(sheets(0), "fidelity")["Ddpm"] == "n/a (1)"


def test_chance_stands_in_the_last_row_or_in_the_notes():
    made = sheets(0)
    for name, spec in specs().items():
        sheet_chance = shown(made, name).get("chance", "–")
        assert sheet_chance == (spec.chance if 0 < len(spec.chance) <= blocks.SHORT else
                                "see below" if spec.chance else "–")
    notes = {note for sheet in made for note in sheet.notes}
    assert ("Locality: inverted, times chance, n = 50 images (test), D = 30 dimensions, [ ] over "
            "images, [ ] below over dimensions and images, chance: 1") in notes


def test_blocks_follow_the_numbers_of_the_measures():
    found = {column.spec.name: column.block for column in blocks.columns()}
    assert (found["tad"], found["fid"], found["ssim"]) == ("A codes", "A images", "A images")
    assert found["fidelity"] == found["selectivity"] == "B1 B2"
    assert (found["emergence"], found["shortcut"], found["flops_step"]) == (
        "B3 B4 B5 B9", "B6 B7 B8 B10", "B11")
    assert found["conditioning"] == "B6 B7 B8 B10"  # B10 is not B1


@pytest.mark.parametrize(("value", "expected"), [
    (0.5432, "0.543"), (14.63, "14.6"), (2345.6, "2,346"), (0.00044, "0.000"), (-0.75, "−0.750"),
    (0, "0.000"), (9.996, "10.00")])
def test_numbers_have_three_digits(value, expected):
    assert blocks.number(value) == expected


def test_latex_has_all_tables_on_their_sides(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "display", lambda page: None)
    blocks.save(blocks.entries(measured()), str(tmp_path), "measures", "Every measure")
    text = (tmp_path / "measures.tex").read_text()
    assert text.count(r"\begin{sidewaystable}") == text.count(r"\end{sidewaystable}") \
        == len(sheets(0))
    assert r"\shortstack[l]{" in text and "−" not in text and "↑" not in text
    assert (tmp_path / "measures.md").read_text().count("**Every measure.") == len(sheets(0))
    assert len(pd.read_csv(tmp_path / "measures.csv")) == len(blocks.entries(measured()))


def test_no_measured_value_is_missing_from_the_table():
    """Of every measure, those without variants included, whatever stands in its row of the file."""
    rows = measured()
    headline = {spec.name: spec.rows[0].variant for spec in specs().values()}
    first = rows[[headline[m] == v for m, v in zip(rows["measure"], rows["variant"], strict=True)]]
    found = blocks.entries(stored(rows))
    assert "" in set(first["variant"])
    assert found["mean"].notna().sum() == first.groupby(
        ["dataset", "method", "measure"])["value"].max().notna().sum()

"""All cells' measures in one table: python -m analysis.collect --scale smoke

Writes results/<scale>/measures/table.csv, and its values to metrics.json, which `dvc metrics`
shows. The grid that the study asks for is compared with what exists: a missing cell or measure is
an error, never a hole in a table. Of a study that is still running, `--partial` takes the cells
that are measured, and names the others. No torch here.
"""

import argparse
from pathlib import Path

import pandas as pd

from analysis.spec import COLUMNS, KEY, expected
from patronus.config import Cell, Study, load_study
from patronus.errors import Problem, guarded
from patronus.files import load_json, save_json, save_text
from patronus.record import verified

CELL_COLUMNS = ["scale", "dataset", "title", "method", "method_title", "track", "recipe", "seed",
                "generated", "images_seen"]
NUMBERS = ("value", "low", "high", "low_new", "high_new")
COUNTS = ("n", "d")


def table(study: Study) -> pd.DataFrame:
    """Every row of every cell compared. Raises Problem that names all that is missing."""
    parts, holes = [], []
    for cell in study.benchmark.values():
        if not _record(cell).is_file():  # written last: without it nothing is whole
            holes.append(f"{_name(cell)} (no {_record(cell)})")
            continue
        rows = read(cell.folder("measures") / "measures.csv")
        holes += _differences(cell, rows)
        parts.append(_with_cell(cell, study, rows))
    if holes:
        raise Problem(f"the grid of scale '{study.scale}' is not complete; rerun measures for: "
                      + "; ".join(holes))
    return pd.concat(parts, ignore_index=True)


def measured(study: Study) -> Study:
    """The study without the cells that are not measured, which are named. One must be."""
    left = {key: cell for key, cell in study.cells.items()
            if cell in study.benchmark.values() and not _record(cell).is_file()}
    if len(left) == len(study.benchmark):
        raise Problem(f"results/{study.scale}/measures: no cell is measured yet; run `make "
                      f"reproduce SCALE={study.scale}`")
    if left:
        print("not measured, and left out:", ", ".join(map(_name, left.values())))
    return study.model_copy(update={"cells": {key: cell for key, cell in study.cells.items()
                                              if key not in left}})


def _record(cell: Cell) -> Path:
    return cell.folder("measures") / "record.json"


def read(path: Path) -> pd.DataFrame:
    """Rows of a measures.csv: numbers exactly as written (NaN = n/a), everything else as text.

    Raises Problem for a file with other columns.
    """
    kinds = dict.fromkeys(COLUMNS, "str") | dict.fromkeys(NUMBERS, "float64")
    kinds |= dict.fromkeys(COUNTS, "Int64")
    found = pd.read_csv(path, dtype=kinds, keep_default_na=False, float_precision="round_trip",
                        na_values=dict.fromkeys((*NUMBERS, *COUNTS), [""]))
    if list(found) != COLUMNS:
        raise Problem(f"{path}: was written by another version of the measures; rerun measures")
    return found


def _differences(cell: Cell, rows: pd.DataFrame) -> list[str]:
    """What a cell's rows lack, have twice, or have beyond the measures that exist."""
    found = list(rows[KEY].itertuples(index=False, name=None))
    lacking = [row for row in expected() if row not in found]
    odd = sorted({row for row in found if row not in expected() or found.count(row) > 1})
    return [f"{_name(cell)} {what} {', '.join('/'.join(filter(None, row)) for row in some)}"
            for what, some in (("lacks", lacking), ("has unknown or double", odd)) if some]


def _with_cell(cell: Cell, study: Study, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with what names their cell in front."""
    record = cell.folder("checkpoints") / "record.json"
    seen = load_json(record).get("found", {}).get("images_seen")
    if seen is None:
        raise Problem(f"{record}: does not say images_seen; rerun train")
    names = (cell.scale, cell.dataset, study.datasets[cell.dataset].title, cell.method,
             cell.title, cell.track, cell.recipe, cell.seed, cell.generated, seen)
    return rows.assign(**dict(zip(CELL_COLUMNS, names, strict=True)))[CELL_COLUMNS + COLUMNS]


def metrics(found: pd.DataFrame) -> dict:
    """The values of a table as `dvc metrics` reads them: by data set, method, seed and row."""
    nested: dict = {}
    for row in found.dropna(subset="value").itertuples():
        cell = nested.setdefault(row.dataset, {}).setdefault(row.method, {})
        name = ".".join(filter(None, (row.measure, row.variant, row.extractor)))
        cell.setdefault(f"seed{row.seed}", {})[name] = row.value
    return nested


def _name(cell: Cell) -> str:
    return f"{cell.dataset}/{cell.method}/seed{cell.seed}"


def main() -> None:
    """Read the command line and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", required=True, help="a file in config/scales")
    for key in ("datasets", "methods", "seeds"):
        parser.add_argument(f"--{key}", help=f"some {key} only, separated by commas")
    parser.add_argument("--partial", action="store_true", help="only the cells that are measured")
    args = parser.parse_args()
    study = load_study(args.scale, datasets=args.datasets, methods=args.methods, seeds=args.seeds)
    if args.partial:
        study = measured(study)
    path = Path("results", study.scale, "measures", "table.csv")
    for record in map(_record, study.benchmark.values()):
        if record.is_file():  # the others are holes, which are named together
            verified(record.parent)
    found = table(study)
    save_json(path.with_name("metrics.json"), metrics(found))
    save_text(path, found.to_csv(index=False))
    print(f"{len(study.benchmark)} cells: done, in {path}")


if __name__ == "__main__":
    guarded(main)

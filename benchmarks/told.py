"""What the prototype chosen for health tells of health and of the hospital, in real radiographs.

    python -m benchmarks.told

The part of the stage "shortcut" that needs codes alone (analysis/diagnosis.py), for the deposited
models of cxr224_source and cxr224: all dimensions are candidates, the choice is made again for
1,000 resamples of the training images, and beside it stand twenty encoders that were never trained.
Needs the stages data and codes of both at the scale `real`. Writes paper/results/real/told.json.
"""

from pathlib import Path

import numpy as np

from analysis import diagnosis
from patronus.config import load_study
from patronus.files import save_json
from patronus.prepared import Prepared
from patronus.record import provenance
from patronus.stage import Job

SETS, METHOD = ("cxr224_source", "cxr224"), "patronus_modern"
OUT = Path("paper", "results", "real", "told.json")


class Plain:
    """Labels of parts that are attributes as they are: nothing is negated in radiographs."""

    def label(self, data: Prepared, split: str, name: str) -> np.ndarray:
        return data.output(split, name)


def main() -> None:
    study = load_study("real", datasets=list(SETS), methods=[METHOD], seeds=[0])
    cells = [study.cell(name, METHOD, 0) for name in SETS]
    pairs = [list(pair) for pair in cells[0].shortcut]
    read = [diagnosis.Read.of(cell.folder, Plain(), cell) for cell in cells]
    choices = [one.choices(pairs) for one in read]
    found = diagnosis.told(read, choices, pairs)
    job = Job("shortcut", cells[0], study.datasets[SETS[0]], None, 1)
    found["untrained"] = diagnosis.controls(job, read, pairs)
    sides = [diagnosis.spoken(one, its, pairs, {key: values[g] for key, values in found.items()})
             for g, (one, its) in enumerate(zip(read, choices, strict=True))]
    save_json(OUT, {"method": METHOD, "scale": "real", "told": sides, "record": provenance()})
    print(OUT)


if __name__ == "__main__":
    main()

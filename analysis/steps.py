"""Stage "steps": how many steps of DDIM the faithfulness measures need (measures.md B).

The interventions of stage "interventions" on a few of its images and dimensions, repeated with
different numbers of steps; everything else is equal, so what differs is the steps' doing. A number
of steps is enough where its value, and those of all larger numbers, differ from the value at the
largest number by less than half of the 95 % interval that the measure gives itself there.

steps.csv: measure, variant, extractor, steps, value, low, high (what they mean: Spec.spread).
steps.json: what was asked, and for every measure shift (largest difference from the largest number
of steps, by number), half (of its interval) and enough (steps, null where the measure has no
interval), and reasons of those without a value. Consistency is left out: it decodes nothing; nor do
truth_iou and truth_hit, which come out equal.
"""

import numpy as np
import pandas as pd

from analysis.interventions import about, codes_of, fitting, interrogate
from analysis.measure import evaluate
from analysis.spec import KEY, Row, Spec, specs
from patronus import checkpoint
from patronus.config import Cell
from patronus.errors import NotApplicable
from patronus.files import save_json, save_text
from patronus.prepared import Prepared
from patronus.stage import Job, device, run

STEPS = (3, 5, 10, 20, 50)
IMAGES, DIMS = 8, 16  # at most so many
ASKED = ("max", "q95", "q50", "q05")  # kinds: those of fidelity's grid


def work(job: Job) -> dict:
    """Repeat some interventions with different numbers of denoising steps."""
    where = device(job)
    model, data = checkpoint.load(job.folder("checkpoints"), where), Prepared.open(
        job.folder("data"))
    classifier = fitting(job).to(where)
    try:
        codes = codes_of(job, model)
        found = {steps: interrogate(model, classifier, data, codes, fewer(job.cell, steps))
                 for steps in STEPS}
    except NotApplicable as reason:
        save_json(job.out / "none.json", {"reason": str(reason)})
        return {}
    table, reasons = tabled({steps: named(arrays, codes) for steps, arrays in found.items()})
    save_text(job.out / "steps.csv", table.to_csv(index=False))
    save_json(job.out / "steps.json", about(job, data, found[STEPS[-1]]) | {
        "ddim_steps": STEPS, "images": len(found[STEPS[-1]]["rows"]),
        "dims": len(found[STEPS[-1]]["dims"]), "kinds": ASKED,
        "measures": summary(table), "reasons": reasons})
    return {"measures": table.groupby(KEY).ngroups}


def fewer(cell: Cell, steps: int) -> Cell:
    """The cell asked about fewer images and dimensions, with `steps` steps."""
    asked = cell.intervene.model_copy(update={
        "images": min(IMAGES, cell.intervene.images), "dims": min(DIMS, cell.intervene.dims),
        "kinds": ASKED, "steps": steps, "tolerance": 0})
    return cell.model_copy(update={"intervene": asked})


def named(arrays: dict[str, np.ndarray], codes: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays of interventions.npz, and codes (N, m) by split, under the names of measures."""
    return {f"interventions.{key}": value for key, value in arrays.items()} | {
        f"codes.{split}": value for split, value in codes.items()}


def rows() -> list[tuple[Spec, Row]]:
    """Measure and row of everything that an intervention decides."""
    return [(spec, row) for spec in specs().values() for row in spec.rows
            if any(need.startswith("interventions.") for need in row.needs)
            and not any(need.startswith("interventions.patches") for need in row.needs)]


def tabled(arrays: dict[int, dict[str, np.ndarray]]) -> tuple[pd.DataFrame, dict[str, str]]:
    """steps.csv from named arrays by number of steps, and why rows have no value."""
    found, reasons = [], {}
    for spec, row in rows():
        try:
            values = {steps: evaluate(spec, row, held) for steps, held in arrays.items()}
        except NotApplicable as reason:
            reasons[f"{spec.name}.{row.variant}"] = str(reason)
            continue
        found += [{"measure": spec.name, "variant": row.variant, "extractor": row.extractor,
                   "steps": steps, "value": value.value, "low": value.low, "high": value.high}
                  for steps, value in values.items()]
    return pd.DataFrame(found, columns=[*KEY, "steps", "value", "low", "high"]), reasons


def summary(table: pd.DataFrame) -> list[dict]:
    """What steps.json says of every measure of steps.csv."""
    found = []
    for key, some in table.groupby(KEY, sort=False):
        some = some.sort_values("steps")
        most = some.iloc[-1]
        shift = (some.value - most.value).to_numpy(dtype=float)
        half = None if pd.isna(most.low) else float(most.high - most.low) / 2
        found.append(dict(zip(KEY, key, strict=True)) | {
            "steps": some.steps.tolist(), "value": some.value.tolist(), "shift": shift.tolist(),
            "half": half, "enough": enough(some.steps.tolist(), shift, half)})
    return found


def enough(steps: list[int], shift: np.ndarray, half: float | None) -> int | None:
    """The least number from which on no shift reaches `half`; None without an interval.

    steps (S,) ascending, shift (S,) from the value at the largest number, which is 0 at the end.
    """
    if not half:
        return None
    far = np.flatnonzero(np.abs(shift) >= half)
    return int(steps[far[-1] + 1 if len(far) else 0])


if __name__ == "__main__":
    run("steps", "analysis.steps", work, inputs=("data", "checkpoints", "codes"),
        beside=lambda job: [job.references])

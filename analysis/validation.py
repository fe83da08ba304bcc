"""Stage "validation": do the faithfulness measures tell a model from the same model spoiled?

The model and each spoiled version of it (analysis/spoiled.py) answer the same interventions on the
same test images; then every measure that needs nothing but these and codes is taken of each. A
fault is noticed by a measure if its 95 % interval lies wholly on the worse side of the model's own,
in the measure's first row. Measures of which less is better count the other way round, and
controls are not judged. Beside them "shortcut", the score of measures.md B8 with the model as it is
in the place of the unbiased one, for the pair of parts that the version "tied" ties.

Writes validation.csv (version, measure, variant, value, low, high, n, reason) and validation.json:
`about` of the model, what is wrong with the versions, measures with title, unit and direction, the
pair, the names of what was missed, and for each measure and fault `expected` and `noticed` (null
where one of the two has no interval, with the reason). A method that cannot be asked: none.json.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from analysis import causal, interventions
from analysis.measure import evaluate
from analysis.references import Classifier
from analysis.spec import Row, Spec, specs
from analysis.spoiled import SPOILS, Seen, Spoiled
from analysis.steps import named
from patronus import checkpoint
from patronus.errors import NotApplicable
from patronus.files import save_json, save_npz, save_text
from patronus.method import Method
from patronus.prepared import Prepared
from patronus.stage import Job, device, run

IMAGES = 20  # at most; intervals over dimensions do not shrink with more
KINDS = ("max", "max_random", "q95", "q50", "q05")
GOOD = "good"
ENOUGH = ("interventions.", "codes.train", "codes.test")  # what a measure may need
CONTROL = "itself"  # begins the chance level of a measure that is a control
COLUMNS = ["version", "measure", "variant", "value", "low", "high", "n", "reason"]
SHORTCUT = {"title": "Shortcut score", "unit": "change of P(b)", "direction": "lower"}


def work(job: Job) -> dict:
    """Ask a model and its spoiled versions, and look which measures tell them apart."""
    model = checkpoint.load(job.folder("checkpoints"), device(job))
    classifier = interventions.fitting(job).to(model.device)
    data, cell = Prepared.open(job.folder("data")), limited(job.cell)
    try:
        found = asked(model, classifier, data, interventions.codes_of(job, model), cell,
                      job.work / job.key)
    except NotApplicable as reason:
        save_json(job.out / "none.json", {"reason": str(reason)})
        return {}
    table, good = tabled(found), plain(found[GOOD])
    judged = judgement(table)
    save_text(job.out / "validation.csv", table.to_csv(index=False))
    save_json(job.out / "validation.json", interventions.about(job, data, good) | {
        "n": len(good["rows"]), "dims": len(good["dims"]),
        "pair": [str(good["outputs"][k]) for k in pair_of(good)],
        "versions": {spoil.name: spoil.wrong for spoil in SPOILS}, "measures": described(),
        "missed": [[one["version"], one["measure"]] for one in judged
                   if one["expected"] and one["noticed"] is False], "judged": judged})
    return {"missed": sum(one["expected"] and one["noticed"] is False for one in judged)}


def limited(cell):
    """The cell with as few images and values as these measures need."""
    settings = cell.intervene
    return cell.model_copy(update={"intervene": settings.model_copy(update={
        "images": min(settings.images, IMAGES), "kinds": KINDS})})


def asked(model: Method, classifier: Classifier, data: Prepared, codes: dict[str, np.ndarray],
          cell, work: Path) -> dict[str, dict[str, np.ndarray]]:
    """By version, the model's own first: its arrays under the names that measures use.

    `work` keeps what was answered, for a run that is killed.
    """
    def answers(one: Method, its: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return named(interventions.interrogate(one, classifier, data, its, cell), its)

    def spoiled(spoil: type[Spoiled]) -> dict[str, np.ndarray]:
        version = spoil(model, Seen(codes["train"], data.images("train"), pair))
        return answers(version, {split: version.codes(its, data.images(split))
                                 for split, its in codes.items()})

    found = {GOOD: kept(work / f"{GOOD}.npz", lambda: answers(model, codes))}
    good = plain(found[GOOD])
    pair = tuple(int(good["best"][k]) for k in pair_of(good))
    return found | {spoil.name: kept(work / f"{spoil.name}.npz", partial(spoiled, spoil))
                    for spoil in SPOILS}


def kept(path: Path, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """What `path` holds; made and put there first if need be."""
    if not path.is_file():
        save_npz(path, **make())
    with np.load(path) as arrays:
        return dict(arrays)


def pair_of(good: dict[str, np.ndarray]) -> tuple[int, int]:
    """Parts a, b for the planted shortcut: a's best dimension shall raise b's.

    b is the part of highest causal success, so that its being raised can be seen; a the next one
    that has another best dimension. Raises NotApplicable where there is none.
    """
    best, at = good["best"], good["kinds"].tolist().index("max")
    success = np.nan_to_num(good["success"][at], nan=-1)
    order = [k for k in np.argsort(-success, kind="stable") if best[k] >= 0]
    others = [k for k in order if best[k] != best[order[0]]]
    if not others:
        raise NotApplicable("all parts have one best dimension: no shortcut can be planted")
    return int(others[0]), int(order[0])


def tabled(found: dict[str, dict[str, np.ndarray]]) -> pd.DataFrame:
    """validation.csv."""
    rows = [{"version": version, "measure": spec.name, "variant": row.variant}
            | valued(spec, row, arrays) for version, arrays in found.items()
            for spec in measured() for row in spec.rows]
    rows += [{"version": version, "measure": "shortcut"} | shortcut(arrays, found[GOOD])
             for version, arrays in found.items()]
    return pd.DataFrame(rows, columns=COLUMNS).astype({"n": "Int64"})


def measured() -> list[Spec]:
    """The measures whose rows need interventions and codes only."""
    return [spec for spec in specs().values()
            if all(need.startswith(ENOUGH) for row in spec.rows for need in row.needs)]


def valued(spec: Spec, row: Row, arrays: dict[str, np.ndarray]) -> dict:
    """Value, interval and n of one row, or the reason why there is none."""
    try:
        found = evaluate(spec, row, arrays)
    except NotApplicable as reason:
        return {"reason": str(reason)}
    return {"value": found.value, "low": found.low, "high": found.high, "n": found.n}


def shortcut(arrays: dict[str, np.ndarray], good: dict[str, np.ndarray]) -> dict:
    """The score of the planted pair; of the model against itself it is 0."""
    good, other = plain(good), plain(arrays)
    a, b = pair_of(good)
    score = causal.shortcut_score(effects(other)[a, b], effects(good)[a, b], paired=True)
    return {"variant": f"{good['outputs'][a]} > {good['outputs'][b]}", "n": len(good["rows"]),
            **{key: float(getattr(score, key)) for key in ("value", "low", "high")}}


def plain(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of interventions.npz under their own names."""
    return {key.removeprefix("interventions."): value for key, value in arrays.items()}


def effects(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """causal.effects (K, K, n) of raising to the largest value."""
    recon, edited, _ = interventions.parts_of(arrays, arrays["negated"])
    at = arrays["kinds"].tolist().index("max")
    return causal.effects(recon[at], edited[at], arrays["raised_at"])


def described() -> dict[str, dict[str, str]]:
    """The measures that are judged: not those that are controls themselves."""
    return {spec.name: {"title": spec.title, "unit": spec.unit, "direction": spec.direction}
            for spec in measured() if not spec.chance.startswith(CONTROL)} | {"shortcut": SHORTCUT}


def judgement(table: pd.DataFrame) -> list[dict]:
    """For each judged measure and fault: was it to be noticed, and was it?"""
    found, first = [], table.drop_duplicates(["version", "measure"]).set_index(
        ["version", "measure"])
    for name, about in described().items():
        for spoil in SPOILS:
            own, other = first.loc[(GOOD, name)], first.loc[(spoil.name, name)]
            found.append({"version": spoil.name, "measure": name, "variant": own.variant,
                          "expected": name in spoil.notice,
                          **compared(own, other, about["direction"])})
    return found


def compared(own: pd.Series, other: pd.Series, direction: str) -> dict:
    """Whether the other's interval lies wholly on the worse side of the own one."""
    for one in (own, other):
        if pd.isna(one.low):
            return {"noticed": None, "reason": "no interval" if pd.isna(one.reason)
                    else one.reason}
    worse = other.high < own.low if direction == "higher" else other.low > own.high
    return {"noticed": bool(worse)}


if __name__ == "__main__":
    run("validation", "analysis.validation", work, inputs=("data", "checkpoints", "codes"),
        beside=lambda job: [job.references])

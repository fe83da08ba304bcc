"""Stage "validation": do the faithfulness measures tell a model from the same model spoiled?

The model and each spoiled version of it (analysis/spoiled.py) answer the same interventions on the
same test images; then every measure that needs nothing but these and codes is taken of each. A
fault is noticed by a measure, in its first row, if the paired 95 % interval of what it costs lies
wholly on the worse side: the model as it is less the spoiled one, of each dimension (or part) in
each image of which both have a score, over images; over dimensions where a measure has no scores of
images. It is `sure` if that holds as well when all measures of the fault are counted (Bonferroni).
Measures of which less is better count the other way round, and controls are not judged. Beside them
"shortcut", the score of measures.md B8 with the model as it is in the place of the unbiased one,
for the pair of parts that the version "tied" ties.

Writes validation.csv (version, measure, variant, value, low, high, n, reason; the interval is that
of the measure itself) and validation.json: `about` of the model, what is wrong with the versions,
measures with title, unit and direction, the pair, the names of what was missed, and `judged`: for
each measure and fault `expected`, `noticed` (null where there is nothing to compare, with the
reason) and `sure`, and by how much it is worse: value, low, high, n and what that counts (over).
validation.md: the values of all versions in a table, with what was noticed.
A method that cannot be asked: none.json.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis import causal, intervals, interventions
from analysis.intervals import LEVEL
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

IMAGES = 20  # at most
KINDS = ("max", "max_random", "q95", "q50", "q05")
GOOD = "good"
ENOUGH = ("interventions.", "codes.train", "codes.test")  # what a measure may need
CONTROL = "itself"  # begins the chance level of a measure that is a control
COLUMNS = ["version", "measure", "variant", "value", "low", "high", "n", "reason"]
SAME = 1e-6  # of the largest score: rounding, not a difference
SHORTCUT = {"title": "Shortcut score", "unit": "change of P(b)", "direction": "lower"}


class Scores(NamedTuple):
    """What a measure is the mean of: dimensions or parts, or none, by what is resampled."""

    values: np.ndarray  # (D, n), NaN unknown
    over: str  # "images" or "dimensions"


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
    judged = judgement(found)
    save_text(job.out / "validation.md", as_markdown(table, judged))
    save_text(job.out / "validation.csv", table.to_csv(index=False))
    save_json(job.out / "validation.json", interventions.about(job, data, good) | {
        "n": len(good["rows"]), "dims": len(good["dims"]),
        "pair": [str(good["outputs"][k]) for k in pair_of(good)],
        "versions": {spoil.name: spoil.wrong for spoil in SPOILS}, "measures": described(),
        "missed": [[one["version"], one["measure"]] for one in judged
                   if one["expected"] and one["noticed"] is False], "judged": judged})
    return {"missed": sum(one["expected"] and one["noticed"] is False for one in judged)}


def limited(cell):
    """The cell with as few images and values as these measures need, as many for each version."""
    settings = cell.intervene
    return cell.model_copy(update={"intervene": settings.model_copy(update={
        "images": min(settings.images, IMAGES), "kinds": KINDS, "tolerance": 0})})


def asked(model: Method, classifier: Classifier, data: Prepared, codes: dict[str, np.ndarray],
          cell, work: Path) -> dict[str, dict[str, np.ndarray]]:
    """By version, the model's own first: its arrays under the names that measures use.

    `work` keeps what was answered, for a run that is killed.
    """
    def answers(one: Method, its: dict[str, np.ndarray],
                dims: np.ndarray | None = None) -> dict[str, np.ndarray]:
        return named(interventions.interrogate(one, classifier, data, its, cell, dims), its)

    def spoiled(spoil: type[Spoiled]) -> dict[str, np.ndarray]:
        version = spoil(model, Seen(codes["train"], data.images("train"), pair))
        return answers(version, {split: version.codes(its, data.images(split))
                                 for split, its in codes.items()}, good["dims"])

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


def judgement(found: dict[str, dict[str, np.ndarray]]) -> list[dict]:
    """For each judged measure and fault: was it to be noticed, and was it? `found`: of `asked`."""
    measures, judged = described(), []
    own = {name: scores(name, found[GOOD], found[GOOD]) for name in measures}
    for spoil in SPOILS:
        lost = {name: difference(own[name], scores(name, found[spoil.name], found[GOOD]),
                                 about["direction"]) for name, about in measures.items()}
        tries = sum(isinstance(one, Scores) for one in lost.values())
        judged += [{"version": spoil.name, "measure": name, "expected": name in spoil.notice,
                    **noticed(one, tries)} for name, one in lost.items()]
    return judged


def scores(name: str, arrays: dict[str, np.ndarray], good: dict[str, np.ndarray]) -> Scores | str:
    """What a measure's first row is the mean of, or the reason why there is nothing."""
    if name == "shortcut":
        a, b = pair_of(plain(good))
        return Scores(effects(plain(arrays))[[a], b], "images")
    spec = specs()[name]
    try:
        found = evaluate(spec, spec.rows[0], arrays)
    except NotApplicable as reason:
        return str(reason)
    if found.scores is not None:  # the worst dimensions are others in each version
        own = intervals.by_dimension(found.scores.T)[None] if "at" in found.detail else found.scores
        return Scores(own, "images")
    return Scores(np.array([found.detail["scores"]], dtype=float), "dimensions")


def difference(own: Scores | str, other: Scores | str, direction: str) -> Scores | str:
    """By how much the other is worse, or the reason why that cannot be said."""
    for one in (own, other):
        if isinstance(one, str):
            return one
    worse = (own.values - other.values) * (1 if direction == "higher" else -1)
    worse[np.abs(worse) <= SAME * np.nanmax(np.abs(own.values))] = 0
    count = (~np.isnan(worse)).any(axis=0).sum()
    return Scores(worse, own.over) if count > 1 else \
        f"{count} of the {own.over} can be compared: no interval"


def noticed(worse: Scores | str, tries: int) -> dict:
    """Whether a difference is wholly on the worse side of none; also as one of `tries`."""
    if isinstance(worse, str):
        return {"noticed": None, "reason": worse}
    found = intervals.over_images(worse.values)
    strict = intervals.over_images(worse.values, 1 - (1 - LEVEL) / tries)
    return {"noticed": bool(found.low > 0), "sure": bool(strict.low > 0), "over": worse.over,
            "n": int((~np.isnan(worse.values)).any(axis=0).sum()),
            **{key: float(value) for key, value in found._asdict().items()}}


def as_markdown(table: pd.DataFrame, judged: list[dict]) -> str:
    """First rows of validation.csv, measures by versions, each cell beginning with its mark."""
    first = table.drop_duplicates(["version", "measure"]).set_index(["measure", "version"])
    marks = {(one["measure"], one["version"]): mark(one) for one in judged}
    names = [spoil.name for spoil in SPOILS]
    lines = [f"| Measure | as it is | {' | '.join(map(_worded, names))} |",
             "|---" * (len(names) + 2) + "|"]
    for name, about in described().items():
        cells = [f"`{name}`" + " (less is better)" * (about["direction"] == "lower"),
                 _number(first.value[name, GOOD])]
        cells += [f"{marks[name, key]} {_number(first.value[name, key])}".strip() for key in names]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def mark(one: dict) -> str:
    """Of one entry of `judged`; bold: it was expected. A question mark: not `sure`."""
    if one["noticed"] is None:
        return ""
    if one["noticed"]:
        text = "+" if one["sure"] else "+?"
        return f"**{text}**" if one["expected"] else text
    return "**missed**" if one["expected"] else "–"


def _worded(name: str) -> str:
    return name.replace("_", " ")


def _number(value: float) -> str:
    return "n/a" if pd.isna(value) else f"{value:.3g}"


if __name__ == "__main__":
    run("validation", "analysis.validation", work, inputs=("data", "checkpoints", "codes"),
        beside=lambda job: [job.references])

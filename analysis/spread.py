"""Stage "spread": how far each measure's value depends on which test images, and on how many.

A measure is taken anew of random choices of n of its N images: test images, or generated ones for
the distances of features, whose reference stays whole. n is N halved again and again. Choices are
without replacement, so they share images, and the more the larger n is: around the median their
quantiles are widened by 1 / sqrt(1 - n / N), which is exact for the variance of a mean. Of all N
there is one choice, the measure itself; its band is that of N / 2, narrowed by sqrt(n / N).
Which values an edit sets, and which dimension is best for a part, stay those of the whole cell.

A number of images is enough from where on both the band (5 to 95 %) and the distance between its
median and the value of all N are below a twentieth of the scale: the distance between that value
and chance, or the value itself where a measure has no level by chance. Where no n is, `needed` says
how many would be if the band of all N went on narrowing by the square root.

spread.csv: measure, variant, extractor, n, repeat, value (empty: not defined for this choice).
spread.json: what the cell is; measures, a list of {measure, variant, extractor, title, unit, N,
repeats, n (G,), low, middle, high (G,), value, chance, scale, enough, needed}, null where there is
none; reasons, why rows have no value; without, rows whose arrays hold no images to choose from, or
are those of other stages or trainings.
"""

import re
from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.interventions import IMAGES
from analysis.measure import REFERENCE_SPLITS, Arrays
from analysis.spec import KEY, Labels, Row, Spec, Value, specs
from patronus.errors import NotApplicable, Problem
from patronus.files import load_json, save_json, save_text
from patronus.rows import random_rows
from patronus.stage import Job, run

REPEATS = 30  # choices of images for every n
FEWER = dict.fromkeys(  # of what takes a second or more each time
    ("latent_score", "fid", "rfid", "own_fid", "kid", "kd_cls", "ssim"), 8)
HALVINGS = 5  # so that the least n is a 32nd of N, if that is 2 or more
LEVELS = (0.05, 0.5, 0.95)
NARROW = 0.05  # of the scale
SOURCES = ("images", "labels", "codes", "samples", "features", "interventions", "denoising")
SPLITS = ("train", "test")  # a row that needs codes of other seeds is not one of this cell alone


def work(job: Job) -> dict:
    """Take every measure of many choices of test images."""
    arrays, found, measures, reasons, without = Arrays(job), [], [], {}, []
    for spec, row in every_row():
        name = ".".join(filter(None, (spec.name, row.variant, row.extractor)))
        if not axes(row):
            without.append(name)
            continue
        try:
            table, told = taken(spec, row, arrays, job.cell.dataset)
        except NotApplicable as reason:
            reasons[name] = str(reason)
            continue
        found.append(table)
        measures.append(told)
    save_text(job.out / "spread.csv", joined(found).to_csv(index=False))
    save_json(job.out / "spread.json", about(job, arrays) | {
        "narrow": NARROW, "levels": LEVELS, "measures": measures, "reasons": reasons,
        "without": without})
    return {"measures": len(measures), "not_applicable": len(reasons)}


def every_row() -> list[tuple[Spec, Row]]:
    return [(spec, row) for spec in specs().values() for row in spec.rows]


def axes(row: Row) -> dict[str, int]:
    """The needs of a row that hold images to choose from, and the axis of these."""
    if not all(_own(*need.split(".", 1)) for need in row.needs):
        return {}
    asked = any(need.startswith("interventions.") for need in row.needs)
    found = {need: _axis(*need.split(".", 1)) for need in row.needs
             if not (asked and need == "codes.test")}  # that one is looked up by `rows`
    return {need: axis for need, axis in found.items() if axis is not None}


def _own(stage: str, key: str) -> bool:
    """Whether an array is of this cell, and of a stage that this one waits for."""
    return stage in SOURCES and (stage != "codes" or key in SPLITS)


def _axis(stage: str, key: str) -> int | None:
    if stage == "interventions":
        return 1 if key.startswith("truth_") else IMAGES.get(key)
    if stage == "denoising":
        return 1 if key == "mse" else None
    whole = REFERENCE_SPLITS if stage == "features" else ("train",)
    return None if key.rpartition(".")[2] in whole else 0


def grid(count: int) -> list[int]:
    """Numbers of images, ascending: `count` halved up to HALVINGS times, none below 2."""
    return sorted({n for n in (count >> k for k in range(HALVINGS + 1)) if n >= min(2, count)})


def choice(count: int, n: int, *names: object) -> np.ndarray:
    """Positions (n,) of some of `count` images, ascending: the same for every method."""
    return random_rows(count, n, "spread", *names, count, n)


def given(row: Row, arrays: Mapping, chosen: np.ndarray) -> list:
    """What the row's measure is computed from, if there were the `chosen` images only."""
    axis = axes(row)
    return [some(arrays[need], chosen, axis[need]) if need in axis else arrays[need]
            for need in row.needs]


def some(array: np.ndarray | Labels, chosen: np.ndarray, axis: int) -> np.ndarray | Labels:
    """The chosen images of an array."""
    return array[chosen] if isinstance(array, Labels) else np.take(array, chosen, axis)


def taken(spec: Spec, row: Row, arrays: Mapping, *names: object) -> tuple[pd.DataFrame, dict]:
    """Rows of spread.csv and the entry of spread.json of one row of measures.

    Raises NotApplicable where the measure has no value for all images.
    """
    counts = {len(array) if isinstance(array, Labels) else array.shape[axis]
              for array, axis in _chosen_from(row, arrays)}
    if len(counts) > 1:
        raise Problem(f"measure {spec.name} ({row.variant}): {' and '.join(axes(row))} are of "
                      "different images; rerun the stages that made them")
    count = counts.pop()
    whole = measured(spec, row, arrays, np.arange(count))
    repeats = FEWER.get(spec.name, REPEATS)
    found = [{"n": n, "repeat": repeat, "value": _value(
        spec, row, arrays, choice(count, n, *names, repeat))}
        for n in grid(count)[:-1] for repeat in range(repeats) if n >= spec.least_n]
    table = pd.DataFrame([*found, {"n": count, "repeat": 0, "value": whole.value}])
    cells = {"measure": spec.name, "variant": row.variant, "extractor": row.extractor}
    for column, text in enumerate(cells.values()):
        table.insert(column, KEY[column], text)
    level = chance(spec, row, whole, arrays)
    return table, cells | {"title": spec.title, "unit": whole.unit or spec.unit, "N": count,
                           "repeats": repeats, **told(table, level)}


def _chosen_from(row: Row, arrays: Mapping) -> list[tuple]:
    """Arrays and axes that decide how many images there are."""
    return [(arrays[need], axis) for need, axis in axes(row).items()]


def measured(spec: Spec, row: Row, arrays: Mapping, chosen: np.ndarray) -> Value:
    """The row's measure of the chosen images. Raises NotApplicable where it has no value."""
    if len(chosen) < spec.least_n:
        raise NotApplicable(f"n = {len(chosen)} is below the least n of {spec.least_n}")
    return row.compute(*given(row, arrays, chosen))


def _value(spec: Spec, row: Row, arrays: Mapping, chosen: np.ndarray) -> float:
    try:
        return measured(spec, row, arrays, chosen).value
    except NotApplicable:
        return np.nan


def told(table: pd.DataFrame, level: float | None) -> dict:
    """Bands, scale and `enough` of one measure, from its rows of spread.csv."""
    n, low, middle, high = bands(table)
    value = float(table.value.iloc[-1])
    scale = abs(value - (level or 0))
    wide = np.maximum(high - low, np.abs(middle - value))
    least = enough(n, wide, NARROW * scale)
    return {"n": n, "low": low, "middle": middle, "high": high, "value": value, "chance": level,
            "scale": scale, "enough": least, "needed": None if least else needed(
                int(n[-1]), high[-1] - low[-1], NARROW * scale)}


def bands(table: pd.DataFrame) -> tuple[np.ndarray, ...]:
    """n (G,) and low, middle and high (G,) of choices of other images (module docstring)."""
    known = table.dropna(subset="value")
    n = np.array(sorted(known.n.unique()))
    ends = np.array([np.quantile(known.value[known.n == one], LEVELS) for one in n])
    middle = ends[:, 1]
    wide = 1 / np.sqrt(1 - n[:-1] / n[-1])
    low, high = ((ends[:, at] - middle) * np.append(wide, 1) for at in (0, 2))
    if len(n) > 1:
        low[-1], high[-1] = (end[-2] * np.sqrt(n[-2] / n[-1]) for end in (low, high))
    return n, middle + low, middle, middle + high


def enough(n: np.ndarray, wide: np.ndarray, limit: float) -> int | None:
    """The least of n (G,) from which on `wide` (G,) is below the limit; None where none is."""
    too = np.flatnonzero(wide >= limit)
    at = too[-1] + 1 if len(too) else 0
    return int(n[at]) if at < len(n) and len(n) > 1 else None


def needed(count: int, wide: float, limit: float) -> int | None:
    """Images, to two digits, whose band is `limit` wide if that of `count` is `wide`; or None."""
    found = count * (wide / limit) ** 2 if limit else np.inf
    return int(float(f"{found:.2g}")) if count < found < 1e6 else None


def chance(spec: Spec, row: Row, whole: Value, arrays: Mapping) -> float | None:
    """The level of a model that knows nothing, as Spec.chance or the value's detail says it."""
    if whole.detail.get("chance") is not None:
        return float(whole.detail["chance"])
    named = {one.variant: one for one in specs()[spec.chance].rows}.get(row.variant) \
        if spec.chance in specs() else None
    any_row = re.fullmatch('the row "(.+)"', spec.chance)
    other = named or next((one for one in spec.rows if any_row and one.variant == any_row[1]), None)
    if other:
        return other.compute(*(arrays[need] for need in other.needs)).value
    number = re.match(r"[0-9.]+(?=$|:)", spec.chance)
    return float(number[0]) if number else None


def joined(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """All rows of spread.csv."""
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(
        columns=[*KEY, "n", "repeat", "value"])


def about(job: Job, arrays: Arrays) -> dict:
    """What a caption needs to know."""
    cell, trained = job.cell, load_json(job.folder("checkpoints") / "record.json")["found"]
    return {"dataset": cell.dataset, "title": arrays.data.meta["title"], "method": cell.method,
            "method_title": cell.title, "recipe": cell.recipe, "seed": cell.seed,
            "generated": cell.generated, "split": "test", "scale": cell.scale,
            "steps": trained["steps"], "images_seen": trained["images_seen"],
            "ddim_steps": cell.intervene.steps}


if __name__ == "__main__":
    run("spread", "analysis.spread", work, inputs=(
        "data", "references", "checkpoints", "codes", "samples", "interventions", "denoising"))

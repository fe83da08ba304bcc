"""Stage "measures": every measure of analysis/measures/ on one cell.

Writes measures.csv, one row for each measure, variant and extractor (n/a rows hold the reason),
and details.json (per attribute scores, what was dropped, sizes of references).
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.features import (
    Extractor,
    classifier_extractor,
    extract,
    inception_extractor,
    inception_file,
)
from analysis.references import load_classifier
from analysis.spec import COLUMNS, Labels, Row, Spec, Value, specs
from patronus.errors import NotApplicable, Problem
from patronus.files import load_json, save_json, save_text, sha256
from patronus.plugins import breach
from patronus.prepared import Prepared
from patronus.stage import Job, device, run

REFERENCE_SPLITS = ("train", "test")
BUNDLES = ("interventions", "denoising")  # stages that write their arrays into one npz
PARENTS = ("data", "references", "codes", "samples", *BUNDLES, "explanations", "costs")
ONE_SEED = "one seed was trained"
NO_TIE = "the study has no data set with a planted tie for it"


class Arrays:
    """The arrays of one cell by name, each loaded or computed when first asked for.

    A name that this cell cannot have raises NotApplicable with the reason that the stage in
    question wrote into none.json; a file that is missing without a reason, or that holds NaN,
    raises Problem.
    """

    def __init__(self, job: Job):
        self.job = job
        self.data = Prepared.open(job.folder("data"))
        self._loaders: dict[str, Callable] = {
            "images": self._images, "labels": self._labels, "codes": self._codes,
            "samples": self._samples, "features": self._features,
            "extractors": self._extractor, "parts": self._parts, "shortcut": self._shortcut,
            "explanations": self._explanations, "costs": self._costs,
            **{stage: partial(_bundled, self.job.folder(stage), stage) for stage in BUNDLES}}
        self._known: dict[str, object] = {}

    @property
    def kinds(self) -> list[str]:
        """What the name of an array may begin with."""
        return sorted(set(self._loaders) - {"extractors"})

    def knows(self, name: str) -> bool:
        return name.partition(".")[0] in self._loaders

    def __getitem__(self, name: str):
        if name not in self._known:
            kind, _, rest = name.partition(".")
            try:
                self._known[name] = self._loaders[kind](rest)
            except NotApplicable as reason:
                self._known[name] = reason
        found = self._known[name]
        if isinstance(found, NotApplicable):
            raise found
        return found

    def _images(self, what: str) -> np.ndarray:
        """images.<split>, or images.sampled: the test images that samples were made from."""
        if what != "sampled":
            return self.data.images(what)
        images, rows = self.data.images("test"), _stored(self.job.folder("samples"), "rows")
        if not np.isin(rows, np.arange(len(images))).all():
            raise Problem(f"{self.job.folder('samples')}/rows.npy: names test images that "
                          f"{self.data.folder} does not have; rerun sample")
        return images[rows]

    def _labels(self, split: str) -> Labels:
        return Labels.of(self.data.labels(split), self.data.meta["labels"])

    def _parts(self, what: str) -> np.ndarray:
        """parts.test: masks uint32 (N, H, W) of the test images; parts.names: of their bits."""
        masks, names = self.data.parts()
        return {"test": masks, "names": np.array(names)}[what]

    def _codes(self, split: str) -> np.ndarray:
        if split == "other_seeds":
            return self._other_seeds()
        codes, count = _finite(self.job.folder("codes"), split), self.data.meta["counts"][split]
        if len(codes) != count:
            raise Problem(f"{self.job.folder('codes')}/{split}.npy: holds codes of {len(codes)} "
                          f"images, and the split has {count}; rerun encode")
        return codes

    def _other_seeds(self) -> np.ndarray:
        """Codes (S - 1, N, D) of the test images by the study's other training seeds."""
        shape = self["codes.test"].shape
        if not self.job.siblings:
            raise NotApplicable(ONE_SEED)
        others = {cell.folder("codes"): _finite(cell.folder("codes"), "test")
                  for cell in self.job.siblings}
        for folder in (folder for folder, codes in others.items() if codes.shape != shape):
            raise Problem(f"{folder}/test.npy: is {others[folder].shape}, and "
                          f"{self.job.folder('codes')}/test.npy {shape}; rerun encode for both")
        return np.stack(list(others.values()))

    def _explanations(self, name: str) -> np.ndarray:
        """<file>.<array> of the stage explanations: what.order, where.boxes, when.tau, ..."""
        file, key = name.split(".")
        return _bundled(self.job.folder("explanations"), file, key)

    def _shortcut(self, key: str) -> np.ndarray:
        """An array of shortcut.npz of the data set that ties attributes of this one."""
        if not self.job.tied:
            raise NotApplicable(NO_TIE)
        return _bundled(self.job.tied.folder("shortcut"), "shortcut", key)

    def _costs(self, key: str) -> np.ndarray:
        """(2,) a count of costs.json and the same denoiser's without a code, NaN where none is."""
        path = self.job.folder("costs") / "costs.json"
        if not path.is_file():
            raise _absent(path, "reason")
        found = load_json(path)
        if key not in found["costs"]:
            raise NotApplicable(found["reasons"].get(key.partition("_")[2], f"no {key}"))
        counts = [found["costs"][key][which] for which in ("value", "unconditional")]
        return np.array([np.nan if count is None else count for count in counts])

    def _samples(self, name: str) -> np.ndarray:
        samples = _stored(self.job.folder("samples"), name)
        shape = tuple(self.data.meta["shape"])
        if samples.dtype != np.uint8 or samples.shape[1:] != shape:
            raise Problem(f"{self.job.folder('samples')}/{name}.npy: is {samples.dtype} "
                          f"{samples.shape}, not uint8 (n, {', '.join(map(str, shape))}); "
                          "rerun sample")
        return samples

    def _features(self, name: str) -> np.ndarray:
        extractor, what = name.split(".")
        if what in REFERENCE_SPLITS:
            return _stored(self.job.folder("references"), f"features_{extractor}_{what}",
                           extractor)
        samples = self[f"samples.{what}"]
        return extract(samples, self[f"extractors.{extractor}"], f"{extractor} features of {what}")

    def _extractor(self, name: str) -> Extractor:
        folder, where = self.job.folder("references"), device(self.job)
        if name == "classifier":
            return classifier_extractor(load_classifier(folder), where)
        self[f"features.{name}.test"]  # no reference features: say why, load nothing
        path = inception_file()
        if sha256(path) != load_json(folder / "record.json")["found"]["inception"]:
            raise Problem(f"{path}: is not the file that made {folder}/features_{name}_test.npy; "
                          "rerun references")
        return inception_extractor(path, where, self.job.threads)


def _finite(folder: Path, split: str) -> np.ndarray:
    """Codes (N, D) of one cell. Raises Problem for codes of another shape, with NaN or infinity."""
    codes = _stored(folder, split)
    if codes.ndim != 2 or not np.isfinite(codes).all():
        raise Problem(f"{folder}/{split}.npy: is not a finite (N, D) array; look at the training "
                      "of this cell, then rerun encode")
    return codes


def _stored(folder: Path, name: str, reason: str | None = None) -> np.ndarray:
    """`folder`/`name`.npy, memory-mapped; where it is absent, the reason given in none.json."""
    path = folder / f"{name}.npy"
    if path.is_file():
        return np.load(path, mmap_mode="r")
    raise _absent(path, reason or name)


def _bundled(folder: Path, stage: str, key: str) -> np.ndarray:
    """One array of `folder`/`stage`.npz; where that is absent, the reason given in none.json."""
    path = folder / f"{stage}.npz"
    if not path.is_file():
        raise _absent(path, "reason")
    with np.load(path) as held:
        if key not in held:
            raise Problem(f"{path}: has no array '{key}'; rerun that stage")
        return held[key]


def _absent(path: Path, name: str) -> NotApplicable | Problem:
    """Why a file is absent: the reason for `name` in none.json, or that there is none."""
    none = path.with_name("none.json")
    reasons = load_json(none) if none.is_file() else {}
    why = reasons.get(name) or reasons.get("reason")
    return NotApplicable(why) if why else Problem(
        f"{path}: is missing, and none.json gives no reason; rerun that stage")


def evaluate(spec: Spec, row: Row, arrays: Mapping) -> Value:
    """One row's value. Raises NotApplicable with the reason where there is none."""
    for need in row.needs:
        if isinstance(arrays, Arrays) and not arrays.knows(need):
            raise breach(row.compute, f"the row {row.variant!r} of {spec.name!r} needs {need!r}, "
                         f"which no stage makes; what it can need begins with "
                         f"{', '.join(arrays.kinds)}")
    found = [arrays[need] for need in row.needs]
    lengths = [len(array) for array in found]
    if spec.paired and len(set(lengths)) > 1:
        raise Problem(f"measure {spec.name} ({row.variant}): {' and '.join(row.needs)} are of "
                      f"{' and '.join(map(str, lengths))} images; rerun the stages that made them")
    if min(lengths) < spec.least_n:
        raise NotApplicable(f"n = {min(lengths)} is below the least n of {spec.least_n}")
    value = row.compute(*found)
    if not isinstance(value, Value):
        raise breach(row.compute, f"{row.compute.__name__}() must return a Value with its n, not "
                     f"{type(value).__name__}")
    return value


def measure(spec: Spec, row: Row, arrays: Arrays) -> tuple[dict, dict]:
    """One row of measures.csv, and its details."""
    cells = {"measure": spec.name, "variant": row.variant, "split": row.split,
             "extractor": row.extractor, "unit": spec.unit, "direction": spec.direction}
    try:
        found = evaluate(spec, row, arrays)
    except NotApplicable as reason:
        return cells | {"reason": str(reason)}, {}
    if np.isnan(found.value):
        raise Problem(f"measure {spec.name} ({row.variant}): is NaN; its inputs are "
                      f"{', '.join(row.needs)}")
    return cells | ends(spec, found) | {"value": found.value, "n": found.n, "d": found.d,
                                        "unit": found.unit or spec.unit}, found.detail


def ends(spec: Spec, found: Value) -> dict:
    """Low and high of a row, each pair with what it is; nothing where the value has none."""
    both: dict = {}
    if found.low is not None:
        both |= {"low": found.low, "high": found.high, "level": spec.level,
                 "resamples": spec.resamples}
    if found.low_new is not None:
        both |= {"low_new": found.low_new, "high_new": found.high_new,
                 "resamples_new": spec.resamples_new}
    return both


def beside(job: Job) -> list[Path]:
    """What is read of other cells: codes by other seeds, the diagnosis of a planted tie."""
    tied = [job.tied.folder("shortcut")] if job.tied else []
    return [*(cell.folder("codes") for cell in job.siblings), *tied]


def work(job: Job) -> dict:
    """Run every measure on one cell."""
    device(job)
    arrays = Arrays(job)
    rows, details = [], {}
    for spec in specs().values():
        for row in spec.rows:
            cells, detail = measure(spec, row, arrays)
            rows.append(cells)
            key = ".".join(filter(None, (spec.name, row.variant, row.extractor)))
            details |= {key: detail} if detail else {}
    table = pd.DataFrame(rows, columns=COLUMNS).astype({"n": "Int64", "d": "Int64"})
    save_json(job.out / "details.json", details)
    save_text(job.out / "measures.csv", table.to_csv(index=False))
    return {"rows": len(table), "not_applicable": int(table.value.isna().sum())}


if __name__ == "__main__":
    run("measures", "analysis.measure", work, inputs=PARENTS, beside=beside)

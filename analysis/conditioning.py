"""Stage "conditioning": does the code help to denoise, and does it ever hurt (measures.md B10)?

Sets the held-out errors of a cell (stage "denoising") beside those of the same denoiser without
condition, trained by the same recipe on the same data with the same seed: its counterpart. Both
saw the same images, noise and times, so every comparison is paired by image.

conditioning.npz: times (T',) ascending; kinds, names of the curves: code, shuffled and, where
there is a counterpart, none; curves (kinds, 3, T') mean error; ratio (3, T') of shuffled over own
code; with a counterpart also difference (3, T') own - none, relative (3, T') own / none - 1 and,
its control, relative_shuffled (3, T') shuffled / none - 1. The three are value, low and high of a
95 % interval over images, each t by itself; it knows nothing of other training seeds.
conditioning.json: own and counterpart (what they are and how they were trained), reason (why there
is no counterpart, or null), unequal (in what the two trainings differ: empty in a fair
comparison), n images, overall (the same numbers for the mean over t), and in how many of the times
the interval lies above zero (hurts) and below it (helps). No torch here.
"""

import numpy as np

from analysis import intervals
from patronus.config import Cell, counterpart, load_study, method_names
from patronus.errors import Problem
from patronus.files import load_json, save_json, save_npz, sha256
from patronus.stage import Job, run


def compared(mse: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every statistic of errors (n, T') by kind, or of errors (n,) that are means over t.

    Each (3, T') or (3,): value, low and high. Comparisons are paired: row i is the same image.
    """
    by_time = {kind: np.asarray(errors, np.float64).T for kind, errors in mse.items()}
    found = {"curves": np.stack([intervals.mean(errors) for errors in by_time.values()])}
    if "shuffled" in mse:
        found["ratio"] = np.stack(intervals.ratio(by_time["shuffled"], by_time["code"]))
    if {"code", "shuffled", "none"} <= mse.keys():
        none = by_time["none"]
        found["difference"] = np.stack(intervals.paired(by_time["code"], none))
        found["relative"] = np.stack(intervals.ratio(by_time["code"], none)) - 1
        found["relative_shuffled"] = np.stack(intervals.ratio(by_time["shuffled"], none)) - 1
    return found


def overall(mse: dict[str, np.ndarray]) -> dict:
    """The same of the mean over t, each [value, low, high]; the curves by their kind."""
    found = compared({kind: errors.mean(1) for kind, errors in mse.items()})
    return dict(zip(mse, found.pop("curves"), strict=True)) | found


def unequal(own: dict, other: dict) -> list[str]:
    """In what the trainings of two cells differ, by their denoising.json; the code's own apart."""
    pairs = [(key, own[key], other[key]) for key in ("steps", "images_seen", "precision")]
    pairs += [(key, own["train"].get(key), other["train"].get(key))
              for key in sorted((own["train"].keys() | other["train"].keys())
                                - {"precision", "code_lr_scale"})]
    return [f"{key.replace('_', ' ')} {mine} against {theirs}"
            for key, mine, theirs in pairs if mine != theirs]


def work(job: Job) -> dict:
    """Compare a cell's denoising errors with those of its denoiser without condition."""
    folder = job.folder("denoising")
    if (folder / "none.json").is_file():
        save_json(job.out / "none.json", load_json(folder / "none.json"))
        return {}
    own, about = np.load(folder / "denoising.npz"), load_json(folder / "denoising.json")
    mse = dict(zip(own["kinds"].tolist(), own["mse"], strict=True))
    if "code" not in mse:
        save_json(job.out / "none.json", {"reason": "the method has no code"})
        return {}
    other, reason = _counterpart(job.cell)
    beside = load_json(other / "denoising.json") if other else None
    if other:
        mse["none"] = _beside(own, other)
    found = compared(mse)
    save_npz(job.out / "conditioning.npz", times=own["times"], kinds=np.array(list(mse)), **found)
    save_json(job.out / "conditioning.json", {
        "own": about, "counterpart": beside, "reason": reason, "n": about["n"],
        "unequal": unequal(about, beside) if other else [], "overall": overall(mse),
        **_signs(found)})
    return {"counterpart": other and {str(other): sha256(other / "denoising.npz")}}


def _counterpart(cell: Cell) -> tuple:
    """Folder of the counterpart's errors and None, or None and the reason."""
    study = load_study(cell.scale, datasets=[cell.dataset], methods=method_names(),
                       seeds=[cell.seed])
    other = counterpart(cell, study.cells.values())
    if other is None:
        return None, f"no method is this denoiser without condition by recipe {cell.recipe}"
    if not (other.folder("denoising") / "record.json").is_file():
        return None, f"{other.method}, its denoiser without condition, was not made"
    return other.folder("denoising"), None


def _beside(own, folder) -> np.ndarray:
    """Errors (n, T') of the counterpart, on the very images and times of `own`."""
    other = np.load(folder / "denoising.npz")
    if not all(np.array_equal(own[key], other[key]) for key in ("rows", "times")):
        raise Problem(f"{folder}/denoising.npz: is of other images or times; rerun denoising")
    return other["mse"][other["kinds"].tolist().index("none")]


def _signs(found: dict[str, np.ndarray]) -> dict:
    if "difference" not in found:
        return {}
    _, low, high = found["difference"]
    return {"hurts": int((low > 0).sum()), "helps": int((high < 0).sum()), "times": len(low)}


if __name__ == "__main__":
    run("conditioning", "analysis.conditioning", work, inputs=("denoising",))

"""Means over code dimensions (or parts) and images, with their intervals. No torch here."""

import numpy as np

from analysis import intervals
from analysis.spec import Value
from patronus.errors import NotApplicable

OVER_IMAGES = {"level": "95 %", "resamples": "images", "across": "dimensions"}
OVER_DIMENSIONS = {"level": "95 %", "resamples": "dimensions"}


def summary(scores: np.ndarray, reason: str, shares: bool = False, **detail: object) -> Value:
    """Mean of scores (D, n) over n images, then over D dimensions or parts; NaN: left out.

    low, high: these dimensions over other images; low_new, high_new: other dimensions and images.
    `shares`: scores are 0 or 1. Raises NotApplicable with `reason` where all are NaN. `n` counts
    the images and `d` the dimensions of which something is known. `detail` gets the mean of each
    dimension in order, None for NaN.
    """
    scores = np.asarray(scores, dtype=np.float64)
    means = intervals.by_dimension(scores)
    kept = ~np.isnan(means)
    if not kept.any():
        raise NotApplicable(reason)
    n = int((~np.isnan(scores)).any(axis=0).sum())
    own, new = (of(scores, shares=shares) for of in (intervals.over_images, intervals.crossed))
    return Value(float(means[kept].mean()), n, *ends(own), d=int(kept.sum()), scores=scores,
                 detail=detail | listed(means),
                 **dict(zip(("low_new", "high_new"), ends(new), strict=True)))


def over_dimensions(scores: np.ndarray, reason: str, **detail: object) -> Value:
    """Mean of scores (D,) of dimensions that are not seen image by image, its interval over them.

    As `summary`; `n` counts the dimensions that have a score.
    """
    kept = scores[~np.isnan(scores)].astype(np.float64)
    if len(kept) == 0:
        raise NotApplicable(reason)
    found = intervals.mean(kept)
    return Value(float(found.value), len(kept), *ends(found), detail=detail | listed(scores))


def of_images(values: np.ndarray, **detail: object) -> Value:
    """Mean of values (n,) of images, with its interval over them."""
    found = intervals.mean(values.astype(np.float64))
    return Value(float(found.value), len(values), *ends(found), detail=detail,
                 scores=values[None].astype(np.float64))


def ends(found: intervals.Interval) -> tuple[float, float] | tuple[None, None]:
    """Both ends of an interval, the value between them; None where there is none."""
    if np.isnan(found.low):
        return None, None
    return float(min(found.low, found.value)), float(max(found.high, found.value))


def listed(scores: np.ndarray) -> dict:
    """Scores (D,) as details.json has them."""
    return {"scores": [None if np.isnan(score) else float(score) for score in scores],
            "left_out": int(np.isnan(scores).sum())}


def kind(kinds: np.ndarray, name: str) -> int:
    """Position of an intervention by name in `kinds` (V,) of interventions.npz.

    Raises NotApplicable if the scale did not ask for it.
    """
    if name not in kinds:
        raise NotApplicable(f"the scale asks for no intervention of kind '{name}'")
    return kinds.tolist().index(name)

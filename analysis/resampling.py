"""Means over code dimensions (or parts) with a bootstrap interval over them. No torch here."""

import numpy as np

from analysis.causal import mean_effect
from analysis.spec import Value
from patronus.errors import NotApplicable
from patronus.seeds import seed_for

SPREAD = "95 % bootstrap interval over dimensions of one model"


def over_images(values: np.ndarray) -> np.ndarray:
    """Mean (D,) over the images of values (D, n) that are not NaN; NaN where all are."""
    known = ~np.isnan(values)
    count = known.sum(axis=1)
    total = np.where(known, values, 0).sum(axis=1, dtype=np.float64)
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)


def summary(scores: np.ndarray, reason: str, **detail: object) -> Value:
    """Mean of scores (D,), one for each dimension or part, those that are NaN left out.

    Raises NotApplicable with `reason` where all are NaN. `n` counts the scores that have a value;
    one of them has no interval. `detail` gets all scores in order, None for NaN.
    """
    kept = scores[~np.isnan(scores)].astype(np.float64)
    if len(kept) == 0:
        raise NotApplicable(reason)
    detail |= {"scores": [None if np.isnan(score) else float(score) for score in scores],
               "left_out": len(scores) - len(kept)}
    if len(kept) == 1:
        return Value(float(kept[0]), 1, detail=detail)
    found = mean_effect(kept, np.random.default_rng(seed_for("bootstrap", "dimensions")))
    value = float(found.value)  # of equal scores the resamples differ by rounding
    return Value(value, len(kept), min(float(found.low), value), max(float(found.high), value),
                 detail=detail)


def kind(kinds: np.ndarray, name: str) -> int:
    """Position of an intervention by name in `kinds` (V,) of interventions.npz.

    Raises NotApplicable if the scale did not ask for it.
    """
    if name not in kinds:
        raise NotApplicable(f"the scale asks for no intervention of kind '{name}'")
    return kinds.tolist().index(name)

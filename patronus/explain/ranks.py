"""Rank correlation with an interval: are two properties of dimensions ordered alike? No torch here.
"""

import numpy as np
from scipy import stats

LEAST = 5  # dimensions; a rank correlation of fewer says nothing
WIDE = stats.norm.isf(0.025)  # half a 95 % interval in standard errors


def rank_correlation(tau: np.ndarray, centroid: np.ndarray) -> dict[str, float]:
    """Spearman's rho (E,) against (E,), with its 95 % interval over dimensions.

    Fisher's transformation with the variance of Bonett and Wright (Psychometrika 65, 2000); it has
    no ends at 1, so a perfect order counts as half a step from the next one.
    Dimensions without one of the two do not count; with fewer than 5, all three are NaN.
    """
    whole = np.isfinite(tau) & np.isfinite(centroid)
    n = whole.sum()
    if n < LEAST:
        return dict.fromkeys(("rho", "rho_low", "rho_high"), np.nan)
    rho = float(np.clip(spearman(tau[whole], centroid[whole]), -1, 1))
    half, most = WIDE * np.sqrt((1 + rho ** 2 / 2) / (n - 3)), 1 - 6 / (n ** 3 - n)
    low, high = np.tanh(np.arctanh(np.clip(rho, -most, most)) + half * np.array([-1, 1]))
    return {"rho": rho, "rho_low": np.fmin(low, rho), "rho_high": np.fmax(high, rho)}


def spearman(x: np.ndarray, y: np.ndarray, axis: int = -1) -> np.ndarray:
    """Rank correlation along an axis, ties averaged; NaN where either is constant."""
    x, y = (stats.zscore(stats.rankdata(part, axis=axis), axis=axis) for part in (x, y))
    return (x * y).mean(axis)

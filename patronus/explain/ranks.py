"""Rank correlation with an interval: are two properties of dimensions ordered alike? No torch here.
"""

import warnings

import numpy as np
from scipy import stats

from patronus.seeds import seed_for

LEAST = 5  # dimensions; a rank correlation of fewer says nothing
RESAMPLES = 2000


def rank_correlation(tau: np.ndarray, centroid: np.ndarray) -> dict[str, float]:
    """Spearman's rho (E,) against (E,), with the bootstrap 95 % interval over dimensions.

    Dimensions without one of the two do not count; with fewer than 5, all three are NaN. The
    interval holds rho: of few dimensions with ties all resamples may lie on one side of it.
    """
    whole = np.isfinite(tau) & np.isfinite(centroid)
    if whole.sum() < LEAST:
        return dict.fromkeys(("rho", "rho_low", "rho_high"), np.nan)
    pair = tau[whole], centroid[whole]
    with warnings.catch_warnings():  # a resample in which all ranks are equal has no rho
        warnings.simplefilter("ignore")
        draws = stats.bootstrap(
            pair, spearman, paired=True, vectorized=True, n_resamples=RESAMPLES,
            method="percentile", random_state=np.random.default_rng(seed_for("emergence")))
        low, high = np.nanquantile(draws.bootstrap_distribution, [0.025, 0.975])
        rho = spearman(*pair)
        return {"rho": rho, "rho_low": np.fmin(low, rho), "rho_high": np.fmax(high, rho)}


def spearman(x: np.ndarray, y: np.ndarray, axis: int = -1) -> np.ndarray:
    """Rank correlation along an axis, ties averaged; NaN where either is constant."""
    x, y = (stats.zscore(stats.rankdata(part, axis=axis), axis=axis) for part in (x, y))
    return (x * y).mean(axis)

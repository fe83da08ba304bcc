"""What answered interventions say of each dimension and image. Pure functions; no torch here.

Axes: D dimensions asked, n images, m code dimensions, K parts, G levels. Sources: measures.md B1
(realised values, rank correlation) and B2 (shares of the change).
"""

import numpy as np
from scipy.stats import rankdata

from analysis import intervals
from analysis.causal import SEEN, lacking

TIE = 1e-4  # standard deviations: what differs by less is equal up to rounding
DEAD = 1e-6  # of the largest standard deviation
NOTHING = 1e-4  # standard deviations, mean over dimensions: rounding moves a code so far
GRID = ("q05", "q50", "q95", "max")  # kinds that make the grid of the rank correlation
NOISES = (0.05, 0.1, 0.2)  # standard deviations added to a code (measures.md B7)


def own(codes: np.ndarray, dims: np.ndarray) -> np.ndarray:
    """Entry (D, n) of each edited dimension in codes (D, n, m) of edited images, in float64."""
    return codes[np.arange(len(dims)), :, dims].astype(np.float64)


def obeyed(levels: np.ndarray, codes: np.ndarray, dims: np.ndarray,
           sigma: np.ndarray) -> np.ndarray:
    """Rank correlation (D, n) of levels (G, m) asked and what codes (G, D, n, m) then are."""
    scale = spread(sigma[dims])
    found = np.stack([own(one, dims) for one in codes]) / scale[:, None]
    return rank_correlation(np.round(levels[:, dims] / scale / TIE), np.round(found / TIE))


def rank_correlation(asked: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Spearman's correlation (D, n) of asked (G, D) and found (G, D, n), ties averaged.

    NaN where all that is asked is equal; 0 where all that is found is.
    """
    x, y = (_centred(rankdata(a, axis=0)) for a in (asked[..., None], found))
    own_x, own_y = np.square(x).sum(axis=0), np.square(y).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        rho = np.where(own_y == 0, 0, (x * y).sum(axis=0) / np.sqrt(own_x * own_y))
    return np.where(own_x > 0, rho, np.nan)


def spread(sigma: np.ndarray) -> np.ndarray:
    """Standard deviations in float64, NaN where they are 0: a dead dimension is asked nothing."""
    return np.where(sigma > 0, sigma, np.nan).astype(np.float64)


def shares(edited: np.ndarray, recon: np.ndarray, sigma: np.ndarray,
           dims: np.ndarray) -> np.ndarray:
    """Share (D, n) of the change that each edited dimension dims (D,) has, in [0, 1].

    edited (D, n, m), recon (n, m), sigma (m,). NaN where nothing changed or dims[d] is dead.
    """
    alive = sigma > DEAD * sigma.max()
    scale = np.divide(1, sigma, out=np.zeros(len(sigma)), where=alive, dtype=np.float64)
    found = np.full(edited.shape[:2], np.nan)
    for d, dim in enumerate(dims):  # one dimension at a time: codes are many
        moved = np.abs(edited[d].astype(np.float64) - recon) * scale
        total = moved.sum(axis=1)
        changed = (total > NOTHING * alive.sum()) & alive[dim]
        found[d, changed] = moved[changed, dim] / total[changed]
    return found


def half_widths(asked: dict[str, np.ndarray], best_at: np.ndarray) -> dict[str, float]:
    """Half of the 95 % interval over images of four means, from the images answered so far.

    asked: arrays of interventions.npz, with labels, probabilities and probabilities_recon of
    parts; best_at (K,) positions of the parts' best dimensions. Means whose kinds of intervention
    were not asked for, or that no image has, are left out.
    """
    at = {str(name): v for v, name in enumerate(asked["kinds"])}
    first, dims, sigma = at["max"], asked["dims"], asked["sigma"]
    found = {"selectivity": shares(asked["codes"][first], asked["codes_recon"][0], sigma, dims),
             "pointing": asked["hit"][first],
             "causal_success": made_seen(asked["labels"], asked["probabilities_recon"][0],
                                         asked["probabilities"][first], best_at)}
    if at.keys() >= set(GRID):
        grid = [at[name] for name in GRID]
        found["fidelity"] = obeyed(asked["levels"][grid], asked["codes"][grid], dims, sigma)
    widths = {name: half_width(values) for name, values in found.items()}
    return {name: width for name, width in widths.items() if not np.isnan(width)}


def made_seen(labels: np.ndarray, recon: np.ndarray, edited: np.ndarray,
              best_at: np.ndarray) -> np.ndarray:
    """(K, n): 1 where raising a part's best dimension makes it seen, else 0; NaN: not lacking.

    labels (n, K), recon (n, K) and edited (D, n, K) probabilities of parts.
    """
    counted = lacking(labels, recon) & (best_at >= 0)
    made = np.stack([edited[at, :, k] >= SEEN for k, at in enumerate(best_at)], axis=1)
    return np.where(counted, made, np.nan).T


def half_width(values: np.ndarray) -> float:
    """Of the 95 % interval of the mean of values (rows, n) over other images: these dimensions.

    0 where all images say the same so far; NaN of fewer than two images.
    """
    if np.isnan(values).all():
        return np.nan
    found = intervals.over_images(values)
    return float(found.high - found.low) / 2


def _centred(ranks: np.ndarray) -> np.ndarray:
    return ranks - ranks.mean(axis=0)

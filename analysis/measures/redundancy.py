"""Redundancy: how much of a dimension does another one repeat?

The largest squared rank correlation of a dimension with another one over the test images, mean
over all dimensions: 0 where each has something of its own to say, 1 where every dimension has a
copy, however it is scaled or turned round. Dimensions with one value are left out. details.json
has the same of codes whose every dimension is shuffled by itself, and the participation ratio of
the correlations, (sum of eigenvalues)^2 / sum of squares: how many dimensions there are in effect.
"""

import numpy as np
from scipy.stats import rankdata

from analysis.resampling import OVER_DIMENSIONS, over_dimensions
from analysis.spec import Known, Row, Spec, Value
from patronus.errors import NotApplicable
from patronus.seeds import seed_for

ALONE = "fewer than two code dimensions take two values in the test images: nothing to repeat"


def redundancy(test_codes: np.ndarray) -> Value:
    """Mean over m dimensions, in [0, 1], of codes (N, m).

    detail: chance, the same of shuffled codes; participation, in [1, dimensions that vary].
    """
    correlation = correlations(test_codes)
    rng = np.random.default_rng(seed_for("redundancy", "shuffled"))
    chance = largest(correlations(rng.permuted(test_codes, axis=0)))
    return over_dimensions(largest(correlation), ALONE, chance=float(np.nanmean(chance)),
                   participation=participation(correlation))


def correlations(codes: np.ndarray) -> np.ndarray:
    """Rank correlation (m, m) of the dimensions of codes (N, m); NaN of those with one value.

    Raises NotApplicable where fewer than two vary.
    """
    ranks = rankdata(codes, axis=0)
    ranks -= ranks.mean(axis=0)
    size = np.linalg.norm(ranks, axis=0)
    if (size > 0).sum() < 2:
        raise NotApplicable(ALONE)
    ranks = ranks / np.where(size > 0, size, np.nan)
    return ranks.T @ ranks


def largest(correlation: np.ndarray) -> np.ndarray:
    """The largest square (m,) of each row of correlations (m, m), itself left out."""
    others = np.where(np.eye(len(correlation), dtype=bool), np.nan, np.square(correlation))
    known = ~np.isnan(others)
    found = np.where(known, others, -np.inf).max(axis=1)
    return np.where(known.any(axis=1), np.minimum(found, 1), np.nan)


def participation(correlation: np.ndarray) -> float:
    """(trace)^2 / sum of squares of correlations (m, m), of the dimensions that vary."""
    alive = ~np.isnan(np.diag(correlation))
    return float(alive.sum() ** 2 / np.square(correlation[np.ix_(alive, alive)]).sum())


SPECS = (
    Spec(name="redundancy", title="Redundancy", unit="squared rank correlation",
         direction="lower", source="measures.md B2; participation ratio: Gao et al. 2017",
         **OVER_DIMENSIONS, chance="shuffled codes", least_n=2,
         rows=(Row("test", redundancy, ("codes.test",), "test"),)),
)


def _copied(rng: np.random.Generator) -> tuple:
    """Four dimensions, each beside a copy that is turned round and bent."""
    codes = rng.normal(size=(300, 4))
    return (np.hstack([codes, -np.exp(codes)]),)


def _mixed(rng: np.random.Generator) -> tuple:
    """One pair of copies and a constant among seven dimensions that have nothing in common."""
    codes = rng.normal(size=(20_000, 8))
    codes[:, 1], codes[:, 7] = codes[:, 0], 3
    return (codes,)


KNOWN = (
    Known("redundancy", "perfect", lambda rng: (rng.normal(size=(20_000, 6)),), 0, 1e-3, n=6),
    Known("redundancy", "null", _copied, 1 - 1e-12, 1, n=8),
    Known("redundancy", "hostile", _mixed, 2 / 7, 2 / 7 + 1e-3, n=7),
    Known("redundancy", "hostile", lambda rng: (np.ones((50, 3)),), reason="nothing to repeat"),
    Known("redundancy", "hostile", lambda rng: (rng.normal(size=(50, 1)),),
          reason="nothing to repeat"),
)

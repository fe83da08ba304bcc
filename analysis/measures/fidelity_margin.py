"""Fidelity above that of other dimensions: would any other have followed as well? (measures.md B1)

Fidelity is the rank correlation of four values that dimension j is set to with what the encoder
then reads of j. But an edit moves the whole image, and most other dimensions then go up or down in
order as well. So: own fidelity less the mean size |rho| of the same correlation for all other
dimensions, over images, then over the D dimensions of largest spread. 1: only what was set follows;
0: any other dimension follows as well, whatever fidelity says; below 0: others follow better.
"""

import numpy as np

from analysis.answers import DEAD, GRID, TIE, rank_correlation
from analysis.intervals import by_dimension
from analysis.measures.fidelity import NONE
from analysis.resampling import OVER_IMAGES, kind, summary
from analysis.spec import Known, Row, Spec, Value


def margin(dims: np.ndarray, kinds: np.ndarray, levels: np.ndarray, sigma: np.ndarray,
           codes: np.ndarray) -> Value:
    """Mean of own less other rank correlations, in [-2, 1].

    dims (D,), kinds (V,), levels (V, m), sigma (m,), codes (V, D, n, m) of interventions.npz.
    detail: `own` and `others`, the means of which it is the difference.
    """
    at = [kind(kinds, name) for name in GRID]
    found = np.full((2, *codes.shape[1:3]), np.nan)
    for d, dim in enumerate(dims):  # one dimension at a time: codes are many
        found[:, d] = following(levels[at, dim], codes[at, d], dim, sigma)
    asked = ~np.isnan(found[0]).all(axis=1)
    own, others = (float(by_dimension(some[asked]).mean()) if asked.any() else None
                   for some in found)
    return summary(found[0] - found[1], NONE, own=own, others=others)


def following(asked: np.ndarray, codes: np.ndarray, dim: int,
              sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rank correlation (n,) of levels asked (G,) and codes (G, n, m) of dim; mean size of others.

    NaN where all levels are equal; others that are dead or never move count 0, as in `obeyed`.
    """
    scale = np.where(sigma > DEAD * sigma.max(), sigma, np.inf).astype(np.float64)
    steps = np.moveaxis(np.round(codes / scale / TIE), 2, 1)  # (G, m, n)
    rho = rank_correlation(np.round(asked / scale[dim] / TIE)[:, None], steps)
    return rho[dim], np.abs(np.delete(rho, dim, axis=0)).mean(axis=0)


_NEEDS = tuple(f"interventions.{key}" for key in ("dims", "kinds", "levels", "sigma", "codes"))

SPECS = (
    Spec(name="fidelity_margin", title="Fidelity above other dimensions", unit="rank correlation",
         direction="higher", source="measures.md B1", **OVER_IMAGES,
         chance="0: any other dimension follows as well",
         rows=(Row("inverted", margin, _NEEDS, "test"),)),
)


def _given(rng: np.random.Generator, follow: np.ndarray) -> tuple:
    """20 images of 6 dimensions, 5 of them set: of each edit, dimension k follows by follow[k]."""
    levels, dims = np.arange(4.0)[:, None] + np.zeros(6), np.arange(5)
    codes = np.tile(rng.normal(size=(20, 6)), (4, 5, 1, 1))
    codes += follow[None, :, None] * levels[:, :1, None, None]
    return dims, np.array(GRID), levels, np.ones(6), codes


def _random(rng: np.random.Generator) -> tuple:
    """What is read has nothing to do with what is asked: of 4 values |rho| is 0.46 by chance."""
    *given, codes = _given(rng, np.zeros((5, 6)))
    return *given, rng.normal(size=codes.shape)


def _elsewhere(rng: np.random.Generator) -> tuple:
    """The next dimension follows, 1 of 5 others, and the one that is set does not."""
    return _given(rng, np.roll(np.eye(5, 6), 1, axis=1))


def _still(rng: np.random.Generator) -> tuple:
    dims, kinds, levels, sigma, codes = _given(rng, np.ones((5, 6)))
    return dims, kinds, np.ones_like(levels), sigma, codes


KNOWN = (
    Known("fidelity_margin", "perfect", lambda rng: _given(rng, np.eye(5, 6)), 1, 1, n=20,
          d=5),
    Known("fidelity_margin", "null", lambda rng: _given(rng, np.ones((5, 6))), -1e-12, 1e-12,
          n=20, d=5),
    Known("fidelity_margin", "null", lambda rng: _given(rng, -np.ones((5, 6)) + 2 * np.eye(5, 6)),
          -1e-12, 1e-12, n=20, d=5),
    Known("fidelity_margin", "hostile", _random, -0.56, -0.36, n=20, d=5),
    Known("fidelity_margin", "hostile", _elsewhere, -0.2 - 1e-12, -0.2 + 1e-12, n=20,
          d=5),
    Known("fidelity_margin", "hostile", _still, reason="two values"),
)

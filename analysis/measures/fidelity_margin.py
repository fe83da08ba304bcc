"""Fidelity above that of other dimensions: would any other have followed as well? (measures.md B1)

Fidelity is the rank correlation of four values that dimension j is set to with what the encoder
then reads of j. But an edit moves the whole image, and most other dimensions then go up or down in
order as well. So: own fidelity less the mean size |rho| of the same correlation for all other
dimensions, over images, then over the D dimensions of largest spread. 1: only what was set follows;
0: any other dimension follows as well, whatever fidelity says; below 0: others follow better.

Coarse dimensions (resolution.py) are left out, as what is set and among the others: one that does
not take its next step follows nobody, which made a code of one bit better than its own fine one.
"""

import numpy as np

from analysis.answers import DEAD, GRID, TIE, rank_correlation
from analysis.intervals import by_dimension
from analysis.measures.fidelity import NONE
from analysis.measures.resolution import coarse, fine
from analysis.resampling import OVER_IMAGES, kind, summary
from analysis.spec import Known, Row, Spec, Value


def margin(dims: np.ndarray, kinds: np.ndarray, levels: np.ndarray, sigma: np.ndarray,
           codes: np.ndarray, test_codes: np.ndarray) -> Value:
    """Mean of own less other rank correlations, in [-2, 1].

    dims (D,), kinds (V,), levels (V, m), sigma (m,), codes (V, D, n, m) of interventions.npz;
    test_codes (N, m). detail: `own` and `others`, the means of which it is the difference.
    """
    at, others = [kind(kinds, name) for name in GRID], ~coarse(test_codes)
    found = np.full((2, *codes.shape[1:3]), np.nan)
    for d, dim in enumerate(dims):  # one dimension at a time: codes are many
        found[:, d] = following(levels[at, dim], codes[at, d], dim, sigma, others)
    scores = fine(found[0] - found[1], dims, test_codes)
    known = ~np.isnan(scores).all(axis=1)
    both = dict(zip(("own", "others"), (by_dimension(some[known]) for some in found), strict=True))
    return summary(scores, NONE, **{key: float(means.mean()) if known.any() else None
                                    for key, means in both.items()})


def following(asked: np.ndarray, codes: np.ndarray, dim: int, sigma: np.ndarray,
              others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rank correlation (n,) of levels asked (G,) and codes (G, n, m) of dim; mean size of others.

    `others` (m,) bool may be compared with; none: 0. NaN where all levels are equal; dimensions
    that are dead or never move count 0, as in `obeyed`.
    """
    scale = np.where(sigma > DEAD * sigma.max(), sigma, np.inf).astype(np.float64)
    steps = np.moveaxis(np.round(codes / scale / TIE), 2, 1)  # (G, m, n)
    rho = rank_correlation(np.round(asked / scale[dim] / TIE)[:, None], steps)
    beside = np.abs(rho[others & (np.arange(len(rho)) != dim)])
    return rho[dim], beside.mean(axis=0) if len(beside) else np.zeros(len(rho[dim]))


_NEEDS = (*(f"interventions.{key}" for key in ("dims", "kinds", "levels", "sigma", "codes")),
          "codes.test")

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
    return dims, np.array(GRID), levels, np.ones(6), codes, codes[0, 0]


def _random(rng: np.random.Generator) -> tuple:
    """What is read has nothing to do with what is asked: of 4 values |rho| is 0.46 by chance."""
    *given, codes, test = _given(rng, np.zeros((5, 6)))
    return *given, rng.normal(size=codes.shape), test


def _elsewhere(rng: np.random.Generator) -> tuple:
    """The next dimension follows, 1 of 5 others, and the one that is set does not."""
    return _given(rng, np.roll(np.eye(5, 6), 1, axis=1))


def _still(rng: np.random.Generator) -> tuple:
    dims, kinds, levels, sigma, *codes = _given(rng, np.ones((5, 6)))
    return dims, kinds, np.ones_like(levels), sigma, *codes


def _bits(rng: np.random.Generator, *bits: int) -> tuple:
    """All follow but dimension 1, which is set and a bit; others may be bits that do not step."""
    *given, codes, test = _given(rng, np.ones((5, 6)))
    codes[..., 1:2], test = rng.normal(size=(1, 5, 20, 1)), test.copy()
    test[:, bits] = np.arange(20)[:, None] % 2
    return *given, codes, test


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
    Known("fidelity_margin", "hostile", lambda rng: _bits(rng, 1), -1e-12, 1e-12, n=20, d=4),
    Known("fidelity_margin", "hostile", lambda rng: _bits(rng, *range(6)), reason="coarse"),
    Known("fidelity_margin", "hostile", _still, reason="two values"),
)

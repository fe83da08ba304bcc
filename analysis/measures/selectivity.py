"""Selectivity: does only the dimension move that was set? (measures.md B2)

|delta_j| / sigma_j over the sum of |delta_k| / sigma_k of all m dimensions, delta = E(x') - E(xhat)
after do(j, v_max): mean over images, then over the D dimensions of largest spread. Chance is 1 / m,
where all move alike. Dimensions that are dead (no spread over training codes) do not count, nor
do images whose code the edit did not change. Coarse dimensions (resolution.py) are not asked.
"""

from collections.abc import Callable

import numpy as np

from analysis.answers import DEAD, shares
from analysis.measures.resolution import fine
from analysis.resampling import OVER_IMAGES, kind, summary
from analysis.spec import Known, Row, Spec, Value

NONE = "no edit changed the code of any image"


def selectivity(name: str, start: int) -> Callable[..., Value]:
    """The measure under the kind `name`, which starts from x_T number `start` (0 inverted)."""
    def compute(dims: np.ndarray, kinds: np.ndarray, sigma: np.ndarray, codes: np.ndarray,
                codes_recon: np.ndarray, test_codes: np.ndarray) -> Value:
        """Mean share, in [0, 1]: dims (D,), kinds (V,), sigma (m,), codes (V, D, n, m),
        codes_recon (2, n, m) of interventions.npz; test_codes (N, m)."""
        found = shares(codes[kind(kinds, name)], codes_recon[start], sigma, dims)
        found = fine(found, dims, test_codes)
        alive = int((sigma > DEAD * sigma.max()).sum())
        return summary(found, NONE, chance=1 / alive if alive else None)

    return compute


SPECS = (
    Spec(name="selectivity", title="Selectivity", unit="share of the change", direction="higher",
         source="measures.md B2", chance="1 / m", **OVER_IMAGES,
         rows=tuple(Row(variant, selectivity(name, start),
                        ("interventions.dims", "interventions.kinds", "interventions.sigma",
                         "interventions.codes", "interventions.codes_recon", "codes.test"), "test")
                    for variant, name, start in (("inverted", "max", 0),
                                                 ("random", "max_random", 1)))),
)


def _given(move: np.ndarray, sigma: np.ndarray, rng: np.random.Generator) -> tuple:
    """Editing dimension d moves the 7 dimensions by move[d] standard deviations (5, 7)."""
    recon = np.tile(rng.normal(size=(30, 7)), (2, 1, 1))
    codes = recon[:, None] + (move * sigma)[None, :, None]
    return np.arange(5), np.array(["max", "max_random"]), sigma, codes, recon, recon[0]


def _alone(rng: np.random.Generator) -> tuple:
    return _given(3 * np.eye(5, 7), rng.uniform(0.1, 9, 7), rng)


def _all(rng: np.random.Generator) -> tuple:
    """All move equally far, half of them down."""
    return _given(np.where(np.arange(7) % 2, 1.0, -1.0) * np.ones((5, 1)),
                  rng.uniform(0.1, 9, 7), rng)


def _holes(rng: np.random.Generator) -> tuple:
    """Dimension 2 is dead, 4 does nothing, images 0 to 9 do not change: three perfect ones stay."""
    move, sigma = 3 * np.eye(5, 7), np.ones(7)
    move[4], sigma[2] = 0, 0
    dims, kinds, sigma, codes, recon, test = _given(move, sigma, rng)
    codes[:, :, :10] = recon[:, None, :10]
    codes[:, :, 10:, 2] += 0.1  # 0.1 / 0 standard deviations
    codes[:, 4] = recon
    return dims, kinds, sigma, codes, recon, test


def _bits(rng: np.random.Generator, *dims: int) -> tuple:
    """These dimensions are bits: each answers by a whole step, and nothing else moves."""
    *given, test = _given(3 * np.eye(5, 7), np.ones(7), rng)
    test = test.copy()
    test[:, dims] = test[:, dims] > 0
    return *given, test


def _still(rng: np.random.Generator) -> tuple:
    return _given(np.zeros((5, 7)), np.ones(7), rng)


KNOWN = (
    Known("selectivity", "perfect", _alone, 1 - 1e-12, 1 + 1e-12, n=30, d=5),
    Known("selectivity", "null", _all, 1 / 7 - 1e-12, 1 / 7 + 1e-12, n=30, d=5),
    Known("selectivity", "hostile", _holes, 1 - 1e-12, 1 + 1e-12, n=20, d=3),
    Known("selectivity", "hostile", lambda rng: _bits(rng, 1, 3), 1 - 1e-12, 1 + 1e-12, n=30,
          d=3),
    Known("selectivity", "hostile", lambda rng: _bits(rng, *range(7)), reason="coarse"),
    Known("selectivity", "hostile", _still, reason="no edit changed"),
)

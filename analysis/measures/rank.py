"""Rank: is the dimension that was set the one that moved most? (measures.md B2)

|delta_k| / sigma_k of every dimension k after do(j, v_max), delta = E(x') - E(xhat), as in
selectivity: the share of the other dimensions that moved less than j, those that moved as far (up
to rounding) counted half. 1: none moved farther; chance 0.5, also where nothing moved. Mean over
images, then over the D dimensions of largest spread.

Selectivity falls with the width of the code, and with every dimension that rightly goes along;
the rank asks only whether the one that was meant comes first. Left out are dead dimensions, and
images whose own code comes within half a standard deviation of v_max: little is asked of them.
"""

from collections.abc import Callable

import numpy as np

from analysis.answers import DEAD, TIE
from analysis.measures.fidelity import LEAST_ROOM
from analysis.resampling import OVER_IMAGES, kind, summary
from analysis.spec import Known, Row, Spec, Value

NONE = "no image was asked for a change, or fewer than two dimensions vary"


def rank(name: str, start: int) -> Callable[..., Value]:
    """The measure under the kind `name`, which starts from x_T number `start` (0 inverted)."""
    def compute(dims: np.ndarray, kinds: np.ndarray, levels: np.ndarray, sigma: np.ndarray,
                codes: np.ndarray, codes_recon: np.ndarray, rows: np.ndarray,
                test_codes: np.ndarray) -> Value:
        """Mean rank, in [0, 1]: dims (D,), kinds (V,), levels (V, m), sigma (m,),
        codes (V, D, n, m), codes_recon (2, n, m), rows (n,) of interventions.npz in
        test_codes (N, m)."""
        v = kind(kinds, name)
        room = levels[v, dims][:, None] - test_codes[rows][:, dims].T.astype(np.float64)
        found = ranks(codes[v], codes_recon[start], sigma, dims)
        asked = room >= LEAST_ROOM * sigma[dims][:, None]
        return summary(np.where(asked, found, np.nan), NONE)

    return compute


def ranks(edited: np.ndarray, recon: np.ndarray, sigma: np.ndarray,
          dims: np.ndarray) -> np.ndarray:
    """Share (D, n) of the other dimensions that moved less than dims[d], ties counted half.

    edited (D, n, m), recon (n, m), sigma (m,). NaN where dims[d] is dead or alone.
    """
    alive = np.flatnonzero(sigma > DEAD * sigma.max())
    found = np.full(edited.shape[:2], np.nan)
    for d, dim in enumerate(dims):  # one dimension at a time: codes are many
        if dim in alive and len(alive) > 1:
            moved = np.abs(edited[d].astype(np.float64) - recon) / np.where(sigma > 0, sigma, 1)
            moved = np.round(moved / TIE)
            own, others = moved[:, [dim]], moved[:, alive[alive != dim]]
            found[d] = (others < own).mean(axis=1) + 0.5 * (others == own).mean(axis=1)
    return found


SPECS = (
    Spec(name="rank", title="Rank", unit="share of the other dimensions", direction="higher",
         source="measures.md B2", chance="0.5", **OVER_IMAGES,
         rows=tuple(Row(variant, rank(name, start),
                        (*(f"interventions.{key}" for key in (
                            "dims", "kinds", "levels", "sigma", "codes", "codes_recon", "rows")),
                         "codes.test"), "test")
                    for variant, name, start in (("inverted", "max", 0),
                                                 ("random", "max_random", 1)))),
)


def _given(move: np.ndarray, sigma: np.ndarray, rng: np.random.Generator) -> tuple:
    """Editing dimension d moves the 7 dimensions by move[d] standard deviations (5, 7)."""
    recon = np.tile(rng.normal(size=(30, 7)) * sigma, (2, 1, 1))
    codes = recon[:, None] + (move * sigma)[None, :, None]
    levels = np.tile(recon[0].max(axis=0) + sigma, (2, 1))
    return (np.arange(5), np.array(["max", "max_random"]), levels, sigma, codes, recon,
            np.arange(30), recon[0])


def _first(rng: np.random.Generator) -> tuple:
    """Each set dimension moves most, the others not much less, some of them down."""
    move = 2.9 * np.where(np.arange(7) % 2, 1.0, -1.0) * np.ones((5, 1))
    np.fill_diagonal(move, 3)
    return _given(move, rng.uniform(0.1, 9, 7), rng)


def _any(rng: np.random.Generator) -> tuple:
    dims, kinds, levels, sigma, codes, *rest = _given(np.zeros((5, 7)), np.ones(7), rng)
    return dims, kinds, levels, sigma, codes + rng.normal(size=codes.shape), *rest


def _other(rng: np.random.Generator) -> tuple:
    """Setting a dimension moves all others, and not itself."""
    return _given(1 - np.eye(5, 7), rng.uniform(0.1, 9, 7), rng)


def _tied(rng: np.random.Generator) -> tuple:
    """Two of the six others move as far, up to rounding, and a dead one; four do not."""
    move, sigma = np.eye(5, 7), np.array([1, 2, 1, 2, 1, 0.5, 1.0])
    move[:, 5:] = 1 + 1e-7
    return _given(move, sigma, rng)


def _dead(rng: np.random.Generator) -> tuple:
    """Dimension 2 is dead, and moves; images 0 to 9 have v_max already, and move elsewhere."""
    move, sigma = 3 * np.eye(5, 7), np.ones(7)
    sigma[2] = 0
    dims, kinds, levels, sigma, codes, recon, rows, test = _given(move, sigma, rng)
    codes[:, :, :10] = recon[:, None, :10] + (1 - np.eye(5, 7))[:, None]
    codes[..., 2] += 0.1
    test = np.where(np.arange(30)[:, None] < 10, levels[0], test)
    return dims, kinds, levels, sigma, codes, recon, rows, test


def _alone(rng: np.random.Generator) -> tuple:
    return _given(np.eye(5, 7), np.eye(7)[0], rng)


KNOWN = (
    Known("rank", "perfect", _first, 1, 1, n=30, d=5),
    Known("rank", "null", _any, 0.45, 0.55, n=30, d=5),
    Known("rank", "null", lambda rng: _given(np.zeros((5, 7)), np.ones(7), rng), 0.5, 0.5,
          n=30, d=5),
    Known("rank", "hostile", _other, 0, 0, n=30, d=5),
    Known("rank", "hostile", _tied, 5 / 6 - 1e-12, 5 / 6 + 1e-12, n=30, d=5),
    Known("rank", "hostile", _dead, 1, 1, n=20, d=4),
    Known("rank", "hostile", _alone, reason="fewer than two"),
)

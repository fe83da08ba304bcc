"""Intervention fidelity: does the image obey the code? (measures.md B1)

Dimension j of an image's code is set to v, the image is decoded and encoded anew: r_j(v). Fidelity
is Spearman's correlation of v and r over four levels of the test codes (5, 50, 95 and 100 %
quantile), x_T inverted. The realised fraction is (r_j(v_max) - c_j) / (v_max - c_j), with c_j the
image's own code. Both are means over images, then over the D dimensions of largest spread.

An image that does not answer (r the same at all levels) scores 0. A dimension with one level in
all test images asks nothing and is left out. So is, of the fraction, an image whose own code
comes within half a standard deviation of v_max: there the denominator says nothing. And so are
coarse dimensions (resolution.py), whose every step is all that is asked. Beside fidelity itself
belongs fidelity_margin.py: how well other dimensions follow.
"""

import numpy as np

from analysis.answers import GRID, obeyed, own, spread
from analysis.measures.resolution import fine
from analysis.resampling import OVER_IMAGES, kind, summary
from analysis.spec import Known, Row, Spec, Value

LEAST_ROOM = 0.5  # standard deviations between an image's code and v_max
NONE = "no code dimension takes two values in the test images"


def fidelity(dims: np.ndarray, kinds: np.ndarray, levels: np.ndarray, sigma: np.ndarray,
             codes: np.ndarray) -> Value:
    """Mean rank correlation of asked and realised values, in [-1, 1]; chance 0.

    dims (D,), kinds (V,), levels (V, m), sigma (m,), codes (V, D, n, m) of interventions.npz.
    """
    at = [kind(kinds, name) for name in GRID]
    return summary(obeyed(levels[at], codes[at], dims, sigma), NONE)


def realised(dims: np.ndarray, kinds: np.ndarray, levels: np.ndarray, sigma: np.ndarray,
             codes: np.ndarray, rows: np.ndarray, test_codes: np.ndarray) -> Value:
    """Mean realised fraction at v_max: 0 where nothing obeys, 1 as asked, above 1 too far.

    As `fidelity`, and rows (n,) of the images in test_codes (N, m).
    """
    v = kind(kinds, "max")
    found = fractions(levels[v, dims][:, None], test_codes[rows][:, dims].T, own(codes[v], dims),
                      spread(sigma[dims])[:, None])
    return summary(fine(found, dims, test_codes), NONE)


def fractions(asked: np.ndarray, before: np.ndarray, after: np.ndarray,
              sigma: np.ndarray) -> np.ndarray:
    """(after - before) / (asked - before); NaN where asked is too near. Shapes broadcast."""
    room = asked.astype(np.float64) - before
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(room >= LEAST_ROOM * sigma, (after - before) / room, np.nan)


_NEEDS = tuple(f"interventions.{key}" for key in ("dims", "kinds", "levels", "sigma", "codes"))

SPECS = (
    Spec(name="fidelity", title="Fidelity", unit="rank correlation", direction="higher",
         source="measures.md B1", chance="0", **OVER_IMAGES,
         rows=(Row("inverted", fidelity, _NEEDS, "test"),)),
    Spec(name="realised", title="Realised fraction", unit="of the change asked for",
         direction="higher", source="measures.md B1", chance="0", **OVER_IMAGES,
         rows=(Row("inverted", realised, (*_NEEDS, "interventions.rows", "codes.test"), "test"),)),
)


def _given(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """40 images of 6 dimensions that obey, 5 of them asked."""
    test_codes = rng.normal(size=(60, 6))
    dims, rows = np.array([4, 0, 3, 1, 2]), rng.permutation(60)[:40]
    levels = np.quantile(test_codes, (0.05, 0.5, 0.95, 1), axis=0)
    codes = np.tile(test_codes[rows], (4, 5, 1, 1))
    for d, dim in enumerate(dims):
        codes[:, d, :, dim] = levels[:, dim, None]
    return {"dims": dims, "kinds": np.array(GRID), "levels": levels,
            "sigma": test_codes.std(axis=0), "codes": codes, "rows": rows,
            "test_codes": test_codes}


def _short(given: dict[str, np.ndarray]) -> tuple:
    return tuple(given.values())[:5]


def _random(rng: np.random.Generator) -> dict[str, np.ndarray]:
    given = _given(rng)
    return given | {"codes": rng.normal(size=given["codes"].shape)}


def _deaf(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Nothing obeys, and dimension 3 has one value in all images."""
    given = _given(rng)
    codes = np.tile(given["test_codes"][given["rows"]], (4, 5, 1, 1))
    return _constant(given | {"codes": codes}, 3)


def _bits(rng: np.random.Generator, *dims: int) -> dict[str, np.ndarray]:
    """The same where some dimensions are bits, which all images answer by a step or not at all."""
    given = _given(rng)
    test_codes = given["test_codes"].copy()
    test_codes[:, dims] = np.arange(60)[:, None] % 2
    return given | {"test_codes": test_codes}


def _constant(given: dict[str, np.ndarray], *dims: int) -> dict[str, np.ndarray]:
    """The same where some dimensions never change; what they realise is beside the point."""
    found = {key: given[key].copy() for key in ("levels", "sigma", "test_codes")}
    found["levels"][:, dims], found["sigma"][list(dims)], found["test_codes"][:, dims] = 1, 0, 1
    return given | found


KNOWN = (
    Known("fidelity", "perfect", lambda rng: _short(_given(rng)), 1 - 1e-12, 1 + 1e-12,
          n=40, d=5),
    Known("fidelity", "null", lambda rng: _short(_random(rng)), -0.15, 0.15,
          n=40, d=5),
    Known("fidelity", "hostile", lambda rng: _short(_deaf(rng)), 0, 0, n=40, d=4),
    Known("fidelity", "hostile", lambda rng: _short(_constant(_random(rng), *range(6))),
          reason="two values"),
    Known("realised", "perfect", lambda rng: tuple(_given(rng).values()), 1 - 1e-12, 1 + 1e-12,
          n=40, d=5),
    Known("realised", "null", lambda rng: tuple(_deaf(rng).values()), 0, 0, n=40, d=4),
    Known("realised", "hostile", lambda rng: tuple(_constant(_given(rng), 0).values()),
          1 - 1e-12, 1 + 1e-12, n=40, d=4),
    Known("realised", "hostile", lambda rng: tuple(_bits(rng, 0, 4).values()), 1 - 1e-12,
          1 + 1e-12, n=40, d=3),
    Known("realised", "hostile", lambda rng: tuple(_bits(rng, *range(6)).values()),
          reason="coarse"),
    Known("realised", "hostile", lambda rng: tuple(_constant(_given(rng), *range(6)).values()),
          reason="two values"),
)

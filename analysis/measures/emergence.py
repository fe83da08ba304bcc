"""Emergence: do low spatial frequencies appear first? (measures.md B5) Asked among the prototypes,
and within what raising one changes.

Spearman's correlation, over dimensions, of tau_j (the time t at which raising dimension j has
brought half of its final gain; noise is t = T, the image t = 0) with the spectral centroid of the
patches that show j. The paper's claim: negative, what is coarse comes first. Dimensions that gain
nothing, or whose patches are all of one value, are left out.

"coarse_first" asks it within one change: of what raising a dimension has changed in the end, how
much of the coarse part is there at a step of the denoising, less how much of the fine part, as the
mean over the steps. Its control is the difference of two whole images, with nothing raised: what
the denoiser does with any difference.
"""

import numpy as np

from analysis.resampling import OVER_DIMENSIONS, over_dimensions
from analysis.spec import Known, Row, Spec, Value
from patronus.errors import NotApplicable
from patronus.explain.ranks import LEAST, rank_correlation


def emergence(tau: np.ndarray, centroid: np.ndarray) -> Value:
    """Rank correlation, in [-1, 1], of tau (E,) in steps with centroid (E,) in cycles per pixel.

    Both are NaN where a dimension has none, as in when.npz. Raises NotApplicable for fewer than
    five dimensions, and where one of the two is the same for all.
    """
    gain, whole = int(np.isfinite(tau).sum()), np.isfinite(tau) & np.isfinite(centroid)
    n = int(whole.sum())
    if gain < LEAST:
        raise NotApplicable(f"{gain} of {len(tau)} dimensions followed gain anything when they "
                            f"are raised; {LEAST} are needed")
    if n < LEAST:
        raise NotApplicable(f"of {gain} dimensions that gain, {n} have a patch that is not of one "
                            f"value; {LEAST} are needed")
    for values, what in ((tau[whole], "appear at the same time"),
                         (centroid[whole], "have one spectral centroid")):
        if np.ptp(values) == 0:
            raise NotApplicable(f"all {n} dimensions {what}: {values[0]:.3g}")
    value, low, high = map(float, rank_correlation(tau, centroid).values())
    return Value(value, n, low, high,
                 detail={"left_out": len(tau) - n, "times": len(np.unique(tau[whole]))})


def coarse_first(arrived: np.ndarray, images: np.ndarray) -> Value:
    """Lead in [-1, 1] of the coarse part, over dimensions, of arrived (E, S, 2) coarse and fine.

    A share outside [0, 1] counts as the nearer of the two: what is there already and shrinks is no
    lead. NaN, as in when.npz, where a part does not change: such a dimension is left out. Raises
    NotApplicable where all are. The lead between images (S, 2) is in `detail`.
    """
    coarse, fine = np.moveaxis(np.clip(arrived, 0, 1), -1, 0)
    control = float(-np.diff(np.clip(images, 0, 1)).mean())
    return over_dimensions((coarse - fine).mean(-1),
                           "no dimension changes both coarse and fine parts",
                           images=control if np.isfinite(control) else None)


SPECS = (
    Spec(name="emergence", title="Emergence", unit="rank correlation of time and frequency",
         direction="lower", source="measures.md B5", chance="0",
         **OVER_DIMENSIONS,
         rows=(Row("test", emergence, ("explanations.when.tau", "explanations.when.centroid"),
                   "test"),)),
    Spec(name="coarse_first", title="Coarse before fine", unit="share of the change",
         direction="higher", source="new here, after measures.md B5",
         chance="0, and `images` in the details", **OVER_DIMENSIONS,
         rows=(Row("test", coarse_first, ("explanations.when.arrived",
                                          "explanations.when.arrived_images"), "test"),)),
)


def _unrelated(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return rng.choice(np.arange(1.0, 1000), 400), rng.uniform(0.01, 0.5, 400)


def _few_times(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Coarse first at two times only, and dimensions without a time or a centroid."""
    tau = np.repeat([900.0, 100.0, np.nan, 500.0], 4)
    return tau, np.concatenate([rng.uniform(0.0, 0.1, 4), rng.uniform(0.3, 0.4, 4),
                                rng.uniform(0, 1, 4), np.full(4, np.nan)])


def _shares(coarse: np.ndarray, fine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nine dimensions, and images, whose parts arrive as these (S,) say."""
    one = np.stack((coarse, fine), -1)
    return np.tile(one, (9, 1, 1)), one


def _together(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Both parts arrive by the same path, each with its own noise."""
    path = np.linspace(0, 1, 20)[:, None]
    return path + rng.normal(0, 0.1, (400, 20, 2)), path + np.zeros((20, 2))


def _still(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Of nine dimensions one changes nothing, and three only what is coarse."""
    arrived, images = _shares(np.ones(20), _LAST)
    arrived[:3, :, 1], arrived[3] = np.nan, np.nan
    return arrived, np.full_like(images, np.nan)


_LAST = np.eye(20)[-1]  # nothing until the last of twenty steps
_STEPS, _RISING = np.linspace(900, 100, 12), np.linspace(0.01, 0.4, 12) ** 3

KNOWN = (
    Known("emergence", "perfect", lambda rng: (_STEPS.copy(), _RISING.copy()),
          -1 - 1e-9, -1 + 1e-9),
    Known("emergence", "null", _unrelated, -0.12, 0.12),
    # two groups of four in the right order: ties can reach no more than this
    Known("emergence", "hostile", _few_times, -0.88, -0.87, n=8),
    Known("emergence", "hostile", lambda rng: (_STEPS.copy(), _RISING[::-1].copy()),
          1 - 1e-9, 1 + 1e-9),
    Known("emergence", "hostile", lambda rng: (np.full(9, 700.0), _RISING[:9].copy()),
          reason="all 9 dimensions appear at the same time: 700"),
    Known("emergence", "hostile", lambda rng: (_STEPS.copy(), np.full(12, 0.25)),
          reason="have one spectral centroid: 0.25"),
    Known("emergence", "hostile", lambda rng: (np.where(_STEPS > 650, _STEPS, np.nan),
                                               _RISING.copy()),
          reason="4 of 12 dimensions followed gain"),
    Known("coarse_first", "perfect", lambda rng: _shares(np.ones(20), _LAST),
          0.95 - 1e-9, 0.95 + 1e-9, n=9),
    Known("coarse_first", "null", _together, -0.01, 0.01, n=400),
    Known("coarse_first", "hostile", lambda rng: _shares(_LAST, np.ones(20)),
          -0.95 - 1e-9, -0.95 + 1e-9),
    # the fine part is complete from the start, the coarse one three times too strong at first
    Known("coarse_first", "hostile", lambda rng: _shares(np.linspace(3, 1, 20), np.ones(20)),
          -1e-9, 1e-9),
    # the coarse part is there at first with the wrong sign
    Known("coarse_first", "hostile", lambda rng: _shares(np.linspace(-19, 0, 20) + _LAST, _LAST),
          -1e-9, 1e-9),
    Known("coarse_first", "hostile", _still, 0.95 - 1e-9, 0.95 + 1e-9, n=5),
    Known("coarse_first", "hostile", lambda rng: (np.full((9, 20, 2), np.nan), np.ones((20, 2))),
          reason="no dimension changes both"),
)

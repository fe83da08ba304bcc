"""Emergence: do low spatial frequencies appear first? (measures.md B5) Asked of the prototypes,
and of what raising one changes.

Spearman's correlation, over dimensions, of tau_j (the time t at which raising dimension j has
brought half of its final gain; noise is t = T, the image t = 0) with the spectral centroid of the
patches that show j. The paper's claim: negative, what is coarse comes first. Dimensions that gain
nothing, or whose patches are all of one value, are left out.

That says nothing where all appear at once. "coarse_first" looks at the change itself: the mean
spatial frequency of the edited less the unedited estimate of the image, at the end over at the
start of the denoising, in octaves.
"""

import numpy as np

from analysis.resampling import SPREAD, summary
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
    return Value(value, n, min(low, value), max(high, value),
                 detail={"left_out": len(tau) - n, "times": len(np.unique(tau[whole]))})


def coarse_first(frequency: np.ndarray) -> Value:
    """Octaves by which the mean frequency of a change rises, over dimensions: of frequency (E, S)
    > 0 in cycles per pixel, from noise to image, the last against the first.

    NaN, as in when.npz, where nothing changes: such a dimension is left out. Raises NotApplicable
    where all are.
    """
    first, last = frequency[:, 0], frequency[:, -1]
    return summary(np.log2(last / first), "raising a dimension changes nothing at the first step",
                   first=float(np.nanmean(first)) if np.isfinite(first).any() else None,
                   last=float(np.nanmean(last)) if np.isfinite(last).any() else None)


SPECS = (
    Spec(name="emergence", title="Emergence", unit="rank correlation of time and frequency",
         direction="lower", source="measures.md B5", chance="0",
         spread="95 % bootstrap interval over dimensions of one model",
         rows=(Row("test", emergence, ("explanations.when.tau", "explanations.when.centroid"),
                   "test"),)),
    Spec(name="coarse_first", title="Coarse before fine", unit="octaves",
         direction="higher", source="measures.md B5", chance="0", spread=SPREAD,
         rows=(Row("test", coarse_first, ("explanations.when.frequency",), "test"),)),
)


def _unrelated(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return rng.choice(np.arange(1.0, 1000), 400), rng.uniform(0.01, 0.5, 400)


def _few_times(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Coarse first at two times only, and dimensions without a time or a centroid."""
    tau = np.repeat([900.0, 100.0, np.nan, 500.0], 4)
    return tau, np.concatenate([rng.uniform(0.0, 0.1, 4), rng.uniform(0.3, 0.4, 4),
                                rng.uniform(0, 1, 4), np.full(4, np.nan)])


def _finer(rng: np.random.Generator) -> tuple[np.ndarray]:
    """From the frequency of a wave to its fourfold, in each dimension by another path."""
    return (0.05 * 4 ** np.sort(np.pad(rng.uniform(0, 1, (9, 18)), ((0, 0), (1, 1)),
                                       constant_values=((0, 0), (0, 1))), axis=1),)


def _still(rng: np.random.Generator) -> tuple[np.ndarray]:
    """Twofold finer; four dimensions change nothing at the first step, one nothing at all."""
    frequency = np.geomspace(0.1, 0.2, 20) * np.ones((9, 1))
    frequency[:4, 0], frequency[4] = np.nan, np.nan
    return (frequency,)


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
    Known("coarse_first", "perfect", _finer, 2 - 1e-9, 2 + 1e-9, n=9),
    Known("coarse_first", "null", lambda rng: (rng.uniform(0.09, 0.11, (400, 20)),), -0.03, 0.03),
    # all at once, as fine at the start as at the end, whatever lies between
    Known("coarse_first", "hostile", lambda rng: (np.tile([0.2, 0.01, 0.4, 0.2], (9, 1)),),
          -1e-9, 1e-9),
    Known("coarse_first", "hostile", _still, 1 - 1e-9, 1 + 1e-9, n=4),
    Known("coarse_first", "hostile", lambda rng: (np.full((9, 20), np.nan),),
          reason="changes nothing at the first step"),
)

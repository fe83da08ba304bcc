"""Confidence intervals, each named by what it resamples. Pure functions; no torch here.

Few images and skewed values are the rule here: a change that most images do not show, a ratio
that a few make large. The percentile bootstrap then covers too seldom (benchmarks/coverage.py), so
means get Student's t, widened to Hall's transformed t where skewness asks for it (P. Hall, "On the
removal of skewness by transformation", JRSS B 54, 1992); shares of images the interval of Korn and
Graubard (Survey Methodology 24, 1998), exact for independent images.

Axes: n images are the last one; D dimensions (or parts) the first of `scores` (D, n). NaN: unknown.
"""

from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.95


class Interval(NamedTuple):
    """An estimate and the ends of its confidence interval, all of one shape; NaN: no interval."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def mean(values: np.ndarray, level: float = LEVEL) -> Interval:
    """Mean of values (..., n) over the last axis; fewer than two have no interval."""
    return combined(values.mean(axis=-1), values, level=level)


def paired(a: np.ndarray, b: np.ndarray, level: float = LEVEL) -> Interval:
    """Mean of a - b (..., n): row i of both is the same image."""
    return mean(np.asarray(a, dtype=np.float64) - b, level)


def unpaired(a: np.ndarray, b: np.ndarray, level: float = LEVEL) -> Interval:
    """Mean of a (..., n) less that of b (..., n'), of other images (Welch)."""
    return combined(a.mean(axis=-1) - b.mean(axis=-1), a, -np.asarray(b), level=level)


def ratio(a: np.ndarray, b: np.ndarray, level: float = LEVEL) -> Interval:
    """Mean of a (..., n) over mean of b > 0, row i of both the same image (delta method)."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    below = b.mean(axis=-1, keepdims=True)
    value = a.mean(axis=-1, keepdims=True) / below
    return combined(value[..., 0], (a - value * b) / below, level=level)


def combined(value: np.ndarray, *samples: np.ndarray, level: float = LEVEL) -> Interval:
    """`value`, whose error is the sum of those of the means of independent samples (..., n).

    Student's t with the degrees of freedom of Welch and Satterthwaite, each end moved outwards to
    that of Hall's transformation where the samples are skewed.
    """
    variance, third, freedom = _summed(samples)
    with np.errstate(invalid="ignore", divide="ignore"):
        skew = np.where(variance > 0, third / variance ** 1.5, 0)
    error, t = np.sqrt(variance), stats.t.isf((1 - level) / 2, freedom)
    low, high = (_untransformed(end, skew) for end in (t, -t))
    return Interval(np.asarray(value), value - error * np.maximum(low, t),
                    value - error * np.minimum(high, -t))


def proportion(successes: int, n: int, level: float = LEVEL) -> Interval:
    """Share of n images, in [0, 1], with its Wilson interval; NaN of none."""
    if n == 0:
        return Interval(*(np.array(np.nan),) * 3)
    found = stats.binomtest(int(successes), int(n)).proportion_ci(level, method="wilson")
    return Interval(*map(np.array, (successes / n, found.low, found.high)))


def share(value: float, *samples: np.ndarray, level: float = LEVEL) -> Interval:
    """A share in [0, 1] whose error is as in `combined` of samples (n,) (Korn and Graubard).

    The exact binomial interval of as many independent images as would have that error; where no
    value differs, of n of them. NaN where a sample has one value only.
    """
    n, (variance, _, freedom) = min(map(len, samples)), _summed(samples)
    count = value * (1 - value) / variance if variance > 0 and 0 < value < 1 else n
    freedom = freedom if variance > 0 else n - 1
    count *= (stats.norm.isf((1 - level) / 2) / stats.t.isf((1 - level) / 2, freedom)) ** 2
    if np.isnan(variance):
        return Interval(np.array(value), *(np.array(np.nan),) * 2)
    ends = stats.beta.ppf([(1 - level) / 2, (1 + level) / 2], [value * count, value * count + 1],
                          [(1 - value) * count + 1, (1 - value) * count])
    return Interval(*map(np.array, (value, 0.0 if value <= 0 else ends[0],
                                    1.0 if value >= 1 else ends[1])))


def over_images(scores: np.ndarray, level: float = LEVEL, shares: bool = False) -> Interval:
    """These dimensions over all images: mean of `by_image` of scores (D, n).

    `shares`: scores are 0 or 1.
    """
    images = by_image(scores)
    return (share if shares else combined)(images.mean(), images, level=level)


def crossed(scores: np.ndarray, level: float = LEVEL, shares: bool = False) -> Interval:
    """New dimensions and new images of scores (D, n): both are drawn from many.

    The variance is that of means over images plus that of means over dimensions, a little too
    large by what is left beside the two (Owen, "The pigeonhole bootstrap", 2007).
    """
    dims, images = by_dimension(scores), by_image(scores)
    dims = dims[~np.isnan(dims)]
    return (share if shares else combined)(dims.mean(), dims, images, level=level)


def by_dimension(scores: np.ndarray) -> np.ndarray:
    """Mean (D,) over the images of scores (D, n) that are not NaN; NaN where all are."""
    known = ~np.isnan(scores)
    count = known.sum(axis=1)
    total = np.where(known, scores, 0).sum(axis=1, dtype=np.float64)
    return np.divide(total, count, out=np.full(len(scores), np.nan), where=count > 0)


def by_image(scores: np.ndarray) -> np.ndarray:
    """What each image adds to the mean of `by_dimension` of scores (D, n): its mean is that mean.

    Without NaN the mean over dimensions. With them, the mean over dimensions moved by how far the
    image's known scores lie from their dimension's mean, as a jackknife would have it. Images of
    which nothing is known are left out.
    """
    means, known = by_dimension(scores), ~np.isnan(scores)
    asked = known.any(axis=1)
    means, known, scores = means[asked], known[asked][:, known.any(axis=0)], \
        scores[asked][:, known.any(axis=0)]
    away = np.where(known, scores - means[:, None], 0)
    count, n = known.sum(axis=1), known.shape[1]
    weight = n / count * np.sqrt(count / np.maximum(count - 1, 1) * (n - 1) / n)
    return means.mean() + (weight[:, None] * away).mean(axis=0)


def auroc_errors(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """What each of n images adds to the error of an AUROC: their sum is 0 (DeLong et al. 1988).

    scores (n,), truth (n,) of 0 and 1, both among them.
    """
    found, ranks = np.empty(len(scores)), stats.rankdata(scores)
    for side, sign in ((truth == 1, 1), (truth != 1, -1)):
        count, others = side.sum(), (~side).sum()
        above = (ranks[side] - stats.rankdata(scores[side])) / others  # share of the other images
        found[side] = sign * (above - above.mean()) / count * np.sqrt(count / max(count - 1, 1))
    return found


def _summed(samples: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Variance and third cumulant of the sum of the means of samples, and degrees of freedom."""
    moments = [_moments(np.asarray(sample, dtype=np.float64)) for sample in samples]
    variance, third = (sum(one[i] for one in moments) for i in (0, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        freedom = variance ** 2 / sum(v ** 2 / f for v, _, f in moments)
    return variance, third, np.where(variance > 0, freedom, 1)


def _moments(sample: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Variance and third cumulant (...) of the mean of a sample (..., n), degrees of freedom."""
    n = sample.shape[-1]
    if n < 2:
        return (np.full(sample.shape[:-1], np.nan),) * 2 + (1,)
    away = sample - sample.mean(axis=-1, keepdims=True)
    variance = np.square(away).sum(axis=-1) / (n - 1)
    third = (away ** 3).mean(axis=-1) * (n ** 2 / ((n - 1) * (n - 2)) if n > 2 else 0)
    return variance / n, third / n ** 2, n - 1


def _untransformed(t: np.ndarray, skew: np.ndarray) -> np.ndarray:
    """The statistic that Hall's transformation takes to t; `skew` is that of the estimate."""
    safe = np.where(np.abs(skew) > 1e-6, skew, 1)
    return np.where(np.abs(skew) > 1e-6, 3 * (np.cbrt(1 + skew * (t - skew / 6)) - 1) / safe, t)

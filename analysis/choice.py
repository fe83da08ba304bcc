"""Which code dimension tells most of a label, how sure that choice is, and what it then tells.

The dimension of highest AUROC on training images is a choice among near-ties: other images might
have chosen another dimension, which may tell something else. So the images are resampled, the
choice is made again, and what is said of "the best dimension" is the mean over these choices. All
dimensions are candidates. Pure functions of arrays: N training or n test images, m dimensions;
labels are 0, 1 or NaN (unknown, left out). No torch here.
"""

from typing import NamedTuple

import numpy as np

from analysis import intervals
from analysis.measures.tad import auroc_matrix

DRAWS = 1000  # resamples
AT_ONCE = 50  # of them held at a time


class Choice(NamedTuple):
    """auroc (m,) of each dimension; share (m,) of the resamples in which its AUROC is highest.

    Both are NaN for a label of one value. Only raising counts: an AUROC below 0.5 is a low one.
    """

    auroc: np.ndarray
    share: np.ndarray

    def ranked(self, count: int) -> list[dict]:
        """The `count` dimensions of highest AUROC, best first, in words; none if undefined."""
        order = np.argsort(-self.auroc, kind="stable")[:count]
        return [] if np.isnan(self.auroc).any() else [
            {"dim": int(dim), "auroc": float(self.auroc[dim]), "share": float(self.share[dim])}
            for dim in order]


def choose(codes: np.ndarray, label: np.ndarray, rng: np.random.Generator,
           draws: int = DRAWS) -> Choice:
    """The choice by codes (N, m) of images with this label (N,), and how sure it is.

    In a resample every AUROC is moved by what its images add to the error, to first order what
    computing it anew would give.
    """
    known = ~np.isnan(label)
    codes, label = codes[known], label[known]
    count = np.zeros(codes.shape[1])
    if len(np.unique(label)) < 2:
        return Choice(np.full(count.shape, np.nan), np.full(count.shape, np.nan))
    auroc = auroc_matrix(codes, label[:, None])[0]
    added = np.stack([intervals.auroc_errors(code, label) for code in codes.T], 1)
    for start in range(0, draws, AT_ONCE):
        weights = np.stack([np.bincount(rng.integers(0, len(codes), len(codes)),
                                        minlength=len(codes))
                            for _ in range(min(AT_ONCE, draws - start))])
        best = (auroc + weights @ added).argmax(axis=1)
        count += np.bincount(best, minlength=len(count))
    return Choice(auroc, count / draws)


def within(codes: np.ndarray, label: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """AUROC (m,) of codes (n, m) for a label (n,) among images alike in another label, `fixed`.

    All pairs of images of which one has the label, the other has not, and both have or both lack
    `fixed`: the share in which the first has the higher code. So a tie between the two labels
    cannot help. NaN without such a pair.
    """
    won, pairs = np.zeros(codes.shape[1]), 0
    for some in strata(label, fixed):
        count = (label[some] == 1).sum() * (label[some] == 0).sum()
        won += count * auroc_matrix(codes[some], label[some, None])[0]
        pairs += count
    return won / pairs if pairs else np.full(len(won), np.nan)


def strata(label: np.ndarray, fixed: np.ndarray) -> list[np.ndarray]:
    """The images (n,) bool that have and that lack `fixed`, where both values of `label` occur."""
    sides = [(fixed == value) & ~np.isnan(label) for value in (0, 1)]
    return [side for side in sides if len(np.unique(label[side])) == 2]


def told(choice: Choice, codes: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """What a dimension so chosen tells in test images, codes (n, m): (2,) AUROCs.

    For a (n,) among images alike in b (n,), and for b among images alike in a: `within`, the mean
    over the choices. A dimension that has learned a tells a; one that took a shortcut tells b.
    """
    if np.isnan(choice.share).any():
        return np.full(2, np.nan)
    some = choice.share > 0
    return np.array([within(codes[:, some], *pair) @ choice.share[some]
                     for pair in ((a, b), (b, a))])


def told_within(choice: Choice, codes: np.ndarray, a: np.ndarray, b: np.ndarray,
                rng: np.random.Generator, draws: int = DRAWS) -> np.ndarray:
    """(3, 2): `told` and the ends of its 95 % interval, over the choice and the test images.

    Test images are resampled, and in each resample the dimension is one of those chosen.
    """
    value, m = told(choice, codes, a, b), codes.shape[1]
    if np.isnan(value).all():
        return np.full((3, 2), np.nan)
    drawn = []
    for dim in rng.choice(m, draws, p=choice.share):
        rows = rng.integers(0, len(codes), len(codes))
        one = codes[rows, dim, None]
        drawn.append([within(one, *pair)[0] for pair in ((a[rows], b[rows]), (b[rows], a[rows]))])
    with np.errstate(invalid="ignore"):
        low, high = np.nanquantile(drawn, [(1 - intervals.LEVEL) / 2, (1 + intervals.LEVEL) / 2],
                                   axis=0)
    return np.stack([value, low, high])

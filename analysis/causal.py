"""What interventions on a code say about causes: pure functions of arrays. No torch here.

A *part* is what an attribute shows: of a negated one (No_Beard, Young) the part is seen where the
label is 0. Labels and probabilities given here speak of parts; axes are K parts, D intervened code
dimensions, n test images. Sources: measures.md B1 (causal success) and B8 (shortcut score).
"""

import numpy as np

from analysis import intervals
from analysis.intervals import Interval
from analysis.measures.tad import auroc_matrix

SEEN = 0.5  # probability from which the classifier sees a part
RAISED = 5  # dimensions raised for a part in the shortcut score


def as_parts(values: np.ndarray, negated: np.ndarray) -> np.ndarray:
    """Labels, probabilities or AUROCs of attributes as those of their parts.

    negated (K,) bool, or of a shape that broadcasts to the values'.
    """
    return np.where(negated, 1 - values, values)


def top_dims(auroc: np.ndarray, count: int) -> np.ndarray:
    """Positions (K, min(count, D)) of the highest AUROC (K, D), best first; -1 where it is NaN.

    Only raising counts, so an AUROC below 0.5 is a low one.
    """
    order = np.argsort(-auroc, axis=1, kind="stable")[:, :count]
    return np.where(np.isnan(auroc).any(axis=1)[:, None], -1, order)


def lacking(labels: np.ndarray, recon: np.ndarray) -> np.ndarray:
    """(n, K) bool: the part is absent by label and not seen in the reconstruction.

    labels (n, K) of 0, 1 or NaN: an unknown label is no absence. recon (n, K) probabilities.
    """
    return (labels == 0) & (recon < SEEN)


def success_rates(labels: np.ndarray, recon: np.ndarray, edited: np.ndarray) -> np.ndarray:
    """Share (D, K) of the images that lack a part in which each edit makes it seen.

    edited (D, n, K) probabilities. NaN for a part that no image lacks.
    """
    lack = lacking(labels, recon)
    return _share(((edited >= SEEN) & lack).sum(axis=1), lack.sum(axis=0))


def wilson(share: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """95 % Wilson interval of shares (K,) of n (K,) images; NaN where n is 0."""
    bounds = [intervals.proportion(round(p * k), k)[1:] for p, k in zip(share, n, strict=True)]
    low, high = np.array(bounds, dtype=float).reshape(-1, 2).T
    return low, high


def causal_success(labels: np.ndarray, recon: np.ndarray, edited: np.ndarray, auroc: np.ndarray,
                   shuffled: np.ndarray) -> dict[str, np.ndarray]:
    """Causal success of each part's best dimension, and what it has to beat.

    labels (n, K); recon (V, n, K) and edited (V, D, n, K) for V kinds of intervention; auroc (K, D)
    of training codes; shuffled (R, K, D) the same after R permutations of the codes. Returns

        best_at (K,)            position of the dimension of highest AUROC; -1 where undefined
        best_shuffled_at (R, K) the same for the permuted codes
        success (V, K)          share of the lacking images in which it makes the part seen,
        success_low, success_high (V, K)  its 95 % Wilson interval,
        success_n (V, K)        and the number of these images
        success_recon (V, K)    share of images absent by label in which the reconstruction shows it
        success_any (V, K)      mean of the success over all D dimensions
        success_shuffled (V, K) success of the dimension chosen by shuffled codes, mean over R
    """
    best, control = top_dims(auroc, 1)[:, 0], np.stack([top_dims(a, 1)[:, 0] for a in shuffled])
    rates = np.stack([success_rates(labels, *pair) for pair in zip(recon, edited, strict=True)])
    success = np.stack([_of(r, best) for r in rates])
    n = np.stack([lacking(labels, r).sum(axis=0) for r in recon])
    intervals = [wilson(*pair) for pair in zip(np.nan_to_num(success), n, strict=True)]
    absent = labels == 0
    found = {
        "best_at": best, "best_shuffled_at": control, "success": success, "success_n": n,
        "success_low": np.stack([low for low, _ in intervals]),
        "success_high": np.stack([high for _, high in intervals]),
        "success_recon": _share(((recon >= SEEN) & absent).sum(axis=1), absent.sum(axis=0)),
        "success_any": rates.mean(axis=1),
        "success_shuffled": np.stack([[_of(r, c) for c in control] for r in rates]).mean(axis=1)}
    for key in ("success_low", "success_high"):
        found[key] = np.where(np.isnan(success), np.nan, found[key])
    return found


def marks(labels: np.ndarray, recon: np.ndarray, edited: np.ndarray,
          best: np.ndarray) -> np.ndarray:
    """(K, n) int8 of what the best dimension did: 1 part made seen, 0 not, -1 image not counted."""
    made = np.stack([edited[at, :, k] >= SEEN for k, at in enumerate(best)], axis=1)
    counted = lacking(labels, recon) & (best >= 0)
    return np.where(counted, made, -1).astype(np.int8).T


def effects(recon: np.ndarray, edited: np.ndarray, raised: np.ndarray) -> np.ndarray:
    """Change (K, K, n) of P(part b) in each image when the dimensions of part a are raised.

    recon (n, K), edited (D, n, K), raised (K, k) positions of each part's dimensions, over which
    the mean is taken. Entry [a, b]; NaN for a part whose dimensions are undefined (-1).
    """
    change = edited[raised].mean(axis=1) - recon
    change[(raised < 0).any(axis=1)] = np.nan
    return np.swapaxes(change, 1, 2)


def shortcut_score(biased: np.ndarray, unbiased: np.ndarray, paired: bool = False) -> Interval:
    """Mean effect in the biased model minus that in the unbiased one, with its 95 % interval.

    biased (..., n), unbiased (..., n'): effects in each image, which the interval is over.
    `paired`: both models were asked about the same images.
    """
    return (intervals.paired if paired else intervals.unpaired)(biased, unbiased)


def tied_score(biased: np.ndarray, unbiased: np.ndarray, paired: bool = False) -> Interval:
    """Mean over P pairs of |shortcut_score|, from their effects (P, n) and (P, n').

    The interval is over images and takes the sign of each score as known; it ends at 0. A pair
    that has no score does not count; all NaN where none has.
    """
    score = biased.mean(axis=-1) - unbiased.mean(axis=-1)
    known = ~np.isnan(score)
    if not known.any():
        return Interval(*(np.array(np.nan),) * 3)
    sign = np.sign(score[known]) / known.sum()
    found = shortcut_score(sign @ biased[known], sign @ unbiased[known], paired)
    return found._replace(low=np.maximum(found.low, 0))


def detection(score: np.ndarray, planted: list[tuple[int, int]]) -> float:
    """AUROC of |score| (K, K) for finding the planted pairs (a, b) among all pairs.

    A tie holds both ways, so the reverse of a planted pair is neither right nor wrong: it is left
    out, unless it is named as well. NaN without planted or without other pairs.
    """
    truth, known = np.zeros(score.shape), ~np.eye(len(score), dtype=bool) & ~np.isnan(score)
    for a, b in planted:
        truth[a, b] = 1
    known &= ~((truth.T == 1) & (truth == 0))
    return float(auroc_matrix(np.abs(score[known])[:, None], truth[known][:, None])[0, 0])


def _share(counts: np.ndarray, n: np.ndarray) -> np.ndarray:
    """counts / n, NaN where n is 0."""
    return np.divide(counts, n, out=np.full(counts.shape, np.nan), where=n > 0)


def _of(rates: np.ndarray, at: np.ndarray) -> np.ndarray:
    """rates[at[k], k] (K,) of rates (D, K); NaN where at is -1."""
    return np.where(at < 0, np.nan, rates[at, np.arange(len(at))])

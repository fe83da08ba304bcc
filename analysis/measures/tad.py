"""TAD and attributes captured: does one code dimension speak for one attribute?

Total AUROC Difference after NashAE (Yeats et al. 2022) with the thresholds of InfoDiffusion and
Patronus (baselines.md section 10): for attribute i, M_i is the AUROC of its best dimension and
D_i = M_i minus the second best; captured when M_i >= 0.75 and at most 0.2 of the attribute's
entropy is told by another attribute; TAD is the sum of D_i over captured attributes.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata
from sklearn.model_selection import KFold

from analysis.spec import Known, Labels, Row, Spec, Value
from patronus.errors import NotApplicable
from patronus.seeds import seed_for

CAPTURED_AUROC = 0.75
LARGEST_REDUNDANCY = 0.2
PUBLISHED_N = 10_000
FOLDS = KFold(5, shuffle=True, random_state=0)


class Tad(NamedTuple):
    """Result over K attributes and D dimensions; NaN stands for a dropped attribute."""

    tad: float
    captured: np.ndarray  # (K,) bool
    auroc: np.ndarray  # (K, D) of "larger means present"; below 0.5: the sign is turned
    best: np.ndarray  # (K,) M_i
    difference: np.ndarray  # (K,) D_i
    redundancy: np.ndarray  # (K,) r_i
    dropped: np.ndarray  # (K,) bool: fewer than two values


def tad(codes: np.ndarray, attributes: np.ndarray) -> Tad:
    """TAD of codes (N, D), D >= 2, for attributes (N, K) of 0, 1 or NaN (unknown).

    Rows with an unknown label are left out for that attribute (for a pair of attributes: rows
    where either is unknown). Attributes with fewer than two values are dropped.
    """
    if codes.shape[1] < 2:
        raise NotApplicable("TAD compares code dimensions; this code has only one")
    auroc = auroc_matrix(codes, attributes)
    dropped = np.isnan(auroc[:, 0])
    two_sided = np.sort(np.maximum(auroc, 1 - auroc), axis=1)
    best, difference = two_sided[:, -1], two_sided[:, -1] - two_sided[:, -2]
    told = redundancy(np.where(dropped, np.nan, attributes))
    captured = ~dropped & (best >= CAPTURED_AUROC) & (told <= LARGEST_REDUNDANCY)
    return Tad(float(difference[captured].sum()), captured, auroc, best, difference, told, dropped)


def auroc_matrix(codes: np.ndarray, attributes: np.ndarray) -> np.ndarray:
    """AUROC (K, D) of every attribute against every dimension; NaN for constant attributes.

    The Mann-Whitney statistic with tied ranks averaged, for all pairs by one matrix product;
    attributes with the same unknown rows share one ranking.
    """
    result = np.full((attributes.shape[1], codes.shape[1]), np.nan)
    patterns, which = np.unique(~np.isnan(attributes), axis=1, return_inverse=True)
    for p, known in enumerate(patterns.T):
        columns = which.ravel() == p
        truth = attributes[np.ix_(known, columns)]
        ones, zeros = (truth == 1).sum(axis=0), (truth == 0).sum(axis=0)
        with np.errstate(invalid="ignore"):
            ranks = rankdata(codes[known], axis=0)
            result[columns] = ((truth.T @ ranks - (ones * (ones + 1) / 2)[:, None])
                               / (ones * zeros)[:, None].astype(float))
    return result


def redundancy(attributes: np.ndarray) -> np.ndarray:
    """r_i (K,) = max over j != i of I(i; j) / H(i), from counts; NaN for all-NaN columns."""
    known = (~np.isnan(attributes)).astype(float)
    one = np.nan_to_num(attributes)
    zero = known - one
    pairs = known.T @ known
    information = np.zeros_like(pairs)
    with np.errstate(invalid="ignore", divide="ignore"):
        for u in (zero, one):
            for v in (zero, one):
                joint = u.T @ v / pairs
                expected = (u.T @ known / pairs) * (known.T @ v / pairs)
                information += np.where(joint > 0, joint * np.log(joint / expected), 0)
        entropy = np.diag(information).copy()
        np.fill_diagonal(information, 0)
        return np.where(known.any(axis=0), information.max(axis=1) / entropy, np.nan)


def fold_mean(codes: np.ndarray, labels: Labels) -> tuple[list[Tad], tuple[str, ...]]:
    """TAD on the training part of each of five folds (as published), and the attribute names.

    Only binary columns are attributes; NotApplicable where there are none.
    """
    binary = ~np.array(labels.categorical, dtype=bool)
    if not binary.any():
        raise NotApplicable("TAD is defined for binary attributes; this set has classes only")
    values = labels.values[:, binary]
    names = tuple(np.array(labels.names)[binary])
    return [tad(codes[rows], values[rows]) for rows, _ in FOLDS.split(codes)], names


def tad_value(codes: np.ndarray, labels: Labels) -> Value:
    """Mean TAD over five training folds; `detail` has what each attribute adds."""
    return _value(lambda fold: fold.tad, codes, labels)


def captured_value(codes: np.ndarray, labels: Labels) -> Value:
    """Mean number of captured attributes over five training folds."""
    return _value(lambda fold: fold.captured.sum(), codes, labels)


def _value(number: Callable[[Tad], float], codes: np.ndarray, labels: Labels) -> Value:
    folds, names = fold_mean(codes, labels)
    dropped = np.any([fold.dropped for fold in folds], axis=0)
    if dropped.all():
        raise NotApplicable("no attribute takes two values in every fold")
    numbers = [number(fold) for fold in folds]
    mean, spread = float(np.mean(numbers)), float(np.std(numbers))
    share = np.mean([fold.captured for fold in folds], axis=0)
    by_chance, _ = fold_mean(shuffled(codes), labels)
    return Value(mean, len(codes), mean - spread, mean + spread, detail={
        "best_auroc": _kept(names, folds, dropped),
        "best_auroc_shuffled": _kept(names, by_chance, dropped),
        "captured_in_folds": {n: float(v) for n, v in zip(names, share, strict=True) if v},
        "dropped": [n for n, d in zip(names, dropped, strict=True) if d]})


def shuffled(codes: np.ndarray) -> np.ndarray:
    """Each image gets another's code: the best of many dimensions is above 0.5 by chance alone."""
    return codes[np.random.default_rng(seed_for("tad", "shuffled")).permutation(len(codes))]


def _kept(names: tuple[str, ...], folds: list[Tad], dropped: np.ndarray) -> dict[str, float]:
    """Mean M_i over the folds of every attribute that was not dropped."""
    best = np.mean([fold.best for fold in folds], axis=0)
    return {n: float(v) for n, v, d in zip(names, best, dropped, strict=True) if not d}


def _first(compute):
    """The published protocol: the first 10,000 training codes."""
    return lambda codes, labels: compute(codes[:PUBLISHED_N], labels[:PUBLISHED_N])


def _rows(compute) -> tuple[Row, ...]:
    return (Row("test", compute, ("codes.test", "labels.test"), "test"),
            Row("train", _first(compute), ("codes.train", "labels.train"), "train"))


_SHARED = {"direction": "higher", "least_n": 50, "paired": True,
           "source": "NashAE (Yeats et al. 2022), thresholds of InfoDiffusion (Wang et al. 2023)",
           "spread": "mean -/+ population std over five training folds of one model"}

SPECS = (
    Spec(name="tad", title="TAD", unit="sum of AUROC differences", rows=_rows(tad_value),
         **_SHARED),
    Spec(name="captured", title="Attributes captured", unit="attributes",
         rows=_rows(captured_value), **_SHARED),
)


def _axis_aligned(rng: np.random.Generator, copies: int = 1) -> tuple[np.ndarray, Labels]:
    """Each of four independent attributes is `copies` dimensions of its own."""
    values = (rng.random((600, 4)) < 0.5).astype(float)
    return np.tile(values, copies), Labels(values, tuple("abcd"), (False,) * 4)


def _unrelated(rng: np.random.Generator) -> tuple[np.ndarray, Labels]:
    return rng.normal(size=(600, 8)), _axis_aligned(rng)[1]


def _with_holes(rng: np.random.Generator) -> tuple[np.ndarray, Labels]:
    """A constant attribute, unknown labels and a dead dimension: three attributes remain."""
    codes, labels = _axis_aligned(rng)
    values = labels.values.copy()
    values[:, 3] = 1.0
    values[rng.random(values.shape) < 0.2] = np.nan
    codes = np.hstack([codes[:, :3], np.zeros((len(codes), 1))])
    return codes, Labels(values, labels.names, labels.categorical)


def _twins(rng: np.random.Generator) -> tuple[np.ndarray, Labels]:
    """Two attributes that always agree are not captured: each tells all of the other."""
    codes, labels = _axis_aligned(rng)
    values = labels.values.copy()
    values[:, 1] = values[:, 0]
    return codes, Labels(values, labels.names, labels.categorical)


KNOWN = (
    Known("tad", "perfect", _axis_aligned, low=1.8, high=2.0),
    Known("tad", "null", _unrelated, low=0, high=0),
    Known("tad", "hostile", lambda rng: _axis_aligned(rng, copies=2), low=0, high=1e-12),
    Known("tad", "hostile", _with_holes, low=1.3, high=1.5),
    Known("captured", "perfect", _axis_aligned, low=4, high=4),
    Known("captured", "null", _unrelated, low=0, high=0),
    Known("captured", "hostile", _with_holes, low=3, high=3),
    Known("captured", "hostile", _twins, low=2, high=2),
    Known("captured", "hostile", lambda rng: (np.zeros((60, 1)), _axis_aligned(rng)[1][:60]),
          reason="only one"),
)

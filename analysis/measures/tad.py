"""TAD and attributes captured: does one code dimension speak for one attribute?

    from analysis.measures.tad import tad
    tad(codes, attributes)  # {"tad": 0.43, "captured": 9, "auroc": (K, D) array, ...}

Total AUROC Difference after NashAE (Yeats et al. 2022) with the thresholds of InfoDiffusion and
Patronus (baselines.md section 10): for attribute i, M_i is the AUROC of its best dimension and
D_i = M_i minus the second best; captured when M_i >= 0.75 and at most 0.2 of the attribute's
entropy is told by another attribute; TAD is the sum of D_i over captured attributes.

As published, TAD is measured on the training part of each fold. The best of many dimensions is
partly luck there, and codes of more dimensions have more of it, so two variants stand beside it:
"tad_held_out" chooses on the training part and measures on the held-out part; "tad_pca32" and
"captured_pca32" compare codes of any width at 32 principal components.
"""

from collections.abc import Callable
from typing import TypedDict

import numpy as np
from sklearn.decomposition import PCA
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler

from analysis.spec import Known, Labels, Row, Spec, Value
from patronus.errors import NotApplicable
from patronus.rows import random_rows
from patronus.seeds import seed_for

CAPTURED_AUROC = 0.75
LARGEST_REDUNDANCY = 0.2
PUBLISHED_N = 10_000
COMPONENTS = 32
NO_VARIANCE = 1e-9  # share of the first component's variance that is rounding alone
FOLDS = KFold(5, shuffle=True, random_state=0)


class Tad(TypedDict):
    """Result over K attributes and D dimensions; NaN stands for a dropped attribute."""

    tad: float
    captured: int  # how many attributes are captured
    auroc: np.ndarray  # (K, D) of "larger means present"; below 0.5: the sign is turned
    is_captured: np.ndarray  # (K,) bool
    best: np.ndarray  # (K,) M_i
    difference: np.ndarray  # (K,) D_i
    redundancy: np.ndarray  # (K,) r_i
    dropped: np.ndarray  # (K,) bool: fewer than two values


def tad(codes: np.ndarray, attributes: np.ndarray) -> Tad:
    """TAD of codes (N, D), D >= 2, for attributes (N, K) of 0, 1 or NaN (unknown), of any type.

    Rows with an unknown label are left out for that attribute (for a pair of attributes: rows
    where either is unknown). Attributes with fewer than two values are dropped. ValueError for
    other values or shapes, NotApplicable for codes of one dimension.
    """
    codes, attributes = _checked(codes, attributes)
    auroc = auroc_matrix(codes, attributes)
    dropped = np.isnan(auroc[:, 0])
    two_sided = np.sort(np.maximum(auroc, 1 - auroc), axis=1)
    best, difference = two_sided[:, -1], two_sided[:, -1] - two_sided[:, -2]
    told = redundancy(np.where(dropped, np.nan, attributes))
    captured = ~dropped & (best >= CAPTURED_AUROC) & (told <= LARGEST_REDUNDANCY)
    return Tad(tad=float(difference[captured].sum()), captured=int(captured.sum()), auroc=auroc,
               is_captured=captured, best=best, difference=difference, redundancy=told,
               dropped=dropped)


def _checked(codes: np.ndarray, attributes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    codes, attributes = np.asarray(codes), np.asarray(attributes, dtype=np.float64)
    if codes.ndim != 2 or attributes.ndim != 2 or len(codes) != len(attributes):
        raise ValueError("codes (N, D) and attributes (N, K) are needed, not "
                         f"{codes.shape} and {attributes.shape}")
    if codes.shape[1] < 2:
        raise NotApplicable("TAD compares code dimensions; this code has only one")
    if not np.isfinite(codes).all():
        raise ValueError("codes must be finite")
    if not (np.isnan(attributes) | (attributes == 0) | (attributes == 1)).all():
        raise ValueError("attributes must be 0, 1 or NaN (unknown)")
    return codes, attributes


def held_out(train: Tad, codes: np.ndarray, attributes: np.ndarray) -> Tad:
    """`train` with M_i, D_i and TAD measured on other rows: codes (N, D), attributes (N, K).

    What is captured, the best dimension, the second best and their signs were all chosen in
    `train`, so D_i has no upward bias and is negative as often as not where there is nothing.
    Attributes without two values in these rows are dropped as well.
    """
    codes, attributes = _checked(codes, attributes)
    auroc = auroc_matrix(codes, attributes)
    signed = np.where(train["auroc"] < 0.5, 1 - auroc, auroc)
    two_sided = np.maximum(train["auroc"], 1 - train["auroc"])
    order = np.argsort(two_sided, axis=1, kind="stable")
    second, best = np.take_along_axis(signed, order[:, -2:], axis=1).T
    dropped = train["dropped"] | np.isnan(best)
    best, difference = (np.where(dropped, np.nan, part) for part in (best, best - second))
    captured = train["is_captured"] & ~dropped
    return Tad(tad=float(difference[captured].sum()), captured=int(captured.sum()), auroc=auroc,
               is_captured=captured, best=best, difference=difference,
               redundancy=train["redundancy"], dropped=dropped)


def principal(codes: np.ndarray) -> np.ndarray:
    """Scores (N, 32) on the first principal components of standardised codes (N, D), D > 32.

    Components without variance are 0: their scores would be rounding, which ranks can read.
    """
    if codes.shape[1] <= COMPONENTS:
        raise NotApplicable(f"needs more than {COMPONENTS} code dimensions; this code has "
                            f"{codes.shape[1]}")
    scaled = StandardScaler().fit_transform(np.asarray(codes, dtype=np.float64))
    pca = PCA(COMPONENTS, svd_solver="covariance_eigh").fit(scaled)
    variance = pca.explained_variance_
    return pca.transform(scaled) * (variance > NO_VARIANCE * variance[0])


def auroc_matrix(codes: np.ndarray, attributes: np.ndarray) -> np.ndarray:
    """AUROC (K, D) of every attribute against every dimension; NaN for constant attributes.

    The Mann-Whitney statistic with tied ranks averaged, for all pairs by one matrix product;
    attributes with the same unknown rows share one ranking. Codes are finite.
    """
    result = np.full((attributes.shape[1], codes.shape[1]), np.nan)
    known = ~np.isnan(attributes)
    alike: dict[bytes, list[int]] = {}
    for k, rows in enumerate(known.T):
        alike.setdefault(rows.tobytes(), []).append(k)
    for columns in alike.values():
        rows = known[:, columns[0]]
        truth = attributes[:, columns][rows].astype(np.float64)
        ones = truth.sum(axis=0)[:, None]
        above = truth.T @ mid_ranks(codes[rows]).T - ones * (ones + 1) / 2
        with np.errstate(invalid="ignore"):
            result[columns] = above / (ones * (len(truth) - ones))
    return result


def mid_ranks(codes: np.ndarray) -> np.ndarray:
    """Ranks (D, N) from 1 of codes (N, D) within each dimension, the mean rank where they tie."""
    ranks = np.empty(codes.shape[::-1])
    for rank, code in zip(ranks, np.ascontiguousarray(codes.T), strict=True):
        order = code.argsort()
        values = code[order]
        last = np.flatnonzero(values[1:] != values[:-1])  # of each run of equal values but one
        ends = np.concatenate([[0], last + 1, [len(code)]])
        rank[order] = np.repeat((ends[1:] + ends[:-1] + 1) / 2, np.diff(ends))
    return ranks


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


def _published(codes: np.ndarray, attributes: np.ndarray, train: np.ndarray, _) -> Tad:
    return tad(codes[train], attributes[train])


def _held_out(codes: np.ndarray, attributes: np.ndarray, train: np.ndarray,
              test: np.ndarray) -> Tad:
    return held_out(tad(codes[train], attributes[train]), codes[test], attributes[test])


def _pca(codes: np.ndarray, attributes: np.ndarray, train: np.ndarray, _) -> Tad:
    return tad(principal(codes[train]), attributes[train])


def fold_mean(codes: np.ndarray, labels: Labels,
             of_fold: Callable[..., Tad] = _published) -> tuple[list[Tad], tuple[str, ...]]:
    """TAD in each of five folds (as published: on its training part), and the attribute names.

    Only binary columns are attributes; NotApplicable where there are none.
    """
    binary = ~np.array(labels.categorical, dtype=bool)
    if not binary.any():
        raise NotApplicable("TAD is defined for binary attributes; this set has classes only")
    values = labels.values[:, binary]
    names = tuple(np.array(labels.names)[binary])
    return [of_fold(codes, values, *rows) for rows in FOLDS.split(codes)], names


def tad_value(codes: np.ndarray, labels: Labels) -> Value:
    """Mean TAD over five training folds; `detail` has what each attribute adds."""
    return _value("tad", _published, codes, labels)


def captured_value(codes: np.ndarray, labels: Labels) -> Value:
    """Mean number of captured attributes over five training folds."""
    return _value("captured", _published, codes, labels)


def held_out_value(codes: np.ndarray, labels: Labels) -> Value:
    """Mean over five folds of TAD chosen on the training part, measured on the held-out part."""
    return _value("tad", _held_out, codes, labels)


def pca_value(codes: np.ndarray, labels: Labels) -> Value:
    """Mean TAD of 32 principal components over the five training folds they are fitted on."""
    return _value("tad", _pca, codes, labels)


def pca_captured_value(codes: np.ndarray, labels: Labels) -> Value:
    """Mean number of attributes captured by 32 principal components over five training folds."""
    return _value("captured", _pca, codes, labels)


def _value(key: str, of_fold: Callable[..., Tad], codes: np.ndarray, labels: Labels) -> Value:
    folds, names = fold_mean(codes, labels, of_fold)
    dropped = np.any([fold["dropped"] for fold in folds], axis=0)
    if dropped.all():
        raise NotApplicable("no attribute takes two values in every fold")
    numbers = [fold[key] for fold in folds]
    mean, spread = float(np.mean(numbers)), float(np.std(numbers))
    share = np.mean([fold["is_captured"] for fold in folds], axis=0)
    by_chance, _ = fold_mean(shuffled(codes), labels, of_fold)
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
    best = np.mean([fold["best"] for fold in folds], axis=0)
    return {n: float(v) for n, v, d in zip(names, best, dropped, strict=True) if not d}


def _some(compute):
    """The published number of training codes, 10,000: at random, where theirs are the first."""
    def of_some(codes: np.ndarray, labels: Labels) -> Value:
        rows = random_rows(len(codes), PUBLISHED_N, "tad", "rows")
        return compute(codes[rows], labels[rows])

    return of_some


def _spec(name: str, title: str, unit: str, compute: Callable[..., Value],
          variant_of: str = "") -> Spec:
    rows = (Row("test", compute, ("codes.test", "labels.test"), "test"),
            Row("train", _some(compute), ("codes.train", "labels.train"), "train"))
    source = "NashAE (Yeats et al. 2022), thresholds of InfoDiffusion (Wang et al. 2023)"
    return Spec(name=name, title=title, unit=unit, direction="higher", least_n=50, paired=True,
                source=source + variant_of, rows=rows,
                level="sd", resamples="folds")


SPECS = (
    _spec("tad", "TAD", "sum of AUROC differences", tad_value),
    _spec("captured", "Attributes captured", "attributes", captured_value),
    _spec("tad_held_out", "TAD, held-out", "sum of AUROC differences", held_out_value,
          "; measured on the held-out fold"),
    _spec("tad_pca32", "TAD of 32 components", "sum of AUROC differences", pca_value,
          "; on 32 principal components"),
    _spec("captured_pca32", "Attributes captured by 32 components", "attributes",
          pca_captured_value, "; on 32 principal components"),
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


def _entangled(rng: np.random.Generator) -> tuple[np.ndarray, Labels]:
    """Four attributes as 24, 12, 6 and 3 copies: as components of their own, nothing else."""
    _, labels = _axis_aligned(rng)
    noisy = labels.values + 0.2 * rng.normal(size=labels.values.shape)
    return np.repeat(noisy, (24, 12, 6, 3), axis=1), labels


def _wide(rng: np.random.Generator) -> tuple[np.ndarray, Labels]:
    return rng.normal(size=(600, 40)), _axis_aligned(rng)[1]


def _too_narrow(rng: np.random.Generator) -> tuple[np.ndarray, Labels]:
    return rng.normal(size=(600, 32)), _axis_aligned(rng)[1]


def _turned(rng: np.random.Generator) -> tuple[np.ndarray, Labels]:
    """What is large in one half of the images is small in the other: no sign to be chosen."""
    codes, labels = _axis_aligned(rng)
    signs = np.where(rng.random((len(codes), 1)) < 0.5, 1, -1)
    return signs * (codes - 0.5), labels


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
    Known("tad_held_out", "perfect", _axis_aligned, low=1.8, high=2.2),
    Known("tad_held_out", "null", _unrelated, low=0, high=0),
    Known("tad_held_out", "hostile", _turned, low=0, high=0),
    Known("tad_held_out", "hostile", _with_holes, low=1.3, high=1.7),
    Known("tad_pca32", "perfect", _entangled, low=1.5, high=2.0),
    Known("tad_pca32", "null", _wide, low=0, high=0),
    Known("tad_pca32", "hostile", _too_narrow, reason="this code has 32"),
    Known("captured_pca32", "perfect", _entangled, low=4, high=4),
    Known("captured_pca32", "null", _wide, low=0, high=0),
    Known("captured_pca32", "hostile", _too_narrow, reason="this code has 32"),
)

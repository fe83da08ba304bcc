"""DCI: disentanglement, completeness and informativeness of a code (baselines.md section 10).

Eastwood and Williams (ICLR 2018): boosted trees predict each factor (label column) from the code;
their importances are the matrix P (D dimensions, K factors). A dimension is disentangled where it
matters for one factor only, a factor is complete where one dimension tells it; informativeness is
the accuracy of the trees on other images.

Trees: scikit-learn's GradientBoostingClassifier, seed 0, defaults but for 50 trees in place of 100,
fitted on 2,000 random training codes and scored on 1,000 random test codes. The three
measures share one set of fits, whose cost grows with codes, dimensions and factors (a factor of C
classes counts C times): on one core about 3 s for 384 codes of 16 dimensions and 23 factors, two
minutes for 2,000 codes of 100 dimensions and 40 factors, ten minutes where they have 512.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from sklearn.ensemble import GradientBoostingClassifier

from analysis.spec import Known, Labels, Row, Spec, Value
from patronus.errors import NotApplicable
from patronus.rows import random_rows

TRAIN_N = 2_000
TEST_N = 1_000
TREES = 100  # as published: scikit-learn's default
SMOOTHING = 1e-11


class Fits(NamedTuple):
    """What the trees of K kept factors learned from a code of D dimensions."""

    importances: np.ndarray  # P (D, K), of each factor summing to 1, or to 0 where no tree grew
    models: tuple[GradientBoostingClassifier, ...]
    kept: np.ndarray  # (K of labels,) bool: False where the training codes show fewer than 2 values
    n: int  # training codes


def specificity(importances: np.ndarray) -> np.ndarray:
    """1 - entropy of each row of importances (R, C), C >= 2, over its columns, in base C.

    1 where a row has one column, 0 where it spreads evenly or has none.
    """
    shares = importances + SMOOTHING
    shares = shares / shares.sum(axis=1, keepdims=True)
    return 1 + (shares * np.log(shares)).sum(axis=1) / np.log(importances.shape[1])


def weighted(importances: np.ndarray) -> float:
    """Mean specificity of rows, each weighted by its share of all importance; 0 without any."""
    weights = importances.sum(axis=1)
    return float(weights @ specificity(importances) / weights.sum()) if weights.any() else 0.0


def disentanglement(importances: np.ndarray) -> float:
    """D in [0, 1] of P (D, K), K >= 2: 1 where each dimension matters for one factor only."""
    if importances.shape[1] < 2:
        raise NotApplicable("disentanglement compares factors; this set has only one that varies")
    return weighted(importances)


def completeness(importances: np.ndarray) -> float:
    """C in [0, 1] of P (D, K), D >= 2: 1 where each factor is told by one dimension only."""
    if importances.shape[0] < 2:
        raise NotApplicable("completeness compares code dimensions; this code has only one")
    return weighted(importances.T)


def fit(codes: np.ndarray, labels: Labels) -> Fits:
    """Trees of every factor on 2,000 random codes (N, D), rows of unknown label left out."""
    rows = random_rows(len(codes), TRAIN_N, "dci", "train")
    codes = np.ascontiguousarray(codes[rows], dtype=np.float32)  # what the trees compute in
    values = np.ascontiguousarray(labels.values[rows])
    return _fit(codes.tobytes(), values.tobytes(), len(rows))


@lru_cache(maxsize=1)  # three measures ask for the same fits, one after the other
def _fit(codes: bytes, values: bytes, n: int) -> Fits:
    x, truths = (np.frombuffer(part, dtype).reshape(n, -1)
                 for part, dtype in ((codes, np.float32), (values, np.float64)))
    known = ~np.isnan(truths)
    kept = np.array([len(np.unique(y[k])) > 1 for y, k in zip(truths.T, known.T, strict=True)],
                    dtype=bool)
    if not kept.any():
        raise NotApplicable("no label takes two values in the training codes")
    models = tuple(
        GradientBoostingClassifier(n_estimators=TREES, random_state=0).fit(x[k], y[k])
        for y, k in zip(truths.T[kept], known.T[kept], strict=True))
    importances = np.stack([model.feature_importances_ for model in models], axis=1)
    return Fits(importances, models, kept, n)


def accuracies(fits: Fits, codes: np.ndarray, labels: Labels) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy (K,) of the trees, and of always naming the most frequent value; NaN: unscored.

    Measured on codes (N, D) and the known labels of all factors, dropped ones included.
    """
    found, frequent = (np.full(len(labels.names), np.nan) for _ in range(2))
    for k, model in zip(np.flatnonzero(fits.kept), fits.models, strict=True):
        known = ~np.isnan(labels.values[:, k])
        if known.any():
            truth = labels.values[known, k]
            found[k] = np.mean(model.predict(np.asarray(codes[known], np.float32)) == truth)
            frequent[k] = np.unique(truth, return_counts=True)[1].max() / len(truth)
    return found, frequent


def _of_importances(number: Callable[[np.ndarray], float]) -> Callable[..., Value]:
    """The measure `number` of the importances that training codes give."""
    def compute(codes: np.ndarray, labels: Labels) -> Value:
        fits = fit(codes, labels)
        names = np.array(labels.names)
        best = fits.importances.argmax(axis=0).tolist()
        return Value(number(fits.importances), fits.n, detail={
            "best_dimension": dict(zip(names[fits.kept].tolist(), best, strict=True)),
            "dropped": names[~fits.kept].tolist(), "trees": TREES})

    return compute


def informativeness(codes: np.ndarray, labels: Labels, train_codes: np.ndarray,
                    train_labels: Labels) -> Value:
    """Mean accuracy over factors on 1,000 random test codes of trees fitted on training codes.

    `detail` has what naming the most frequent value would score: rare attributes are easy.
    """
    fits = fit(train_codes, train_labels)
    rows = random_rows(len(codes), TEST_N, "dci", "test")
    found, frequent = accuracies(fits, codes[rows], labels[rows])
    kept = ~np.isnan(found)
    if not kept.any():
        raise NotApplicable("no label that varies in the training codes is known of a test code")
    names = np.array(labels.names)
    return Value(float(found[kept].mean()), len(rows), detail={
        "per_label": dict(zip(names[kept].tolist(), found[kept].tolist(), strict=True)),
        "most_frequent": dict(zip(names[kept].tolist(), frequent[kept].tolist(), strict=True)),
        "dropped": names[~kept].tolist(), "train_n": fits.n, "trees": TREES})


TRAIN = ("codes.train", "labels.train")
_SHARED = {"direction": "higher", "least_n": 50, "source": "Eastwood and Williams 2018"}

SPECS = (
    Spec(name="dci_disentanglement", title="DCI disentanglement",
         unit="1 - entropy over factors",
         rows=(Row("train", _of_importances(disentanglement), TRAIN, "train"),), **_SHARED),
    Spec(name="dci_completeness", title="DCI completeness",
         unit="1 - entropy over dimensions",
         rows=(Row("train", _of_importances(completeness), TRAIN, "train"),), **_SHARED),
    Spec(name="dci_informativeness", title="DCI informativeness", unit="accuracy",
         rows=(Row("test", informativeness, ("codes.test", "labels.test", *TRAIN), "test"),),
         **_SHARED),
)


def _attributes(rng: np.random.Generator) -> Labels:
    return Labels((rng.random((300, 3)) < 0.5).astype(float), tuple("abc"), (False,) * 3)


def _aligned(rng: np.random.Generator) -> tuple[np.ndarray, Labels]:
    """One dimension for each of three independent attributes."""
    labels = _attributes(rng)
    return labels.values.astype(np.float32), labels


def _noise(rng: np.random.Generator) -> tuple[np.ndarray, Labels]:
    return rng.normal(size=(300, 3)), _attributes(rng)


def _one_tells_all(rng: np.random.Generator) -> tuple[np.ndarray, Labels]:
    """All three attributes as the binary digits of one dimension; the other one is dead."""
    labels = _attributes(rng)
    return np.stack([labels.values @ [4, 2, 1], np.zeros(len(labels))], axis=1), labels


def _two_tell_each(rng: np.random.Generator) -> tuple[np.ndarray, Labels]:
    """Each attribute is the sign of the sum of two of six dimensions: about 1 - log 2 / log 6."""
    codes = rng.normal(size=(300, 6))
    values = (codes[:, :3] + codes[:, 3:] > 0).astype(float)
    return codes, Labels(values, tuple("abc"), (False,) * 3)


def _one_value(rng: np.random.Generator) -> tuple[np.ndarray, Labels]:
    return _noise(rng)[0], Labels(np.ones((300, 2)), ("a", "b"), (False, False))


def _one_factor(rng: np.random.Generator) -> tuple[np.ndarray, Labels]:
    codes, labels = _with_holes(rng)
    return codes, Labels(labels.values[:, :1], ("a",), (False,))


def _one_dimension(rng: np.random.Generator) -> tuple[np.ndarray, Labels]:
    codes, labels = _aligned(rng)
    return codes[:, :1], labels


def _with_holes(rng: np.random.Generator) -> tuple[np.ndarray, Labels]:
    """Unknown labels and a constant attribute: two are left, each with its dimension."""
    codes, labels = _aligned(rng)
    values = labels.values.copy()
    values[rng.random(values.shape) < 0.3] = np.nan
    values[:, 2] = 1.0
    return codes, Labels(values, labels.names, labels.categorical)


def _twice(case: Callable) -> Callable:
    """A test and a training part of a case."""
    return lambda rng: (*case(rng), *case(rng))


KNOWN = (
    Known("dci_disentanglement", "perfect", _aligned, low=1 - 1e-6, high=1 + 1e-9),
    Known("dci_disentanglement", "null", _noise, low=0, high=0.15),
    Known("dci_disentanglement", "hostile", _one_tells_all, low=-1e-9, high=1e-6),
    Known("dci_disentanglement", "hostile", _with_holes, low=1 - 1e-6, high=1 + 1e-9),
    Known("dci_disentanglement", "hostile", _one_factor, reason="compares factors"),
    Known("dci_completeness", "perfect", _aligned, low=1 - 1e-6, high=1 + 1e-9),
    Known("dci_completeness", "null", _noise, low=0, high=0.15),
    Known("dci_completeness", "hostile", _one_tells_all, low=1 - 1e-6, high=1 + 1e-9),
    Known("dci_completeness", "hostile", _two_tell_each, low=0.5, high=0.7),
    Known("dci_completeness", "hostile", _one_dimension, reason="only one"),
    Known("dci_informativeness", "perfect", _twice(_aligned), low=1, high=1),
    Known("dci_informativeness", "null", _twice(_noise), low=0.4, high=0.6),
    Known("dci_informativeness", "hostile", _twice(_with_holes), low=1, high=1),
    Known("dci_informativeness", "hostile", _twice(_one_value), reason="two values"),
)

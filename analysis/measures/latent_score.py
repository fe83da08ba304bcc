"""Latent score: how well logistic regression reads the labels from a code (baselines.md 10)."""

import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler

from analysis import intervals
from analysis.resampling import ends
from analysis.spec import Known, Labels, Row, Spec, Value
from patronus.errors import NotApplicable
from patronus.rows import random_rows

PUBLISHED_N = 10_000  # training codes used for sets of attributes; sets of classes use all
FOLDS = KFold(5, shuffle=True, random_state=0)


class Scores(NamedTuple):
    """`table` (5, K) score of each fold and column, NaN where a column was dropped."""

    table: np.ndarray
    errors: np.ndarray  # (K, N) what the label of each image adds to its column's mean over folds
    unit: str
    unconverged: int  # fits that reached scikit-learn's default of 100 iterations


def latent_scores(codes: np.ndarray, labels: Labels) -> Scores:
    """Held-out score of each fold and label column for codes (N, D).

    KFold(5, shuffled, seed 0, unstratified), StandardScaler fitted on each training fold, one
    LogisticRegression with scikit-learn's defaults per column. AUROC where all columns are
    binary; accuracy for every column where one is categorical (as published: Fashion-MNIST,
    CIFAR-10, FFHQ). Rows with an unknown label are left out for that column; a column with one
    value in a fold's training or held-out part scores NaN there.
    """
    accuracy = any(labels.categorical)
    folds = list(_scaled_folds(codes))
    table = np.full((len(folds), len(labels.names)), np.nan)
    errors = np.zeros(labels.values.T.shape)
    unconverged = 0
    for f, (train, test, x_train, x_test) in enumerate(folds):
        for k, truth in enumerate(labels.values.T):
            known_train, known_test = ~np.isnan(truth[train]), ~np.isnan(truth[test])
            fitted = _fit(x_train[known_train], truth[train][known_train])
            if fitted is None:
                continue
            model, warned = fitted
            unconverged += warned
            table[f, k], parts = _score(model, x_test[known_test], truth[test][known_test],
                                        accuracy)
            errors[k, test[known_test]] = parts / len(folds)
    return Scores(table, errors, "accuracy" if accuracy else "AUROC", unconverged)


def _scaled_folds(codes: np.ndarray) -> Iterator[tuple]:
    """(train rows, test rows, scaled train codes, scaled test codes): scaled once a fold."""
    codes = np.asarray(codes, dtype=np.float64)
    for train, test in FOLDS.split(codes):
        scaler = StandardScaler().fit(codes[train])
        yield train, test, scaler.transform(codes[train]), scaler.transform(codes[test])


def _fit(x: np.ndarray, truth: np.ndarray) -> tuple[LogisticRegression, bool] | None:
    """The fitted model and whether it stopped early; None when there are not two values."""
    if len(np.unique(truth)) < 2:
        return None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model = LogisticRegression().fit(x, truth)
    return model, any(issubclass(w.category, ConvergenceWarning) for w in caught)


def _score(model: LogisticRegression, x: np.ndarray, truth: np.ndarray,
           accuracy: bool) -> tuple[float, np.ndarray]:
    """The score of images x (n, D), and what each of them adds to its error (n,)."""
    if len(np.unique(truth)) < (1 if accuracy else 2):
        return np.nan, np.zeros(len(truth))
    if accuracy:
        right = (model.predict(x) == truth).astype(np.float64)
        return float(right.mean()), (right - right.mean()) / len(right)
    decision = model.decision_function(x)
    return float(roc_auc_score(truth, decision)), intervals.auroc_errors(decision, truth)


def published(codes: np.ndarray, labels: Labels) -> Value:
    """The published number of training codes: 10,000, at random, or all of a set of classes."""
    of_classes = len(labels.names) == 1 and labels.categorical[0]
    wanted = len(codes) if of_classes else PUBLISHED_N
    rows = random_rows(len(codes), wanted, "latent_score", "rows")
    return latent_score(codes[rows], labels[rows])


def latent_score(codes: np.ndarray, labels: Labels) -> Value:
    """Mean over folds and columns, and its interval over held-out images for these probes.

    Columns that are dropped in any fold are left out of the mean and named in `detail`, which also
    has the population standard deviation over folds, as it is published.
    """
    if not labels.names:
        raise NotApplicable("the data set has no labels")
    scores = latent_scores(codes, labels)
    kept = ~np.isnan(scores.table).any(axis=0)
    if not kept.any():
        raise NotApplicable("no label takes two values in every fold")
    by_fold = scores.table[:, kept].mean(axis=1)
    mean, n, names = float(by_fold.mean()), len(codes), np.array(labels.names)
    own = intervals.share(mean, mean + n * scores.errors[kept].mean(axis=0))
    return Value(mean, n, *ends(own), scores.unit, {
        "sd_over_folds": float(by_fold.std()),
        "per_label": dict(zip(names[kept], scores.table[:, kept].mean(axis=0), strict=True)),
        "dropped": names[~kept].tolist(), "unconverged_fits": scores.unconverged})



SPECS = (Spec(
    name="latent_score", title="Latent score", unit="AUROC or accuracy", direction="higher",
    source="InfoDiffusion's protocol (Wang et al. 2023), as used by Patronus",
    least_n=50, paired=True,
    level="95 %", resamples="images",
    rows=(Row("test", latent_score, ("codes.test", "labels.test"), "test"),
          Row("train", published, ("codes.train", "labels.train"), "train"))),)


def _attributes(rng: np.random.Generator, informative: bool) -> tuple[np.ndarray, Labels]:
    values = (rng.random((400, 3)) < 0.4).astype(float)
    signal = values if informative else rng.permutation(values)
    codes = np.hstack([signal + 0.05 * rng.normal(size=(400, 3)), rng.normal(size=(400, 5))])
    return codes.astype(np.float32), Labels(values, ("a", "b", "c"), (False,) * 3)


def _with_holes(rng: np.random.Generator) -> tuple[np.ndarray, Labels]:
    """Unknown labels, a constant attribute, a dead dimension: the readable rest scores 1."""
    codes, labels = _attributes(rng, informative=True)
    values = labels.values.copy()
    values[rng.random(values.shape) < 0.3] = np.nan
    values[:, 2] = 1.0
    codes[:, 4] = 0.0
    return codes, Labels(values, labels.names, labels.categorical)


def _classes(rng: np.random.Generator) -> tuple[np.ndarray, Labels]:
    values = rng.integers(0, 10, size=(400, 1)).astype(float)
    return rng.normal(size=(400, 6)), Labels(values, ("class",), (True,))


def _one_value(rng: np.random.Generator) -> tuple[np.ndarray, Labels]:
    return rng.normal(size=(100, 4)), Labels(np.ones((100, 2)), ("a", "b"), (False, False))


KNOWN = (
    Known("latent_score", "perfect", lambda rng: _attributes(rng, True), low=0.999, high=1.0),
    Known("latent_score", "null", lambda rng: _attributes(rng, False), low=0.4, high=0.6),
    Known("latent_score", "null", _classes, low=0.02, high=0.2),
    Known("latent_score", "hostile", _with_holes, low=0.999, high=1.0),
    Known("latent_score", "hostile", _one_value, reason="two values"),
)

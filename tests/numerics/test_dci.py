"""DCI against arithmetic by hand and plain scikit-learn."""

import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingClassifier

from analysis.measures import dci
from analysis.spec import Labels
from patronus.errors import NotApplicable
from patronus.rows import random_rows

RNG = np.random.default_rng


def _labels(values: np.ndarray, *categorical: int) -> Labels:
    k = values.shape[1]
    return Labels(values, tuple(f"a{i}" for i in range(k)), tuple(i in categorical
                                                                  for i in range(k)))


def _codes_and_labels(n: int = 120, seed: int = 0) -> tuple[np.ndarray, Labels]:
    """Two attributes and a class of three, each in a noisy dimension; the fourth is noise."""
    rng = RNG(seed)
    values = np.stack([rng.random(n) < 0.5, rng.random(n) < 0.3, rng.integers(0, 3, n)], axis=1)
    codes = np.hstack([values + 0.4 * rng.normal(size=(n, 3)), rng.normal(size=(n, 1))])
    return codes, _labels(values.astype(float), 2)


@pytest.mark.parametrize("shape", [(3, 3), (2, 5), (5, 2)])
def test_an_even_matrix_scores_zero(shape):
    assert dci.disentanglement(np.ones(shape)) == pytest.approx(0, abs=1e-9)
    assert dci.completeness(np.ones(shape)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("matrix", [np.eye(4), 7 * np.eye(3)[[2, 0, 1]]])
def test_a_diagonal_matrix_scores_one(matrix):
    assert dci.disentanglement(matrix) == pytest.approx(1, abs=1e-8)
    assert dci.completeness(matrix) == pytest.approx(1, abs=1e-8)


def test_a_matrix_by_hand():
    """P = [[2, 1, 1], [0, 0, 4]] / 8, two dimensions and three factors.

    D: both rows hold half of all importance; the first has entropy 1/2 ln 2 + 2 (1/4) ln 4
    = 3/2 ln 2, the second none: D = 1/2 (1 - 3/2 ln 2 / ln 3) + 1/2.
    C: columns hold 2/8, 1/8, 5/8; the first two have one dimension, the third shares (1/5, 4/5):
    C = 2/8 + 1/8 + 5/8 (1 - H_2(1/5)), H_2(1/5) = log2 5 - 8/5.
    """
    matrix = np.array([[2, 1, 1], [0, 0, 4]]) / 8
    by_hand = 1 - 0.75 * np.log(2) / np.log(3)
    assert dci.disentanglement(matrix) == pytest.approx(by_hand, abs=1e-8)
    assert by_hand == pytest.approx(0.526803, abs=1e-6)
    by_hand = 3 / 8 + 5 / 8 * (1 - np.log2(5) + 8 / 5)
    assert dci.completeness(matrix) == pytest.approx(by_hand, abs=1e-8)
    assert by_hand == pytest.approx(0.548795, abs=1e-6)


def test_a_dimension_that_matters_for_nothing_has_no_weight():
    matrix = np.vstack([np.eye(3), np.zeros((4, 3))])
    assert dci.disentanglement(matrix) == pytest.approx(1, abs=1e-8)
    assert dci.completeness(matrix) == pytest.approx(1, abs=1e-8)
    nothing = np.zeros((2, 3))
    assert dci.disentanglement(nothing) == dci.completeness(nothing) == 0


def test_one_factor_or_one_dimension_has_nothing_to_compare():
    with pytest.raises(NotApplicable, match="only one"):
        dci.disentanglement(np.ones((4, 1)))
    with pytest.raises(NotApplicable, match="only one"):
        dci.completeness(np.ones((1, 4)))


def test_importances_and_accuracies_equal_plain_scikit_learn():
    codes, labels = _codes_and_labels()
    others, truths = _codes_and_labels(80, seed=1)
    fits = dci.fit(codes, labels)
    found = dci.informativeness(others, truths, codes, labels)
    assert found.n == 80 and found.detail["train_n"] == 120
    for k in range(3):
        model = GradientBoostingClassifier(n_estimators=dci.TREES, random_state=0)
        model.fit(codes.astype(np.float32), labels.values[:, k])
        np.testing.assert_array_equal(fits.importances[:, k], model.feature_importances_)
        accuracy = model.score(others.astype(np.float32), truths.values[:, k])
        assert found.detail["per_label"][f"a{k}"] == pytest.approx(accuracy, abs=1e-12)
        most = np.bincount(truths.values[:, k].astype(int)).max() / 80
        assert found.detail["most_frequent"][f"a{k}"] == pytest.approx(most, abs=1e-12)
    assert found.value == pytest.approx(np.mean(list(found.detail["per_label"].values())))
    np.testing.assert_allclose(fits.importances.sum(axis=0), 1)
    assert fits.importances.argmax(axis=0).tolist() == [0, 1, 2]


def test_the_same_codes_give_the_same_bytes_when_fitted_anew():
    codes, labels = _codes_and_labels()
    first = dci.fit(codes, labels).importances
    assert dci.fit(codes + 0, labels).importances is first, "three measures share one set of fits"
    dci._fit.cache_clear()
    assert dci.fit(codes, labels).importances.tobytes() == first.tobytes()
    assert dci.fit(codes[::-1], labels).importances.tobytes() != first.tobytes()


def test_only_some_codes_are_used_and_they_are_random_ones(monkeypatch):
    monkeypatch.setattr(dci, "TRAIN_N", 60)
    monkeypatch.setattr(dci, "TEST_N", 40)
    codes, labels = _codes_and_labels()
    others, truths = _codes_and_labels(80, seed=1)
    whole = dci.informativeness(others, truths, codes, labels)
    train, test = random_rows(120, 60, "dci", "train"), random_rows(80, 40, "dci", "test")
    part = dci.informativeness(others[test], truths[test], codes[train], labels[train])
    assert whole == part and whole.n == 40 and whole.detail["train_n"] == 60


def test_unknown_labels_are_left_out_and_factors_that_do_not_vary_are_named():
    codes, labels = _codes_and_labels()
    values = labels.values.copy()
    values[40:, 0] = np.nan
    values[:, 1] = 1
    holes = _labels(values, 2)
    fits = dci.fit(codes, holes)
    alone = dci.fit(codes[:40], _labels(values[:40, :1]))
    np.testing.assert_array_equal(fits.importances[:, 0], alone.importances[:, 0])
    assert fits.kept.tolist() == [True, False, True]
    disentangled, complete, informative = (spec.rows[0].compute for spec in dci.SPECS)
    for found in (disentangled(codes, holes), complete(codes, holes)):
        assert found.detail["dropped"] == ["a1"]
        assert found.detail["best_dimension"] == {"a0": 0, "a2": 2}
    truths = values.copy()
    truths[:, 2] = np.nan  # fitted, but no test code says what is right
    found = informative(codes, _labels(truths, 2), codes, holes)
    assert found.detail["dropped"] == ["a1", "a2"] and list(found.detail["per_label"]) == ["a0"]

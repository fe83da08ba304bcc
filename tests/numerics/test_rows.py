"""Emergence, stability, shortcut and cost as rows: planted truths, outside formulas."""

import itertools

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from analysis import matching
from analysis.measures import cost, emergence, shortcut, stability
from patronus.config import load_study
from patronus.errors import NotApplicable
from patronus.explain import ranks
from patronus.stage import fingerprint

RNG = np.random.default_rng
N, M = 300, 5


@pytest.fixture(autouse=True)
def few_shuffles(monkeypatch):
    monkeypatch.setattr(matching, "SHUFFLES", 20)


def codes(seed: int, n: int = N, m: int = M) -> np.ndarray:
    """Skewed and correlated, as activations are."""
    rng = RNG(seed)
    return np.exp(rng.normal(size=(n, m)) @ (np.eye(m) + 0.2 * rng.normal(size=(m, m))))


# --- emergence ---------------------------------------------------------------------------------

@pytest.mark.parametrize("seed", range(5))
def test_emergence_is_scipys_rank_correlation_of_what_gains(seed):
    rng = RNG(seed)
    tau, centroid = rng.integers(0, 12, 40) * 80.0, rng.uniform(0, 0.5, 40)  # tau with ties
    centroid -= 1e-4 * tau
    tau[rng.integers(0, 40, 4)] = np.nan
    centroid[rng.integers(0, 40, 3)] = np.nan
    found = emergence.emergence(tau, centroid)
    assert found.value == pytest.approx(spearmanr(tau, centroid, nan_policy="omit").statistic)
    assert found.n == (np.isfinite(tau) & np.isfinite(centroid)).sum()
    assert found.low < found.value < found.high
    assert found.detail["left_out"] == 40 - found.n


def test_the_row_is_the_number_of_the_figure():
    tau, centroid = RNG(1).normal(size=(2, 12))
    found = emergence.emergence(tau, centroid)
    assert {"rho": found.value, "rho_low": found.low, "rho_high": found.high} \
        == ranks.rank_correlation(tau, centroid)


def test_the_interval_of_emergence_covers_the_truth_as_often_as_it_says():
    """Correlation 0: about 95 of 100 intervals hold it (fewer for so few dimensions)."""
    rng = RNG(2)
    found = [emergence.emergence(*rng.normal(size=(2, 30))) for _ in range(60)]
    assert np.mean([part.low < 0 < part.high for part in found]) > 0.85


def test_two_dimensions_too_few_and_five_at_one_time_say_so():
    with pytest.raises(NotApplicable, match="of 5 dimensions that gain, 4 have a patch"):
        emergence.emergence(np.array([1, 2, 3, 4, 5, np.nan]), np.array([1, 2, 3, 4, np.nan, 6]))
    with pytest.raises(NotApplicable, match="4 of 6 dimensions followed gain .* 5 are needed"):
        emergence.emergence(np.array([1, 2, 3, 4, np.nan, np.nan]), np.arange(6.0))
    with pytest.raises(NotApplicable, match="all 5 dimensions appear at the same time: 333"):
        emergence.emergence(np.array([333.0] * 5 + [np.nan]), np.arange(6.0))


# --- stability over seeds ----------------------------------------------------------------------

def by_trying(table: np.ndarray) -> float:
    """The largest mean over all permutations."""
    return max(table[np.arange(len(table)), list(order)].mean()
               for order in itertools.permutations(range(len(table))))


@pytest.mark.parametrize("seed", range(4))
def test_stability_is_the_best_of_all_permutations(seed):
    a, others = codes(seed), np.stack([codes(seed + 10), codes(seed + 20)])
    tables = [np.abs(np.corrcoef(a.T, b.T)[:M, M:]) for b in others]
    found = stability.stability(a, others)
    assert found.value == pytest.approx(np.mean([by_trying(table) for table in tables]))
    pairs = [by_trying(table) for table in tables]
    assert (found.low, found.high) == pytest.approx((min(pairs), max(pairs)))  # not of dimensions
    assert found.n == N and found.detail["other_seeds"] == pytest.approx(pairs)
    assert stability.stability(a, others[:1]).low is None  # of one pair there is no range


def hsic_cka(a: np.ndarray, b: np.ndarray) -> float:
    """Kornblith et al. 2019, equations 2 and 3: HSIC of the Gram matrices."""
    centre = np.eye(len(a)) - 1 / len(a)

    def hsic(k: np.ndarray, other: np.ndarray) -> float:
        return np.trace(k @ centre @ other @ centre) / (len(a) - 1) ** 2

    grams = a @ a.T, b @ b.T
    return hsic(*grams) / np.sqrt(hsic(grams[0], grams[0]) * hsic(grams[1], grams[1]))


def test_cka_is_the_gram_matrices_hsic():
    a, others = codes(0), np.stack([codes(1), codes(0) + 0.3 * codes(2)])
    expected = [hsic_cka(a, b) for b in others]
    found = stability.cka(a, others)
    assert found.detail["other_seeds"] == pytest.approx(expected, rel=1e-9)
    assert (found.value, found.low, found.high) == pytest.approx(
        (np.mean(expected), min(expected), max(expected)))
    alone = stability.cka(a, others[:1])
    assert alone.low is None and alone.high is None


def test_chance_is_what_shuffled_images_give():
    a, others = codes(0), np.stack([codes(1), codes(2)])
    for measure in (stability.stability, stability.cka):
        found = measure(a, others)
        order = RNG(5).permutation(N)
        again = measure(a, others[:, order])
        assert found.detail["null"] == pytest.approx(again.detail["null"], rel=0.2)
        assert found.detail["null"] < found.detail["null_q95"] < 0.3
        assert found.value < 2 * found.detail["null_q95"]  # these codes have nothing in common


def test_more_shared_dimensions_are_more_stable():
    a = codes(0)
    shared = [stability.stability(a, np.hstack([a[:, :k], codes(1)[:, k:]])[None]).value
              for k in range(M + 1)]
    assert shared == sorted(shared) and shared[-1] == pytest.approx(1)


# --- shortcut ----------------------------------------------------------------------------------

def scores(seed: int, tied: float) -> tuple:
    """Scores of 8 parts, where (0, 1) and (2, 3) are tied, one of them inversely."""
    rng = RNG(seed)
    score, pairs = 0.02 * rng.normal(size=(8, 8)), np.array([[0, 1], [2, 3]])
    score[0, 1], score[2, 3] = tied, -tied
    return (np.array([tied, tied - 0.1, tied + 0.1]), score, pairs, np.arange(25),
            np.array(list("abcdefgh")))


def test_the_score_rises_with_the_tie_and_counts_both_directions():
    found = [shortcut.shortcut(*scores(0, tied)) for tied in (0.0, 0.1, 0.5)]
    assert [part.value for part in found] == pytest.approx([0, 0.1, 0.5])
    last = found[-1]
    assert (last.low, last.high) == pytest.approx((0.4, 0.6))
    assert last.detail["pairs"][1] == {"raised": "c", "changed": "d", "score": -0.5}
    assert last.detail["others"] == pytest.approx(0.02 * np.sqrt(2 / np.pi), rel=0.3)


def test_detection_is_scikit_learns_auroc_of_the_pairs_that_are_judged():
    _, score, pairs, *_ = scores(3, 0.03)
    judged = [(a, b) for a in range(8) for b in range(8) if a != b and (a, b) not in
              ((1, 0), (3, 2))]
    truth = [(a, b) in ((0, 1), (2, 3)) for a, b in judged]
    found = shortcut.detection(score, pairs)
    assert found.value == pytest.approx(roc_auc_score(truth, [abs(score[p]) for p in judged]))
    assert (found.n, found.detail["tied"]) == (len(judged), 2)


def test_of_several_tied_sets_the_one_with_most_pairs_then_the_strongest_is_told():
    study = load_study("strengths")
    cell = study.cell("celeba", "patronus_modern", 0)
    assert study.tied(cell).dataset == "faces_tied_100"
    weaker = load_study("strengths", datasets="celeba,faces_tied_60,faces_tied_90,celeba_hair",
                        methods="patronus_modern")
    assert weaker.tied(cell).dataset == "celeba_hair"  # three pairs
    assert load_study("strengths", datasets="celeba,faces_tied_60,faces_tied_90").tied(
        cell).dataset == "faces_tied_90"
    tied = study.tied(cell)
    assert study.tied(tied) is None
    assert load_study("strengths", datasets="celeba").tied(cell) is None


def test_a_cell_is_measured_anew_when_the_seeds_of_the_study_change():
    one, two, untied = (load_study("tiny", **only) for only in (
        {}, {"seeds": "0,1"}, {"datasets": "celeba,fashion_mnist"}))
    key = [fingerprint("measures", "analysis.measure", study, "celeba", "patronus", 0)
           for study in (one, two, untied)]
    assert len(set(key)) == 3
    plain = [fingerprint("measures", "analysis.measure", study, "fashion_mnist", "ddpm", 0)
             for study in (one, untied)]
    assert plain[0] == plain[1]
    assert [cell.seed for cell in two.siblings(two.cell("celeba", "ddpm", 1))] == [0]


# --- cost --------------------------------------------------------------------------------------

def test_frozen_parameters_are_held_too_and_the_counterpart_is_named():
    found = cost.parameters(np.array([1e6, 4e6]), np.array([5e6, 0]))
    assert found.value == 6
    assert found.detail == {"trained": 1, "frozen": 5, "unconditional": 4, "ratio": 1.5}
    alone = cost.operations(np.array([2e9, np.nan]))
    assert (alone.value, alone.detail) == (2, {})


def test_no_row_of_cost_is_of_a_clock():
    needs = [need for spec in cost.SPECS for row in spec.rows for need in row.needs]
    assert needs and not any("seconds" in need or "memory" in need for need in needs)

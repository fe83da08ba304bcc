"""Faithfulness measures on codes that obey, and on the same ones spoiled."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from analysis import answers, causal
from analysis.measures import causal_success, conditioning, fidelity, locality, selectivity
from analysis.resampling import over_dimensions, summary
from patronus.errors import NotApplicable

RNG = np.random.default_rng
KINDS = np.array(["max", "thrice", "max_random", "thrice_random", "q95", "q50", "q05"])
QUANTILES = (1, 1, 1, 1, 0.95, 0.5, 0.05)
N, M, D = 40, 8, 6


def world(obeys: float = 1.0, leaks: float = 0.0, seed: int = 0) -> dict[str, np.ndarray]:
    """Arrays of interventions on N images of a code of M dimensions, D of them set.

    A dimension takes the share `obeys` of the change asked for, and every other one moves by
    `leaks` of that. Reading a code anew adds noise of 0.01.
    """
    rng = RNG(seed)
    test = rng.normal(size=(100, M)) * np.linspace(1, 3, M)
    rows, dims = rng.permutation(100)[:N], np.arange(M)[::-1][:D]
    levels = np.quantile(test, QUANTILES, axis=0)
    recon = np.stack([test[rows]] * 2)
    codes = np.tile(test[rows], (len(KINDS), D, 1, 1))
    for d, dim in enumerate(dims):
        change = obeys * (levels[:, dim, None] - test[rows, dim])  # (V, N)
        codes[:, d] += leaks * change[..., None]
        codes[:, d, :, dim] = test[rows, dim] + change
    codes += 0.01 * rng.normal(size=codes.shape)
    return {"dims": dims, "kinds": KINDS, "levels": levels, "sigma": test.std(0), "codes": codes,
            "codes_recon": recon, "rows": rows, "test": test}


def values(module, given: dict[str, np.ndarray]) -> dict[str, float]:
    """Every row of a measure file, by measure and variant."""
    arrays = {f"interventions.{key}": array for key, array in given.items()}
    arrays["codes.test"] = given.get("test")
    arrays |= {f"denoising.{key}": array for key, array in given.items()}
    return {f"{spec.name}.{row.variant}": row.compute(*(arrays[need] for need in row.needs)).value
            for spec in module.SPECS for row in spec.rows}


# --- a spoiled code ranks below a good one -----------------------------------------------------

def shuffled(given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The code of an edited image is that of another level, image and dimension."""
    flat = given["codes"].reshape(-1, M)
    return given | {"codes": RNG(1).permutation(flat).reshape(given["codes"].shape)}


def elsewhere(given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Each edit moves the dimension after the one that was set."""
    return given | {"codes": np.roll(given["codes"] - given["codes_recon"][0], 1, axis=-1)
                    + given["codes_recon"][0]}


@pytest.mark.parametrize("spoil", [shuffled, elsewhere, lambda given: world(obeys=0)],
                         ids=["shuffled", "elsewhere", "deaf"])
@pytest.mark.parametrize("module", [fidelity, selectivity])
def test_a_spoiled_code_ranks_far_below_a_good_one(module, spoil):
    good, bad = values(module, world()), values(module, spoil(world()))
    assert all(value > 0.85 for value in good.values())
    assert {key for key in good if bad[key] > 0.5 * good[key]} == set()


def placed(right: bool) -> dict[str, np.ndarray]:
    """Edits that change a spot in the box, or spots anywhere; the boxes are a tenth wide."""
    rng, shape = RNG(2), (len(KINDS), D, N)
    share = np.full(shape, 0.9) if right else rng.beta(1, 9, shape)
    return {"kinds": KINDS, "share": share, "area": np.full(shape, 0.1),
            "hit": (rng.random(shape) < share).astype(float),
            "square": np.full(shape, 0.05) if right else rng.uniform(0.3, 0.5, shape)}


def test_changes_anywhere_rank_below_changes_in_the_box():
    good, bad = values(locality, placed(True)), values(locality, placed(False))
    for variant in ("inverted", "random"):
        assert good[f"locality.{variant}"] == pytest.approx(9)
        assert bad[f"locality.{variant}"] == pytest.approx(1, abs=0.25)
        assert good[f"pointing.{variant}"] > 0.8 and bad[f"pointing.{variant}"] < 0.2
        assert good[f"change_area.{variant}"] < bad[f"change_area.{variant}"]


def answered(told: np.ndarray) -> dict[str, np.ndarray]:
    """Causal success of D dimensions that each make one of K = D parts seen in nine of ten images,
    where the training codes tell part k by dimension told[k]."""
    rng, v = RNG(3), len(KINDS)
    labels, recon = np.zeros((N, D)), np.full((v, N, D), 0.1)
    edited = np.tile(recon[:, None], (1, D, 1, 1))
    at = np.arange(D)
    edited[:, at, :, at] = rng.random((D, v, N)) < 0.9
    auroc = 0.5 + 0.4 * np.eye(D)[told]
    controls = np.stack([0.5 + 0.4 * np.eye(D)[rng.permutation(D)] for _ in range(40)])
    found = causal.causal_success(labels, recon, edited, auroc, controls)
    return {"kinds": KINDS, "dims": at + 10, "negated": np.zeros(D, bool), "labels": labels,
            "probabilities_recon": recon[:2], "probabilities": edited, "best": told + 10,
            "best_shuffled": found["best_shuffled_at"] + 10, "success": found["success"]}


def test_random_dimensions_succeed_as_rarely_as_the_shuffled_control():
    arrays = answered(np.arange(D))
    good = values(causal_success, arrays)
    bad = values(causal_success, answered(np.roll(np.arange(D), 1)))
    for variant in causal_success.VARIANTS:
        assert good[f"causal_success.{variant}"] > 0.8
        assert bad[f"causal_success.{variant}"] == 0
        own = arrays["success"][KINDS.tolist().index(variant)].mean()
        assert good[f"causal_success.{variant}"] == pytest.approx(own)
        control = good[f"causal_success_shuffled.{variant}"]
        assert control == bad[f"causal_success_shuffled.{variant}"]
        assert control == pytest.approx(0.9 / D, abs=0.08)


def test_a_denoiser_that_ignores_the_code_ranks_below_one_that_uses_it():
    rng = RNG(4)
    own, other = rng.uniform(0.1, 0.3, (2, N, 5))
    kinds = np.array(["code", "shuffled"])
    used = values(conditioning, {"kinds": kinds, "mse": np.stack([own, own + 0.1])})
    unused = values(conditioning, {"kinds": kinds, "mse": np.stack([own, other])})
    assert used["conditioning.test"] == pytest.approx(1 + 0.1 / own.mean())
    assert unused["conditioning.test"] == pytest.approx(1, abs=0.05)


# --- known answers -----------------------------------------------------------------------------

def test_rank_correlation_equals_scipy_image_by_image():
    rng = RNG(0)
    asked, found = np.round(rng.normal(size=(4, 3)), 1), np.round(rng.normal(size=(4, 3, 50)), 0)
    asked[1, 0] = asked[0, 0]  # a tie in what is asked
    ours = answers.rank_correlation(asked, found)
    for d in range(3):
        for i in range(50):
            if np.ptp(found[:, d, i]):
                expected = spearmanr(asked[:, d], found[:, d, i]).statistic
                assert ours[d, i] == pytest.approx(expected, abs=1e-12)
            else:
                assert ours[d, i] == 0


def test_rounding_is_neither_an_answer_nor_a_question():
    """Four equal levels of a sparse dimension, but for the last; the readings differ by rounding.
    """
    given = world()
    given["levels"][[0, 4, 5, 6], 7] = [5, 0, 0, 0]
    given["codes"][:, 0, :, 7] = given["levels"][:, 7, None] + 1e-6 * RNG(0).normal(size=(7, N))
    assert fidelity.fidelity(*(given[key] for key in ("dims", "kinds", "levels", "sigma", "codes"))
                             ).detail["scores"][0] == pytest.approx(1)


@pytest.mark.parametrize("obeys", [0.0, 0.4, 1.0, 1.3])
def test_the_realised_fraction_is_the_planted_one(obeys):
    found = values(fidelity, world(obeys))
    assert found["realised.inverted"] == pytest.approx(obeys, abs=0.01)


def test_an_image_that_has_the_largest_value_already_cannot_say_how_much_was_realised():
    asked, before = np.array([[2.0, 2.0, 2.0]]), np.array([[2.0, 1.9, 0.0]])
    found = fidelity.fractions(asked, before, np.full((1, 3), 1.0), np.array([[1.0]]))
    np.testing.assert_array_equal(found, [[np.nan, np.nan, 0.5]])


@pytest.mark.parametrize("leaks", [0.05, 0.5, 1.0])
def test_selectivity_is_one_over_all_that_moves(leaks):
    """Every other dimension moves by `leaks` of the change, counted in its own deviations."""
    given = world(leaks=leaks)
    spread = given["sigma"]
    others = [leaks * sum(spread[d] / spread[k] for k in range(M) if k != d) for d in given["dims"]]
    expected = np.mean([1 / (1 + other) for other in others])
    assert values(selectivity, given)["selectivity.inverted"] == pytest.approx(expected, abs=0.02)


def test_a_constant_dimension_is_neither_asked_nor_counted():
    given = world()
    given["levels"][:, 7], given["sigma"][7], given["test"][:, 7] = 0, 0, 0
    given["codes"][..., 7] += RNG(0).normal(size=given["codes"].shape[:-1])
    row = fidelity.SPECS[0].rows[0].compute(*(given[key] for key in (
        "dims", "kinds", "levels", "sigma", "codes")))
    assert (row.n, row.d, row.detail["left_out"], row.detail["scores"][0]) == (N, D - 1, 1, None)
    assert row.value > 0.99
    moved = answers.shares(given["codes"][0], given["codes_recon"][0], given["sigma"],
                               given["dims"])
    assert np.isnan(moved[0]).all() and (moved[1:].mean(axis=1) > 0.85).all()


def test_where_nothing_changed_there_is_no_place_and_no_share():
    still = world()
    still["codes"][:] = still["codes_recon"][0]
    with pytest.raises(NotApplicable, match="no edit changed the code"):
        values(selectivity, still)
    nowhere = placed(True)
    for key in ("share", "hit", "square"):
        nowhere[key][:] = np.nan
    with pytest.raises(NotApplicable, match="no edit changed any image"):
        values(locality, nowhere)
    nowhere["area"][:] = np.nan
    with pytest.raises(NotApplicable, match="no box"):
        values(locality, nowhere)


def test_images_and_dimensions_without_a_value_are_left_out():
    scores = np.array([[1.0, np.nan, 3.0, np.nan], [np.nan] * 4, [4.0, 4.0, 4.0, np.nan]])
    found = summary(scores, "nothing")
    assert (found.value, found.n, found.d) == (3, 3, 2)
    assert found.detail == {"scores": [2, None, 4], "left_out": 1}
    assert found.low < 3 < found.high
    alone = summary(scores[:2], "nothing")
    assert (alone.value, alone.n, alone.d) == (2, 2, 1)
    assert alone.low < 2 < alone.high and alone.low_new is None  # one dimension tells of no other
    one = summary(scores[:, :1], "nothing")
    assert (one.value, one.low, one.low_new, one.n, one.d) == (2.5, None, None, 1, 2)
    for compute, nothing in ((summary, scores[1:2]), (over_dimensions, scores[1])):
        with pytest.raises(NotApplicable, match="nothing"):
            compute(nothing, "nothing")


def test_these_dimensions_over_images_are_another_question_than_new_dimensions():
    """Dimensions that differ far more than images: 1.96 standard errors of the one or the other."""
    scores = RNG(0).normal(5, 2, (100, 1)) + RNG(1).normal(0, 0.5, (1, 400))
    found = summary(scores, "")
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.5 / 20, rel=0.1)
    assert found.high_new - found.low_new == pytest.approx(
        2 * 1.96 * (4 / 100 + 0.25 / 400) ** 0.5, rel=0.15)
    over = over_dimensions(scores.mean(axis=1), "")
    assert over.high - over.low == pytest.approx(2 * 1.96 * 2 / 10, rel=0.15) and over.n == 100

"""How measures vary with the choice and the number of images, and with steps: known answers."""

import numpy as np
import pandas as pd
import pytest

from analysis import causal, spread, steps
from analysis.causal import causal_success
from analysis.spec import KEY, Labels, Row, Spec, Value, specs
from patronus.errors import NotApplicable

MEAN = Row("plain", lambda values: Value(float(values.mean()), len(values)), ("images.test",),
           "test")
SPEC = Spec("mean", "Mean", "units", "higher", "definition", (MEAN,), chance="0")


def told(values: np.ndarray, spec: Spec = SPEC, row: Row = MEAN) -> tuple[pd.DataFrame, dict]:
    return spread.taken(spec, row, {"images.test": values}, "test")


def test_the_band_of_a_mean_narrows_as_the_square_root_of_n():
    rng, ratios = np.random.default_rng(0), []
    for _ in range(16):  # of 30 choices a quantile is not sure: see the mean over sets of images
        table, found = told(rng.normal(10, 1, 4096))
        expected = 2 * 1.645 / np.sqrt(found["n"])  # 5 to 95 % of the mean of normal values
        ratios.append(np.log((found["high"] - found["low"]) / expected))
        assert found["enough"] in (128, 256)  # 0.5, a twentieth of 10: reached with 43 images
    assert found["n"].tolist() == [128, 256, 512, 1024, 2048, 4096]
    assert len(table) == 5 * spread.REPEATS + 1
    # quantiles of 30 lie a little inside those of a normal
    np.testing.assert_allclose(np.mean(ratios, axis=0), -0.06, atol=0.14)


def test_without_the_correction_half_of_the_images_would_seem_surer_than_they_are():
    values = np.random.default_rng(1).normal(size=2000)
    table, found = told(values)
    raw = np.ptp(np.quantile(table.value[table.n == 1000], (0.05, 0.95)))
    assert found["high"][-2] - found["low"][-2] == pytest.approx(raw * np.sqrt(2))
    assert found["high"][-1] - found["low"][-1] == pytest.approx(raw)


def test_images_that_are_all_alike_have_no_spread():
    _, found = told(np.full(64, 3.0))
    assert np.array_equal(found["low"], found["high"])
    assert (found["value"], found["scale"], found["enough"]) == (3, 3, found["n"][0])


def test_a_value_at_the_level_of_chance_is_never_told_from_it():
    values = np.random.default_rng(0).normal(size=512)
    _, found = told(values - values.mean())
    assert found["scale"] < 1e-12 and found["enough"] is None


def test_what_is_needed_follows_the_square_root():
    assert spread.needed(32, 0.04, 0.02) == 130  # 128 to two digits
    assert spread.needed(32, 0.01, 0.02) is None and spread.needed(32, 0.01, 0) is None
    _, found = told(np.random.default_rng(0).normal(1, 2, 512))
    assert found["enough"] is None
    assert found["needed"] == pytest.approx((3.29 * 2 / 0.05) ** 2, rel=0.6)


def test_a_bias_that_few_images_bring_is_not_enough_however_narrow():
    row = Row("", lambda values: Value(1 + 8 / len(values), len(values)), ("images.test",), "test")
    _, found = told(np.zeros(512), row=row)
    assert np.array_equal(found["low"], found["high"])
    # 8 / n may be above 8 / 512 by a twentieth of 1 + 8 / 512
    assert found["enough"] == 128


def test_all_images_are_the_measure_itself_and_choices_are_named():
    values = np.random.default_rng(0).normal(size=40)
    table, found = told(values)
    assert table.value.iloc[-1] == found["value"] == values.mean()
    again, _ = told(values)
    pd.testing.assert_frame_equal(table, again)
    first, second = (spread.choice(40, 10, "celeba", repeat) for repeat in (0, 1))
    assert len(set(first)) == 10 and not np.array_equal(first, second)
    assert np.array_equal(first, spread.choice(40, 10, "celeba", 0))
    assert not np.array_equal(first, spread.choice(40, 10, "ffhq", 0))
    assert np.array_equal(spread.choice(40, 40, "celeba", 3), np.arange(40))


@pytest.mark.parametrize(("count", "grid"), [
    (1000, [31, 62, 125, 250, 500, 1000]), (32, [2, 4, 8, 16, 32]), (3, [3]), (1, [1])])
def test_numbers_of_images_halve(count, grid):
    assert spread.grid(count) == grid


def test_one_image_has_no_band_and_is_not_enough():
    _, found = told(np.array([2.0]))
    assert (found["n"].tolist(), found["value"], found["enough"]) == ([1], 2, None)


def test_choices_without_a_value_are_kept_as_holes():
    def known(values: np.ndarray) -> Value:
        if not values.any():
            raise NotApplicable("no image has one")
        return Value(float(values.max()), len(values))

    values = np.zeros(64)
    values[5] = 1
    table, found = told(values, row=Row("", known, ("images.test",), "test"))
    assert table.value.isna().any() and set(table.value.dropna()) == {1}
    assert found["value"] == 1
    with pytest.raises(NotApplicable, match="no image"):
        told(np.zeros(64), row=Row("", known, ("images.test",), "test"))


def test_fewer_images_than_a_measure_accepts_are_not_tried():
    spec = Spec("mean", "Mean", "units", "higher", "definition", (MEAN,), least_n=50)
    table, found = told(np.arange(128.0), spec)
    assert found["n"].tolist() == [64, 128] == sorted(table.n.unique())
    assert found["chance"] is None and found["scale"] == found["value"]


# which arrays hold images


def asked(n: int = 12) -> dict[str, np.ndarray]:
    """Arrays of interventions.npz for n images, 3 of 5 dimensions, 4 parts, 4 kinds."""
    rng = np.random.default_rng(7)
    kinds, dims = np.array(["max", "q95", "q50", "q05"]), np.array([4, 0, 2])
    found = {"kinds": kinds, "dims": dims, "labels": rng.integers(0, 2, (n, 4)).astype(float),
             "probabilities": rng.random((4, 3, n, 4)),
             "probabilities_recon": rng.random((2, n, 4)),
             "negated": np.array([False, True, False, False]), "rows": rng.permutation(n),
             "levels": rng.random((4, 5)), "sigma": rng.random(5) + 0.1,
             "codes": rng.random((4, 3, n, 5)), "codes_recon": rng.random((2, n, 5))}
    auroc, shuffled = rng.random((4, 3)), rng.random((6, 4, 3))
    auroc[3, 1] = np.nan
    parts = {key: causal.as_parts(found[key], found["negated"])
             for key in ("labels", "probabilities", "probabilities_recon")}
    told = causal_success(parts["labels"], parts["probabilities_recon"][[0] * 4],
                          parts["probabilities"], auroc, shuffled)
    best, control = told["best_at"], told["best_shuffled_at"]
    return found | {key: told[key] for key in ("success", "success_shuffled")} | {
        "best": np.where(best < 0, -1, dims[best]), "best_shuffled": dims[control]}


def test_success_of_all_images_is_what_the_interventions_say():
    arrays = {f"interventions.{key}": value for key, value in asked().items()}
    for name, key in (("causal_success", "success"), ("causal_success_shuffled",
                                                      "success_shuffled")):
        spec = specs()[name]
        found = spread.measured(spec, spec.rows[0], arrays, np.arange(12)).detail["scores"]
        np.testing.assert_allclose(np.array(found, float), arrays[f"interventions.{key}"][0])
        assert max(found[:3]) > 0 and (found[3] is None) == (key == "success")


@pytest.mark.parametrize(("name", "variant"), [
    ("causal_success", "max"), ("fidelity", "inverted"), ("realised", "inverted"),
    ("selectivity", "inverted"), ("tad_held_out", "test"), ("latent_score", "test")])
def test_all_images_give_the_row_of_the_table(name, variant):
    rng = np.random.default_rng(3)
    arrays = {f"interventions.{key}": value for key, value in asked().items()}
    arrays["codes.test"] = rng.normal(size=(200, 5))
    arrays["labels.test"] = Labels((arrays["codes.test"][:, :2] > 0).astype(float), ("a", "b"),
                                   (False, False))
    spec = specs()[name]
    row = next(one for one in spec.rows if one.variant == variant)
    count = 12 if any(need.startswith("interventions") for need in row.needs) else 200
    expected = row.compute(*(arrays[need] for need in row.needs))
    assert spread.measured(spec, row, arrays, np.arange(count)).value == expected.value


@pytest.mark.parametrize(("name", "variant", "axes"), [
    ("realised", "inverted", {"interventions.codes": 2, "interventions.rows": 0}),
    ("dci_informativeness", "test", {"codes.test": 0, "labels.test": 0}),
    ("fd_cls", "train", {"features.classifier.unconditional": 0}),
    ("psnr", "random", {"samples.conditional": 0, "images.sampled": 0}),
    ("truth_iou", "any", {"interventions.truth_iou_any": 1}),
    ("conditioning", "test", {"denoising.mse": 1}), ("tad", "train", {}), ("consistency", "", {})])
def test_images_are_chosen_where_there_are_images(name, variant, axes):
    row = next(one for one in specs()[name].rows if one.variant == variant)
    assert spread.axes(row) == axes


@pytest.mark.parametrize("needs", [("codes.test", "codes.other_seeds"), ("costs.parameters",),
                                   ("explanations.when.tau",), ("shortcut.score",)])
def test_rows_of_other_stages_and_trainings_are_left_alone(needs):
    assert spread.axes(Row("test", len, needs, "test")) == {}


def test_the_level_of_chance_is_read_where_the_measure_says_it():
    arrays = {f"interventions.{key}": value for key, value in asked().items()}
    arrays |= {"interventions.truth_iou": np.full((2, 3), 0.5),
               "interventions.truth_iou_any": np.full((2, 3), 0.25)}

    def level(name: str, detail: dict | None = None) -> float | None:
        spec = specs()[name]
        return spread.chance(spec, spec.rows[0], Value(1, 1, detail=detail or {}), arrays)

    shuffled = specs()["causal_success_shuffled"].rows[0]
    expected = shuffled.compute(*(arrays[need] for need in shuffled.needs)).value
    assert level("causal_success") == expected
    assert level("truth_iou") == 0.25
    assert level("pointing", {"chance": 0.2}) == 0.2
    assert (level("conditioning"), level("change_area"), level("fidelity")) == (1, 0.5, 0)
    assert level("fd_cls") is None


# steps


def test_steps_are_enough_from_where_on_all_lie_in_half_of_the_interval():
    number = [3, 5, 10, 20, 50]
    shift = np.array([0.5, 0.01, 0.2, -0.05, 0])
    assert steps.enough(number, shift, 0.1) == 20  # 5 is near by luck only
    assert steps.enough(number, shift, 1) == 3
    assert steps.enough(number, shift, 0.001) == 50
    assert steps.enough(number, shift, None) is None


def test_steps_that_change_nothing_are_enough_and_what_was_not_asked_is_named():
    arrays = {f"interventions.{key}": value for key, value in asked().items()}
    arrays["codes.test"] = np.random.default_rng(0).normal(size=(12, 5))
    needs = {need for _, row in steps.rows() for need in row.needs}
    arrays |= {need: np.full((2, 6), np.nan) for need in needs if "truth" in need}
    grid = (4, 3, 12)
    arrays |= {f"interventions.{key}": np.full(grid, 0.5)
               for key in ("share", "area", "hit", "square")}
    arrays |= {"interventions.noises": np.array([0.05, 0.1, 0.2]),
               "interventions.moved": np.random.default_rng(0).random((3, 12))}
    table, reasons = steps.tabled(dict.fromkeys((3, 50), arrays))
    assert set(table.columns) == {*KEY, "steps", "value", "low", "high"}
    found = {(one["measure"], one["variant"]): one for one in steps.summary(table)}
    assert found["selectivity", "inverted"]["enough"] == 3
    assert all(one["shift"] == [0, 0] for one in found.values())
    assert "no intervention of kind 'thrice'" in reasons["causal_success.thrice"]
    assert "no part" in reasons["truth_iou.best"]
    assert not {"consistency", "tad"} & {measure for measure, _ in found}

"""The benchmarks' own arithmetic: fits, counts, tables. Nothing here is timed."""


import numpy as np
import pytest
import torch

from analysis import intervals
from benchmarks import devices, growth, prepare, sample, startup, study, timing, train
from patronus.config import load_study
from patronus.fabric import Fabric

# timing


def test_ratios_are_taken_round_by_round_and_above_one_means_faster():
    found = timing.ratios({"slow": [4.0, 6.0, 9.0], "fast": [1.0, 3.0, 3.0]}, "slow")
    assert found == {"fast": {"min": 2.0, "median": 3.0, "max": 4.0}}


def test_every_round_runs_every_way_and_the_first_only_warms_up():
    calls, clock = [], iter(range(100))
    ways = {name: lambda name=name: calls.append(name) for name in "ab"}
    found = timing.timed(ways, 2, lambda: next(clock))
    assert calls == ["a", "b"] * 3
    assert found == {"a": [1, 1], "b": [1, 1]}


# growth


def test_a_power_law_is_found_again_and_has_no_width():
    x = np.array([4, 8, 32, 100])
    found = growth.power(x, 3 * x**1.5)
    assert found["slope"] == pytest.approx(1.5) and found["factor"] == pytest.approx(3)
    assert found["high"] - found["low"] == pytest.approx(0, abs=1e-6)


def test_the_interval_of_a_slope_holds_the_truth_about_as_often_as_it_says():
    rng, x = np.random.default_rng(0), np.array([30, 60, 120, 250, 500, 1000])
    fits = [growth.power(x, x * np.exp(rng.normal(0, 0.3, 6))) for _ in range(1000)]
    assert np.mean([one["low"] < 1 < one["high"] for one in fits]) == pytest.approx(0.95, abs=0.02)


def test_the_slope_of_what_costs_the_same_is_zero():
    assert growth.power([1, 2, 4], [5.0, 5.0, 5.0])["slope"] == pytest.approx(0)


def test_peak_memory_counts_what_is_alive_at_once_and_nothing_that_was_there_before():
    before = torch.ones(2**18)  # 1 MiB

    def one_after_the_other() -> None:
        for _ in range(5):
            _ = before + 1

    def kept() -> None:
        _ = [before + 1 for _ in range(5)]

    assert growth.mebibytes(kept) == 5
    assert growth.mebibytes(one_after_the_other) in (1, 2)  # the new one comes before the old goes
    assert growth.mebibytes(lambda: before.view(2, -1).mul_(2)) == 0


def test_peak_memory_counts_what_waits_for_the_backward_pass():
    x = torch.ones(2**18, requires_grad=True)

    def cost() -> torch.Tensor:
        return x.exp().exp().exp().sum()

    with torch.no_grad():
        assert growth.mebibytes(cost) < growth.mebibytes(lambda: None) + 3
    assert growth.mebibytes(lambda: cost().backward()) >= 3  # each exp keeps its answer


@pytest.mark.parametrize("axis", growth.AXES)
def test_every_point_of_an_axis_can_be_run(axis):
    for name, action in growth.actions(**growth.HELD | {"resolution": 32, axis:
                                                        growth.AXES[axis][0]}).items():
        assert growth.mebibytes(action) > 0, name


def test_the_picture_shows_every_series(tmp_path):
    values = {"seconds": {"min": 1, "median": 2, "max": 3}, "mebibytes": 5.0}
    law = growth.power([1, 2, 4], [1, 2, 4])
    one = {"at": [1, 2, 4]} | {kind: {name: {"values": [value] * 3, "power": law} for name in
                                      ("layer, forward", "model, step")}
                               for kind, value in values.items()}
    fig = growth.draw(dict.fromkeys(growth.AXES, one), "said")
    assert [len(ax.lines) for ax in fig.axes] == [2] * 6
    assert "1.00 [1.00, 1.00]" in fig.axes[0].get_legend().get_texts()[0].get_text()


# start-up


@pytest.mark.parametrize(("stages", "cells", "others"), [(3, 2, 5), (1, 4, 0)])
def test_the_trivial_study_has_as_many_jobs_as_asked(tmp_path, stages, cells, others):
    (tmp_path / "Snakefile").write_text(startup.trivial(stages, cells, others))
    said = startup.python("-m", "snakemake", "-n", "--cores", "1", folder=tmp_path)
    assert startup.planned(said) == stages * cells + others + 1


def test_start_up_is_a_share_of_what_the_logs_say(tmp_path):
    for name, rows in {"codes/a/seed0": "2.0\n4.0", "codes/b/seed0": "6.0", "other/c": "1",
                       "data/short": "NA"}.items():
        path = tmp_path / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"cpu_time\n{rows}\n")
    ran = startup.jobs(tmp_path)
    assert ran == {"codes": [4.0, 6.0], "other": [1.0]}
    assert startup.shares(ran, {"codes": 2.5}) == {
        "codes": {"jobs": 2, "seconds": 10.0, "start_up": 0.5}}


# preparation


def test_the_ways_of_preparation_give_the_same_images(tmp_path):
    source = prepare.written(tmp_path, 3, "png")
    for way in prepare.ways(source, tmp_path).values():
        way()
    stored = np.load(tmp_path / "train.npy")
    expected = np.stack([prepare.fit(source.load(i), prepare.SHAPE) for i in range(3)])
    assert np.array_equal(stored, expected) and stored.std() > 10


# the full study


STUDY = load_study("paper", datasets=["fashion_mnist", "celeba"],
                   methods=["patronus", "ddpm", "ae"], seeds=[0, 1])


def test_hours_of_a_known_card():
    assert study.hours(3600 * 1e12, 1e12, 1) == 1
    assert study.hours(3600 * 1e12, 1e12, 0.25, gpus=8) == 0.5


def test_work_is_steps_times_images_times_pixels():
    cell = STUDY.cell("celeba", "patronus", 0)
    found = study.work(cell, STUDY, study.Cost(training=3.0, step=1.0, steps=None, code=True))
    assert found["training"] == 3.0 * 64 * 64 * cell.train.epochs * 162_770
    sampled = 3 * cell.sample.count * cell.sample.steps
    assert found["denoising"] > 64 * 64 * sampled


def test_a_sampler_with_steps_of_its_own_costs_those_and_no_code_is_not_explained():
    cell = STUDY.cell("celeba", "patronus", 0)
    costs = [study.Cost(0.0, 1.0, steps, code) for steps, code in
             ((None, False), (1, False), (None, True))]
    free, one, coded = (study.work(cell, STUDY, cost)["denoising"] for cost in costs)
    assert one < free < coded


def test_the_table_has_every_method_and_sums_over_sets_and_seeds():
    prices = dict.fromkeys(STUDY.methods, study.Cost(1e6, 4e5, None, True))
    made = study.rows(STUDY, prices)
    total = study.sums(made)
    assert len(made) == 6 and [one["seeds"] for one in made] == [2] * 6
    assert list(total) == ["fashion_mnist", "celeba", "all"]
    for part in ("training", "denoising"):
        assert total["all"][part] == pytest.approx(total["celeba"][part]
                                                   + total["fashion_mnist"][part])
        assert total["all"][part] == pytest.approx(2e-18 * sum(one[f"{part}_flops"]
                                                               for one in made))
    page = study.tables(made, 2)
    assert "ESTIMATE" in page and page.count("| celeba |") == 4 and "{" not in page


def test_a_method_is_priced_by_the_pixel_and_its_own_steps():
    small = study.cost(load_study("tiny").cell("celeba", "ddpm", 0))
    assert small.steps is None and not small.code
    assert small.training == pytest.approx(3 * small.step, rel=0.05)  # backward costs two


@pytest.mark.parametrize(("precision", "first", "later"), [
    ("32-true", 1e-5, 1e-3), ("bf16-mixed", 1e-2, 3e-2)])
def test_both_loops_of_training_start_with_the_same_loss_and_go_on_alike(
        tmp_path, monkeypatch, precision, first, later):
    monkeypatch.setattr(train, "fabric_for", lambda kind, gpus: Fabric(
        accelerator="cpu", devices=1, precision=kind))  # also on a CPU without bfloat16
    found = train.curves(8, 4, 3, tmp_path, precision)
    assert found["ours"][0] == pytest.approx(found["published"][0], rel=first)
    assert found["largest_relative_difference"] < later
    if precision == "bf16-mixed":  # really was half
        assert found["largest_relative_difference"] > 1e-5


def test_the_way_chosen_is_the_fastest_that_is_good_enough_interval_and_all():
    def way(seconds: float, high: float) -> dict:
        return {"seconds_per_image": seconds, "fd_cls_over_reference": {"high": high}}

    found = {"fast": way(1, 1.05), "good": way(2, 1.01), "slow": way(3, 0.99)}
    assert sample.chosen(found) == "good"
    images = np.random.default_rng(0).normal(1, 0.3, 60)
    without = [np.delete(images, i).mean() for i in range(60)]  # of a mean it is the mean's own
    found = sample.interval(np.array([images.mean(), *without]))
    assert list(found) == ["value", "low", "high"]
    np.testing.assert_allclose(list(found.values()), intervals.mean(images))


# devices


def test_devices_are_doubled_up_to_the_most():
    assert [devices.counts(most) for most in (1, 2, 6, 8)] == [
        [1], [1, 2], [1, 2, 4, 6], [1, 2, 4, 8]]


def test_scaling_is_of_medians_and_per_device():
    found = devices.scaling({1: [4.0, 8.0, 9.0], 4: [2.0, 1.0, 4.0]})
    assert found["1"]["times_faster"] == found["1"]["efficiency"] == 1
    assert (found["4"]["times_faster"], found["4"]["efficiency"]) == (4, 1)

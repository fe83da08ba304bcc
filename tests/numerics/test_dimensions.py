"""Measures of single dimensions: what a mean hides, coarse codes, copies, and who else follows."""

import numpy as np
import pytest

from analysis.measures import (
    fidelity,
    fidelity_margin,
    rank,
    redundancy,
    resolution,
    selectivity,
    worst,
)
from analysis.resampling import summary
from patronus.errors import NotApplicable

RNG = np.random.default_rng
GRID = np.array(["max", "q95", "q50", "q05", "max_random"])
N, M = 24, 32


def world(obeys: float | np.ndarray = 1.0, leaks: float = 0.0) -> dict[str, np.ndarray]:
    """Interventions on N images of a code of M dimensions, all of them set.

    Dimension j takes the share obeys[j] of the change asked for, all others move by `leaks` of it.
    """
    rng, obeys = RNG(0), np.broadcast_to(obeys, M)
    test = rng.normal(size=(200, M))
    levels = np.quantile(test, (1, 0.95, 0.5, 0.05, 1), axis=0)
    change = obeys[:, None] * (levels[..., None] - test[:N].T)  # (V, M, N)
    codes = test[:N] + leaks * change[..., None] * np.ones(M)
    codes[:, np.arange(M), :, np.arange(M)] = np.swapaxes(test[:N].T + change, 0, 1)
    codes += 0.01 * rng.normal(size=codes.shape)
    return {"dims": np.arange(M), "kinds": GRID, "levels": levels, "sigma": test.std(0),
            "codes": codes, "codes_recon": np.stack([test[:N]] * 2), "rows": np.arange(N),
            "test": test}


def value(module, name: str, given: dict[str, np.ndarray]):
    spec = next(spec for spec in module.SPECS if spec.name == name)
    arrays = {f"interventions.{key}": array for key, array in given.items()}
    arrays["codes.test"] = given["test"]
    return spec.rows[0].compute(*(arrays[need] for need in spec.rows[0].needs))


def broken(*dims: int) -> np.ndarray:
    obeys = np.ones(M)
    obeys[list(dims)] = 0
    return obeys


@pytest.mark.parametrize(("module", "name"), [
    (fidelity, "fidelity"), (fidelity, "realised"), (selectivity, "selectivity"), (rank, "rank")])
def test_two_broken_dimensions_of_32_show_in_the_worst_tenth_and_hardly_in_the_mean(module, name):
    whole, spoilt = (value(module, name, world(obeys)) for obeys in (1, broken(5, 20)))
    lost = whole.value - spoilt.value
    low, lowest = (value(worst, f"{name}_worst", world(obeys)) for obeys in (1, broken(5, 20)))
    assert 0 < lost < 0.07 * whole.value
    assert low.value - lowest.value > 7 * lost
    assert (lowest.d, lowest.n, set(lowest.detail["at"][:2])) == (4, N, {5, 20})
    assert lowest.low <= lowest.value <= lowest.high and lowest.low_new is None


def test_the_worst_tenth_is_rounded_up_and_leaves_out_what_has_no_value():
    scores = np.arange(12.0)[:, None] * np.ones(5)
    scores[[0, 3]] = np.nan
    found = worst.worst(lambda: summary(scores, "none"))()
    assert (found.value, found.d, found.detail["at"], found.detail["of"]) == (1, 1, [1], 10)
    found = worst.worst(lambda: summary(np.delete(scores, 0, 0), "none"))()
    assert (found.value, found.d) == (1, 1)
    found = worst.worst(lambda: summary(scores[1:] + np.arange(11)[:, None] * 0, "none"))()
    assert found.detail["at"] == [0]
    found = worst.worst(lambda: summary(np.arange(11.0)[:, None] * np.ones(5), "none"))()
    assert (found.value, found.d) == (0.5, 2)


def test_rank_tells_a_code_that_leaks_a_little_from_one_that_nothing_obeys():
    assert value(rank, "rank", world()).value == 1
    assert value(rank, "rank", world(leaks=0.5)).value > 0.99
    assert value(selectivity, "selectivity", world(leaks=0.5)).value < 0.1
    assert value(rank, "rank", world(obeys=0)).value == pytest.approx(0.5, abs=0.05)


def test_fidelity_counts_what_follows_anyway_and_the_margin_does_not():
    """Where all follow half as far, fidelity is as good as where one alone does."""
    alone, together = (value(fidelity, "fidelity", world(leaks=leak)).value for leak in (0, 0.5))
    assert alone > 0.99 and together > 0.99
    assert value(fidelity_margin, "fidelity_margin", world()).value > 0.5
    found = value(fidelity_margin, "fidelity_margin", world(leaks=0.5))
    assert found.value < 0.05
    assert found.detail["own"] - found.detail["others"] == pytest.approx(found.value)


def bits(given: dict[str, np.ndarray], count: int = 2) -> dict[str, np.ndarray]:
    """The same code, read and set in `count` steps."""
    edges = np.quantile(given["test"], np.arange(1, count) / count, axis=0)
    def coarser(codes):
        return (codes[..., None, :] > edges).sum(-2).astype(float)

    found = {key: coarser(given[key]) for key in ("test", "codes", "codes_recon", "levels")}
    return given | found | {"sigma": found["test"].std(0)}


@pytest.mark.parametrize("count", [2, 4, 8])
def test_a_coarse_code_is_refused_where_it_would_be_better_than_the_fine_one(count):
    given = bits(world(obeys=0.7), count)
    for module, name in ((fidelity, "realised"), (selectivity, "selectivity"),
                         (fidelity_margin, "fidelity_margin")):
        with pytest.raises(NotApplicable, match="coarse.*see resolution"):
            value(module, name, given)
    own, fine = (value(resolution, "resolution", one) for one in (given, world()))
    assert own.value == pytest.approx(1 - 1 / count, abs=0.01) and fine.value > 0.999
    assert own.detail["values"] == [count] * M and own.detail["coarse"] == M
    assert min(fine.detail["values"]) > 190 and fine.detail["coarse"] == 0


def test_a_sparse_code_is_not_coarse_however_seldom_it_fires():
    codes = np.zeros((500, 3))
    for j, count in enumerate((4, 8, 100)):
        codes[:count, j] = RNG(j).uniform(1, 2, count)
    assert not resolution.coarse(codes).any()
    codes[:100, 2] = 1 + np.arange(100) % 3
    assert resolution.coarse(codes).tolist() == [False, False, True]


def test_copies_are_found_whatever_they_are_scaled_by_and_nothing_else_is():
    codes = RNG(0).normal(size=(2000, 16))
    plain = value(redundancy, "redundancy", {"test": codes})
    copied = value(redundancy, "redundancy", {"test": np.hstack([codes[:, :8], -3 * codes[:, :8]])})
    assert plain.value == pytest.approx(plain.detail["chance"], abs=0.005)
    assert copied.value == pytest.approx(1)
    assert plain.detail["participation"] == pytest.approx(16, abs=0.5)
    assert copied.detail["participation"] == pytest.approx(8, abs=0.3)

"""The choice of the dimension of highest AUROC: how sure it is, and what it tells."""

import numpy as np
import pytest
import torch

from analysis import choice, untrained
from analysis.measures.tad import auroc_matrix
from patronus.config import Cell
from patronus.errors import NotApplicable
from patronus.files import save_json
from patronus.prepared import Prepared

RNG = np.random.default_rng


def tied(n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Codes (n, 3) and a label (n,): two dimensions tell it about equally, the third does not."""
    rng = RNG(seed)
    label = (rng.random(n) < 0.3).astype(float)
    return rng.normal(size=(n, 3)) + np.outer(label, [1, 1.03, 0]), label


def anew(codes: np.ndarray, label: np.ndarray, draws: int) -> np.ndarray:
    """The same shares, each resample's AUROC computed anew."""
    rng, count = RNG(9), np.zeros(codes.shape[1])
    for _ in range(draws):
        rows = rng.integers(0, len(codes), len(codes))
        count[auroc_matrix(codes[rows], label[rows, None])[0].argmax()] += 1
    return count / draws


@pytest.mark.parametrize("seed", range(4))
def test_the_choice_is_as_unsure_as_resampled_images_say(seed):
    codes, label = tied(seed=seed)
    found = choice.choose(codes, label, RNG(1), 2000)
    np.testing.assert_allclose(found.auroc, auroc_matrix(codes, label[:, None])[0])
    np.testing.assert_allclose(found.share, anew(codes, label, 600), atol=0.08)
    assert found.share.sum() == pytest.approx(1)


def test_a_clear_winner_is_always_chosen_whatever_its_spread():
    codes, label = tied()
    codes = np.hstack([100 * codes, 0.001 * (label + 0.1 * RNG(2).normal(size=400))[:, None]])
    found = choice.choose(codes, label, RNG(1))
    assert found.share.tolist() == [0, 0, 0, 1]
    best, second = found.ranked(2)
    assert (best["dim"], best["share"]) == (3, 1) and second["auroc"] < best["auroc"]


def test_images_of_unknown_label_do_not_choose_and_a_label_of_one_value_cannot():
    codes, label = tied()
    unknown = np.where(RNG(3).random(400) < 0.5, np.nan, label)
    known = ~np.isnan(unknown)
    np.testing.assert_array_equal(choice.choose(codes, unknown, RNG(1)).share,
                                  choice.choose(codes[known], label[known], RNG(1)).share)
    one = choice.choose(codes, np.zeros(400), RNG(1))
    assert np.isnan(one.share).all() and one.ranked(3) == []
    assert np.isnan(choice.told_within(one, codes, label, label, RNG(1))).all()


@pytest.mark.parametrize(("follows", "a", "b"), [("a", 1, 0.5), ("b", 0.5, 1), ("none", 0.5, 0.5)])
def test_what_a_dimension_tells_is_asked_where_the_other_label_is_fixed(follows, a, b):
    rng = RNG(0)
    one = (rng.random(4000) < 0.5).astype(float)
    other = np.where(rng.random(4000) < 0.9, one, 1 - one)  # tied in nine of ten
    code = (rng.normal(size=4000) + 20 * {"a": one, "b": other, "none": 0}[follows])[:, None]
    found = [choice.within(code, one, other)[0], choice.within(code, other, one)[0]]
    np.testing.assert_allclose(found, [a, b], atol=0.04)
    if follows == "b":  # as a number without strata, the tie makes a look well known
        assert choice.within(code, one, np.zeros(4000)) > 0.85


def test_what_a_dimension_tells_pools_pairs_and_leaves_out_the_unknown():
    codes = np.array([[1.0, 2, 3, 9, 1, 5], [3.0, 2, 3, 9, 1, 5]]).T
    label, fixed = np.array([0, 1, 1, 1, 1, np.nan]), np.array([0, 0, 0, np.nan, 1, 0])
    # (2, 1) and (3, 1); the rest has no partner
    assert choice.within(codes, label, fixed).tolist() == [1, 0.25]
    assert np.isnan(choice.within(codes, label, label)).all()
    assert [some.sum() for some in choice.strata(label, fixed)] == [3]


def test_what_a_near_tie_tells_is_the_mean_over_the_choices_and_its_interval_holds_both():
    """In training a and b coincide, so two dimensions tell a alike: one is a's, one is b's."""
    rng = RNG(0)
    a = (rng.random(600) < 0.5).astype(float)
    train = rng.normal(size=(600, 2)) + a[:, None]
    best = choice.choose(train, a, RNG(1))
    assert 0.1 < best.share[0] < 0.9
    a, b = (rng.random((2, 2000)) < 0.5).astype(float)
    test = rng.normal(size=(2000, 2)) + 3 * np.stack([a, b], 1)
    value, low, high = choice.told_within(best, test, a, b, RNG(2))
    np.testing.assert_allclose(value, [0.5 + 0.48 * best.share[0], 0.5 + 0.48 * best.share[1]],
                               atol=0.02)
    assert (low < 0.55).all() and (high > 0.95).all()
    sure = best._replace(share=np.array([1.0, 0]))
    value, low, high = choice.told_within(sure, test, a, b, RNG(2))
    np.testing.assert_allclose(value, [0.98, 0.5], atol=0.03)
    assert (high - low < 0.06).all() and (low < value).all() and (value < high).all()


# --- a population of untrained encoders --------------------------------------------------------

def whole(folder, n: int = 40) -> Prepared:
    for split in ("train", "test"):
        np.save(folder / f"{split}.npy", RNG(0).integers(0, 256, (n, 1, 16, 16), dtype=np.uint8))
    save_json(folder / "meta.json", {"dataset": "toys", "counts": {"train": n, "test": n}})
    return Prepared.open(folder)


def of(**model) -> Cell:
    return Cell.model_construct(shape=(1, 16, 16), code_dim=5, model=model)


def test_untrained_encoders_differ_and_are_the_same_again(tmp_path):
    cell = of(encoder_channels=(4, 8), encoder_kernels=(3, 3), encoder_strides=(2, 1),
              encoder_paddings=(1, 0))
    data, rows = whole(tmp_path), {"train": np.arange(0, 40, 2), "test": np.array([3, 1])}
    first, again = (list(untrained.population(cell, data, rows, torch.device("cpu")))
                    for _ in range(2))
    assert len(first) == untrained.COUNT >= 10
    assert {split: codes.shape for split, codes in first[0].items()} == {
        "train": (20, 5), "test": (2, 5)}
    assert all(np.array_equal(one["test"], two["test"])
               for one, two in zip(first, again, strict=True))
    assert len({one["test"].tobytes() for one in first}) == untrained.COUNT


def test_a_method_without_prototypes_has_no_untrained_population(tmp_path):
    with pytest.raises(NotApplicable, match="no prototypes"):
        next(untrained.population(of(base=8), whole(tmp_path), {}, torch.device("cpu")))

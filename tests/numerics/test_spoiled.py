"""Spoiled models whose fault can be counted, and which measures see it (measures.md B)."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from analysis import spoiled, validation
from analysis.asking import do
from patronus.config import Intervene
from patronus.errors import NotApplicable
from patronus.method import Located, Method

RNG = np.random.default_rng
GRID, CELL = 4, 4  # a part is one square of a gray image of GRID x GRID squares
PARTS, SIDE = GRID**2, GRID * CELL
NAMES = [f"p{k}" for k in range(PARTS)]
PAIR = (3, 7)


def squares() -> torch.Tensor:
    """Masks (PARTS, SIDE, SIDE) of the parts."""
    found = torch.zeros(PARTS, SIDE, SIDE)
    for k in range(PARTS):
        y, x = CELL * (k // GRID), CELL * (k % GRID)
        found[k, y:y + CELL, x:x + CELL] = 1
    return found


class Painter(Method):
    """Code dimension j is the brightness of part j, and decoding paints it."""

    def __init__(self):
        super().__init__((1, SIDE, SIDE), PARTS)
        self.register_buffer("masks", squares())

    def encode(self, x0):
        return (x0 * self.masks).sum((2, 3)) / CELL**2

    def invert(self, x0, code, steps):
        return x0

    def decode(self, x_T, code, steps, on_step=None):
        rise = code - self.encode(x_T)
        return x_T + torch.einsum("bk,khw->bhw", rise, self.masks)[:, None]

    def locate(self, x0):
        y, x = CELL * (torch.arange(PARTS) // GRID), CELL * (torch.arange(PARTS) % GRID)
        boxes = torch.stack([y, x, y + CELL, x + CELL], 1).expand(len(x0), -1, -1)
        return Located(self.encode(x0), boxes, self.encode(x0)[..., None, None])


class Reader(nn.Module):
    """A classifier that sees a part in its brightness."""

    shape, outputs, columns = (1, SIDE, SIDE), NAMES, dict.fromkeys(NAMES, 1)

    def __init__(self):
        super().__init__()
        self.masks = nn.Parameter(squares())
        self.blocks = nn.Sequential(nn.Identity(), nn.Identity())

    def probabilities(self, x):
        return ((x * self.masks).sum((2, 3)) / CELL**2 + 1) / 2


class Toys:
    """Generated images that show each part or not, and know where it is."""

    meta = {"labels": dict.fromkeys(NAMES, {})}
    shape, folder = (1, SIDE, SIDE), "toys"

    def __init__(self, train: int = 300, test: int = 60):
        self.held = {split: made(n, seed) for seed, (split, n) in enumerate(
            {"train": train, "test": test}.items())}

    def images(self, split):
        return self.held[split][0]

    def labels(self, split):
        return pd.DataFrame(self.held[split][1], columns=NAMES)

    def parts(self):
        bits = np.arange(PARTS, dtype=np.uint32)
        shown = self.held["test"][1].astype(np.uint32) << bits
        return np.einsum("nk,khw->nhw", shown, squares().numpy().astype(np.uint32)), NAMES

    def negated_parts(self):
        return []


def made(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (n, 1, SIDE, SIDE) of random parts, and their labels (n, PARTS)."""
    labels = (RNG(seed).random((n, PARTS)) < 0.4).astype(float)
    levels = 50 + 120 * labels + RNG(seed + 9).integers(-20, 20, labels.shape)
    return np.einsum("nk,khw->nhw", levels, squares().numpy()).astype(np.uint8)[:, None], labels


DATA, MODEL = Toys(), Painter()
X0 = torch.from_numpy(DATA.images("test")) / 127.5 - 1
CODES = {split: MODEL.encode(torch.from_numpy(DATA.images(split)) / 127.5 - 1).numpy()
         for split in ("train", "test")}
MEAN, STD = (torch.from_numpy(f(CODES["train"], 0)) for f in (np.mean, np.std))


def version(spoil: type[spoiled.Spoiled]) -> spoiled.Spoiled:
    return spoil(MODEL, spoiled.Seen(CODES["train"], DATA.images("train"), PAIR))


def moved(model: Method, dim: int, value: float = 2.0) -> torch.Tensor:
    """How many standard deviations each part moves when `dim` of the code is raised by `value`."""
    code = model.encode(X0)
    higher = do(code, torch.full((len(X0),), dim), code[:, dim] + value * STD[dim])
    x_T = model.invert(X0, code, 3)
    change = [MODEL.encode(model.decode(x_T, c, 3)) for c in (higher, code)]
    return ((change[0] - change[1]) / STD).mean(0)


@pytest.mark.parametrize("spoil", spoiled.SPOILS)
def test_a_spoiled_model_says_what_is_wrong_and_leaves_the_model_and_its_boxes_alone(spoil):
    before = MODEL.encode(X0).clone()
    one = version(spoil)
    one.decode(X0, one.encode(X0), 3)
    assert one.wrong and "\n" not in one.wrong
    assert set(one.notice) and set(one.notice) <= validation.described().keys()
    torch.testing.assert_close(MODEL.encode(X0), before, rtol=0, atol=0)
    torch.testing.assert_close(one.locate(X0).boxes, MODEL.locate(X0).boxes)
    torch.testing.assert_close(one.locate(X0).activation, one.encode(X0))


@pytest.mark.parametrize("spoil", spoiled.SPOILS)
def test_stored_codes_become_those_that_are_read(spoil):
    one = version(spoil)
    found = one.codes(CODES["test"], DATA.images("test"))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, one.encode(X0).numpy(), atol=1e-5)


@pytest.mark.parametrize("spoil", spoiled.SPOILS)
def test_what_is_read_has_the_spread_that_the_decoder_knows(spoil):
    found = version(spoil).codes(CODES["train"], DATA.images("train"))
    np.testing.assert_allclose(found.mean(0), MEAN, atol=1e-5)
    np.testing.assert_allclose(found.std(0), STD, rtol=1e-4)


def test_a_permuted_decoder_moves_one_other_part_as_far():
    one, other = version(spoiled.Permuted), []
    for dim in range(PARTS):
        change = moved(one, dim)
        other.append(int(change.argmax()))
        expected = 2 * (torch.arange(PARTS) == other[-1])
        torch.testing.assert_close(change, expected.float(), atol=1e-5, rtol=0)
        assert other[-1] != dim
    assert sorted(other) == list(range(PARTS))


def test_a_rotated_code_is_consistent_and_every_entry_means_everything():
    one = version(spoiled.Rotated)
    code = one.encode(X0)
    torch.testing.assert_close(one.decode(X0, code, 3), X0, atol=1e-4, rtol=0)
    for dim in (0, 5):
        higher = do(code, torch.full((len(X0),), dim), code[:, dim] + STD[dim])
        torch.testing.assert_close(one.encode(one.decode(X0, higher, 3)), higher, atol=1e-4,
                                   rtol=0)
        change = moved(one, dim, 1.0).square()
        assert change.max() < 0.8 * change.sum() and (change > 1e-4).sum() > PARTS // 2
    found = np.corrcoef(one.codes(CODES["train"], None).T)  # parts are independent: so is this
    assert abs(found - np.eye(PARTS)).max() < 0.3


def test_a_leaky_code_is_read_half_from_others_and_painted_as_it_is():
    one = version(spoiled.Leaky)
    found = np.corrcoef(CODES["train"].T, one.codes(CODES["train"], None).T)[:PARTS, PARTS:]
    np.testing.assert_allclose(np.diag(found), 0.5**0.5, atol=0.1)  # parts are independent
    assert abs(found - np.diag(np.diag(found))).max() > 0.2
    torch.testing.assert_close(moved(one, 2), 2 * torch.eye(PARTS)[2], atol=1e-5, rtol=0)


def test_a_deaf_decoder_paints_the_mean_whatever_it_is_given():
    one = version(spoiled.Deaf)
    shown = MODEL.encode(one.decode(X0, torch.full((len(X0), PARTS), 9.0), 3))
    torch.testing.assert_close(shown, MEAN.expand(len(X0), -1), atol=1e-5, rtol=0)
    assert moved(one, 4).abs().max() == 0


def test_a_tied_decoder_raises_the_second_with_the_first_and_not_the_other_way_round():
    one = version(spoiled.Tied)
    first, second = (torch.eye(PARTS)[k] for k in PAIR)
    torch.testing.assert_close(moved(one, PAIR[0]), 2 * (first + second), atol=1e-5, rtol=0)
    torch.testing.assert_close(moved(one, PAIR[1]), 2 * second, atol=1e-5, rtol=0)
    torch.testing.assert_close(moved(one, 0), 2 * torch.eye(PARTS)[0], atol=1e-5, rtol=0)


def test_a_random_reader_is_the_same_each_time_and_not_the_learned_one():
    one, again = version(spoiled.Random), version(spoiled.Random)
    torch.testing.assert_close(one.encode(X0), again.encode(X0), rtol=0, atol=0)
    assert (one.encode(X0) - MODEL.encode(X0)).abs().mean() > 0.5 * STD.mean()


def test_random_prototypes_keep_the_values_of_each_feature():
    vectors = torch.randn(7, 3)
    found = spoiled.shuffled(vectors, RNG(0))
    torch.testing.assert_close(found.sort(0).values, vectors.sort(0).values)
    rows = {tuple(row) for row in vectors.tolist()}
    assert sum(tuple(row) in rows for row in found.tolist()) < 4
    model = SimpleNamespace(prototypes=nn.Module())
    model.prototypes.vectors = nn.Parameter(vectors.clone())
    reader = spoiled.stranger(model, RNG(0))
    torch.testing.assert_close(reader.vectors.data, found)
    torch.testing.assert_close(model.prototypes.vectors.data, vectors)


# --- which measures see it ---------------------------------------------------------------------

SETTINGS = SimpleNamespace(dataset="toys", reference=None, intervene=Intervene(
    dims=PARTS, images=20, steps=2, batch_size=400, kinds=validation.KINDS))


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> pd.DataFrame:
    found = validation.asked(MODEL, Reader(), DATA, CODES, SETTINGS, tmp_path_factory.mktemp("w"))
    return validation.tabled(found)


def value(table: pd.DataFrame, name: str, measure: str) -> float:
    return table[(table.version == name) & (table.measure == measure)].iloc[0].value


def test_a_perfect_model_has_perfect_values(table):
    expected = {"fidelity": 1, "causal_success": 1, "truth_iou": 1, "truth_hit": 1,
                "truth_energy": PARTS, "locality": PARTS, "pointing": 1, "shortcut": 0}
    for name, right in expected.items():
        assert value(table, "good", name) == pytest.approx(right, abs=1e-6), name
    assert value(table, "good", "selectivity") == pytest.approx(1, abs=0.02)  # 256 levels
    assert value(table, "good", "realised") == pytest.approx(1, abs=0.02)


def test_faults_have_the_values_that_follow_from_them(table):
    assert value(table, "rotated", "fidelity") > 0.99  # it cannot notice
    assert value(table, "deaf", "fidelity") == 0 and value(table, "deaf", "sensitivity") == 0
    assert abs(value(table, "permuted", "fidelity")) < 1e-6
    assert value(table, "permuted", "locality") == pytest.approx(0, abs=1e-6)
    assert value(table, "permuted", "truth_iou") == 1  # boxes and codes are the model's own
    assert value(table, "leaky", "realised") == pytest.approx(0.7, abs=0.1)
    assert value(table, "tied", "shortcut") > 0.03


def test_every_fault_is_noticed_where_it_ought_to_be(table):
    """On a model that paints what it is told the measures miss no planted fault."""
    judged = validation.judgement(table)
    assert {one["version"] for one in judged} == {spoil.name for spoil in spoiled.SPOILS}
    assert [one for one in judged if one["expected"] and one["noticed"] is not True] == []
    blind = {(one["version"], one["measure"]) for one in judged if one["noticed"] is False}
    assert {("rotated", "fidelity"), ("permuted", "truth_iou")} <= blind


def test_a_measure_that_says_nothing_has_a_reason_and_is_not_counted(table):
    judged = {(one["version"], one["measure"]): one for one in validation.judgement(table)}
    still = judged["deaf", "locality"]
    assert still["noticed"] is None and "no edit changed" in still["reason"]


@pytest.mark.parametrize(("own", "other", "direction", "noticed"), [
    ((0.5, 0.7), (0.1, 0.49), "higher", True), ((0.5, 0.7), (0.1, 0.5), "higher", False),
    ((0.5, 0.7), (0.8, 0.9), "higher", False),  # better is not worse
    ((0.5, 0.7), (0.8, 0.9), "lower", True), ((0.5, 0.7), (0.1, 0.2), "lower", False)])
def test_noticed_is_an_interval_wholly_on_the_worse_side(own, other, direction, noticed):
    rows = [pd.Series({"low": low, "high": high, "reason": np.nan}) for low, high in (own, other)]
    assert validation.compared(*rows, direction) == {"noticed": noticed}


def test_what_has_no_interval_cannot_be_compared():
    known = pd.Series({"low": 0.1, "high": 0.2, "reason": np.nan})
    one = pd.Series({"low": np.nan, "high": np.nan, "reason": np.nan})
    assert validation.compared(known, one, "higher") == {"noticed": None, "reason": "no interval"}


def test_the_pair_is_two_parts_with_two_dimensions():
    good = {"best": np.array([4, 4, -1, 2]), "kinds": np.array(["max"]),
            "success": np.array([[0.2, 0.9, 1.0, np.nan]])}
    assert validation.pair_of(good) == (3, 1)
    with pytest.raises(NotApplicable, match="one best dimension"):
        validation.pair_of(good | {"best": np.array([4, 4, -1, 4])})


def test_a_killed_run_goes_on_where_it_was(tmp_path):
    calls = []
    for _ in range(2):
        found = validation.kept(tmp_path / "x.npz", lambda: calls.append(1) or {"a": np.arange(3)})
        np.testing.assert_array_equal(found["a"], np.arange(3))
    assert calls == [1]

"""Spoiled models whose fault can be counted, and which measures see it (measures.md B)."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from analysis import intervals, spoiled, validation
from analysis.asking import do
from patronus import resources
from patronus.config import Intervene, load_study
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
    if spoil is not spoiled.Transposed:
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


def test_raising_one_of_two_swapped_dimensions_is_read_as_the_other():
    one, code = version(spoiled.Swapped), version(spoiled.Swapped).encode(X0)
    for dim, read in zip((*PAIR, 0, 15), (*PAIR[::-1], 0, 15), strict=True):
        higher = do(code, torch.full((len(X0),), dim), code[:, dim] + 2 * STD[dim])
        x_T = one.invert(X0, code, 3)
        change = one.encode(one.decode(x_T, higher, 3)) - one.encode(one.decode(x_T, code, 3))
        torch.testing.assert_close((change / STD).mean(0), 2 * torch.eye(PARTS)[read], atol=1e-5,
                                   rtol=0)


def test_a_decoder_that_ignores_half_moves_with_the_other_half_only():
    change = torch.stack([moved(version(spoiled.Half), dim) for dim in range(PARTS)])
    heard = change.diag() > 1
    torch.testing.assert_close(change, 2 * torch.diag(heard.float()), atol=1e-5, rtol=0)
    assert heard.sum() == PARTS // 2


def test_duplicated_dimensions_are_read_alike_and_each_moves_the_image_by_half():
    one = version(spoiled.Duplicated)
    found = np.corrcoef(one.codes(CODES["train"], None).T)
    np.testing.assert_array_equal((found > 0.999).sum(0), 2)
    for dim in (0, 9):
        change, source = moved(one, dim), int(one.source[dim])
        torch.testing.assert_close(change, torch.eye(PARTS)[source], atol=1e-5, rtol=0)


def test_a_code_of_one_bit_has_two_values_and_hears_of_no_small_change():
    one = version(spoiled.OneBit)
    for values in one.codes(CODES["test"], None).T:
        assert len(np.unique(values)) == 2
    assert moved(one, 4, 0.1).abs().max() == 0
    code = one.encode(X0)
    higher = do(code, torch.full((len(X0),), 4), torch.full((len(X0),), 9.0))
    change = (one.encode(one.decode(X0, higher, 3)) - code)[:, 4] / STD[4]
    # from a balanced bit's lower to its upper value are two standard deviations
    assert {0.0, 2.0} == {round(float(value), 1) for value in change}


def test_a_shifted_encoder_sees_the_image_further_to_the_right():
    one, right = version(spoiled.Shifted), spoiled.moved(X0)
    torch.testing.assert_close(right[..., spoiled.MOVED:], X0[..., :-spoiled.MOVED])
    torch.testing.assert_close(right[..., 0], X0[..., 0])
    read, true = one.encode(X0).numpy(), MODEL.encode(right).numpy()
    assert min(np.corrcoef(a, b)[0, 1] for a, b in zip(read.T, true.T, strict=True)) > 0.9999
    assert abs(read - MODEL.encode(X0).numpy()).mean() > 0.5 * STD.mean()


def test_transposed_boxes_are_those_across_the_diagonal():
    boxes, grid = version(spoiled.Transposed).locate(X0).boxes, np.arange(PARTS).reshape(GRID, GRID)
    torch.testing.assert_close(boxes, MODEL.locate(X0).boxes[:, grid.T.ravel()])


def test_transposed_boxes_of_an_oblong_image_lie_in_it():
    model = Painter()
    model.locate = lambda x0: Located(MODEL.encode(X0[:1]), torch.tensor([[[2, 20, 4, 32]]]), None)
    one = spoiled.Transposed(model, spoiled.Seen(CODES["train"], DATA.images("train"), PAIR))
    one.encode = lambda x0: MODEL.encode(X0[:1])
    assert one.locate(torch.zeros(1, 1, 16, 32)).boxes.tolist() == [[[10, 4, 16, 8]]]


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


# of what is expected, what this toy cannot show: its parts have fixed places, so that the boxes of
# a moved image stay; and a part mixed with fifteen others in equal shares is still the largest one
NOT_HERE = {("shifted", "locality"), ("shifted", "pointing"), ("leaky", "rank")}


@pytest.fixture(scope="module")
def answered(tmp_path_factory) -> dict:
    return validation.asked(MODEL, Reader(), DATA, CODES, SETTINGS, tmp_path_factory.mktemp("w"))


@pytest.fixture(scope="module")
def table(answered) -> pd.DataFrame:
    return validation.tabled(answered)


@pytest.fixture(scope="module")
def judged(answered) -> dict[tuple[str, str], dict]:
    return {(one["version"], one["measure"]): one for one in validation.judgement(answered)}


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
    assert value(table, "deaf", "rank") == 0.5  # nothing moved: chance
    assert abs(value(table, "permuted", "fidelity")) < 1e-6
    assert value(table, "permuted", "locality") == pytest.approx(0, abs=1e-6)
    assert value(table, "permuted", "truth_iou") == 1  # boxes and codes are the model's own
    assert value(table, "leaky", "realised") == pytest.approx(0.7, abs=0.1)
    assert value(table, "tied", "shortcut") > 0.03
    for name, right in (("fidelity", 1 - 2 / PARTS), ("fidelity_worst", 0),
                        ("rank_worst", (PARTS - 2) / 2 / (PARTS - 1))):
        assert value(table, "swapped", name) == pytest.approx(right, abs=0.01), name
    assert value(table, "half", "fidelity") == pytest.approx(0.5, abs=0.01)
    assert value(table, "duplicated", "realised") == pytest.approx(0.5, abs=0.02)
    assert value(table, "duplicated", "redundancy") == pytest.approx(1)
    assert value(table, "one_bit", "resolution") == pytest.approx(30 / 59, abs=0.03)
    assert value(table, "transposed", "truth_hit") == GRID / PARTS  # those on the diagonal


def test_a_code_of_one_bit_improves_nothing(table, judged):
    """Any answer of a bit is a whole one, or none: measures that this would flatter refuse it."""
    for name in ("realised", "selectivity", "fidelity_margin", "realised_worst",
                 "selectivity_worst"):
        assert np.isnan(value(table, "one_bit", name))
        assert "coarse" in judged["one_bit", name]["reason"]
    found = [one for (version, _), one in judged.items() if version == "one_bit"]
    assert [one for one in found if one["noticed"] is not None and one["high"] < 0] == []


def test_every_fault_is_noticed_where_it_ought_to_be(judged):
    """On a model that paints what it is told the measures miss no planted fault."""
    assert {version for version, _ in judged} == {spoil.name for spoil in spoiled.SPOILS}
    assert {key for key, one in judged.items()
            if one["expected"] and one["noticed"] is not True} == NOT_HERE
    blind = {key for key, one in judged.items() if one["noticed"] is False}
    assert {("rotated", "fidelity"), ("tied", "rank"), ("permuted", "truth_iou"),
            ("swapped", "locality"), ("transposed", "fidelity")} <= blind


def test_each_of_twelve_faults_is_noticed_by_two_measures_that_count_all_of_them(judged):
    assert len(spoiled.SPOILS) == 12
    for spoil in spoiled.SPOILS:
        assert sum(bool(one.get("sure")) for (version, _), one in judged.items()
                   if version == spoil.name) >= 2, spoil.name


def test_the_table_in_words_has_each_value_with_its_mark(table, judged):
    lines = validation.as_markdown(table, list(judged.values())).splitlines()
    names = [spoil.name for spoil in spoiled.SPOILS]
    assert len(lines) == 2 + len(validation.described())
    cells = {line.split(" | ")[0]: line.strip("| ").split(" | ")[2:] for line in lines}
    at = {name: k for k, name in enumerate(names)}
    rows = {key.strip("| ").split("`")[1]: row for key, row in cells.items() if "`" in key}
    assert rows["fidelity"][at["deaf"]] == "**+** 0"
    assert rows["fidelity"][at["transposed"]] == "– 1"
    assert rows["locality"][at["shifted"]] == "**missed** 16"
    assert rows["rank_worst"][at["permuted"]].startswith("+ ")
    assert rows["realised"][at["one_bit"]] == "n/a"


def test_what_a_fault_cannot_touch_differs_by_exactly_nothing(judged):
    for name in ("fidelity", "realised", "rank", "selectivity", "sensitivity", "redundancy"):
        one = judged["transposed", name]
        assert (one["value"], one["low"], one["high"], one["noticed"]) == (0, 0, 0, False), name


def test_a_measure_that_says_nothing_has_a_reason_and_is_not_counted(judged):
    still = judged["deaf", "locality"]
    assert still["noticed"] is None and "no edit changed" in still["reason"]
    assert "sure" not in still


def compared(own: np.ndarray, other: np.ndarray, direction: str = "higher", tries: int = 1) -> dict:
    both = [validation.Scores(np.atleast_2d(one), "images") for one in (own, other)]
    return validation.noticed(validation.difference(*both, direction), tries)


@pytest.mark.parametrize(("other", "direction", "seen"), [
    ([0.4, 0.5, 0.5, 0.6], "higher", True), ([0.4, 0.5, 0.5, 0.6], "lower", False),
    ([0.9, 0.9, 0.8, 0.9], "lower", True), ([0.9, 0.9, 0.8, 0.9], "higher", False),
    ([0.9, 0.5, 0.9, 0.5], "higher", False)])
def test_noticed_is_a_paired_interval_wholly_on_the_worse_side(other, direction, seen):
    found = compared(np.full(4, 0.7), np.array(other), direction)
    assert (found["noticed"], found["n"], found["over"]) == (seen, 4, "images")


def test_a_loss_of_a_twentieth_is_seen_where_dimensions_and_images_differ_by_more():
    rng = RNG(0)
    own = rng.random((30, 1)) + 0.2 * rng.normal(size=(1, 20)) + 0.05 * rng.normal(size=(30, 20))
    other = 0.95 * own + 0.02 * rng.normal(size=own.shape)
    apart = [intervals.crossed(one) for one in (own, other)]
    assert apart[1].high > apart[0].low  # each by itself: nothing could be told
    found = compared(own, other, tries=25)
    assert found["noticed"] and found["sure"]
    assert found["value"] == pytest.approx(0.05 * own.mean(), abs=0.005)


def test_a_difference_is_sure_if_it_is_one_of_many_and_still_seen():
    own, other = np.ones(8), 1 - np.array([0.1, 0.3, 0.2, 0.4, 0, 0.3, 0.2, 0.05])
    assert compared(own, other)["sure"] and compared(own, other, tries=4)["sure"]
    once = compared(own, other, tries=10_000)
    assert once["noticed"] and not once["sure"]


def test_what_only_one_of_the_two_has_is_not_compared():
    own = np.array([[0.9, 0.9, 0.9, np.nan], [0.1, 0.1, 0.1, 0.1]])
    other = np.array([[0.8, np.nan, 0.7, 0.8], [np.nan] * 4])
    found = compared(own, other)
    assert found["n"] == 2 and found["value"] == pytest.approx(0.15)


def test_rounding_is_no_difference_and_a_constant_one_needs_no_spread():
    for shift, seen in ((1e-9, False), (0.25, True)):
        found = compared(np.full(5, 0.5), np.full(5, 0.5 - shift))
        assert found["noticed"] == seen
        assert found["low"] == found["value"] == found["high"] == (shift if seen else 0)


def test_what_has_no_interval_cannot_be_compared():
    assert compared(np.array([0.4]), np.array([0.1])) == {
        "noticed": None, "reason": "1 of the images can be compared: no interval"}
    one = validation.Scores(np.ones((1, 4)), "images")
    for pair in ((one, "no box"), ("no box", one)):
        assert validation.noticed(validation.difference(*pair, "higher"), 1) == {
            "noticed": None, "reason": "no box"}


def test_all_versions_are_asked_about_as_many_images():
    cell = SimpleNamespace(intervene=Intervene(images=50, tolerance=0.5), model_copy=dict)
    settings = validation.limited(cell)["update"]["intervene"]
    assert (settings.tolerance, settings.images) == (0, validation.IMAGES)


def test_a_cluster_is_asked_for_the_time_of_all_versions():
    versions = 1 + len(spoiled.SPOILS)
    assert (versions * len(validation.KINDS), validation.IMAGES) == resources.VALIDATED
    study = load_study("showcase")
    cell = study.cell("celeba", "patronus_modern", 0)
    assert resources.minutes("validation", cell, study) > 3 * resources.minutes(
        "interventions", cell, study)


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

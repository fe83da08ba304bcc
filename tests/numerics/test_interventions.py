"""Interventions, causal success and shortcuts on methods whose answers are known."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import nn

from analysis import answers, asking, causal, interventions, shortcut
from analysis.place import place as place_of_change
from analysis.place import smallest_square, within
from analysis.references import Classifier, save_classifier
from baselines.ddpm import Model as DDPM
from patronus import checkpoint
from patronus.config import Cell, Dataset, Intervene
from patronus.errors import NotApplicable, Problem
from patronus.files import load_json, save_json, save_npz
from patronus.method import Located, Method
from patronus.stage import Job

RNG = np.random.default_rng
LEVELS = {"max": 0.9, "thrice": 0.95, "max_random": 0.9, "thrice_random": 0.95, "twice": 0.92,
          "q95": 0.3, "q50": 0.0, "q05": -0.5}
STARTS = [start for start, _, _ in asking.KINDS.values()]
PARTS, SIDE = 4, 16  # part k is a 4x4 square on the diagonal of a gray image


def squares() -> torch.Tensor:
    """Masks (PARTS, SIDE, SIDE) of the parts."""
    found = torch.zeros(PARTS, SIDE, SIDE)
    for k in range(PARTS):
        found[k, 4 * k:4 * k + 4, 4 * k:4 * k + 4] = 1
    return found


class Painter(Method):
    """Code dimension j is the brightness of part j; decoding paints it, and `also` as planted.

    also (PARTS, PARTS): how much of a rise of dimension j over x_T's own part goes to part k.
    """

    def __init__(self, also: torch.Tensor | None = None, deaf: bool = False, blind: bool = False):
        super().__init__((1, SIDE, SIDE), PARTS)
        self.also = torch.eye(PARTS) if also is None else also
        self.deaf, self.blind = deaf, blind

    def encode(self, x0):
        return (x0 * squares()).sum((2, 3)) / 16

    def invert(self, x0, code, steps):
        return x0

    def decode(self, x_T, code, steps, on_step=None):
        rise = (code - self.encode(x_T)) @ self.also * (not self.deaf)
        return x_T + torch.einsum("bk,khw->bhw", rise, squares())[:, None]

    def locate(self, x0):
        if self.blind:
            raise self.cannot("locate")
        k = 4 * torch.arange(PARTS)
        boxes = torch.stack([k, k, k + 4, k + 4], 1).expand(len(x0), -1, -1)
        return Located(self.encode(x0), boxes, self.encode(x0)[..., None, None])


class Reader(nn.Module):
    """Reads the brightness of each part, -1..1, as a probability."""

    def __init__(self):
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1))

    def probabilities(self, x):
        return ((x * squares()).sum((2, 3)) / 16 + 1) / 2


def faces(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (n, 1, SIDE, SIDE) of random parts, and their labels (n, PARTS)."""
    labels = (RNG(seed).random((n, PARTS)) < 0.4).astype(float)
    levels = 40 + 160 * labels + RNG(seed + 1).integers(-20, 20, labels.shape)
    images = 90 + np.einsum("nk,khw->nhw", levels - 90, squares().numpy())
    return images.astype(np.uint8)[:, None], labels


def asked(model: Method, n: int = 12, batch_size: int = 7, enough=lambda asked: False) -> dict:
    images, labels = faces(n)
    values = np.array([LEVELS[kind] for kind in asking.KINDS], np.float32)
    given = {"dims": np.array([2, 0, 3, 1]), "levels": np.tile(values[:, None], PARTS),
             "rows": np.arange(n), "kinds": np.array(list(asking.KINDS)), "sigma": np.ones(PARTS),
             "kept": np.ones(PARTS, bool), "regions": squares().numpy() > 0,
             "noises": np.array([0.05, 0.1]), "labels": labels,
             "negated": np.zeros(PARTS, bool), "random": np.full((n, *model.shape), -0.2),
             "wobble": RNG(3).normal(size=(n, 2, PARTS))}
    settings = SimpleNamespace(steps=3, batch_size=batch_size)
    return interventions.ask(model, Reader(), images, given, settings, enough)


def told(model: Method, negated: tuple = (False,) * PARTS, n: int = 12) -> dict:
    given = asked(model, n)
    images, labels = faces(300, seed=5)
    codes = Painter().encode(torch.from_numpy(images) / 127.5 - 1).numpy()
    negated = np.array(negated)
    given["labels"] = causal.as_parts(given["labels"], negated)  # labels that say "no part"
    for key in ("probabilities", "probabilities_recon"):
        given[key] = causal.as_parts(given[key], negated)
    auroc, shuffled = interventions.aurocs(codes, causal.as_parts(labels, negated), "toy")
    return interventions.told_by(given, auroc, shuffled, negated) | {"auroc": auroc}


# --- the stage ---------------------------------------------------------------------------------

def test_a_painter_does_what_its_code_says():
    found = asked(Painter())
    at, dims = np.arange(PARTS), found["dims"]
    for v, (value, start) in enumerate(zip(LEVELS.values(), STARTS, strict=True)):
        np.testing.assert_allclose(found["codes"][v, at, :, dims], value, atol=1.01 / 255)
        others = found["codes"][v] - found["codes_recon"][start]
        others[at, :, dims] = 0
        np.testing.assert_allclose(others, 0, atol=1e-6)  # no other part moves
    np.testing.assert_array_equal(found["show_recon"], found["show_images"])
    assert found["show_edited"].shape == (PARTS, 8, 1, SIDE, SIDE)
    np.testing.assert_allclose((found["show_edited"][0, :, 0, 8:12, 8:12] / 255 * 2 - 1), 0.9,
                               atol=1 / 255)


def test_all_change_lies_in_the_box_that_was_painted():
    found = asked(Painter())
    assert (found["share"] == 1).all() and (found["hit"] == 1).all()
    np.testing.assert_allclose(found["area"], 1 / 16)
    # half of a square's 16 even pixels: 3 x 3
    np.testing.assert_allclose(found["square"], 9 / 256)


def test_where_nothing_changes_or_nothing_is_boxed_there_is_no_place():
    still, blind = asked(Painter(deaf=True)), asked(Painter(blind=True))
    for key in ("share", "hit", "square"):
        assert np.isnan(still[key]).all()
    np.testing.assert_allclose(still["area"], 1 / 16)
    for key in ("share", "area", "hit"):
        assert np.isnan(blind[key]).all()
    np.testing.assert_allclose(blind["square"], 9 / 256)


def test_share_and_peak_outside_the_box():
    energy = torch.zeros(1, SIDE, SIDE)
    energy[0, 2, 2], energy[0, 12, 12] = 1, 3
    found = place_of_change(energy, torch.tensor([[0, 0, 8, 8]]))
    assert (found["share"], found["hit"], found["area"]) == (0.25, 0, 0.25)
    assert found["square"] == pytest.approx(1 / SIDE**2)


def test_pixels_that_rounding_moved_are_no_change():
    step = (1 / 127.5) ** 2  # one channel of one pixel by one gray level
    flips, edit = torch.zeros(1, 32, 32), torch.zeros(1, 32, 32)
    flips[0, :9, 3], edit[0, :, 3] = step, step
    box = torch.tensor([[0, 0, 16, 16]])
    assert all(found.isnan() for key, found in place_of_change(flips, box).items() if key != "area")
    assert place_of_change(edit, box)["share"] == 0.5
    assert within(flips, torch.ones(2, 32, 32)).isnan().all()
    torch.testing.assert_close(within(edit, torch.ones(2, 32, 32)), torch.ones(1, 2))


def test_smallest_square_equals_a_search_over_all_squares():
    energy = torch.from_numpy(RNG(0).random((3, 6, 9)) ** 4)
    for map_, found in zip(energy.numpy(), smallest_square(energy), strict=True):
        held = {min(s, 6) * min(s, 9): max(map_[y:y + s, x:x + s].sum() for y in range(6)
                                           for x in range(9) if y + min(s, 6) <= 6
                                           and x + min(s, 9) <= 9) for s in range(1, 10)}
        assert found == min(p for p, most in held.items() if most >= map_.sum() / 2)


@pytest.mark.parametrize("size", [1, 5, 100])
def test_batches_do_not_matter(size):
    whole, parts = asked(Painter()), asked(Painter(), batch_size=size)
    assert whole.keys() == parts.keys()
    for key in whole.keys() - {"kinds"}:
        np.testing.assert_allclose(parts[key], whole[key], atol=1e-6, err_msg=key)


def test_images_and_noise_depend_on_names_only():
    rows = interventions.random_order(50, 10, "celeba")
    assert sorted(set(rows)) != list(rows)
    np.testing.assert_array_equal(interventions.random_order(50, 20, "celeba")[:10], rows)
    assert list(interventions.random_order(50, 10, "ffhq")) != list(rows)
    assert len(interventions.random_order(3, 10, "celeba")) == 3


def test_noise_moves_a_picture_as_far_as_its_parts_are_large():
    found = asked(Painter())
    noise = RNG(3).normal(size=(12, 2, PARTS)) * np.array([0.05, 0.1])[:, None]
    # four parts of 1/16 of the image each, in gray levels, rounded and clipped
    expected = 127.5 * np.sqrt(np.square(noise).sum(2) / 16).T
    np.testing.assert_allclose(found["moved"], expected, atol=0.35)
    assert (asked(Painter(deaf=True))["moved"] == 0).all()


def test_all_change_of_a_painter_lies_in_the_region_of_its_part():
    found = asked(Painter())
    np.testing.assert_allclose(found["within"], np.eye(PARTS)[found["dims"]][:, None].repeat(12, 1),
                               atol=1e-6)
    assert np.isnan(asked(Painter(deaf=True))["within"]).all()


def test_boxes_of_the_images_are_those_of_the_asked_dimensions():
    found = asked(Painter())
    np.testing.assert_array_equal(found["boxes"][3, :, 0], 4 * found["dims"])
    assert (asked(Painter(blind=True))["boxes"] == -1).all()


def test_what_was_asked_first_does_not_depend_on_how_much_is_asked():
    seen = []
    whole = asked(Painter(), n=34)
    some = asked(Painter(), n=34,
                 enough=lambda now: seen.append(len(now["rows"])) or len(seen) == 2)
    assert seen == [10, 20] and len(some["rows"]) == 20
    for key in whole.keys() - {"kinds"}:
        part = interventions.only(whole, slice(20))[key]
        np.testing.assert_array_equal(some[key], part, err_msg=key)
    assert whole["show_edited"].shape[1] == asking.SHOWN


def test_it_stops_when_four_means_are_sure_and_not_before():
    best = np.argsort([2, 0, 3, 1])
    sure = asked(Painter(), n=20)
    assert set(answers.half_widths(sure, best)) == {
        "selectivity", "pointing", "causal_success", "fidelity"}
    assert interventions.narrow(sure, best, 1e-6)  # every image says the same
    assert not interventions.narrow(sure, best, 0.0)  # no tolerance: all images
    assert not interventions.narrow(asked(Painter(), n=19), best, 0.5)
    doubtful = sure | {"hit": np.where(np.arange(20) % 2, sure["hit"], 0)}
    expected = stats.t.isf(0.025, 19) * np.tile([0, 1], 10).std(ddof=1) / np.sqrt(20)
    assert answers.half_widths(doubtful, best)["pointing"] == pytest.approx(expected)
    assert not interventions.narrow(doubtful, best, expected - 1e-6)
    assert interventions.narrow(doubtful, best, expected + 1e-6)


def test_a_scale_may_ask_for_some_kinds_only():
    with pytest.raises(ValueError, match="must hold 'max'"):
        Intervene(kinds=("q95",))
    assert set(Intervene().kinds) == asking.KINDS.keys()
    codes = RNG(0).normal(size=(50, 3))
    np.testing.assert_array_equal(interventions.levels(codes, ("q50", "max")),
                                  interventions.levels(codes)[[6, 0]])


# --- causal success ----------------------------------------------------------------------------

def test_a_perfect_code_succeeds_everywhere_and_its_effects_are_diagonal():
    found = told(Painter())
    assert found["best"].tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(found["best_auroc"], 1)
    labels = faces(12)[1]
    absent = (labels == 0).sum(0)
    for v in range(len(LEVELS) - 2):  # to 0 or below, a part is not seen
        assert found["success"][v].tolist() == [1] * PARTS
        assert found["success_n"][v].tolist() == absent.tolist()
    np.testing.assert_allclose(found["success"][-2:, 0], [1, 0])
    np.testing.assert_allclose(found["success_any"][0], 1 / PARTS)
    np.testing.assert_allclose(found["success_recon"], 0)
    assert (found["success_low"] < 1).all() and (found["success_high"][:-1] == 1).all()
    assert (np.where(labels[:8] == 0, 1, -1) == found["marks"].T).all()


def test_a_code_that_nothing_obeys_has_no_success_and_no_effect():
    found = told(Painter(deaf=True))
    assert found["success"].max() == 0
    assert found["success_shuffled"].max() == 0
    assert abs(found["effect"]).max() == 0
    assert (found["marks"] == np.where(faces(12)[1][:8] == 0, 0, -1).T).all()


def test_the_shuffled_control_is_a_dimension_at_random():
    found = told(Painter())
    assert found["best_shuffled"].shape == (interventions.PERMUTATIONS, PARTS)
    right = (found["best_shuffled"] == np.arange(PARTS)).mean(0)
    np.testing.assert_allclose(found["success_shuffled"][0], right)
    assert 0.05 < right.mean() < 0.5  # chance is a quarter


def test_a_negated_attribute_is_judged_by_its_part():
    """Label 2 says "no part": the part's dimension is the one that speaks against the label."""
    plain, negated = told(Painter()), told(Painter(), (False, False, True, False))
    assert negated["auroc"][2, 2] == pytest.approx(0)
    for key in ("best", "success", "success_n", "marks", "best_auroc"):
        np.testing.assert_array_equal(negated[key], plain[key], err_msg=key)
    np.testing.assert_allclose(negated["effect"], plain["effect"], atol=1e-6)


def test_only_raising_counts():
    """A dimension of AUROC 0 (raised, it removes the part) is never chosen."""
    assert causal.top_dims(np.array([[0.0, 0.6, 0.55]]), 2).tolist() == [[1, 2]]
    assert causal.top_dims(np.array([[np.nan, np.nan]]), 5).tolist() == [[-1, -1]]


def test_images_that_show_the_part_already_or_whose_label_is_unknown_are_not_counted():
    labels = np.array([[0.0], [0], [1], [np.nan], [0]])
    recon = np.array([[0.1], [0.7], [0.2], [0.2], [0.3]])
    edited = np.array([[0.9], [0.9], [0.9], [0.9], [0.4]])[None]
    auroc = np.array([[0.8]])
    found = causal.causal_success(labels, recon[None], edited[None], auroc, auroc[None])
    assert (found["success"], found["success_n"]) == (0.5, 2)
    assert found["success_recon"] == pytest.approx(1 / 3)
    assert causal.marks(labels, recon, edited, np.array([0])).tolist() == [[1, -1, -1, -1, 0]]


def test_undefined_parts_are_nan_not_zero():
    labels, recon = np.ones((5, 2)), np.zeros((5, 2))
    labels[:, 1] = 0
    auroc = np.array([[0.9, 0.5], [np.nan, np.nan]])  # part 0: none lacks it; part 1: no AUROC
    edited = np.ones((2, 5, 2))
    found = causal.causal_success(labels, recon[None], edited[None], auroc, auroc[None])
    for key in ("success", "success_low", "success_high", "success_shuffled"):
        assert np.isnan(found[key]).all(), key
    assert found["best_at"].tolist() == [0, -1]
    assert found["success_n"].tolist() == [[0, 5]]
    assert causal.marks(labels, recon, edited, found["best_at"]).max() == -1
    effect = causal.effects(recon, edited, np.array([[0], [-1]])).mean(-1)
    np.testing.assert_array_equal(effect, [[1, 1], [np.nan, np.nan]])


def test_wilson_interval_in_closed_form():
    """(p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)."""
    z, n, p = 1.959963984540054, 20, 0.3
    half = z * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    low, high = causal.wilson(np.array([p, 0.0]), np.array([n, 0]))
    assert low[0] == pytest.approx((p + z**2 / (2 * n) - half) / (1 + z**2 / n))
    assert high[0] == pytest.approx((p + z**2 / (2 * n) + half) / (1 + z**2 / n))
    assert np.isnan([low[1], high[1]]).all()


# --- shortcuts ---------------------------------------------------------------------------------

def tied(strength: float) -> torch.Tensor:
    """Raising part 0 raises part 1 by `strength` of it."""
    also = torch.eye(PARTS)
    also[0, 1] = strength
    return also


def samples(strength: float, n: int = 40) -> np.ndarray:
    """Effects (PARTS, PARTS, n) of each part's own dimension."""
    found = asked(Painter(tied(strength)), n)
    own = np.argsort(found["dims"])[:, None]
    return causal.effects(found["probabilities_recon"][0], found["probabilities"][0], own)


def test_effects_are_the_planted_ones():
    n = 40
    effect = samples(0.5, n).mean(-1)
    rise = (0.9 - (faces(n)[0] / 127.5 - 1)[:, 0, [0, 4, 8, 12], [0, 4, 8, 12]]).mean(0) / 2
    expected = np.diag(rise)
    expected[0, 1] = 0.5 * rise[0]
    clipped = effect.copy()
    clipped[0, 1] = expected[0, 1] = 0  # a bright part cannot rise further
    np.testing.assert_allclose(clipped, expected, atol=0.01)
    assert 0.1 < effect[0, 1] < 0.5 * rise[0] + 0.01


def test_the_score_finds_the_planted_pair_and_grows_with_the_plant():
    fair = samples(0)
    scores = [causal.shortcut_score(samples(s), fair, paired=True)
              for s in (0.0, 0.3, 0.6, 0.9)]
    assert abs(scores[0].value).max() == 0
    planted = [score.value[0, 1] for score in scores]
    assert planted == sorted(planted) and planted[-1] > 0.2
    assert scores[1].low[0, 1] > 0
    others = scores[-1].value.copy()
    others[0, 1] = 0
    assert abs(others).max() < 0.01
    assert causal.detection(scores[-1].value, [(0, 1)]) == 1
    assert np.isnan(causal.detection(scores[-1].value, []))


def test_a_negative_score_is_found_and_the_reverse_of_a_pair_says_nothing():
    score = np.zeros((3, 3))
    score[0, 1], score[1, 0], score[0, 2] = -0.5, 0.9, 0.1
    score[1, 1] = 5  # raising a part shows it: no shortcut
    assert causal.detection(score, [(0, 1)]) == 1
    assert causal.detection(score, [(0, 1), (1, 0)]) == 1
    assert causal.detection(score, [(0, 2)]) == 0.5  # above 2 of 4
    score[2, 0] = np.nan
    assert causal.detection(score, [(0, 1)]) == 1


def test_pairing_removes_what_both_models_share():
    shared, rng = RNG(0).normal(0, 1, 200), RNG(1)
    biased, unbiased = shared + 0.1 + rng.normal(0, 0.05, 200), shared
    paired = causal.shortcut_score(biased, unbiased, paired=True)
    apart = causal.shortcut_score(biased, unbiased[:150])
    assert paired.high - paired.low < 0.2 * (apart.high - apart.low)
    assert paired.low < 0.1 < paired.high and paired.low > 0


def test_the_mean_size_of_tied_scores_is_over_images_and_not_over_pairs():
    """Two pairs of opposite sign whose images differ alike: their mean is surer than either."""
    noise = RNG(0).normal(0, 0.2, 50)
    biased, unbiased = np.stack([0.5 + noise, -0.3 + noise, np.full(50, np.nan)]), np.zeros((3, 50))
    found = causal.tied_score(biased, unbiased, paired=True)
    assert found.value == pytest.approx(0.4) and found.high - found.low < 1e-9  # noise cancels
    each = causal.shortcut_score(biased, unbiased, paired=True)
    assert (each.high - each.low)[:2].min() > 0.1
    assert np.isnan(causal.tied_score(biased[2:], unbiased[2:])).all()
    none = causal.tied_score(noise[None], np.zeros((1, 50)))
    assert none.low == 0 < none.value < none.high  # a size is not below 0


# --- through files -----------------------------------------------------------------------------

NAMES = ("Hat", "No_Beard", "Smile", "Never")


def cell(dataset: str = "toys", **more) -> Cell:
    return Cell.model_construct(**{
        "scale": "toy", "dataset": dataset, "method": "patronus", "seed": 0, "title": "Patronus",
        "recipe": "modern", "generated": True, "shape": (1, 16, 16), "reference": None,
        "shortcut": [], "gpus": 0, "code_dim": PARTS, "model": {},
        "intervene": Intervene(dims=3, images=5, steps=2, batch_size=4)} | more)


def job(stage: str, of: Cell) -> Job:
    made = Job(stage, of, Dataset.model_construct(), None, 1)
    made.out.mkdir(parents=True, exist_ok=True)
    return made


def write_data(folder: Path, n: int = 12) -> None:
    rng = RNG(0)
    lines = ["id,split,row," + ",".join(NAMES)]
    for split in ("train", "test"):
        labels = rng.integers(0, 2, (n, len(NAMES)))
        labels[:, 3] = 0
        lines += [f"{split}{i},{split},{i}," + ",".join(map(str, row))
                  for i, row in enumerate(labels)]
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{split}.npy", rng.integers(0, 256, (n, 1, 16, 16), dtype=np.uint8))
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    save_json(folder / "meta.json", {
        "dataset": "toys", "title": "Toys", "generated": True, "shape": [1, 16, 16],
        "counts": {"train": n, "test": n}, "labels": dict.fromkeys(NAMES, {"kind": "binary"})})
    save_json(folder / "parts.json", {"parts": list(NAMES), "negated": ["No_Beard"]})
    np.save(folder / "parts.npy", rng.integers(0, 16, (n, 16, 16), dtype=np.uint32))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with a tiny model, its data, codes and classifier."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    write_data(Path("results/toy/data/toys"))
    config = {"module": "patronus.model", "shape": [1, 16, 16], "code_dim": 5,
              "model": {"base": 8, "multipliers": [1, 1], "encoder_channels": [4, 4, 4, 8]}}
    folder = cell().folder("checkpoints")
    checkpoint.save(folder, checkpoint.build(*config.values()), config)
    save_json(folder / "record.json", {"found": {"steps": 7, "images_seen": 70}})
    (cell().folder("codes")).mkdir(parents=True)
    for split in ("train", "test"):
        np.save(cell().folder("codes") / f"{split}.npy", RNG(1).random((12, 5), np.float32))
    classifier = Classifier((1, 16, 16), dict.fromkeys(NAMES, 1), 4)
    save_classifier(Path("results/toy/references/toys"), classifier, {"Hat": 0.9})
    return tmp_path


def test_the_stage_writes_what_it_promises(place):
    stage = job("interventions", cell())
    found = interventions.work(stage)
    arrays = np.load(stage.out / "interventions.npz")
    d = len(arrays["dims"])  # three, and the best of each part
    assert found == {"images": 5, "evaluations": 2 * (3 * 5 + 3 * 5 + 8 * d * 5)}
    about = load_json(stage.out / "interventions.json")
    assert about["outputs"] == list(NAMES[:3])  # "Never" takes one value
    assert [part["negated"] for part in about["parts"]] == [False, True, False]
    assert about["reference"] == "toys"
    np.testing.assert_array_equal(arrays["rows"], interventions.random_order(12, 5, "toys"))
    assert about["shortcut"] is None and about["classifier"] == {"Hat": 0.9}
    shapes = {"codes": (8, d, 5, 5), "probabilities": (8, d, 5, 3), "codes_recon": (2, 5, 5),
              "probabilities_recon": (2, 5, 3), "share": (8, d, 5), "labels": (5, 3),
              "auroc": (3, 5), "auroc_shuffled": (3, 5), "success": (8, 3), "marks": (3, 5),
              "marks_thrice": (3, 5), "show_edited": (d, 5, 1, 16, 16), "levels": (8, 5),
              "show_thrice": (d, 5, 1, 16, 16), "best_shuffled": (20, 3), "effect": (3, 3),
              "moved": (3, 5), "patches": (d, 8, 128), "patches_elsewhere": (d, 8, 128),
              "truth_iou": (3, 5), "truth_energy_any": (3, 5)}
    assert {key: arrays[key].shape for key in shapes} == shapes
    sigma = np.load(stage.folder("codes") / "train.npy").std(0)
    assert arrays["dims"].tolist() == [dim for rank, dim in enumerate(np.argsort(-sigma))
                                       if rank < 3 or dim in arrays["best"]]
    parts = causal.as_parts(arrays["auroc"], np.array([[False], [True], [False]]))
    assert arrays["best"].tolist() == parts.argmax(1).tolist()  # of all, whatever their spread
    assert arrays["second"].tolist() == np.argsort(-parts, 1)[:, 1].tolist()
    np.testing.assert_allclose(arrays["second_auroc"], np.sort(parts, 1)[:, -2])
    assert ((arrays["best_share"] > 0.1) & (arrays["best_share"] <= 1)).all()
    assert arrays["kinds"].tolist() == list(asking.KINDS)
    np.testing.assert_allclose(arrays["levels"], interventions.levels(
        np.load(stage.folder("codes") / "test.npy")))


def test_levels_are_quantiles_and_what_lies_beyond():
    codes = np.linspace(0, 1, 101)[:, None] ** [1, 2]  # medians 0.5 and 0.25
    found = dict(zip(asking.KINDS, interventions.levels(codes), strict=True))
    np.testing.assert_allclose(found["max"], 1)
    np.testing.assert_allclose(found["q05"], [0.05, 0.0025], atol=1e-6)
    np.testing.assert_allclose(found["q50"], [0.5, 0.25], atol=1e-6)
    np.testing.assert_allclose(found["q95"], [0.95, 0.9025], atol=1e-6)
    np.testing.assert_allclose(found["twice"], [1.5, 1.75])
    np.testing.assert_allclose(found["thrice"], [2, 2.5])
    np.testing.assert_allclose(found["thrice_random"], found["thrice"])


def test_a_method_without_a_code_says_why(place):
    save_json(cell().folder("checkpoints") / "config.json", {
        "module": "baselines.ddpm", "shape": [1, 16, 16], "code_dim": None,
        "model": {"base": 8, "multipliers": [1, 1]}})
    checkpoint.save_weights(cell().folder("checkpoints") / "model.safetensors",
                            DDPM((1, 16, 16), base=8, multipliers=(1, 1)))
    stage = job("interventions", cell())
    assert interventions.work(stage) == {}
    assert "no code" in load_json(stage.out / "none.json")["reason"]
    assert not (stage.out / "interventions.npz").exists()


def test_a_classifier_of_another_size_is_refused(place):
    with pytest.raises(Problem, match="one shape"):
        interventions.work(job("interventions", cell(shape=(1, 32, 32))))


def test_truths_of_classes_are_one_hot(place):
    table = {"kind": np.array([2, np.nan, 0]), "hat": np.array([1.0, 0, np.nan])}
    data = SimpleNamespace(labels=lambda split: pd.DataFrame(table))
    model = Classifier((1, 16, 16), {"kind": 3, "hat": 1}, 4)
    nan = np.nan
    np.testing.assert_array_equal(interventions.truths(model, data, "test"),
                                  [[0, 0, 1, 1], [nan, nan, nan, 0], [1, 0, 0, nan]])


def answered(folder: Path, dataset: str, strength: float, negated: tuple = (False,) * PARTS):
    """Writes the interventions of a painter with a planted tie, as the stage would."""
    found = asked(Painter(tied(strength)))
    negated = np.array(negated)
    raised = np.argsort(found["dims"])[:, None]
    for key in ("probabilities", "probabilities_recon"):
        found[key] = causal.as_parts(found[key], negated)
    folder.mkdir(parents=True)
    save_npz(folder / "interventions.npz", **found, raised_at=raised, best_at=raised[:, 0])
    save_json(folder / "interventions.json", {
        "dataset": dataset, "title": dataset.title(), "generated": True, "steps": 7,
        "images_seen": 70, "parts": [{"output": f"p{k}", "negated": bool(no)}
                                     for k, no in enumerate(negated)]})


def witnessed(of: Cell, follows: int) -> None:
    """Labels p0, p1, ... of 60 images a split, and codes whose dimension 0 follows one of them."""
    folder, rng = of.folder("data"), RNG(0)
    names = [f"p{k}" for k in range(PARTS)]
    of.folder("codes").mkdir(parents=True)
    folder.mkdir(parents=True)
    lines = ["id,split,row," + ",".join(names)]
    for split in ("train", "test"):
        labels = rng.integers(0, 2, (60, PARTS))
        if split == "train" and of.shortcut:
            labels[:, 1] = labels[:, 0]  # the tie, which test images do not have
        codes = rng.random((60, PARTS), np.float32)
        codes[:, 0] += labels[:, follows]
        np.save(of.folder("codes") / f"{split}.npy", codes)
        np.save(folder / f"{split}.npy", faces(60)[0])
        lines += [f"{i},{split},{i}," + ",".join(map(str, row)) for i, row in enumerate(labels)]
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    save_json(folder / "meta.json", {"dataset": of.dataset, "counts": {"train": 60, "test": 60},
                                     "labels": dict.fromkeys(names, {"kind": "binary"})})


@pytest.mark.parametrize("negated", [(False,) * PARTS, (False, True, False, False)])
def test_the_diagnosis_compares_two_cells(tmp_path, monkeypatch, negated):
    monkeypatch.chdir(tmp_path)
    biased = cell("tied", shortcut=[("p0", "p1")], reference="toys", model={
        "encoder_channels": (4, 8), "encoder_kernels": (3, 3), "encoder_strides": (2, 1),
        "encoder_paddings": (1, 0)})
    answered(biased.folder("interventions"), "tied", 0.8, negated)
    answered(cell().folder("interventions"), "toys", 0.0, negated)
    witnessed(biased, 1)
    witnessed(cell(), 0)
    stage = job("shortcut", biased)
    assert shortcut.work(stage) == {"detection": 1.0}
    found, about = np.load(stage.out / "shortcut.npz"), load_json(stage.out / "shortcut.json")
    assert about["paired"] and about["unbiased"]["dataset"] == "toys"
    assert about["strength"] is None
    assert found["pairs"].tolist() == [[0, 1]]
    assert found["score_low"][0, 1] > 0.1
    np.testing.assert_allclose(found["score"], found["biased"] - found["unbiased"], atol=1e-9)
    assert found["unbiased"][0, 1] == pytest.approx(0, abs=1e-6)
    assert found["edited"].shape == (2, 1, 8, 1, SIDE, SIDE)
    assert (found["dims"] == 0).all()
    tells_b = 0 if negated[1] else 1  # it is raised by p1, whose part then is not seen
    np.testing.assert_allclose(found["told"], [[[0.5, tells_b]], [[1, 0.5]]], atol=0.15)
    assert (found["told_low"] <= found["told"]).all()
    assert (found["told"] <= found["told_high"]).all()
    assert (found["chosen"] > 0.95).all()
    assert found["untrained"].shape == (2, 1, 20, 2)
    said = about["told"][0]
    assert (said["side"], said["dataset"], said["pair"]) == ("biased", "tied", ["p0", "p1"])
    assert said["candidates"] == PARTS and said["best"][0]["dim"] == 0
    assert said["told"][1]["value"] == [found[f"told{end}"][0, 0, 1]
                                        for end in ("", "_low", "_high")]
    assert said["told"][1]["untrained"] == sorted(found["untrained"][0, 0, :, 1])
    assert 0 < said["told"][0]["n"] <= 60
    assert about["scores"] == [[found[f"score{end}"][0, 1] for end in ("", "_low", "_high")]]
    assert about["detection"] == 1
    assert [part["name"] for part in about["parts"]] == [f"p{k}" for k in range(PARTS)]
    rise = (found["after"] - found["before"]).mean(-1)[:, 0]
    assert rise[0] > 0.1 and rise[1] == pytest.approx(0, abs=1e-6)


def test_the_strength_is_that_of_the_plant_and_unknown_of_real_images():
    data = Dataset.model_construct(plant=("p0", "p1", 0.9))
    strengths = [shortcut.planted(Job("shortcut", cell(generated=drawn), of, None, 1))
                 for drawn, of in ((True, data), (False, data), (True, Dataset.model_construct()))]
    assert strengths == [0.9, None, None]


def test_a_diagnosis_without_answers_or_pairs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Problem, match="toys.yaml: names no `shortcut`"):
        shortcut.work(job("shortcut", cell()))
    biased = cell("tied", shortcut=[("p0", "hat")], reference="toys")
    witnessed(biased, 1)
    witnessed(cell(), 0)
    answered(biased.folder("interventions"), "tied", 0.8)
    none = cell().folder("interventions") / "none.json"
    none.parent.mkdir(parents=True)
    none.write_text(json.dumps({"reason": "no code"}))
    assert shortcut.work(job("shortcut", biased)) == {}
    assert load_json(job("shortcut", biased).out / "none.json") == {"reason": "no code"}
    with pytest.raises(NotApplicable, match="no code"):
        shortcut.Answered(none.parent)
    none.unlink()
    none.parent.rmdir()
    answered(none.parent, "toys", 0.0)
    with pytest.raises(Problem, match="hat is no attribute"):
        shortcut.work(job("shortcut", biased))

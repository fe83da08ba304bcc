"""The measures' numbers against closed forms and other people's implementations."""

import numpy as np
import pandas as pd
import pytest
import torch
from cleanfid import fid as cleanfid
from PIL import Image
from scipy.stats import rankdata
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import mutual_info_score, roc_auc_score
from sklearn.model_selection import KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torchmetrics.functional.image import peak_signal_noise_ratio

from analysis import features, frechet, intervals
from analysis.measures import reconstruction
from analysis.measures.latent_score import latent_score, published
from analysis.measures.tad import (
    auroc_matrix,
    captured_value,
    held_out,
    held_out_value,
    mid_ranks,
    pca_value,
    principal,
    redundancy,
    tad,
    tad_value,
)
from analysis.references import (
    Classifier,
    fit,
    load_classifier,
    masked_loss,
    save_classifier,
    scores,
)
from analysis.spec import Labels
from patronus.config import Classifier as Settings
from patronus.errors import NotApplicable, Problem
from patronus.files import sha256
from patronus.method import to_unit
from patronus.rows import random_rows

RNG = np.random.default_rng


def _labels(values: np.ndarray, categorical: bool = False) -> Labels:
    k = values.shape[1]
    return Labels(values, tuple(f"a{i}" for i in range(k)), (categorical,) * k)


# --- Frechet and kernel distance ---------------------------------------------------------------

def _random_gaussian(d: int, rank: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = RNG(seed)
    mix = rng.normal(size=(d, rank))
    return rng.normal(size=d), mix @ mix.T / rank


@pytest.mark.parametrize("rank", [40, 12], ids=["regular", "singular"])
def test_frechet_distance_equals_clean_fid(rank):
    first, second = _random_gaussian(40, rank, 0), _random_gaussian(40, rank, 1)
    ours = frechet.between(*first, *second)
    assert ours == pytest.approx(float(cleanfid.frechet_distance(*first, *second)), rel=1e-6)


def test_frechet_distance_of_singular_covariances_in_closed_form():
    """S = diag(4, 0) and diag(1, 0): (2 - 1)^2 in the shared direction, nothing elsewhere."""
    none = np.zeros(2)
    found = frechet.between(none, np.diag([4.0, 0]), none, np.diag([1.0, 0]))
    assert found == pytest.approx(1, rel=1e-12)


def test_frechet_distance_of_commuting_gaussians_in_closed_form():
    """sum (sqrt(a_i) - sqrt(b_i))^2 + |mu|^2 in a turned basis."""
    rng = RNG(0)
    basis = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    a, b, offset = rng.random(6) + 0.1, rng.random(6) + 0.1, rng.normal(size=6)
    found = frechet.between(offset, basis * a @ basis.T, np.zeros(6), basis * b @ basis.T)
    assert found == pytest.approx(((a**0.5 - b**0.5)**2).sum() + offset @ offset, rel=1e-10)


def test_frechet_distance_of_features():
    x = RNG(0).normal(size=(50, 80)).astype(np.float32)  # fewer samples than dimensions
    assert frechet.frechet_distance(x, x) == pytest.approx(0, abs=1e-6)
    shift = RNG(1).normal(size=80)
    assert frechet.frechet_distance(x + shift, x) == pytest.approx(shift @ shift, rel=1e-5)


def test_kernel_distance_equals_clean_fid_with_the_same_subsets():
    x, y = RNG(0).normal(size=(90, 8)), RNG(1).normal(size=(120, 8)) + 0.3
    before = str(np.random.get_state())
    ours = frechet.kernel_distance(x, y)
    assert str(np.random.get_state()) == before
    np.random.seed(0)
    assert ours == pytest.approx(cleanfid.kernel_distance(x, y), rel=1e-6)
    assert ours > 0.05


# --- TAD ---------------------------------------------------------------------------------------

def _codes_and_attributes(holes: float) -> tuple[np.ndarray, np.ndarray]:
    rng = RNG(0)
    attributes = (rng.random((300, 5)) < [0.5, 0.1, 0.3, 0.5, 0.5]).astype(float)
    attributes[:, 4] = np.where(rng.random(300) < 0.9, attributes[:, 0], attributes[:, 4])
    codes = np.round(rng.normal(size=(300, 7)) + 2 * attributes[:, [0, 1, 2, 3, 3, 0, 1]], 1)
    codes[:, 6] = 0.0  # a dead dimension: all ties
    codes[:, 3] *= -1
    attributes[rng.random(attributes.shape) < holes] = np.nan
    return codes, attributes


@pytest.mark.parametrize("holes", [0.0, 0.2])
def test_auroc_by_ranks_equals_scikit_learn(holes):
    codes, attributes = _codes_and_attributes(holes)
    ours = auroc_matrix(codes, attributes)
    for k, truth in enumerate(attributes.T):
        known = ~np.isnan(truth)
        expected = [roc_auc_score(truth[known], c[known]) for c in codes.T]
        np.testing.assert_allclose(ours[k], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("n", [0, 1, 200])
def test_ranks_equal_scipy(n):
    codes = RNG(0).normal(size=(n, 3)) * [1, 1, 0]
    codes[:, 1] = np.maximum(np.round(codes[:, 1], 1), 0)
    np.testing.assert_array_equal(mid_ranks(codes), rankdata(codes, axis=0).T)


@pytest.mark.parametrize("holes", [0.0, 0.2])
def test_redundancy_equals_scikit_learn(holes):
    _, attributes = _codes_and_attributes(holes)
    k = attributes.shape[1]
    expected = np.zeros(k)
    for i in range(k):
        own = attributes[~np.isnan(attributes[:, i]), i]
        for j in set(range(k)) - {i}:
            both = attributes[~np.isnan(attributes[:, [i, j]]).any(axis=1)]
            share = mutual_info_score(both[:, i], both[:, j]) / mutual_info_score(own, own)
            expected[i] = max(expected[i], share)
    np.testing.assert_allclose(redundancy(attributes), expected, atol=1e-12)


def test_tad_pair_by_pair():
    """The published definition, written with loops and scikit-learn."""
    codes, attributes = _codes_and_attributes(0.0)
    told, total, captured = redundancy(attributes), 0.0, []
    for truth, r in zip(attributes.T, told, strict=True):
        two_sided = sorted(max(roc_auc_score(truth, s * c) for s in (1, -1)) for c in codes.T)
        captured.append(two_sided[-1] >= 0.75 and r <= 0.2)
        total += (two_sided[-1] - two_sided[-2]) * captured[-1]
    found = tad(codes, attributes)
    assert found["tad"] == pytest.approx(total, abs=1e-9) and total > 0.1
    assert found["is_captured"].tolist() == captured == [False, True, True, True, False]
    assert found["captured"] == 3 and type(found["captured"]) is int
    assert type(found) is dict and type(found["tad"]) is float
    assert found["auroc"].shape == (5, 7)


@pytest.mark.parametrize(("flipped", "captured"), [(50, True), (51, False)])
def test_an_attribute_is_captured_from_an_auroc_of_three_quarters(flipped, captured):
    truth = np.repeat([0.0, 1.0], 200)
    code = truth.copy()
    code[:flipped] = 1
    code[200:200 + flipped] = 0  # AUROC = 1 - flipped / 200
    found = tad(np.stack([code, np.zeros(400)], axis=1), truth[:, None])
    assert found["is_captured"].tolist() == [captured]
    assert found["tad"] == pytest.approx(0.25 if captured else 0)


def test_tad_drops_constant_attributes_and_refuses_one_dimension():
    codes, attributes = _codes_and_attributes(0.0)
    attributes[:, 2] = 1
    found = tad(codes, attributes)
    assert found["dropped"].tolist() == [False, False, True, False, False]
    assert not found["is_captured"][2] and np.isnan(found["auroc"][2]).all()
    assert tad_value(codes, _labels(attributes)).detail["dropped"] == ["a2"]
    with pytest.raises(NotApplicable, match="only one"):
        tad(codes[:, :1], attributes)


@pytest.mark.parametrize("kind", [np.int64, np.uint8, bool, np.float32])
def test_tad_takes_attributes_of_any_type(kind):
    codes, attributes = _codes_and_attributes(0.0)
    found, expected = tad(codes.astype(np.float32), attributes.astype(kind)), tad(codes, attributes)
    assert all(np.array_equal(found[key], expected[key], equal_nan=True) for key in expected)


@pytest.mark.parametrize(("codes", "attributes", "message"), [
    (np.zeros((4, 2)), np.array([[-1, 1, 1, -1]]).T, "0, 1 or NaN"),
    (np.zeros((4, 2)), np.zeros((3, 1)), "are needed, not"),
    (np.zeros((4, 2)), np.zeros(4), "are needed, not"),
    (np.full((4, 2), np.nan), np.array([[0, 1, 1, 0]]).T, "finite")])
def test_tad_refuses_what_it_would_misread(codes, attributes, message):
    with pytest.raises(ValueError, match=message):
        tad(codes, attributes)


def test_tad_tells_the_best_dimension_of_every_attribute_and_what_chance_gives():
    codes, attributes = _codes_and_attributes(0.0)
    attributes[:, 2] = 1
    found = tad_value(codes, _labels(attributes)).detail
    parts = [rows for rows, _ in KFold(5, shuffle=True, random_state=0).split(codes)]
    for k, name in enumerate(("a0", "a1", "a3", "a4")):
        truth = attributes[:, [0, 1, 3, 4][k]]
        expected = np.mean([max(abs(roc_auc_score(truth[rows], c[rows]) - 0.5) for c in codes.T)
                            for rows in parts]) + 0.5
        assert found["best_auroc"][name] == pytest.approx(expected, abs=1e-9)
    shuffled = found["best_auroc_shuffled"]
    assert list(shuffled) == list(found["best_auroc"]) == ["a0", "a1", "a3", "a4"]
    assert all(0.5 < value < 0.65 for value in shuffled.values())
    assert found["best_auroc"]["a3"] > 0.9
    assert captured_value(codes, _labels(attributes)).detail == found


def test_held_out_tad_pair_by_pair():
    """Dimensions and signs chosen on one half, AUROC of the other by scikit-learn."""
    codes, attributes = _codes_and_attributes(0.0)
    train = tad(codes[:150], attributes[:150])
    found = held_out(train, codes[150:], attributes[150:])
    total = 0.0
    for truth, captured in zip(attributes.T, train["is_captured"], strict=True):
        fitted = np.array([roc_auc_score(truth[:150], c[:150]) for c in codes.T])
        first, second = np.argsort(-np.abs(fitted - 0.5))[:2]
        a, b = (roc_auc_score(truth[150:], (1 if fitted[d] >= 0.5 else -1) * codes[150:, d])
                for d in (first, second))
        total += (a - b) * captured
    assert found["tad"] == pytest.approx(total, abs=1e-9) and total > 0.1
    assert found["captured"] == train["captured"] > 0


def test_on_null_codes_luck_lifts_the_training_part_and_not_the_held_out_part():
    pairs = []
    for seed in range(40):
        rng = RNG(seed)
        codes, attributes = rng.normal(size=(400, 10)), rng.integers(0, 2, (400, 6))
        train = tad(codes[:200], attributes[:200])
        test = held_out(train, codes[200:], attributes[200:])
        pairs.append([(part["best"].mean(), part["difference"].mean()) for part in (train, test)])
    (train_best, train_difference), (test_best, test_difference) = np.mean(pairs, axis=0)
    assert train_best > 0.55 and test_best == pytest.approx(0.5, abs=0.01)
    assert train_difference > 0.01 and test_difference == pytest.approx(0, abs=0.01)
    assert test_difference < train_difference


def test_held_out_tad_drops_what_is_constant_in_either_part():
    codes, attributes = _codes_and_attributes(0.0)
    attributes[:150, 2] = attributes[150:, 3] = 1
    train = tad(codes[:150], attributes[:150])
    assert train["is_captured"][3]
    found = held_out(train, codes[150:], attributes[150:])
    assert found["dropped"].tolist() == [False, False, True, True, False]
    assert not found["is_captured"][3] and np.isfinite(found["tad"])
    rare = np.zeros(300)
    rare[0] = 1  # in one fold's held-out part, and so in four folds' training part
    labels = _labels(np.stack([attributes[:, 0], rare], axis=1))
    assert held_out_value(codes, labels).detail["dropped"] == ["a1"]


def test_principal_components_do_not_mind_scale_rotation_of_copies_or_missing_rank():
    rng = RNG(0)
    sources = rng.normal(size=(200, 3))
    codes = np.repeat(sources, (20, 12, 8), axis=1) * rng.lognormal(size=40) + rng.normal(size=40)
    found = principal(codes)
    assert found.shape == (200, 32)
    assert (found[:, 3:] == 0).all(), "what has no variance must not be read from rounding"
    close = np.abs(np.corrcoef(found[:, :3].T, sources.T)[:3, 3:])
    assert (close.argmax(axis=1) == [0, 1, 2]).all() and (close.max(axis=1) > 0.95).all()
    assert (principal(np.zeros((40, 33))) == 0).all()
    codes = rng.normal(size=(200, 40)) @ rng.normal(size=(40, 40))
    expected = PCA(32, svd_solver="full").fit_transform(StandardScaler().fit_transform(codes))
    np.testing.assert_allclose(np.abs(principal(codes)), np.abs(expected), atol=1e-8)


def test_tad_of_components_undoes_copies_and_is_fitted_in_each_fold():
    rng = RNG(0)
    values = rng.integers(0, 2, (600, 4)).astype(float)
    codes = np.repeat(values + 0.2 * rng.normal(size=values.shape), (24, 12, 6, 3), axis=1)
    assert tad_value(codes, _labels(values)).value == pytest.approx(0, abs=1e-12)
    found = pca_value(codes, _labels(values))
    folds = KFold(5, shuffle=True, random_state=0)
    expected = [tad(principal(codes[rows]), values[rows])["tad"] for rows, _ in folds.split(codes)]
    assert found.value == pytest.approx(np.mean(expected), abs=1e-12) and found.value > 1.5


# --- latent score ------------------------------------------------------------------------------

@pytest.mark.parametrize(("classes", "scoring"), [(2, "roc_auc"), (3, "accuracy")])
def test_latent_score_equals_a_plain_pipeline(classes, scoring):
    rng = RNG(0)
    values = rng.integers(0, classes, size=(300, 2)).astype(float)
    codes = rng.normal(size=(300, 6)) + 0.7 * values[:, [0, 1, 0, 1, 0, 1]]
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    folds = KFold(5, shuffle=True, random_state=0)
    expected = np.mean([cross_val_score(pipeline, codes, y, cv=folds, scoring=scoring)
                        for y in values.T], axis=0)
    found = latent_score(codes, _labels(values, categorical=classes > 2))
    assert found.value == pytest.approx(expected.mean(), abs=1e-12)
    assert found.detail["sd_over_folds"] == pytest.approx(expected.std(), abs=1e-12)
    assert found.low < found.value < found.high  # over images: see the next test
    assert found.unit == {"roc_auc": "AUROC", "accuracy": "accuracy"}[scoring]


def test_the_interval_of_an_accuracy_is_that_of_a_share_of_images():
    """Wilson's and ours agree; the deviation over five folds says something else."""
    rng = RNG(1)
    values = rng.integers(0, 3, size=(2000, 1)).astype(float)
    found = latent_score(rng.normal(size=(2000, 4)) + 0.5 * values, _labels(values, categorical=1))
    expected = intervals.proportion(round(2000 * found.value), 2000)
    np.testing.assert_allclose((found.low, found.high), expected[1:], atol=1e-3)
    assert found.high - found.low == pytest.approx(
        2 * 1.96 * (found.value * (1 - found.value) / 2000) ** 0.5, rel=0.03)


def test_the_interval_of_an_auroc_is_as_wide_as_new_images_make_it():
    """Against the standard deviation of the score over sets of other images."""
    def of(seed: int):
        values = RNG(seed).integers(0, 2, size=(300, 2)).astype(float)
        codes = RNG(seed + 1000).normal(size=(300, 3)) + 0.8 * values[:, [0, 1, 0]]
        return latent_score(codes, _labels(values))
    found = [of(seed) for seed in range(40)]
    width = np.mean([part.high - part.low for part in found])
    assert width == pytest.approx(2 * 1.96 * np.std([part.value for part in found]), rel=0.3)


def test_latent_score_leaves_unknown_labels_out_and_names_what_it_dropped():
    rng = RNG(0)
    values = rng.integers(0, 2, size=(200, 3)).astype(float)
    codes = rng.normal(size=(200, 4)) + values[:, :1]
    alone = latent_score(codes, _labels(values[:, :1]))
    values[:, 1], values[:, 2] = 1.0, np.nan
    found = latent_score(codes, _labels(values))
    assert found.value == alone.value
    assert found.detail["dropped"] == ["a1", "a2"]


def test_the_published_protocol_takes_ten_thousand_or_all_of_a_set_of_classes():
    rng = RNG(0)
    values, codes = rng.integers(0, 2, size=(10_050, 2)).astype(float), rng.normal(size=(10_050, 2))
    attributes = _labels(values)
    rows = random_rows(10_050, 10_000, "latent_score", "rows")
    assert published(codes, attributes) == latent_score(codes[rows], attributes[rows])
    assert published(codes, _labels(values[:, :1], categorical=True)).n == 10_050


# --- reconstruction ----------------------------------------------------------------------------

def test_psnr_equals_torchmetrics_and_batches_do_not_matter(monkeypatch):
    rng = RNG(0)
    truth = rng.integers(0, 256, size=(7, 3, 16, 20), dtype=np.uint8)
    images = np.clip(truth + rng.normal(0, [[[[20]]]], truth.shape), 0, 255).astype(np.uint8)
    expected = [peak_signal_noise_ratio(torch.tensor(a / 255), torch.tensor(b / 255),
                                        data_range=1.0).item()
                for a, b in zip(images, truth, strict=True)]
    np.testing.assert_allclose(reconstruction.psnrs(images, truth), expected, rtol=1e-5)
    whole = [spec.rows[0].compute(images, truth).value for spec in reconstruction.SPECS]
    monkeypatch.setattr(reconstruction, "BATCH", 2)
    parts = [spec.rows[0].compute(images, truth).value for spec in reconstruction.SPECS]
    assert parts == pytest.approx(whole, rel=1e-6)


# --- extractors --------------------------------------------------------------------------------

class _Layers(nn.Module):
    """A stand-in for the official network: its interface and sizes, not its weights."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2048, 13, stride=143)

    def forward(self, x):
        return self.conv(x).mean(dim=(2, 3))


class _StandIn(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = _Layers()

    def forward(self, x):
        return self.layers(x)


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "mine.pt"
    torch.jit.script(_StandIn()).save(str(path))
    return path


@pytest.mark.parametrize("channels", [1, 3])
def test_inception_features_equal_clean_fids_own_path_through_image_files(tmp_path, weights,
                                                                          channels):
    images = RNG(0).integers(0, 256, size=(5, channels, 32, 24), dtype=np.uint8)
    folder = tmp_path / "png"
    folder.mkdir()
    for i, image in enumerate(images):
        pixels = image[0] if channels == 1 else image.transpose(1, 2, 0)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    expected = cleanfid.get_folder_features(str(folder), features._inception(weights),
                                            num_workers=0, device=torch.device("cpu"),
                                            verbose=False)
    ours = features.extract(images, features.inception_extractor(weights, threads=2), "x", 2)
    assert ours.shape == (5, 2048) and ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_where_inception_comes_from(tmp_path, weights, monkeypatch):
    monkeypatch.delenv("PATRONUS_DOWNLOAD", raising=False)
    monkeypatch.setattr(features, "CACHE", tmp_path / "cache.pt")
    monkeypatch.setenv("PATRONUS_INCEPTION", str(weights))
    assert features.inception_file() == weights
    monkeypatch.setenv("PATRONUS_INCEPTION", str(tmp_path / "absent.pt"))
    with pytest.raises(Problem, match="absent.pt"):
        features.inception_file()
    monkeypatch.delenv("PATRONUS_INCEPTION")
    with pytest.raises(NotApplicable, match="PATRONUS_DOWNLOAD=1"):
        features.inception_file()
    (tmp_path / "cache.pt").write_bytes(b"not a network")
    monkeypatch.setattr(features, "SHA256", sha256(tmp_path / "cache.pt"))
    assert features.inception_file() == tmp_path / "cache.pt"
    with pytest.raises(Problem, match="cache.pt"):
        features.inception_extractor(tmp_path / "cache.pt")


def test_a_broken_download_leaves_nothing(tmp_path, monkeypatch):
    def broken(folder):
        (tmp_path / folder / features.NAME).write_bytes(b"half")
        raise OSError("connection lost")

    monkeypatch.delenv("PATRONUS_INCEPTION", raising=False)
    monkeypatch.setenv("PATRONUS_DOWNLOAD", "1")
    monkeypatch.setattr(features, "CACHE", tmp_path / "cache.pt")
    monkeypatch.setattr("cleanfid.downloads_helper.check_download_inception", broken)
    with pytest.raises(Problem, match="connection lost"):
        features.inception_file()
    assert list(tmp_path.iterdir()) == []


# --- the set's own classifier ------------------------------------------------------------------

COLUMNS = {"class": 3, "bright": 1}
SETTINGS = Settings(width=4, epochs=12, batch_size=32)


def _toy(n: int = 192) -> tuple[np.ndarray, np.ndarray]:
    """The class is which third of the image is lit, `bright` how strongly; one in ten unknown."""
    rng = RNG(0)
    labels = np.stack([rng.integers(0, 3, n), rng.integers(0, 2, n)], axis=1).astype(float)
    images = rng.integers(0, 30, size=(n, 1, 18, 18))
    for image, (third, bright) in zip(images, labels.astype(int), strict=True):
        image[:, 6 * third:6 * third + 6] += 80 + 120 * bright
    labels[rng.random(labels.shape) < 0.1] = np.nan
    return images.astype(np.uint8), labels


def test_the_classifier_learns_repeats_itself_and_survives_a_round_trip(tmp_path):
    images, labels = _toy()
    first, again = (fit(images, labels, COLUMNS, SETTINGS, seed=5) for _ in range(2))
    x = to_unit(torch.from_numpy(images))
    with torch.no_grad():
        assert torch.equal(first(x), again(x))
        found = scores(first, first.probabilities(x).numpy(), labels)
        assert found["bright"] > 0.95 and found["class"] > 0.6
        save_classifier(tmp_path, first, found)
        loaded = load_classifier(tmp_path)
        assert torch.equal(loaded(x), first(x))
        assert loaded.outputs == ["class=0", "class=1", "class=2", "bright"]
        assert torch.allclose(loaded.probabilities(x)[:, :3].sum(1), torch.ones(len(x)))
    extractor = features.classifier_extractor(loaded)
    np.testing.assert_allclose(features.extract(images, extractor, "x", 7),
                               features.extract(images, extractor, "x", 192), atol=1e-5)


def test_unknown_labels_neither_pull_nor_spoil():
    torch.manual_seed(0)
    model = Classifier((1, 18, 18), COLUMNS, 4).eval()
    logits = model(torch.randn(6, 1, 18, 18))
    labels = torch.tensor([[0, 1], [1, 0], [2, 1], [0, 0], [1, 1], [2, 0.0]])
    labels[3:] = float("nan")
    assert torch.allclose(masked_loss(model, logits, labels),
                          masked_loss(model, logits[:3], labels[:3]))
    assert masked_loss(model, logits, torch.full_like(labels, float("nan"))).item() == 0


def test_a_spoilt_classifier_is_named(tmp_path):
    save_classifier(tmp_path, Classifier((1, 18, 18), COLUMNS, 4), {})
    path = tmp_path / "classifier.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(Problem, match="classifier.safetensors"):
        load_classifier(tmp_path)


def test_labels_come_from_a_table_with_holes():
    table = pd.DataFrame({"b": [1.0, None, 0.0], "a": [2, 0, 1]})
    labels = Labels.of(table, {"a": {"kind": "categorical", "names": list("xyz")},
                               "b": {"kind": "binary"}})
    assert labels.names == ("a", "b") and labels.categorical == (True, False)
    np.testing.assert_array_equal(labels[1:].values, [[0, np.nan], [1, 0]])

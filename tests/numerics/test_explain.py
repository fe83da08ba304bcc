"""What, where, when and edits: known answers on a model that paints squares, and on a real one."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from patronus import checkpoint
from patronus.config import Explain, load_study
from patronus.diffusion import Diffusion
from patronus.explain import edit, ranks, what, when, where
from patronus.explain.__main__ import work
from patronus.files import load_json, save_json, save_npy
from patronus.method import Located, Method, to_unit
from patronus.model import Model
from patronus.rows import shuffled_rows
from patronus.stage import Job

SIDE, ROWS, COLUMNS = 12, 2, 3  # square j paints j + 1 waves in a 12 px square of a 2x3 grid
M = ROWS * COLUMNS
APPEARS = [900, 760, 620, 480, 340, 200]  # the t from which on square j is in x0hat_t
SETTINGS = Explain(dims=M, images=5, steps=40, batch_size=7, curves=M, sweeps=4, pairs=2)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


class Squares(Method):
    """x0 = x_T + sum_j code_j * pattern_j; a square's box and its place in the map are known."""

    def __init__(self):
        super().__init__((1, ROWS * SIDE, COLUMNS * SIDE), M)
        self.place = nn.Parameter(torch.zeros(1), requires_grad=False)
        wave, self.corners = torch.zeros(M, *self.shape[1:]), torch.zeros(M, 4, dtype=torch.long)
        for j in range(M):
            y, x = SIDE * (j // COLUMNS), SIDE * (j % COLUMNS)
            wave[j, y:y + SIDE, x:x + SIDE] = torch.cos(
                2 * torch.pi * (j + 1) / SIDE * torch.arange(SIDE))
            self.corners[j] = torch.tensor([y, x, y + SIDE, x + SIDE])
        self.wave = wave

    def encode(self, x0: Tensor) -> Tensor:
        return torch.einsum("bhw,mhw->bm", x0[:, 0], self.wave) / self.wave.square().sum((1, 2))

    def paint(self, code: Tensor) -> Tensor:
        return torch.einsum("bm,mhw->bhw", code, self.wave)[:, None]

    def decode(self, x_T, code, steps, on_step=None):
        for t in Diffusion().times(steps):
            x0hat = x_T + self.paint(code * (t <= torch.tensor(APPEARS)))
            if on_step:
                on_step(t, x0hat)
        return x0hat

    def invert(self, x0, code, steps):
        return x0 - self.paint(code)

    def locate(self, x0: Tensor) -> Located:
        s = self.encode(x0)
        maps = (s[..., None] - 1).repeat(1, 1, M) + torch.eye(M)
        return Located(s, self.corners.expand(len(x0), -1, -1), maps.unflatten(2, (ROWS, COLUMNS)))


@pytest.fixture(scope="module")
def squares() -> Squares:
    return Squares()


def pictures(model: Squares, count: int = 5) -> np.ndarray:
    """uint8 images: squares of random strength below 0.3 on a plain ground."""
    torch.manual_seed(1)
    return what.pixels(model.paint(0.3 * torch.rand(count, M)) + 0.2)


def codes() -> np.ndarray:
    """Codes of a representative set: v_max is 0.5 + j / 100, the spread falls with j."""
    column = np.linspace(0, 1, 50, dtype=np.float32)[:, None]
    return 0.5 + np.arange(M, dtype=np.float32) / 100 - column * (1 - np.arange(M) / 10)


@pytest.fixture(scope="module")
def explained(squares) -> tuple[what.Inverted, dict]:
    images = pictures(squares)
    given = what.inverted(squares, images, SETTINGS)
    return given, what.visualise(squares, images, codes().astype(np.float32), SETTINGS, given)


def real(shape=(1, 24, 24), m: int = 5) -> Model:
    """A small Patronus with random weights; 8 groups of one channel would hide the code."""
    torch.manual_seed(3)
    return Model(shape, m, base=8, multipliers=(1, 2), encoder_channels=(4, 4, 4, 8),
                 prediction="v").eval().requires_grad_(False)


def random_images(count: int, seed: int = 0, shape=(1, 24, 24)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


# what


def test_a_raised_dimension_is_realised_in_its_own_square(squares, explained):
    given, found = explained
    order = found["order"]
    assert sorted(order) == list(range(M))
    assert (np.diff((found["realised"] - found["before"]).mean(1)) <= 0).all()
    np.testing.assert_allclose(found["v_max"], 0.5 + np.arange(M) / 100, atol=1e-6)
    np.testing.assert_allclose(found["realised"], np.tile(found["requested"][:, None], 5),
                               atol=1e-5)
    np.testing.assert_allclose(found["before"], given.code[:, order].T, atol=1e-6)
    assert (found["boxes"] == squares.corners[order][:, None].numpy()).all()
    np.testing.assert_array_equal(found["recon"], found["images"])
    for p, j in enumerate(order):
        changed = (found["edited"][p] != found["recon"]).any((0, 1))
        y0, x0, y1, x1 = squares.corners[j]
        assert changed[y0:y1, x0:x1].any() and changed.sum() == changed[y0:y1, x0:x1].sum()


def test_the_dimensions_of_largest_spread_are_taken(squares):
    found = what.visualise(squares, pictures(squares), codes().astype(np.float32),
                           SETTINGS.model_copy(update={"dims": 2}))
    assert sorted(found["order"]) == [0, 1]


@pytest.mark.parametrize("size", [1, 5, 64])
def test_the_nearest_training_patch_is_the_planted_one(size: int):
    """A prototype equal to one patch's feature: nothing can be nearer."""
    model, images = real(), random_images(23)
    z = model.prototypes.features(to_unit(torch.from_numpy(images)))
    planted = [(22, 0, 0), (0, 5, 5), (7, 2, 4), (11, 3, 0), (7, 1, 1)]  # row, then position
    for j, (row, y, x) in enumerate(planted):
        model.prototypes.vectors[j] = z[row, :, y, x]
    dims = np.array([3, 0, 4, 1, 2])
    found = what.nearest_patches(model, images, dims, Explain(batch_size=size))
    for p, j in enumerate(dims):
        row, y, x = planted[j]
        assert found["near_rows"][p] == row
        assert (found["near_images"][p] == images[row]).all()
        assert found["near_boxes"][p].tolist() == [max(0, 2 * y - 1), max(0, 2 * x - 1),
                                                   min(24, 2 * y + 14), min(24, 2 * x + 14)]
    assert (found["near_activation"] > 9).all()


def test_of_equally_near_patches_the_first_is_taken():
    images = np.tile(random_images(3), (4, 1, 1, 1))
    for size in (2, 5):
        found = what.nearest_patches(real(), images, np.arange(5), Explain(batch_size=size))
        assert (found["near_rows"] < 3).all()


# where


def test_maps_peak_where_the_boxes_are(squares, explained):
    found = where.fires(squares, explained[0].x0, np.array([4, 1]), SETTINGS)
    assert found["maps"].shape == (5, 2, ROWS, COLUMNS) and found["maps"].dtype == np.float16
    assert (found["maps"].reshape(5, 2, -1).argmax(2) == [4, 1]).all()
    assert (found["boxes"] == squares.corners[[4, 1]].numpy()).all()
    np.testing.assert_allclose(found["activation"], explained[0].code[:, [4, 1]], atol=1e-6)


def test_maps_of_a_real_model_peak_where_the_boxes_are():
    model = real()
    found = where.fires(model, to_unit(torch.from_numpy(random_images(6))), np.array([2, 0, 3]),
                        Explain(batch_size=4))
    y, x = (part // 2 for part in found["boxes"][..., 2:].transpose(2, 0, 1))
    y, x = np.minimum(y - 7, 5), np.minimum(x - 7, 5)  # boxes end at 2 y + 14, clipped at 24
    clipped = (found["boxes"][..., 2:] == 24).any(-1)
    peak = np.take_along_axis(found["maps"].reshape(6, 3, -1), (6 * y + x)[..., None], 2)[..., 0]
    np.testing.assert_allclose(found["maps"].max((2, 3)), found["activation"], rtol=1e-3)
    np.testing.assert_array_equal(peak[~clipped], found["maps"].max((2, 3))[~clipped])
    assert (~clipped).any()


# when


def test_each_square_emerges_at_its_time(squares, explained):
    given, found = explained
    result = when.emergence(squares, given, found, SETTINGS)
    times, order = result["times"], found["order"]
    assert times.shape == (40,) and times[0] == 999 and times[-1] == 1
    expected = [max(t for t in times if t <= APPEARS[j]) for j in order]
    assert result["tau"].tolist() == expected
    np.testing.assert_allclose(result["centroid"], (order + 1) / SIDE, atol=0.005)
    assert [result[key] for key in ("rho", "rho_low")] == pytest.approx([-1, -1])
    assert -1 < result["rho_high"] < 0  # a few in order may be luck
    gone = np.array([times > APPEARS[j] for j in order])[:, None]
    full = (found["realised"] - found["before"])[..., None]
    np.testing.assert_allclose(result["improvement"],
                               np.where(gone, -found["before"][..., None], full), atol=1e-5)


def test_the_trace_is_that_of_the_reconstruction(squares, explained):
    given, found = explained
    settings = SETTINGS.model_copy(update={"curves": 2})
    result = when.emergence(squares, given, found, settings)
    assert result["dims"].tolist() == found["order"][:2].tolist()
    assert result["trace"].shape == (4, 40, M) and result["strip"].shape[:2] == (4, 8)
    np.testing.assert_allclose(result["trace"][:, -1], given.code[:4, found["order"]], atol=1e-5)
    assert np.abs(result["trace"][:, 0]).max() < 1e-5  # nothing has appeared at t = 999
    np.testing.assert_array_equal(result["strip"][:, -1], found["recon"][:4])
    assert set(result["strip_times"]) <= set(result["times"])
    drawn = squares.encode(to_unit(torch.from_numpy(result["strip"]).flatten(0, 1)))
    there = torch.from_numpy(result["strip_times"])[:, None] <= torch.tensor(APPEARS)
    torch.testing.assert_close(drawn.view(4, 8, M), given.code[:4, None] * there, atol=0.01,
                               rtol=0)
    assert (result["strip_times"][0], result["strip_times"][-1]) == (999, 1)
    assert np.isnan([result["rho"], result["rho_low"], result["rho_high"]]).all()


def test_improvement_ends_at_what_was_realised():
    model, images = real(), random_images(5)
    settings = Explain(dims=5, steps=6, batch_size=4)
    given = what.inverted(model, images, settings)
    found = what.visualise(model, images, given.code.numpy(), settings, given)
    result = when.emergence(model, given, found, settings)
    np.testing.assert_allclose(result["improvement"][..., -1],
                               found["realised"] - found["before"], atol=1e-5)
    assert np.ptp(result["improvement"], axis=2).min() > 0


def test_a_square_arrives_whole_when_it_appears(squares, explained):
    given, found = explained
    result = when.emergence(squares, given, found, SETTINGS)
    there = np.array([result["times"] <= APPEARS[j] for j in found["order"]])
    np.testing.assert_allclose(result["arrived"], np.tile(there[..., None], 2), atol=1e-5)


class Waves(Squares):
    """x0 = x_T + code_j * (a coarse wave + a fine one); t from which on each is in x0hat_t."""

    COARSE, FINE = 900, 300

    def __init__(self):
        super().__init__()
        x = torch.arange(self.shape[2]) / self.shape[2]
        y = torch.arange(self.shape[1])[:, None] / self.shape[1]
        coarse, fine = (torch.stack([torch.cos(2 * torch.pi * (first * y + k * x) + j)
                                     for j, k in enumerate(cycles)])
                        for first, cycles in ((0, range(1, 4)), (4, range(4, 7))))
        self.parts, self.wave = (coarse, fine), coarse + fine
        self.code_dim = len(self.wave)

    def decode(self, x_T, code, steps, on_step=None):
        for t in Diffusion().times(steps):
            wave = self.parts[0] * (t <= self.COARSE) + self.parts[1] * (t <= self.FINE)
            x0hat = x_T + torch.einsum("bm,mhw->bhw", code, wave)[:, None]
            if on_step:
                on_step(t, x0hat)
        return x0hat

    def locate(self, x0: Tensor) -> Located:
        s = self.encode(x0)
        return Located(s, torch.tensor([0, 0, *self.shape[1:]]).expand(*s.shape, 4),
                       torch.zeros(*s.shape, 2, 2))


def test_the_coarse_part_of_a_change_arrives_before_the_fine_one():
    model, settings = Waves(), SETTINGS.model_copy(update={"dims": 3, "curves": 3})
    torch.manual_seed(1)
    images = what.pixels(model.paint(0.3 * torch.rand(5, 3)) + 0.2)
    given = what.inverted(model, images, settings)
    found = what.visualise(model, images, np.ones((4, 3), np.float32), settings, given)
    result = when.emergence(model, given, found, settings)
    there = np.stack([result["times"] <= model.COARSE, result["times"] <= model.FINE], 1)
    np.testing.assert_allclose(result["arrived"], np.tile(there, (3, 1, 1)), atol=1e-4)


def test_the_difference_of_two_images_arrives_with_their_parts():
    model, settings = Waves(), SETTINGS.model_copy(update={"dims": 3, "curves": 3})
    torch.manual_seed(1)
    images = np.zeros((3, *model.shape), np.uint8)  # x_T alike, codes apart
    given = what.inverted(model, images, settings)
    given = given._replace(x_T=torch.zeros_like(given.x_T), code=0.3 * torch.rand(3, 3))
    times, plain = when.unedited(model, given, settings)
    arrived = when.shares(when.overlap(plain - plain.roll(1, 0)).sum(0), torch.zeros(2))
    there = np.stack([times <= model.COARSE, times <= model.FINE], 1)
    np.testing.assert_allclose(arrived, there, atol=1e-4)


def test_a_dimension_that_was_up_already_changes_nothing():
    """Batches differ, so what is the same image twice differs by rounding: that is no change."""
    model, images = real(), random_images(5)
    settings = Explain(dims=5, steps=6, batch_size=4)
    given = what.inverted(model, images, settings)
    given = given._replace(code=given.code[:1].repeat(5, 1))
    top = given.code.numpy() + np.array([[0], [1], [0], [0], [0]]) * np.array([0, 0, 9, 9, 9])
    found = what.visualise(model, images, top.astype(np.float32), settings, given)
    arrived = when.emergence(model, given, found, settings)["arrived"]
    raised = np.isin(found["order"], [2, 3, 4])
    assert np.isfinite(arrived[raised]).all() and np.isnan(arrived[~raised]).all()


def test_overlap_is_the_inner_product_by_bands():
    """Waves of four cycles and the mean are coarse, those of five fine; signs and sizes count."""
    y, x = torch.meshgrid(torch.arange(48.0) / 48, torch.arange(24.0) / 24, indexing="ij")
    coarse = 0.5 + torch.cos(2 * torch.pi * 4 * y) + torch.sin(2 * torch.pi * (2 * x + 3 * y))
    fine = torch.cos(2 * torch.pi * 5 * x) + torch.cos(2 * torch.pi * (3 * x + 4 * y))
    steps = torch.stack([3 * coarse, -fine, coarse - 0.5 * fine, coarse + fine])
    found = when.overlap(steps[None, :, None].repeat(2, 1, 3, 1, 1))
    power = torch.tensor([0.25 + 0.5 + 0.5, 0.5 + 0.5]) * 3 * 48 * 24
    torch.testing.assert_close(
        found, (torch.tensor([[3, 0], [0, -1], [1, -0.5], [1, 1]]) * power).expand(2, -1, -1),
        rtol=1e-4, atol=0.01)
    torch.manual_seed(1)
    noise = torch.randn(2, 4, 3, 15, 20)
    torch.testing.assert_close(when.overlap(noise).sum(-1),
                               (noise * noise[:, -1:]).sum((2, 3, 4)), rtol=1e-4, atol=1e-2)


TIMES = np.array([9, 7, 5, 3, 1])


@pytest.mark.parametrize(("improvement", "expected"), [
    ([0, 0, 1, 1, 1], 5),  # a step
    ([0, 0.25, 0.5, 0.75, 1], 5),  # a ramp
    ([0.6, 0.7, 0.8, 0.9, 1], 9),  # there from the start
    ([-3, -3, -3, -3, 0.1], 1),  # at the very end
    ([0, 2, 0, 0, 1], 7),  # the first time counts
    ([0, 1, 2, 1, 0], np.nan),  # never gains
    ([0, 1, 2, 1, -1], np.nan),
    ([0, 0, 0, 0, 0], np.nan),
    ([np.nan] * 5, np.nan)])
def test_half_time(improvement, expected):
    assert when.half_time(TIMES, np.array(improvement)) == pytest.approx(expected, nan_ok=True)


def test_half_times_of_many_curves_at_once():
    many = np.array([[[0, 0, 1, 1, 1], [0, 0, 0, 0, 2]], [[1, 1, 1, 1, 1], [0, 0, 0, 0, -1]]])
    np.testing.assert_array_equal(when.half_time(TIMES, many), [[5, 1], [9, np.nan]])


def waves(cycles_y: float, cycles_x: float, height: int = 16, width: int = 16) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.cos(2 * np.pi * (cycles_y * y / height + cycles_x * x / width))


@pytest.mark.parametrize(("patch", "expected"), [
    (waves(0, 3), 3 / 16), (waves(3, 4), 5 / 16), (waves(8, 0), 0.5), (waves(8, 8), np.sqrt(0.5)),
    (waves(2, 0, 10, 15), 0.2), (waves(0, 3, 10, 15), 0.2),
    (40 * waves(0, 3) + 128, 3 / 16), (waves(0, 2) + waves(6, 0), 4 / 16),
    (3 * waves(0, 2) + waves(6, 0), (9 * 2 + 6) / 10 / 16)])
def test_the_centroid_of_waves_is_their_frequency(patch, expected):
    assert when.spectral_centroid(patch) == pytest.approx(expected, abs=1e-9)


def test_the_centroid_of_white_noise_is_the_mean_frequency():
    rng = np.random.default_rng(0)
    found = np.mean([when.spectral_centroid(rng.normal(size=(16, 16))) for _ in range(400)])
    radius = np.hypot(np.fft.fftfreq(16)[:, None], np.fft.fftfreq(16))
    assert found == pytest.approx(radius.sum() / 255, rel=0.005)


@pytest.mark.parametrize("value", [0, 0.1, 1 / 3, 255])
def test_a_constant_patch_has_no_centroid(value):
    assert np.isnan(when.spectral_centroid(np.full((15, 13), value)))


def test_the_centroid_of_a_dimension_is_the_mean_over_its_patches():
    images = np.zeros((2, 3, 3, 16, 32), np.uint8)
    images[0, 0, 1, :, 16:] = np.round(100 + 90 * waves(0, 2))  # each in one colour only
    images[0, 1, 2, :, 16:] = np.round(100 + 90 * waves(4, 0))
    boxes = np.tile([0, 16, 16, 32], (2, 3, 1))
    found = when.patch_centroid(images, boxes)  # the third image's patch is constant
    assert found[0] == pytest.approx(3 / 16, abs=0.003)
    assert np.isnan(found[1])


def test_rank_correlation_against_a_hand_made_one():
    x, y = np.arange(6.0), np.array([1.0, 2, 3, 4, 6, 5])
    found = ranks.rank_correlation(x, y)
    assert found["rho"] == pytest.approx(1 - 6 * 2 / (6 * 35))
    assert found["rho_low"] < found["rho"] < found["rho_high"] + 1e-9 <= 1 + 2e-9
    assert found == ranks.rank_correlation(x, y)
    missing = np.array([np.nan, 1.0])
    also = ranks.rank_correlation(np.append(x, missing), np.append(y, missing[::-1]))
    assert also == found


def test_rank_correlations_are_scipys_row_by_row():
    x, y = np.random.default_rng(1).integers(0, 9, (2, 20, 15)).astype(float)  # with ties
    expected = [stats.spearmanr(*pair).statistic for pair in zip(x, y, strict=True)]
    np.testing.assert_allclose(ranks.spearman(x, y), expected, atol=1e-12)


def test_the_interval_of_no_correlation_holds_zero_and_narrows():
    rng = np.random.default_rng(2)
    found = {n: ranks.rank_correlation(*rng.normal(size=(2, n))) for n in (12, 200)}
    width = {n: part["rho_high"] - part["rho_low"] for n, part in found.items()}
    assert all(part["rho_low"] < 0 < part["rho_high"] for part in found.values())
    assert width[200] == pytest.approx(4 / np.sqrt(200), rel=0.15)
    assert width[12] > 2 * width[200]


@pytest.mark.parametrize("tau", [np.arange(4.0), np.array([1, 2, 3, 4, np.nan])])
def test_few_dimensions_have_no_rank_correlation(tau):
    found = ranks.rank_correlation(tau, np.arange(len(tau)))
    assert found.keys() == {"rho", "rho_low", "rho_high"}
    assert np.isnan(list(found.values())).all()


def test_the_interval_holds_a_correlation_that_ties_make_small():
    """Five of six appear at once."""
    found = ranks.rank_correlation(np.array([999, 999, 999, 999, 999, 223.0]),
                                   np.array([0.198, 0.203, 0.197, 0.194, 0.191, 0.184]))
    assert found["rho_low"] < found["rho"] < found["rho_high"] < 1


def test_ties_everywhere_have_no_rank_correlation():
    assert np.isnan(ranks.rank_correlation(np.ones(6), np.arange(6.0))["rho"])


# edit


def test_a_sweep_sets_one_dimension_and_no_other(squares, explained):
    given, _ = explained
    values = np.array([0.0, 0.4, 0.8])
    swept = edit.sweep(squares, given.x_T, given.code, np.array([2, 0, 5, 1, 2]), values, SETTINGS)
    for i, j in enumerate([2, 0, 5, 1, 2]):
        codes = squares.encode(swept[i])
        expected = given.code[i].expand(3, -1).clone()
        expected[:, j] = torch.from_numpy(values)
        torch.testing.assert_close(codes, expected, atol=1e-5, rtol=0)


def test_a_sweep_at_the_images_own_value_is_the_reconstruction():
    model, images, settings = real(), random_images(3), Explain(steps=6, batch_size=2)
    given = what.inverted(model, images, settings)
    recon = model.decode(given.x_T, given.code, 6)
    for j in range(5):
        for i in range(3):
            one = given.rows(slice(i, i + 1))
            swept = edit.sweep(model, one.x_T, one.code, np.array([j]),
                               np.array([float(one.code[0, j]), 3.0]), settings)
            torch.testing.assert_close(swept[0, 0], recon[i], atol=1e-5, rtol=0)
            assert (swept[0, 1] - recon[i]).abs().max() > 1e-3


def test_an_interpolation_ends_in_both_reconstructions():
    model, images, settings = real(), random_images(4), Explain(steps=6, batch_size=5)
    given = what.inverted(model, images, settings)
    recon = model.decode(given.x_T, given.code, 6)
    a, b = given.rows(slice(0, 2)), given.rows(slice(2, 4))
    mixed = edit.interpolate(model, a, b, np.array([0, 0.5, 1]), settings)
    assert mixed.shape == (2, 3, 1, 24, 24)
    torch.testing.assert_close(mixed[:, 0], recon[:2], atol=1e-5, rtol=0)
    torch.testing.assert_close(mixed[:, 2], recon[2:], atol=1e-5, rtol=0)
    half = model.decode(edit.slerp(a.x_T, b.x_T, 0.5), (a.code + b.code) / 2, 6)
    torch.testing.assert_close(mixed[:, 1], half, atol=1e-5, rtol=0)


def test_a_variation_keeps_the_code_and_takes_the_noise(squares, explained):
    given, _ = explained
    x_T = torch.randn(5, 3, *squares.shape)
    varied = edit.vary(squares, given.code, x_T, SETTINGS)
    torch.testing.assert_close(varied - x_T, squares.paint(given.code)[:, None].expand_as(x_T),
                               atol=1e-5, rtol=0)


def test_the_arrays_of_the_edits(squares, explained):
    given, found = explained
    rows = np.array([3, 4, 10, 20, 21])
    result = edit.edits(squares, given, found, rows, "toy", SETTINGS)
    assert result["sweep_dims"].tolist() == found["order"][:4].tolist()
    np.testing.assert_allclose(result["sweep_values"], [0, 0.5, 1, 1.5, 2, 2.5, 3])
    best = found["best"][:4]
    np.testing.assert_array_equal(result["sweep_row"], rows[best])
    np.testing.assert_array_equal(result["sweep_source"], found["images"][best])
    assert result["pair_rows"].tolist() == [[3, 4], [10, 20]]
    np.testing.assert_array_equal(result["pair"][:, [0, 8]], result["pair_sources"])
    np.testing.assert_array_equal(result["vary_recon"], result["vary_sources"])
    assert len(np.unique(result["vary"].reshape(12, -1), axis=0)) == 12
    again = edit.edits(squares, given, found, rows, "other", SETTINGS)
    assert (again["vary"] != result["vary"]).any()


def test_forward_noise_follows_the_schedule(squares, explained):
    given, found = explained
    result = edit.edits(squares, given, found, np.arange(5), "toy", SETTINGS)
    times, noised = result["noised_times"], to_unit(torch.from_numpy(result["noised"]))
    assert noised.shape == (4, 8, *squares.shape)
    assert (times[0], times[-1]) == (1, 999) and (np.diff(times) > 0).all()
    level = Diffusion().alpha_bar[times.copy()]
    torch.testing.assert_close(noised[:, 0], given.x0[:4], atol=0.1, rtol=0)
    eps = noised[:, -1]  # almost nothing but the noise, clipped for showing
    expected = level.sqrt().view(-1, 1, 1, 1) * given.x0[:4, None] + (
        1 - level).sqrt().view(-1, 1, 1, 1) * eps[:, None]
    inside = (eps[:, None].abs() < 0.98).expand_as(expected) & (expected.abs() < 0.98)
    torch.testing.assert_close(noised[inside], expected[inside], atol=0.03, rtol=0)


def test_one_image_is_explained_as_well(squares):
    images = pictures(squares, 1)
    given = what.inverted(squares, images, SETTINGS)
    found = what.visualise(squares, images, codes().astype(np.float32), SETTINGS, given)
    result = edit.edits(squares, given, found, np.array([7]), "toy", SETTINGS)
    assert result["pair_rows"].tolist() == [[7, 7]]
    assert result["vary"].shape[:2] == (1, 3)


UNIT = nn.functional.normalize(torch.randn(2, 4, 3, 5, generator=torch.manual_seed(0)).flatten(1),
                               dim=1).view(2, 4, 3, 5)


@pytest.mark.parametrize("weight", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_slerp_turns_by_a_share_of_the_angle_and_keeps_the_norm(weight: float):
    a, b = 5 * UNIT[:1], 5 * UNIT[1:]
    mixed = edit.slerp(a, b, weight)
    whole = torch.acos((UNIT[0] * UNIT[1]).sum().double())
    part = torch.acos(((mixed * a).sum() / 25).double().clamp(max=1))
    assert mixed.norm().item() == pytest.approx(5, rel=1e-6)
    assert part.item() == pytest.approx(weight * whole.item(), abs=1e-3)
    basis = torch.linalg.qr(torch.stack([a.flatten(), b.flatten()], 1)).Q
    inside = basis @ (basis.T @ mixed.flatten())
    torch.testing.assert_close(inside, mixed.flatten(), atol=1e-5, rtol=0)  # in their plane


def test_slerp_starts_and_ends_at_its_ends_row_by_row():
    a, b = torch.stack([UNIT[0], 3 * UNIT[1]]), torch.stack([2 * UNIT[1], UNIT[0]])
    torch.testing.assert_close(edit.slerp(a, b, 0.0), a, atol=1e-6, rtol=0)
    torch.testing.assert_close(edit.slerp(a, b, 1.0), b, atol=1e-6, rtol=0)
    halves = edit.slerp(a, b, 0.5).flatten(1).norm(dim=1)
    torch.testing.assert_close(halves, torch.tensor([1.5, 2.0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(edit.slerp(a[1:], b[1:], 0.3), edit.slerp(a, b, 0.3)[1:])


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.5, 1.0])
def test_slerp_between_parallel_and_opposite_rows(weight: float):
    same = edit.slerp(UNIT, 3 * UNIT, weight)
    torch.testing.assert_close(same, (1 + 2 * weight) * UNIT, atol=1e-6, rtol=0)
    turned = edit.slerp(UNIT, -UNIT, weight)
    torch.testing.assert_close(turned.flatten(1).norm(dim=1), torch.ones(2), atol=1e-6, rtol=0)
    along = (turned * UNIT).flatten(1).sum(1)
    torch.testing.assert_close(along, torch.full((2,), np.cos(np.pi * weight)).float(),
                               atol=1e-6, rtol=0)
    assert edit.slerp(torch.zeros_like(UNIT), UNIT, weight).isfinite().all()


# the whole


def everything(size: int) -> dict[str, np.ndarray]:
    model, images = real(), random_images(3)
    settings = Explain(dims=3, steps=3, batch_size=size, curves=2, sweeps=2, pairs=1)
    given = what.inverted(model, images, settings)
    found = what.visualise(model, images, model.encode(to_unit(torch.from_numpy(
        random_images(9, 1)))).numpy(), settings, given)
    parts = (found, where.fires(model, given.x0, found["order"], settings),
             what.nearest_patches(model, random_images(9, 2), found["order"], settings),
             when.emergence(model, given, found, settings),
             edit.edits(model, given, found, np.arange(3), "toy", settings))
    return {f"{i}.{key}": np.asarray(value) for i, part in enumerate(parts)
            for key, value in part.items()}


def test_nothing_depends_on_the_batch_size():
    expected = everything(64)
    for key, value in everything(2).items():
        assert value.shape == expected[key].shape
        atol = {"float16": 1e-3, "uint8": 1}.get(str(value.dtype), 1e-5)
        np.testing.assert_allclose(value.astype(float), expected[key].astype(float), atol=atol,
                                   err_msg=key)


def stage(tmp_path, monkeypatch, method: str) -> Job:
    """A cell of the tiny scale with random images, weights and codes."""
    monkeypatch.chdir(tmp_path)
    study = load_study("tiny", datasets=["celeba"], methods=[method])
    cell = study.cell("celeba", method, 0)
    job = Job("explanations", cell, study.datasets["celeba"], None, 1)
    data = job.folder("data")
    for i, (split, count) in enumerate((("train", 12), ("test", 9))):
        save_npy(data / f"{split}.npy", random_images(count, i, cell.shape))
    save_json(data / "meta.json", {"title": "A set", "counts": {"train": 12, "test": 9}})
    torch.manual_seed(0)
    model = checkpoint.build(cell.module, cell.shape, cell.code_dim, cell.model)
    checkpoint.save(job.folder("checkpoints"), model, checkpoint.config_of(cell))
    save_json(job.folder("checkpoints") / "record.json",
              {"found": {"steps": 4, "images_seen": 64}})
    rng = np.random.default_rng(0)
    save_npy(job.folder("codes") / "test.npy", rng.random((9, cell.code_dim), np.float32))
    return job


def test_the_stage_writes_what_was_agreed(tmp_path, monkeypatch):
    job, turned = stage(tmp_path, monkeypatch, "patronus"), []
    invert = Model.invert
    monkeypatch.setattr(Model, "invert", lambda self, x0, code, steps: (
        turned.append(len(x0)), invert(self, x0, code, steps))[1])
    assert work(job) == {"dims": 6, "images": 4}
    assert sum(turned) == 4  # what, when and edits share one inversion
    image, n, p, e = (3, 32, 32), 4, 6, 3
    agreed = {
        "what": {"rows": (n,), "order": (p,), "v_max": (8,), "requested": (p,),
                 "images": (n, *image), "recon": (n, *image), "edited": (p, n, *image),
                 "boxes": (p, n, 4), "before": (p, n), "realised": (p, n), "best": (p,),
                 "quantiles": (8, 21), "q": (21,), "near_images": (p, *image),
                 "near_boxes": (p, 4), "near_activation": (p,), "near_rows": (p,)},
        "where": {"dims": (p,), "images": (n, *image), "activation": (n, p), "boxes": (n, p, 4),
                  "maps": (n, p, 10, 10)},
        "when": {"dims": (e,), "times": (3,), "improvement": (e, n, 3), "tau": (e,),
                 "arrived": (e, 3, 2), "arrived_images": (3, 2),
                 "centroid": (e,), "rho": (), "rho_low": (), "rho_high": (), "trace": (4, 3, p),
                 "strip": (4, 3, *image), "strip_times": (3,)},
        "edits": {"sweep_dims": (2,), "sweep_values": (7,), "sweep_row": (2,),
                  "sweep_source": (2, *image), "sweep": (2, 7, *image), "pair_rows": (1, 2),
                  "pair_sources": (1, 2, *image), "pair": (1, 9, *image), "vary_rows": (4,),
                  "vary_sources": (4, *image), "vary_recon": (4, *image),
                  "vary": (4, 3, *image), "noised": (4, 8, *image), "noised_times": (8,)}}
    for name, shapes in agreed.items():
        with np.load(job.out / f"{name}.npz") as arrays:
            assert {key: arrays[key].shape for key in arrays} == shapes
            pictures = [key for key, shape in shapes.items() if shape[-3:] == image]
            assert {str(arrays[key].dtype) for key in pictures} == {"uint8"}
    found, test = np.load(job.out / "what.npz"), np.load(job.folder("data") / "test.npy")
    np.testing.assert_array_equal(found["images"], test[found["rows"]])
    np.testing.assert_array_equal(found["rows"], shuffled_rows(9, 4, "explain", "celeba"))
    assert np.load(job.out / "when.npz")["improvement"].dtype == np.float32
    assert load_json(job.out / "what.json") == {
        "dataset": "celeba", "title": "A set", "method": "patronus", "recipe": "published",
        "method_title": job.cell.title, "seed": 0, "generated": True, "split": "test",
        "scale": "tiny", "steps": 4, "images_seen": 64, "ddim_steps": 3}


def test_a_method_without_a_code_says_so(tmp_path, monkeypatch):
    job = stage(tmp_path, monkeypatch, "ddpm")
    assert work(job) == {}
    assert load_json(job.out / "none.json") == {"reason": "a plain DDPM has no code"}
    assert [path.name for path in job.out.iterdir()] == ["none.json"]


def test_a_method_without_boxes_says_so_before_the_long_work(tmp_path, monkeypatch):
    job = stage(tmp_path, monkeypatch, "patronus")
    monkeypatch.setattr(Model, "lacks", {"locate": "its code fires nowhere"})
    monkeypatch.setattr(Model, "invert", None)  # to call it would fail
    work(job)
    assert load_json(job.out / "none.json") == {"reason": "its code fires nowhere"}
    assert [path.name for path in job.out.iterdir()] == ["none.json"]

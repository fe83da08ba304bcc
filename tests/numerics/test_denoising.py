"""Held-out denoising errors and costs against known answers."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from analysis import conditioning, costs, denoising
from baselines import ddpm
from patronus.config import counterpart, load_study, method_names
from patronus.diffusion import Diffusion
from patronus.errors import NotApplicable, Problem
from patronus.method import Method, batch_of, to_unit
from patronus.model import Model as Patronus

SHAPE, COUNT, WIDTH = (3, 8, 8), 7, 4
TIMES = [1, 300, 999]
IMAGES = np.random.default_rng(0).integers(0, 256, (COUNT, *SHAPE), dtype=np.uint8)
CODES = np.random.default_rng(1).random((COUNT, WIDTH), dtype=np.float32)


class Made(Method):
    """Estimates x0 by a rule of ours; the "network" then answers in eps or in v."""

    def __init__(self, rule, prediction: str = "eps"):
        super().__init__(SHAPE, WIDTH)
        self.rule, self.diffusion = rule, Diffusion(prediction)
        self.place = nn.Parameter(torch.zeros(1))

    def predict(self, x_t: Tensor, t: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
        a = self.diffusion.alpha_bar[t].view(-1, 1, 1, 1)
        x0 = self.rule(x_t, code)
        eps = (x_t - a.sqrt() * x0) / (1 - a).sqrt()
        answer = self.diffusion.target(x0, t, eps)
        return self.diffusion.split(answer, x_t, t)


def by_code(rule_of_code) -> Made:
    """A model whose estimate of x0 is a function of the code alone."""
    return Made(lambda x_t, code: rule_of_code(code))


def mse(model: Method, codes=(CODES,), size: int = 3, images: np.ndarray = IMAGES) -> np.ndarray:
    return denoising.errors(model, images, list(codes), TIMES, size, "test")


def known(code: Tensor) -> Tensor:
    """The image whose code this is."""
    row = (torch.from_numpy(CODES)[None] - code[:, None]).abs().sum(2).argmin(1)
    return batch_of(IMAGES, slice(0, COUNT), "cpu")[row]


# errors


def test_a_perfect_predictor_has_no_error_and_a_shuffled_code_spoils_it():
    own, shuffled = mse(by_code(known), [CODES, np.roll(CODES, 1, 0)])
    assert own.shape == (COUNT, len(TIMES))
    assert own.max() < 1e-6
    assert shuffled.min() > 1e-5  # at t = 999 the image is almost gone: a / (1 - a) = 4e-5


def test_the_error_of_an_estimate_of_zero_is_the_closed_form():
    """epshat - eps = sqrt(a / (1 - a)) (x0 - x0hat), whatever the noise was."""
    found = mse(Made(lambda x_t, code: torch.zeros_like(x_t)))[0]
    a = Diffusion().alpha_bar[TIMES].double().numpy()
    power = to_unit(torch.from_numpy(IMAGES)).double().square().mean((1, 2, 3)).numpy()
    np.testing.assert_allclose(found, power[:, None] * (a / (1 - a)), rtol=1e-3)


def test_v_and_eps_agree_about_the_same_estimate():
    def rule(x_t, code):
        return 0.5 * x_t.clamp(-1, 1) + code.mean(1)[:, None, None, None]

    np.testing.assert_allclose(mse(Made(rule, "v")), mse(Made(rule, "eps")), rtol=2e-3, atol=1e-7)


def test_errors_do_not_depend_on_the_batch_size():
    model = Made(lambda x_t, code: 0.3 * x_t)
    np.testing.assert_allclose(mse(model, size=COUNT), mse(model, size=2), rtol=1e-5)


def test_every_method_sees_the_same_noise_and_every_image_and_time_its_own():
    seen = []

    def spy(x_t, code):
        seen.append(x_t.clone())
        return x_t

    black = np.zeros_like(IMAGES)
    mse(Made(spy, "eps"), size=COUNT, images=black)
    mse(Made(spy, "v"), size=COUNT, images=black)
    first, second = torch.stack(seen[:3]), torch.stack(seen[3:])
    assert torch.equal(first, second)
    flat = first.flatten(2).flatten(0, 1)  # of black images: the noise and a constant
    alike = torch.corrcoef(flat) - torch.eye(len(flat))
    assert alike.abs().max() < 0.5  # 192 pixels: chance alone gives 0.25


def test_predict_of_the_models_agrees_with_their_samplers():
    """One DDIM step returns x0hat of the time T - 1."""
    torch.manual_seed(0)
    shape = (3, 32, 32)
    x_T, t = torch.randn(2, *shape), torch.full((2,), 999)
    for prediction in ("eps", "v"):
        small = {"base": 8, "multipliers": (1, 1), "prediction": prediction}
        for model, code in ((Patronus(shape, WIDTH, **small).eval(), torch.rand(2, WIDTH)),
                            (ddpm.Model(shape, **small).eval(), None)):
            x0hat, eps = model.predict(x_T, t, code)
            torch.testing.assert_close(x0hat, model.decode(x_T, code, 1))
            torch.testing.assert_close(model.diffusion.noised(x0hat, t, eps), x_T,
                                       rtol=1e-3, atol=1e-3)


def test_a_method_that_cannot_predict_says_so():
    with pytest.raises(NotApplicable, match="predict"):
        denoising.times_of(Method(SHAPE, None), 5)


def test_times_are_spread_over_those_that_training_draws():
    times = denoising.times_of(Made(None), 50)
    assert (times[0], times[-1], len(times)) == (1, 999, 50)
    assert set(np.diff(times)) <= {20, 21}


@pytest.mark.parametrize("count", [2, 3, 4, 50])
def test_a_shuffle_leaves_no_code_with_its_image(count: int):
    for seed in range(20):
        order = denoising.derangement(count, seed)
        assert sorted(order) == list(range(count))
        assert (order != np.arange(count)).all()


def test_one_image_cannot_be_shuffled():
    with pytest.raises(Problem, match="two images"):
        denoising.derangement(1)


# comparisons


def test_a_code_that_is_ignored_changes_exactly_nothing():
    model = Made(lambda x_t, code: 0.3 * x_t)
    shuffled = CODES[denoising.derangement(COUNT, 0)]
    own, other = mse(model, [CODES, shuffled])
    found = conditioning.compared({"code": own, "shuffled": other, "none": own.copy()})
    assert found["curves"].shape == (3, 3, len(TIMES))
    assert (found["ratio"] == 1).all()
    assert (found["difference"] == 0).all()
    assert (found["relative"] == 0).all()
    assert (found["relative_shuffled"] == 0).all()


def test_a_code_that_helps_and_one_that_hurts_are_told_by_their_sign():
    rng = np.random.default_rng(0)
    hard = rng.gamma(2, 1, (200, 1)) + rng.random((200, 2)) / 100  # images differ far more than
    errors = hard + np.array([[-0.05, 0.05]])  # the condition changes any of them
    found = conditioning.compared({"code": errors, "shuffled": errors, "none": hard})
    value, low, high = found["difference"]
    np.testing.assert_allclose(value, [-0.05, 0.05])
    assert high[0] < 0 < low[1]
    assert conditioning._signs(found) == {"hurts": 1, "helps": 1, "times": 2}
    unpaired = found["curves"][2]
    assert (unpaired[2] - unpaired[1] > 0.2).all()  # what pairing has removed


def test_the_interval_is_that_of_a_mean():
    errors = np.random.default_rng(2).normal(3, 1, (400, 1))
    value, low, high = conditioning.compared({"none": errors})["curves"][0, :, 0]
    half = 1.96 * errors.std() / 20
    assert value == pytest.approx(errors.mean())
    assert (value - low, high - value) == (pytest.approx(half, rel=0.15),
                                           pytest.approx(half, rel=0.15))


def test_the_ratio_is_of_means_and_not_a_mean_of_ratios():
    rng = np.random.default_rng(5)
    base = rng.gamma(2, 1, (100, 1))
    value, low, high = conditioning.compared({"code": base, "shuffled": 1.25 * base + rng.normal(
        0, 0.1, base.shape)})["ratio"][:, 0]
    assert low < 1.25 < high and high - low < 0.05 and low < value < high
    two = conditioning.compared({"code": np.array([[1.0], [3.0]]),
                                 "shuffled": np.array([[2.0], [3.0]])})["ratio"]
    assert two[0, 0] == pytest.approx(5 / 4)


def test_what_is_said_of_the_mean_over_times_is_the_mean_of_the_curves():
    rng = np.random.default_rng(4)
    errors = {kind: rng.random((COUNT, 3)) for kind in ("code", "shuffled", "none")}
    found = conditioning.overall(errors)
    assert found["code"][0] == pytest.approx(errors["code"].mean())
    assert found["ratio"][0] == pytest.approx(errors["shuffled"].mean() / errors["code"].mean())
    assert found["relative"][0] == pytest.approx(errors["code"].mean() / errors["none"].mean() - 1)


def test_the_counterpart_is_the_same_denoiser_by_the_same_recipe():
    cells = load_study("smoke", datasets=["celeba"], methods=method_names()).cells
    pairs = {method: other and other.method for (_, method, _), cell in cells.items()
             for other in [counterpart(cell, cells.values())]}
    assert (pairs["patronus"], pairs["untrained"], pairs["ddpm"]) == ("ddpm", "ddpm", "ddpm")
    assert pairs["patronus_modern"] == "ddpm_modern"
    cell = cells["celeba", "patronus", 0]
    wider = cell.model_copy(update={"model": cell.model | {"base": 24}})
    assert counterpart(wider, cells.values()) is None


def test_unequal_training_is_named():
    train = {"lr": 1e-3, "ema": None, "code_lr_scale": 2.0, "precision": "x"}
    about = {"steps": 10, "images_seen": 100, "precision": "32-true", "train": train}
    free = about | {"train": train | {"code_lr_scale": 1.0}}
    assert conditioning.unequal(about, free) == []
    longer = about | {"steps": 20, "train": train | {"ema": 0.9}}
    assert conditioning.unequal(about, longer) == ["steps 10 against 20", "ema None against 0.9"]


# costs


def test_flops_of_one_convolution_and_of_distances_are_those_of_a_hand():
    conv = nn.Conv2d(3, 5, 3, padding=1, bias=False)
    x = torch.zeros(2, 3, 8, 8)
    forward = 2 * 2 * 5 * 3 * 3 * 3 * 8 * 8  # 2 each multiply-add; images, out, in, 3x3, 8x8
    assert costs.flops(lambda: conv(x)) == forward
    # the gradient of the weights costs the same again; the images need none
    assert costs.flops(lambda: conv(x).sum().backward()) == 2 * forward
    prototypes, patches = torch.rand(7, 16), torch.rand(2, 9, 16)
    assert costs.flops(lambda: torch.cdist(
        prototypes, patches, compute_mode="donot_use_mm_for_euclid_dist")) == 3 * 2 * 7 * 9 * 16


def test_attention_is_counted_in_evaluation_too():
    attention = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    x = torch.zeros(1, 5, 8)
    by_hand = 2 * 5 * 8 * 8 * 4 + 2 * 2 * 5 * 5 * 8  # four linears; q k and its product with v
    with torch.no_grad():
        assert costs.flops(lambda: attention(x, x, x, need_weights=False)) == by_hand


@pytest.mark.parametrize(("dataset", "total"), [
    ("fashion_mnist", 25_227_649), ("cifar10", 25_257_411), ("celeba", 25_257_411),
    ("ffhq", 25_257_411), ("chexpert", 25_894_145)])
def test_parameters_are_the_published_ones(dataset: str, total: int):
    cell = load_study("paper", datasets=[dataset], methods=["patronus"], seeds=[0]).cell(
        dataset, "patronus", 0)
    with torch.device("meta"):
        found, plain = map(costs.parameters, costs.built(cell).values())
    assert found["parameters"] == total
    assert found["parameters_denoiser"] + found["parameters_code"] == total
    assert (plain["parameters_code"], plain["parameters_frozen"]) == (0, 0)
    assert total / plain["parameters"] == pytest.approx(1.08 if dataset == "chexpert" else 1.0525,
                                                        abs=1e-3)


def test_costs_at_published_sizes_are_those_of_the_authors_code():
    """+0.05 % FLOPs a sampling step and +0.9 % with encoding at 32 px (patronus.md section 1)."""
    cell = load_study("paper", datasets=["cifar10"], methods=["patronus"], seeds=[0]).cell(
        "cifar10", "patronus", 0)
    own, plain = (costs.Bench(model, 1, "32-true") for model in costs.built(cell).values())
    encoding, step, base = map(costs.flops, (own.encoding, own.sampling, plain.sampling))
    assert step / base == pytest.approx(1.0005, abs=5e-5)
    assert (step + encoding) / base == pytest.approx(1.009, abs=5e-4)
    convolutions = 2 * (27 * 32 * 16**2 + 9 * (32 * 64 * 14**2 + 64 * 64 * 12**2
                                               + 64 * 128 * 10**2))
    assert encoding == convolutions + 3 * 100 * 10**2 * 128


def test_the_first_step_is_set_beside_a_sampling_step():
    found = costs.beside({"flops_sampling": 101, "flops_encoding": 4, "flops_with_encoding": 105},
                         {"flops_sampling": 100})
    assert {name: cost["ratio"] for name, cost in found.items()} == {
        "flops_sampling": 1.01, "flops_encoding": None, "flops_with_encoding": 1.05}


def small_cell(method: str):
    return load_study("tiny", datasets=["celeba"], methods=[method]).cell("celeba", method, 0)


def test_flops_of_an_image_do_not_depend_on_the_batch():
    model = costs.built(small_cell("patronus"))["value"]
    one, four = (costs.counted(costs.Bench(model, size, "32-true")) for size in (1, 4))
    assert one == four
    assert 2.5 < one["flops_training"] / one["flops_sampling"] < 3.1


def test_a_frozen_code_is_counted_apart_and_a_plain_model_has_no_code_to_make():
    with torch.device("meta"):
        frozen = costs.parameters(Patronus((3, 32, 32), 8, freeze_code=True))
        free = costs.parameters(Patronus((3, 32, 32), 8))
    assert frozen["parameters"] == free["parameters_denoiser"]
    assert (frozen["parameters_code"], frozen["parameters_frozen"]) == (0, free["parameters_code"])
    bench = costs.Bench(costs.built(small_cell("ddpm"))["value"], 2, "32-true")
    assert set(bench.actions()) == {"training", "sampling"}
    found = costs.counted(bench)
    table = costs.beside(found, found)
    assert "flops_encoding" not in table
    assert table["parameters"]["ratio"] == 1


def test_what_a_method_cannot_do_costs_nothing_and_says_why():
    probe = costs.Bench(costs.built(small_cell("ddae"))["value"], 2, "32-true")
    assert set(probe.actions()) == {"encoding"}
    assert probe.reasons() == {"training": "nothing of it is trained",
                               "sampling": probe.model.lacks["decode"]}
    assert "unconditional" not in costs.built(small_cell("diffae"))  # another denoiser
    assert "unconditional" in costs.built(small_cell("diffae_matched"))


def test_time_is_measured_for_every_action_of_both():
    cell = small_cell("patronus")
    found = costs.measured({kind: costs.Bench(model, 2, "32-true")
                            for kind, model in costs.built(cell).items()})
    assert set(found["value"]) - set(found["unconditional"]) == {"seconds_encoding",
                                                                 "memory_encoding"}
    assert all(value > 0 for key, value in found["value"].items() if key.startswith("seconds"))
    assert found["value"]["memory_training"] is None  # on a CPU

"""Diffusion against closed forms: Gaussian data has an optimal denoiser we can write down."""

import numpy as np
import pytest
import torch
from torch import Tensor

from patronus.diffusion import Denoiser, Diffusion

MEAN, SPREAD = 0.3, 0.5  # of the Gaussian data
PREDICTIONS = ("eps", "v")


def level(diffusion: Diffusion, t: Tensor, x: Tensor) -> Tensor:
    return diffusion.alpha_bar[t].view(-1, *[1] * (x.dim() - 1))


def answer(diffusion: Diffusion, x_t: Tensor, a: Tensor, x0: Tensor) -> Tensor:
    """E[x0 | x_t] as the network would put it."""
    eps = (x_t - a.sqrt() * x0) / (1 - a).sqrt()
    return eps if diffusion.prediction == "eps" else a.sqrt() * eps - (1 - a).sqrt() * x0


def gaussian(diffusion: Diffusion, mean: float = MEAN, spread: float = SPREAD) -> Denoiser:
    """The optimal denoiser of data N(mean, spread^2)."""
    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        a = level(diffusion, t, x_t)
        gain = a.sqrt() * spread**2 / (a * spread**2 + 1 - a)
        return answer(diffusion, x_t, a, mean + gain * (x_t - a.sqrt() * mean))
    return denoise


def two_modes(diffusion: Diffusion, mode: float = 0.6, spread: float = 0.1) -> Denoiser:
    """The optimal denoiser of an even mixture of N(-mode, spread^2) and N(mode, spread^2)."""
    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        a = level(diffusion, t, x_t)
        variance = a * spread**2 + 1 - a
        side = torch.tanh(a.sqrt() * mode * x_t / variance) * mode
        x0 = side + a.sqrt() * spread**2 / variance * (x_t - a.sqrt() * side)
        return answer(diffusion, x_t, a, x0)
    return denoise


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("timesteps", "start", "end"), [(1000, 1e-4, 0.02), (100, 1e-3, 0.2)])
def test_alpha_bar_is_the_product_of_one_minus_beta(timesteps: int, start: float, end: float):
    expected, product = [], 1.0
    for i in range(timesteps):
        product *= 1 - (start + (end - start) * i / (timesteps - 1))
        expected.append(product)
    found = Diffusion("eps", timesteps, start, end).alpha_bar
    np.testing.assert_allclose(found.numpy(), expected, rtol=2e-6)


def test_the_published_schedule_is_the_default():
    alpha_bar = Diffusion().alpha_bar
    assert len(alpha_bar) == 1000
    assert alpha_bar[0].item() == pytest.approx(0.9999, rel=1e-6)
    assert alpha_bar[999].item() == pytest.approx(4.0358e-5, rel=1e-4)


@pytest.mark.parametrize("t", [1, 250, 999])
def test_noised_has_the_mean_and_spread_of_its_time(t: int):
    diffusion = Diffusion()
    found = diffusion.noised(torch.full((40_000, 1), 0.8), torch.full((40_000,), t),
                             normal(40_000, 1))
    a = float(np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))[t])
    assert found.mean().item() == pytest.approx(0.8 * a**0.5, abs=0.02)
    assert found.std().item() == pytest.approx((1 - a)**0.5, rel=0.02)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_split_of_the_target_gives_back_image_and_noise(prediction: str):
    diffusion, t = Diffusion(prediction), torch.tensor([1, 10, 300, 700])
    x0, eps = normal(4, 3, 8, 8).clamp(-1, 1), normal(4, 3, 8, 8, seed=1)
    target = diffusion.target(x0, t, eps)
    found = diffusion.split(target, diffusion.noised(x0, t, eps), t)
    torch.testing.assert_close(found[0], x0, atol=2e-5, rtol=0)
    torch.testing.assert_close(found[1], eps, atol=2e-5, rtol=0)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_loss_is_zero_for_the_right_answer_and_one_for_silence_about_noise(prediction: str):
    diffusion, x0 = Diffusion(prediction), torch.full((64, 1, 8, 8), 0.5)

    def oracle(x_t: Tensor, t: Tensor) -> Tensor:
        return answer(diffusion, x_t, level(diffusion, t, x_t), x0)

    torch.manual_seed(0)
    assert diffusion.loss(oracle, x0).item() < 1e-6
    silence = diffusion.loss(lambda x_t, _: torch.zeros_like(x_t), torch.zeros_like(x0)).item()
    a = diffusion.alpha_bar[1:].mean().item()  # E[v^2] = E[a] for x0 = 0
    assert silence == pytest.approx(1 if prediction == "eps" else a, rel=0.35)


def test_training_draws_every_time_but_zero():
    diffusion = Diffusion(timesteps=20)
    torch.manual_seed(0)
    counts = torch.bincount(diffusion.draw_times(20_000), minlength=20)
    assert counts[0] == 0
    assert counts[1:].min() > 850 and counts[1:].max() < 1250


@pytest.mark.parametrize("timesteps", [100, 1000])
def test_the_grid_goes_down_to_one_and_visits_each_time_once(timesteps: int):
    diffusion, last = Diffusion(timesteps=timesteps), timesteps - 1
    for steps in [*range(2, timesteps + 3), 5 * timesteps]:
        grid = diffusion.times(steps)
        assert len(grid) == min(steps, last)
        assert (grid[0], grid[-1]) == (last, 1)
        gaps = -np.diff(grid)
        assert gaps.min() >= 1 and gaps.max() - gaps.min() <= 1
    assert diffusion.times(timesteps) == list(range(last, 0, -1))


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize(("steps", "tolerance"), [(1000, 0.01), (50, 0.03)])
def test_ddim_draws_the_data_distribution(prediction: str, steps: int, tolerance: float):
    diffusion = Diffusion(prediction)
    found = diffusion.ddim(gaussian(diffusion), normal(20_000, 1), steps)
    assert found.mean().item() == pytest.approx(MEAN, abs=0.02)
    assert found.std().item() == pytest.approx(SPREAD, abs=tolerance)


def test_ddim_is_deterministic_and_leaves_the_global_generator_alone():
    diffusion, x_T = Diffusion(), normal(16, 1)
    before = torch.get_rng_state()
    runs = [diffusion.ddim(two_modes(diffusion), x_T, 20) for _ in range(2)]
    assert torch.equal(*runs)
    assert torch.equal(torch.get_rng_state(), before)


def test_both_predictions_take_the_same_path():
    runs = [d.ddim(two_modes(d), normal(64, 1), 50) for d in map(Diffusion, PREDICTIONS)]
    torch.testing.assert_close(*runs, atol=1e-3, rtol=0)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_ancestral_sampling_draws_the_data_distribution(prediction: str):
    diffusion, source = Diffusion(prediction), torch.Generator().manual_seed(1)
    found = diffusion.ddpm(gaussian(diffusion), normal(20_000, 1), 1000,
                           lambda x: torch.randn(x.shape, generator=source))
    assert found.mean().item() == pytest.approx(MEAN, abs=0.02)
    assert found.std().item() == pytest.approx(SPREAD, abs=0.01)


def test_an_ancestral_step_adds_noise_of_the_posterior_variance():
    """In two steps, by a denoiser that sees no noise: x0 = x_1 / sqrt(alpha_bar_1)."""
    diffusion, x_T = Diffusion(), torch.zeros(1, 1)
    found = diffusion.ddpm(lambda x, t: torch.zeros_like(x), x_T, 2, torch.ones_like)
    a, b = diffusion.alpha_bar[[999, 1]].double()
    variance = (1 - b) / (1 - a) * (1 - a / b)  # Ho et al. 2020, equation 7
    assert found.item() == pytest.approx((variance / b).sqrt().item(), rel=1e-4)


def test_the_last_ancestral_step_adds_no_noise():
    diffusion, calls = Diffusion(), []
    diffusion.ddpm(gaussian(diffusion), normal(4, 1), 10, lambda x: calls.append(0) or x * 0)
    assert len(calls) == 9


def fresh_noise_ddim(diffusion: Diffusion, denoiser: Denoiser, x: Tensor, steps: int) -> Tensor:
    """Specimen of the published latent sampler: fresh noise where the predicted belongs."""
    source, grid = torch.Generator().manual_seed(2), diffusion.times(steps)
    for t, after in zip(grid, grid[1:], strict=False):
        times = torch.full((len(x),), t)
        x0hat, _ = diffusion.split(denoiser(x, times), x, times)
        x = diffusion.noised(x0hat, times.fill_(after), torch.randn(x.shape, generator=source))
    times = torch.full((len(x),), grid[-1])
    return diffusion.split(denoiser(x, times), x, times)[0]


def test_ddim_keeps_the_spread_that_the_published_latent_sampler_loses():
    diffusion = Diffusion("eps", 100)
    unit, x_T = gaussian(diffusion, 0, 1), normal(20_000, 1)
    assert fresh_noise_ddim(diffusion, unit, x_T, 100).std().item() == pytest.approx(0.69, abs=0.02)
    assert diffusion.ddim(unit, x_T, 100).std().item() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_decoding_an_inverted_image_gives_it_back_and_more_steps_do_better(prediction: str):
    diffusion = Diffusion(prediction)
    side = torch.arange(400)[:, None] % 2 * 1.2 - 0.6
    x0, denoiser = side + 0.1 * normal(400, 1), two_modes(diffusion)
    errors = []
    for steps in (10, 50, 200, 999):
        x_T = diffusion.invert(denoiser, x0, steps)
        errors.append((diffusion.ddim(denoiser, x_T, steps) - x0).abs().mean().item())
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.003
    assert x_T.std().item() == pytest.approx(1, abs=0.05)  # the inverse of data is noise


@pytest.mark.parametrize("steps", [7, 999])
def test_on_step_sees_every_time_and_its_estimate(steps: int):
    diffusion, seen = Diffusion(), []
    found = diffusion.ddim(gaussian(diffusion), normal(2, 1), steps,
                           lambda t, x0hat: seen.append((t, x0hat)))
    assert [t for t, _ in seen] == diffusion.times(steps)
    assert torch.equal(seen[-1][1], found)
    assert not torch.equal(seen[0][1], found)


def test_sampling_and_inversion_ask_only_trained_times_each_once():
    diffusion, asked = Diffusion(), []

    def denoiser(x_t: Tensor, t: Tensor) -> Tensor:
        asked.append(t.unique().item())
        return gaussian(diffusion)(x_t, t)

    diffusion.ddim(denoiser, normal(2, 1), 2000)
    assert asked == list(range(999, 0, -1))
    asked.clear()
    diffusion.invert(denoiser, normal(2, 1), 10)
    grid = diffusion.times(10)[::-1]
    assert asked == [grid[0], *grid[:-1]]


def along(diffusion: Diffusion, a: Tensor, x: Tensor) -> Tensor:
    """Where the exact path of Gaussian data that is at x at level a[0] passes level a[1]."""
    def moments(level: Tensor) -> tuple[Tensor, Tensor]:
        return level.sqrt() * MEAN, (level * SPREAD**2 + 1 - level).sqrt()
    (m, s), (after_m, after_s) = moments(a[0]), moments(a[1])
    return after_m + (x - m) / s * after_s


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_dpm_follows_the_exact_path_and_better_than_ddim(prediction: str):
    diffusion, x_T = Diffusion(prediction), normal(500, 1)
    exact = along(diffusion, diffusion.alpha_bar[[999, 1]], x_T)
    exact = gaussian(Diffusion("eps"))(exact, torch.ones(500, dtype=torch.long))
    a = diffusion.alpha_bar[1]
    exact = (along(diffusion, diffusion.alpha_bar[[999, 1]], x_T) - (1 - a).sqrt() * exact) \
        / a.sqrt()  # the last step of both: the clean image that the path's end foretells

    def error(solve, steps: int) -> float:
        return (solve(gaussian(diffusion), x_T, steps) - exact).abs().mean().item()

    for steps in (10, 20, 50):
        assert error(diffusion.dpm, steps) < error(diffusion.ddim, steps) / 3
    assert error(diffusion.dpm, 999) < 1e-3
    order = np.log2(error(diffusion.dpm, 40) / error(diffusion.dpm, 80))
    assert order > 1.5  # of second order; DDIM is of first
    assert np.log2(error(diffusion.ddim, 40) / error(diffusion.ddim, 80)) < 1.3


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 20, 50, 250, 998, 999, 5000])
def test_the_times_of_dpm_fall_from_the_first_to_the_last_and_are_even_in_the_snr(steps: int):
    diffusion = Diffusion()
    grid = diffusion.even_times(steps)
    assert len(grid) == min(steps, 999)
    assert grid[0] == 999
    assert all(t > after for t, after in zip(grid, grid[1:], strict=False))
    if steps > 1:
        assert grid[-1] == 1
    if steps in (10, 20):
        gaps = diffusion.alpha_bar[grid].logit().diff()
        assert gaps[:-3].max() < 1.15 * gaps[:-3].min()  # the lowest times are far apart


def test_dpm_tells_its_watcher_each_time_and_one_step_is_that_of_ddim():
    diffusion, x_T, seen = Diffusion(), normal(4, 1), []
    diffusion.dpm(gaussian(diffusion), x_T, 7, lambda t, _: seen.append(t))
    assert seen == diffusion.even_times(7)
    torch.testing.assert_close(diffusion.dpm(gaussian(diffusion), x_T, 1),
                               diffusion.ddim(gaussian(diffusion), x_T, 1))

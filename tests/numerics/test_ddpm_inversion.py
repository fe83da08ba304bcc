"""Edit-friendly inversion: exact replay, the equations written out, independent noises."""

from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from baselines import ddpm, ddpm_inversion
from patronus.errors import Problem

SHAPE, SIZES = (2, 16, 16), {"base": 8, "multipliers": (1, 2)}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@cache
def base(prediction: str = "eps") -> ddpm.Model:
    torch.manual_seed(1)
    return ddpm.Model(SHAPE, **SIZES, prediction=prediction).eval().requires_grad_(False)


def made(prediction: str = "eps", **options) -> ddpm_inversion.Model:
    model = ddpm_inversion.Model(SHAPE, 5, **SIZES, prediction=prediction, **options)
    model.adopt(base(prediction))
    return model.eval()


@pytest.mark.parametrize("prediction", ["eps", "v"])
@pytest.mark.parametrize("eta", [1.0, 0.4])
@pytest.mark.parametrize("steps", [2, 7, 40])
def test_replay_gives_the_image_back_to_float_accuracy(prediction: str, eta: float, steps: int):
    model, x0 = made(prediction, eta=eta), normal(3, *SHAPE).clamp(-1, 1)
    found = model.invert(x0, None, steps)
    assert found.shape == (3, (steps + 1) * 2, 16, 16)
    assert (model.decode(found, None, 999) - x0).abs().max() < 1e-6  # steps come from the stack


def test_the_maps_are_the_equations_written_out():
    eta, steps = 0.6, 4
    model, x0 = made(eta=eta), normal(1, *SHAPE).clamp(-1, 1)
    x_T, *maps = model.invert(x0, None, steps).split(2, 1)
    grid = model.diffusion.times(steps)
    abar = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    path = [x.double() for x in model._path(x0, grid)]
    torch.testing.assert_close(x_T.double(), path[0])
    for i in range(steps - 1):
        a, b = abar[grid[i]], abar[grid[i + 1]]
        eps = base().denoiser(path[i].float(), torch.tensor([grid[i]])).double()
        x0hat = (path[i] - (1 - a)**0.5 * eps) / a**0.5
        sigma2 = (1 - b) / (1 - a) * (1 - a / b)
        mu = b**0.5 * x0hat + (1 - b - eta**2 * sigma2)**0.5 * eps
        z = (path[i + 1] - mu) / (eta * sigma2**0.5)
        torch.testing.assert_close(maps[i].double(), z, atol=1e-3 * float(z.abs().max()), rtol=0)
    last = base().predict(path[-2].float(), torch.tensor([1]), None)[0]
    torch.testing.assert_close(maps[-1], x0 - last, atol=1e-5, rtol=0)


def test_maps_are_standard_normal_for_the_right_denoiser(monkeypatch: pytest.MonkeyPatch):
    """For pictures of nothing, eps is known; then z has the spread of fresh noise and more."""
    model = made()

    def known(x_t: Tensor, t: Tensor, code: Tensor | None) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(x_t), x_t / (1 - model.diffusion.alpha_bar[t[0]]).sqrt()

    monkeypatch.setattr(model, "predict", known)
    maps = model.invert(torch.zeros(1, *SHAPE), None, 20).split(2, 1)[1:-1]
    # z = (sqrt(1-b) e' - sqrt(1-b-s^2) e) / s with independent e', e: variance (2(1-b) - s^2) / s^2
    grid, abar = model.diffusion.times(20), model.diffusion.alpha_bar
    for t, after, z in zip(grid, grid[1:], maps, strict=False):
        a, b = abar[t], abar[after]
        s2 = (1 - b) / (1 - a) * (1 - a / b)
        expected = ((2 * (1 - b) - s2) / s2).sqrt().item()
        assert expected > 1
        assert z.std().item() == pytest.approx(expected, rel=0.12)


def test_every_time_has_a_noise_of_its_own_and_every_image_the_same():
    model = made()
    *path, clean = model._path(torch.zeros(2, *SHAPE), model.diffusion.times(30))
    assert not clean.any()
    assert all(torch.equal(x[0], x[1]) for x in path)
    rows = torch.stack([x[0].flatten() for x in path])
    apart = rows.corrcoef() - torch.eye(30)
    assert apart.abs().max() < 0.25  # 512 values: 4.5 standard errors are 0.2


def test_the_global_generator_is_left_alone():
    model, before = made(), torch.get_rng_state()
    model.invert(torch.zeros(1, *SHAPE), None, 3)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_plain_x_t_is_denoised_as_the_ddpm_does():
    x_T = normal(2, *SHAPE)
    assert torch.equal(made().decode(x_T, None, 6), base().decode(x_T, None, 6))


def test_replay_shows_every_step_and_edited_maps_change_the_image():
    model, x0, seen = made(), normal(2, *SHAPE).clamp(-1, 1), []
    found = model.invert(x0, None, 5)
    back = model.decode(found, None, 5, lambda t, x: seen.append((t, x.shape)))
    assert seen == [(t, x0.shape) for t in model.diffusion.times(5)]
    found[1, 4:6] += 1  # the second map of the second image
    edited = model.decode(found, None, 5)
    torch.testing.assert_close(edited[0], back[0], atol=1e-5, rtol=0)
    assert (edited[1] - back[1]).abs().mean() > 1e-2


def test_more_steps_than_the_option_allows_leave_no_more_maps():
    found = made(inversion_steps=3).invert(torch.zeros(1, *SHAPE), None, 1000)
    assert found.shape[1] == 4 * 2


def test_eta_zero_is_refused():
    with pytest.raises(Problem, match="eta"):
        made(eta=0.0)

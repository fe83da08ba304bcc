"""Gaussian diffusion with a linear schedule: noising, DDIM, its inversion, DPM-Solver++, DDPM.

Times t run over 0..T-1 as in the published checkpoints' time table, alpha_bar[t] being the
signal left at t. Training draws t in 1..T-1 (patronus.md section 2), so sampling visits only
these: the last step goes from t = 1 to the clean image, never through the untrained t = 0.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, distributed, nn

Denoiser = Callable[[Tensor, Tensor], Tensor]  # (x_t, t (B,)) -> eps or v, shaped like x_t
StepHook = Callable[[int, Tensor], None]  # (t, x0hat of that step)

Solver = Literal["ddim", "dpm"]  # of the deterministic path from x_T to x0


class Diffusion(nn.Module):
    """The equations, for a network that predicts eps or v (`prediction`)."""

    def __init__(self, prediction: str = "eps", timesteps: int = 1000,
                 beta_start: float = 1e-4, beta_end: float = 0.02):
        super().__init__()
        beta = torch.linspace(beta_start, beta_end, timesteps, dtype=torch.float64)
        self.register_buffer("alpha_bar", torch.cumprod(1 - beta, 0).float(), persistent=False)
        self.prediction, self.timesteps = prediction, timesteps

    def draw_times(self, count: int) -> Tensor:
        """t uniform on 1..T-1, shape (count,)."""
        return torch.randint(1, self.timesteps, (count,), device=self.alpha_bar.device)

    def noised(self, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """x_t = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps."""
        a = self._level(t, x0)
        return a.sqrt() * x0 + (1 - a).sqrt() * eps

    def target(self, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """What the network should answer: eps, or v = sqrt(a) eps - sqrt(1 - a) x0."""
        if self.prediction == "eps":
            return eps
        a = self._level(t, x0)
        return a.sqrt() * eps - (1 - a).sqrt() * x0

    def split(self, answer: Tensor, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """The network's answer as (x0hat, epshat)."""
        a = self._level(t, x_t)
        if self.prediction == "eps":
            return (x_t - (1 - a).sqrt() * answer) / a.sqrt(), answer
        return a.sqrt() * x_t - (1 - a).sqrt() * answer, (1 - a).sqrt() * x_t + a.sqrt() * answer

    def loss(self, denoiser: Denoiser, x0: Tensor) -> Tensor:
        """Mean squared error of the answer at one random time an image."""
        t, eps = self.drawn(x0)
        answer = denoiser(self.noised(x0, t, eps), t)
        return nn.functional.mse_loss(answer.float(), self.target(x0, t, eps))

    def drawn(self, x0: Tensor) -> tuple[Tensor, Tensor]:
        """A time and noise for each image. Of several processes the first one draws for all.

        It draws what one process with the whole batch would, of which each takes every
        world_size-th row, as training gives out images: so they train as one would.
        """
        if not (distributed.is_available() and distributed.is_initialized()):
            return self.draw_times(len(x0)), torch.randn_like(x0)
        rank, world = distributed.get_rank(), distributed.get_world_size()
        whole = self.draw_times(world * len(x0)), \
            torch.randn(world * len(x0), *x0.shape[1:], device=x0.device)
        for drawn in whole:
            distributed.broadcast(drawn, 0)
        return tuple(drawn[rank::world] for drawn in whole)

    def times(self, steps: int) -> list[int]:
        """`steps` times from T-1 down to 1, evenly spaced, each once."""
        steps = min(steps, self.timesteps - 1)
        grid = torch.linspace(self.timesteps - 1, 1, steps, dtype=torch.float64).round()
        return [int(t) for t in grid]

    def even_times(self, steps: int) -> list[int]:
        """`steps` times from T-1 down to 1, evenly spaced in the log of the SNR, each once."""
        top = self.timesteps - 1
        steps = min(steps, top)
        level = self._half_log_snr(torch.arange(top, 0, -1))  # ascending
        asked = torch.linspace(float(level[-1]), float(level[0]), steps)  # of t = 1 first
        found, last = [], 0
        for t in (top - torch.searchsorted(level.cpu(), asked).clamp(max=top - 1)).tolist():
            last = max(t, last + 1)
            found.append(last)
        return [min(t, top - i) for i, t in enumerate(reversed(found))] if steps > 1 else [top]

    def ddim(self, denoiser: Denoiser, x_T: Tensor, steps: int,
             on_step: StepHook | None = None) -> Tensor:
        """Deterministic sampling (eta = 0); `on_step(t, x0hat)` sees every step."""
        x, grid = x_T, self.times(steps)
        for t, after in zip(grid, [*grid[1:], None], strict=True):
            x0hat, eps = self._estimate(denoiser, x, t)
            if on_step:
                on_step(t, x0hat)
            x = x0hat if after is None else self._at(after, x0hat, eps)
        return x

    def dpm(self, denoiser: Denoiser, x_T: Tensor, steps: int,
            on_step: StepHook | None = None) -> Tensor:
        """Deterministic sampling by DPM-Solver++(2M) (Lu et al., 2022, algorithm 2).

        The same path as `ddim` follows, by a rule of second order: x0hat is extrapolated from the
        last two steps, linearly in half the log of the signal-to-noise ratio, in which the steps
        are as even as whole times allow.
        """
        x, grid, last = x_T, self.even_times(steps), None
        for t, after in zip(grid, [*grid[1:], None], strict=True):
            x0hat, _ = self._estimate(denoiser, x, t)
            if on_step:
                on_step(t, x0hat)
            if after is None:
                return x0hat
            ahead, h = x0hat, self._half_log_snr(after) - self._half_log_snr(t)
            if last is not None:
                ahead = x0hat + (x0hat - last[0]) * (h / last[1] / 2)
            a, b = self.alpha_bar[t], self.alpha_bar[after]
            x = ((1 - b) / (1 - a)).sqrt() * x - b.sqrt() * torch.expm1(-h) * ahead
            last = x0hat, h
        return x

    def invert(self, denoiser: Denoiser, x0: Tensor, steps: int) -> Tensor:
        """x_T of an image: DDIM's equations upwards over the same times.

        x_next = sqrt(alpha_bar_next) x0hat + sqrt(1 - alpha_bar_next) epshat, with the estimates
        taken at the current x; the clean image is asked at the lowest trained time.
        """
        grid = self.times(steps)[::-1]
        eps = self._estimate(denoiser, x0, grid[0])[1]
        x = self._at(grid[0], x0, eps)
        for t, after in zip(grid, grid[1:], strict=False):
            x0hat, eps = self._estimate(denoiser, x, t)
            x = self._at(after, x0hat, eps)
        return x

    def ddpm(self, denoiser: Denoiser, x_T: Tensor, steps: int,
             noise: Callable[[Tensor], Tensor] = torch.randn_like) -> Tensor:
        """Ancestral sampling (eta = 1, posterior variance); the last step adds no noise."""
        x, grid = x_T, self.times(steps)
        for t, after in zip(grid, [*grid[1:], None], strict=True):
            x0hat, eps = self._estimate(denoiser, x, t)
            if after is None:
                return x0hat
            a, b = self.alpha_bar[t], self.alpha_bar[after]
            variance = (1 - b) / (1 - a) * (1 - a / b)
            x = b.sqrt() * x0hat + (1 - b - variance).clamp(min=0).sqrt() * eps
            x = x + variance.sqrt() * noise(x)
        return x

    def _estimate(self, denoiser: Denoiser, x: Tensor, t: int) -> tuple[Tensor, Tensor]:
        times = torch.full((len(x),), t, device=x.device)
        return self.split(denoiser(x, times).float(), x, times)

    def _half_log_snr(self, t: int | Tensor) -> Tensor:
        return self.alpha_bar[t].logit() / 2

    def _at(self, t: int, x0hat: Tensor, eps: Tensor) -> Tensor:
        a = self.alpha_bar[t]
        return a.sqrt() * x0hat + (1 - a).sqrt() * eps

    def _level(self, t: Tensor, like: Tensor) -> Tensor:
        return self.alpha_bar[t].view(-1, *[1] * (like.dim() - 1))

"""Edit-friendly DDPM inversion: the noise maps with which ancestral sampling gives an image.

Source: Huberman-Spiegelglas et al., An Edit Friendly DDPM Noise Space: Inversion and
Manipulations, CVPR 2024. Nothing is learned and there is no code: it stands on a frozen DDPM.

    x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) e_t, fresh e_t for every t
    sigma_t^2 = (1 - abar_p) / (1 - abar_t) (1 - abar_t / abar_p), p the next lower time kept
    mu_t = sqrt(abar_p) x0hat + sqrt(1 - abar_p - eta^2 sigma_t^2) epshat
    z_t = (x_p - mu_t) / (eta sigma_t), then x_p = mu_t + eta sigma_t z_t, so errors do not add up

Corrected: eta^2 under the root (the reference has eta, equal only for 0 and 1); no crash at
eta = 0, which is refused; the last z is kept, not zeroed, so that replay gives the image back to
float accuracy. The last step goes to the clean image with variance zero, where z is undefined; its
map holds x_0 - x0hat itself. Fresh e_t are drawn per time and shared by all images.
"""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from baselines._bottleneck import Frozen
from patronus.errors import Problem
from patronus.method import Denoising, StepHook
from patronus.noise import noise


class Model(Frozen, Denoising):
    """`code_dim` of the study is ignored: what an image leaves are maps as large as itself."""

    lacks = {"encode": "its noise maps are as large as the image, many times over",
             "loss": "nothing of it is trained",
             "locate": "there is no code whose entries could have a place",
             "generate": "its own samples are those of the DDPM it stands on"}

    def __init__(self, shape: tuple[int, int, int], code_dim: int | None = None, *,
                 base: int = 64,  # of the DDPM it stands on, like the next two
                 multipliers: tuple[int, ...] = (1, 2, 4, 4),
                 prediction: Literal["eps", "v"] = "eps",
                 eta: float = 1.0,
                 inversion_steps: int = 100):  # at most so many: each leaves a map in memory
        super().__init__(shape, None, base, multipliers, prediction)
        if not 0 < eta <= 1:
            raise Problem(f"{__name__}: eta = {eta} leaves no noise to find; choose it in (0, 1]")
        self.eta, self.inversion_steps = eta, inversion_steps

    def invert(self, x0: Tensor, code: Tensor | None, steps: int) -> Tensor:
        """(B, (S + 1) C, H, W): x_T, then the maps of S = min(steps, inversion_steps) steps."""
        grid = self.diffusion.times(min(steps, self.inversion_steps))
        path = self._path(x0, grid)
        found = [x := next(path)]
        for t, after in zip(grid, [*grid[1:], None], strict=True):
            mu, sigma = self._step(x, t, after)[1:]
            found.append((next(path) - mu) / sigma)
            x = mu + sigma * found[-1]
        return torch.cat(found, 1)

    def decode(self, x_T: Tensor, code: Tensor | None, steps: int,
               on_step: StepHook | None = None) -> Tensor:
        """Replay what `invert` found, in its own number of steps; a plain x_T goes through DDIM.

        x_T is (B, (S + 1) C, H, W) or (B, C, H, W).
        """
        x, *maps = x_T.split(self.shape[0], 1)
        if not maps:
            return super().decode(x_T, code, steps, on_step)
        grid = self.diffusion.times(len(maps))
        for t, after, z in zip(grid, [*grid[1:], None], maps, strict=True):
            x0hat, mu, sigma = self._step(x, t, after)
            if on_step:
                on_step(t, x0hat)
            x = mu + sigma * z
        return x

    def _path(self, x0: Tensor, grid: list[int]) -> Iterator[Tensor]:
        """x_0 noised to each time of the grid, every time afresh; then x_0 itself."""
        for t in grid:
            eps = noise(range(1), self.shape, "ddpm_inversion", t).to(x0)
            yield self.diffusion.noised(x0, torch.full((len(x0),), t, device=x0.device), eps)
        yield x0

    def _step(self, x: Tensor, t: int, after: int | None) -> tuple[Tensor, Tensor, Tensor | float]:
        """(x0hat, mu, eta sigma) of the step from t; the last (None) is x0hat plus its map."""
        x0hat, eps = self.predict(x, torch.full((len(x),), t, device=x.device), None)
        if after is None:
            return x0hat, x0hat, 1.0
        a, b = self.diffusion.alpha_bar[t], self.diffusion.alpha_bar[after]
        variance = self.eta**2 * (1 - b) / (1 - a) * (1 - a / b)
        mu = b.sqrt() * x0hat + (1 - b - variance).clamp(min=0).sqrt() * eps
        return x0hat, mu, variance.sqrt()

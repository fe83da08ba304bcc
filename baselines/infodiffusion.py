"""InfoDiffusion: a denoiser with a small code that an MMD term holds to N(0, I).

Source: Wang et al., InfoDiffusion: Representation Learning Using Information Maximizing Diffusion
Models, ICML 2023 (baselines.md section 2); the network of its repository's `main`. The code
a = E(x0) is deterministic, as it is there with the MMD alone.

Corrected here: two-phase sampling ran its unconditional model alone (its phase counter stood
still), now it switches; its unconditional U-Net could not be built, the suite's DDPM stands in;
inversion encoded the noisy image anew at every step, now the code of x0 is kept; DDIM took
alpha_bar one step off with eta 0.01 and a last step without effect, now eta = 0 by the textbook;
the "reconstruction" term (step 0's coefficients on the clean image, about 1e-5 |eps|^2 / T) is left
out; batches are shuffled. Kept: the wide kernel, with the code's variance logged and batches of
128 in the published track; the schedule that ends at alpha_bar 0.0066 although sampling starts
from N(0, I), in the published track. Chosen: deterministic DDIM in both phases, where the authors
sample ancestrally; their latent diffusion over codes is replaced by the suite's shared prior.
"""

from typing import Literal

import torch
from torch import Tensor

from baselines._avdm import AuxiliaryDiffusion, mmd, spread
from baselines.ddpm import Model as DDPM
from baselines.ddpm import copy_denoiser
from patronus.method import Method


class Model(AuxiliaryDiffusion):
    """Stands on `base: ddpm`, of which it keeps a frozen copy for the noisy half of `generate`.

    `base` and `multipliers` hold for all networks, the DDPM's too; None: each as published.
    """

    def __init__(self, shape: tuple[int, int, int], code_dim: int, *,
                 denoiser: Literal["avdm", "patronus"] = "avdm",
                 base: int | None = None,  # of the width
                 multipliers: tuple[int, ...] | None = None,  # of the width, by level
                 dropout: float = 0.1,
                 beta_range: tuple[float, float] = (1e-5, 1e-2),  # of the linear schedule
                 mmd_weight: float = 0.1,
                 ddpm_base: int | None = None,  # sizes of the DDPM it stands on, where they
                 ddpm_multipliers: tuple[int, ...] | None = None):  # are not those above
        super().__init__(shape, code_dim, denoiser, base, multipliers, dropout, beta_range)
        self.mmd_weight = mmd_weight
        self.vanilla = DDPM(shape, base=ddpm_base or base or 64,
                            multipliers=ddpm_multipliers or multipliers or (1, 2, 4, 4))
        self.vanilla.requires_grad_(False)

    def adopt(self, base: Method) -> None:
        copy_denoiser(base, self.vanilla.denoiser, self.vanilla.diffusion.prediction, __name__,
                      "`ddpm_base` and `ddpm_multipliers`")

    def loss(self, x0: Tensor) -> dict[str, Tensor]:
        """Noise MSE + mmd_weight * MMD^2 between the batch's codes and as many from N(0, I)."""
        code = self.encoder(x0)
        noise = self.noise_loss(code, x0)
        apart = mmd(code, torch.randn(code.shape, device=code.device))
        return {"loss": noise + self.mmd_weight * apart, "noise": noise.detach(),
                "mmd": apart.detach(), "code_variance": spread(code)}

    def generate(self, x_T: Tensor, z: Tensor, steps: int) -> Tensor:
        """Two phases: the noisy half of the steps by the DDPM, the rest given the code a = z.

        Every step is DDIM's, eta = 0. The estimates (x0hat, epshat) of one step are put together
        at the next one's alpha_bar, so the schedules of the two models may differ: the last step
        of the DDPM ends exactly where the conditional model begins.
        """
        grid = self.diffusion.times(steps)
        half = len(grid) // 2
        path = [(self.vanilla, t, None) for t in self._noisy_times(half, grid[half])]
        path += [(self, t, z) for t in grid[half:]]
        x = x_T
        for (model, t, code), after in zip(path, [*path[1:], None], strict=True):
            x0hat, eps = model.predict(x, torch.full((len(x),), t, device=x.device), code)
            if after:
                level = torch.full((len(x),), after[1], device=x.device)
                x = after[0].diffusion.noised(x0hat, level, eps)
        return x0hat

    def _noisy_times(self, count: int, switch: int) -> list[int]:
        """`count` times of the DDPM, evenly from T-1 towards the alpha_bar of our time `switch`."""
        theirs = self.vanilla.diffusion
        end = int((theirs.alpha_bar - self.diffusion.alpha_bar[switch]).abs().argmin())
        grid = torch.linspace(theirs.timesteps - 1, end, count + 1, dtype=torch.float64)
        return [int(t) for t in grid.round()[:-1]]

"""DiffAE-32: InfoDiffusion's network with both of its regularisers off (baselines.md section 2).

What InfoDiffusion's tables call DiffAE: a simplified model with a code of 32 dimensions, which is
not the DiffAE of Preechakul et al. (CVPR 2022). Source: Wang et al., InfoDiffusion, ICML 2023.
Corrected as in infodiffusion.py: inversion with the code of the clean image, textbook DDIM, no
reconstruction term, shuffled batches.
"""

from typing import Literal

from torch import Tensor

from baselines._avdm import AuxiliaryDiffusion, spread


class Model(AuxiliaryDiffusion):
    """`base` and `multipliers` hold for all networks; None: each as published."""

    def __init__(self, shape: tuple[int, int, int], code_dim: int, *,
                 denoiser: Literal["avdm", "patronus"] = "avdm",
                 base: int | None = None,  # of the width
                 multipliers: tuple[int, ...] | None = None,  # of the width, by level
                 dropout: float = 0.1,
                 beta_range: tuple[float, float] = (1e-5, 1e-2),  # of the linear schedule
                 prediction: Literal["eps", "v"] = "eps"):
        super().__init__(shape, code_dim, denoiser, base, multipliers, dropout, beta_range,
                         prediction)

    def loss(self, x0: Tensor) -> dict[str, Tensor]:
        """Noise MSE given the code of the clean image."""
        code = self.encoder(x0)
        return {"loss": self.noise_loss(code, x0), "code_variance": spread(code)}

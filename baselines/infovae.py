"""InfoVAE: the auto-encoder of ae.py with a code that an MMD term holds to N(0, I).

Sources: Zhao et al., InfoVAE: Balancing Learning and Inference in Variational Autoencoders, AAAI
2019; Wang et al., InfoDiffusion, ICML 2023 (baselines.md section 3). The deterministic form of
the authors' `dev`: one code is held, decoded and saved. Corrected thereby: `main` decodes a sample
of (mu, sigma) but holds and saves the layer before them.
"""

import torch
from torch import Tensor

from baselines._avdm import mmd, spread
from baselines.ae import Model as AutoEncoder


class Model(AutoEncoder):
    """Samples from its own prior: codes ~ N(0, I)."""

    def __init__(self, shape: tuple[int, int, int], code_dim: int, *,
                 base: int | None = None,  # of the width; None: 32 for Fashion-MNIST, else 64
                 multipliers: tuple[int, ...] = (1, 2, 4, 8),  # of the width, by level
                 dropout: float = 0.1,
                 mmd_weight: float = 0.1):
        super().__init__(shape, code_dim, base=base, multipliers=multipliers, dropout=dropout)
        self.mmd_weight = mmd_weight

    def loss(self, x0: Tensor) -> dict[str, Tensor]:
        """Pixel-mean squared error + mmd_weight * MMD^2 between codes and as many from N(0, I)."""
        code = self.encoder(x0)
        error = self.error(code, x0)
        apart = mmd(code, torch.randn(code.shape, device=code.device))
        return {"loss": error + self.mmd_weight * apart, "error": error.detach(),
                "mmd": apart.detach(), "code_variance": spread(code)}

    def generate(self, x_T: Tensor, z: Tensor, steps: int) -> Tensor:
        return self.decode(x_T, z, steps)

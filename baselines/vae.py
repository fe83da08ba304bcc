"""VAE: the auto-encoder of ae.py with a Gaussian code N(mu, sigma^2).

Sources: Kingma and Welling, Auto-Encoding Variational Bayes, ICLR 2014; Wang et al.,
InfoDiffusion, ICML 2023 (baselines.md section 3). The squared error is averaged over the
N = C * H * W pixels, so a KL weight w is that of a beta-VAE with unit pixel variance at
beta = w * N / 2: multiplied by N / 2, the loss is |x - xhat|^2 / 2 + (w * N / 2) * KL. As
published, w = 1, beta is 6144 at 64 pixels in colour and 512 on Fashion-MNIST, and the code is
all but sure to collapse; w = 2 / N, beta = 1, is the calibrated form. The code saved is mu.
Left out: the optional capacity ramp w * |KL - C|.
"""

from math import prod

import torch
from torch import Tensor, nn

from baselines._avdm import spread, xavier
from baselines.ae import Model as AutoEncoder


class Model(AutoEncoder):
    """Samples from its own prior: codes ~ N(0, I)."""

    def __init__(self, shape: tuple[int, int, int], code_dim: int, *,
                 base: int | None = None,  # of the width; None: 32 for Fashion-MNIST, else 64
                 multipliers: tuple[int, ...] = (1, 2, 4, 8),  # of the width, by level
                 dropout: float = 0.1,
                 weight: float | None = 1.0):  # of the KL; None: calibrated, 2 / N
        super().__init__(shape, code_dim, base=base, multipliers=multipliers, dropout=dropout)
        self.mean, self.logvar = nn.Linear(code_dim, code_dim), nn.Linear(code_dim, code_dim)
        for head in (self.mean, self.logvar):
            xavier(head)
        self.weight = 2 / prod(shape) if weight is None else weight

    def posterior(self, x0: Tensor) -> tuple[Tensor, Tensor]:
        """mu and log sigma^2 of q(code | x0), each (B, code_dim)."""
        code = self.encoder(x0)
        return self.mean(code).float(), self.logvar(code).float()

    def loss(self, x0: Tensor) -> dict[str, Tensor]:
        """Pixel-mean squared error of a sampled code + weight * KL(q || N(0, I))."""
        mean, logvar = self.posterior(x0)
        error = self.error(mean + (logvar / 2).exp() * torch.randn_like(mean), x0)
        kl = divergence(mean, logvar).mean()
        return {"loss": error + self.weight * kl, "error": error.detach(), "kl": kl.detach(),
                "code_variance": spread(mean)}

    def encode(self, x0: Tensor) -> Tensor:
        return self.posterior(x0)[0]

    def generate(self, x_T: Tensor, z: Tensor, steps: int) -> Tensor:
        return self.decode(x_T, z, steps)


def divergence(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mean, exp(logvar)) || N(0, I)) of codes (B, d), summed over d -> (B,)."""
    return (mean.square() + logvar.exp() - 1 - logvar).sum(1) / 2

"""beta-VAE: the VAE of vae.py with a KL weight calibrated to beta, w = 2 beta / N.

Sources: Higgins et al., beta-VAE: Learning Basic Visual Concepts with a Constrained Variational
Framework, ICLR 2017; Wang et al., InfoDiffusion, ICML 2023 (baselines.md section 3), whose
repository gives no beta: 4 is chosen here, with 10 beside it.
"""

from math import prod

from baselines.vae import Model as VAE


class Model(VAE):
    """`beta` is that of unit pixel variance, |x - xhat|^2 / 2 + beta * KL."""

    def __init__(self, shape: tuple[int, int, int], code_dim: int, *,
                 base: int | None = None,  # of the width; None: 32 for Fashion-MNIST, else 64
                 multipliers: tuple[int, ...] = (1, 2, 4, 8),  # of the width, by level
                 dropout: float = 0.1,
                 beta: float = 4.0):
        super().__init__(shape, code_dim, base=base, multipliers=multipliers, dropout=dropout,
                         weight=2 * beta / prod(shape))

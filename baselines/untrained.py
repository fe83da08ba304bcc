"""Control: a random encoder with k-means++ prototypes, never trained; only the denoiser learns.

Every table carries this row. A random encoder's codes already separate attributes fairly well
(patronus.md section 8), so a score says something about learning only as far as it exceeds this.
"""

from typing import Literal

from patronus.model import Model as Patronus


class Model(Patronus):
    """Patronus with a frozen, patch-initialised code; see patronus/model.py for the options."""

    def __init__(self, shape: tuple[int, int, int], code_dim: int, *,
                 base: int = 64,
                 multipliers: tuple[int, ...] = (1, 2, 4, 4),
                 dropout: float = 0.1,
                 encoder_channels: tuple[int, ...] = (32, 64, 64, 128),
                 encoder_kernels: tuple[int, ...] = (3, 3, 3, 3),
                 encoder_strides: tuple[int, ...] = (2, 1, 1, 1),
                 encoder_paddings: tuple[int, ...] = (1, 0, 0, 0),
                 prediction: Literal["eps", "v"] = "eps"):
        super().__init__(shape, code_dim, base=base, multipliers=multipliers, dropout=dropout,
                         encoder_channels=encoder_channels, encoder_kernels=encoder_kernels,
                         encoder_strides=encoder_strides, encoder_paddings=encoder_paddings,
                         prediction=prediction, prototype_init="patches", normalise_code=True,
                         freeze_code=True)

"""AE: the auto-encoder of InfoDiffusion's comparison, a code and a single-shot decoder.

Source: Wang et al., InfoDiffusion, ICML 2023 (baselines.md section 3): encoder and decoder are
U-Nets, the loss is the squared error averaged over pixels. Corrected: codes were drawn from N(0, I)
although nothing holds them there; here the suite's shared prior is fitted to them. Images of more
than 64 pixels are encoded from a downsample to 64 and decoded at 64, then enlarged.
"""

import torch
from torch import Tensor, nn

from baselines._avdm import Decoder, Encoder, published_base, spread
from patronus.method import Method, StepHook


class Model(Method):
    """`base` None: 32 for Fashion-MNIST, else 64. No diffusion: `steps` and x_T change nothing."""

    lacks = {"predict": "a single-shot decoder denoises nothing",
             "locate": "a code dimension comes from the whole image"}

    def __init__(self, shape: tuple[int, int, int], code_dim: int, *,
                 base: int | None = None,  # of the width
                 multipliers: tuple[int, ...] = (1, 2, 4, 8),  # of the width, by level
                 dropout: float = 0.1):
        super().__init__(shape, code_dim)
        sizes = base or published_base(shape), multipliers, dropout
        self.encoder = Encoder(shape, code_dim, *sizes)
        self.decoder = Decoder(shape, code_dim, *sizes)

    def loss(self, x0: Tensor) -> dict[str, Tensor]:
        """Squared error of the image, averaged over pixels."""
        code = self.encoder(x0)
        return {"loss": self.error(code, x0), "code_variance": spread(code)}

    def error(self, code: Tensor, x0: Tensor) -> Tensor:
        return nn.functional.mse_loss(self.decoder(code).float(), x0)

    def encode(self, x0: Tensor) -> Tensor:
        return self.encoder(x0)

    def decode(self, x_T: Tensor, code: Tensor, steps: int,
               on_step: StepHook | None = None) -> Tensor:
        x0hat = self.decoder(code)
        if on_step:
            on_step(0, x0hat)
        return x0hat

    def invert(self, x0: Tensor, code: Tensor, steps: int) -> Tensor:
        """Zeros: the decoder reads the code alone, nothing is left for x_T to carry."""
        return torch.zeros_like(x0)

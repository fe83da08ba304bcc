"""DDAE probe: what one pass through a frozen DDPM knows about an image.

Source: Xiang et al., Denoising Diffusion Autoencoders are Unified Self-supervised Learners, ICCV
2023. The image is noised to t = 11, and the features of the sixth residual block of the up path
(the last at a quarter of the resolution: 8x8 and 256 channels at 32 px) are averaged over space.

Corrected: the reference draws fresh noise at every pass, here one noise serves all images and
passes; it chooses t and block on the test split, here they are its published choice, and another
belongs into the options after a search on training images. Time goes in as our DDPM takes it (not
as t/1000); its backbone is our DDPM, not theirs of 35.7 M parameters.
"""

from itertools import islice
from typing import Literal

import torch
from torch import Tensor

from baselines._bottleneck import Frozen
from patronus.errors import Problem
from patronus.noise import noise
from patronus.unet import Block


class Model(Frozen):
    """The code has as many entries as the block has channels; the study's code_dim is ignored."""

    lacks = {"decode": "the features are read from a denoiser that takes no code",
             "invert": "without a decoder there is no x_T to look for",
             "predict": "the denoiser takes no code, see the DDPM's own row",
             "loss": "nothing of it is trained",
             "locate": "an entry is a mean over the whole image",
             "generate": "its own samples are those of the DDPM it stands on"}

    def __init__(self, shape: tuple[int, int, int], code_dim: int | None = None, *,
                 base: int = 64,  # of the DDPM it stands on, like the next two
                 multipliers: tuple[int, ...] = (1, 2, 4, 4),
                 prediction: Literal["eps", "v"] = "eps",
                 block: int = 6,  # of the residual blocks on the way up, counted from 1
                 t: int = 11):
        super().__init__(shape, None, base, multipliers, prediction)
        blocks = [i for i, layer in enumerate(self.denoiser.up) if isinstance(layer, Block)]
        if not 1 <= block <= len(blocks):
            raise Problem(f"{__name__}: there is no block {block}; choose one of 1 to "
                          f"{len(blocks)}")
        self.layer, self.t = blocks[block - 1], t
        self.code_dim = self.denoiser.up[self.layer].second[-1].out_channels
        self.register_buffer("noise", noise(range(1), shape, "ddae"), persistent=False)

    def encode(self, x0: Tensor) -> Tensor:
        """Mean over space of the block's features, (B, channels)."""
        t = torch.full((len(x0),), self.t, device=x0.device)
        passed = self.denoiser.descend(self.diffusion.noised(x0, t, self.noise), t)
        return next(islice(self.denoiser.ascend(*passed), self.layer, None)).mean((2, 3))

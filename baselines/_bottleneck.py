"""A frozen, trained DDPM whose bottleneck can be read and moved: what four methods stand on.

The bottleneck h is what leaves the middle of the U-Net: 256x4x4 at 32 px, 256x8x8 at 64 px with
the published widths. Source: Kwon et al., Diffusion Models Already Have a Semantic Latent Space,
ICLR 2023, which call it h-space.
"""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from baselines.ddpm import copy_denoiser
from patronus.diffusion import Diffusion
from patronus.method import Denoising, Method
from patronus.unet import UNet


class Frozen(Method):
    """A method that stands on a trained plain DDPM, of which it keeps a copy.

    `size` is the shape (channels, height, width) of h for one image. There is no dropout: a frozen
    network never trains.
    """

    def __init__(self, shape: tuple[int, int, int], code_dim: int | None, base: int,
                 multipliers: tuple[int, ...], prediction: str):
        super().__init__(shape, code_dim)
        self.diffusion = Diffusion(prediction)
        unet = UNet(shape, None, base, multipliers, dropout=0.0).requires_grad_(False)
        self.net = nn.ModuleDict({"unet": unet})  # its weights are net.unet.* in checkpoints
        scale = 2 ** (len(multipliers) - 1)
        self.size = (base * multipliers[-1], shape[1] // scale, shape[2] // scale)

    @property
    def denoiser(self) -> UNet:
        """The frozen network."""
        return self.net["unet"]

    def adopt(self, base: Method) -> None:
        copy_denoiser(base, self.denoiser, self.diffusion.prediction, type(self).__module__)


class Steered(Frozen, Denoising, ABC):
    """A method whose code moves the bottleneck at every step; `shift` says by how much.

    The same moved network serves sampling and inversion, so that decode gives back what was
    inverted with the same code, up to the error of DDIM; without a code it is the plain DDPM.
    """

    @abstractmethod
    def shift(self, h: Tensor, t: Tensor, code: Tensor) -> Tensor:
        """What is added to h (B, *size) at times t (B,), for codes (B, code_dim)."""

    def eps(self, x_t: Tensor, t: Tensor, code: Tensor | None) -> Tensor:
        """The network's answer (eps or v) with its bottleneck moved to the code."""
        h, skips, embeddings = self.denoiser.descend(x_t, t)
        moved = h if code is None else h + self.shift(h, t, code)
        return self.denoiser.finish(moved, skips, embeddings)

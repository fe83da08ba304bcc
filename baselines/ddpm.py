"""Plain DDPM: the Patronus denoiser without its condition path (baselines.md section 0).

Source: Ho et al., Denoising Diffusion Probabilistic Models, NeurIPS 2020; DDIM sampling: Song et
al., ICLR 2021. Same network, schedule and training as Patronus, so that what differs is the code.
"""

from typing import Literal

from torch import Tensor

from patronus.diffusion import Diffusion
from patronus.method import Denoising
from patronus.unet import UNet


class Model(Denoising):
    """`code_dim` of the study is ignored: there is no code."""

    lacks = {ability: "a plain DDPM has no code" for ability in ("encode", "locate")} \
        | {"generate": "decode is its own sampler already"}

    def __init__(self, shape: tuple[int, int, int], code_dim: int | None = None, *,
                 base: int = 64,
                 multipliers: tuple[int, ...] = (1, 2, 4, 4),
                 dropout: float = 0.1,
                 prediction: Literal["eps", "v"] = "eps"):
        super().__init__(shape, None)
        self.diffusion = Diffusion(prediction)
        self.denoiser = UNet(shape, None, base, multipliers, dropout=dropout)

    def loss(self, x0: Tensor) -> dict[str, Tensor]:
        return {"loss": self.diffusion.loss(self.denoiser, x0)}

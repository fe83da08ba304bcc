"""Plain DDPM: the Patronus denoiser without its condition path (baselines.md section 0).

Source: Ho et al., Denoising Diffusion Probabilistic Models, NeurIPS 2020; DDIM sampling: Song et
al., ICLR 2021. Same network, schedule and training as Patronus, so that what differs is the code.
"""

from typing import Literal

from torch import Tensor

from patronus.diffusion import Diffusion
from patronus.errors import Problem
from patronus.method import Denoising, Method
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


def copy_denoiser(base: Method, into: UNet, prediction: str, name: str,
                  sizes: str = "`base` and `multipliers`") -> None:
    """Copy the weights of a trained DDPM, for the method `name` that stands on it.

    Raises Problem unless `base` is a DDPM with this `prediction` whose denoiser fits; `sizes` are
    the options that the method has for them.
    """
    if not isinstance(base, Model):
        raise Problem(f"{name}: stands on a plain DDPM, not on {type(base).__module__}; write "
                      "`base: ddpm` into its file in config/methods")
    if base.diffusion.prediction != prediction:
        raise Problem(f"{name}: needs a DDPM that predicts {prediction}, but its own predicts "
                      f"{base.diffusion.prediction}; name another as `base:` in config/methods, or "
                      "change the option `prediction` of one of the two")
    try:
        into.load_state_dict(base.denoiser.state_dict())
    except RuntimeError as error:
        raise Problem(f"{name}: its DDPM has other sizes; give both the same shape, and its "
                      f"options {sizes} the values that the DDPM has") from error

"""Switches that make sampling cheaper after training, each at a cost in quality.

benchmarks/sample.py measures both. They change sampled images only: explanations, inversions and
measures of the code always ask the network as it was trained.
"""

import torch
from torch import Tensor, nn

from patronus.errors import Problem
from patronus.method import Denoising
from patronus.unet import UNet


def faster(model: Denoising, reuse: int = 1, int8: bool = False, half: bool = False) -> None:
    """Make a loaded model's denoiser cheaper, in place."""
    if reuse > 1 and not isinstance(model.denoiser, UNet):
        raise Problem(f"sample.reuse: the denoiser of {type(model).__module__} has no way down to "
                      "reuse; set it to 1 for that method")
    if int8:
        round_weights(model.denoiser)
    if reuse > 1:
        model.denoiser = Reusing(model.denoiser, reuse)
    if half:
        model.denoiser = Halved(model.denoiser)


class Halved(nn.Module):
    """A denoiser in bfloat16; times, codes and the path's arithmetic stay in float32."""

    def __init__(self, denoiser: nn.Module):
        super().__init__()
        self.denoiser = denoiser

    def forward(self, x: Tensor, t: Tensor, code: Tensor | None = None) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            return self.denoiser(x, t, code).float()


class Reusing(nn.Module):
    """A UNet whose way down and middle run at every `every`-th step only.

    In between, their features are those of the last time they ran, and the way up sees the time as
    it is: features of the way down hardly change between neighbouring steps (Li et al., Faster
    Diffusion, NeurIPS 2024). A time that is not below the last one begins a new path.
    """

    def __init__(self, unet: UNet, every: int):
        super().__init__()
        self.unet, self.every = unet, every
        self.count, self.last, self.kept = 0, -1, None

    def forward(self, x: Tensor, t: Tensor, code: Tensor | None = None) -> Tensor:
        now = int(t[0])
        self.count = self.count + 1 if now < self.last else 0
        self.last = now
        if self.count % self.every == 0:
            self.kept = self.unet.descend(x, t, code)[:2]
        return self.unet.finish(*self.kept, self.unet.embeddings(t, code))


@torch.no_grad()
def round_weights(network: nn.Module) -> None:
    """Round the weights of convolutions and matrices to 255 levels for each output channel."""
    for weight in network.parameters():
        if weight.dim() > 1:
            levels, scale = to_int8(weight)
            weight.copy_(from_int8(levels, scale))


def to_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (O, ...) as int8 levels of the same shape and a scale (O, 1, ...) each."""
    scale = weight.abs().amax(tuple(range(1, weight.dim())), keepdim=True) / 127
    return (weight / scale.clamp(min=1e-12)).round().to(torch.int8), scale


def from_int8(levels: Tensor, scale: Tensor) -> Tensor:
    """The weights again, off by half a level at most."""
    return levels.to(scale.dtype) * scale

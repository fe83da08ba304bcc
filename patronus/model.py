"""Patronus: prototype activations of the clean image condition a denoising diffusion model."""

from collections.abc import Iterator
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from patronus.diffusion import Diffusion
from patronus.method import Denoising, Located, to_unit
from patronus.prototypes import Prototypes, distinct_loss, similarity
from patronus.unet import UNet

PATCHES = 20_000  # training patches among which prototypes are initialised


class Model(Denoising):
    """`code_dim` is m, the number of prototypes. Defaults are the published ones."""

    def __init__(self, shape: tuple[int, int, int], code_dim: int, *,
                 base: int = 64,  # width of the denoiser
                 multipliers: tuple[int, ...] = (1, 2, 4, 4),  # of the width, by level
                 dropout: float = 0.1,
                 encoder_channels: tuple[int, ...] = (32, 64, 64, 128),
                 encoder_kernels: tuple[int, ...] = (3, 3, 3, 3),
                 encoder_strides: tuple[int, ...] = (2, 1, 1, 1),
                 encoder_paddings: tuple[int, ...] = (1, 0, 0, 0),
                 prediction: Literal["eps", "v"] = "eps",
                 prototype_init: Literal["uniform", "patches"] = "uniform",
                 normalise_code: bool = False,  # by running statistics, before its embedding
                 freeze_code: bool = False,  # encoder and prototypes stay as initialised
                 distinct_weight: float = 0.0,  # of the prototype distinct loss
                 distinct_delta: float = 0.5):
        super().__init__(shape, code_dim)
        self.prototypes = Prototypes(shape[0], code_dim, encoder_channels, encoder_kernels,
                                     encoder_strides, encoder_paddings)
        self.diffusion = Diffusion(prediction)
        self.denoiser = UNet(shape, code_dim, base, multipliers, dropout=dropout)
        self.prototype_init = prototype_init
        self.distinct = (distinct_weight, distinct_delta)
        self.scaler = RunningScale(code_dim) if normalise_code else nn.Identity()
        if freeze_code:
            self.prototypes.requires_grad_(False)

    @torch.no_grad()
    def prepare(self, images: Tensor) -> None:
        """Initialise the prototypes from encoded training patches, and the code's scale."""
        x0 = to_unit(images)
        if self.prototype_init == "patches":
            patches = self.prototypes.features(x0).movedim(1, -1).flatten(0, 2)
            self.prototypes.vectors.copy_(spread_out(patches, self.code_dim))
        if isinstance(self.scaler, RunningScale):
            self.scaler.start(self.prototypes(x0))

    def code_parameters(self) -> Iterator[nn.Parameter]:
        return self.prototypes.parameters()

    def loss(self, x0: Tensor) -> dict[str, Tensor]:
        """Noise MSE given the activations of the clean image (section 2)."""
        s = self.prototypes(x0)
        if self.training and isinstance(self.scaler, RunningScale):
            self.scaler.update(s.detach())
        noise = self.diffusion.loss(partial(self.eps, code=s), x0)
        weight, delta = self.distinct
        if not weight:
            return {"loss": noise, "noise": noise.detach()}
        apart = distinct_loss(self.prototypes.vectors, delta)
        return {"loss": noise + weight * apart, "noise": noise.detach(),
                "distinct": apart.detach()}

    def eps(self, x_t: Tensor, t: Tensor, code: Tensor) -> Tensor:
        """The denoiser's answer (eps, or v under v-prediction) for raw activations `code`."""
        return self.denoiser(x_t, t, self.scaler(code))

    def encode(self, x0: Tensor) -> Tensor:
        return self.prototypes(x0)

    def locate(self, x0: Tensor) -> Located:
        z = self.prototypes.features(x0)
        d2, at = self.prototypes.nearest(z)
        boxes = self.prototypes.boxes(at, z.shape[2:], x0.shape[2:])
        maps = self.prototypes.distances(z).flatten(2).scatter(2, at[..., None], d2[..., None])
        return Located(similarity(d2), boxes, similarity(maps).unflatten(2, z.shape[2:]))


class RunningScale(nn.Module):
    """(s - mean) / std with running statistics, the same in training and evaluation.

    `least` keeps a prototype that never varies from turning a small move into a huge one.
    """

    def __init__(self, width: int, momentum: float = 0.01, least: float = 1e-3):
        super().__init__()
        self.momentum, self.least = momentum, least
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))

    def start(self, s: Tensor) -> None:
        self.mean.copy_(s.mean(0))
        self.std.copy_(s.std(0, correction=0))

    @torch.no_grad()
    def update(self, s: Tensor) -> None:
        self.mean.lerp_(s.mean(0), self.momentum)
        self.std.lerp_((s - self.mean).square().mean(0).sqrt(), self.momentum)

    def forward(self, s: Tensor) -> Tensor:
        return (s - self.mean) / self.std.clamp(min=self.least)


def spread_out(patches: Tensor, count: int) -> Tensor:
    """k-means++ seeds (count, D) among patch features (N, D); torch's seed decides."""
    from sklearn.cluster import kmeans_plusplus

    chosen = torch.randperm(len(patches))[:PATCHES].to(patches.device)
    seed = int(torch.randint(2**31, ()))
    centres, _ = kmeans_plusplus(patches[chosen].cpu().double().numpy(), count, random_state=seed)
    return torch.from_numpy(centres).to(patches)

"""CausalDiffAE: a diffusion autoencoder whose code follows a given graph over labelled concepts.

Source: Komanduri et al., Causal Diffusion Autoencoders: Toward Counterfactual Generation via
Diffusion Probabilistic Models, ECAI 2024 (baselines.md section 7). Supervised: it is given the
concepts' labels in training, so its rows are not comparable with the unsupervised ones.

    x0 -> mean u and variance v; z_i = f_i(sum of the parents' u_j) + u_i      (n equal blocks)
    loss = |eps - epshat(x_t, t, z + sqrt(0.001 v) xi)|^2                       (mean)
         + gamma [KL(N(u, v) || N(0, 1)) + sum_i 1/2 |z_i - c_i|^2]             (sum over the code)

gamma climbs from 0 to 1 over `ramp_steps`; with probability 1/2 an image's code is masked (zero,
its gamma terms left out), so that the denoiser also learns to do without.

The denoiser is that of this suite (patronus/unet.py), the code added beside the time. The published
one has base 128, 3 blocks a level, attention at 16 and 8 pixels and FiLM.

Corrected: the encoder has the layers its image needs (six were hard-coded, which breaks 28 px);
x_T is inverted by DDIM from the image and its code (it was noised at random, which keeps no
identity); images lie in [-1, 1] and the denoiser sees no class label.
Chosen: labels scaled to [-1, 1], classes by their number; an unknown one pulls nothing; f_i only
where there are parents (f_i(0) is a constant); images are masked one by one; the code is z before
its noise; no guidance; the graphs in config/datasets are ours.
"""

import math
from functools import partial
from graphlib import CycleError, TopologicalSorter
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from patronus.diffusion import Diffusion
from patronus.errors import Problem
from patronus.method import Denoising
from patronus.unet import UNet

NOISE = 0.001  # share of v that blurs the code in training
HIDDEN = 512  # width of the networks f_i


class Model(Denoising):
    """`code_dim` must be divisible by the number of concepts; an edge reads "cause>effect"."""

    lacks = {"locate": "a code describes the whole image"}

    def __init__(self, shape: tuple[int, int, int], code_dim: int, *,
                 concepts: tuple[str, ...] = ("Male", "Smiling", "Mouth_Slightly_Open",
                                              "Narrow_Eyes"),
                 edges: tuple[str, ...] = ("Male>Smiling", "Smiling>Mouth_Slightly_Open",
                                           "Smiling>Narrow_Eyes"),
                 ramp_steps: int = 50_000,  # until gamma is 1
                 masked: float = 0.5,  # share of images whose code is masked
                 base: int = 64,
                 multipliers: tuple[int, ...] = (1, 2, 4, 4),
                 dropout: float = 0.1,
                 prediction: Literal["eps", "v"] = "eps"):
        super().__init__(shape, code_dim)
        if code_dim % len(concepts):
            raise Problem(f"causal_diffae: a code of {code_dim} cannot be cut into {len(concepts)} "
                          "equal blocks; choose another code_dim or other concepts")
        self.concepts, self.ramp_steps, self.masked = concepts, ramp_steps, masked
        self.encoder = Encoder(shape, code_dim)
        self.causal = Causal(code_dim // len(concepts), parents_of(concepts, edges))
        self.diffusion = Diffusion(prediction)
        self.denoiser = UNet(shape, code_dim, base, multipliers, dropout=dropout)
        self.register_buffer("step", torch.zeros((), dtype=torch.long))  # saved: resume is exact

    def loss(self, x0: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """`labels` (B, n) in [-1, 1], NaN where unknown; None: all are."""
        labels = x0.new_full((len(x0), len(self.concepts)), torch.nan) if labels is None else labels
        mean, variance = self.encoder(x0)
        z = self.causal(mean)
        seen = (torch.rand(len(x0), device=x0.device) >= self.masked).float()
        code = seen[:, None] * (z + (NOISE * variance).sqrt() * torch.randn_like(z))
        noise = self.diffusion.loss(partial(self.eps, code=code), x0)
        kl, apart = kl_to_normal(mean, variance), self.apart(z, labels)
        gamma = ((self.step + 1) / self.ramp_steps).clamp(max=1)
        if self.training:
            self.step += 1
        return {"loss": noise + gamma * (seen * (kl + apart)).mean(), "noise": noise.detach(),
                "kl": kl.mean().detach(), "concepts": apart.mean().detach()}

    def apart(self, z: Tensor, labels: Tensor) -> Tensor:
        """sum_i 1/2 |z_i - c_i|^2 over the known labels c_i, (B,)."""
        blocks = z.unflatten(1, (len(self.concepts), -1))
        known = labels.nan_to_num()  # NaN would reach the gradients through the other branch
        distance = (blocks - known[..., None]).square().sum(2) / 2
        return torch.where(labels.isnan(), 0, distance).sum(1)

    def encode(self, x0: Tensor) -> Tensor:
        """z from the mean u."""
        return self.causal(self.encoder(x0)[0])


class Encoder(nn.Module):
    """Images -> u and v > 0, both (B, code_dim) float32."""

    def __init__(self, shape: tuple[int, int, int], code_dim: int):
        super().__init__()
        widths = [shape[0], *encoder_widths(max(shape[1:]))]
        layers, sides = [], shape[1:]
        for inside, outside in zip(widths, widths[1:], strict=False):
            layers += [nn.Conv2d(inside, outside, 3, stride=2, padding=1, bias=False),
                       nn.BatchNorm2d(outside), nn.LeakyReLU()]
            sides = [-(-side // 2) for side in sides]
        self.features = nn.Sequential(*layers, nn.Flatten())
        self.mean = nn.Linear(widths[-1] * math.prod(sides), code_dim)
        self.variance = nn.Linear(widths[-1] * math.prod(sides), code_dim)

    def forward(self, x0: Tensor) -> tuple[Tensor, Tensor]:
        h = self.features(x0)
        return self.mean(h).float(), F.softplus(self.variance(h).float())


class Causal(nn.Module):
    """u -> z, both (B, n * width): z_i = f_i(sum of u_j over the parents j of i) + u_i."""

    def __init__(self, width: int, parents: list[list[int]]):
        super().__init__()
        self.parents = parents
        self.effects = nn.ModuleDict({
            str(i): nn.Sequential(nn.Linear(width, HIDDEN), nn.LeakyReLU(),
                                  nn.Linear(HIDDEN, width))
            for i, causes in enumerate(parents) if causes})

    def forward(self, u: Tensor) -> Tensor:
        blocks = u.unflatten(1, (len(self.parents), -1))
        z = [self.effects[str(i)](blocks[:, causes].sum(1)).float() + blocks[:, i]
             if causes else blocks[:, i] for i, causes in enumerate(self.parents)]
        return torch.cat(z, 1)


def encoder_widths(side: int) -> list[int]:
    """Widths of the stride-2 layers that bring `side` pixels to 2: from 16 to 128, evenly doubling.

    16, 32, 64, 128 at 28 and 32 pixels, 16, 32, 32, 64, 64, 128 at 96 and 128, as published.
    """
    depth = math.ceil(math.log2(side)) - 1
    return [16 * 2 ** round(3 * k / max(1, depth - 1)) for k in range(depth)]


def parents_of(concepts: tuple[str, ...], edges: tuple[str, ...]) -> list[list[int]]:
    """The numbers of each concept's direct causes; raises Problem unless the graph is acyclic."""
    causes: dict[str, list[int]] = {name: [] for name in concepts}
    for edge in edges:
        cause, _, effect = (part.strip() for part in edge.partition(">"))
        if cause not in causes or effect not in causes:
            raise Problem(f'causal_diffae: edge "{edge}" must read "cause>effect" with two of the '
                          f"concepts {', '.join(concepts)}")
        causes[effect].append(concepts.index(cause))
    try:
        TopologicalSorter({concepts.index(name): found for name, found in causes.items()}).prepare()
    except CycleError as error:
        raise Problem(f"causal_diffae: the edges {', '.join(edges)} run in a circle; "
                      "remove one") from error
    return list(causes.values())


def kl_to_normal(mean: Tensor, variance: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, 1)), summed over the code, (B,)."""
    return (mean.square() + variance - 1 - variance.log()).sum(1) / 2

"""DiffAE: a semantic encoder and a diffusion decoder, trained together (baselines.md section 1).

The encoder turns x0 into a code z, and a denoiser given z models what z leaves open, in x_T:

    L = E |eps - eps_theta(x_t, t, E(x0))|^2, unweighted; linear schedule.

Two tracks. `denoiser="diffae"`: the published network, "DiffAE-512" (not the 32-d network that
InfoDiffusion's tables call DiffAE). `denoiser="patronus"`: the matched track, the Patronus U-Net
with its own additive condition, and DiffAE's encoder with a code of the study's length.

Faults of the reference corrected: x0hat is not clipped in the inversion (nor in sampling, so that
the two stay each other's inverse); sampling starts at t = T-1, which the reference's shorter grids
never visit, and the inversion ends there (the reference's ends at alpha_bar = 0); the code's
projection does not depend on the width of the time embedding, so that codes need not have 512
entries. Other than published: second and output convolutions start small instead of at zero (at
zero, nothing before them has a gradient in the first step); z is drawn by the suite's shared
prior instead of by a latent MLP of its own (54.1 M parameters), as for every method; no flips.
Our choices where nothing is published: at 32 pixels multipliers (1, 2, 4, 4); at 224 pixels
stride-2 stages are added to the encoder while the side is even and above 4 (224 -> 7), and its
attention stands at the first side of at most 16 (14), the denoiser's in the middle only.

Source: Preechakul et al., Diffusion Autoencoders: Toward a Meaningful and Decodable
Representation, CVPR 2022. Blocks: Dhariwal and Nichol, Diffusion Models Beat GANs on Image
Synthesis, NeurIPS 2021.
"""

import math
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from patronus.diffusion import Diffusion
from patronus.method import Denoising
from patronus.unet import Attention, UNet, sinusoids, two_layers

ATTENTION = 16  # self-attention at the first level whose side is at most this


class Model(Denoising):
    """`code_dim` is the length of z: 512 as published. Multipliers None: by the image's side."""

    lacks = {"locate": "an entry of the code is made of the whole image"}

    def __init__(self, shape: tuple[int, int, int], code_dim: int, *,
                 base: int = 64,  # width of encoder and denoiser
                 multipliers: tuple[int, ...] | None = None,  # of the width, by level
                 dropout: float = 0.1,  # of the denoiser
                 denoiser: Literal["diffae", "patronus"] = "diffae",
                 prediction: Literal["eps", "v"] = "eps"):
        super().__init__(shape, code_dim)
        published = multipliers or ((1, 2, 4, 4) if shape[1] <= 32 else (1, 2, 4, 8))
        self.encoder = Encoder(shape, code_dim, base, published)
        self.diffusion = Diffusion(prediction)
        if denoiser == "diffae":
            self.denoiser = Denoiser(shape, code_dim, base, published, dropout)
        else:
            self.denoiser = UNet(shape, code_dim, base, multipliers or (1, 2, 4, 4),
                                 dropout=dropout)

    def loss(self, x0: Tensor) -> dict[str, Tensor]:
        """Unweighted noise MSE given the code of the clean image."""
        return {"loss": self.diffusion.loss(partial(self.eps, code=self.encoder(x0)), x0)}

    def encode(self, x0: Tensor) -> Tensor:
        return self.encoder(x0)


class Denoiser(nn.Module):
    """The published U-Net: forward(x_t (B, C, H, W), t (B,) int, z (B, code_dim)) -> like x_t.

    Levels of two residual blocks (three going up), resampled by residual blocks; every block,
    those between levels too, is given time and code. Sides: divisible by 2 ** (levels - 1).
    """

    def __init__(self, shape: tuple[int, int, int], code_dim: int, base: int,
                 multipliers: tuple[int, ...], dropout: float, blocks: int = 2,
                 timesteps: int = 1000):
        super().__init__()
        widths, last = [base * m for m in multipliers], len(multipliers) - 1
        inner = 8 * base  # 512 as published
        looks = [level == attention_level(shape[1], last) for level in range(len(widths))]
        self.register_buffer("times", sinusoids(timesteps, base), persistent=False)
        self.time = two_layers(base, inner)
        self.first = nn.Conv2d(shape[0], base, 3, padding=1)

        def block(inside: int, outside: int, attention: bool = False, resample: str = "") -> Block:
            return Block(inside, outside, inner, code_dim, dropout, attention, resample)

        self.down, skips, width = nn.ModuleList(), [base], base
        for level, wide in enumerate(widths):
            for _ in range(blocks):
                self.down.append(block(width, wide, looks[level]))
                width = wide
                skips.append(width)
            if level < last:
                self.down.append(block(width, width, resample="down"))
                skips.append(width)
        self.middle = nn.ModuleList([block(width, width, attention=True), block(width, width)])
        self.up = nn.ModuleList()
        for level, wide in reversed(list(enumerate(widths))):
            for _ in range(blocks + 1):
                self.up.append(block(width + skips.pop(), wide, looks[level]))
                width = wide
            if level > 0:
                self.up.append(block(width, width, resample="up"))
        self.last = nn.Sequential(norm(width), nn.SiLU(),
                                  small(nn.Conv2d(width, shape[0], 3, padding=1)))

    def forward(self, x: Tensor, t: Tensor, code: Tensor) -> Tensor:
        time = nn.functional.silu(self.time(self.times[t]))
        code = nn.functional.silu(code)
        h = self.first(x)
        skips = [h]
        for layer in self.down:
            h = layer(h, time, code)
            skips.append(h)
        for layer in self.middle:
            h = layer(h, time, code)
        for layer in self.up:
            h = layer(h if layer.resample else torch.cat([h, skips.pop()], 1), time, code)
        return self.last(h)


class Block(nn.Module):
    """Residual block: h <- (1 + code) [(1 + scale) GN(h) + shift], scale and shift from time.

    The code scales only. `resample` "down" (mean of 2 x 2) or "up" (nearest) changes the side
    in both branches.
    """

    def __init__(self, inside: int, outside: int, embedding: int, code_dim: int, dropout: float,
                 attention: bool = False, resample: str = ""):
        super().__init__()
        self.resample = resample
        self.before = nn.Sequential(norm(inside), nn.SiLU(), resampler(resample),
                                    nn.Conv2d(inside, outside, 3, padding=1))
        self.norm = norm(outside)
        self.time = nn.Linear(embedding, 2 * outside)
        self.code = nn.Linear(code_dim, outside)
        self.after = nn.Sequential(nn.SiLU(), nn.Dropout(dropout),
                                   small(nn.Conv2d(outside, outside, 3, padding=1)))
        self.skip = skip(inside, outside, resample)
        self.attention = one_head(outside) if attention else nn.Identity()

    def forward(self, x: Tensor, time: Tensor, code: Tensor) -> Tensor:
        """`time` (B, embedding) and `code` (B, code_dim) have passed a SiLU."""
        scale, shift = self.time(time)[..., None, None].chunk(2, 1)
        h = (1 + scale) * self.norm(self.before(x)) + shift
        h = self.after(h * (1 + self.code(code)[..., None, None]))
        return self.attention(h + self.skip(x))


class Encoder(nn.Sequential):
    """Images (B, C, H, W) -> codes (B, code_dim): half-blocks to 4 x 4, their mean, a 1 x 1 conv.

    Goes on from the last of `multipliers` with stages of the same width until the side is 4 or
    odd. No dropout, no time, so the code of an image is fixed.
    """

    def __init__(self, shape: tuple[int, int, int], code_dim: int, base: int,
                 multipliers: tuple[int, ...], blocks: int = 2):
        widths = [base * m for m in multipliers]
        side = shape[1] >> (len(widths) - 1)
        while side > 4 and side % 2 == 0:
            widths.append(widths[-1])
            side //= 2
        looking = attention_level(shape[1], len(widths) - 1)
        layers: list[nn.Module] = [nn.Conv2d(shape[0], base, 3, padding=1)]
        width = base
        for level, wide in enumerate(widths):
            for _ in range(blocks):
                layers.append(HalfBlock(width, wide, level == looking))
                width = wide
            if level < len(widths) - 1:
                layers.append(HalfBlock(width, width, resample="down"))
        layers += [HalfBlock(width, width, attention=True), HalfBlock(width, width),
                   norm(width), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, code_dim, 1),
                   nn.Flatten()]
        super().__init__(*layers)


class HalfBlock(nn.Module):
    """Residual block of one convolution, as published: GN, SiLU, 3 x 3 conv, plus skip."""

    def __init__(self, inside: int, outside: int, attention: bool = False, resample: str = ""):
        super().__init__()
        self.body = nn.Sequential(norm(inside), nn.SiLU(), resampler(resample),
                                  nn.Conv2d(inside, outside, 3, padding=1))
        self.skip = skip(inside, outside, resample)
        self.attention = one_head(outside) if attention else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(self.body(x) + self.skip(x))


def attention_level(side: int, last: int) -> int | None:
    """The first level, each half as wide as the one before, whose side is at most ATTENTION."""
    return next((level for level in range(last + 1) if side >> level <= ATTENTION), None)


def norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(32, width), width)


def one_head(width: int) -> Attention:
    return Attention(width, heads=1, groups=math.gcd(32, width))


def resampler(kind: str) -> nn.Module:
    return {"": nn.Identity, "down": partial(nn.AvgPool2d, 2),
            "up": partial(nn.Upsample, scale_factor=2)}[kind]()


def skip(inside: int, outside: int, kind: str) -> nn.Module:
    project = nn.Conv2d(inside, outside, 1) if inside != outside else nn.Identity()
    return nn.Sequential(resampler(kind), project)


def small(conv: nn.Conv2d) -> nn.Conv2d:
    """Starts almost at zero: exactly zero would cut every gradient before it."""
    nn.init.normal_(conv.weight, std=1e-3)
    nn.init.zeros_(conv.bias)
    return conv

"""Networks of InfoDiffusion's first repository (`main`), shared by its methods (baselines.md 2, 3).

Source: Wang et al., InfoDiffusion: Representation Learning Using Information Maximizing Diffusion
Models, ICML 2023. One U-Net serves as encoder (ending in a one-channel map, then a linear layer),
as denoiser (blocks that see the time and the code) and, after a linear layer, as the decoder of
the auto-encoders. Left out: cross-attention weights that nothing uses (1.2 M of the 14.9 M that
the published denoiser counts at 64 pixels; 0.06 M more is its constant time table, which is no
parameter here), and the bottleneck-only condition, an option that is off by default.
"""

from collections.abc import Iterable
from functools import partial
from math import gcd, prod

import torch
from torch import Tensor, nn

from patronus.diffusion import Diffusion
from patronus.method import Denoising
from patronus.unet import Attention, sinusoids, two_layers
from patronus.unet import UNet as PatronusUNet

ATTENDS = 2  # the level, counted from 0, that attends: 8x8 positions of 32 pixels
CODED_SIDE = 64  # larger images are encoded and decoded at this side


def published_base(shape: tuple[int, int, int]) -> int:
    """Width of the first level: 32 for Fashion-MNIST (gray, 32 pixels), else 64."""
    return 32 if shape[0] == 1 and max(shape[1:]) <= 32 else 64


def coded_shape(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """(C, H, W) at which images of `shape` are encoded: at most 64x64."""
    return (shape[0], *(min(side, CODED_SIDE) for side in shape[1:]))


class UNet(nn.Module):
    """forward(x (B, inside, H, W), *embeddings (B, E)) -> (B, outside, H, W).

    With `embeddings` > 0 every block takes so many of them, of width `embedding`, which have
    passed a SiLU. H and W must be divisible by 2 ** (len(multipliers) - 1).
    """

    def __init__(self, inside: int, outside: int, base: int, multipliers: tuple[int, ...],
                 dropout: float, embeddings: int = 0, embedding: int = 0, blocks: int = 2):
        super().__init__()
        block = partial(Block, dropout=dropout, embeddings=embeddings, embedding=embedding)
        widths, width = [base * m for m in multipliers], base
        self.first = nn.Conv2d(inside, base, 3, padding=1)
        self.down, skips = nn.ModuleList(), [base]
        for level, wide in enumerate(widths):
            for _ in range(blocks):
                self.down.append(block(width, wide, level == ATTENDS))
                width = wide
                skips.append(width)
            if level < len(widths) - 1:
                self.down.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
                skips.append(width)
        self.middle = nn.ModuleList([block(width, width, True), block(width, width, False)])
        self.up = nn.ModuleList()
        for level, wide in reversed(list(enumerate(widths))):
            for _ in range(blocks + 1):
                self.up.append(block(width + skips.pop(), wide, level == ATTENDS))
                width = wide
            if level > 0:
                self.up.append(nn.Sequential(nn.Upsample(scale_factor=2),
                                             nn.Conv2d(width, width, 3, padding=1)))
        self.last = nn.Sequential(norm(width), nn.SiLU(),
                                  nn.Conv2d(width, outside, 3, padding=1))
        xavier(self)

    def forward(self, x: Tensor, *embeddings: Tensor) -> Tensor:
        h = self.first(x)
        skips = [h]
        for layer in self.down:
            h = layer(h, embeddings) if isinstance(layer, Block) else layer(h)
            skips.append(h)
        for layer in self.middle:
            h = layer(h, embeddings)
        for layer in self.up:
            h = layer(torch.cat([h, skips.pop()], 1), embeddings) \
                if isinstance(layer, Block) else layer(h)
        return self.last(h)


class Block(nn.Module):
    """Residual block of two convolutions, or of three around one norm that embeddings modulate.

    Each embedding in turn scales and shifts what the second norm gives: h <- (1 + s) h + b.
    """

    def __init__(self, inside: int, outside: int, attention: bool, dropout: float,
                 embeddings: int, embedding: int):
        super().__init__()
        self.first = convolution(inside, outside, 0)
        self.norm, *rest = convolution(outside, outside, dropout)
        self.second = nn.Sequential(*rest)
        self.films = nn.ModuleList(nn.Linear(embedding, 2 * outside) for _ in range(embeddings))
        self.third = convolution(outside, outside, dropout) if embeddings else nn.Identity()
        self.skip = nn.Conv2d(inside, outside, 1) if inside != outside else nn.Identity()
        self.attention = Attention(outside, 1, gcd(32, outside)) if attention else nn.Identity()

    def forward(self, x: Tensor, embeddings: Iterable[Tensor]) -> Tensor:
        h = self.norm(self.first(x))
        for film, embedding in zip(self.films, embeddings, strict=True):
            scale, shift = film(embedding)[..., None, None].chunk(2, 1)
            h = (1 + scale) * h + shift
        return self.attention(self.third(self.second(h)) + self.skip(x))


def norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(gcd(32, width), width)


def convolution(inside: int, outside: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(norm(inside), nn.SiLU(), nn.Dropout(dropout),
                         nn.Conv2d(inside, outside, 3, padding=1))


def xavier(module: nn.Module) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)


class Denoiser(nn.Module):
    """forward(x_t (B, C, H, W), t (B,) int, code (B, code_dim)) -> eps (B, C, H, W)."""

    def __init__(self, shape: tuple[int, int, int], code_dim: int, base: int,
                 multipliers: tuple[int, ...], dropout: float, timesteps: int = 1000):
        super().__init__()
        inner = 4 * base
        self.register_buffer("times", sinusoids(timesteps, base), persistent=False)
        self.time = two_layers(base, inner)
        self.code = nn.Linear(code_dim, inner)
        self.net = UNet(shape[0], shape[0], base, multipliers, dropout, 2, inner)
        xavier(self)

    def forward(self, x_t: Tensor, t: Tensor, code: Tensor) -> Tensor:
        silu = nn.functional.silu
        return self.net(x_t, silu(self.time(self.times[t])), silu(self.code(code)))


class Encoder(nn.Module):
    """Images (B, C, H, W) -> codes (B, code_dim), by a U-Net and a linear layer of its map.

    Images of more than 64 pixels a side are encoded from a downsample to 64: the linear layer
    and the attention of the published form do not scale to 224 pixels.
    """

    def __init__(self, shape: tuple[int, int, int], code_dim: int, base: int,
                 multipliers: tuple[int, ...], dropout: float):
        super().__init__()
        self.size = coded_shape(shape)[1:]
        self.net = UNet(shape[0], 1, base, multipliers, dropout)
        self.last = nn.Linear(prod(self.size), code_dim)
        xavier(self.last)

    def forward(self, x0: Tensor) -> Tensor:
        if x0.shape[2:] != self.size:
            x0 = nn.functional.interpolate(x0, self.size, mode="bilinear", antialias=True)
        return self.last(self.net(x0).flatten(1))


class Decoder(nn.Module):
    """Codes (B, code_dim) -> images (B, C, H, W) in one shot; above 64 pixels enlarged from 64."""

    def __init__(self, shape: tuple[int, int, int], code_dim: int, base: int,
                 multipliers: tuple[int, ...], dropout: float):
        super().__init__()
        self.shape, self.size = coded_shape(shape), shape[1:]
        self.first = nn.Linear(code_dim, prod(self.shape))
        self.net = UNet(shape[0], shape[0], base, multipliers, dropout)
        xavier(self.first)

    def forward(self, code: Tensor) -> Tensor:
        x0 = self.net(self.first(code).unflatten(1, self.shape))
        if x0.shape[2:] == self.size:
            return x0
        return nn.functional.interpolate(x0, self.size, mode="bilinear")


def mmd(code: Tensor, noise: Tensor) -> Tensor:
    """Biased squared maximum mean discrepancy of two samples (N, d) and (M, d).

    mean k(u, u') + mean k(v, v') - 2 mean k(u, v), k(u, v) = exp(-|u - v|^2 / d^2). The kernel
    is so wide that it holds scale and mean, not the shape: at d = 32 and N = M = 32 codes that
    are all zero score 0.0029, true Gaussian ones 0.0038 (baselines.md section 2, defect 6).
    """
    def mean_kernel(u: Tensor, v: Tensor) -> Tensor:
        return (-(u[:, None] - v).square().sum(-1) / u.shape[1] ** 2).exp().mean()

    code = code.float()  # differences of 1e-3 are lost in half precision
    return mean_kernel(code, code) + mean_kernel(noise, noise) - 2 * mean_kernel(code, noise)


def spread(code: Tensor) -> Tensor:
    """Mean variance of a batch's codes (N, d): about 0 if they collapse, 1 if N(0, I)."""
    return code.detach().float().var(0, correction=0).mean()


class AuxiliaryDiffusion(Denoising):
    """A denoiser and the encoder of its code a = E(x0), trained jointly.

    `denoiser` is "avdm" or "patronus". `base` and `multipliers` hold for all networks; None
    leaves each its own: (1, 2, 2, 2) here, base 64 and (1, 2, 4, 4) for the Patronus U-Net.
    """

    lacks = {"locate": "a code dimension comes from the whole image"}

    def __init__(self, shape: tuple[int, int, int], code_dim: int, denoiser: str,
                 base: int | None, multipliers: tuple[int, ...] | None, dropout: float,
                 beta_range: tuple[float, float], prediction: str = "eps"):
        super().__init__(shape, code_dim)
        own = base or published_base(shape), multipliers or (1, 2, 2, 2), dropout
        self.encoder = Encoder(shape, code_dim, *own)
        self.diffusion = Diffusion(prediction, 1000, *beta_range)
        if denoiser == "patronus":
            self.denoiser = PatronusUNet(shape, code_dim, base or 64, multipliers or (1, 2, 4, 4),
                                         dropout=dropout)
        else:
            self.denoiser = Denoiser(shape, code_dim, *own)

    def noise_loss(self, code: Tensor, x0: Tensor) -> Tensor:
        return self.diffusion.loss(partial(self.eps, code=code), x0)

    def encode(self, x0: Tensor) -> Tensor:
        return self.encoder(x0)

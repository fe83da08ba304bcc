"""PDAE: a frozen DDPM, an encoder, and a branch that adds what the code knows (baselines.md 4).

The trained DDPM of the same cell stays as it is and answers eps. An encoder E makes a code z from
x0, and a new branch G reads the frozen network's features, t and z:

    eps_hat = eps(x_t, t) - sqrt(1 - alpha_bar_t) G(x_t, t, z),
    L = E w_t |eps_true - eps_hat|^2,  w_t = SNR^0.1 / (1 + SNR),  SNR = alpha_bar / (1 - alpha_bar)

so that z must carry what x_t has lost: G stands for the gradient of log p(z | x_t).

Faults of the reference corrected: it trains with the coefficient
-sqrt(alpha_t) (1 - alpha_bar_{t-1}) / sqrt(1 - alpha_bar_t) (the shift of the posterior mean) but
samples with -sqrt(1 - alpha_bar_t) (the score's), which differ for small t; here the second does
both, since it knows nothing of the steps on which one samples. Its prior clips standardised codes
to [-1, 1] at every step; here nothing clips a code, and codes are drawn by the suite's shared
prior instead of by an MLP of their own, without switching the shift off for the last steps. x0hat
is not clipped, in sampling as in inversion. Other than published: the branch's output convolution
starts small instead of at zero (at zero, nothing before it has a gradient in the first step).
Our choices: the DDPM is the suite's (Patronus U-Net), and the branch has the shape of its second
half; it may predict eps or v, turned into eps; it runs without dropout; below 64 pixels the
encoder's third stride is dropped, above them stages of stride 2 are added until the side is at
most 8, which is pooled to 4 x 4, and its attention stands where the side is at most 16.

Source: Zhang et al., Unsupervised Representation Learning from Pre-trained Diffusion
Probabilistic Models, NeurIPS 2022.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from baselines.ddpm import copy_denoiser
from patronus.diffusion import Diffusion
from patronus.method import Denoising, Method
from patronus.unet import Attention, UNet

ATTENTION = 16  # the encoder's self-attention: after its second stage, where the side is this


class Model(Denoising):
    """`code_dim` is 512 as published. Sizes and prediction must be those of the DDPM adopted."""

    lacks = {"locate": "an entry of the code is made of the whole image"}

    def __init__(self, shape: tuple[int, int, int], code_dim: int, *,
                 base: int = 64,  # width of the frozen denoiser and of the branch
                 multipliers: tuple[int, ...] = (1, 2, 4, 4),  # of the width, by level
                 dropout: float = 0.1,  # of the branch
                 encoder_channels: tuple[int, ...] = (64, 128, 128, 128),
                 prediction: Literal["eps", "v"] = "eps"):  # of the DDPM
        super().__init__(shape, code_dim)
        self.encoder = Encoder(shape, code_dim, encoder_channels)
        self.denoiser = UNet(shape, None, base, multipliers, dropout=0).requires_grad_(False)
        self.answered = Diffusion(prediction)  # what the frozen denoiser answers
        self.diffusion = Diffusion("eps")  # of the shifted eps
        self.branch = Branch(shape[0], code_dim, base, multipliers, dropout)

    def adopt(self, base: Method) -> None:
        copy_denoiser(base, self.denoiser, self.answered.prediction, __name__)

    def loss(self, x0: Tensor) -> dict[str, Tensor]:
        """Weighted noise MSE of the shifted eps, given the code of the clean image."""
        t, eps = self.diffusion.draw_times(len(x0)), torch.randn_like(x0)
        x_t = self.diffusion.noised(x0, t, eps)
        error = (eps - self.eps(x_t, t, self.encoder(x0))).square().flatten(1).mean(1)
        return {"loss": (self.weight(t) * error).mean(), "noise": error.detach().mean()}

    def weight(self, t: Tensor) -> Tensor:
        """w_t (B,): SNR^0.1 / (1 + SNR), largest (0.72) near t = 475."""
        a = self.diffusion.alpha_bar[t]
        return (a / (1 - a)) ** 0.1 * (1 - a)

    def eps(self, x_t: Tensor, t: Tensor, code: Tensor) -> Tensor:
        """The frozen network's eps, shifted by the branch."""
        with torch.no_grad():
            h, skips, embeddings = self.denoiser.descend(x_t, t)
            answer = self.denoiser.finish(h, skips, embeddings).float()
            eps = self.answered.split(answer, x_t, t)[1]
        spread = (1 - self.diffusion.alpha_bar[t]).sqrt().view(-1, 1, 1, 1)
        return eps - spread * self.branch(skips, embeddings[0], code).float()

    def encode(self, x0: Tensor) -> Tensor:
        return self.encoder(x0)


class Branch(nn.Module):
    """A second middle, up path and output.

    forward(features of the way down, time embedding, z (B, code_dim)) -> G (B, C, H, W).
    """

    def __init__(self, channels: int, code_dim: int, base: int, multipliers: tuple[int, ...],
                 dropout: float, blocks: int = 2):
        super().__init__()
        widths, inner = [base * m for m in multipliers], 4 * base
        skips = [base]  # channels of the frozen skip features, as patronus.unet.UNet makes them
        for level, wide in enumerate(widths):
            skips += [wide] * (blocks + (level < len(widths) - 1))
        width = widths[-1]
        self.code = nn.Linear(code_dim, inner)
        self.middle = nn.ModuleList([ShiftBlock(width, width, inner, dropout, attention=True),
                                     ShiftBlock(width, width, inner, dropout)])
        self.up = nn.ModuleList()
        for level, wide in reversed(list(enumerate(widths))):
            for _ in range(blocks + 1):
                self.up.append(ShiftBlock(width + skips.pop(), wide, inner, dropout))
                width = wide
            if level > 0:
                self.up.append(nn.Sequential(nn.Upsample(scale_factor=2),
                                             nn.Conv2d(width, width, 3, padding=1)))
        last = nn.Conv2d(width, channels, 3, padding=1)
        nn.init.normal_(last.weight, std=1e-3)  # at zero, nothing before it would have a gradient
        nn.init.zeros_(last.bias)
        self.last = nn.Sequential(nn.GroupNorm(8, width), nn.SiLU(), last)

    def forward(self, skips: list[Tensor], time: Tensor, code: Tensor) -> Tensor:
        code, h, rest = nn.functional.silu(self.code(code)), skips[-1], list(skips)
        for layer in self.middle:
            h = layer(h, time, code)
        for layer in self.up:
            h = layer(torch.cat([h, rest.pop()], 1), time, code) \
                if isinstance(layer, ShiftBlock) else layer(h)
        return self.last(h)


class ShiftBlock(nn.Module):
    """Residual block: h <- (1 + s_z) [(1 + s_t) GN(h) + b_t] + b_z after the first convolution."""

    def __init__(self, inside: int, outside: int, embedding: int, dropout: float,
                 attention: bool = False):
        super().__init__()
        self.before = nn.Sequential(nn.GroupNorm(8, inside), nn.SiLU(),
                                    nn.Conv2d(inside, outside, 3, padding=1))
        self.norm = nn.GroupNorm(8, outside)
        self.time = nn.Linear(embedding, 2 * outside)
        self.code = nn.Linear(embedding, 2 * outside)
        self.after = nn.Sequential(nn.SiLU(), nn.Dropout2d(dropout),
                                   nn.Conv2d(outside, outside, 3, padding=1))
        self.skip = nn.Conv2d(inside, outside, 1) if inside != outside else nn.Identity()
        self.attention = Attention(outside) if attention else nn.Identity()

    def forward(self, x: Tensor, time: Tensor, code: Tensor) -> Tensor:
        """`time` and `code` are embeddings (B, E) that have passed a SiLU."""
        h = self.norm(self.before(x))
        for given, linear in ((time, self.time), (code, self.code)):
            scale, shift = linear(given)[..., None, None].chunk(2, 1)
            h = (1 + scale) * h + shift
        return self.attention(self.after(h) + self.skip(x))


class Encoder(nn.Sequential):
    """Images (B, C, H, W) -> codes (B, code_dim), through a 4 x 4 map of the last width.

    3 x 3 convolutions of stride 2 with GN and SiLU between them, and 4-head self-attention.
    """

    def __init__(self, shape: tuple[int, int, int], code_dim: int, widths: tuple[int, ...]):
        inside, side = shape[0], shape[1]
        strides = [2, 2, 1 if side < 64 else 2] + [2] * (len(widths) - 3)
        while side >> sum(stride == 2 for stride in strides) > 8:
            strides.append(2)
        layers: list[nn.Module] = []
        looked = False
        for stage, stride in enumerate(strides):
            width = widths[min(stage, len(widths) - 1)]
            if stage:
                layers += [nn.GroupNorm(math.gcd(32, inside), inside), nn.SiLU()]
            if stage > 1 and side <= ATTENTION and not looked:
                layers.append(Attention(inside, groups=math.gcd(32, inside)))
                looked = True
            layers.append(nn.Conv2d(inside, width, 3, stride, padding=1))
            inside, side = width, -(-side // stride)
        layers += [nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * inside, code_dim)]
        super().__init__(*layers)

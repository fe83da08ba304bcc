"""DDGAN: four denoising steps, each drawn by a conditional GAN.

Source: Xiao, Kreis and Vahdat, Tackling the Generative Learning Trilemma with Denoising Diffusion
GANs, ICLR 2022 (baselines.md section 8). It has no code: FID and speed only.

    x0hat = G(x_t, t, zeta), zeta ~ N(0, 1) of 100;  x_(t-1) ~ q(x_(t-1) | x_t, x0hat)
    loss of D: softplus(-D(real)) + softplus(D(fake)) + gamma/2 |gradient of D(real)|^2
    loss of G: softplus(-D(fake)), with D's weights held fixed

The penalty falls on every 15th step (14, 29, ...), without being multiplied by 15. The generator is
NCSN++ (Song et al., ICLR 2021): BigGAN blocks, FIR resampling, a residual pyramid of the input,
sums over sqrt(2), zeta by adaptive group norm. As published for 32 px (the defaults) it has 48.4 M
parameters, the discriminator 12.7 M, for three channels.

Differs: one loop and one optimiser for all methods, so both sides move at once on the same draws
(published: D first, then G on fresh ones); the cosine of the learning rate ends at zero (1e-5);
batch and epochs are those of the data set. Chosen: larger images get further stages of the
discriminator, down to 4 to 7 pixels, and no other T; widths of time embeddings and the groups of
norms, on which the specification is silent, as in NCSN++; D's time embedding has twice the base.
"""

import hashlib
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from patronus.method import Method, StepHook
from patronus.unet import sinusoids

STYLE, MAPPED = 100, 256  # widths of zeta, raw and mapped
FIR = (1, 3, 3, 1)
HALF = math.sqrt(0.5)


class Model(Method):
    """`code_dim` of the study is ignored: there is no code."""

    adversarial = True  # the loss has two sides and falls for neither
    lacks = {"encode": "a GAN over denoising steps has no encoder",
             "invert": "its sampler draws new noise at every step, which no x_T can hold",
             "predict": "its generator knows four noise levels, none of the shared schedule",
             "locate": "a model without a code has nothing to locate",
             "generate": "decode is its own sampler already"}

    def __init__(self, shape: tuple[int, int, int], code_dim: int | None = None, *,
                 base: int = 128,
                 multipliers: tuple[int, ...] = (1, 2, 2, 2),
                 blocks: int = 2,
                 dropout: float = 0.0,
                 timesteps: int = 4,
                 penalty: float = 0.02,  # gamma; for 64 px sweep 0.02, 0.1 and 1
                 penalty_every: int = 15):
        super().__init__(shape, None)
        self.penalty, self.penalty_every = penalty, penalty_every
        self.chain = Chain(timesteps)
        self.generator = Generator(shape, base, multipliers, blocks, dropout, timesteps)
        self.discriminator = Discriminator(shape, base, timesteps)
        self.register_buffer("step", torch.zeros((), dtype=torch.long))  # saved: resume is exact

    def code_parameters(self) -> Iterator[nn.Parameter]:
        """The discriminator's: `code_lr_scale` is its learning rate over the generator's."""
        return self.discriminator.parameters()

    def loss(self, x0: Tensor) -> dict[str, Tensor]:
        """Both sides' losses in one sum; each weight has a gradient from its own side only."""
        t = torch.randint(self.chain.timesteps, (len(x0),), device=x0.device)
        less, more = self.chain.pair(x0, t)
        zeta = torch.randn(len(x0), STYLE, device=x0.device)
        fake = self.chain.posterior(self.generator(more, t, zeta), more, t, torch.randn_like(x0))
        real = F.softplus(-self.discriminator(less, more, t)).mean()
        discriminator = real + F.softplus(self.discriminator(fake.detach(), more, t)).mean()
        fixed = {name: p.detach() for name, p in self.discriminator.named_parameters()}
        generator = F.softplus(-functional_call(self.discriminator, fixed, (fake, more, t))).mean()
        falls = self.step % self.penalty_every == self.penalty_every - 1
        penalty = self.gradient_penalty(less, more, t) if falls else torch.zeros_like(real)
        if self.training:
            self.step += 1
        return {"loss": discriminator + generator + penalty, "generator": generator.detach(),
                "discriminator": discriminator.detach(), "penalty": penalty.detach()}

    @torch.enable_grad()
    def gradient_penalty(self, less: Tensor, more: Tensor, t: Tensor) -> Tensor:
        """gamma/2 times the squared gradient of D in its first argument, mean over the batch."""
        less = less.detach().requires_grad_()
        logits = self.discriminator(less.clone(), more, t)  # of a leaf, FLOPs cannot be counted
        gradient, = torch.autograd.grad(logits.sum(), less, create_graph=True)
        return self.penalty / 2 * gradient.square().flatten(1).sum(1).mean()

    def decode(self, x_T: Tensor, code: Tensor | None, steps: int,
               on_step: StepHook | None = None) -> Tensor:
        """Always in the model's own T steps; all noise after x_T is drawn from x_T's bytes."""
        x, last = x_T, self.chain.timesteps - 1
        zetas, noises = drawn_from(x_T, self.chain.timesteps)
        for t in range(last, -1, -1):
            times = torch.full((len(x),), t, device=x.device)
            x0hat = self.generator(x, times, zetas[:, t]).float()
            if on_step:
                on_step(t, x0hat)
            x = self.chain.posterior(x0hat, x, times, noises[:, t])
        return x


class Chain(nn.Module):
    """T noising steps x_(t-1) -> x_t; t = 0 stands for the first, from the clean image.

    beta_t = 1 - a(s_t) / a(s_(t-1)), a(s) = exp(-s^2 (20 - 0.1) / 2 - 0.1 s) the signal left of the
    variance-preserving diffusion, s on T + 1 points from 0.001 to 1.
    """

    def __init__(self, timesteps: int):
        super().__init__()
        self.timesteps = timesteps
        s = torch.linspace(1e-3, 1, timesteps + 1, dtype=torch.float64)
        left = torch.exp(-s.square() * (20 - 0.1) / 2 - 0.1 * s)
        alpha = left[1:] / left[:-1]
        alpha_bar = torch.cumprod(alpha, 0)
        before = torch.cat([alpha.new_ones(1), alpha_bar[:-1]])
        for name, value in {
                "beta": 1 - alpha, "before": before,
                "of_x0": before.sqrt() * (1 - alpha) / (1 - alpha_bar),
                "of_x_t": alpha.sqrt() * (1 - before) / (1 - alpha_bar),
                "std": ((1 - alpha) * (1 - before) / (1 - alpha_bar)).sqrt()}.items():
            self.register_buffer(name, value.float(), persistent=False)

    def pair(self, x0: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """The image before step t and after it, of one noising path."""
        before, beta = self.before[t].view(-1, 1, 1, 1), self.beta[t].view(-1, 1, 1, 1)
        less = before.sqrt() * x0 + (1 - before).sqrt() * torch.randn_like(x0)
        return less, (1 - beta).sqrt() * less + beta.sqrt() * torch.randn_like(x0)

    def posterior(self, x0: Tensor, x_t: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """A draw of q(x_(t-1) | x_t, x0); at t = 0 that is x0 itself."""
        of_x0, of_x_t, std = (value[t].view(-1, 1, 1, 1)
                              for value in (self.of_x0, self.of_x_t, self.std))
        return of_x0 * x0 + of_x_t * x_t + std * noise


def drawn_from(x_T: Tensor, timesteps: int) -> tuple[Tensor, Tensor]:
    """zeta (B, T, 100) and posterior noise (B, T, C, H, W), row i decided by image i alone."""
    zetas, noises = [], []
    for image in x_T.detach().float().cpu():
        digest = hashlib.sha256(image.numpy().tobytes()).digest()
        rng = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        zetas.append(torch.randn(timesteps, STYLE, generator=rng))
        noises.append(torch.randn(timesteps, *image.shape, generator=rng))
    return torch.stack(zetas).to(x_T), torch.stack(noises).to(x_T)


class Generator(nn.Module):
    """NCSN++: x_t (B, C, H, W), t (B,), zeta (B, 100) -> x0hat in (-1, 1)."""

    def __init__(self, shape: tuple[int, int, int], base: int, multipliers: tuple[int, ...],
                 blocks: int, dropout: float, timesteps: int):
        super().__init__()
        channels, side = shape[:2]
        widths = [base * m for m in multipliers]
        inner = 4 * base
        self.register_buffer("times", sinusoids(timesteps, base), persistent=False)
        self.time = nn.Sequential(nn.Linear(base, inner), nn.SiLU(), nn.Linear(inner, inner))
        self.style = nn.Sequential(PixelNorm(), nn.Linear(STYLE, MAPPED), nn.SiLU(),
                                   *[layer for _ in range(4)
                                     for layer in (nn.Linear(MAPPED, MAPPED), nn.SiLU())])
        self.first = nn.Conv2d(channels, base, 3, padding=1)

        def block(inside: int, outside: int, resample: float = 1) -> Block:
            return Block(inside, outside, inner, dropout, resample)

        def attention(width: int, at: int) -> nn.Module:
            return Attention(width) if at == 16 else nn.Identity()

        self.down, self.pyramid, skips, width = nn.ModuleList(), nn.ModuleList(), [base], base
        for level, wide in enumerate(widths):
            stage = nn.ModuleList()
            for _ in range(blocks):
                stage.append(nn.ModuleList([block(width, wide),
                                            attention(wide, side >> level)]))
                width = wide
                skips.append(width)
            self.down.append(stage)
            if level < len(widths) - 1:
                stage.append(nn.ModuleList([block(width, width, 0.5), nn.Identity()]))
                self.pyramid.append(nn.Conv2d(channels, width, 3, padding=1))
                channels = width
                skips.append(width)
        self.middle = nn.ModuleList([block(width, width), Attention(width), block(width, width)])
        self.up = nn.ModuleList()
        for level, wide in reversed(list(enumerate(widths))):
            stage = nn.ModuleList()
            for _ in range(blocks + 1):
                stage.append(block(width + skips.pop(), wide))
                width = wide
            stage.append(attention(width, side >> level))
            stage.append(block(width, width, 2) if level else nn.Identity())
            self.up.append(stage)
        self.last = nn.Sequential(norm(width), nn.SiLU(),
                                  nn.Conv2d(width, shape[0], 3, padding=1))

    def forward(self, x_t: Tensor, t: Tensor, zeta: Tensor) -> Tensor:
        time, style = F.silu(self.time(self.times[t])), self.style(zeta)
        h, shrunk = self.first(x_t), x_t
        skips = [h]
        for level, stage in enumerate(self.down):
            for block, attention in stage:
                h = attention(block(h, time, style))
                skips.append(h)
            if level < len(self.pyramid):
                shrunk = self.pyramid[level](resampled(shrunk, 0.5))
                shrunk = h = HALF * (shrunk + h)
                skips[-1] = h
        first, attention, second = self.middle
        h = second(attention(first(h, time, style)), time, style)
        for *blocks, attention, larger in self.up:
            for block in blocks:
                h = block(torch.cat([h, skips.pop()], 1), time, style)
            h = attention(h)
            h = larger(h, time, style) if isinstance(larger, Block) else h
        return torch.tanh(self.last(h))


class Block(nn.Module):
    """BigGAN residual block: `resample` 2 doubles the sides, 0.5 halves them."""

    def __init__(self, inside: int, outside: int, time: int, dropout: float, resample: float = 1):
        super().__init__()
        self.resample = resample
        self.norms = nn.ModuleList([AdaptiveNorm(inside), AdaptiveNorm(outside)])
        self.time = nn.Linear(time, outside)
        self.first = nn.Conv2d(inside, outside, 3, padding=1)
        self.second = nearly_zero(nn.Conv2d(outside, outside, 3, padding=1))
        self.dropout = nn.Dropout(dropout)
        self.skip = nn.Conv2d(inside, outside, 1) if inside != outside or resample != 1 \
            else nn.Identity()

    def forward(self, x: Tensor, time: Tensor, style: Tensor) -> Tensor:
        h = resampled(F.silu(self.norms[0](x, style)), self.resample)
        h = self.first(h) + self.time(time)[..., None, None]
        h = self.second(self.dropout(F.silu(self.norms[1](h, style))))
        return HALF * (h + self.skip(resampled(x, self.resample)))


class AdaptiveNorm(nn.Module):
    """Group norm whose scale and shift come from the mapped zeta; at first 1 and 0 beside it."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = norm(width, affine=False)
        self.style = nn.Linear(MAPPED, 2 * width)
        with torch.no_grad():
            self.style.bias.copy_(torch.cat([torch.ones(width), torch.zeros(width)]))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        scale, shift = self.style(style)[..., None, None].chunk(2, 1)
        return scale * self.norm(x) + shift


class Attention(nn.Module):
    """Residual self-attention of one head over positions."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = norm(width)
        self.qkv = nn.Conv2d(width, 3 * width, 1)
        self.out = nearly_zero(nn.Conv2d(width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).flatten(2).transpose(1, 2).chunk(3, 2)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).unflatten(2, x.shape[2:])
        return HALF * (x + self.out(mixed))


class Discriminator(nn.Module):
    """(x_(t-1), x_t, t) -> logit (B,): high for an x_(t-1) of a real image."""

    def __init__(self, shape: tuple[int, int, int], base: int, timesteps: int):
        super().__init__()
        halvings = int(math.log2(min(shape[1:]) / 4))
        widths = [base] + [base * min(2 ** k, 4) for k in range(halvings + 1)]
        self.register_buffer("times", sinusoids(timesteps, base), persistent=False)
        self.time = nn.Sequential(nn.Linear(base, 2 * base), nn.LeakyReLU(0.2),
                                  nn.Linear(2 * base, 2 * base), nn.LeakyReLU(0.2))
        self.first = nn.Conv2d(2 * shape[0], base, 1)
        self.blocks = nn.ModuleList([Judge(inside, outside, 2 * base, 0.5 if k else 1)
                                     for k, (inside, outside)
                                     in enumerate(zip(widths, widths[1:], strict=False))])
        self.late = nn.Conv2d(widths[-1] + 1, widths[-1], 3, padding=1)
        self.last = nn.Linear(widths[-1], 1)

    def forward(self, less: Tensor, more: Tensor, t: Tensor) -> Tensor:
        time = self.time(self.times[t])
        h = self.first(torch.cat([less, more], 1))
        for block in self.blocks:
            h = block(h, time)
        h = F.leaky_relu(self.late(torch.cat([h, batch_spread(h)], 1)), 0.2)
        return self.last(h.sum((2, 3)))[:, 0].float()


class Judge(nn.Module):
    """Residual block of the discriminator, with time added and sides halved where asked."""

    def __init__(self, inside: int, outside: int, time: int, resample: float):
        super().__init__()
        self.resample = resample
        self.first = nn.Conv2d(inside, outside, 3, padding=1)
        self.time = nn.Linear(time, outside)
        self.second = nn.Conv2d(outside, outside, 3, padding=1)
        self.skip = nn.Conv2d(inside, outside, 1, bias=False)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.first(F.leaky_relu(x, 0.2)) + self.time(time)[..., None, None]
        h = self.second(resampled(F.leaky_relu(h, 0.2), self.resample))
        return HALF * (h + self.skip(resampled(x, self.resample)))


class PixelNorm(nn.Module):
    """Rows to mean square 1."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-8)


def batch_spread(h: Tensor, largest: int = 4) -> Tensor:
    """Standard deviation in groups of up to 4 images, mean over all else, as a map (B, 1, h, w)."""
    groups = h.float().unflatten(0, (math.gcd(len(h), largest), -1))
    spread = (groups.var(0, correction=0) + 1e-8).sqrt().mean((1, 2, 3))
    return spread.to(h).repeat(len(groups))[:, None, None, None].expand(-1, 1, *h.shape[2:])


def resampled(x: Tensor, factor: float) -> Tensor:
    """Sides times 2, 1 or 0.5, through the filter [1, 3, 3, 1]."""
    if factor == 1:
        return x
    taps = torch.tensor(FIR, dtype=x.dtype, device=x.device) / sum(FIR)
    kernel = torch.outer(taps, taps).expand(x.shape[1], 1, -1, -1)
    if factor == 2:
        return F.conv_transpose2d(x, 4 * kernel, stride=2, padding=1, groups=x.shape[1])
    return F.conv2d(x, kernel, stride=2, padding=1, groups=x.shape[1])


def norm(width: int, affine: bool = True) -> nn.GroupNorm:
    """32 groups, fewer where they would hold less than 4 channels."""
    return nn.GroupNorm(math.gcd(32, width // 4), width, affine=affine, eps=1e-6)


def nearly_zero(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer, so small that its branch begins as nothing, yet not deaf to gradients."""
    with torch.no_grad():
        layer.weight.mul_(1e-5)
        layer.bias.zero_()
    return layer

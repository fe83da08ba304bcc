"""The conditional denoiser eps_theta(x_t, t, code) (patronus.md section 1, item 3)."""

import math
from collections import deque
from collections.abc import Iterator

import torch
from torch import Tensor, nn


def sinusoids(length: int, width: int) -> Tensor:
    """(length, width) table: sines in the first half, cosines in the second."""
    half = width // 2
    rates = torch.exp(torch.arange(half, dtype=torch.float64) * -(math.log(1e4) / (half - 1)))
    angles = torch.arange(length, dtype=torch.float64)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1).float()


def two_layers(width: int, inner: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, inner), nn.SiLU(), nn.Linear(inner, inner))


Embeddings = tuple[Tensor, Tensor | None]  # of time and code (B, E), after their SiLU
KINDS = {1: (nn.Conv1d, nn.Dropout1d), 2: (nn.Conv2d, nn.Dropout2d)}  # by spatial dimensions


class Attention(nn.Module):
    """Residual self-attention over positions."""

    def __init__(self, channels: int, heads: int = 4, groups: int = 8):
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels)
        self.attention = nn.MultiheadAttention(channels, heads, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        mixed = self.attention(tokens, tokens, tokens, need_weights=False)[0]
        return x + mixed.transpose(1, 2).unflatten(2, x.shape[2:])


class Block(nn.Module):
    """Residual block; time and code are added after the first convolution."""

    def __init__(self, inside: int, outside: int, embedding: int, conditional: bool,
                 dropout: float, dims: int = 2, attention: bool = False, groups: int = 8):
        super().__init__()
        conv, drop = KINDS[dims]
        self.first = nn.Sequential(nn.GroupNorm(groups, inside), nn.SiLU(),
                                   conv(inside, outside, 3, padding=1))
        self.time = nn.Linear(embedding, outside)
        self.code = nn.Linear(embedding, outside) if conditional else None
        self.second = nn.Sequential(nn.GroupNorm(groups, outside), nn.SiLU(),
                                    drop(dropout), conv(outside, outside, 3, padding=1))
        self.skip = conv(inside, outside, 1) if inside != outside else nn.Identity()
        self.attention = Attention(outside) if attention else nn.Identity()

    def forward(self, x: Tensor, time: Tensor, code: Tensor | None) -> Tensor:
        """`time` and `code` are embeddings (B, E) that have passed a SiLU."""
        shift = self.time(time)
        if self.code is not None:
            shift = shift + self.code(code)
        h = self.second(self.first(x) + shift.view(*shift.shape, *[1] * (x.dim() - 2)))
        return self.attention(h + self.skip(x))


class UNet(nn.Module):
    """Denoiser of images `shape` (C, H, W), or of sequences (C, L); no `code_dim`: plain DDPM.

    forward(x_t (B, *shape), t (B,) int, code (B, code_dim) or None) -> (B, *shape). Sides must
    be divisible by 2 ** (len(multipliers) - 1).
    """

    def __init__(self, shape: tuple[int, ...], code_dim: int | None, base: int = 64,
                 multipliers: tuple[int, ...] = (1, 2, 4, 4), blocks: int = 2,
                 dropout: float = 0.1, timesteps: int = 1000):
        super().__init__()
        widths = [base * m for m in multipliers]
        inner, conditional, dims = base * 4, code_dim is not None, len(shape) - 1
        conv = KINDS[dims][0]
        self.register_buffer("times", sinusoids(timesteps, base), persistent=False)
        self.time = two_layers(base, inner)
        self.code = two_layers(code_dim, inner) if conditional else None
        self.first = conv(shape[0], base, 3, padding=1)

        def block(inside: int, outside: int, attention: bool = False) -> Block:
            return Block(inside, outside, inner, conditional, dropout, dims, attention)

        self.down, skips, width = nn.ModuleList(), [base], base
        for level, wide in enumerate(widths):
            for _ in range(blocks):
                self.down.append(block(width, wide))
                width = wide
                skips.append(width)
            if level < len(widths) - 1:
                self.down.append(conv(width, width, 3, stride=2, padding=1))
                skips.append(width)
        self.middle = nn.ModuleList([block(width, width, attention=True), block(width, width)])
        self.up = nn.ModuleList()
        for level, wide in reversed(list(enumerate(widths))):
            for _ in range(blocks + 1):
                self.up.append(block(width + skips.pop(), wide))
                width = wide
            if level > 0:
                self.up.append(nn.Sequential(nn.Upsample(scale_factor=2),
                                             conv(width, width, 3, padding=1)))
        self.last = nn.Sequential(nn.GroupNorm(8, base), nn.SiLU(),
                                  conv(base, shape[0], 3, padding=1))

    def forward(self, x: Tensor, t: Tensor, code: Tensor | None = None) -> Tensor:
        return self.finish(*self.descend(x, t, code))

    def descend(self, x: Tensor, t: Tensor, code: Tensor | None = None) \
            -> tuple[Tensor, list[Tensor], Embeddings]:
        """What leaves the middle, the features on the way down, the embeddings of t and code."""
        time, code = self.embeddings(t, code)
        h = self.first(x)
        skips = [h]
        for layer in self.down:
            h = layer(h, time, code) if isinstance(layer, Block) else layer(h)
            skips.append(h)
        for layer in self.middle:
            h = layer(h, time, code)
        return h, skips, (time, code)

    def embeddings(self, t: Tensor, code: Tensor | None) -> Embeddings:
        """What every block adds of times (B,) and codes (B, code_dim)."""
        time = nn.functional.silu(self.time(self.times[t]))
        return time, None if self.code is None else nn.functional.silu(self.code(code))

    def ascend(self, h: Tensor, skips: list[Tensor], embeddings: Embeddings) -> Iterator[Tensor]:
        """The features after every layer on the way up, in order."""
        waiting = list(skips)
        for layer in self.up:
            h = layer(torch.cat([h, waiting.pop()], 1), *embeddings) \
                if isinstance(layer, Block) else layer(h)
            yield h

    def finish(self, h: Tensor, skips: list[Tensor], embeddings: Embeddings) -> Tensor:
        """The answer, from what `descend` gave."""
        return self.last(deque(self.ascend(h, skips, embeddings), maxlen=1).pop())

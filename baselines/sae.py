"""Sparse autoencoder: TopK features of a frozen DDPM's bottleneck are the code.

Source: Gao et al., Scaling and evaluating sparse autoencoders, ICLR 2025 (arXiv 2024); TopK:
Makhzani and Frey, k-Sparse Autoencoders, ICLR 2014. Theirs read language models; here every
position of h_t is a token x (256-d with the published widths), at a random time t of a noised
training image.

    f = ReLU(TopK(W_enc (x - b))), x^ = W_dec f + b, columns of W_dec of norm 1
    L = |x - x^|^2 + 1/32 |(x - x^) - W_dec f_dead|^2 / |x - x^|^2   (means; second error detached)

f_dead holds the largest half-width of features that fired on none of the last `dead_tokens`.

Ours: tokens are normalised per time (channel means, one scale) by tables fitted before training,
in place of theirs per token, for h_t depends on t more than on the image; features = the study's
`code_dim`, k = 8 (they have millions and k of 32 or more, where 100 features of which 32 fire would
not be sparse); the code is each feature's maximum over positions, of the image noised to t = 100
with one noise for all images. Decoding rescales, at every step, each feature's map so that its
maximum equals the code (everywhere alike where it does not fire) and adds the change along the
decoder's directions. The bottleneck's receptive field is the whole image (attention), so a box is
the part of the image that the feature's cell stands for.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from baselines._bottleneck import Steered
from patronus.errors import Problem
from patronus.method import Located, to_unit
from patronus.noise import noise
from patronus.rows import random_rows

BATCH = 64  # images at once in fitting the normalisation
TABLE = 20  # times at which tokens are normalised; the nearest counts
AUX = 1 / 32  # weight of the loss of dead features


class Model(Steered):
    """`code_dim` features, of which `k` fire at each position."""

    lacks = {"generate": "its own samples are those of the DDPM it stands on"}

    def __init__(self, shape: tuple[int, int, int], code_dim: int, *,
                 base: int = 64,  # of the DDPM it stands on, like the next two
                 multipliers: tuple[int, ...] = (1, 2, 4, 4),
                 prediction: Literal["eps", "v"] = "eps",
                 k: int = 8,
                 t: int = 100,  # at which codes are read
                 dead_tokens: int = 10_000_000,
                 fit_images: int = 1024):  # at most so many, for the normalisation
        super().__init__(shape, code_dim, base, multipliers, prediction)
        if not 0 < k <= code_dim:
            raise Problem(f"{__name__}: k = {k} of {code_dim} features cannot fire; lower k")
        self.k, self.t, self.dead_tokens, self.fit_images = k, t, dead_tokens, fit_images
        width = self.size[0]
        self.decoder = nn.Parameter(unit(torch.randn(code_dim, width)))
        self.encoder = nn.Parameter(self.decoder.detach().clone())
        self.centre = nn.Parameter(torch.zeros(width))
        self.register_buffer("mean", torch.zeros(TABLE, width))
        self.register_buffer("scale", torch.ones(TABLE))
        self.register_buffer("idle", torch.zeros(code_dim, dtype=torch.long))  # tokens since fired
        self.register_buffer("noise", noise(range(1), shape, "sae"), persistent=False)
        times = torch.linspace(1, self.diffusion.timesteps - 1, TABLE).round().long()
        self.register_buffer("times", times, persistent=False)

    @torch.no_grad()
    def prepare(self, images: Tensor) -> None:
        """Mean of each channel and scale of the tokens, at each of the table's times."""
        chosen = images[random_rows(len(images), self.fit_images, "sae")]
        for i, t in enumerate(self.times):
            total, squares, count = 0, 0, 0
            for part in chosen.split(BATCH):
                h = self._read(to_unit(part), t.expand(len(part))).double()
                total, squares = total + h.sum((0, 2, 3)), squares + h.square().sum((0, 2, 3))
                count += h[:, 0].numel()
            mean = total / count
            self.mean[i] = mean
            self.scale[i] = (squares / count - mean.square()).mean().sqrt().clamp(min=1e-6)

    def loss(self, x0: Tensor) -> dict[str, Tensor]:
        """Reconstruction of tokens of variance one, and the loss that revives dead features."""
        t = self.diffusion.draw_times(len(x0))
        h = self._read(x0, t)
        with torch.autocast(h.device.type, enabled=False):
            tokens, decoder = self.tokens(h, t), unit(self.decoder)
            scores = self._scores(tokens)
            features = largest(scores, self.k)
            error = tokens - self.centre - features @ decoder
            dead = self.idle > self.dead_tokens
            helpers = largest(scores.masked_fill(~dead, -torch.inf),
                              min(self.size[0] // 2, self.code_dim))
            left = error.detach()
            aux = (left - helpers @ decoder).square().mean() / left.square().mean()
            rebuilt = error.square().mean()
            loss = rebuilt + AUX * aux * dead.any()
        if self.training:
            fired = (features.detach() > 0).flatten(0, -2).any(0)
            self.idle.copy_(torch.where(fired, 0, self.idle + features[..., 0].numel()))
        return {"loss": loss, "rebuilt": rebuilt.detach(), "dead": dead.float().mean()}

    def encode(self, x0: Tensor) -> Tensor:
        """Maximum over positions of each feature, >= 0."""
        return self._maps_of(x0).flatten(2).amax(2)

    def shift(self, h: Tensor, t: Tensor, code: Tensor) -> Tensor:
        """(code - maximum of the map) * map / maximum of the map, along the decoder."""
        maps = self.maps(h, t)
        now = maps.flatten(2).amax(2)[..., None, None]
        share = torch.where(now > 0, maps / now.clamp(min=1e-30), 1.0)
        change = (code[..., None, None] - now) * share
        along = (change.movedim(1, -1) @ unit(self.decoder)).movedim(-1, 1)
        return (along * self.scale[self._row(t)].view(-1, 1, 1, 1)).to(h.dtype)

    def locate(self, x0: Tensor) -> Located:
        """Boxes are the cell's own part of the image: 1/h by 1/w of it."""
        maps = self._maps_of(x0)
        activation, at = maps.flatten(2).max(2)
        cell = torch.tensor(self.shape[1:], device=at.device) // torch.tensor(
            self.size[1:], device=at.device)
        rows = torch.div(at, maps.shape[3], rounding_mode="floor")
        low = torch.stack([rows, at % maps.shape[3]], -1) * cell
        return Located(activation, torch.cat([low, low + cell], -1), maps)

    def tokens(self, h: Tensor, t: Tensor) -> Tensor:
        """Normalised tokens (B, y, x, C) of h (B, C, y, x) at times t (B,)."""
        row = self._row(t)
        return (h.float().movedim(1, -1) - self.mean[row][:, None, None]) \
            / self.scale[row].view(-1, 1, 1, 1)

    def maps(self, h: Tensor, t: Tensor) -> Tensor:
        """Features (B, code_dim, y, x) of h (B, C, y, x), at most k of them at each position."""
        return largest(self._scores(self.tokens(h, t)), self.k).movedim(-1, 1)

    def _scores(self, tokens: Tensor) -> Tensor:
        return (tokens - self.centre) @ self.encoder.T

    def _maps_of(self, x0: Tensor) -> Tensor:
        t = torch.full((len(x0),), self.t, device=x0.device)
        return self.maps(self._read(x0, t, self.noise), t)

    @torch.no_grad()
    def _read(self, x0: Tensor, t: Tensor, eps: Tensor | None = None) -> Tensor:
        """h (B, C, y, x) of x0 noised to t, by default with fresh noise."""
        eps = torch.randn_like(x0) if eps is None else eps
        return self.denoiser.descend(self.diffusion.noised(x0, t, eps), t)[0]

    def _row(self, t: Tensor) -> Tensor:
        """The table's row nearest to each time (B,)."""
        return (t[:, None] - self.times).abs().argmin(1)


def unit(rows: Tensor) -> Tensor:
    return nn.functional.normalize(rows, dim=-1)


def largest(scores: Tensor, k: int) -> Tensor:
    """The k largest of the last dimension where positive, zero elsewhere."""
    values, at = scores.topk(k, -1)
    return torch.zeros_like(scores).scatter(-1, at, values.relu())

"""h-space PCA: the principal directions of a frozen DDPM's bottleneck are the code.

Source: Haas et al., Discovering Interpretable Directions in the Semantic Latent Space of
Diffusion Models, FG 2024; h-space: Kwon et al., ICLR 2023. The base learns nothing more.

Fitting: training images are inverted by DDIM (50 steps); h_t is kept at 5 of the times, and each
gets its own PCA, so direction j at time t is sigma_tj u_tj with sigma = singular value/sqrt(N - 1),
its sign turned to agree with the first (noisiest) time's. The code is the mean over these times of
the standardised scores u_tj . (h_t - mean_t) / sigma_tj.
Decoding: at every step h_t moves along these directions until its scores equal the code; the
directions are those of the nearest fitted time, the mean scores those of the nearest inversion
time. An entry that is edited so moves h_t along its own direction alone.

Ours, since the references give no code (baselines.md section 5): real images instead of samples
with eta = 1; the average of the scores; steering towards a code instead of adding scale * direction
(which is the difference between two codes). Corrected: the incremental fit divides by sqrt(N - 1)
like the other; Jacobian directions start at random, not from an earlier vector, which deflation
would annihilate. Components are paired across times by rank, as published.
"""

from collections.abc import Callable
from math import prod
from typing import Literal

import torch
from torch import Tensor
from torch.func import jvp, vjp

from baselines._bottleneck import Frozen, Steered
from patronus.errors import Problem
from patronus.method import to_unit
from patronus.rows import random_rows

BATCH = 64  # images inverted at once in fitting
BUDGET = 2**24  # floats that the fit of one time may keep: 64 MB
LEAST = 1e-9  # of the first direction's variance; less is rounding


class Model(Steered):
    """`code_dim` directions; those beyond the rank of the fitted images stay zero."""

    lacks = {"locate": "a direction spans the whole bottleneck, it has no place of its own",
             "loss": "nothing of it is trained",
             "generate": "its own samples are those of the DDPM it stands on"}

    def __init__(self, shape: tuple[int, int, int], code_dim: int, *,
                 base: int = 64,  # of the DDPM it stands on, like the next two
                 multipliers: tuple[int, ...] = (1, 2, 4, 4),
                 prediction: Literal["eps", "v"] = "eps",
                 inversion_steps: int = 50,  # of the DDIM inversion that codes are read from
                 fitted_times: int = 5,  # of these, how many have directions of their own
                 fit_images: int = 1024):  # at most so many training images
        super().__init__(shape, code_dim, base, multipliers, prediction)
        self.inversion_steps, self.fit_images = inversion_steps, fit_images
        self.times = self.diffusion.times(inversion_steps)[:0:-1]  # upwards; the last is not asked
        if not 0 < fitted_times <= len(self.times):
            raise Problem(f"{__name__}: {fitted_times} fitted times need more than "
                          f"{fitted_times} inversion steps; raise inversion_steps")
        self.fitted = [self.times[(2 * i + 1) * len(self.times) // (2 * fitted_times)]
                       for i in range(fitted_times)]  # the middles of equal parts
        # of every inversion time, the nearest that is fitted
        self.owner = [min(range(fitted_times), key=lambda i: abs(self.fitted[i] - t))
                      for t in self.times]
        self.register_buffer("directions", torch.zeros(fitted_times, code_dim, prod(self.size)))
        self.register_buffer("spreads", torch.zeros(fitted_times, code_dim))  # sigma
        self.register_buffer("centres", torch.zeros(len(self.times), code_dim))  # u . mean_t

    @torch.no_grad()
    def prepare(self, images: Tensor) -> None:
        """PCA of h_t at the fitted times, and the mean score at every inversion time."""
        width = self.directions.shape[2]
        rank = max(2 * self.code_dim, BUDGET // width)
        scatters = {t: Scatter(rank) for t in self.fitted}
        sums = {t: torch.zeros(width, device=images.device) for t in self.times}

        def note(t: int, h: Tensor) -> None:
            sums[t] += h.sum(0)
            if t in scatters:
                scatters[t].add(h)

        chosen = images[random_rows(len(images), self.fit_images, "hspace")]
        for part in chosen.split(BATCH):
            self._trace(to_unit(part), note)
        for i, t in enumerate(self.fitted):
            directions, spreads = scatters[t].principal(self.code_dim)
            self.directions[i, :len(directions)] = directions
            self.spreads[i, :len(spreads)] = spreads
        first = self.directions[-1]  # sampling meets the noisiest time first
        against = (self.directions * first).sum(2, keepdim=True) < 0
        self.directions.copy_(torch.where(against, -self.directions, self.directions))
        for k, t in enumerate(self.times):
            self.centres[k] = self.directions[self.owner[k]] @ (sums[t] / len(chosen))

    def encode(self, x0: Tensor) -> Tensor:
        """Mean over the fitted times of the standardised scores along the plain inversion."""
        return torch.cat([self._code(part) for part in x0.split(BATCH)])

    def shift(self, h: Tensor, t: Tensor, code: Tensor) -> Tensor:
        """(code - scores of h) * sigma_tj u_tj, summed over the directions."""
        flat, by = h.flatten(1), torch.zeros_like(h.flatten(1))
        times = torch.tensor(self.times, device=t.device)
        nearest = (t[:, None] - times).abs().argmin(1)
        for k in nearest.unique().tolist():
            rows, i = nearest == k, self.owner[k]
            wanted = (code[rows] - self.scores(flat[rows], k)) * self.spreads[i]
            by[rows] = (wanted @ self.directions[i]).to(by.dtype)
        return by.view_as(h)

    def scores(self, h: Tensor, k: int) -> Tensor:
        """Standardised scores (B, code_dim) of h (B, D) at the k-th inversion time."""
        i = self.owner[k]
        spreads = self.spreads[i]
        found = h.float() @ self.directions[i].T - self.centres[k]
        return torch.where(spreads > 0, found / spreads.clamp(min=1e-30), 0.0)

    def _code(self, x0: Tensor) -> Tensor:
        scores = []

        def note(t: int, h: Tensor) -> None:
            if t in self.fitted:
                scores.append(self.scores(h, self.times.index(t)))

        self._trace(x0, note)
        return torch.stack(scores).mean(0)

    def _trace(self, x0: Tensor, note: Callable[[int, Tensor], None]) -> None:
        """Invert x0 without a code and show `note` every (t, h as (B, D)) on the way up."""
        calls = iter([None, *self.times])  # the first asks about the clean image

        def watched(x: Tensor, t: Tensor) -> Tensor:
            h, skips, embeddings = self.denoiser.descend(x, t)
            if (now := next(calls)) is not None:
                note(now, h.flatten(1))
            return self.denoiser.finish(h, skips, embeddings)

        self.diffusion.invert(watched, x0, self.inversion_steps)


class Scatter:
    """Mean and factor A (R, D) of rows added in batches: A^T A is their centred scatter.

    Exact while R <= `rank` or the rows have no more than `rank` directions; else the weakest are
    dropped (incremental PCA: Ross et al., Incremental Learning for Robust Visual Tracking, IJCV
    2008). Never holds more than `rank` rows and one batch.
    """

    def __init__(self, rank: int):
        self.rank, self.count = rank, 0

    def add(self, rows: Tensor) -> None:
        """Take in `rows` (n, D)."""
        mean, new = rows.mean(0), len(rows)
        centred = rows - mean
        if not self.count:
            self.mean, self.factor = mean, centred
        else:
            apart, total = mean - self.mean, self.count + new
            between = apart * (self.count * new / total) ** 0.5
            self.factor = torch.cat([self.factor, centred, between[None]])
            self.mean = self.mean + apart * (new / total)
        self.count += new
        if len(self.factor) > self.rank:
            self.factor = self._turned()[1][:self.rank]

    def principal(self, count: int) -> tuple[Tensor, Tensor]:
        """At most `count` unit directions (k, D) and their standard deviations (k,), falling."""
        variances, rows = self._turned()
        kept = (variances > LEAST * variances[0]).nonzero().flatten()[:count]
        norms = variances[kept].sqrt()
        return rows[kept] / norms[:, None].to(rows), (norms / (self.count - 1) ** 0.5).to(rows)

    def _turned(self) -> tuple[Tensor, Tensor]:
        """Squared norms and rows of the factor, turned so that its rows are orthogonal."""
        exact = self.factor.double()
        squares, turn = torch.linalg.eigh(exact @ exact.T)
        return squares.flip(0), (turn.flip(1).T @ exact).to(self.factor)


def jacobian_directions(model: Frozen, x_t: Tensor, t: int, count: int = 3,
                        mask: Tensor | None = None, iterations: int = 50,
                        tolerance: float = 1e-5) -> tuple[Tensor, Tensor]:
    """Top right singular vectors (count, *h) and values (count,) of d eps / d h for one image.

    x_t is (1, C, H, W); `mask`, shaped like it or broadcast, multiplies eps, so that directions
    are those that change the masked part. They belong to this image alone: for editing, not a code.
    """
    if len(x_t) != 1:
        raise ValueError("Jacobian directions are those of one image")
    times = torch.full((1,), t, device=x_t.device)
    h, skips, embeddings = model.denoiser.descend(x_t, times)

    def eps(h: Tensor) -> Tensor:
        answer = model.denoiser.finish(h, skips, embeddings)
        found = model.diffusion.split(answer, x_t, times)[1]
        return found if mask is None else found * mask

    directions, values = singular_directions(eps, h, count, iterations, tolerance)
    return directions.view(count, *h.shape[1:]), values


def singular_directions(function: Callable[[Tensor], Tensor], at: Tensor, count: int,
                        iterations: int = 50, tolerance: float = 1e-5,
                        hits: int = 10) -> tuple[Tensor, Tensor]:
    """Top right singular vectors (count, D) and values (count,) of a function's Jacobian at `at`.

    Subspace iteration from random starts (always the same): v = orthonormal basis of J u (forward
    mode), u = right singular vectors of v^T J (reverse mode). It stops once all squared values
    have changed by less than `tolerance` more than `hits` times in a row.
    """
    source = torch.Generator().manual_seed(0)
    u = torch.linalg.qr(torch.randn(at.numel(), count, generator=source).to(at)).Q
    out, pull = vjp(function, at)
    values, calm = torch.zeros(count).to(at), 0
    for _ in range(iterations):
        pushed = [jvp(function, (at,), (one.view_as(at),))[1].flatten() for one in u.T]
        v = torch.linalg.qr(torch.stack(pushed, 1)).Q
        pulled = [pull(one.reshape(out.shape))[0].flatten() for one in v.T]
        u, found, _ = torch.linalg.svd(torch.stack(pulled, 1), full_matrices=False)
        still = (found.square() - values.square()).abs() <= tolerance * found.square()
        values, calm = found, calm + 1 if still.all() else 0
        if calm > hits:
            break
    return u.T.contiguous(), values

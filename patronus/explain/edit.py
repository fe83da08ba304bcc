"""Images edited through their code: extrapolation, interpolation, variation (patronus.md, 4)."""

import numpy as np
import torch
from torch import Tensor, nn

from patronus.diffusion import Diffusion
from patronus.explain.what import Inverted, in_batches, pixels
from patronus.method import Method
from patronus.noise import noise

VALUES = np.linspace(0, 3, 7)  # of s_j in an extrapolation
WEIGHTS = np.linspace(0, 1, 9)  # of the second image in an interpolation
VARIED = 4  # images varied, and noised
VARIATIONS = 3
NOISED_TIMES = 8
TINY = 1e-7  # sine of the angle below which two directions count as one line


@torch.inference_mode()
def edits(model: Method, given: Inverted, found: dict[str, np.ndarray], rows: np.ndarray,
          dataset: str, settings) -> dict[str, np.ndarray]:
    """The arrays of edits.npz, from the inverted images and what `visualise` found in them.

    rows (n,): the images' rows in the test split. Noise depends on the data set only, so every
    method of it starts from the same.
    """
    first = given.rows(slice(VARIED))
    return {**_swept(model, given, found, rows, settings),
            **_paired(model, given, found, rows, settings),
            "vary_rows": rows[:VARIED], "vary_sources": found["images"][:VARIED],
            "vary_recon": found["recon"][:VARIED],
            "vary": pixels(vary(model, first.code, _noise(first.x0, VARIATIONS, "vary", dataset),
                                settings)),
            **_noised(first.x0, _noise(first.x0, 1, "noised", dataset)[:, 0])}


def _swept(model, given, found, rows, settings) -> dict[str, np.ndarray]:
    """Extrapolation of each dimension in the image where raising it was realised best."""
    dims = found["order"][:settings.sweeps]
    best = found["best"][:len(dims)]
    shown = given.rows(torch.from_numpy(best).to(given.code.device))
    swept = sweep(model, shown.x_T, shown.code, dims, VALUES, settings)
    return {"sweep_dims": dims, "sweep_values": VALUES, "sweep_row": rows[best],
            "sweep_source": found["images"][best], "sweep": pixels(swept)}


def _paired(model, given, found, rows, settings) -> dict[str, np.ndarray]:
    """Interpolation between the first and second image, the third and fourth, and so on."""
    count = max(1, min(settings.pairs, len(rows) // 2))
    pairs = np.arange(2 * count).reshape(count, 2) % len(rows)  # a lone image is its own partner
    a, b = (given.rows(torch.from_numpy(side).to(given.code.device)) for side in pairs.T)
    return {"pair_rows": rows[pairs], "pair_sources": found["images"][pairs],
            "pair": pixels(interpolate(model, a, b, WEIGHTS, settings))}


def _noised(x0: Tensor, eps: Tensor) -> dict[str, np.ndarray]:
    diffusion = Diffusion().to(x0.device)
    times = diffusion.times(NOISED_TIMES)[::-1]
    noised = [diffusion.noised(x0, torch.full((len(x0),), t, device=x0.device), eps)
              for t in times]
    return {"noised": pixels(torch.stack(noised, 1)), "noised_times": np.array(times)}


def _noise(x0: Tensor, count: int, *names: str) -> Tensor:
    """Normal noise (n, count, C, H, W), on the device of x0 (n, C, H, W)."""
    drawn = noise(range(len(x0) * count), x0.shape[1:], "explain", *names)
    return drawn.view(len(x0), count, *x0.shape[1:]).to(x0)


@torch.inference_mode()
def sweep(model: Method, x_T: Tensor, code: Tensor, dims: np.ndarray, values: np.ndarray,
          settings) -> Tensor:
    """Row i decoded with code dimension dims[i] set to each of V values: (B, V, C, H, W)."""
    dim = torch.from_numpy(np.array(dims)).to(code.device)[:, None, None]
    value = torch.from_numpy(np.array(values)).to(code)[:, None]
    codes = code[:, None].repeat(1, len(values), 1)
    codes.scatter_(2, dim.expand(-1, len(values), 1), value.expand(len(code), -1, 1))
    return decoded(model, x_T[:, None].expand(-1, len(values), -1, -1, -1), codes, settings)


@torch.inference_mode()
def interpolate(model: Method, a: Inverted, b: Inverted, weights: np.ndarray,
                settings) -> Tensor:
    """Images between those of a and those of b, at each of W weights of b: (B, W, C, H, W).

    Linear in the code, spherical in x_T.
    """
    mixed = [(slerp(a.x_T, b.x_T, w), torch.lerp(a.code, b.code, w)) for w in map(float, weights)]
    x_T, codes = (torch.stack(part, 1) for part in zip(*mixed, strict=True))
    return decoded(model, x_T, codes, settings)


@torch.inference_mode()
def vary(model: Method, code: Tensor, x_T: Tensor, settings) -> Tensor:
    """Codes (B, m) decoded from each of V noises, x_T (B, V, C, H, W), to images of its shape."""
    return decoded(model, x_T, code[:, None].expand(-1, x_T.shape[1], -1), settings)


def decoded(model: Method, x_T: Tensor, code: Tensor, settings) -> Tensor:
    """Images (B, V, C, H, W) from x_T of that shape and codes (B, V, m)."""
    noises, codes = x_T.flatten(0, 1), code.flatten(0, 1)
    images = in_batches(lambda r: model.decode(noises[r], codes[r], settings.steps), len(codes),
                        settings)
    return images.view_as(x_T)


def slerp(a: Tensor, b: Tensor, weight: float) -> Tensor:
    """From a (B, ...) at weight 0 to b at 1 along the arc between them, row by row.

    The angle and the norm change linearly, so equal norms are kept. Opposite rows have no one
    arc: theirs goes through a fixed direction orthogonal to both.
    """
    one, two = a.flatten(1).double(), b.flatten(1).double()
    norms = [part.norm(dim=1, keepdim=True) for part in (one, two)]
    one, two = (part / norm.clamp(min=TINY) for part, norm in zip((one, two), norms, strict=True))
    along = (one * two).sum(1, keepdim=True)
    across = two - along * one
    sine = across.norm(dim=1, keepdim=True)
    across = nn.functional.normalize(torch.where(sine < TINY, orthogonal(one), across))
    angle = weight * torch.atan2(sine, along)
    mixed = torch.lerp(*norms, weight) * (angle.cos() * one + angle.sin() * across)
    return mixed.view_as(a).to(a)


def orthogonal(unit: Tensor) -> Tensor:
    """A direction orthogonal to each row (B, D) of length one: its least axis, straightened."""
    axis = nn.functional.one_hot(unit.abs().argmin(1), unit.shape[1]).to(unit)
    return axis - (axis * unit).sum(1, keepdim=True) * unit

"""When on the way from noise to image each code dimension appears (patronus.md section 4).

At every reverse step the estimate x0hat_t is encoded again: improvement_j(t) = s_j(x0hat_t under
s') - s_j(x0), where s' = s with s_j := v_max. The claim that low spatial frequencies come first is
tested by the rank correlation of tau_j, the t at which half of the improvement is reached, with
the spectral centroid of the patches that show j (measures.md B5): it says negative. Another
question is the order within one change, x0hat_t under s' less x0hat_t under s: how much of its
final coarse part, and of its final fine part, is there at t.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from patronus.explain.ranks import rank_correlation
from patronus.explain.what import Inverted, crossed, in_batches, own, pixels, raised, slices
from patronus.method import Method

TRACED = 4  # images followed without an edit
PICTURES = 8  # steps of these that are kept as pictures
COARSE = 4  # cycles over the image, at most; what has more is fine
ROUNDING = 1e-6  # of the power of the images: a change of less is none


@torch.inference_mode()
def emergence(model: Method, given: Inverted, found: dict[str, np.ndarray],
              settings) -> dict[str, np.ndarray]:
    """The arrays of when.npz, from the inverted images and what `visualise` found in them.

    dims (E,), times (S,) falling, improvement (E, n, S), arrived (E, S, 2) and arrived_images
    (S, 2) as `shares` of the coarse and of the fine part of the change by raising a dimension, and
    of the difference of two images, centroid (E,) of the patches in cycles/pixel, tau (E,), rho
    with its interval, trace (n0, S, P), strip (n0, K, C, H, W) uint8 at strip_times (K,).
    """
    dims = found["order"][:settings.curves]
    dim, row = crossed(dims, given.code)
    v_max = torch.from_numpy(found["v_max"]).to(given.code)
    times, plain = unedited(model, given, settings)
    seen = curves(model, given.x_T[row], raised(given.code[row], dim, v_max), dim, plain, row,
                  settings).view(len(dims), len(given.code), len(times), 3)
    improvement = seen[..., 0].cpu().numpy() - found["before"][:len(dims), :, None]
    tau = half_time(times, improvement.mean(1))
    centroid = patch_centroid(found["edited"][:len(dims)], found["boxes"][:len(dims)])
    least = ROUNDING * overlap(plain[:, -1:]).sum((0, 1))
    return {"dims": dims, "times": times, "improvement": improvement, "tau": tau,
            "arrived": shares(seen[..., 1:].double().sum(1), least),
            "arrived_images": shares(overlap(plain - plain.roll(1, 0)).sum(0), least),
            "centroid": centroid, **rank_correlation(tau, centroid),
            **traced(model, times, plain[:TRACED], found["order"], settings)}


def unedited(model: Method, given: Inverted, settings) -> tuple[np.ndarray, Tensor]:
    """Times (S,) of the plain reconstruction, and its estimates x0hat_t (n, S, C, H, W)."""
    parts = [followed(model, given.x_T[r], given.code[r], settings.steps, lambda x0hat: x0hat)
             for r in slices(len(given.code), settings.batch_size)]
    return parts[0][0], torch.cat([seen for _, seen in parts])


def traced(model: Method, times: np.ndarray, x0hat: Tensor, dims: np.ndarray,
           settings) -> dict[str, np.ndarray]:
    """Of estimates (n, S, C, H, W): trace (n, S, P), strip (n, K, C, H, W), strip_times (K,)."""
    flat = x0hat.flatten(0, 1)
    code = in_batches(lambda r: model.encode(flat[r]), len(flat), settings)
    shown = np.linspace(0, len(times) - 1, min(PICTURES, len(times))).round().astype(int)
    return {"trace": code.view(*x0hat.shape[:2], -1)[..., dims].cpu().numpy(),
            "strip": pixels(x0hat[:, shown]), "strip_times": times[shown]}


@torch.inference_mode()
def curves(model: Method, x_T: Tensor, code: Tensor, dim: Tensor, plain: Tensor, row: Tensor,
           settings) -> Tensor:
    """(B, S, 3): activation of dimension dim[i] in the estimates x0hat_t of row i, and `overlap`
    of their differences to the unedited ones, plain[row[i]].

    x_T (B, C, H, W), code (B, m) as edited, dim and row (B,), plain (n, S, C, H, W).
    The estimates are encoded as they are, not clipped: the last one is the decoded image.
    """
    def part(r: slice) -> Tensor:
        estimates = followed(model, x_T[r], code[r], settings.steps, lambda x0hat: x0hat)[1]
        found = torch.stack([own(model.encode(x0hat), dim[r]) for x0hat in estimates.unbind(1)], 1)
        for i, x0hat in enumerate(estimates.unbind(1)):
            x0hat -= plain[row[r], i]  # in place: the estimates of all steps are large
        return torch.cat((found[..., None], overlap(estimates)), 2)

    return torch.cat([part(r) for r in tqdm(slices(len(x_T), settings.batch_size), desc="curves",
                                            mininterval=5)])


def overlap(changes: Tensor) -> Tensor:
    """Inner products (B, S, 2) of changes (B, S, C, H, W) with the last of their S steps, of their
    coarse parts (waves of at most COARSE cycles over the image, and the mean) and their fine ones.

    Of the Fourier transforms over H W, so the two add up to the inner product of the pixels.
    """
    height, width = changes.shape[-2:]
    cycles = [torch.fft.fftfreq(size, 1 / size, device=changes.device).round()
              for size in (height, width)]
    coarse = torch.hypot(cycles[0][:, None], cycles[1]) <= COARSE
    last = torch.fft.fft2(changes[:, -1].float()).conj() / (height * width)
    found = []
    for change in changes.unbind(1):
        product = (torch.fft.fft2(change.float()) * last).real.sum(1)
        found.append(torch.stack([product[:, band].sum(1) for band in (coarse, ~coarse)], 1))
    return torch.stack(found, 1)


def shares(product: Tensor, least: Tensor) -> np.ndarray:
    """How much of the last change is there at each step, of its `overlap` (..., S, 2): 1 at the
    last; NaN in a band where the last change has at most the power least (2,)."""
    last = product[..., -1:, :]
    return torch.where(last > least, product / last, torch.nan).cpu().numpy()


def followed(model: Method, x_T: Tensor, code: Tensor, steps: int,
             look: Callable[[Tensor], Tensor]) -> tuple[np.ndarray, Tensor]:
    """Times (S,) of a decoding, and what `look` makes of each estimate x0hat_t: (B, S, ...)."""
    times, seen = [], []

    def on_step(t: int, x0hat: Tensor) -> None:
        times.append(t)
        seen.append(look(x0hat))

    model.decode(x_T, code, steps, on_step)
    return np.array(times), torch.stack(seen, 1)


def half_time(times: np.ndarray, improvement: np.ndarray) -> np.ndarray:
    """tau (...): the first of times (S,) at which improvement (..., S) has half its last value.

    NaN where the last value is no gain.
    """
    last = improvement[..., -1:]
    first = times[(improvement >= last / 2).argmax(-1)]
    return np.where(last[..., 0] > 0, first, np.nan)


def spectral_centroid(patch: np.ndarray) -> float:
    """Power-weighted mean radial frequency of a gray patch (h, w), in cycles per pixel.

    The mean is removed, so 0 < centroid <= sqrt(1/2); NaN for a constant patch. The edges are
    not tapered: a patch of few pixels would lose most of what it shows.
    """
    if np.ptp(patch) == 0:
        return np.nan
    power = np.abs(np.fft.fft2(patch - patch.mean()))**2
    height, width = patch.shape
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    return float((power * radius).sum() / power.sum())


def patch_centroid(images: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Mean centroid (E,) of the patches in boxes (E, n, 4) of images (E, n, C, H, W), made gray.

    Constant patches have none and do not count; NaN where all are constant.
    """
    gray = images.astype(np.float64).mean(2)
    found = np.array([[spectral_centroid(picture[y0:y1, x0:x1])
                       for picture, (y0, x0, y1, x1) in zip(*pair, strict=True)]
                      for pair in zip(gray, boxes, strict=True)])
    counted = np.isfinite(found)
    total = np.where(counted, found, 0).sum(1)
    return np.where(counted.any(1), total / counted.sum(1).clip(min=1), np.nan)

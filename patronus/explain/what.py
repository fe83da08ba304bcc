"""What each code dimension draws: raise it to its largest activation and look where it fires.

Distribution-aligned visualisation (patronus.md section 4): s' = s with s_j := v_max, the largest
activation over the test images; x' = decode(x_T, s') with x_T inverted from the
image; the patch of x' nearest to prototype j, boxed by its receptive field, is its picture.

Beside it the older way (ProtoPNet, Chen et al., NeurIPS 2019): the training patch nearest to j.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from patronus.method import Method, batch_of, to_uint8, to_unit
from patronus.noise import batches

QUANTILES = np.linspace(0, 1, 21)


class Inverted(NamedTuple):
    """Images with all that decodes to them, one row an image."""

    x0: Tensor  # (n, C, H, W) in [-1, 1]
    code: Tensor  # (n, m)
    x_T: Tensor  # (n, C, H, W)

    def rows(self, index: slice | Tensor) -> "Inverted":
        return Inverted(*(part[index] for part in self))


@torch.inference_mode()
def inverted(model: Method, images: np.ndarray, settings) -> Inverted:
    """Codes and x_T of images (uint8, n C H W), the common start of every explanation."""
    x0 = to_unit(torch.from_numpy(images)).to(model.device)
    code = in_batches(lambda r: model.encode(x0[r]), len(x0), settings)
    x_T = in_batches(lambda r: model.invert(x0[r], code[r], settings.steps), len(x0), settings)
    return Inverted(x0, code, x_T)


@torch.inference_mode()
def visualise(model: Method, images: np.ndarray, codes: np.ndarray, settings,
              given: Inverted | None = None) -> dict[str, np.ndarray]:
    """Arrays of the visualisation of P dimensions on n images (uint8, n C H W).

    codes (N, m) are those of a representative set: the source of v_max and of the quantiles.
    `given` are the same images inverted, where a caller has them.
    Returns order (P,) best first, v_max (m,), requested (P,), recon (n, C, H, W), edited
    (P, n, C, H, W), boxes (P, n, 4), before and realised (P, n), best (P,), quantiles (m, Q).
    """
    x0, s, x_T = given or inverted(model, images, settings)
    recon = in_batches(lambda r: model.decode(x_T[r], s[r], settings.steps), len(x0), settings)
    dims = np.argsort(-codes.std(0), kind="stable")[:settings.dims].copy()
    v_max = torch.from_numpy(codes.max(0)).to(s)
    dim, row = crossed(dims, s)
    edited = in_batches(lambda r: model.decode(
        x_T[row[r]], raised(s[row[r]], dim[r], v_max), settings.steps), len(row), settings)
    realised, boxes = in_batches(lambda r: fired(model, edited[r], dim[r]), len(row), settings)
    grid = (len(dims), len(x0))
    before, realised = s[:, dims].T.cpu().numpy(), realised.view(grid).cpu().numpy()
    gain = (realised - before).mean(1)
    order = np.argsort(-gain, kind="stable")
    return {
        "order": dims[order], "v_max": codes.max(0), "requested": codes.max(0)[dims[order]],
        "images": images, "recon": pixels(recon),
        "edited": pixels(edited).reshape(*grid, *images.shape[1:])[order],
        "boxes": boxes.view(*grid, 4).cpu().numpy()[order],
        "before": before[order], "realised": realised[order],
        "best": realised[order].argmax(1),
        "quantiles": np.quantile(codes, QUANTILES, axis=0).T.astype(np.float32), "q": QUANTILES,
    }


@torch.inference_mode()
def nearest_patches(model: Method, images: np.ndarray, dims: np.ndarray,
                    settings) -> dict[str, np.ndarray]:
    """For each of P dimensions the patch, of all training images, that activates it most.

    images: uint8 (N, C, H, W), read batch by batch; every patch of every image is compared, and
    of equal ones the first is taken. Returns near_images (P, C, H, W) uint8, near_boxes (P, 4),
    near_activation (P,), near_rows (P,).
    """
    place = model.device
    dim = torch.from_numpy(dims).to(place)
    parts = [_nearest(model, batch_of(images, rows, place), dim, rows.start)
             for rows in tqdm(batches(len(images), settings.batch_size), desc="nearest patches",
                              mininterval=5)]
    activation, rows, boxes = (torch.stack(part).cpu() for part in zip(*parts, strict=True))
    first = activation.argmax(0)
    rows, boxes = own(rows.T, first).numpy(), own(boxes.transpose(0, 1), first).numpy()
    return {"near_images": np.array(images[rows]), "near_boxes": boxes,
            "near_activation": activation.amax(0).numpy(), "near_rows": rows}


def _nearest(model: Method, x0: Tensor, dim: Tensor, start: int) -> tuple[Tensor, Tensor, Tensor]:
    """Largest activation (P,) within a batch, its row (P,) and its box (P, 4)."""
    found = model.locate(x0)
    activation, at = found.activation[:, dim].max(0)
    return activation, at + start, found.boxes[at, dim]


def crossed(dims: np.ndarray, code: Tensor) -> tuple[Tensor, Tensor]:
    """Every dimension with every row of `code`, as two flat indices, rows running fastest."""
    dim = torch.from_numpy(np.asarray(dims)).to(code.device).repeat_interleave(len(code))
    return dim, torch.arange(len(code), device=code.device).repeat(len(dims))


def fired(model: Method, x0: Tensor, dim: Tensor) -> tuple[Tensor, Tensor]:
    """Activation (B,) of dimension dim[i] in image i, and its box (B, 4)."""
    found = model.locate(x0)
    return own(found.activation, dim), own(found.boxes, dim)


def own(values: Tensor, dim: Tensor) -> Tensor:
    """values[i, dim[i]] of (B, m, ...)."""
    return values[torch.arange(len(dim), device=dim.device), dim]


def raised(code: Tensor, dim: Tensor, value: Tensor) -> Tensor:
    """Codes (B, m) with entry dim[i] of row i set to value[dim[i]]."""
    return code.scatter(1, dim[:, None], value[dim][:, None])


def pixels(x0: Tensor) -> np.ndarray:
    """Images in [-1, 1] as uint8 arrays of the same shape."""
    return to_uint8(x0).cpu().numpy()


def slices(count: int, size: int) -> list[slice]:
    return [slice(r.start, r.stop) for r in batches(count, size)]


def in_batches(make, count: int, settings):
    """make(slice) for slices of at most settings.batch_size rows, joined; a tuple field by field.

    `make` returns a tensor or a tuple of tensors, with one row an item.
    """
    parts = [make(r) for r in tqdm(slices(count, settings.batch_size), desc="explain",
                                   mininterval=5)]
    if isinstance(parts[0], tuple):
        return tuple(torch.cat(field) for field in zip(*parts, strict=True))
    return torch.cat(parts)

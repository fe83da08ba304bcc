"""One image explained, or edited, by a trained model: what the command line computes.

What, where and when as in patronus.md section 4, for a single image and the prototypes that matter
most in it; the study's own explanations (patronus/explain/__main__.py) are over many images.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from patronus.errors import NotApplicable
from patronus.explain.what import Inverted, crossed, fired, pixels, raised, slices
from patronus.explain.when import followed
from patronus.method import Method, to_uint8, to_unit
from patronus.prototypes import receptive_field

BATCH = 16  # images decoded at once
NEEDED = ("encode", "decode", "invert", "locate")
Tick = Callable[[int], object]  # told how many denoiser steps were just made


@dataclass(frozen=True)
class Moved:
    """What P prototypes draw: the image with each set to a high, or to a low, activation."""

    images: np.ndarray  # (P, C, H, W) uint8
    boxes: np.ndarray  # (P, 4) where each then fires: y0, x0, y1, x1 in pixels, half open
    requested: np.ndarray  # (P,) the activation asked for
    realised: np.ndarray  # (P,) activation of the new image, encoded again
    change: np.ndarray  # (P,) mean change against the reconstruction, in gray levels of 255


@dataclass(frozen=True)
class Explained:
    """An image as a model sees it, and P of its prototypes."""

    image: np.ndarray  # (C, H, W) uint8
    recon: np.ndarray  # (C, H, W) uint8
    dims: np.ndarray  # (P,)
    s: np.ndarray  # (P,) activations of the image
    boxes: np.ndarray  # (P, 4) where each fires most
    maps: np.ndarray  # (P, h, w) activation at every position
    frame: tuple[float, float, float, float]  # y0, x0, y1, x1: where a map lies on the image
    times: np.ndarray  # (S,) of the reconstruction, falling
    trace: np.ndarray  # (S, P) activations of its estimates x0hat_t
    raised: Moved | None  # None where the usual activations are unknown, as is `lowered`
    lowered: Moved | None


def able(model: Method) -> None:
    """Raises NotApplicable for a method whose code cannot be explained."""
    for ability in NEEDED:
        if model.code_dim is None or not model.able(ability):
            raise model.cannot(ability)
    if not hasattr(model, "prototypes"):
        raise NotApplicable("the method has no prototypes")


@torch.inference_mode()
def read(model: Method, image: np.ndarray) -> np.ndarray:
    """Activations (m,) of one image, uint8 (C, H, W)."""
    return model.encode(_x0(model, image))[0].float().cpu().numpy()


@torch.inference_mode()
def effects(model: Method, image: np.ndarray, high: np.ndarray, low: np.ndarray, steps: int,
            tick: Tick = lambda steps: None) -> np.ndarray:
    """Mean change (m,) of one image in gray levels when a prototype is raised or lowered.

    Of both, the larger; high and low (m,) are what it is set to. With few `steps`: it only says
    which prototypes are worth a closer look.
    """
    given = _inverted(model, image, steps, tick)
    recon = model.decode(given.x_T, given.code, steps, lambda t, x0hat: tick(1))
    dims = np.arange(model.code_dim)
    return np.maximum(*(_moved(model, given, recon, dims, values, steps, tick).change
                        for values in (high, low)))


@torch.inference_mode()
def explain(model: Method, image: np.ndarray, dims: np.ndarray, high: np.ndarray | None,
            low: np.ndarray | None, steps: int, tick: Tick = lambda steps: None) -> Explained:
    """The prototypes `dims` (P,) in one image (uint8, C H W), with `steps` of DDIM a run.

    high and low (m,) are what a prototype is raised and lowered to; without them none is moved.
    """
    given = _inverted(model, image, steps, tick)
    at, last = model.locate(given.x0), {}
    boxes, maps = (part[0, dims].cpu().numpy() for part in (at.boxes, at.maps))

    def look(x0hat: Tensor) -> Tensor:
        last["recon"] = x0hat
        tick(1)
        return model.encode(x0hat)

    times, trace = followed(model, given.x_T, given.code, steps, look)
    moved = [None if values is None else _moved(model, given, last["recon"], dims, values, steps,
                                                tick) for values in (high, low)]
    return Explained(image, pixels(last["recon"])[0], dims, given.code[0, dims].cpu().numpy(),
                     boxes, maps, frame(model, maps.shape[1:]), times,
                     trace[0][:, dims].cpu().numpy(), *moved)


def runs(dims: int, move_them: bool) -> int:
    """How many runs of `steps` are made: inversion, reconstruction, batches raised and lowered."""
    return 2 + (2 * len(slices(dims, BATCH)) if move_them else 0)


def frame(model: Method, grid: tuple[int, int]) -> tuple[float, float, float, float]:
    """Where a map (h, w) lies on the image: each position is as wide as the step between two
    patches, and lies in the middle of its patch."""
    field, jump, start = receptive_field(model.prototypes.convs)
    low = start + (field - jump) / 2
    return low, low, low + jump * grid[0], low + jump * grid[1]


@dataclass(frozen=True)
class Edited:
    """An image with some of its activations set."""

    recon: np.ndarray  # (C, H, W) uint8, nothing set
    image: np.ndarray  # (C, H, W) uint8
    old: np.ndarray  # (P,) activations of the image
    realised: np.ndarray  # (P,) of the edited image, encoded again


@torch.inference_mode()
def edit(model: Method, image: np.ndarray, values: Mapping[int, float], steps: int,
         tick: Tick = lambda steps: None) -> Edited:
    """One image (uint8, C H W) decoded with s_j := values[j], from its own x_T."""
    given = _inverted(model, image, steps, tick)
    dims, code = list(values), given.code.repeat(2, 1)
    code[1, dims] = torch.tensor(list(values.values())).to(code)
    both = model.decode(given.x_T.repeat(2, 1, 1, 1), code, steps, lambda t, x0hat: tick(1))
    drawn = pixels(both)
    return Edited(drawn[0], drawn[1], given.code[0, dims].cpu().numpy(),
                  model.encode(both[1:])[0, dims].cpu().numpy())


def _x0(model: Method, image: np.ndarray) -> Tensor:
    """(1, C, H, W) in [-1, 1] on the model's device."""
    return to_unit(torch.from_numpy(np.array(image[None]))).to(model.device)


def _inverted(model: Method, image: np.ndarray, steps: int, tick: Tick) -> Inverted:
    x0 = _x0(model, image)
    code = model.encode(x0)
    x_T = model.invert(x0, code, steps)
    tick(steps)
    return Inverted(x0, code, x_T)


def _moved(model: Method, given: Inverted, recon: Tensor, dims: np.ndarray, values: np.ndarray,
           steps: int, tick: Tick) -> Moved:
    """Each of `dims` (P,) set to its entry of `values` (m,) in the one image, BATCH at a time."""
    dim, row = crossed(dims, given.code)
    code = raised(given.code[row], dim, torch.from_numpy(values).to(given.code))
    drawn = torch.cat([model.decode(given.x_T[row[r]], code[r], steps, lambda t, x0hat: tick(1))
                       for r in slices(len(dims), BATCH)])
    realised, boxes = fired(model, drawn, dim)
    change = (to_unit(to_uint8(drawn)) - to_unit(to_uint8(recon))).abs().mean((1, 2, 3)) * 127.5
    return Moved(pixels(drawn), boxes.cpu().numpy(), values[dims], realised.cpu().numpy(),
                 change.cpu().numpy())

"""The contract a method meets: one class `Model` in one file."""

import itertools
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from patronus.diffusion import Diffusion, Solver, StepHook
from patronus.errors import NotApplicable, Problem
from patronus.plugins import breach


class Method(nn.Module):
    """A diffusion model, with or without a code.

    Images are float tensors (B, C, H, W) in [-1, 1]. `shape` is (C, H, W); `code_dim` is the
    length of a code, or None when the method has none. A method that cannot do one of the
    things below leaves it as it is: the reason in `lacks` appears in every table.
    """

    lacks: dict[str, str] = {}  # ability -> why this method has not got it
    concepts: tuple[str, ...] = ()  # label columns that a supervised method is given in training

    def __init__(self, shape: tuple[int, int, int], code_dim: int | None):
        super().__init__()
        self.shape, self.code_dim = tuple(shape), code_dim

    @property
    def device(self) -> torch.device:
        """Where its parameters and buffers are."""
        return next(itertools.chain(self.parameters(), self.buffers())).device

    def adopt(self, base: "Method") -> None:
        """Take over the trained model that `base:` in config/methods names; before `prepare`.

        A method that defines it is not trained without one.
        """
        raise Problem(f"{type(self).__module__}: stands on no other method; remove `base:`")

    def prepare(self, images: Tensor) -> None:
        """Look at training images (uint8, N C H W) once before training; by default nothing."""

    def code_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters that make the code, by default `encoder`'s; trained at lr * code_lr_scale."""
        encoder = getattr(self, "encoder", None)
        return encoder.parameters() if isinstance(encoder, nn.Module) else iter(())

    def loss(self, x0: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """Scalars by name; "loss" is minimised. Noise comes from torch's global generator.

        A method with `concepts` is given their values (B, len(concepts)), scaled to [-1, 1] over
        the training split and NaN where unknown; all others are called without `labels`. A method
        that leaves `loss` out (and says why in `lacks`) is not trained: what it learns it learns
        in `prepare`.
        """
        raise self.cannot("loss")

    def encode(self, x0: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] -> codes (B, code_dim), deterministic."""
        raise self.cannot("encode")

    def decode(self, x_T: Tensor, code: Tensor | None, steps: int,
               on_step: StepHook | None = None) -> Tensor:
        """Noise (B, C, H, W) and codes -> images (B, C, H, W), deterministic."""
        raise self.cannot("decode")

    def invert(self, x0: Tensor, code: Tensor | None, steps: int) -> Tensor:
        """Images and their codes -> the x_T from which decode gives the images back."""
        raise self.cannot("invert")

    def generate(self, x_T: Tensor, z: Tensor, steps: int) -> Tensor:
        """The method's own sampler: noise (B, C, H, W) and z (B, code_dim or 1), standard normal.

        Deterministic. For a method whose published sampler is more than decode(x_T, code) with
        codes from the shared prior; the others leave it out.
        """
        raise NotApplicable(self.lacks.get("generate", "it samples by the shared prior alone"))

    def predict(self, x_t: Tensor, t: Tensor, code: Tensor | None) -> tuple[Tensor, Tensor]:
        """(x0hat, epshat) of x_t at times t (B,) of self.diffusion, whatever the network answers.

        x_t and both estimates are (B, C, H, W).
        """
        raise self.cannot("predict")

    def locate(self, x0: Tensor) -> "Located":
        """Where each code dimension fires."""
        raise self.cannot("locate")

    def able(self, ability: str) -> bool:
        """Whether it defines one of the methods above, and does not say that it lacks it."""
        return ability not in self.lacks and \
            getattr(type(self), ability) is not getattr(Method, ability)

    def cannot(self, ability: str) -> NotApplicable:
        return NotApplicable(self.lacks.get(ability, f"the method has no {ability}"))


def checked_loss(model: Method, losses: object) -> dict[str, Tensor]:
    """What `loss` returned. Raises Problem unless it is a dict of scalar tensors with "loss"."""
    right = isinstance(losses, dict) and isinstance(losses.get("loss"), Tensor) and all(
        isinstance(one, Tensor) and one.numel() == 1 for one in losses.values())
    if not right:
        found = sorted(losses) if isinstance(losses, dict) else type(losses).__name__
        raise breach(type(model).loss, 'loss() must return a dict of scalar tensors, one of them '
                     f'under "loss" (got {found})')
    return losses


def checked_code(model: Method, code: object, count: int) -> Tensor:
    """What `encode` returned for `count` images. Raises Problem unless it is (count, code_dim)."""
    wanted = (count, model.code_dim)
    if not isinstance(code, Tensor) or tuple(code.shape) != wanted:
        found = tuple(code.shape) if isinstance(code, Tensor) else type(code).__name__
        raise breach(type(model).encode, f"encode() must return codes of shape {wanted}, the code "
                     f"size of this cell (got {found})")
    return code


def checked_images(model: Method, images: object, count: int) -> Tensor:
    """What a method drew. Raises Problem unless it is (count, *model.shape)."""
    wanted = (count, *model.shape)
    if not isinstance(images, Tensor) or tuple(images.shape) != wanted:
        found = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise breach(type(model).decode, f"decode() must return images of shape {wanted} "
                     f"(got {found})")
    return images


class Denoising(Method):
    """A method whose network answers for x_t: estimates, decoding and inversion follow from that.

    It sets `diffusion`, and `denoiser` or an `eps` of its own.
    """

    diffusion: Diffusion

    def eps(self, x_t: Tensor, t: Tensor, code: Tensor | None) -> Tensor:
        """What the network answers: eps, or v under v-prediction."""
        return self.denoiser(x_t, t, code)

    def predict(self, x_t: Tensor, t: Tensor, code: Tensor | None) -> tuple[Tensor, Tensor]:
        return self.diffusion.split(self.eps(x_t, t, code).float(), x_t, t)

    def decode(self, x_T: Tensor, code: Tensor | None, steps: int,
               on_step: StepHook | None = None, solver: Solver = "ddim") -> Tensor:
        solve = {"ddim": self.diffusion.ddim, "dpm": self.diffusion.dpm}[solver]
        return solve(partial(self.eps, code=code), x_T, steps, on_step)

    def invert(self, x0: Tensor, code: Tensor | None, steps: int) -> Tensor:
        return self.diffusion.invert(partial(self.eps, code=code), x0, steps)


class Located(NamedTuple):
    """Where each of m dimensions fires most, for B images."""

    activation: Tensor  # (B, m)
    boxes: Tensor  # (B, m, 4) int: y0, x0, y1, x1 in pixels, half open, clipped at the border
    maps: Tensor  # (B, m, h, w) activation at every position


def to_unit(images: Tensor) -> Tensor:
    """uint8 0..255 -> float in [-1, 1]."""
    return images.float().div_(127.5).sub_(1)


def batch_of(images: np.ndarray, rows: range | slice | np.ndarray,
             device: torch.device | str) -> Tensor:
    """Rows of uint8 images (N, C, H, W), memory-mapped or not, as x0 on the device."""
    wanted = rows if isinstance(rows, np.ndarray) else slice(rows.start, rows.stop)
    return to_unit(torch.from_numpy(np.array(images[wanted])).to(device))


def to_uint8(x0: Tensor) -> Tensor:
    """[-1, 1] (clipped) -> uint8, rounded: every level survives the round trip."""
    return x0.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)

"""A frozen, trained DDPM whose bottleneck can be read and moved: what four methods stand on.

The bottleneck h is what leaves the middle of the U-Net: 256x4x4 at 32 px, 256x8x8 at 64 px with
the published widths. Source: Kwon et al., Diffusion Models Already Have a Semantic Latent Space,
ICLR 2023, which call it h-space.
"""

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from patronus.diffusion import Diffusion
from patronus.errors import Problem
from patronus.method import Method, StepHook
from patronus.seeds import seed_for
from patronus.unet import Block, UNet

Shift = Callable[[Tensor], Tensor]  # h (B, *size) -> what is added to it


class Bottleneck(nn.Module):
    """The Patronus U-Net without a condition, frozen, cut open after `middle`.

    `size` is the shape (channels, height, width) of h for one image. There is no dropout: a frozen
    network never trains.
    """

    def __init__(self, shape: tuple[int, int, int], base: int, multipliers: tuple[int, ...]):
        super().__init__()
        self.unet = UNet(shape, None, base, multipliers, dropout=0.0).requires_grad_(False)
        scale = 2 ** (len(multipliers) - 1)
        self.size = (base * multipliers[-1], shape[1] // scale, shape[2] // scale)

    def forward(self, x_t: Tensor, t: Tensor, shift: Shift | None = None) -> tuple[Tensor, Tensor]:
        """(answer, h): the answer to x_t (B, C, H, W) at times t (B,), h before `shift` moved it.

        Without a shift the answer is the U-Net's, bit for bit.
        """
        h, skips, time = self.down(x_t, t)
        return self.finish(h if shift is None else h + shift(h), skips, time), h

    def down(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
        """(h, skips, time embedding): the first half of the network, with the middle."""
        net = self.unet
        time = nn.functional.silu(net.time(net.times[t]))
        h = net.first(x_t)
        skips = [h]
        for layer in net.down:
            h = layer(h, time, None) if isinstance(layer, Block) else layer(h)
            skips.append(h)
        for layer in net.middle:
            h = layer(h, time, None)
        return h, skips, time

    def up(self, h: Tensor, skips: list[Tensor], time: Tensor) -> Iterator[Tensor]:
        """The features after every layer of `unet.up`, in order."""
        waiting = list(skips)
        for layer in self.unet.up:
            h = layer(torch.cat([h, waiting.pop()], 1), time, None) \
                if isinstance(layer, Block) else layer(h)
            yield h

    def finish(self, h: Tensor, skips: list[Tensor], time: Tensor) -> Tensor:
        """The answer (B, C, H, W): the second half of the network."""
        return self.unet.last(deque(self.up(h, skips, time), maxlen=1).pop())


class Frozen(Method):
    """A method that stands on a trained plain DDPM, of which it keeps a copy."""

    def __init__(self, shape: tuple[int, int, int], code_dim: int | None, base: int,
                 multipliers: tuple[int, ...], prediction: str):
        super().__init__(shape, code_dim)
        self.diffusion = Diffusion(prediction)
        self.net = Bottleneck(shape, base, multipliers)
        self.adopted = False

    def adopt(self, base: Method) -> None:
        """Copy the denoiser of a trained baselines.ddpm.Model with the same sizes."""
        name, denoiser = type(self).__module__, getattr(base, "denoiser", None)
        if not isinstance(denoiser, UNet) or denoiser.code is not None:
            raise Problem(f"{name}: stands on a plain DDPM; name one under `base:`")
        theirs, ours = base.diffusion.prediction, self.diffusion.prediction
        if theirs != ours:
            raise Problem(f"{name}: predicts {ours}, the DDPM it stands on {theirs}; set its "
                          f"option prediction: {theirs}")
        weights = denoiser.state_dict()
        if _sizes(weights) != _sizes(self.net.unet.state_dict()):
            raise Problem(f"{name}: its network is not of the DDPM's size; give its options base "
                          "and multipliers the values that the DDPM has")
        self.net.unet.load_state_dict(weights)
        self.adopted = True

    def prepare(self, images: Tensor) -> None:
        if not self.adopted:
            raise Problem(f"{type(self).__module__}: stands on a trained DDPM; write `base: ddpm` "
                          "into its file in config/methods")


class Steered(Frozen):
    """A method whose code moves the bottleneck at every step; `shift` says by how much.

    The same moved network serves sampling and inversion, so that decode gives back what was
    inverted with the same code, up to the error of DDIM; without a code it is the plain DDPM.
    """

    def shift(self, h: Tensor, t: Tensor, code: Tensor) -> Tensor:
        """What is added to h (B, *net.size) at times t (B,), for codes (B, code_dim)."""
        raise NotImplementedError(f"{type(self).__module__}.Model must define shift")

    def answer(self, x_t: Tensor, t: Tensor, code: Tensor | None) -> Tensor:
        """The network's answer (eps or v) with its bottleneck moved to the code."""
        by = None if code is None else partial(self.shift, t=t, code=code)
        return self.net(x_t, t, by)[0]

    def predict(self, x_t: Tensor, t: Tensor, code: Tensor | None) -> tuple[Tensor, Tensor]:
        return self.diffusion.split(self.answer(x_t, t, code).float(), x_t, t)

    def decode(self, x_T: Tensor, code: Tensor | None, steps: int,
               on_step: StepHook | None = None) -> Tensor:
        return self.diffusion.ddim(partial(self.answer, code=code), x_T, steps, on_step)

    def invert(self, x0: Tensor, code: Tensor | None, steps: int) -> Tensor:
        return self.diffusion.invert(partial(self.answer, code=code), x0, steps)


def shared_noise(shape: tuple[int, ...], *names: object) -> Tensor:
    """Standard normal (*shape), always the same for the same names."""
    source = torch.Generator().manual_seed(seed_for(*names))
    return torch.randn(shape, generator=source, device="cpu")


def _sizes(weights: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in weights.items()}

"""Trained models spoiled on purpose: what a measure that deserves trust ought to notice.

Each fault is put around a model that stays as it is. Where codes are mixed, they are standardised
by mean and standard deviation of the training codes, so that the decoder gets numbers as it knows
them; where an image is read anew, the same is done to what was read. Boxes are those that the model
itself gives to dimension j, but for the faults of place.

`wrong` says what is wrong, `notice` which measures ought to see it. That was written down before
the measure in question was run on the fault; measures that are not named may well change too.

Two dimensions that change places in encode *and* in what the decoder reads are no fault: a code may
number its dimensions as it likes. Here the decoder is not told, so raising one moves the other.
"""

import copy
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from analysis.denoising import derangement
from patronus.diffusion import StepHook
from patronus.encode import encode
from patronus.method import Located, Method
from patronus.seeds import seed_for

LEAK = 0.5  # weight of the others in what is read of a dimension
MOVED = 4  # pixels by which the encoder sees the image too far to the right


class Seen(NamedTuple):
    """What a fault is made from, all of the training split."""

    codes: np.ndarray  # (N, m) of the model as it is
    images: np.ndarray  # uint8 (N, C, H, W)
    pair: tuple[int, int]  # code dimensions: the second is a part's that is drawn best


class Spoiled(Method):
    """`model` with a fault between image and code, or between code and decoder; here with none."""

    name = ""
    wrong = ""
    notice: tuple[str, ...] = ()

    def __init__(self, model: Method, seen: Seen):
        super().__init__(model.shape, model.code_dim)
        self.model = model
        std = seen.codes.std(0)
        for key, value in (("mean", seen.codes.mean(0)), ("std", np.where(std > 0, std, 1))):
            self.register_buffer(key, torch.from_numpy(value).float().to(model.device))
        self.rng = np.random.default_rng(seed_for("spoiled", self.name))
        self.pair = seen.pair

    def read(self, code: Tensor) -> Tensor:
        """Codes (B, m) of the model -> what is read in their place."""
        return code

    def given(self, code: Tensor) -> Tensor:
        """Codes (B, m) as read or set -> what the decoder gets."""
        return code

    def codes(self, stored: np.ndarray, images: np.ndarray) -> np.ndarray:
        """Codes (N, m) float32 of images whose codes by the model are `stored`."""
        return self.read(torch.from_numpy(np.array(stored)).to(self.mean)).cpu().numpy()

    def standard(self, code: Tensor) -> Tensor:
        return (code - self.mean) / self.std

    def plausible(self, standard: Tensor) -> Tensor:
        return self.mean + self.std * standard

    def encode(self, x0: Tensor) -> Tensor:
        return self.read(self.model.encode(x0))

    def decode(self, x_T: Tensor, code: Tensor, steps: int,
               on_step: StepHook | None = None) -> Tensor:
        return self.model.decode(x_T, self.given(code), steps, on_step)

    def invert(self, x0: Tensor, code: Tensor, steps: int) -> Tensor:
        return self.model.invert(x0, self.given(code), steps)

    def locate(self, x0: Tensor) -> Located:
        return self.model.locate(x0)._replace(activation=self.encode(x0))


class Permuted(Spoiled):
    """The decoder takes each dimension for another one."""

    name = "permuted"
    wrong = "the decoder gets the dimensions in a wrong order"
    notice = ("fidelity", "realised", "selectivity", "causal_success", "locality", "pointing",
              "truth_energy", "rank", "fidelity_margin")

    def __init__(self, model: Method, seen: Seen):
        super().__init__(model, seen)
        self.order = torch.from_numpy(derangement(self.code_dim, "spoiled", self.name))

    def given(self, code: Tensor) -> Tensor:
        return self.plausible(self.standard(code)[:, self.order.to(code.device)])


class Anew(Spoiled):
    """The image is read in another way, and nothing of that was learned by the decoder."""

    def __init__(self, model: Method, seen: Seen):
        super().__init__(model, seen)
        self.raw = torch.zeros_like(self.mean), torch.ones_like(self.std)
        standard = self.standard(torch.from_numpy(encode(self, seen.images)).to(self.mean))
        self.raw = standard.mean(0), standard.std(0, correction=0).clamp(min=1e-6)

    def look(self, x0: Tensor) -> Tensor:
        """Images (B, C, H, W) -> codes (B, m), whatever their mean and spread."""
        raise NotImplementedError

    def encode(self, x0: Tensor) -> Tensor:
        mean, std = self.raw
        return self.plausible((self.look(x0) - mean) / std)

    def codes(self, stored: np.ndarray, images: np.ndarray) -> np.ndarray:
        return encode(self, images)


class Random(Anew):
    """What is read of an image was never learned; the decoder still expects what was."""

    name = "random"
    wrong = "the code is read by random prototypes, or is a random projection of the image"
    notice = ("fidelity", "realised", "selectivity", "causal_success", "truth_iou", "truth_hit",
              "truth_energy", "rank", "fidelity_margin")

    @cached_property
    def reader(self) -> nn.Module:
        return stranger(self.model, self.rng)

    def look(self, x0: Tensor) -> Tensor:
        return self.reader(x0)


class Shifted(Anew):
    """Encoder and decoder do not have the image at the same place."""

    name = "shifted"
    wrong = f"the encoder sees the image moved to the right by {MOVED} pixels"
    notice = ("locality", "pointing", "truth_iou", "truth_hit")

    def look(self, x0: Tensor) -> Tensor:
        return self.model.encode(moved(x0))

    def locate(self, x0: Tensor) -> Located:
        return self.model.locate(moved(x0))._replace(activation=self.encode(x0))


def moved(x0: Tensor) -> Tensor:
    """Images (B, C, H, W) moved to the right; the left edge is repeated."""
    return pad(x0, (MOVED, 0, 0, 0), mode="replicate")[..., :x0.shape[-1]]


def stranger(model: Method, rng: np.random.Generator) -> nn.Module:
    """Images (B, C, H, W) -> (B, m) that nothing was learned for.

    The model's own prototypes with each feature shuffled between them, where it has prototypes;
    else a projection of all pixels with standard normal weights.
    """
    if hasattr(model, "prototypes"):
        reader = copy.deepcopy(model.prototypes)
        reader.vectors.data = shuffled(reader.vectors.data, rng)
        return reader
    reader = nn.Linear(int(np.prod(model.shape)), model.code_dim, bias=False)
    reader.weight.data = torch.from_numpy(rng.normal(size=reader.weight.shape)).float()
    return nn.Sequential(nn.Flatten(), reader).to(model.device).requires_grad_(False)


def shuffled(vectors: Tensor, rng: np.random.Generator) -> Tensor:
    """Vectors (m, F) with the entries of each feature in an order of its own."""
    order = torch.from_numpy(rng.random(vectors.shape).argsort(0)).to(vectors.device)
    return vectors.gather(0, order)


class Mixed(Spoiled):
    """What is read is a linear mixture of the standardised code, each entry with spread 1."""

    def __init__(self, model: Method, seen: Seen):
        super().__init__(model, seen)
        turn = np.linalg.qr(self.rng.normal(size=(self.code_dim, self.code_dim)))[0]
        mixture = self.mixture(turn)
        standard = self.standard(torch.from_numpy(np.array(seen.codes)).to(self.mean))
        spread = (standard.cpu().double().numpy() @ mixture.T).std(0)
        mixture = mixture / np.where(spread > 0, spread, 1)[:, None]
        self.register_buffer("matrix", torch.from_numpy(mixture).to(self.mean))

    def mixture(self, turn: np.ndarray) -> np.ndarray:
        """Row j: what entry j is made of; `turn` (m, m) is orthogonal and random."""
        return turn

    def read(self, code: Tensor) -> Tensor:
        return self.plausible(self.standard(code) @ self.matrix.T)


class Leaky(Mixed):
    """What is read of a dimension is half others; the decoder is not told."""

    name = "leaky"
    wrong = f"what is read of a dimension is mixed with the others, strength {LEAK}"
    notice = ("selectivity", "realised", "rank")

    def mixture(self, turn: np.ndarray) -> np.ndarray:
        others = turn * (1 - np.eye(len(turn)))
        others /= np.linalg.norm(others, axis=1, keepdims=True)
        return (1 - LEAK) * np.eye(len(turn)) + LEAK * others


class Rotated(Mixed):
    """Every entry means everything, and the decoder knows it: consistent, and not to be read."""

    name = "rotated"
    wrong = "the code is rotated and the decoder turns it back: each entry means everything"
    notice = ("causal_success", "locality", "pointing", "change_area", "truth_iou", "truth_hit",
              "truth_energy")

    def given(self, code: Tensor) -> Tensor:
        return self.plausible(torch.linalg.solve(self.matrix, self.standard(code).T).T)


class Deaf(Spoiled):
    """The decoder knows no image's code."""

    name = "deaf"
    wrong = "the decoder always gets the mean code"
    notice = ("fidelity", "realised", "causal_success", "sensitivity", "rank", "fidelity_margin")

    def given(self, code: Tensor) -> Tensor:
        return self.mean.expand(len(code), -1)


class Half(Spoiled):
    """The decoder knows half of each image's code."""

    name = "half"
    wrong = "the decoder gets the mean in place of half of the dimensions"
    notice = ("fidelity", "fidelity_worst", "fidelity_margin", "realised", "realised_worst", "rank",
              "rank_worst", "causal_success")

    def __init__(self, model: Method, seen: Seen):
        super().__init__(model, seen)
        ignored = self.rng.permutation(self.code_dim)[:self.code_dim // 2]
        self.register_buffer("ignored", torch.from_numpy(ignored).to(model.device))

    def given(self, code: Tensor) -> Tensor:
        return code.index_copy(1, self.ignored, self.mean[self.ignored].expand(len(code), -1))


class Swapped(Spoiled):
    """Two dimensions have changed places on the way from the encoder."""

    name = "swapped"
    wrong = "two dimensions have changed places in what is read, and the decoder is not told"
    notice = ("fidelity", "fidelity_worst", "fidelity_margin", "realised_worst", "rank",
              "rank_worst")

    def read(self, code: Tensor) -> Tensor:
        order = torch.arange(self.code_dim, device=code.device)
        order[list(self.pair)] = order[list(self.pair[::-1])]
        return self.plausible(self.standard(code)[:, order])


class Duplicated(Spoiled):
    """Half of the code repeats the other half, and the decoder knows it: it takes their mean."""

    name = "duplicated"
    wrong = "half of the dimensions repeat another one; the decoder takes the mean of the two"
    notice = ("redundancy", "realised", "selectivity")

    def __init__(self, model: Method, seen: Seen):
        super().__init__(model, seen)
        order, half = self.rng.permutation(self.code_dim), self.code_dim // 2
        source = np.arange(self.code_dim)
        source[order[half:2 * half]] = order[:half]
        average = (source == np.arange(self.code_dim)[:, None]).astype(float)
        average /= np.maximum(average.sum(axis=1, keepdims=True), 1)
        self.register_buffer("source", torch.from_numpy(source).to(model.device))
        self.register_buffer("average", torch.from_numpy(average).to(self.mean))

    def read(self, code: Tensor) -> Tensor:
        return self.plausible(self.standard(code)[:, self.source])

    def given(self, code: Tensor) -> Tensor:
        """A copy's own dimension of the decoder gets its mean: nothing of it is in the code."""
        return self.plausible(self.standard(code) @ self.average.T)


class OneBit(Spoiled):
    """Of each dimension one bit is kept, and the decoder gets no more."""

    name = "one_bit"
    wrong = "of each dimension is kept whether it is above its median, for the decoder as well"
    notice = ("resolution", "sensitivity", "fidelity")

    def __init__(self, model: Method, seen: Seen):
        super().__init__(model, seen)
        median = np.median(seen.codes, axis=0)
        share = (seen.codes > median).mean(0)
        spread = np.sqrt(share * (1 - share))
        for key, value in (("median", median), ("share", share),
                           ("spread", np.where(spread > 0, spread, 1))):
            self.register_buffer(key, torch.from_numpy(value).to(self.mean))

    def read(self, code: Tensor) -> Tensor:
        return self.plausible(((code > self.median).float() - self.share) / self.spread)

    def given(self, code: Tensor) -> Tensor:
        return self.read(code)


class Transposed(Spoiled):
    """Rows and columns of where a dimension fires are mistaken for each other."""

    name = "transposed"
    wrong = "rows and columns of the boxes are exchanged"
    notice = ("locality", "pointing", "truth_iou", "truth_hit")

    def locate(self, x0: Tensor) -> Located:
        found = super().locate(x0)
        height, width = x0.shape[2:]
        top, left, bottom, right = found.boxes.unbind(-1)
        boxes = [left * height // width, top * width // height,
                 -(-right * height // width), -(-bottom * width // height)]
        return found._replace(boxes=torch.stack(boxes, -1))


class Tied(Spoiled):
    """A shortcut planted in the decoder."""

    name = "tied"
    wrong = "raising the best dimension of one part raises that of another part as far"
    notice = ("shortcut",)

    def given(self, code: Tensor) -> Tensor:
        a, b = self.pair
        standard = self.standard(code).clone()
        standard[:, b] += standard[:, a]
        return self.plausible(standard)


SPOILS: tuple[type[Spoiled], ...] = (Permuted, Swapped, Random, Shifted, Leaky, Rotated, Duplicated,
                                     OneBit, Deaf, Half, Transposed, Tied)

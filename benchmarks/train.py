"""A training step of Patronus: the loop as published, what each change to it brings, and ours.

    python -m benchmarks.train                            the published size, on this machine
    python -m benchmarks.train --base 16 --batch 64       a small model

The loop as published (patronus.md section 2, as the paper describes it): float32, AdamW, code and
noise in separate calls, each image opened as a file and scaled to floats, the loss read at every
step. Each following way adds one change; the last is patronus.train's own, as `make reproduce`
runs it, with its denoiser in half precision where the machine has that (on a CPU: bfloat16). Ratios
are of processor seconds on a CPU and of seconds on a GPU, round by round.
`--curve N`: both loops for N steps from the same weights, images, times and noise, and how far
their losses are apart. `--rounds 0` keeps the times of the file, `--curve 0` its curves.
"""

import io
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from analysis.costs import flops
from benchmarks import timing
from patronus.config import Train
from patronus.files import load_json, save_json
from patronus.method import to_unit
from patronus.model import Model
from patronus.record import provenance
from patronus.train import State, fabric_for

SHAPE, PROTOTYPES, IMAGES = (3, 32, 32), 100, 256
CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
CLOCK = time.perf_counter if CUDA else time.process_time
WHERE = {"device": torch.cuda.get_device_name() if CUDA else "CPU",
         "threads": torch.get_num_threads()}
HALF = CUDA or torch.ops.mkldnn._is_mkldnn_bf16_supported()
PRECISION = "16-mixed" if CUDA else "bf16-mixed" if HALF else "32-true"
SMALL = {"multipliers": (1, 2, 3, 4), "encoder_channels": (16, 32, 32, 48)}


def built(base: int) -> Model:
    """The model from the same random weights every time; published sizes at base 64."""
    torch.manual_seed(0)
    return Model(SHAPE, PROTOTYPES, base=base, **(SMALL if base < 64 else {})).to(DEVICE)


def pictures() -> np.ndarray:
    """uint8 (IMAGES, *SHAPE): smooth noise, so that a step has something to learn."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (IMAGES, 3, 4, 4)).astype(np.uint8)
    images = np.stack([np.asarray(Image.fromarray(one.transpose(1, 2, 0)).resize(
        SHAPE[:0:-1], Image.Resampling.BICUBIC)) for one in coarse])
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))  # noise is drawn in this order


def as_files(images: np.ndarray) -> list[bytes]:
    """Each image as a PNG."""
    files = []
    for image in images:
        files.append(io.BytesIO())
        Image.fromarray(image.transpose(1, 2, 0)).save(files[-1], "PNG")
    return [file.getvalue() for file in files]


def opened(file: bytes) -> Tensor:
    """An image as float (C, H, W) in [-1, 1], as a data set's transforms make it."""
    image = np.array(Image.open(io.BytesIO(file)))
    return torch.from_numpy(image).permute(2, 0, 1).contiguous().float() / 127.5 - 1


def rows(step: int, batch: int) -> Tensor:
    return torch.randperm(IMAGES, generator=torch.Generator().manual_seed(step)) \
        .repeat(-(-batch // IMAGES))[:batch]


class Published:
    """The loop as published, and one change after the other."""

    def __init__(self, base: int, batch: int, files: list[bytes], images: np.ndarray, *,
                 resident: bool = False, channels_last: bool = False, fused: bool = False,
                 half: bool = False, compiled: bool = False, lr: float = 1e-5):
        self.model, self.batch, self.files = built(base).train(), batch, files
        self.rows = torch.from_numpy(images).to(DEVICE) if resident else None
        if channels_last:
            self.model.to(memory_format=torch.channels_last)
        if compiled:
            self.model.denoiser.compile()
        how = {"fused": True} if fused else {"foreach": False}
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=lr, **how)
        self.half, self.count = half, 0

    def step(self) -> Tensor:
        index = rows(self.count, self.batch)
        x0 = to_unit(self.rows[index.to(DEVICE)]) if self.rows is not None else \
            torch.stack([opened(self.files[i]) for i in index]).to(DEVICE)
        torch.manual_seed(self.count)
        with torch.autocast(DEVICE.type, torch.bfloat16) if self.half else nullcontext():
            loss = self.model.diffusion.loss(
                partial(self.model.eps, code=self.model.encode(x0)), x0)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.count += 1
        return loss.detach() if self.rows is not None else torch.tensor(loss.item())


class Ours:
    """patronus.train's own step."""

    def __init__(self, base: int, batch: int, images: np.ndarray, folder: Path, precision: str,
                 lr: float = 1e-5):
        fabric = fabric_for(precision, int(CUDA))
        settings = Train(batch_size=batch, lr=lr, precision=precision, compile=CUDA)
        self.state = State(fabric, built(base), settings, 10**6, folder, "")
        self.rows, self.batch, self.count = torch.from_numpy(images).to(DEVICE), batch, 0

    def step(self) -> Tensor:
        x0 = to_unit(self.rows[rows(self.count, self.batch).to(DEVICE)])
        torch.manual_seed(self.count)
        self.count += 1
        return self.state.update(self.count - 1, x0)["loss"].detach()


def ways(base: int, batch: int, folder: Path) -> Iterator[tuple[str, Callable[[], Tensor]]]:
    """(name, step) of the published loop, of one change more each, and of ours."""
    images = pictures()
    plain = partial(Published, base, batch, as_files(images), images)
    changes: dict[str, bool] = {}
    yield "as published", plain().step
    for name in ("resident", "channels_last", "fused", *(["half"] if HALF else []), "compiled"):
        changes[name] = True
        yield f"+ {name}", plain(**changes).step
    yield "ours", Ours(base, batch, images, folder, PRECISION).step


def synchronised(step: Callable[[], Tensor]) -> None:
    step()
    if CUDA:
        torch.cuda.synchronize()


def peak(dtype: torch.dtype, side: int) -> float:
    """FLOP/s of a large matrix product or of a large convolution: the better, the best of five.

    On a CPU these are two libraries' work, and either may be far from what the machine can do.
    """
    a = torch.rand(side, side, device=DEVICE).to(dtype)
    x = torch.rand(32, 256, 16, 16, device=DEVICE).to(dtype, memory_format=torch.channels_last)
    w = torch.rand(256, 256, 3, 3, device=DEVICE).to(dtype)
    ways = {"product": lambda: a @ a, "convolution": lambda: torch.conv2d(x, w, padding=1)}
    seconds = timing.timed({name: partial(synchronised, way) for name, way in ways.items()}, 5,
                           CLOCK)
    return max(2 * side**3 / min(seconds["product"]),
               2 * x.numel() * 9 * 256 / min(seconds["convolution"]))


def curves(base: int, batch: int, steps: int, folder: Path, precision: str = PRECISION) -> dict:
    """Losses (steps,) of the published loop and of ours from equal starts, and their distance."""
    images = pictures()
    both = (Published(base, batch, as_files(images), images, lr=1e-3),
            Ours(base, batch, images, folder, precision, lr=1e-3))
    one, other = (np.array([float(way.step()) for _ in range(steps)]) for way in both)
    apart = np.abs(other / one - 1)
    return {"steps": steps, "base": base, "batch": batch, "lr": 1e-3, "precision": precision,
            "published": one.round(6).tolist(), "ours": other.round(6).tolist(),
            "largest_relative_difference": float(apart.max()),
            "median_relative_difference": float(np.median(apart)),
            "mean_of_last_50": [float(one[-50:].mean()), float(other[-50:].mean())]}


def step_flops(base: int, batch: int) -> int:
    """FLOPs of forward and backward."""
    model = built(base).train()
    x0 = torch.zeros(batch, *SHAPE, device=DEVICE)

    def both() -> None:
        model.loss(x0)["loss"].backward()

    return flops(both)


def times(base: int, batch: int, rounds: int, folder: Path) -> dict:
    """Seconds a step of every way, their ratios to the first, FLOP/s beside the machine's peak."""
    steps = {name: partial(synchronised, step) for name, step in ways(base, batch, folder)}
    seconds = timing.timed(steps, rounds, CLOCK)
    work, side = step_flops(base, batch), 8192 if CUDA else 2048
    best = {name: peak(kind, side)
            for name, kind in (("float32", torch.float32), ("bfloat16", torch.bfloat16))}
    half = ("+ half", "+ compiled", "ours") if HALF else ()
    return {"base": base, "batch": batch, "shape": SHAPE, "precision": PRECISION,
            "prototypes": PROTOTYPES,
            "parameters": sum(p.numel() for p in built(base).parameters()), "rounds": rounds,
            "seconds": {name: timing.spread(own) for name, own in seconds.items()},
            "times_faster": timing.ratios(seconds, "as published"),
            "step_flops": work, "peak_flop_per_second": best,
            "achieved": {name: work / min(own) / best["bfloat16" if name in half else "float32"]
                         for name, own in seconds.items()}}


def main() -> None:
    """Time and compare, write benchmarks/results/train.json and print one line."""
    given = timing.arguments(__doc__, "train", base=64, batch=128, rounds=3, curve=300)
    found = load_json(given.out) if given.out.is_file() else {}
    about = provenance() | WHERE
    with TemporaryDirectory() as folder:
        if given.rounds:
            found["times"] = times(given.base, given.batch, given.rounds,
                                   Path(folder, "times")) | {"record": about}
        if given.curve:
            found["curves"] = curves(given.base, 128 if CUDA else 16, given.curve,
                                     Path(folder, "curves")) | {"record": about}
    save_json(given.out, found)
    for name, ratio in found.get("times", {}).get("times_faster", {}).items():
        print(f"{name:20} {ratio['median']:.2f} times ({ratio['min']:.2f} to {ratio['max']:.2f})")
    print(f"written to {given.out.name}")


if __name__ == "__main__":
    main()

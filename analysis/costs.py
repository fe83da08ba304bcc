"""Stage "costs": what a method costs beside the same denoiser without its code (measures.md B11).

Parameters, FLOPs, seconds and memory of the cell's configuration with random weights: no data and
no checkpoint is read. The denoiser without condition is baselines.ddpm with the same options,
measured in the same run.

- A FLOP is one multiplication or one addition: a multiply-add counts 2. Counted are matrix
  products, convolutions, attention and distances to prototypes, not elementwise operations.
- training: forward and backward of the loss, without the optimiser's update, in the cell's
  precision; sampling: one step of decode, the code at hand; encoding: the code of an image;
  with_encoding: the first step of decoding an image whose code has to be made.
- seconds: median of interleaved rounds; memory: peak above what lay on the GPU before (weights).

costs.json: what was measured on what, and costs: {name: {unit, value, unconditional, ratio}}, null
where there is none; `reasons` says why.
"""

import math
import statistics
import time
from collections.abc import Callable
from functools import cached_property

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from baselines import ddpm
from patronus import checkpoint
from patronus.config import Cell, options
from patronus.files import save_json
from patronus.method import Method
from patronus.seeds import seed_for
from patronus.stage import Job, device, run
from patronus.train import fabric_for
from patronus.unet import UNet

NEEDS = {"training": "loss", "sampling": "decode", "encoding": "encode"}  # action -> ability
REPEATS = 5  # timed rounds over all actions, after one that warms up
UNITS = {"parameters": "parameters", "flops": "FLOPs per image", "seconds": "seconds per image",
         "memory": "MiB for a batch"}
NO_PEAK = "peak memory is measured on a GPU: a CPU's allocator keeps no peak"
OTHER = "the method does not have this suite's denoiser, so there is none without condition"


class Bench:
    """A method with random weights, and what is asked of it for a batch of `size` images."""

    def __init__(self, model: Method, size: int, precision: str, gpus: int = 0):
        self.model, place = model, model.device
        self.fabric = fabric_for(precision, gpus)
        self.x = torch.rand(size, *model.shape, device=place) * 2 - 1
        self.code = torch.rand(size, model.code_dim, device=place) if model.code_dim else None

    def training(self) -> None:
        self.model.train()
        with self.fabric.autocast():
            loss = self.model.loss(self.x)["loss"]
        loss.backward()

    @torch.no_grad()
    def sampling(self) -> None:
        self.model.eval().decode(self.x, self.code, 1)

    @cached_property
    @torch.no_grad()
    def steps(self) -> int:
        """Steps that `sampling` takes: one, unless the method has a number of its own."""
        seen: list[int] = []
        self.model.eval().decode(self.x[:1], None if self.code is None else self.code[:1], 1,
                                 lambda t, _: seen.append(t))
        return len(seen)

    @torch.no_grad()
    def encoding(self) -> None:
        self.model.eval().encode(self.x)

    def actions(self) -> dict[str, Callable[[], None]]:
        """What this method can do, by name."""
        return {name: getattr(self, name) for name, ability in NEEDS.items()
                if self.model.able(ability)}

    def reasons(self) -> dict[str, str]:
        """Why it cannot do the others, by name."""
        return {name: str(self.model.cannot(ability)) for name, ability in NEEDS.items()
                if not self.model.able(ability)}


def built(cell: Cell) -> dict[str, Method]:
    """The cell's model and, where its denoiser is this suite's, the same without condition."""
    model = checkpoint.build(cell.module, cell.shape, cell.code_dim, cell.model)
    found = {"value": model}
    if isinstance(getattr(model, "denoiser", None), UNet):
        shared = {key: cell.model[key] for key in options(ddpm.__name__).model_fields
                  if cell.model.get(key) is not None}
        found["unconditional"] = ddpm.Model(cell.shape, None, **shared)
    return found


def parameters(model: Method) -> dict[str, int]:
    """How many are trainable, how many of these are the denoiser's or the code's; frozen ones."""
    # without a code they are something else's: the discriminator's of a GAN
    code = {id(p) for p in model.code_parameters()} if model.code_dim else set()

    def count(keep: Callable[[nn.Parameter], bool]) -> int:
        return sum(p.numel() for p in model.parameters() if keep(p))

    return {"parameters": count(lambda p: p.requires_grad),
            "parameters_denoiser": count(lambda p: p.requires_grad and id(p) not in code),
            "parameters_code": count(lambda p: p.requires_grad and id(p) in code),
            "parameters_frozen": count(lambda p: not p.requires_grad)}


def distance_flops(vectors: tuple, patches: tuple, *_, out_shape: tuple, **__) -> int:
    """Of the squared distances that torch.cdist takes: subtract, square and add each entry."""
    return 3 * math.prod(out_shape) * vectors[-1]


def flops(action: Callable[[], object]) -> int:
    """FLOPs of an action, as torch counts the operations it runs."""
    counter = FlopCounterMode(
        display=False, custom_mapping={torch.ops.aten._cdist_forward: distance_flops})
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one fused operation, which is not counted
    try:
        with sdpa_kernel(SDPBackend.MATH), counter:
            action()
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return counter.get_total_flops()


def counts(bench: Bench, name: str) -> int:
    """How many of what is priced one action holds: steps of sampling, else one."""
    return bench.steps if name == "sampling" else 1


def counted(bench: Bench) -> dict[str, float]:
    """Parameters, and FLOPs per image."""
    found = parameters(bench.model)
    for name, action in bench.actions().items():
        bench.model.zero_grad(set_to_none=True)
        found[f"flops_{name}"] = flops(action) / len(bench.x) / counts(bench, name)
    if {"flops_encoding", "flops_sampling"} <= found.keys():
        found["flops_with_encoding"] = found["flops_encoding"] + found["flops_sampling"]
    return found


def measured(benches: dict[str, Bench]) -> dict[str, dict[str, float | None]]:
    """Median seconds an image, and on a GPU the peak MiB, of all actions, interleaved."""
    actions = [(kind, name, action) for kind, bench in benches.items()
               for name, action in bench.actions().items()]
    rounds = [{(kind, name): once(benches[kind], action) for kind, name, action in actions}
              for _ in range(1 + REPEATS)][1:]
    found: dict = {kind: {} for kind in benches}
    for kind, name, _ in actions:
        seconds, memory = zip(*(one[kind, name] for one in rounds), strict=True)
        bench = benches[kind]
        found[kind][f"seconds_{name}"] = (statistics.median(seconds) / len(bench.x)
                                          / counts(bench, name))
        found[kind][f"memory_{name}"] = memory[-1]
    return found


def once(bench: Bench, action: Callable[[], None]) -> tuple[float, float | None]:
    """Seconds, and the peak MiB above what lay on the GPU before (None on a CPU)."""
    bench.model.zero_grad(set_to_none=True)
    if not bench.x.is_cuda:
        start = time.perf_counter()
        action()
        return time.perf_counter() - start, None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before, start = torch.cuda.memory_allocated(), time.perf_counter()
    action()
    torch.cuda.synchronize()
    return (time.perf_counter() - start,
            (torch.cuda.max_memory_allocated() - before) / 2**20)


def beside(own: dict[str, float], other: dict[str, float]) -> dict[str, dict]:
    """{name: {unit, value, unconditional, ratio}}; what the other lacks is compared with nothing.

    The first step of decoding is set beside a sampling step, since the other has no code to make.
    """
    other = other | {"flops_with_encoding": other.get("flops_sampling")}
    return {name: {"unit": UNITS[name.split("_")[0]], "value": value,
                   "unconditional": other.get(name),
                   "ratio": value / other[name] if value and other.get(name) else None}
            for name, value in own.items()}


def work(job: Job) -> dict:
    """Parameters, FLOPs, seconds and memory, beside the same denoiser without condition."""
    cell, where = job.cell, device(job)
    torch.manual_seed(seed_for("costs", cell.dataset, cell.method))
    layout = torch.channels_last if where.type == "cuda" else torch.contiguous_format
    benches = {kind: Bench(model.to(where, memory_format=layout), cell.train.batch_size,
                           cell.train.precision, cell.gpus) for kind, model in built(cell).items()}
    found = {kind: counted(bench) for kind, bench in benches.items()}
    for kind, values in measured(benches).items():
        found[kind] |= values
    save_json(job.out / "costs.json", about(job, benches) | {
        "costs": beside(found["value"], found.get("unconditional", {}))})
    return {"precision": benches["value"].fabric._precision.precision}


def about(job: Job, benches: dict[str, Bench]) -> dict:
    """What was measured, on what, and why something is absent."""
    cell, bench = job.cell, benches["value"]
    cuda = bench.x.is_cuda
    reasons = bench.reasons() | ({} if cuda else {"memory": NO_PEAK}) \
        | ({} if "unconditional" in benches else {"unconditional": OTHER})
    return {"dataset": cell.dataset, "method": cell.method, "method_title": cell.title,
            "recipe": cell.recipe, "generated": cell.generated, "scale": cell.scale,
            "title": job.dataset.title, "shape": cell.shape, "code_dim": bench.model.code_dim,
            "batch_size": len(bench.x), "precision": str(bench.fabric._precision.precision),
            "repeats": REPEATS, "threads": torch.get_num_threads(),
            "device": torch.cuda.get_device_name() if cuda else "CPU",
            "reasons": reasons}


if __name__ == "__main__":
    run("costs", "analysis.costs", work, inputs=())

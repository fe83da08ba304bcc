"""Stage "checkpoints": one training loop for every method, and for the prior.

Everything random in step k is seeded by (names, k), so a killed run that goes on from its last
saved state ends with bit-identical weights on CPU: state is weights, average, optimiser, step.
"""

import math
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from patronus import checkpoint
from patronus.config import Train
from patronus.errors import Problem
from patronus.fabric import Fabric
from patronus.files import load_json, locked, save_text, whole
from patronus.method import Method, checked_loss, to_unit
from patronus.prepared import Prepared
from patronus.rows import random_rows
from patronus.seeds import seed_for
from patronus.stage import Job, device, run

PREPARE_IMAGES = 1024  # training images a method may look at before training
LOG_EVERY = 20  # steps between readings of the loss (each makes a GPU wait)


def work(job: Job) -> dict:
    """Train one method on one data set."""
    where, cell = device(job), job.cell
    names = ("train", cell.dataset, cell.method, cell.seed)
    data = Prepared.open(job.folder("data"))
    images = data.images("train")
    torch.manual_seed(seed_for(*names, "initial"))
    model = checkpoint.build(cell.module, cell.shape, cell.code_dim, cell.model)
    chosen = random_rows(len(images), PREPARE_IMAGES, *names, "prepare")
    before = adopt_base(model, job)
    model.to(where).prepare(torch.from_numpy(np.asarray(images[chosen])).to(where))
    if not model.able("loss"):
        checkpoint.save(job.out, model, checkpoint.config_of(cell))
        save_text(job.out / "history.csv", "step,loss\n")
        return {"steps": 0, "images_seen": before + len(chosen), "train_seconds": 0.0,
                "precision": "32-true"}
    fabric = fabric_for(cell.train.precision, cell.gpus)
    fabric.launch()  # one process a GPU; the others run this same function
    model, found = fit(fabric, model, images, cell.train, names, job.work, to_unit,
                       job.key, concepts_of(model, data))
    if not fabric.is_global_zero:
        sys.exit()  # one process writes the result and its record
    checkpoint.save(job.out, model, checkpoint.config_of(cell))
    save_text(job.out / "history.csv", found.pop("history"))
    found["images_seen"] += before
    return found


def adopt_base(model: Method, job: Job) -> int:
    """Hand over the trained model that it stands on, if any; how many images that one has seen."""
    if not job.base:
        if model.able("adopt"):
            raise Problem(f"config/methods/{job.cell.method}.yaml: the method stands on a trained "
                          "model and names none; write `base: ddpm` into it")
        return 0
    model.adopt(checkpoint.load(job.base))
    return load_json(job.base / "record.json")["found"]["images_seen"]


def concepts_of(model: Method, data: Prepared) -> np.ndarray | None:
    """Training labels (N, K) float32 of a supervised method, see Method.loss; else None."""
    if not model.concepts:
        return None
    table = data.labels("train")
    lacking = [name for name in model.concepts if name not in table]
    if lacking:
        raise Problem(f"{data.folder}/table.csv: has no label {lacking[0]}, which the method is to "
                      "be given; name its concepts in config/datasets, under `model:`")
    values = table[list(model.concepts)].to_numpy(dtype=np.float32)
    low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
    return 2 * (values - low) / np.maximum(high - low, 1e-6) - 1


def fabric_for(precision: str, gpus: int) -> Fabric:
    """Fabric on `gpus` GPUs, or on a CPU.

    There half precision means bfloat16, and float32 where the CPU has no bfloat16: without it a
    step was measured to take 15 times as long as in float32 (benchmarks/results/train.json).
    """
    if not gpus and precision != "32-true":
        has = torch.ops.mkldnn._is_mkldnn_bf16_supported()
        precision = "bf16-mixed" if has else "32-true"
    return Fabric(accelerator="cuda" if gpus else "cpu", devices=gpus or 1, precision=precision)


def fit(fabric: Fabric, model: nn.Module, array: np.ndarray, settings: Train, names: tuple,
        folder: Path, transform: Callable[[Tensor], Tensor], key: str,
        labels: np.ndarray | None = None) -> tuple[nn.Module, dict]:
    """Train `model` on rows of `array` (N, ...), resuming from `folder` when it can.

    `transform` turns a batch of rows into what model.loss takes; `labels` (N, K) are given to it
    beside them. `key` names what is trained: a state of another key is not resumed. Returns the
    result (averaged weights if there is an EMA) and what was found: steps, images_seen, seconds,
    the history as CSV.
    """
    size = min(settings.batch_size, len(array))
    if size % fabric.world_size:
        raise Problem(f"train.batch_size: {size} images cannot be shared by {fabric.world_size} "
                      "processes alike; choose a multiple")
    total = max(1, round(settings.epochs * len(array) / size))
    with locked(folder) if fabric.is_global_zero else nullcontext():
        state = State(fabric, model, settings, total, folder, key)
        rows = resident(fabric, array)
        bar = tqdm(range(state.step, total), initial=state.step, total=total, unit="step",
                   desc="/".join(map(str, names)), mininterval=5,
                   disable=not fabric.is_global_zero)
        for step in bar:
            index = batch_rows(len(array), size, step, names)[fabric.global_rank
                                                              ::fabric.world_size]
            torch.manual_seed(seed_for(*names, "step", step, fabric.global_rank))
            x = transform(rows[index].to(fabric.device, non_blocking=True))
            given = [] if labels is None else [torch.from_numpy(labels[index]).to(x.device)]
            losses = state.update(step, x, *given)
            if step % LOG_EVERY == 0 or step == total - 1:
                loss = state.log(step, losses)
                bar.set_postfix(loss=f"{loss:.4f}", images_per_s=f"{state.rate(step, size):.0f}")
                state.save_now_and_then()  # only what was just seen to be finite
        state.save()
        found = {"steps": total, "images_seen": total * size,
                 "train_seconds": round(state.seconds, 1), "precision": fabric_precision(fabric),
                 "clipped": "norm" if settings.clip else None,
                 "history": state.history_csv()}
        return state.result(), found


def batch_rows(count: int, size: int, step: int, names: tuple) -> Tensor:
    """Rows of the batch of `step`: a fresh permutation each epoch, its incomplete batch dropped."""
    epoch, place = divmod(step, count // size)
    return epoch_order(count, epoch, names)[place * size:(place + 1) * size]


@lru_cache(maxsize=1)
def epoch_order(count: int, epoch: int, names: tuple) -> Tensor:
    order = torch.Generator().manual_seed(seed_for(*names, "order", epoch))
    return torch.randperm(count, generator=order)


def resident(fabric: Fabric, array: np.ndarray) -> Tensor:
    """The rows as a tensor: on the GPU if they fill less than half of it, else in memory."""
    rows = torch.from_numpy(np.array(array) if array.nbytes < 2**32 else array)
    if fabric.device.type == "cuda" and array.nbytes < torch.cuda.mem_get_info()[0] / 2:
        return rows.to(fabric.device)
    return rows


class State:
    """What training changes: model, average, optimiser, step, history; saved as one file."""

    def __init__(self, fabric: Fabric, model: nn.Module, settings: Train, total: int,
                 folder: Path, key: str):
        self.fabric, self.settings, self.total, self.key = fabric, settings, total, key
        self.file = folder / "state.pt"
        self.step, self.seconds, self.history = 0, 0.0, []
        plain = model.to(fabric.device, memory_format=torch.channels_last)
        self.average = deepcopy(plain).requires_grad_(False) if settings.ema else None
        if settings.compile and hasattr(plain, "denoiser"):
            plain.denoiser.compile()  # in place: names of weights stay
        self.plain = plain
        self.model, self.optimiser = fabric.setup(plain, optimizer(plain, settings))
        self.model.mark_forward_method("loss")
        self.scaler = getattr(fabric._precision, "scaler", None)  # of 16-mixed on a GPU
        self._resume()
        self.clock = self.saved = time.monotonic()
        self.started_at = self.step
        self.model.train()

    def update(self, step: int, *x: Tensor) -> dict[str, Tensor]:
        factor = lr_factor(step, self.total, self.settings)
        for group in self.optimiser.param_groups:
            group["lr"] = group["base_lr"] * factor
        with self.fabric.autocast():  # Fabric turns to half by itself only under DDP
            losses = checked_loss(self.plain, self.model.loss(*x))
        self.optimiser.zero_grad(set_to_none=True)
        self.fabric.backward(losses["loss"])
        if self.settings.clip:
            self.fabric.clip_gradients(self.model, self.optimiser, max_norm=self.settings.clip,
                                       error_if_nonfinite=False)  # the loss tells, by name
        self.optimiser.step()
        self.step = step + 1
        if self.average is not None:
            self._blend()
        return losses

    def log(self, step: int, losses: dict[str, Tensor]) -> float:
        row = {"step": step} | {name: float(x.detach()) for name, x in losses.items()}
        if not math.isfinite(row["loss"]):
            raise Problem(f"{self.file.parent}: the loss became {row['loss']} at step {step}; "
                          "lower train.lr or set train.clip and run again")
        self.history.append(row)
        return row["loss"]

    def rate(self, step: int, size: int) -> float:
        """Images a second since this process started."""
        return (step + 1 - self.started_at) * size / (time.monotonic() - self.clock)

    def save_now_and_then(self) -> None:
        if time.monotonic() - self.saved > self.settings.save_seconds:
            self.save()

    def save(self) -> None:
        now = time.monotonic()
        self.seconds += now - self.saved
        self.saved = now
        if self.fabric.is_global_zero:
            with whole(self.file) as part:
                try:
                    torch.save(self._content(), part)
                except RuntimeError as error:  # how it reports a full disk
                    raise OSError(str(error).partition("\n")[0]) from error

    def result(self) -> nn.Module:
        return self.model.module if self.average is None else self.average

    def history_csv(self) -> str:
        lines = [",".join(self.history[0])]
        lines += [",".join(repr(value) for value in row.values()) for row in self.history]
        return "\n".join(lines) + "\n"

    @torch.no_grad()
    def _blend(self) -> None:
        """EMA whose memory grows with the run, so that its start is forgotten.

        torch's AveragedModel would read a counter from the device, and so wait for it, every step.
        """
        decay = min(self.settings.ema, (1 + self.step) / (10 + self.step)) if self.step > 1 else 0
        model = self.model.module
        torch._foreach_lerp_(list(self.average.parameters()), list(model.parameters()), 1 - decay)
        if buffers := list(self.average.buffers()):
            torch._foreach_copy_(buffers, list(model.buffers()))

    def _content(self) -> dict:
        return {"key": self.key, "step": self.step, "seconds": self.seconds,
                "history": self.history, "model": self.model.module.state_dict(),
                "average": self.average.state_dict() if self.average is not None else None,
                "optimiser": self.optimiser.state_dict(),
                "scaler": self.scaler.state_dict() if self.scaler else None}

    def _resume(self) -> None:
        if not self.file.is_file():
            return
        try:
            saved = torch.load(self.file, map_location=self.fabric.device, weights_only=True)
        except Exception as error:
            what = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
            raise Problem(f"{self.file}: cannot be read ({what}); delete it and train "
                          "again") from error
        if saved["key"] != self.key:
            tqdm.write(f"{self.file}: belongs to other settings, data or sources; starting afresh")
            return
        self.step, self.seconds = saved["step"], saved["seconds"]
        self.history = saved["history"]
        self.model.module.load_state_dict(saved["model"])
        self.optimiser.load_state_dict(saved["optimiser"])
        if self.scaler:
            self.scaler.load_state_dict(saved["scaler"])
        if self.average is not None:
            self.average.load_state_dict(saved["average"])


def optimizer(model: nn.Module, settings: Train) -> torch.optim.Optimizer:
    """AdamW over the trainable parameters, the code's at lr * code_lr_scale."""
    own = getattr(model, "code_parameters", lambda: iter(()))
    code = {id(p) for p in own()}
    split: dict[bool, list] = {False: [], True: []}
    for p in model.parameters():
        if p.requires_grad:
            split[id(p) in code].append(p)
    groups = [{"params": params, "base_lr": settings.lr * (settings.code_lr_scale if is_code
                                                           else 1)}
              for is_code, params in split.items() if params]
    return torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas,
                             weight_decay=settings.weight_decay,
                             fused=settings.precision != "16-mixed")  # else no clipping


def lr_factor(step: int, total: int, settings: Train) -> float:
    """Linear warm-up, then constant or cosine to zero."""
    warmup = min(1.0, (step + 1) / settings.warmup_steps) if settings.warmup_steps else 1.0
    if settings.schedule == "constant":
        return warmup
    return warmup * 0.5 * (1 + math.cos(math.pi * step / total))


def fabric_precision(fabric: Fabric) -> str:
    return str(fabric._precision.precision)


if __name__ == "__main__":
    run("checkpoints", "patronus.train", work, inputs=("data",),
        beside=lambda job: [job.base] if job.base else [])

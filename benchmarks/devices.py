"""Growth with the devices: a training step shared by one, two, ... of them.

    python -m benchmarks.devices                 as many GPUs as there are, else two CPU processes
    python -m benchmarks.devices --devices 8

Trains the same model on the same batches (`--batch` images in all, whatever the number of devices)
by patronus.train, and reads the seconds a step on the clock: what waits for other processes counts.
Each CPU process has one thread. A machine that is busy with other work falsifies this benchmark.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from benchmarks import timing
from benchmarks.train import PRECISION, SHAPE, SMALL, pictures
from patronus.config import Train
from patronus.fabric import Fabric
from patronus.method import to_unit
from patronus.model import Model
from patronus.sources import ROOT
from patronus.train import State

KIND = "cuda" if torch.cuda.is_available() else "cpu"
WARM = 3  # steps before the clock


def train(devices: int, base: int, batch: int, steps: int, out: Path) -> None:
    """`steps` steps on `devices` devices; the first process writes the seconds of each."""
    torch.set_num_threads(1)
    fabric = Fabric(accelerator=KIND, devices=devices,
                    precision=PRECISION if KIND == "cuda" else "32-true")
    fabric.launch()
    torch.manual_seed(0)
    model = Model(SHAPE, 100, base=base, **(SMALL if base < 64 else {}))
    state = State(fabric, model, Train(batch_size=batch, lr=1e-4), steps, out.parent / "work", "")
    images = torch.from_numpy(pictures()).to(fabric.device)
    seconds = []
    for step in range(WARM + steps):
        mine = torch.arange(fabric.global_rank, batch, devices) % len(images)
        start = time.perf_counter()
        float(state.update(step, to_unit(images[mine.to(fabric.device)]))["loss"].detach())
        fabric.barrier()
        seconds.append(time.perf_counter() - start)
    if fabric.is_global_zero:
        out.write_text(json.dumps(seconds[WARM:]))


def counts(most: int) -> list[int]:
    """1, 2, 4, ... and the most."""
    return sorted({2**k for k in range(most.bit_length()) if 2**k <= most} | {most})


def scaling(seconds: dict[int, list[float]]) -> dict:
    """By number of devices: seconds a step, times faster than one (of medians), and per device."""
    alone = float(np.median(seconds[1]))
    return {str(count): {"seconds": timing.spread(own), "times_faster": alone / np.median(own),
                         "efficiency": alone / np.median(own) / count}
            for count, own in seconds.items()}


def main() -> None:
    """Train on every number of devices, write benchmarks/results/devices.json, print one line."""
    most = torch.cuda.device_count() if KIND == "cuda" else 2
    parser = timing.parser(__doc__, "devices", devices=most, base=64, batch=32, steps=8)
    parser.add_argument("--worker", type=int, help="for its own processes")
    given = parser.parse_args()
    if given.worker:
        train(given.worker, given.base, given.batch, given.steps, given.out)
        return
    seconds = {}
    with TemporaryDirectory() as folder:
        for count in counts(given.devices):
            out = Path(folder, str(count), "seconds.json")
            out.parent.mkdir()
            subprocess.run([sys.executable, "-m", "benchmarks.devices", "--worker", str(count),
                            "--base", str(given.base), "--batch", str(given.batch), "--steps",
                            str(given.steps), "--out", str(out)], check=True, cwd=ROOT,
                           env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True)
            seconds[count] = json.loads(out.read_text())
    found = scaling(seconds)
    timing.save(given.out, {"kind": KIND, "base": given.base, "batch": given.batch,
                            "steps": given.steps, "devices": found})
    print(", ".join(f"{count}: {one['times_faster']:.2f} times as fast"
                    for count, one in found.items()) + f"; written to {given.out.name}")


if __name__ == "__main__":
    main()

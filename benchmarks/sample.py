"""Sampling: what a step costs, how many are needed, and what cheaper ones lose.

    python -m benchmarks.sample --results results/real --dataset fashion_mnist

Asks a trained Patronus (its `data`, `checkpoints` and `references` folders) for images from the
codes of random test images and fixed noise. All solvers here follow one deterministic path, so an
image by few steps is compared with the same one by 1000 steps of DDIM (root mean square, levels of
0 to 255), and all of them with the test images (FD-cls, the Frechet distance in the features of the
set's own classifier). Good enough is a way whose distance is within 2 % of that of 1000 steps, 95 %
interval over images (by the jackknife) and all. Seconds are of processor time on a CPU. What is
done is kept in work/benchmarks: a run that was stopped goes on.
"""

import hashlib
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import torch

from analysis import intervals
from analysis.features import classifier_extractor
from analysis.frechet import between, moments
from analysis.references import load_classifier
from benchmarks import timing
from benchmarks.train import CLOCK, CUDA, DEVICE, WHERE, synchronised
from patronus import checkpoint
from patronus.config import Sample
from patronus.files import load_json, save_npy
from patronus.method import Method, batch_of, to_uint8
from patronus.noise import batches, noise
from patronus.prepared import Prepared
from patronus.rows import random_rows
from patronus.sample import drawing

REFERENCE = "ddim-1000"
STEPS = {"ddim": (10, 20, 50, 100, 250, 1000), "dpm": (5, 10, 20, 50)}
WAYS = {f"{solver}-{n}": Sample(solver=solver, steps=n) for solver, some in STEPS.items()
        for n in some} | {
    f"{solver}-{n}-reuse{k}": Sample(solver=solver, steps=n, reuse=k)
    for solver, n in (("ddim", 50), ("dpm", 20)) for k in (2, 3, 5)} | {
    "ddim-50-int8": Sample(solver="ddim", steps=50, int8=True),
    "dpm-20-half": Sample(solver="dpm", steps=20, half=True)}
BATCH, NEAR, TESTS = 16, 1.02, 5000
OVER = "images (jackknife)"  # what the intervals are over


class Asked:
    """One trained model, the noise and the codes it is asked with."""

    def __init__(self, results: Path, dataset: str, method: str, seed: int, count: int):
        cell = Path(dataset, method, f"seed{seed}")
        self.folder = results / "checkpoints" / cell
        self.model = checkpoint.load(self.folder, DEVICE)
        self.data = Prepared.open(results / "data" / dataset)
        self.features_of = classifier_extractor(load_classifier(results / "references" / dataset))
        self.tests = self.data.images("test")
        self.rows = random_rows(len(self.tests), count, "benchmark", "rows", dataset)
        self.count = len(self.rows)

    @torch.inference_mode()
    def images(self, how: Sample, kept: Path) -> tuple[np.ndarray, float]:
        """uint8 (count, C, H, W) and the seconds they took."""
        if not kept.is_file():
            model, options = drawing(self.model, how)
            start, found = CLOCK(), []
            for rows in batches(self.count, 32):
                x_T = noise(rows, model.shape, "benchmark", "sample").to(DEVICE)
                code = model.encode(batch_of(self.tests, self.rows[rows.start:rows.stop], DEVICE))
                found.append(to_uint8(model.decode(x_T, code, how.steps, **options)).cpu().numpy())
            save_npy(kept.with_suffix(".seconds.npy"), np.array(CLOCK() - start))
            save_npy(kept, np.concatenate(found))
        return np.load(kept), float(np.load(kept.with_suffix(".seconds.npy")))


def distances(features: np.ndarray, tests: tuple) -> np.ndarray:
    """Frechet distances (1 + n,): of all n images, and of all but one."""
    return np.array([between(*moments(some), *tests) for some in (
        features, *(np.delete(features, i, axis=0) for i in range(len(features))))])


def quality(asked: Asked, kept: Path) -> dict[str, dict]:
    """Of every way: seconds an image, distance to the reference's images and to the test images."""
    weights = (asked.folder / "model.safetensors").read_bytes()
    digest = hashlib.sha256(weights + asked.rows.tobytes()).hexdigest()[:12]
    drawn = {}
    for name, how in sorted(WAYS.items(), key=lambda item: item[1].steps):
        drawn[name] = asked.images(how, kept / f"{digest}-{asked.count}-{name}.npy")
        print(f"{name}: {drawn[name][1]:.0f} s", flush=True)
    compared = random_rows(len(asked.tests), TESTS, "benchmark", "tests")
    tests = moments(asked.features_of(np.array(asked.tests[compared])))
    whole = drawn[REFERENCE][0].astype(float)
    far = {name: distances(asked.features_of(images), tests) for name, (images, _) in drawn.items()}
    return {name: {
        "steps": WAYS[name].steps, "solver": WAYS[name].solver, "reuse": WAYS[name].reuse,
        "int8": WAYS[name].int8, "half": WAYS[name].half,
        "seconds_per_image": seconds / asked.count,
        "times_faster": drawn[REFERENCE][1] / seconds,
        "rms_to_reference": float(np.sqrt(((images - whole) ** 2).mean())),
        "fd_cls": float(far[name][0]),
        "fd_cls_over_reference": interval(far[name] / far[REFERENCE]),
    } for name, (images, seconds) in drawn.items()}


def interval(values: np.ndarray) -> dict[str, float]:
    """Of a value and those without one image (1 + n,): the value and its 95 % interval."""
    whole, without = values[0], values[1:]
    n = len(without)
    found = intervals.combined(whole, n * whole - (n - 1) * without)
    return {key: float(part) for key, part in found._asdict().items()}


def steps(model: Method, options: dict, rounds: int) -> dict:
    """Seconds of one step of BATCH images: as published, then one change after the other.

    `options` are the sizes of its network; only shape and kind are taken of `model`.
    """
    x = torch.rand(BATCH, *model.shape, device=DEVICE)
    t, code = torch.full((BATCH,), 500, device=DEVICE), torch.rand(BATCH, model.code_dim,
                                                                  device=DEVICE)

    def one(network: Method, mode: Callable, half: bool) -> None:
        with mode(), torch.autocast(DEVICE.type, torch.bfloat16) if half else nullcontext():
            network.eps(x, t, code)

    def copy(layout: torch.memory_format, **compiled: str) -> Method:
        other = checkpoint.build(type(model).__module__, model.shape, model.code_dim, options)
        other.to(DEVICE, memory_format=layout).eval()
        if compiled:
            other.denoiser.compile(**compiled)
        return other

    plain, last = copy(torch.contiguous_format), copy(torch.channels_last)
    ways = {"as published": partial(one, plain, torch.no_grad, False),
            "+ inference mode": partial(one, plain, torch.inference_mode, False),
            "+ channels_last": partial(one, last, torch.inference_mode, False),
            "+ half": partial(one, last, torch.inference_mode, True)}
    if CUDA:
        ways |= {"+ compiled": partial(one, copy(torch.channels_last, mode="default"),
                                       torch.inference_mode, True),
                 "+ graphs": partial(one, copy(torch.channels_last, mode="reduce-overhead"),
                                     torch.inference_mode, True)}
    seconds = timing.timed({name: partial(synchronised, way) for name, way in ways.items()},
                           rounds, CLOCK)
    return {"batch": BATCH, "seconds": {name: timing.spread(own) for name, own in seconds.items()},
            "times_faster": timing.ratios(seconds, "as published")}


def chosen(found: dict[str, dict]) -> str:
    """The fastest way of which even the interval is at most 2 % above the reference."""
    good = [name for name, one in found.items() if one["fd_cls_over_reference"]["high"] <= NEAR]
    return min(good, key=lambda name: found[name]["seconds_per_image"])


def main() -> None:
    """Draw, compare, write benchmarks/results/sample.json and print one line."""
    parser = timing.parser(__doc__, "sample", count=128, rounds=7, seed=0)
    parser.add_argument("--results", type=Path, default=Path("results/real"))
    parser.add_argument("--dataset", default="fashion_mnist")
    parser.add_argument("--method", default="patronus_modern")
    given = parser.parse_args()
    asked = Asked(given.results, given.dataset, given.method, given.seed, given.count)
    found = quality(asked, Path("work/benchmarks/sample"))
    best = chosen(found)
    record = load_json(asked.folder / "record.json")
    timing.save(given.out, WHERE | {
        "dataset": given.dataset, "title": asked.data.meta["title"], "method": given.method,
        "scale": given.results.name,
        "generated": asked.data.meta["generated"], "seed": given.seed, "count": given.count,
        "images_seen": record["found"]["images_seen"], "tests": min(TESTS, len(asked.tests)),
        "step": steps(
            asked.model, load_json(asked.folder / "config.json")["model"], given.rounds),
        "published_step": steps(asked.model, {}, given.rounds),
        "over": OVER, "ways": found, "chosen": best})
    ratio = found[best]["fd_cls_over_reference"]["value"]
    print(f"{best}: {found[best]['times_faster']:.0f} times faster than {REFERENCE}, FD-cls "
          f"{ratio:.3f} of its; written to {given.out.name}")


if __name__ == "__main__":
    main()

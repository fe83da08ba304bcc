"""What the full study would take on large GPUs: an estimate from operations, not a measurement.

    python -m benchmarks.study

For every cell of the scale `paper`: the FLOPs that torch counts in one training step and in one
denoising step (analysis.costs) of the method on its smallest data set, scaled by the number of
pixels, times the images that config/ says pass through (patronus.resources), over the peak that a
GPU's maker states for dense bfloat16, times a utilisation. Both utilisations shown are assumptions.
Left out: preparation, priors, classifiers and measures, which are small networks or run on CPUs,
and every wait for disk or CPU.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from math import fsum

import torch

from analysis.costs import Bench, flops
from benchmarks import timing
from patronus import checkpoint
from patronus.config import Cell, Study, load_study
from patronus.files import save_text
from patronus.resources import passes, training_images

PEAKS = {"H200": 989e12, "A100": 312e12}  # FLOP/s, dense bfloat16, of the SXM cards' data sheets
UTILISATIONS = (0.25, 0.40)
GPUS = 8
STAGES = {"samples": "sample", "explanations": "explain", "interventions": "intervene",
          "denoising": None}  # stages that denoise, and the settings that hold their steps
ASKED = 2  # steps of the decoding that is counted
NEED_A_CODE = ("explanations", "interventions")


@dataclass(frozen=True)
class Cost:
    """FLOPs of one pixel, and the steps of the sampler: None when it takes as many as asked."""

    training: float
    step: float
    steps: int | None
    code: bool


def cost(cell: Cell) -> Cost:
    """What torch counts of the cell's model with random weights."""
    bench = Bench(checkpoint.build(cell.module, cell.shape, cell.code_dim, cell.model), 2,
                  "32-true")
    model = bench.model
    trained = flops(bench.training) / len(bench.x) if model.able("loss") else 0
    decoded, taken = decoding(bench, ASKED) if model.able("decode") else (0, 1)
    return Cost(training=trained / pixels(cell), step=decoded / taken / pixels(cell),
                steps=None if taken == ASKED else taken,
                code=model.able("encode") and model.able("decode"))


def pixels(cell: Cell) -> int:
    return cell.shape[1] * cell.shape[2]


@torch.no_grad()
def decoding(bench: Bench, asked: int) -> tuple[int, int]:
    """FLOPs of decoding an image, and how many steps that took instead of those asked for."""
    seen: list[int] = []
    code = None if bench.code is None else bench.code[:1]
    bench.model.eval()
    found = flops(lambda: bench.model.decode(bench.x[:1], code, asked,
                                             lambda t, _: seen.append(t)))
    return found, len(seen)


def work(cell: Cell, study: Study, price: Cost) -> dict[str, float]:
    """FLOPs of a cell: of training it, and of all that is then denoised with it."""
    def denoised(stage: str, section: str | None) -> float:
        if stage in NEED_A_CODE and not price.code:
            return 0.0
        forwards = 3 * passes(stage, cell, study)  # which counts a forward as a third of a step
        asked = getattr(cell, section).steps if section else price.steps
        return price.step * pixels(cell) * forwards * (price.steps / asked if price.steps else 1)

    trained = price.training * pixels(cell) * cell.train.epochs * training_images(cell, study)
    return {"training": trained, "denoising": fsum(denoised(*one) for one in STAGES.items())}


def hours(operations: float, peak: float, utilisation: float, gpus: int = 1) -> float:
    return operations / (peak * utilisation * gpus) / 3600


def prices(study: Study) -> dict[str, Cost]:
    """Of each method, counted on its smallest images: nearly all of it is convolution."""
    small = sorted(study.cells.values(), key=pixels, reverse=True)
    return {method: cost(cell) for method, cell in {one.method: one for one in small}.items()}


def rows(study: Study, found: dict[str, Cost]) -> list[dict]:
    """One for each data set and method: FLOPs of one seed, and hours on one GPU."""
    one_seed = {key[:2]: cell for key, cell in study.cells.items() if key[2] == study.seeds[0]}
    made = []
    for (dataset, method), cell in one_seed.items():
        total = work(cell, study, found[method])
        made.append({"dataset": dataset, "method": method,
                     "images_seen": cell.train.epochs * training_images(cell, study)
                     * bool(total["training"]),
                     "seeds": sum(key[:2] == (dataset, method) for key in study.cells),
                     **{f"{part}_flops": value for part, value in total.items()},
                     "hours": {f"{gpu} at {share:.0%}": hours(sum(total.values()), peak, share)
                               for gpu, peak in PEAKS.items() for share in UTILISATIONS}})
    return made


def sums(made: Iterable[dict]) -> dict[str, dict[str, float]]:
    """EFLOPs of each data set with all its methods and seeds, and of the study."""
    total: dict[str, dict[str, float]] = defaultdict(lambda: {"training": 0.0, "denoising": 0.0})
    for one in made:
        for name in (one["dataset"], "all"):
            for part in ("training", "denoising"):
                total[name][part] += one[f"{part}_flops"] * one["seeds"] / 1e18
    total["all"] = total.pop("all")  # last
    return dict(total)


def shown(value: float) -> str:
    """Two digits, since no more are meant."""
    if value < 0.05:
        return "<0.1" if value else "0"
    return f"{value:.1f}" if value < 9.5 else f"{float(f'{value:.2g}'):,.0f}"


def interval(operations: float, peak: float, gpus: int = 1) -> str:
    """Hours at the highest and at the lowest utilisation."""
    ends = [shown(hours(operations, peak, share, gpus))
            for share in sorted(UTILISATIONS, reverse=True)]
    return " to ".join(dict.fromkeys(ends))


def tables(made: list[dict], seeds: int) -> str:
    """The page: the whole study by data set and machine, then one seed of each method."""
    first = ["| data set | training, EFLOP | denoising, EFLOP | one H200 | one A100 | "
             f"{GPUS} H200 | {GPUS} A100 |", "|---|---|---|---|---|---|---|"]
    for name, total in sums(made).items():
        operations = sum(total.values()) * 1e18
        cells = [interval(operations, peak, gpus) for gpus in (1, GPUS) for peak in PEAKS.values()]
        first.append(f"| {name} | {shown(total['training'])} | {shown(total['denoising'])} | "
                     + " | ".join(cells) + " |")
    second = ["| data set | method | images seen | training | all | all, one A100 |",
              "|---|---|---|---|---|---|"]
    for _, group in groupby(made, key=lambda one: one["dataset"]):
        for one in sorted(group, key=lambda one: -one["hours"]["H200 at 25%"]):
            total = one["training_flops"] + one["denoising_flops"]
            cells = [interval(one["training_flops"], PEAKS["H200"]),
                     interval(total, PEAKS["H200"]), interval(total, PEAKS["A100"])]
            second.append(f"| {one['dataset']} | {one['method']} | {one['images_seen'] / 1e6:.3g} M"
                          f" | " + " | ".join(cells) + " |")
    return PAGE.format(shares=" to ".join(f"{u:.0%}" for u in sorted(UTILISATIONS, reverse=True)),
                       peaks=" and ".join(f"{p / 1e12:.0f} ({g})" for g, p in PEAKS.items()),
                       seeds=seeds, first="\n".join(first), second="\n".join(second))


PAGE = """# The full study on large GPUs: an ESTIMATE

Made by `python -m benchmarks.study`; nothing here was measured on a GPU. FLOPs of one training step
and of one denoising step as torch counts them on each method's smallest images (a multiply-add is
2), scaled by the number of pixels, times the images that `config/` sends through at the scale
`paper`, over a peak of {peaks} TFLOP/s (dense bfloat16, as the maker states), times a utilisation
of {shares}: an assumption, since images of 32 pixels use a large GPU badly. The first hour of a
pair is at the higher one. Denoising is sampling, explaining, intervening and the held-out errors.
Left out: preparation, priors, classifiers, measures, waits. Jobs are independent, so {{gpus}} GPUs
are taken to be {{gpus}} times as fast. A method that stands on a trained DDPM trains nothing, or
little, itself.

## All methods, {seeds} seeds: hours

{first}

## One seed of each: hours on one H200

{second}
""".replace("{{gpus}}", str(GPUS))


def main() -> None:
    """Estimate, write benchmarks/results/study.json and .md and print one line."""
    given = timing.arguments(__doc__, "study")
    study = load_study("paper")
    made = rows(study, prices(study))
    timing.save(given.out, {"estimate": True, "peaks": PEAKS, "utilisations": UTILISATIONS,
                            "cells": made, "eflops": sums(made)})
    save_text(given.out.with_suffix(".md"), tables(made, len(study.seeds)))
    operations = sum(sums(made)["all"].values()) * 1e18
    print(f"estimate of the full study, {len(made)} cells x {len(study.seeds)} seeds: "
          f"{operations / 1e18:,.0f} EFLOP, hours on one H200 "
          f"{interval(operations, PEAKS['H200'])}, on one A100 "
          f"{interval(operations, PEAKS['A100'])}, on {GPUS} H200 "
          f"{interval(operations, PEAKS['H200'], GPUS)}")


if __name__ == "__main__":
    main()

"""Growth: time and memory against the number of images, the resolution and the prototypes.

    python -m benchmarks.growth

One quantity is varied while the others stay at 8 images of 64 x 64 pixels and 30 prototypes; a
small Patronus (base width 8) and its prototype layer alone, forward (without gradients) and one
training step (forward and backward). Seconds are processor time. Memory is the largest sum of
tensors alive at once, above what lay there before: counted, hence the same in every run, but
without the workspace that an operation uses inside. Through each series goes a power law,
cost = a x^slope, by least squares of the logarithms, with the 95 % t interval of the slope: over
few points, and wide where a fixed cost bends the curve.
"""

import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from scipy import stats
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks import timing
from paper import style
from patronus.model import Model

AXES = {"images": (4, 8, 16, 32, 64), "resolution": (32, 64, 128, 224),
        "prototypes": (30, 60, 120, 250, 500, 1000)}
HELD = {"images": 8, "resolution": 64, "prototypes": 30}
SMALL = {"base": 8, "multipliers": (1, 1, 2, 2, 2), "encoder_channels": (8, 16, 16, 32)}
LABELS = {"images": "images in a batch", "resolution": "pixels along a side",
          "prototypes": "prototypes m"}
UNITS = {"seconds": "processor seconds", "mebibytes": "peak memory, MiB"}


class Alive(TorchDispatchMode):
    """Bytes of the tensors made meanwhile: those alive now and the most there were at once."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        for one in tree_leaves((args, kwargs)):
            self._see(one, counted=False)  # it was there before, or is known already
        made = func(*args, **kwargs or {})
        for one in tree_leaves(made):
            self._see(one, counted=True)
        self.peak = max(self.peak, self.now)
        return made

    def _see(self, one: object, counted: bool) -> None:
        if not isinstance(one, Tensor) or one.untyped_storage()._cdata in self.known:
            return
        storage = one.untyped_storage()
        size = storage.nbytes() if counted else 0
        self.known.add(storage._cdata)
        self.now += size
        weakref.finalize(storage, self._gone, storage._cdata, size)

    def _gone(self, name: int, size: int) -> None:
        self.known.discard(name)
        self.now -= size


def actions(images: int, resolution: int, prototypes: int) -> dict[str, Callable[[], None]]:
    """What is priced, at one point."""
    torch.manual_seed(0)
    model = Model((1, resolution, resolution), prototypes, **SMALL)
    x = torch.rand(images, 1, resolution, resolution) * 2 - 1

    def layer() -> Tensor:
        return model.prototypes(x).sum()

    def whole() -> Tensor:
        return model.loss(x)["loss"]

    def forward(cost: Callable[[], Tensor]) -> None:
        with torch.no_grad():
            cost()

    def step(cost: Callable[[], Tensor]) -> None:
        model.zero_grad(set_to_none=True)
        cost().backward()

    return {"layer, forward": lambda: forward(layer), "layer, step": lambda: step(layer),
            "model, forward": lambda: forward(whole), "model, step": lambda: step(whole)}


def mebibytes(action: Callable[[], None]) -> float:
    """Peak memory of an action."""
    with Alive() as seen:
        action()
    return seen.peak / 2**20


def power(x: Sequence[float], y: Sequence[float], level: float = 0.95) -> dict[str, float]:
    """Slope of log y over log x with its t interval, and the factor a of y = a x^slope."""
    fit = stats.linregress(np.log(x), np.log(y))
    half = stats.t.ppf((1 + level) / 2, len(x) - 2) * fit.stderr
    return {"slope": float(fit.slope), "low": float(fit.slope - half),
            "high": float(fit.slope + half), "factor": float(np.exp(fit.intercept))}


def series(axis: str, repeats: int) -> dict:
    """Seconds and memory of every action along an axis, and the power law through each."""
    points = [actions(**HELD | {axis: value}) for value in AXES[axis]]
    found: dict = {"at": AXES[axis], "seconds": {}, "mebibytes": {}}
    for name in points[0]:
        times = timing.timed({str(value): point[name] for value, point in
                              zip(AXES[axis], points, strict=True)}, repeats)
        costs = {"seconds": [timing.spread(one) for one in times.values()],
                 "mebibytes": [mebibytes(point[name]) for point in points]}
        for kind, values in costs.items():
            middle = [one["median"] if kind == "seconds" else one for one in values]
            found[kind][name] = {"values": values, "power": power(AXES[axis], middle)}
    return found


def draw(found: dict[str, dict], about: str) -> Figure:
    """Seconds above, memory below, one column for each axis; the slopes stand in the legends."""
    style.use()
    fig, axes = plt.subplots(len(UNITS), len(found), figsize=(style.TEXT, 4.1), sharex="col",
                             sharey="row")
    for column, (axis, one) in zip(axes.T, found.items(), strict=True):
        for ax, (kind, unit) in zip(column, UNITS.items(), strict=True):
            panel(ax, one["at"], one[kind], kind)
            ax.set_ylabel(unit if axis == next(iter(found)) else "")
        column[-1].set_xlabel(LABELS[axis])
    for row in axes:
        low, high = row[0].get_ylim()
        row[0].set_ylim(low, high * 60)  # room for the legends
    style.sign(fig, about)
    return fig


def panel(ax: plt.Axes, at: Sequence[int], costs: dict[str, dict], kind: str) -> None:
    """One series a line, in log-log axes."""
    for number, (name, one) in enumerate(costs.items()):
        middle = [value["median"] if kind == "seconds" else value for value in one["values"]]
        ax.loglog(at, middle, marker="o", markersize=2.5, color=style.PALETTE[number // 2 * 3],
                  linestyle="-" if "step" in name else ":",
                  label=f"{name}: {written(one['power'])}")
    ax.set_xticks(at, [str(value) for value in at])
    ax.minorticks_off()
    ax.legend(frameon=False, fontsize=5.5, loc="upper left", handlelength=1.6, borderpad=0)
    style.plain(ax)


def written(law: dict[str, float]) -> str:
    """The slope with its interval; a zero has no sign."""
    slope, low, high = (f"{round(law[key], 2) + 0:.2f}" for key in ("slope", "low", "high"))
    return f"{slope} [{low}, {high}]"


def save(found: dict, repeats: int, path: Path) -> None:
    """Draw what was found; beside the JSON, with the same name."""
    fig = draw(found, "a Patronus of base width 8 with random weights on random images, one CPU "
               "thread; the others held at 8 images, 64 pixels and 30 prototypes; after the names "
               f"the slope of the power law with its 95 % interval; medians of {repeats} rounds, "
               "seed 0")
    fig.savefig(path, metadata={"Software": None})


def main() -> None:
    """Measure, write benchmarks/results/growth.json and .png and print one line."""
    given = timing.arguments(__doc__, "growth", repeats=3)
    torch.set_num_threads(1)
    found = {axis: series(axis, given.repeats) for axis in AXES}
    timing.save(given.out, {"repeats": given.repeats, "held": HELD, "model": SMALL,
                            "axes": found})
    picture = given.out.with_suffix(".png")
    save(found, given.repeats, picture)
    step = {axis: one["seconds"]["model, step"]["power"] for axis, one in found.items()}
    print("a training step's time grows with the power " + ", ".join(
        f"{written(one)} of the {axis}"
        for axis, one in step.items()) + f"; {picture.name}")


if __name__ == "__main__":
    main()

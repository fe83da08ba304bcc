"""The plots of benchmarks/results, from its JSON files: python -m benchmarks.plots"""

import matplotlib.pyplot as plt
import numpy as np

from benchmarks.timing import RESULTS
from paper import style
from patronus.files import load_json

LOOKS = {"ddim": ("o", style.PALETTE[0], "DDIM"),
         "dpm": ("s", style.PALETTE[3], "DPM-Solver++(2M)")}


def sampling(about: dict) -> plt.Figure:
    """Distance to the reference's images, and to test images, against seconds an image."""
    fig, axes = plt.subplots(1, 2, figsize=(style.TEXT, 2.6))
    ways = about["ways"]
    for solver, (mark, colour, label) in LOOKS.items():
        plain = sorted((one for one in ways.values() if one["solver"] == solver
                        and one["reuse"] == 1 and not one["int8"] and not one["half"]),
                       key=lambda one: one["steps"])
        draw(axes, plain, mark + "-", colour, label)
        for one in plain:
            note(axes, one, f"{one['steps']}")
        cheaper = [one for one in ways.values() if one["solver"] == solver and one["reuse"] > 1]
        draw(axes, cheaper, mark, colour, f"{label}, way down reused", markerfacecolor="none")
        for one in cheaper:
            note(axes, one, f"{one['steps']}/{one['reuse']}", below=True)
    draw(axes, [one for one in ways.values() if one["int8"]], "x", style.INK, "DDIM, int8 weights")
    draw(axes, [one for one in ways.values() if one["half"]], "+", style.INK, "DPM, bfloat16")
    axes[0].set(yscale="log", ylabel="RMS to 1000 steps of DDIM\n(levels of 0 to 255)")
    axes[1].axhline(1.02, color=style.FAINT, lw=0.6, ls=":")
    axes[1].axhline(1, color=style.FAINT, lw=0.6)
    axes[1].set(ylabel="FD-cls over that of 1000 steps")
    for ax in axes:
        ax.set(xscale="log", xlabel="seconds an image")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3,
               columnspacing=1, handletextpad=0.2, frameon=False)
    style.sign(fig, style.note(
        about["title"], about["generated"], about["scale"],
        f"{about['method']}, seed {about['seed']}, {about['images_seen']:,} images seen, "
        f"n = {about['count']} images from codes of test images; bars: 95 % intervals over "
        f"{about['over']}; labels: steps, steps/steps kept; {about['device']}, "
        f"{about['threads']} thread"))
    return fig


def draw(axes: np.ndarray, some: list[dict], look: str, colour: str, label: str, **more) -> None:
    seconds = [one["seconds_per_image"] for one in some]
    axes[0].plot(seconds, [one["rms_to_reference"] or np.nan for one in some], look, color=colour,
                 ms=3, label=label, **more)
    ratio = np.array([[one["fd_cls_over_reference"][key] for key in ("value", "low", "high")]
                      for one in some]).T
    axes[1].errorbar(seconds, ratio[0], np.abs(ratio[1:] - ratio[0]), fmt=look, color=colour,
                     ms=3, elinewidth=0.6, **more)


def note(axes: np.ndarray, one: dict, text: str, below: bool = False) -> None:
    for ax, value in zip(axes, (one["rms_to_reference"], one["fd_cls_over_reference"]["value"]),
                         strict=True):
        if value:
            ax.annotate(text, (one["seconds_per_image"], value), fontsize=style.SMALL,
                        xytext=(3, -6 if below else 3), textcoords="offset points")


def training(about: dict) -> plt.Figure:
    """Times faster than the published loop, and the losses of both."""
    fig, axes = plt.subplots(1, 2, figsize=(style.TEXT, 2.2), width_ratios=[1, 1.3])
    times, curves = about["times"], about["curves"]
    faster = times["times_faster"]
    middle = np.array([one["median"] for one in faster.values()])
    ends = np.array([[one["min"], one["max"]] for one in faster.values()]).T
    axes[0].barh(list(faster), middle, xerr=np.abs(ends - middle), color=style.MARK,
                 error_kw={"elinewidth": 0.6})
    axes[0].axvline(1, color=style.INK, lw=0.6)
    axes[0].invert_yaxis()
    axes[0].set(xlabel="times faster than the loop as published")
    axes[1].plot(curves["published"], color=style.OTHER, lw=1.8, label="as published")
    axes[1].plot(curves["ours"], color=style.MARK, lw=0.6, label="ours")
    axes[1].set(xlabel="step", ylabel="loss", yscale="log")
    axes[1].legend(frameon=False)
    style.sign(fig, f"{times['record']['device']}, {times['record']['threads']} thread. Left: "
               f"{times['parameters']:,} parameters, batch {times['batch']}, {times['rounds']} "
               f"rounds (bars: least and most). Right: base {curves['base']}, batch "
               f"{curves['batch']}, from equal weights, images, times and noise; losses "
               f"{curves['median_relative_difference']:.1%} apart in the median, at most "
               f"{curves['largest_relative_difference']:.0%}.")
    return fig


def main() -> None:
    """Draw each plot whose numbers are there."""
    style.use()
    for name, plot in (("sample", sampling), ("train", training)):
        if (RESULTS / f"{name}.json").is_file():
            plot(load_json(RESULTS / f"{name}.json")).savefig(RESULTS / f"{name}.png", dpi=200)
            print(f"benchmarks/results/{name}.png")


if __name__ == "__main__":
    main()

# %% [markdown]
# # How well one code dimension tells each attribute
#
# For every attribute, the AUROC of the best dimension of each method's code on the test images
# (the larger of AUROC and 1 − AUROC; mean over the five folds by which TAD is measured). Gray: the
# untrained encoder, which a method must exceed to have learned anything, and what the best of its
# dimensions reaches by chance, with another image's code. The dimension is chosen on the images it
# is scored on. A mark is the mean over training seeds, a line their range. Attributes are in the
# order of the untrained encoder. CelebA, and CheXpert where the study has it.

# %% tags=["parameters"]
NEEDS = {
    "details": {"stage": "measures", "dataset": "all", "method": "all", "seed": "all",
                "files": ["details.json"]},
    "table": {"stage": "measures", "files": ["table.csv"]},
    # a study without either makes no such figure
    "about": {"stage": "data", "dataset": ["celeba", "chexpert"], "files": ["meta.json"]},
}

# %%
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D

from paper import style, table
from paper.given import given
from patronus.files import load_json

name, title, scale, out, inputs = given()

style.use()
SETS = ("celeba", "chexpert")
CONTROL, CHANCE, COLOURS = "0.45", "0.8", style.PALETTE

# %%
rows = []
for path in map(Path, inputs["details"]):
    dataset, method, _ = path.parts[-4:-1]
    found = load_json(path).get("tad.test", {}) if dataset in SETS else {}
    rows += [(dataset, method, attribute, value, found["best_auroc_shuffled"][attribute])
             for attribute, value in found.get("best_auroc", {}).items()]
scores = pd.DataFrame(rows, columns=["dataset", "method", "attribute", "auroc", "chance"])
measured = table.read(inputs["table"][0])
measured = measured[measured["dataset"].isin(SETS)]
titles = measured.groupby("method", sort=False)["method_title"].first()
with_code = [method for method in titles.index if method in set(scores["method"])]
controls = [method for method in with_code if method.startswith("untrained")]
methods = [method for method in with_code if method not in controls]
DODGE = 0.6 / max(len(methods), 1)  # between the marks of two methods, in rows


# %%
def panel(ax, of_set):
    """Attributes in rows, a mark for each method, gray ticks for the controls."""
    held = of_set[of_set["method"].isin(controls or methods)].groupby("attribute")
    order = held["auroc"].mean().sort_values()
    place = pd.Series(np.arange(len(order)), order.index)
    ax.hlines(place, 0.5, 1, color="0.93", lw=0.5, zorder=0)
    ticks(ax, held["chance"].mean()[order.index], place, CHANCE)
    if controls:
        ticks(ax, order, place, CONTROL)
    for k, method in enumerate(methods):
        values = of_set[of_set["method"] == method].groupby("attribute")["auroc"]
        y = place[values.mean().index] + DODGE * ((len(methods) - 1) / 2 - k)
        ax.hlines(y, values.min(), values.max(), color=COLOURS[k % 10], lw=0.8, zorder=3)
        ax.plot(values.mean(), y, ls="", zorder=4, **mark(k))
    ax.set_yticks(place, [attribute.replace("_", " ") for attribute in order.index], fontsize=6)
    ax.set(xlim=(0.48, 1.01), ylim=(-0.7, len(order) - 0.3), xlabel="AUROC of the best dimension")
    style.plain(ax)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)


def ticks(ax, values, place, colour):
    ax.vlines(values, place - 0.42, place + 0.42, color=colour, lw=1.4, zorder=1)


def mark(k):
    return {"marker": "oDs^vP*Xhp"[k % 10], "color": COLOURS[k % 10], "ms": 2.8, "mew": 0.3,
            "mec": "white"}


def key(ax):
    """What the marks mean, beside the panels."""
    tick = {"marker": "|", "ms": 8, "mew": 1.4, "ls": ""}
    handles = [Line2D([], [], label=titles[method], **mark(k) | {"ls": ""})
               for k, method in enumerate(methods)]
    handles += [Line2D([], [], color=CONTROL, label="Untrained encoder", **tick)] * bool(controls)
    handles += [Line2D([], [], color=CHANCE,
                       label="Chance: the best dimension\nof a shuffled code", **tick)]
    ax.set_axis_off()
    ax.legend(handles=handles, loc="upper left", frameon=False)


def panels(shown):
    """One panel for each data set, the key in the space that is left."""
    counts = [of_set["attribute"].nunique() for _, of_set in shown]
    height = max(counts[0], counts[-1] + len(methods) + 4)  # in attributes: the key needs some
    fig = plt.figure(figsize=(style.TEXT, 0.7 + (0.09 + 0.017 * len(methods)) * height))
    if len(shown) > 1:
        grid = fig.add_gridspec(2, 2, height_ratios=[counts[1], height - counts[1]])
        spots, beside = [grid[:, 0], grid[0, 1]], grid[1, 1]
    else:
        grid = fig.add_gridspec(1, 2, width_ratios=[2.4, 1])
        spots, beside = [grid[0, 0]], grid[0, 1]
    for (dataset, of_set), spot in zip(shown, spots, strict=True):
        ax = fig.add_subplot(spot)
        panel(ax, of_set)
        ax.set_title(style.titled(*names.loc[dataset]), weight="bold")
    key(fig.add_subplot(beside))
    return fig


def nothing(reasons):
    """A study in which no code can be scored says why."""
    fig, ax = plt.subplots(figsize=(style.TEXT, 0.8))
    ax.set_axis_off()
    ax.text(0, 0.5, "n/a: " + "; ".join(reasons), va="center", wrap=True)
    return fig


# %%
names = measured.groupby("dataset")[["title", "generated"]].first()
tad = measured[(measured["measure"] == "tad") & (measured["variant"] == "test")]
shown = [(dataset, of_set) for dataset in SETS
         if len(of_set := scores[scores["dataset"] == dataset])]
fig = panels(shown) if shown else nothing(tad["reason"].dropna().unique())

# %%
sizes = tad.dropna(subset="n").groupby("dataset")["n"].max()
without = [title for method, title in titles.items() if method not in with_code]
seeds = sorted(measured["seed"].unique())
seen = sorted(set(measured["images_seen"].agg(["min", "max"])))
style.sign(fig, " · ".join([
    *(f"‘{style.titled(*names.loc[dataset])}’ n = {sizes[dataset]:,.0f} test images"
      for dataset, _ in shown),
    *(f"‘{style.titled(*one)}’" for one in names.to_numpy() if not shown),
    f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}",
    f"images seen in training: {' to '.join(f'{count:,}' for count in seen)}",
    *([f"no code: {', '.join(without)}"] if without and shown else []), style.scaled(scale)]))
style.save(fig, out, name)

# %% [markdown]
# # Do the measures tell a model from the same model spoiled?
#
# One panel for each faithfulness measure, its first row in the table: the model as it is (black,
# and the gray band), then six versions of it with a fault planted on purpose. Points are values,
# lines 95 % intervals: over code dimensions, over parts (causal success and what speaks of true
# parts) or over images (sensitivity, shortcut score). Before any was run it was written down which
# measure ought to see which fault. Blue: it ought to, and does, its interval lying wholly on the
# worse side of the band. Red cross: it ought to, and does not. Open gray: nothing was expected of
# it, whatever it shows. Arrows say which way is better; n/a: the fault leaves nothing to measure.
# Shortcut score: how much more raising one part raises another than in the model as it is.

# %% tags=["parameters"]
NEEDS = {
    "validation": {"stage": "validation", "dataset": ["celeba", "ffhq"],
                   "method": ["patronus_modern", "patronus"], "seed": [0, "*"],
                   "files": ["validation.csv", "validation.json"]},
}

# %%
import textwrap

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D

from paper import sheets, style
from paper.given import given
from patronus.files import load_json

name, title, scale, out, inputs = given()

style.use()
table, about = pd.read_csv(inputs["validation"][0]), load_json(inputs["validation"][1])
first = table.drop_duplicates(["version", "measure"]).set_index(["measure", "version"])
judged = {(one["measure"], one["version"]): one for one in about["judged"]}
versions = ["good", *about["versions"]]
parts = {part["output"]: part["output"].replace("_", " ") + " = 0" * part["negated"]
         for part in about["parts"]}
BETTER = {"higher": "→", "lower": "←"}
COLUMNS = 3
LOOKS = {"good": {"marker": "o", "color": "black"},
         "seen": {"marker": "o", "color": style.PALETTE[0]},
         "missed": {"marker": "X", "color": style.PALETTE[3], "markersize": 6,
                    "markeredgecolor": "white", "markeredgewidth": 0.4},
         "free": {"marker": "o", "color": "0.55", "markerfacecolor": "white"}}
SAID = {"good": "as it is", "seen": "noticed, as expected", "missed": "expected, not noticed",
        "free": "not expected"}


def look(measure, version):
    """Which of LOOKS a point gets."""
    one = judged.get((measure, version))
    if one is None:
        return "good"
    return ("seen" if one["noticed"] else "missed") if one["expected"] else "free"


# %%
def panel(ax, measure):
    """One measure over all versions, the good one above."""
    for y, version in enumerate(versions):
        one = first.loc[measure, version]
        if np.isnan(one.value):
            ax.text(0.5, y, "n/a", transform=ax.get_yaxis_transform(), ha="center", va="center",
                    fontsize=6, color=LOOKS[look(measure, version)]["color"])
            continue
        low, high = (one.value if np.isnan(end) else end for end in (one.low, one.high))
        ax.errorbar(one.value, y, xerr=[[one.value - low], [high - one.value]], elinewidth=0.9,
                    **{"markersize": 3.5} | LOOKS[look(measure, version)])
        if version == "good":
            ax.axvspan(low, high, color="0.88", linewidth=0, zorder=0)
    ax.set(ylim=(len(versions) - 0.4, -0.6), yticks=range(len(versions)))
    ax.margins(x=0.12)
    ax.locator_params(axis="x", nbins=3)
    title = textwrap.fill(about["measures"][measure]["title"], 18)
    ax.set_title(f"{title} {BETTER[about['measures'][measure]['direction']]}", fontsize=6.5)
    style.plain(ax)
    ax.tick_params(axis="y", length=0)


measures = list(about["measures"])
rows = -(-len(measures) // COLUMNS)
fig, axes = plt.subplots(rows, COLUMNS, figsize=(style.COLUMN, 1.12 * rows + 0.75), squeeze=False,
                         sharey=True)
for ax, measure in zip(axes.flat, measures, strict=False):
    panel(ax, measure)
for ax in list(axes.flat)[len(measures):]:
    ax.axis("off")
axes[0, 0].set_yticks(range(len(versions)), versions)
fig.get_layout_engine().set(h_pad=0.03)

# %%
handles = [Line2D([], [], linestyle="none", label=SAID[key], **{"markersize": 3.5} | LOOKS[key])
           for key in SAID]
fig.legend(handles=handles, loc="outside upper center", ncols=2, frameon=False, columnspacing=1.0,
           handletextpad=0.3)
sheets.sign(fig, scale, about,
            f"n = {about['n']} {about['split']} images, {about['dims']} dimensions, "
            f"{about['ddim_steps']} DDIM steps",
            "tied: raising {} raises {}".format(*(parts[part] for part in about["pair"])))
style.save(fig, out, name)

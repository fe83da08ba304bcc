# %% [markdown]
# # Do the measures tell a model from the same model spoiled?
#
# One panel for each faithfulness measure, its first row in the table. The line is the model as it
# is; beside it stand twelve versions of it with a fault planted on purpose. Bars are paired 95 %
# intervals of how much a version differs over the same images and code dimensions (for consistency,
# over dimensions): a fault is noticed where its bar lies wholly on the worse side of the line.
# Before a measure was run on a fault it was written down whether it ought to see it. Blue: it does,
# filled where it ought to. Red cross: it ought to, and does not. Open gray: neither. Arrows say
# which way is better; n/a: the fault leaves nothing to measure, or the code is too coarse for it.
# Shortcut score: how much more raising one part raises another than in the model as it is.

# %% tags=["parameters"]
NEEDS = {
    "validation": {"stage": "validation", "dataset": ["celeba", "ffhq"],
                   "method": ["patronus_modern", "patronus"], "seed": [0, "*"],
                   "files": ["validation.csv", "validation.json"]},
}

# %%
import textwrap

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D

from paper import sheets, style
from paper.given import given
from patronus.files import load_json

name, title, scale, out, inputs = given()

style.use()
table, about = pd.read_csv(inputs["validation"][0]), load_json(inputs["validation"][1])
own = table[table["version"] == "good"].drop_duplicates("measure").set_index("measure")["value"]
judged = {(one["measure"], one["version"]): one for one in about["judged"]}
versions = list(about["versions"])
parts = {part["output"]: part["output"].replace("_", " ") + " = 0" * part["negated"]
         for part in about["parts"]}
BETTER = {"higher": "→", "lower": "←"}
COLUMNS = 6
NOTICED, FREE = style.PALETTE[0], "0.55"
LOOKS = {"seen": {"marker": "o", "color": NOTICED},
         "more": {"marker": "o", "color": NOTICED, "markerfacecolor": "white"},
         "missed": {"marker": "X", "color": style.PALETTE[3], "markersize": 5,
                    "markeredgecolor": "white", "markeredgewidth": 0.4},
         "free": {"marker": "o", "color": FREE, "markerfacecolor": "white"}}
SAID = {"seen": "noticed, as expected", "more": "noticed, not expected",
        "missed": "expected, not noticed", "free": "neither"}


def look(one):
    """Which of LOOKS a point gets."""
    if one["noticed"]:
        return "seen" if one["expected"] else "more"
    return "missed" if one["expected"] else "free"


# %%
def panel(ax, measure):
    """One measure over all versions; the line is the model as it is."""
    worse = -1 if about["measures"][measure]["direction"] == "higher" else 1
    for y, version in enumerate(versions):
        one = judged[measure, version]
        style_of = {"markersize": 3} | LOOKS[look(one)]
        if one["noticed"] is None:
            ax.text(0.5, y, "n/a", transform=ax.get_yaxis_transform(), ha="center", va="center",
                    fontsize=5, color=style_of["color"])
            continue
        ends = sorted(own[measure] + worse * one[key] for key in ("low", "high"))
        at = own[measure] + worse * one["value"]
        ax.errorbar(at, y, xerr=[[at - ends[0]], [ends[1] - at]], elinewidth=0.8, **style_of)
    ax.axvline(own[measure], color="0.3", linewidth=0.6, zorder=0)
    ax.set(ylim=(len(versions) - 0.4, -0.6), yticks=range(len(versions)))
    ax.margins(x=0.12)
    ax.locator_params(axis="x", nbins=3)
    title = textwrap.fill(about["measures"][measure]["title"], 18)
    ax.set_title(f"{title} {BETTER[about['measures'][measure]['direction']]}", fontsize=6)
    style.plain(ax)
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="both", labelsize=5.5)


measures = list(about["measures"])
rows = -(-len(measures) // COLUMNS)
fig, axes = plt.subplots(rows, COLUMNS, figsize=(style.TEXT, 1.75 * rows + 0.6), squeeze=False,
                         sharey=True)
for ax, measure in zip(axes.flat, measures, strict=False):
    panel(ax, measure)
for ax in list(axes.flat)[len(measures):]:
    ax.axis("off")
axes[0, 0].set_yticks(range(len(versions)), [name.replace("_", " ") for name in versions])
fig.get_layout_engine().set(h_pad=0.03)

# %%
handles = [Line2D([], [], linestyle="none", label=SAID[key], **{"markersize": 3} | LOOKS[key])
           for key in SAID]
fig.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False, columnspacing=1.0,
           handletextpad=0.3)
sheets.sign(fig, scale, about,
            f"n = {about['n']} {about['split']} images, {about['dims']} dimensions, "
            f"{about['ddim_steps']} DDIM steps",
            "tied: raising {} raises {}".format(*(parts[part] for part in about["pair"])))
style.save(fig, out, name)

# %% [markdown]
# # Shortcuts: what else changes when one attribute is raised
#
# (a) For each attribute a (rows) the five code dimensions that tell most of it (highest AUROC on
# training images) are raised one by one to their largest value in test images; colour is the mean
# change in the probability that a classifier, trained without the tie, gives to attribute b
# (columns). On the left a model whose training images tie the outlined pairs together, on the right
# the same method without that tie: what both show is how the parts overlap, what only the left one
# shows is the shortcut. Gray: an attribute no training image has, or all have.
# (b) The outlined pairs: the change of P(b) in both models, and the score, which is their
# difference; 95 % intervals over test images. Below, what the best dimension of a tells in
# untied test images: AUROC for a among images alike in b (full), and for b among images alike in a
# (open). One that learned a tells a; one that took the shortcut tells b. The best of all dimensions
# is a choice by the training images: marks are means over resamples of them, lines 95 % over these
# and the test images, the percentage how often the likeliest dimension is chosen (biased,
# unbiased). Gray: the range of encoders that were never trained. (c) The first pair in the
# first random test images, none chosen: the reconstruction above, the same with the best dimension
# of a raised below, and P(b) in both. One such figure for each data set that ties attributes.

# %% tags=["parameters"]
NEEDS = {
    "shortcut": {"stage": "shortcut", "dataset": "tied", "method": ["patronus_modern", "patronus"],
                 "seed": [0, "*"], "files": ["shortcut.npz", "shortcut.json"]},
}

# %%
from textwrap import fill
from types import SimpleNamespace

import numpy as np
from matplotlib import pyplot as plt

from paper import sheets, style
from paper.given import given

name, title, scale, out, inputs = given()

style.use()
SIDES = ("biased", "unbiased")
LOOKS = {"biased": ("o", style.PALETTE[0]), "unbiased": ("D", "0.5"),
         "score": ("s", style.PALETTE[3])}
MOST = 24  # rows that stay readable


def opened(one):
    """What a data set's figure is drawn from, with the rows that are shown."""
    arrays, about = one.shortcut, one.about
    names = sheets.part_names(about)
    strongest = np.nan_to_num(np.abs(arrays["score"])).max(1)
    strongest[np.unique(arrays["pairs"])] = np.inf
    kept = np.sort(np.argsort(-strongest, kind="stable")[:MOST])
    titles = {"biased": style.titled(about["title"], about["generated"]),
              "unbiased": style.titled(about["unbiased"]["title"], about["unbiased"]["generated"])}
    return SimpleNamespace(arrays=arrays, about=about, names=names, kept=kept, titles=titles,
                           pairs=arrays["pairs"])


# %%
def effects(part, d):
    """(a) What each raised attribute does to each other, in both models."""
    block = {side: d.arrays[side][np.ix_(d.kept, d.kept)] for side in SIDES}
    widest = max(np.nanmax(np.abs(values)) for values in block.values())
    colours = plt.get_cmap("RdBu_r").with_extremes(bad="0.8")
    shown = [d.names[k] for k in d.kept]
    axes = part.subplots(1, 2, sharey=True)
    for ax, side in zip(axes, SIDES, strict=True):
        drawn = ax.imshow(block[side], cmap=colours, vmin=-widest, vmax=widest, aspect="auto")
        ax.set_title(fill(f"{side}: ‘{d.titles[side]}’", 44), fontsize=6.5)
        ax.set_xticks(range(len(shown)), shown, rotation=90, fontsize=5.5)
        ax.set_yticks(range(len(shown)), shown, fontsize=5.5)
        ax.tick_params(length=0, pad=2)
        ax.set_xlabel("attribute b that changes")
        for a, b in np.searchsorted(d.kept, d.pairs):
            ax.add_patch(plt.Rectangle((b - 0.5, a - 0.5), 1, 1, fill=False, edgecolor="black",
                                       linewidth=1.1))
        for spine in ax.spines.values():
            spine.set_linewidth(0.4)
    axes[0].set_ylabel("attribute a that is raised")
    bar = part.colorbar(drawn, ax=axes, shrink=0.8, pad=0.01, aspect=30)
    bar.set_label("mean change of the probability of b")
    bar.outline.set_linewidth(0.4)
    part.suptitle("(a) effects", x=0.005, ha="left", weight="bold")


# %%
def tied(part, d):
    """(b) The tied pairs: both models and their difference, and what their dimensions tell."""
    y = np.arange(len(d.pairs))
    (ax, below) = part.subplots(2, 1)
    told(below, d, y)
    for offset, (key, (marker, colour)) in zip((-0.22, 0, 0.22), LOOKS.items(), strict=True):
        value, low, high = (d.arrays[f"{key}{end}"][tuple(d.pairs.T)]
                            for end in ("", "_low", "_high"))
        ax.errorbar(value, y + offset, xerr=np.abs([value - low, high - value]), marker=marker,
                    color=colour, markersize=3.5, linestyle="none", elinewidth=0.9,
                    label={"score": "score: difference"}.get(key, key))
    ax.axvline(0, color="0.6", linewidth=0.6, zorder=0)
    ax.set(ylim=(len(d.pairs) - 0.4, -0.6), yticks=y, xlabel="change of P(b)",
           yticklabels=[f"{d.names[a]}\n→ {d.names[b]}" for a, b in d.pairs])
    ax.margins(x=0.15)
    ax.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    part.legend(*ax.get_legend_handles_labels(), loc="outside lower left", ncols=2, frameon=False,
                columnspacing=1.0, handletextpad=0.3)
    part.suptitle("(b) the tied pairs", x=0.01, ha="left", weight="bold")


# %%
def told(ax, d, y):
    """Below (b): AUROC of each pair's dimension for a where b is fixed, and the other way round."""
    for offset, (g, side) in zip((-0.15, 0.15), enumerate(SIDES), strict=True):
        marker, colour = LOOKS[side]
        for which, face in enumerate((colour, "white")):
            value, low, high = (d.arrays[f"told{end}"][g, :, which]
                                for end in ("", "_low", "_high"))
            untrained = d.arrays["untrained"][g, :, :, which]
            if untrained.size:
                ax.hlines(y + offset, untrained.min(1), untrained.max(1), color="0.85",
                          linewidth=5, zorder=0.5)
            ax.errorbar(value, y + offset, xerr=np.abs([value - low, high - value]), marker=marker,
                        color=colour, markerfacecolor=face, markersize=3.5, linestyle="none",
                        elinewidth=0.9)
    ax.axvline(0.5, color="0.6", linewidth=0.6, zorder=0)
    ax.set(ylim=(len(y) - 0.4, -0.6), yticks=y, xlim=(0, 1),
           xlabel="AUROC for a, b fixed (full),\nand for b, a fixed (open)",
           yticklabels=[f"{d.names[a]}\n{chosen[0]:.0%}, {chosen[1]:.0%}" for (a, _), chosen in
                        zip(d.pairs, d.arrays["chosen"].T, strict=True)])
    ax.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)


# %%
def pictures(part, d):
    """(c) The first pair in test images, in the biased model above and the unbiased one below."""
    arrays = d.arrays
    for g, (half, side) in enumerate(zip(part.subfigures(2, 1), SIDES, strict=True)):
        axes = half.subplots(2, arrays["images"].shape[1], squeeze=False)
        for i, (before, after) in enumerate(axes.T):
            style.show(before, arrays["recon"][g, i])
            style.show(after, arrays["edited"][g, 0, i])
            before.set_anchor("S")
            after.set_anchor("N")
            after.set_xlabel(f"{arrays['before'][g, 0, i]:.2f}→{arrays['after'][g, 0, i]:.2f}",
                             fontsize=5, labelpad=1)
        axes[0, 0].set_ylabel("recon.", fontsize=6)
        axes[1, 0].set_ylabel(f"dim. {arrays['dims'][g, 0]}", fontsize=6)
        half.suptitle(f"{side} model", x=0.5, fontsize=6.5)
    a, b = d.pairs[0]
    part.suptitle(f"(c) {d.names[a]} raised: P({d.names[b]})", x=0.01, ha="left", weight="bold")


# %%
def facts(d):
    """The small print: the other training, images, what is left out."""
    about, arrays = d.about, d.arrays
    yield (f"unbiased: {about['unbiased']['steps']:,} steps "
           f"({about['unbiased']['images_seen']:,} images seen)")
    yield (f"n = {about['n']} and {about['n_unbiased']} {about['split']} images"
           + ", the same ones" * about["paired"])
    if not np.isnan(arrays["detection"]):
        yield f"AUROC of |score| for finding the pairs {arrays['detection']:.2f}"
    if arrays["untrained"].size:
        yield f"{arrays['untrained'].shape[2]} untrained encoders"
    if len(d.kept) < len(d.names):
        yield f"{len(d.kept)} of {len(d.names)} attributes: the pairs and the largest scores"


# %%
for one in sheets.each(inputs["shortcut"]):
    d = opened(one)
    fig = plt.figure(figsize=(style.TEXT, 6.5))
    top, bottom = fig.subfigures(2, 1, height_ratios=[3.75, 2.6])
    left, right = bottom.subfigures(1, 2, width_ratios=[1, 1.9])
    effects(top, d)
    tied(left, d)
    pictures(right, d)
    sheets.sign(fig, scale, d.about, *facts(d))
    style.save(fig, out, f"{name}_{d.about['dataset']}")

# %% [markdown]
# # Stability over training seeds
#
# Do two trainings that differ only in their seed find the same dimensions? (a) The dimensions of
# two seeds are matched one to one by |Pearson| of their activations on the same test images
# (Hungarian assignment); a mark is the mean over the matched pairs for two seeds, and the numbers
# are those of the marks (of more than three the lowest and the highest). Gray: the same after
# shuffling the images of one seed, mean to 95 % quantile. (b) Linear CKA of the codes, with the
# same null. A code of what every image shares, such as brightness, is stable without any training:
# compare with the untrained encoder. (c) Matched prototypes of two seeds, evenly from the best
# matched to the worst, each as drawn when raised to its largest activation: x′ with the box of the
# prototype, and the patch.

# %% tags=["parameters"]
NEEDS = {
    "stability": {"stage": "stability", "dataset": ["celeba", "*"], "method": "all",
                  "files": ["record.json"]},
    "pair": {"stage": "stability", "dataset": ["celeba", "*"],
             "method": ["patronus_modern", "patronus"], "files": ["stability.npz"]},
    "first": {"stage": "explanations", "dataset": ["celeba", "*"],
              "method": ["patronus_modern", "patronus"], "seed": [0],
              "files": ["what.npz", "what.json"]},
    # a study of one seed makes no such figure
    "second": {"stage": "explanations", "dataset": ["celeba", "*"],
               "method": ["patronus_modern", "patronus"], "seed": ["-0", "*"],
               "files": ["what.npz", "what.json"]},
}

# %%
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

from paper import style
from paper.given import given
from patronus.files import load_json

name, title, scale, out, inputs = given()

style.use()
SHOWN, NULL = 8, "0.72"
folders = [Path(record).parent for record in inputs["stability"]]
results = [load_json(folder / "stability.json") for folder in folders
           if (folder / "stability.json").is_file()]
without = [load_json(folder / "none.json") for folder in folders
           if not (folder / "stability.json").is_file()]
first, second = (load_json(inputs[key][1]) for key in ("first", "second"))
pictures = [np.load(inputs[key][0]) for key in ("first", "second")]
matches = np.load(inputs["pair"][0])

# %%
seeds = (first["seed"], second["seed"])
q = matches["pairs"].tolist().index(sorted(seeds))
partner, correlation = matches["partner"][q], matches["correlation"][q]
drawn = [list(picture["order"]) for picture in pictures]
both = [j for j in np.argsort(-correlation, kind="stable")
        if j in drawn[0] and partner[j] in drawn[1]]
chosen = [both[i] for i in np.linspace(0, len(both) - 1, min(SHOWN, len(both))).round().astype(int)]


# %%
def printed(values):
    """Each pair's number; of many the lowest and the highest."""
    if len(values) > 3:
        return f"{min(values):.2f} to {max(values):.2f}"
    return "  ".join(f"{value:.2f}" for value in sorted(values))


def compare(ax, key, label):
    """A row for each method: pairs of seeds as marks, their nulls as gray bars."""
    for y, found in enumerate(results):
        values = [pair[key] for pair in found["pairs"]]
        null = "null" if key == "correlation" else f"{key}_null"
        low = np.mean([pair[null] for pair in found["pairs"]])
        high = max(pair[f"{null}_q95"] for pair in found["pairs"])
        ax.hlines(y, 0, 1, color="0.93", lw=0.5, zorder=0)
        ax.plot([low, high], [y, y], color=NULL, lw=3, solid_capstyle="butt", zorder=1)
        ax.plot(low, y, "|", color=NULL, ms=7, mew=1.2, zorder=1)
        ax.plot(values, np.full(len(values), y), "o", color=style.MARK, ms=3.5, mew=0.4,
                mec="white", zorder=2)
        ax.text(1.04, y, printed(values), fontsize=5.5, va="center")
    ax.set(xlim=(-0.02, 1.02), ylim=(len(results) - 0.5, -0.5), xlabel=label)
    ax.set_yticks(range(len(results)), [found["method_title"] for found in results])
    style.plain(ax)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)


# %%
side = (style.TEXT - 0.3) / SHOWN  # of a picture, inches
heights = [0.5 + 0.17 * len(results), 4 * side + 0.6]
fig = plt.figure(figsize=(style.TEXT, sum(heights) + 0.2))
top, bottom = fig.subfigures(2, 1, height_ratios=heights)
left, right = top.subplots(1, 2, sharey=True, gridspec_kw={"wspace": 0.06})
compare(left, "correlation", "mean |Pearson| of matched dimensions")
compare(right, "cka", "linear CKA of the codes")
for ax, label in ((left, "(a)"), (right, "(b)")):
    ax.set_title(label, loc="left", weight="bold")


# %%
def prototype(axes, picture, dim):
    """x' of the image where `dim` is realised best, and the patch, in these two axes."""
    p = list(picture["order"]).index(dim)
    image, box = (picture[key][p, picture["best"][p]] for key in ("edited", "boxes"))
    style.show(axes[0], image)
    style.box(axes[0], box)
    style.show(axes[1], style.cut(image, box))
    style.frame(axes[1])


axes = bottom.subplots(4, SHOWN, squeeze=False)
for ax in axes.flat:
    style.bare(ax)
for column, j in zip(axes.T, chosen, strict=False):
    prototype(column[:2], pictures[0], j)
    prototype(column[2:], pictures[1], partner[j])
    column[0].set_title(f"|r| = {correlation[j]:.2f}\nprototype {j}", fontsize=6)
    column[2].set_title(f"prototype {partner[j]}", fontsize=6)
for ax, label in zip(axes[:, 0], [f"seed {seed}{what}" for seed in seeds
                                  for what in (", $x'$", ", patch")], strict=True):
    ax.set_ylabel(label)
bottom.suptitle(f"(c) matched prototypes, {first['method_title']}", x=0.005, ha="left",
                weight="bold")

# %%
about = next(found for found in results if found["method"] == first["method"])
dims = sorted({found["dims"] for found in results})
dead = sum(count for found in results for count in found["dead"].values())
style.sign(fig, style.note(
    about["title"], about["generated"], scale,
    f"(a, b) n = {about['n']:,} test images, codes of {' or '.join(map(str, dims))} dimensions, "
    f"seeds {', '.join(map(str, about['seeds']))} (pairs: {len(about['pairs'])}), "
    f"{about['shuffles']} shuffles",
    f"dimensions that never change, counted as 0: {dead}",
    f"(c) {len(chosen)} of the {len(both)} pairs pictured in both seeds, of {about['dims']} in "
    f"all; of {len(pictures[0]['images'])} test images the one of highest activation",
    f"{first['images_seen']:,} images seen in training",
    *(f"{none['method_title']}: {none['reason']}" for none in without)))
style.save(fig, out, name)

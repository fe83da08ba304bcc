# %% [markdown]
# # How far a code dimension must be raised
#
# One panel for each part, in order of their highest success: the share of test images without the
# part in which a classifier sees it once the code dimension that tells it best is set to a value,
# the same for all images: the 5 %, 50 % and 95 % quantile of test images, the largest of them
# (max), and, if the scale goes there, two and three times as far from the median, where no image
# lies. x_T inverted from the image. Bands are 95 % intervals over the images counted (Wilson).
# Where only the last values draw a part, the dimension knows it but images never need that much of
# it.

# %% tags=["parameters"]
NEEDS = {
    "ours": {"stage": "interventions", "dataset": ["celeba", "ffhq", "*"],
             "method": ["patronus_modern", "patronus"], "seed": [0, "*"],
             "kinds": ["q05", "q50", "q95", "max"],
             "files": ["interventions.npz", "interventions.json"]},
    "control": {"stage": "interventions", "dataset": ["celeba", "ffhq", "*"],
                "method": ["untrained_modern", "untrained"], "seed": [0, "*"],
                "kinds": ["q05", "q50", "q95", "max"],
                "files": ["interventions.npz", "interventions.json"]},
}

# %%
import numpy as np
from matplotlib import pyplot as plt

from paper import sheets, style
from paper.given import given
from patronus.files import load_json

name, title, scale, out, inputs = given()

style.use()
ours, about = np.load(inputs["ours"][0]), load_json(inputs["ours"][1])
control, other = np.load(inputs["control"][0]), load_json(inputs["control"][1])
DOSES = {"q05": "5 %", "q50": "50 %", "q95": "95 %", "max": "max", "twice": "2×", "thrice": "3×"}
DOSES = {kind: value for kind, value in DOSES.items() if kind in ours["kinds"]}
COLUMNS = 6
at = [list(ours["kinds"]).index(kind) for kind in DOSES]
names = sheets.part_names(about)
order = [k for k in np.argsort(-np.nan_to_num(ours["success"][at].max(0), nan=-1), kind="stable")
         if ours["success_n"][0, k]]

# %%
rows = max(1, -(-len(order) // COLUMNS))
fig, axes = plt.subplots(rows, COLUMNS, figsize=(style.TEXT, 1.1 * rows + 0.65), squeeze=False,
                         sharex=True, sharey=True)
x = np.arange(len(DOSES))


def curve(ax, arrays, k, colour, label, **look):
    """Success at every value, with its interval."""
    ax.fill_between(x, arrays["success_low"][at, k], arrays["success_high"][at, k], color=colour,
                    alpha=0.2, linewidth=0)
    ax.plot(x, arrays["success"][at, k], color=colour, label=label, clip_on=False, **look)


for ax, k in zip(axes.flat, order, strict=False):
    there = other["parts"].index(about["parts"][k])
    curve(ax, control, there, "0.45", "untrained code", linestyle="--")
    curve(ax, ours, k, style.PALETTE[0], "learned code", marker="o", markersize=2)
    ax.plot(x, ours["success_shuffled"][at, k], color="black", linestyle=":", linewidth=0.8,
            label="shuffled code")
    ax.set_title(f"{names[k]}\n{ours['best'][k]} · {ours['success_n'][0, k]}", fontsize=6.5)

# %%
for ax in axes.flat:
    style.plain(ax)
    ax.set(ylim=(0, 1), yticks=[0, 0.5, 1], xticks=x)
    ax.set_xticklabels(list(DOSES.values()), rotation=90)
for ax in list(axes.flat)[len(order):]:
    ax.axis("off")
fig.supylabel("share of images in which the part is then seen", fontsize=7)
handles, labels = axes.flat[0].get_legend_handles_labels()
if handles:
    fig.legend(handles[::-1], labels[::-1], loc="outside upper center", ncols=3, frameon=False)
sheets.sign(
    fig, scale, about,
    f"below the part: dimension, and n of {len(ours['rows'])} {about['split']} images",
    f"{about['ddim_steps']} DDIM steps",
    f"control: {other['method']}, {other['images_seen']:,} images seen, n of "
    f"{len(control['rows'])}, {other['ddim_steps']} DDIM steps")
style.save(fig, out, name)

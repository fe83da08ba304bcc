# %% [markdown]
# # What raising a code dimension causes
#
# Left: causal success. For each part, the code dimension that tells it best (highest AUROC on
# training images, among all; numbers on the right, with how often resampled training images choose
# it again) is raised in test images, and a classifier that knows
# nothing of the model says whether the part is now seen (probability at least one half). Counted
# are images without the part: absent by label, and not seen by the classifier in the
# reconstruction. (a) To the largest value that any test image has (max). (b) To three times as far
# from the median, beyond what any image has, as the paper's own extrapolations go. Each with x_T
# inverted from the image and with a random x_T. Lines are 95 % intervals over the images counted
# (Wilson). Two controls, with inverted x_T: the dimension chosen by codes shuffled between images
# (mean over permutations), and the same procedure on a model whose encoder was never trained. Names
# ending in "= 0" are parts seen where that label is 0. Right: the four parts of highest success in
# (b). The first random test images, none chosen: the reconstruction, and the dimension raised as in
# (a) and as in (b). ✓ the part is now seen, ✗ it is not, – not counted.

# %% tags=["parameters"]
NEEDS = {
    "ours": {"stage": "interventions", "dataset": ["celeba", "ffhq", "*"],
             "method": ["patronus_modern", "patronus"], "seed": [0, "*"],
             "kinds": ["max", "max_random", "thrice", "thrice_random"],
             "files": ["interventions.npz", "interventions.json"]},
    "control": {"stage": "interventions", "dataset": ["celeba", "ffhq", "*"],
                "method": ["untrained_modern", "untrained"], "seed": [0, "*"],
                "kinds": ["max", "max_random", "thrice", "thrice_random"],
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
names = sheets.part_names(about)
kinds = {"max": "max_random", "thrice": "thrice_random"}  # inverted x_T: random x_T
index = {kind: at for at, kind in enumerate(ours["kinds"])}
order = np.lexsort([-np.nan_to_num(ours["success"][index[kind]], nan=-1) for kind in kinds])
y = np.arange(len(order))
GRAY = "0.45"
TITLES = ("(a) raised to max", "(b) three times as far")

# %%
fig = plt.figure(figsize=(style.TEXT, max(4.6, 0.17 * len(order) + 0.9)))
left, right = fig.subfigures(1, 2, width_ratios=[1.15, 1], wspace=0.02)
panels = left.subplots(1, 2, sharey=True)


def points(ax, arrays, kind, columns, offset, label, **look):
    """Success of one kind of intervention with its intervals, one row a part."""
    value, low, high = (arrays[key][list(arrays["kinds"]).index(kind), columns]
                        for key in ("success", "success_low", "success_high"))
    ax.errorbar(value, y + offset, xerr=np.abs([value - low, high - value]), label=label,
                markersize=3, linestyle="none", elinewidth=0.7, capsize=0, clip_on=False, **look)


where = [other["parts"].index(about["parts"][k]) for k in order]
for ax, words, (kind, random) in zip(panels, TITLES, kinds.items(), strict=True):
    for offset, one, label, marker, colour in (
            (-0.3, kind, "learned code", "o", style.PALETTE[0]),
            (-0.1, random, "random $x_T$", "s", style.PALETTE[1])):
        points(ax, ours, one, order, offset, label, marker=marker, color=colour,
               markeredgecolor="white", markeredgewidth=0.3)
    points(ax, control, kind, where, 0.3, "untrained code", marker="D", color=GRAY,
           markerfacecolor="white", markeredgewidth=0.6)
    ax.plot(ours["success_shuffled"][index[kind], order], y + 0.1, "x", color="black",
            markersize=3.2, markeredgewidth=0.8, label="shuffled code", clip_on=False)
    ax.set(xlim=(0, 1), ylim=(len(order) - 0.4, -0.6), title=words)
    ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    ax.set_yticks(y, [names[k] for k in order])
    ax.tick_params(axis="y", length=0)
    for edge in y[1:] - 0.5:
        ax.axhline(edge, color="0.9", linewidth=0.4, zorder=0)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)

# %%
for k, row in zip(order, y, strict=True):
    ax.annotate(f"{ours['best'][k]} ({ours['best_share'][k]:.0%}) · {ours['best_auroc'][k]:.2f} · "
                f"{ours['success_n'][0, k]}",
                (1, row), xytext=(6, 0), textcoords="offset points", va="center", fontsize=5.5,
                color=style.FAINT)
ax.annotate("dim. (again) · AUROC · n", (1, -0.6), xytext=(6, 4), textcoords="offset points",
            fontsize=5.5, color=style.FAINT)
left.supxlabel("share of images without the part in which it is then seen", fontsize=7)
crosses, *rest = ax.get_legend_handles_labels()[0]
left.legend(handles=[*rest, crosses], loc="outside upper center", ncols=4, frameon=False,
            columnspacing=1.0, handletextpad=0.3)

# %%
MARKS = {1: ("✓", style.PALETTE[0]), 0: ("✗", style.PALETTE[3]), -1: ("–", style.FAINT)}
best = [k for k in order if ours["success_n"][0, k]][:4] or order[:1]
for part, k in zip(np.atleast_1d(right.subfigures(len(best), 1)), best, strict=True):
    at = ours["best_at"][k]
    axes = part.subplots(3, len(ours["show_images"]), squeeze=False,
                         gridspec_kw={"hspace": 0.02, "wspace": 0.02})
    sheets.row(axes[0], ours["show_recon"], "recon.")
    for row, pictures, key, label in ((axes[1], "show_edited", "marks", "(a)"),
                                      (axes[2], "show_thrice", "marks_thrice", "(b)")):
        sheets.row(row, ours[pictures][at], label)
        for ax, mark in zip(row, ours[key][k], strict=True):
            text, colour = MARKS[int(mark)]
            ax.text(0.97, 0.03, text, color=colour, fontsize=7, weight="bold", ha="right",
                    va="bottom", transform=ax.transAxes, path_effects=style.HALO)
    shares = " and ".join(f"{ours['success'][index[kind], k]:.0%}" for kind in kinds)
    part.suptitle(f"{names[k]}: dimension {ours['best'][k]} raised, seen in {shares} "
                  f"(n = {ours['success_n'][0, k]})", x=0.01, ha="left", fontsize=6.5)

# %%
sheets.sign(
    fig, scale, about,
    f"n = {len(ours['rows'])} {about['split']} images, of which each part counts those without it, "
    f"{about['ddim_steps']} DDIM steps, {len(ours['dims'])} dimensions",
    f"control: {other['method']}, seed {other['seed']}, {other['steps']:,} steps "
    f"({other['images_seen']:,} images seen), n = {len(control['rows'])}, {other['ddim_steps']} "
    "DDIM steps")
style.save(fig, out, name)

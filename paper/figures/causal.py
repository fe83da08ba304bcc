# %% [markdown]
# # What raising a code dimension causes
#
# Left: causal success. For each part, the code dimension that tells it best (highest AUROC on
# training images; numbers on the right) is raised in test images, and a classifier that knows
# nothing of the model says whether the part is now seen (probability at least one half). Counted
# are images without the part: absent by label, and not seen by the classifier in the
# reconstruction. The dimension is set to its largest value over test images (max) or to its 95 %
# quantile (q95), with x_T inverted from the image, or to its largest value with a random x_T.
# Lines are 95 % Wilson intervals. Two controls: the dimension chosen by codes shuffled between
# images (mean over permutations), and the same procedure on a model whose encoder was never
# trained, both for max. Names ending in "= 0" are parts seen where that label is 0.
# Right: the four parts of highest success. The first random test images, none chosen: the
# reconstruction above, the same with the dimension raised below. ✓ the part is now seen, ✗ it is
# not, – not counted.

# %% tags=["parameters"]
NEEDS = {
    "ours": {"stage": "interventions", "dataset": ["celeba", "ffhq", "*"],
             "method": ["patronus_modern", "patronus"], "seed": [0, "*"],
             "files": ["interventions.npz", "interventions.json"]},
    "control": {"stage": "interventions", "dataset": ["celeba", "ffhq", "*"],
                "method": ["untrained_modern", "untrained"], "seed": [0, "*"],
                "files": ["interventions.npz", "interventions.json"]},
}

# %%
import numpy as np
from matplotlib import pyplot as plt

from paper import sheets, style
from patronus.files import load_json

style.use()
ours, about = np.load(inputs["ours"][0]), load_json(inputs["ours"][1])
control, other = np.load(inputs["control"][0]), load_json(inputs["control"][1])
names = [part["output"].replace("_", " ") + " = 0" * part["negated"] for part in about["parts"]]
order = np.argsort(-np.nan_to_num(ours["success"][0], nan=-1), kind="stable")
y = np.arange(len(order))
kinds = {"max": "max", "q95": "q95", "max_random": "max, random $x_T$"}
looks = dict(zip(kinds, (("o", style.PALETTE[0]), ("^", style.PALETTE[9]),
                         ("s", style.PALETTE[1])), strict=True))
GRAY = "0.45"

# %%
fig = plt.figure(figsize=(style.TEXT, max(4.3, 0.17 * len(order) + 0.9)))
left, right = fig.subfigures(1, 2, width_ratios=[1, 1.02], wspace=0.02)
ax = left.subplots()


def points(arrays, kind, columns, offset, label, **look):
    """Success of one kind of intervention with its intervals, one row a part."""
    value, low, high = (arrays[key][list(arrays["kinds"]).index(kind), columns]
                        for key in ("success", "success_low", "success_high"))
    ax.errorbar(value, y + offset, xerr=np.abs([value - low, high - value]), label=label,
                markersize=3, linestyle="none", elinewidth=0.7, capsize=0, clip_on=False, **look)


for offset, kind in zip((-0.3, -0.1, 0.1), kinds, strict=True):
    marker, colour = looks[kind]
    points(ours, kind, order, offset, kinds[kind], marker=marker, color=colour,
           markeredgecolor="white", markeredgewidth=0.3)
where = [other["parts"].index(about["parts"][k]) for k in order]
points(control, "max", where, 0.3, "untrained (max)", marker="D", color=GRAY,
       markerfacecolor="white", markeredgewidth=0.6)
ax.plot(ours["success_shuffled"][list(ours["kinds"]).index("max"), order], y + 0.1, "x",
        color="black", markersize=3.2, markeredgewidth=0.8, label="shuffled (max)", clip_on=False)

# %%
ax.set(xlim=(0, 1), ylim=(len(order) - 0.4, -0.6), yticks=y,
       yticklabels=[names[k] for k in order],
       xlabel="share of images without the part in which it is then seen")
ax.tick_params(axis="y", length=0)
for edge in y[1:] - 0.5:
    ax.axhline(edge, color="0.9", linewidth=0.4, zorder=0)
for k, row in zip(order, y, strict=True):
    ax.annotate(f"{ours['best'][k]} · {ours['best_auroc'][k]:.2f} · {ours['success_n'][0, k]}",
                (1, row), xytext=(6, 0), textcoords="offset points", va="center", fontsize=5.5,
                color=style.FAINT)
ax.annotate("dim. · AUROC · n", (1, -0.6), xytext=(6, 4), textcoords="offset points",
            fontsize=5.5, color=style.FAINT)
for side in ("top", "right", "left"):
    ax.spines[side].set_visible(False)
crosses, *rest = ax.get_legend_handles_labels()[0]
left.legend(handles=[*rest, crosses], loc="outside upper center", ncols=3, frameon=False,
            columnspacing=1.2, handletextpad=0.3)

# %%
MARKS = {1: ("✓", style.PALETTE[0]), 0: ("✗", style.PALETTE[3]), -1: ("–", style.FAINT)}
best = [k for k in order if ours["success_n"][0, k]][:4] or order[:1]
for part, k in zip(np.atleast_1d(right.subfigures(len(best), 1)), best, strict=True):
    at = ours["best_at"][k]
    axes = part.subplots(2, len(ours["show_images"]), squeeze=False,
                         gridspec_kw={"hspace": 0.02, "wspace": 0.02})
    for i, (before, after) in enumerate(axes.T):
        style.show(before, ours["show_recon"][i])
        style.show(after, ours["show_edited"][at, i])
        before.set_anchor("S")
        after.set_anchor("N")
        mark, colour = MARKS[int(ours["marks"][k, i])]
        after.set_xlabel(mark, color=colour, fontsize=8, labelpad=0, weight="bold")
    for row, label in zip(axes[:, 0], ("recon.", "raised"), strict=True):
        row.set_ylabel(label)
    part.suptitle(f"{names[k]}: dimension {ours['best'][k]} raised, then seen in "
                  f"{ours['success'][0, k]:.0%} (n = {ours['success_n'][0, k]})",
                  x=0.01, ha="left", fontsize=7)

# %%
sheets.sign(
    fig, scale, about,
    f"n = {len(ours['rows'])} {about['split']} images, of which each part counts those without it, "
    f"{about['ddim_steps']} DDIM steps, {len(ours['dims'])} dimensions",
    f"control: {other['method']}, seed {other['seed']}, {other['steps']:,} steps "
    f"({other['images_seen']:,} images seen), n = {len(control['rows'])}, {other['ddim_steps']} "
    "DDIM steps")
style.save(fig, out, name)

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
# difference; 95 % bootstrap intervals over images. (c) The first pair in the first random test
# images, none chosen: the reconstruction above, the same with the best dimension of a raised below,
# and P(b) in both.

# %% tags=["parameters"]
NEEDS = {
    "shortcut": {"stage": "shortcut", "dataset": ["celeba_hair", "chexpert_devices"],
                 "method": ["patronus_modern", "patronus"], "seed": [0, "*"],
                 "files": ["shortcut.npz", "shortcut.json"]},
}

# %%
import numpy as np
from matplotlib import pyplot as plt

from paper import style
from patronus.files import load_json

style.use()
arrays, about = np.load(inputs["shortcut"][0]), load_json(inputs["shortcut"][1])
names = [part["output"].replace("_", " ") + " = 0" * part["negated"] for part in about["parts"]]
pairs, sides = arrays["pairs"], ("biased", "unbiased")
titles = {"biased": style.titled(about["title"], about["generated"]),
          "unbiased": style.titled(about["unbiased"]["title"], about["unbiased"]["generated"])}
MOST = 24  # rows that stay readable

# %%
strongest = np.nan_to_num(np.abs(arrays["score"])).max(1)
strongest[np.unique(pairs)] = np.inf
kept = np.sort(np.argsort(-strongest, kind="stable")[:MOST])
place = {int(k): at for at, k in enumerate(kept)}
widest = max(np.nanmax(np.abs(arrays[side][np.ix_(kept, kept)])) for side in sides)
colours = plt.get_cmap("RdBu_r").with_extremes(bad="0.8")

# %%
fig = plt.figure(figsize=(style.TEXT, 6.5))
top, bottom = fig.subfigures(2, 1, height_ratios=[3.75, 2.6])
axes = top.subplots(1, 2, sharey=True)
for ax, side in zip(axes, sides, strict=True):
    drawn = ax.imshow(arrays[side][np.ix_(kept, kept)], cmap=colours, vmin=-widest, vmax=widest,
                      aspect="auto")
    ax.set_title(f"{side}: ‘{titles[side]}’", fontsize=6.5)
    ax.set_xticks(range(len(kept)), [names[k] for k in kept], rotation=90, fontsize=5.5)
    ax.set_yticks(range(len(kept)), [names[k] for k in kept], fontsize=5.5)
    ax.tick_params(length=0, pad=2)
    ax.set_xlabel("attribute b that changes")
    for a, b in pairs:
        ax.add_patch(plt.Rectangle((place[b] - 0.5, place[a] - 0.5), 1, 1, fill=False,
                                   edgecolor="black", linewidth=1.1))
    for spine in ax.spines.values():
        spine.set_linewidth(0.4)
axes[0].set_ylabel("attribute a that is raised")
bar = top.colorbar(drawn, ax=axes, shrink=0.8, pad=0.01, aspect=30)
bar.set_label("mean change of the probability of b")
bar.outline.set_linewidth(0.4)
top.suptitle("(a) effects", x=0.005, ha="left", weight="bold")

# %%
left, right = bottom.subfigures(1, 2, width_ratios=[1, 1.9])
ax = left.subplots()
y = np.arange(len(pairs))
looks = {"biased": ("o", style.PALETTE[0]), "unbiased": ("D", "0.5"),
         "score": ("s", style.PALETTE[3])}
for offset, (key, (marker, colour)) in zip((-0.22, 0, 0.22), looks.items(), strict=True):
    value, low, high = (arrays[f"{key}{end}"][tuple(pairs.T)] for end in ("", "_low", "_high"))
    ax.errorbar(value, y + offset, xerr=np.abs([value - low, high - value]), marker=marker,
                color=colour, markersize=3.5, linestyle="none", elinewidth=0.9,
                label={"score": "score: difference"}.get(key, key))
ax.axvline(0, color="0.6", linewidth=0.6, zorder=0)
ax.set(ylim=(len(pairs) - 0.4, -0.6), yticks=y, xlabel="change of P(b)",
       yticklabels=[f"{names[a]}\n→ {names[b]}" for a, b in pairs])
ax.margins(x=0.15)
ax.tick_params(axis="y", length=0)
for side in ("top", "right", "left"):
    ax.spines[side].set_visible(False)
left.legend(*ax.get_legend_handles_labels(), loc="outside lower left", ncols=2, frameon=False,
            columnspacing=1.0, handletextpad=0.3)
left.suptitle("(b) the tied pairs", x=0.01, ha="left", weight="bold")

# %%
halves = right.subfigures(2, 1)
for g, (half, side) in enumerate(zip(halves, sides, strict=True)):
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
a, b = pairs[0]
right.suptitle(f"(c) {names[a]} raised: P({names[b]})", x=0.01, ha="left", weight="bold")

# %%
trained = (f"trained for {about['steps']:,} steps ({about['images_seen']:,} images seen), unbiased "
           f"{about['unbiased']['steps']:,} ({about['unbiased']['images_seen']:,})")
hidden = [f"{len(kept)} of {len(names)} attributes: the pairs and the largest scores"] \
    * (len(kept) < len(names))
found = [f"AUROC of |score| for finding the pairs {arrays['detection']:.2f}"] \
    * (not np.isnan(arrays["detection"]))
style.sign(fig, style.note(
    about["title"], about["generated"], scale, f"{about['method']}, seed {about['seed']}", trained,
    f"n = {about['n']} and {about['n_unbiased']} {about['split']} images"
    + ", the same ones" * about["paired"], *found, *hidden))
style.save(fig, out, name)

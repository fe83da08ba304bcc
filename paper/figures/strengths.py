# %% [markdown]
# # Does the shortcut score follow the tie that was planted?
#
# One model for each strength: the share of training images in which a hat is worn exactly when
# there are glasses (0.5: by chance, 1: always). Test images keep no tie. Above, the shortcut score
# of the pair both ways: the mean change of the probability that a classifier, trained without the
# tie, gives to the second part when the five dimensions that tell most of the first are raised,
# less the same in a model trained without the tie; bars are 95 % intervals over test images, of one
# training each. A score that can be trusted is 0 at 0.5 and rises. Below, the AUROC of the absolute
# score for finding the two planted pairs among all pairs of attributes.

# %% tags=["parameters"]
NEEDS = {
    "half": {"stage": "shortcut", "dataset": ["faces_tied_50"], "method": ["patronus_modern", "*"],
             "seed": [0, "*"], "files": ["shortcut.npz", "shortcut.json"]},
    "weak": {"stage": "shortcut", "dataset": ["faces_tied_60"], "method": ["patronus_modern", "*"],
             "seed": [0, "*"], "files": ["shortcut.npz", "shortcut.json"]},
    "middling": {"stage": "shortcut", "dataset": ["faces_tied_75"],
                 "method": ["patronus_modern", "*"], "seed": [0, "*"],
                 "files": ["shortcut.npz", "shortcut.json"]},
    "strong": {"stage": "shortcut", "dataset": ["faces_tied_90"],
               "method": ["patronus_modern", "*"], "seed": [0, "*"],
               "files": ["shortcut.npz", "shortcut.json"]},
    "total": {"stage": "shortcut", "dataset": ["faces_tied_100"],
              "method": ["patronus_modern", "*"], "seed": [0, "*"],
              "files": ["shortcut.npz", "shortcut.json"]},
}

# %%
import numpy as np
from matplotlib import pyplot as plt

from paper import sheets, style
from paper.given import given

name, title, scale, out, inputs = given()

style.use()
found = [sheets.found(files) for files in inputs.values()]
strengths = np.array([one.about["strength"] for one in found])
about = found[0].about
LOOKS = ({"marker": "o", "color": style.PALETTE[0]}, {"marker": "s", "color": style.PALETTE[3]})

# %%
fig, (above, below) = plt.subplots(2, 1, figsize=(style.COLUMN, 3.1), sharex=True,
                                   height_ratios=[2, 1])
for shift, look, pair in zip((-0.006, 0.006), LOOKS, about["pairs"], strict=True):
    where = [tuple(one.about["outputs"].index(part) for part in pair) for one in found]
    value, low, high = (np.array([one.shortcut[key][at] for one, at in
                                  zip(found, where, strict=True)])
                        for key in ("score", "score_low", "score_high"))
    above.errorbar(strengths + shift, value, yerr=[value - low, high - value], markersize=3.5,
                   elinewidth=0.9, linewidth=0.8, label=" → ".join(pair).replace("_", " "), **look)
above.axhline(0, color="0.6", linewidth=0.6, zorder=0)
above.set_ylabel("shortcut score:\nchange of P(second part)")
above.legend(frameon=False, loc="lower right")

# %%
below.plot(strengths, [one.shortcut["detection"] for one in found], color="black", marker="D",
           markersize=3.5, linewidth=0.8, clip_on=False)
below.axhline(0.5, color="0.6", linewidth=0.6, zorder=0)
below.annotate("chance", (strengths.min(), 0.5), xytext=(2, 2), textcoords="offset points",
               fontsize=6, color=style.FAINT)
below.set(ylim=(0, 1), yticks=[0, 0.5, 1], xticks=strengths, xlabel="strength of the planted tie",
          ylabel="AUROC of |score|\nfor the pairs")
for ax in (above, below):
    style.plain(ax)

# %%
def each(key):
    """What the trainings say of `key`; they ought to say the same."""
    return " or ".join(f"{value:,}" for value in sorted({one.about[key] for one in found}))


other = about["unbiased"]
style.sign(fig, style.note(
    about["title"].rpartition(":")[0], about["generated"], scale,
    f"{about['method']}, seed {about['seed']}, each trained for {each('steps')} steps "
    f"({each('images_seen')} images seen)",
    f"without the tie: ‘{style.titled(other['title'], other['generated'])}’, "
    f"{other['steps']:,} steps",
    f"n = {each('n')} {about['split']} images, {each('ddim_steps')} DDIM steps"))
style.save(fig, out, name)

# %% [markdown]
# # Conditioning never hurts?
#
# Above: mean squared error of the noise estimated for unseen images at each t, given the image's
# own s, given the s of another image, and by the same denoiser without condition. Below: the first
# two against the third; below zero the error is smaller. What lies between the two curves is what
# the code tells of its image; what both have in common is another network, not the code. Bands are
# 95 % intervals over images, as are the brackets, for each t by itself (of 50 two or three miss the
# truth by chance); one training of each says nothing of the spread between trainings. All see the
# same images, noise and times. The comparison is fair only where both denoisers were trained
# equally long by the same recipe: the small print says how they were. Where a study has no such
# denoiser, the lower panel sets the s of another image against the own one.

# %% tags=["parameters"]
NEEDS = {
    "errors": {"stage": "conditioning", "dataset": ["celeba", "ffhq", "*"],
               "method": ["patronus", "patronus_modern"], "seed": [0, "*"],
               "files": ["conditioning.npz", "conditioning.json"]},
}

# %%
import textwrap

import numpy as np
from matplotlib import pyplot as plt

from paper import style
from paper.given import given
from patronus.files import load_json

name, title, scale, out, inputs = given()

style.use()
arrays, about = inputs["errors"]
found, about = np.load(arrays), load_json(about)
own, other, overall, times = about["own"], about["counterpart"], about["overall"], found["times"]
LOOKS = {"shuffled": ("with the $s$ of another image", style.PALETTE[1], "--"),
         "none": ("without condition", style.INK, ":"),
         "code": ("with its own $s$", style.PALETTE[0], "-")}


def band(ax, values, colour, line, label):
    """A curve with its interval, (3, T')."""
    middle, low, high = values
    ax.fill_between(times, low, high, color=colour, alpha=0.2, linewidth=0)
    ax.plot(times, middle, line, color=colour, label=label)


# %%
fig, (top, bottom) = plt.subplots(2, 1, sharex=True, figsize=(style.COLUMN, 3.5),
                                  height_ratios=[1.35, 1])
curves = dict(zip(found["kinds"].tolist(), found["curves"], strict=True))
for kind, (label, colour, line) in LOOKS.items():
    if kind in curves:
        band(top, curves[kind], colour, line, f"{label}: {overall[kind][0]:.4f}")
top.set(yscale="log", ylabel="squared error of the noise")
top.legend(frameon=False, title="mean over $t$", alignment="left", title_fontsize=6.5)

# %%
against = {"shuffled": found["ratio"] - 1}
if other:
    against = {"shuffled": found["relative_shuffled"], "code": found["relative"]}
for kind, values in against.items():
    band(bottom, 100 * values, *LOOKS[kind][1:], None)
bottom.axhline(0, color=style.INK, linewidth=0.8, linestyle=":" if other else "-")
bottom.set(xlabel="$t$ (noise grows to the right)", xlim=(0, 1000),
           ylabel=f"against {'unconditional' if other else 'its own $s$'} (%)")
if other:
    mean = "{:+.2f} % [{:+.2f}, {:+.2f}]".format(*(100 * x for x in overall["relative"]))
    mean = mean.replace("-", "−")
    text = (f"own $s$: {mean} in the mean over $t$;\n"
            f"helps at {about['helps']}, hurts at {about['hurts']} of {about['times']} times")
else:
    text = "\n".join(textwrap.wrap(f"not compared: {about['reason']}", 58))
bottom.set_title(text, fontsize=6.5, loc="left")


# %%
def trained(cell):
    return (f"{cell['method']} (recipe {cell['recipe']}), {cell['steps']:,} steps, "
            f"{cell['images_seen']:,} images seen")


facts = [f"seed {own['seed']}", f"with s: {trained(own)}"]
if other:
    equal = "trained equally" if not about["unequal"] else \
        f"NOT trained equally: {', '.join(about['unequal'])}"
    facts += [f"without: {trained(other)}", equal]
style.sign(fig, style.note(own["title"], own["generated"], scale, *facts,
                           f"n = {about['n']:,} {own['split']} images, {len(times)} times"))
style.save(fig, out, name)

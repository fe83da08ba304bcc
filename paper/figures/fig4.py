# %% [markdown]
# # What the prototypes look like
#
# (a) Six prototypes j. Raising s_j of a test image x₀ to its largest value over the test images
# and decoding from the image's own x_T gives x′; the patch of x′ nearest to the prototype, boxed
# by its receptive field, is the picture of the prototype. Of the test images, the one with the
# highest realised activation is shown; the numbers are s_j of x₀ → s_j of x′.
# (b) Consistency: the same for two prototypes over the first four (random) test images: the
# patches must look alike.

# %% tags=["parameters"]
NEEDS = {
    "what": {"stage": "explanations", "dataset": ["celeba", "ffhq", "*"],
             "method": ["patronus_modern", "patronus"], "seed": [0, "*"],
             "files": ["what.npz", "what.json"]},
}

# %%
from matplotlib import pyplot as plt

from paper import sheets, style
from paper.given import given

name, title, scale, out, inputs = given()

style.use()
one = sheets.found(inputs["what"])
what = one.what
order, images, edited = what["order"], what["images"], what["edited"]
boxes, best, before, realised = (what[key] for key in ("boxes", "best", "before", "realised"))

# %%
fig = plt.figure(figsize=(style.TEXT, 5.85))
top, bottom = fig.subfigures(2, 1, height_ratios=[1.95, 1], hspace=0.03)


def column(axes, p, i):
    """Edited image i of the p-th prototype with its box, and below it the patch."""
    style.show(axes[0], edited[p, i])
    style.box(axes[0], boxes[p, i])
    sheets.patch(axes[1], edited[p, i], boxes[p, i])


def change(p, i):
    return f"$s$: {before[p, i]:.2f} → {realised[p, i]:.2f}"


# %%
shown = min(6, len(order))
axes = top.subplots(3, shown, squeeze=False)
for p in range(shown):
    style.show(axes[0, p], images[best[p]])
    column(axes[1:, p], p, best[p])
    axes[0, p].set_title(f"prototype {order[p]}\n{change(p, best[p])}")
for ax, label in zip(axes[:, 0], ("$x_0$", "$x'$ with box", "patch, enlarged"), strict=True):
    ax.set_ylabel(label)
sheets.heading(top, "(a) prototypes")

# %%
for p, part in enumerate(bottom.subfigures(1, 2)[: len(order)]):
    axes = part.subplots(2, min(4, len(images)), squeeze=False)
    for i, pair in enumerate(axes.T):
        column(pair, p, i)
        pair[0].set_title(change(p, i), fontsize=6)
    axes[0, 0].set_ylabel("$x'$ with box")
    axes[1, 0].set_ylabel("patch")
    part.suptitle(f"(b) consistency of prototype {order[p]}", x=0.01, ha="left", weight="bold")

# %%
sheets.sign(fig, scale, one.about, f"n = {len(images)} {one.about['split']} images")
style.save(fig, out, name)

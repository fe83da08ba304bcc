# %% [markdown]
# # All prototypes
#
# Sheets for each data set, with every prototype that was visualised, in the order of their mean
# gain in activation. Left: x′, the test image in which raising s_j gave the highest activation,
# with the patch nearest to the prototype boxed; above it the number j and s_j before → after.
# Middle: that patch. Right: the older way (ProtoPNet), the patch of a training image that is
# nearest to the prototype, with its activation.

# %% tags=["parameters"]
NEEDS = {
    "explained": {"stage": "explanations", "dataset": "all",
                  "method": ["patronus_modern", "patronus"], "seed": [0, "*"],
                  "files": ["what.npz", "what.json"]},
}

# %%
from paper import sheets, style
from paper.given import given

name, title, scale, out, inputs = given()

style.use()
BLOCKS, ROWS = 4, 13  # prototypes in a row; rows that fit on a page


# %%
def pages(count):
    """The prototypes of each page, as even as rows allow."""
    rows = -(-count // BLOCKS)
    per_page = -(-rows // -(-rows // ROWS)) * BLOCKS
    return [range(first, min(first + per_page, count)) for first in range(0, count, per_page)]


def prototype(axes, what, p):
    """x′ with its box, the patch, and the nearest training patch of the p-th prototype."""
    best = what["best"][p]
    box = what["boxes"][p, best]
    style.show(axes[0], what["edited"][p, best])
    style.box(axes[0], box)
    sheets.patch(axes[1], what["edited"][p, best], box)
    sheets.patch(axes[2], what["near_images"][p], what["near_boxes"][p], style.OTHER)
    change = f"{what['before'][p, best]:.2f} → {what['realised'][p, best]:.2f}"
    axes[0].set_title(" ", fontsize=6)  # keeps a line free
    text = axes[0].set_title(f"$\\bf{{{what['order'][p]}}}$: {change}", loc="left", fontsize=6)
    text.set_in_layout(False)  # it runs over the patch
    axes[2].set_title(f"{what['near_activation'][p]:.2f}", fontsize=6, color=style.OTHER)
    for ax in axes:
        ax.set_anchor("N")  # a patch cut by the border is no square


def page(one, dims):
    rows = -(-len(dims) // BLOCKS)
    fig, (part,) = sheets.parts(sheets.height(rows, 3 * BLOCKS + 0.5, rows))
    axes = sheets.blocks(part, rows, BLOCKS, 3)
    for block, p in zip(axes, dims, strict=False):
        prototype(block, one.what, p)
    sheets.sign(fig, scale, one.about,
                f"prototypes {dims[0] + 1} to {dims[-1] + 1} of {len(one.what['order'])} by gain",
                "blue: patch of $x'$", "orange: nearest training patch, its $s$",
                f"n = {len(one.what['images'])} {one.about['split']} images")
    return fig


# %%
for one in sheets.each(inputs["explained"]):
    found = pages(len(one.what["order"]))
    for number, dims in enumerate(found, 1):
        suffix = f"_{number}" if len(found) > 1 else ""
        style.save(page(one, dims), out, f"{name}_{one.about['dataset']}{suffix}")

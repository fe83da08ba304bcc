# %% [markdown]
# # Where the prototypes fire
#
# One sheet for each data set. Left: random test images; each box is the patch nearest to the
# prototype of its colour. Beside them the whole activation maps of these prototypes: each cell is
# one position of the encoder, from the first patch to the last, and is not smoothed. Each
# prototype has its own scale. They are those that gained most when raised.

# %% tags=["parameters"]
NEEDS = {
    "explained": {"stage": "explanations", "dataset": "all",
                  "method": ["patronus_modern", "patronus"], "seed": [0, "*"],
                  "files": ["where.npz", "what.json"]},
}

# %%
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from paper import sheets, style
from paper.given import given

name, title, scale, out, inputs = given()

style.use()
IMAGES = DIMS = 4
COLOURS = [style.PALETTE[k] for k in (0, 1, 2, 4)]


# %%
def fires(axes, where, i, norms):
    """Image i with a box for each prototype, and the maps in frames of the boxes' colours."""
    style.show(axes[0], where["images"][i])
    for d, (ax, norm, colour) in enumerate(zip(axes[1:], norms, COLOURS, strict=False)):
        style.box(axes[0], where["boxes"][i, d], colour)
        ax.imshow(where["maps"][i, d], norm=norm, cmap=style.SEQUENTIAL)
        style.frame(ax, colour)


def scales(part, axes, where, norms):
    """Above each column its prototype, below it what the colours mean."""
    axes[0, 0].set_title("$x_0$")
    for d, norm in enumerate(norms):
        axes[0, d + 1].set_title(f"prototype {where['dims'][d]}", color=COLOURS[d])
        bar = part.colorbar(ScalarMappable(norm, style.SEQUENTIAL), ax=axes[:, d + 1], aspect=18,
                            location="bottom", pad=0.01, label="activation $s$ (nats)")
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=2, width=0.6, pad=2)


def draw(one):
    maps = one.where["maps"][:IMAGES, :DIMS].astype(np.float32)
    norms = [Normalize(of_one.min(), of_one.max()) for of_one in maps.swapaxes(0, 1)]
    fig, (part,) = sheets.parts(sheets.height(len(maps), len(norms) + 1, 1) + 0.4)
    axes = sheets.grid(part, len(maps), len(norms) + 1)
    for i, line in enumerate(axes):
        fires(line, one.where, i, norms)
    scales(part, axes, one.where, norms)
    height, width = maps.shape[2:]
    sheets.sign(fig, scale, one.about, f"maps of {height}×{width} positions",
                f"{len(maps)} random {one.about['split']} images")
    return fig


# %%
for one in sheets.each(inputs["explained"]):
    style.save(draw(one), out, f"{name}_{one.about['dataset']}")

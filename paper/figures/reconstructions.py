# %% [markdown]
# # Reconstructions and variations
#
# One sheet for each data set. (a) Random test images and their reconstructions: x_T inverted from
# the image, decoded with the image's own code s. (b) The same code with three random x_T: what
# stays is what the code carries, what changes came from x_T.

# %% tags=["parameters"]
NEEDS = {
    "explained": {"stage": "explanations", "dataset": "all",
                  "method": ["patronus_modern", "patronus"], "seed": [0, "*"],
                  "files": ["what.npz", "edits.npz", "what.json"]},
}

# %%
import numpy as np

from paper import sheets, style
from paper.given import given

name, title, scale, out, inputs = given()

style.use()
PAIRS = 5  # of image and reconstruction in a row


# %%
def filled(part, title, stacked, rows, titles):
    """Stacked (N, k, C, H, W) as blocks of k images, so many in a row as fit."""
    count = 2 * PAIRS // stacked.shape[1]
    axes = sheets.blocks(part, rows, count, stacked.shape[1])
    for i, (block, pictures) in enumerate(zip(axes, stacked, strict=False)):
        sheets.row(block, pictures, titles=titles if i < count else [])
    sheets.heading(part, title)


def draw(one):
    what, edits = one.what, one.edits
    pairs = np.stack([what["images"], what["recon"]], axis=1)
    varied = np.concatenate([edits["vary_sources"][:, None], edits["vary_recon"][:, None],
                             edits["vary"]], axis=1)
    rows = [-(-len(pairs) // PAIRS), -(-len(varied) // 2)]
    heights = [sheets.height(n, 2 * PAIRS + 3 * sheets.GAP, 1) + sheets.HEAD for n in rows]
    fig, (top, bottom) = sheets.parts(*heights)
    titles = ["$x_0$", "recon.", "", "same $s$, new $x_T$"]
    filled(top, "(a) reconstructions", pairs, rows[0], titles[:2])
    filled(bottom, "(b) variations", varied, rows[1], titles)
    sheets.sign(fig, scale, one.about, sheets.steps(one),
                f"n = {len(pairs)} random {one.about['split']} images")
    return fig


# %%
for one in sheets.each(inputs["explained"]):
    style.save(draw(one), out, f"{name}_{one.about['dataset']}")

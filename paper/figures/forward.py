# %% [markdown]
# # Forward and reverse process
#
# One sheet for each data set. (a) The forward process: x_t of random test images at eight times
# t, from little noise to almost nothing else. (b) The reverse process of the same images: the
# model's prediction of x₀ on the way back from their inverted x_T, with their own code s.

# %% tags=["parameters"]
NEEDS = {
    "explained": {"stage": "explanations", "dataset": "all",
                  "method": ["patronus_modern", "patronus"], "seed": [0, "*"],
                  "files": ["what.npz", "when.npz", "edits.npz", "what.json"]},
}

# %%
from paper import sheets, style
from paper.given import given

name, title, scale, out, inputs = given()

style.use()


# %%
def strips(part, title, sources, images, times):
    """Images (n, K, C, H, W) beside their sources (n, C, H, W), the times above."""
    axes = sheets.grid(part, len(images), len(times) + 1)
    for i, line in enumerate(axes):
        titles = ["$x_0$", *(f"$t$ = {t}" for t in times)] if i == 0 else []
        sheets.row(line, [sources[i], *images[i]], titles=titles)
    sheets.heading(part, title)


def draw(one):
    noised, strip = one.edits["noised"], one.when["strip"]
    heights = [sheets.height(len(images), images.shape[1] + 1, 1) + sheets.HEAD
               for images in (noised, strip)]
    fig, (top, bottom) = sheets.parts(*heights)
    sources = one.what["images"]
    strips(top, "(a) forward: $x_t$", sources, noised, one.edits["noised_times"])
    strips(bottom, r"(b) reverse: $\hat{x}_0(x_t, t, s)$", sources, strip, one.when["strip_times"])
    sheets.sign(fig, scale, one.about, sheets.steps(one),
                f"{len(noised)} random {one.about['split']} images")
    return fig


# %%
for one in sheets.each(inputs["explained"]):
    style.save(draw(one), out, f"{name}_{one.about['dataset']}")

# %% [markdown]
# # The framework
#
# An image x₀ is encoded into a tensor z of patch features; every feature z_i is compared with each
# of the m learned prototypes p_j. The nearest feature of each (ringed in its map of activations)
# gives one entry of s, and s conditions a denoiser that predicts the noise in x_t (with the modern
# recipe it predicts v, from which the noise follows). Encoder, prototypes and denoiser are trained
# together. Three prototypes are followed in colour: of those
# with the largest activation in this image, as a share of their largest over the test images, the
# first three whose boxes overlap by less than half. Image, boxes, maps and s are those of this
# study's model, x_t and the noise the image's forward process; block and vectors are symbols.

# %% tags=["parameters"]
NEEDS = {
    "found": {"stage": "explanations", "dataset": ["celeba", "ffhq", "*"],
              "method": ["patronus_modern", "patronus"], "seed": [0, "*"],
              "files": ["where.npz", "what.npz", "edits.npz", "what.json"]},
}

# %%
import numpy as np

from paper import diagram, sheets, style
from paper.given import given
from patronus.files import load_json

name, title, scale, out, inputs = given()

style.use()
where, what, edits = (np.load(path) for path in inputs["found"][:3])
about = load_json(inputs["found"][3])

# %%
shown = diagram.of_image(0, where, what, edits)
HEIGHT, SIGNATURE = 2.68, 0.26  # inches
fig = diagram.sheet(HEIGHT + SIGNATURE)
ax = diagram.canvas(fig, SIGNATURE, HEIGHT)
centres = diagram.framework(ax, shown, 0.56, HEIGHT - 0.27)

# %%
diagram.caption(ax, centres, HEIGHT - 0.1, diagram.HEADINGS)
diagram.caption(ax, centres, 0.31, {
    "image": r"$x_0 \in [-1, 1]^{C \times H \times W}$", "features": r"$z = f(x_0)$",
    "prototypes": r"$d_{ij}^2 = \Vert z_i - p_j\Vert^2$",
    "code": r"$s_j = \log\dfrac{\mathrm{min}_i\,d_{ij}^2 + 1}"
            r"{\mathrm{min}_i\,d_{ij}^2 + 10^{-4}}$",
    "denoiser": r"$\hat{\varepsilon} = \varepsilon_\theta(x_t, t, s)$"})
patches, size = ("×".join(map(str, shape)) for shape in (shown.maps.shape[1:], shown.image.shape))
diagram.caption(ax, centres, 0.08, {
    "image": size, "encoder": "Conv, ReLU", "features": f"{patches} patches $i$",
    "prototypes": f"$m = {shown.count}$", "maps": "min over $i$",
    "code": f"longest bar {shown.code.max():.2f} nats",
    "denoiser": "$t$ and $s$ enter every block"}, fontsize=6, color=style.FAINT)

# %%
sheets.sign(fig, scale, about, f"one {about['split']} image")
style.save(fig, out, name)

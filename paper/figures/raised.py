# %% [markdown]
# # One prototype raised, in every image
#
# Rows: test images x₀; their reconstructions (x_T inverted from the image, code unchanged); then
# one prototype a row, raised to its largest activation over the test images, in all of these
# images alike. What changes against the reconstruction is what the prototype draws; the box marks
# where it then fires. The images are the first random ones, none is chosen. Prototypes are in the
# order of their mean gain in activation.

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
gain = what["realised"] - what["before"]
dims, columns = min(10, len(what["order"])), min(10, len(what["images"]))

# %%
fig, axes = plt.subplots(dims + 2, columns, squeeze=False,
                         figsize=(style.TEXT, style.TEXT * 1.04 * (dims + 2) / columns))
sheets.row(axes[0], what["images"], "$x_0$")
sheets.row(axes[1], what["recon"], "recon.")

# %%
for p, row in enumerate(axes[2:]):
    for i, ax in enumerate(row):
        style.show(ax, what["edited"][p, i])
        style.box(ax, what["boxes"][p, i])
    row[0].set_ylabel(f"{what['order'][p]} (+{gain[p].mean():.2f})")

# %%
sheets.sign(fig, scale, one.about, "left: prototype (mean gain over "
            f"n = {len(what['images'])} {one.about['split']} images)")
style.save(fig, out, name)

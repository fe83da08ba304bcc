# %% [markdown]
# # What a code means: variation, extrapolation, interpolation
#
# (a) A test image, its reconstruction (x_T inverted from the image) and three variations: the same
# code s with three random x_T. What stays is what the code carries.
# (b) One entry s_j of an image's code set from 0 to 3, everything else kept, x_T inverted from the
# image; left of it the image, with the s_j that it has. Each prototype is shown in the test image
# in which raising it gave the highest activation.
# (c) Between two test images a and b: the code moves on a straight line, x_T on a great circle.

# %% tags=["parameters"]
NEEDS = {
    "faces": {"stage": "explanations", "dataset": ["celeba", "faces64", "ffhq", "*"],
              "method": ["patronus_modern", "patronus"], "seed": [0, "*"],
              "files": ["what.npz", "edits.npz", "what.json"]},
    "films": {"stage": "explanations",
              "dataset": ["chexpert", "cxr224", "fashion_mnist", "cifar10", "ffhq", "*"],
              "method": ["patronus_modern", "patronus"], "seed": [0, "*"],
              "files": ["what.npz", "edits.npz", "what.json"]},
}

# %%
from paper import sheets, style
from paper.given import given

name, title, scale, out, inputs = given()

style.use()
faces, films = sheets.found(inputs["faces"]), sheets.found(inputs["films"])
one_set = inputs["faces"] == inputs["films"]  # all that the study has
sets = [faces] if one_set else [faces, films]
pairs = [(one, p) for one in sets[::-1] for p in range(4 // len(sets))
         if p < len(one.edits["pair"])]

# %%
fig, (top, bottom) = sheets.parts(sheets.height(3, 13.4, 1) + sheets.HEAD,
                                  sheets.height(len(pairs), 11, 1) + sheets.HEAD)
left, right = top.subfigures(1, 2, width_ratios=[5, 8.6])

# %%
edits = faces.edits
for i, axes in enumerate(sheets.grid(left, 3, 5)):
    pictures = [edits["vary_sources"][i], edits["vary_recon"][i], *edits["vary"][i]]
    titles = ["$x_0$", "recon.", "", "same $s$, new $x_T$"] if i == 0 else []
    sheets.row(axes, pictures, titles=titles)
sheets.heading(left, "(a) variation")

# %%
for e, axes in enumerate(sheets.grid(right, 3, 8)[:len(edits["sweep"])]):
    pictures, label = sheets.swept(faces, e)
    sheets.row(axes, pictures, label, sheets.levels(faces) if e == 0 else [])
    axes[0].yaxis.label.set_fontsize(6)
sheets.heading(right, "(b) extrapolation, $s_j$ set to")

# %%
for i, ((one, p), axes) in enumerate(zip(pairs, sheets.grid(bottom, len(pairs), 11), strict=True)):
    sheets.row(axes, sheets.between(one, p), titles=sheets.weights(one) if i == 0 else [])
sheets.heading(bottom, "(c) interpolation")

# %%
sheets.sign(fig, scale, [one.about for one in sets], sheets.steps(faces))
style.save(fig, out, name)

# %% [markdown]
# # Extrapolations
#
# One sheet for each data set. A row is one prototype j in the test image in which raising it gave
# the highest activation: the image with the s_j that it has, then s_j set from 0 to 3 while
# everything else is kept, with x_T inverted from the image. The prototypes are those that gained
# most when raised.

# %% tags=["parameters"]
NEEDS = {
    "explained": {"stage": "explanations", "dataset": "all",
                  "method": ["patronus_modern", "patronus"], "seed": [0, "*"],
                  "files": ["what.npz", "edits.npz", "what.json"]},
}

# %%
from paper import sheets, style
from paper.given import given

name, title, scale, out, inputs = given()

style.use()


# %%
def draw(one):
    rows = len(one.edits["sweep"])
    fig, (part,) = sheets.parts(sheets.height(rows, 8.2, 2))
    for e, axes in enumerate(sheets.grid(part, rows, 8)):
        pictures, label = sheets.swept(one, e)
        sheets.row(axes, pictures, label, sheets.levels(one) if e == 0 else [])
    part.suptitle("$s_j$ set to")
    sheets.sign(fig, scale, one.about, sheets.steps(one), "one test image for each prototype")
    return fig


# %%
for one in sheets.each(inputs["explained"]):
    style.save(draw(one), out, f"{name}_{one.about['dataset']}")

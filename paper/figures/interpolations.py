# %% [markdown]
# # Interpolations
#
# One sheet for each data set. Between the test images a and b, which are drawn at random, the code
# moves on a straight line and x_T, inverted from both, on a great circle; the numbers are the
# weights of b. At 0 and 1 stand the reconstructions of a and b.

# %% tags=["parameters"]
NEEDS = {
    "explained": {"stage": "explanations", "dataset": "all",
                  "method": ["patronus_modern", "patronus"], "seed": [0, "*"],
                  "files": ["edits.npz", "what.json"]},
}

# %%
from paper import sheets, style
from paper.given import given

name, title, scale, out, inputs = given()

style.use()


# %%
def draw(one):
    rows = len(one.edits["pair"])
    fig, (part,) = sheets.parts(sheets.height(rows, 11, 1))
    for p, axes in enumerate(sheets.grid(part, rows, 11)):
        sheets.row(axes, sheets.between(one, p), titles=sheets.weights(one) if p == 0 else [])
    sheets.sign(fig, scale, one.about, sheets.steps(one), f"{rows} random pairs of test images")
    return fig


# %%
for one in sheets.each(inputs["explained"]):
    style.save(draw(one), out, f"{name}_{one.about['dataset']}")

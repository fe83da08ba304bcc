# %% [markdown]
# # The number of prototypes and their width
#
# Patronus with m prototypes (above), and with prototypes of D channels, the width of the encoder's
# last layer (below); all else is as in the model marked *, which stands in both rows. Each mark is
# one training seed; the line joins their means. The dashed line is the untrained encoder with
# k-means++ prototypes at m and D of the model marked *. The best of more dimensions is better by
# chance alone, so TAD, captured and latent score are not on one scale over m.

# %% tags=["parameters"]
NEEDS = {
    "table": {"stage": "measures", "files": ["table.csv"]},
    "models": {"stage": "checkpoints", "dataset": ["celeba", "*"], "method": "all",
               "seed": [0, "*"], "files": ["config.json"]},
    # a study without these makes no such figure
    "base": {"stage": "checkpoints", "dataset": ["celeba", "*"], "method": ["patronus_modern"],
             "seed": [0, "*"], "files": ["config.json"]},
    "number": {"stage": "checkpoints", "dataset": ["celeba", "*"],
               "method": ["prototypes_8", "prototypes_16", "prototypes_64"], "seed": [0, "*"],
               "files": ["config.json"]},
    "width": {"stage": "checkpoints", "dataset": ["celeba", "*"],
              "method": ["width_16", "width_96"], "seed": [0, "*"], "files": ["config.json"]},
}

# %%
from matplotlib import pyplot as plt

from paper import ablation, style, table
from paper.given import given
from patronus.files import load_json

name, title, scale, out, inputs = given()

style.use()
base = load_json(inputs["base"][0])
models = [load_json(path) for path in inputs["models"]]
measured = table.read(inputs["table"][0])
measured = measured[measured["dataset"] == base["about"]["dataset"]]


def settings(prefix, size):
    """(label, method) of the base and of the methods named so, in the order of their size."""
    found = sorted((size(model), model["about"]["method"]) for model in models
                   if model["about"]["method"].startswith(prefix) or model == base)
    own = base["about"]["method"]
    return [(f"{number}*" if method == own else f"{number}", method) for number, method in found]


number = settings("prototypes_", lambda model: model["code_dim"])
width = settings("width_", lambda model: model["model"].get("encoder_channels", [0])[-1])

# %%
fig = plt.figure(figsize=(style.TEXT, 3.3))
ablation.panels(fig, [ablation.Row("prototypes m", number), ablation.Row("channels D", width)],
                measured)

# %%
first = measured.iloc[0]
methods = list(dict.fromkeys(method for _, method in number + width))
style.sign(fig, style.note(
    first["title"], first["generated"], scale, base["about"]["title"],
    f"* m = {base['code_dim']} prototypes of D = {base['model']['encoder_channels'][-1]} channels",
    *ablation.facts(measured, methods)))
style.save(fig, out, name)

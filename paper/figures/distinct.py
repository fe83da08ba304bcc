# %% [markdown]
# # The prototype distinct loss
#
# Patronus trained with the noise loss alone ("off"), and with the distinct loss, which pushes a
# prototype away from its nearest one until their cosine is below 1 − δ. Each mark is one training
# seed; the line joins their means. The dashed line is the untrained encoder with k-means++
# prototypes: what lies beyond it was learned. Differences within the spread of the seeds say
# nothing.

# %% tags=["parameters"]
NEEDS = {
    "table": {"stage": "measures", "files": ["table.csv"]},
    "models": {"stage": "checkpoints", "dataset": ["celeba", "*"], "method": "all",
               "seed": [0, "*"], "files": ["config.json"]},
    # a study without these makes no such figure
    "off": {"stage": "checkpoints", "dataset": ["celeba", "*"], "method": ["patronus_modern"],
            "seed": [0, "*"], "files": ["config.json"]},
    "on": {"stage": "checkpoints", "dataset": ["celeba", "*"],
           "method": ["distinct_05", "distinct_02", "distinct_10"], "seed": [0, "*"],
           "files": ["config.json"]},
}

# %%
from matplotlib import pyplot as plt

from paper import ablation, style, table
from paper.given import given
from patronus.files import load_json

name, title, scale, out, inputs = given()

style.use()
off, on = load_json(inputs["off"][0]), load_json(inputs["on"][0])["model"]
models = [load_json(path) for path in inputs["models"]]
varied = [(model["model"]["distinct_delta"], model["about"]["method"]) for model in models
          if model["about"]["method"].startswith("distinct_")]
settings = [("off", off["about"]["method"])] + [(f"{d:g}", method) for d, method in sorted(varied)]
measured = table.read(inputs["table"][0])
measured = measured[measured["dataset"] == off["about"]["dataset"]]

# %%
fig = plt.figure(figsize=(style.TEXT, 1.9))
ablation.panels(fig, [ablation.Row("δ", settings)], measured)

# %%
first = measured.iloc[0]
style.sign(fig, style.note(
    first["title"], first["generated"], scale, off["about"]["title"],
    f"weight of the distinct loss {on['distinct_weight']:g}",
    f"{off['code_dim']} prototypes of {off['model']['encoder_channels'][-1]} channels",
    *ablation.facts(measured, [method for _, method in settings])))
style.save(fig, out, name)

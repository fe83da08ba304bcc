# %% [markdown]
# # What the prototypes cost
#
# Parameters, FLOPs, time and memory of every method; in brackets, more or less than the same
# denoiser without condition, measured in the same run with random weights. Of a DDPM the bracket
# compares it with itself: what it shows of time is the noise of the clock.

# %% tags=["parameters"]
NEEDS = {
    "costs": {"stage": "costs", "dataset": ["celeba", "*"], "method": "all", "seed": [0, "*"],
              "files": ["costs.json"]},
}

# %%
from collections import Counter

import pandas as pd

from paper import style, table
from paper.given import given
from patronus.files import load_json

name, title, scale, out, inputs = given()

COLUMNS = {  # name: heading, unit; the CSV has the others too
    "parameters": ("Parameters", ""),
    "parameters_code": ("of the code", ""),
    "flops_training": ("Training FLOPs", ""),
    "flops_sampling": ("Step FLOPs", ""),
    "flops_with_encoding": ("and encoding", ""),
    "seconds_training": ("Training time", "s"),
    "seconds_sampling": ("Step time", "s"),
    "seconds_encoding": ("Encoding time", "s"),
    "memory_training": ("Training MiB", None),
    "memory_sampling": ("Step MiB", None),
}
PREFIXES = {1e9: "G", 1e6: "M", 1e3: "k", 1: "", 1e-3: "m", 1e-6: "µ", 1e-9: "n"}
cells = [load_json(path) for path in inputs["costs"]]
for cell in cells:
    cell["title"] = style.titled(cell["title"], cell["generated"])


# %%
def amount(value, unit):
    """Three digits with a prefix; whole numbers where there is no unit to put one before."""
    if unit is None:
        return f"{value:,.0f}"
    size = next((size for size in PREFIXES if value >= size), 1)
    return f"{value / size:#.3g}".rstrip(".") + f" {PREFIXES[size]}{unit}".rstrip()


def text(cost, unit):
    if not cost or cost["value"] is None:
        return "–"
    more = "" if cost["ratio"] is None else f" ({100 * (cost['ratio'] - 1):+.2g} %)"
    return (amount(cost["value"], unit) if cost["value"] else "0") + more


# %%
shown = {name: how for name, how in COLUMNS.items()
         if any((cell["costs"].get(name) or {}).get("value") is not None for cell in cells)}
headings = ["Data set", "Method", *(heading for heading, _ in shown.values())]
rows, last = [], None
for cell in cells:
    rows.append(["" if cell["title"] == last else cell["title"], cell["method_title"],
                 *(text(cell["costs"].get(name), how[1]) for name, how in shown.items())])
    last = cell["title"]


# %%
def each(key):
    """The values that cells have of `key`; where there are several, in how many cells each."""
    found = Counter(cell[key] for cell in cells)
    return "; ".join(f"{value}{f' ({n} of {len(cells)} cells)' if len(found) > 1 else ''}"
                     for value, n in found.items())


reasons = {(key, why) for cell in cells for key, why in cell["reasons"].items()}
notes = [
    "parameters: trainable; of the code: encoder and prototypes; both as they are trained, so "
    "a frozen encoder counts none",
    "FLOPs per image, a multiply-add counts 2: matrix products, convolutions, attention and "
    "distances to prototypes; training: forward and backward, no optimiser; step: one of sampling, "
    "the code at hand; and encoding: with the code still to be made",
    f"time per image: median of {each('repeats')} interleaved rounds; device: {each('device')}; "
    f"CPU threads: {each('threads')}; images a batch: {each('batch_size')}; training in "
    f"{each('precision')}, the rest in 32 bits",
    *(["MiB of a batch: peak above the weights"] if "memory_training" in shown else []),
    "for comparison, measured on the authors' code at 32 px and published sizes: +5.2 % "
    "parameters, +0.05 % FLOPs a sampling step, +0.9 % with encoding",
    *(f"no {key}: {why}" for key, why in sorted(reasons)),
]

# %%
raw = pd.DataFrame([
    {key: cell[key] for key in ("scale", "dataset", "title", "method", "recipe", "device",
                                "batch_size", "precision")} | {"cost": name} | cost
    for cell in cells for name, cost in cell["costs"].items()])
table.write(raw, table.heading(raw, title), headings, rows, notes, out, name)

# %% [markdown]
# # The data sets
#
# Test images of every data set, drawn at random among those that carry the label above the
# column. Generated stand-ins say so in their title: they are drawn by code, with known local
# parts, and no result on them speaks of the official data.

# %% tags=["parameters"]
NEEDS = {
    "images": {"stage": "data", "dataset": "all", "files": ["test.npy"]},
    "labels": {"stage": "data", "dataset": "all", "files": ["table.csv"]},
    "about": {"stage": "data", "dataset": "all", "files": ["meta.json"]},
}

# %%
import textwrap

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

from paper import style
from paper.given import given
from patronus.files import load_json
from patronus.seeds import seed_for

name, title, scale, out, inputs = given()

style.use()
ROWS, COLUMNS = 2, 10


# %%
def groups(labels, test):
    """(column, value, text) of every label that a test image carries."""
    for key, label in labels.items():
        texts = {1: key} if label["kind"] == "binary" else dict(enumerate(label["names"]))
        yield from ((key, value, text) for value, text in texts.items()
                    if (test[key] == value).any())


def heading(text):
    words = (w if len(w) <= 12 else f"{w[:10]}…" for w in text.replace("_", " ").split())
    return "\n".join(textwrap.wrap(" ".join(words), 12)[:2])


def draw(test, chosen, generator):
    """Up to ROWS random rows for each label; no row twice."""
    left = test.sample(frac=1, random_state=generator)
    for key, value, _ in chosen:
        rows = left.loc[left[key] == value, "row"][:ROWS]
        left = left.drop(rows.index)
        yield rows.to_numpy()


class Panel:
    """One data set: COLUMNS labels evenly taken from all (each several times if few)."""

    def __init__(self, images, table, about):
        self.about, self.images = load_json(about), np.load(images, mmap_mode="r")
        table = pd.read_csv(table, dtype={"id": str})
        self.test = table[table["split"] == "test"]
        self.found = list(groups(self.about["labels"], self.test))
        self.chosen = [self.found[c * len(self.found) // COLUMNS] for c in range(COLUMNS)]
        self.headings = [heading(text) for _, _, text in self.chosen]

    @property
    def height(self):
        """Inches: images, title, and one or two lines of label above the images."""
        two = any("\n" in text for text in self.headings)
        return ROWS * (style.TEXT / COLUMNS) + (0.40 if two else 0.30)

    @property
    def title(self):
        about = self.about
        counts = ", ".join(f"{n:,} {split}" for split, n in about["counts"].items())
        return (f"{style.titled(about['title'], about['generated'])}: "
                f"{'×'.join(map(str, about['shape']))}, {counts}, {len(self.found)} labels")

    def show(self, part):
        generator = np.random.default_rng(seed_for("stand_ins", self.about["dataset"]))
        axes = part.subplots(ROWS, COLUMNS)
        drawn = draw(self.test, self.chosen, generator)
        for text, rows, pair in zip(self.headings, drawn, axes.T, strict=True):
            pair[0].set_title(text, fontsize=6)
            for ax, row in zip(pair, rows, strict=False):
                style.show(ax, self.images[row])
            for ax in pair[len(rows):]:
                ax.set_axis_off()
        part.suptitle(self.title, x=0.005, ha="left", fontsize=7.5, weight="bold")


# %%
panels = [Panel(*files) for files in zip(*(inputs[key] for key in ("images", "labels", "about")),
                                         strict=True)]
heights = [panel.height for panel in panels]
fig = plt.figure(figsize=(style.TEXT, sum(heights) + 0.15))
parts = np.atleast_1d(fig.subfigures(len(panels), 1, height_ratios=heights))
for part, panel in zip(parts, panels, strict=True):
    panel.show(part)

# %%
style.sign(fig, " · ".join([
    style.scaled(scale), f"{ROWS} random test images for each label shown, no image twice",
    "at the prepared size, as the models see them"]))
style.save(fig, out, name)

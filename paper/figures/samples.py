# %% [markdown]
# # Samples of every method
#
# Two sheets for each data set. Unconditional: codes drawn from the method's prior and random x_T
# (random x_T alone where a method has no code), the first ones. Conditional: the codes of random
# test images, above, with random x_T: what the code alone carries. No image is chosen.

# %% tags=["parameters"]
NEEDS = {
    "data": {"stage": "data", "dataset": "all", "files": ["test.npy", "meta.json"]},
    "samples": {"stage": "samples", "dataset": "all", "method": "all", "seed": [0, "*"],
                "files": ["record.json"]},
    "trained": {"stage": "checkpoints", "dataset": "all", "method": "all", "seed": [0, "*"],
                "files": ["record.json"]},
}

# %%
import textwrap
from functools import reduce
from pathlib import Path

import numpy as np

from paper import sheets, style
from paper.given import given
from patronus.files import load_json
from patronus.rows import random_rows

name, title, scale, out, inputs = given()

style.use()
COLUMNS = 12
NAMES = 0.85  # inches left of the images


# %%
class Drawn:
    """What one method drew for one data set, and how long it was trained."""

    def __init__(self, record, trained):
        self.folder, self.cell = Path(record).parent, load_json(record)["cell"]
        self.seen = load_json(trained)["found"]["images_seen"]

    @property
    def name(self):
        return "\n".join(textwrap.wrap(self.cell["title"], 16))

    @property
    def rows(self):
        """The test images of the conditional samples, ascending."""
        return np.load(self.folder / "rows.npy")

    def images(self, kind, places):
        """Those at these places, or the reason why there are none."""
        path = self.folder / f"{kind}.npy"
        if path.is_file():
            return np.load(path, mmap_mode="r")[places]
        return load_json(self.folder / "none.json")[kind]


def shared(found, *names):
    """COLUMNS random ones, ascending, of the test images that every method was asked about."""
    rows = reduce(np.intersect1d, [one.rows for one in found])
    return rows[random_rows(len(rows), COLUMNS, *names)]


def line(ax, name, images):
    """One method: its name, and its images or why there are none."""
    style.bare(ax)
    ax.set_ylabel(name, rotation=0, ha="right", va="center")
    if isinstance(images, str):
        ax.text(0.01, 0.5, textwrap.fill(f"n/a: {images}", 110), transform=ax.transAxes,
                va="center", color=style.FAINT)
    else:
        style.show(ax, sheets.mosaic(images, COLUMNS))
        ax.set_anchor("W")


def sheet(about, lines, rows, *facts):
    """Names and images (n, C, H, W), one line each, `rows` rows of images in all of them."""
    cell = (style.TEXT - NAMES) / COLUMNS
    fig, (part,) = sheets.parts(sum(rows) * cell + 0.03 * len(rows))
    axes = part.subplots(len(lines), 1, squeeze=False, height_ratios=rows)[:, 0]
    for ax, (name, images) in zip(axes, lines, strict=True):
        line(ax, name, images)
    style.sign(fig, style.note(about["title"], about["generated"], scale, *facts))
    return fig


def training(found):
    seeds = ", ".join(sorted({str(one.cell["seed"]) for one in found}))
    seen = ", ".join(f"{one.cell['title']} {one.seen:,}" for one in found)
    return f"seed {seeds}", f"images seen in training: {seen}"


# %%
drawn = [Drawn(*files) for files in zip(inputs["samples"], inputs["trained"], strict=True)]
for one in sheets.each(inputs["data"]):
    dataset = one.about["dataset"]
    found = [method for method in drawn if method.cell["dataset"] == dataset]
    high = 2 if len(found) <= 8 else 1
    lines = [(method.name, method.images("unconditional", slice(high * COLUMNS)))
             for method in found]
    fig = sheet(one.about, lines, [high] * len(lines), "unconditional samples", *training(found))
    style.save(fig, out, f"{name}_{dataset}_unconditional")
    rows = shared(found, "samples", dataset)
    lines = [("test images", one.test[rows])]
    lines += [(method.name, method.images("conditional", np.searchsorted(method.rows, rows)))
              for method in found]
    fig = sheet(one.about, lines, [1] * len(lines), "same code, new $x_T$", *training(found))
    style.save(fig, out, f"{name}_{dataset}_conditional")

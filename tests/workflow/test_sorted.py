"""A set in the order of its class folders is measured as the same set in any other order.

Two sets of the same images, through the real reader and the real stages: one as folders list it,
one as a table in random order does. The same model is asked about both; every measure of the two
differs by chance alone. The same stages that take the first rows are shown to fail that.
"""

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from analysis import denoising, interventions, measure, references
from analysis.measures import dci
from analysis.references import Classifier
from patronus import encode, prior, sample, train
from patronus.config import Cell, Dataset, load_study
from patronus.diffusion import Diffusion
from patronus.explain import __main__ as explanations
from patronus.files import save_json
from patronus.method import Denoising, Located
from patronus.prepare import prepare
from patronus.stage import Job

CLASSES, SIDE, GRID, MODULE = 5, 16, 4, "baselines.blocks_of_a_test"
COUNTS = {"train": 160, "test": 160}
TAKEN = 40  # by whatever takes not all: the first so many of a sorted set are of two classes


class Blocks(Denoising):
    """The code is the brightness of each block; decoding paints it, and a tenth of x_T."""

    lacks = {"loss": "nothing is learned"}

    def __init__(self, shape, code_dim):
        super().__init__(shape, code_dim)
        self.diffusion = Diffusion()
        self.nothing = nn.Parameter(torch.zeros(1))

    def encode(self, x0):
        return nn.functional.avg_pool2d(x0.mean(1, keepdim=True), SIDE // GRID).flatten(1)

    def painted(self, code):
        blocks = code.view(-1, 1, GRID, GRID)
        return nn.functional.interpolate(blocks, scale_factor=SIDE // GRID).repeat(1, 3, 1, 1)

    def decode(self, x_T, code, steps, on_step=None):
        for t in self.diffusion.times(steps) if on_step else ():
            on_step(t, self.painted(code) + 0.1 * x_T)
        return self.painted(code) + 0.1 * x_T

    def invert(self, x0, code, steps):
        return 10 * (x0 - self.painted(code))

    def eps(self, x_t, t, code):
        level = self.diffusion.alpha_bar[t].view(-1, 1, 1, 1)
        return (x_t - level.sqrt() * self.painted(code)) / (1 - level).sqrt()

    def locate(self, x0):
        at = torch.arange(GRID**2)
        corner = torch.stack([at // GRID, at % GRID], 1) * (SIDE // GRID)
        boxes = torch.cat([corner, corner + SIDE // GRID], 1).expand(len(x0), -1, -1)
        return Located(self.encode(x0), boxes, self.encode(x0)[..., None, None])


def raw(folder: Path) -> None:
    """{train,test}/<class>/<n>.png: each class has a pattern of its own."""
    rng = np.random.default_rng(0)
    patterns = rng.uniform(40, 215, (CLASSES, GRID, GRID))
    for split, count in COUNTS.items():
        for i in range(count):
            label = i * CLASSES // count
            blocks = patterns[label] + rng.normal(0, 25, (GRID, GRID))
            pixels = np.kron(blocks, np.ones((SIDE // GRID, SIDE // GRID)))[..., None]
            place = folder / split / f"c{label}" / f"{i:04d}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            pixels = (pixels + rng.normal(0, 6, (SIDE, SIDE, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(place)


def listed(folder: Path) -> None:
    """A table of the same images in random order."""
    files = sorted(path.relative_to(folder) for path in folder.rglob("*.png"))
    table = pd.DataFrame({"file": files, "split": [path.parts[0] for path in files],
                          "class": [path.parts[1] for path in files]})
    table.sample(frac=1, random_state=1).to_csv(folder / "list.csv", index=False)


def cell_of(dataset: str) -> Cell:
    cell = load_study("tiny", datasets=["cifar10_jpeg"], methods=["patronus"]).cell(
        "cifar10_jpeg", "patronus", 0)
    return cell.model_copy(update={
        "dataset": dataset, "reference": dataset, "method": "blocks", "module": MODULE, "model": {},
        "shape": (3, SIDE, SIDE), "code_dim": GRID**2, "generated": False,
        "sample": cell.sample.model_copy(update={"count": TAKEN}),
        "explain": cell.explain.model_copy(update={"images": 12, "dims": 12, "curves": 12}),
        "denoising": cell.denoising.model_copy(update={"images": TAKEN}),
        "intervene": cell.intervene.model_copy(update={"images": 24, "dims": 12})})


def job(stage: str, dataset: str) -> Job:
    options = {} if dataset == "sorted" else {"table": "list.csv", "split": "split"}
    about = Dataset(title=dataset, reader="folder", folder=".", shape=(3, SIDE, SIDE),
                    code_dim=GRID**2, labels="classes", options=options)
    return Job(stage, cell_of(dataset), about, Path("raw"), 1)


def stage(name: str, work, dataset: str) -> dict:
    """Run one stage; its record holds what later stages ask of it."""
    one = job(name, dataset)
    one.out.mkdir(parents=True, exist_ok=True)
    found = work(one) or {}
    save_json(one.out / "record.json", {"found": found, "settings": {"train": {}}} | {
        "found": {"steps": 0, "images_seen": 0, "precision": "32-true"} | found})
    return found


def made(dataset: str) -> pd.DataFrame:
    """All stages of one set; the table of its measures."""
    save_json(job("costs", dataset).out / "none.json", {"reason": "not asked"})
    for name, work in (("data", prepare), ("references", references.work),
                       ("checkpoints", train.work), ("codes", encode.work), ("priors", prior.work),
                       ("samples", sample.work), ("interventions", interventions.work),
                       ("denoising", denoising.work), ("explanations", explanations.work),
                       ("measures", measure.work)):
        stage(name, work, dataset)
    return pd.read_csv(job("measures", dataset).out / "measures.csv", keep_default_na=False,
                       na_values={key: [""] for key in ("value", "low", "high", "n")}).set_index(
        ["measure", "variant", "extractor"])


def classifier(images, labels, columns, settings, seed, where="cpu"):
    """One for all sets, so that features and answers of them can be compared."""
    torch.manual_seed(0)
    return Classifier(images.shape[1:], columns, settings.width).eval()


def heads(count: int, wanted: float, *names: object) -> np.ndarray:
    return np.arange(min(count, wanted))


@pytest.fixture(scope="module")
def patched():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def tables(tmp_path_factory, patched) -> dict[str, pd.DataFrame]:
    """Of the set in order, and of the same one shuffled."""
    place = tmp_path_factory.mktemp("sorted")
    patched.chdir(place)
    patched.setitem(sys.modules, MODULE, SimpleNamespace(Model=Blocks))
    patched.setattr(references, "fit", classifier)
    patched.setattr(dci, "TRAIN_N", TAKEN)
    patched.setattr(dci, "TEST_N", TAKEN)
    patched.setattr(references, "TRAIN_CAP", TAKEN)
    patched.setattr(interventions, "CAP", TAKEN)
    raw(place / "raw")
    found = {"sorted": made("sorted")}
    listed(place / "raw")
    found["shuffled"] = made("shuffled")
    return found


@pytest.fixture(scope="module")
def by_heads(tables, patched) -> pd.DataFrame:
    """What the sorted set would give if every stage and measure took its first rows."""
    for module in [one for name, one in sys.modules.items() if one is not None
                   and name.split(".")[0] in ("patronus", "analysis", "baselines")]:
        for name in ("random_rows", "shuffled_rows"):
            if hasattr(module, name):
                patched.setattr(module, name, heads)
    for folder in ("results", "work"):
        shutil.rmtree(folder, ignore_errors=True)
    return made("sorted")


def test_every_measure_of_a_sorted_set_is_that_of_the_shuffled_one(tables):
    """Within the intervals, where there are any; else within what other rows change."""
    one, other = (tables[name].dropna(subset="value") for name in ("sorted", "shuffled"))
    assert len(one) > 40 and one.index.equals(other.index)
    ends = one["low"].notna() & other["low"].notna()
    apart = ends & ((one["low"] > other["high"]) | (one["high"] < other["low"]))
    assert not apart.any(), one.index[apart].tolist()
    ratio = (one["value"] / other["value"])[one.index.get_level_values(0).str.contains("fd_cls")]
    assert len(ratio) and ratio.between(0.5, 2).all()
    assert (one["value"] - other["value"])[~ends].abs().max() < 0.2


def test_the_first_rows_of_a_sorted_set_would_fail_that(tables, by_heads):
    def of(table: pd.DataFrame, *row: str) -> float:
        return table.loc[row, "value"]

    row = ("rfd_cls", "test", "classifier")
    assert of(by_heads, *row) > 2.5 * max(of(tables[name], *row) for name in tables)
    rows = np.load(job("samples", "sorted").out / "rows.npy")
    assert rows.tolist() == list(range(TAKEN))

"""Stage "references": a data set's own small classifier, and features of its reference images.

Writes classifier.safetensors, classifier.json (what `load_classifier` needs, and its scores on the
test split), features_<extractor>_{train,test}.npy float32 (N, D) of 50,000 random training
images and of all test images, and none.json: why an extractor is missing.
"""

import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from analysis.features import (
    classifier_extractor,
    extract,
    inception_extractor,
    inception_file,
)
from analysis.spec import Labels
from patronus.checkpoint import restore, save_weights
from patronus.config import Classifier as Settings
from patronus.errors import NotApplicable, Problem
from patronus.files import load_json, save_json, save_npy, sha256
from patronus.method import to_unit
from patronus.prepared import Prepared
from patronus.rows import random_rows
from patronus.seeds import seed_for
from patronus.stage import Job, device, run

TRAIN_CAP = 50_000  # reference images of the training split (baselines.md section 10)
SMALLEST = 4  # pixels: the side at which the stride-2 stages end
WEIGHTS = "classifier.safetensors"


class Classifier(nn.Module):
    """A compact convolutional classifier with one head for each label column.

    Args:
        shape: (C, H, W) of the images.
        columns: name -> number of outputs: 1 for a binary column (a logit), K for a categorical
            one (K logits of a softmax).
        width: channels of the first stage; they double up to four times that.
    """

    def __init__(self, shape: tuple[int, int, int], columns: dict[str, int], width: int):
        super().__init__()
        self.shape, self.columns, self.width = tuple(shape), dict(columns), width
        stages = max(1, (min(shape[1:]) // SMALLEST).bit_length() - 1)
        widths = [width * min(2**i, 4) for i in range(stages + 1)]
        layers = [_block(shape[0], width, stride=1)]
        layers += [_block(a, b, stride=2) for a, b in zip(widths, widths[1:], strict=False)]
        self.blocks = nn.Sequential(*layers)
        self.head = nn.Linear(widths[-1], sum(columns.values()))

    def features(self, x: Tensor) -> Tensor:
        """Penultimate features (B, 4 * width) of images (B, C, H, W) in [-1, 1]."""
        return self.blocks(x).mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, sum of the columns' outputs), named by `outputs`."""
        return self.head(self.features(x))

    @property
    def outputs(self) -> list[str]:
        """Name of each logit: "column" when binary, "column=code" when categorical."""
        return [name if size == 1 else f"{name}={code}"
                for name, size in self.columns.items() for code in range(size)]

    def split(self, logits: Tensor) -> dict[str, Tensor]:
        """Logits (B, size) of each column."""
        return dict(zip(self.columns, logits.split(list(self.columns.values()), dim=1),
                        strict=True))

    def probabilities(self, x: Tensor) -> Tensor:
        """Probabilities in the order of `outputs`: sigmoid, or softmax within a column."""
        parts = self.split(self(x)).values()
        return torch.cat([p.sigmoid() if p.shape[1] == 1 else p.softmax(1) for p in parts], dim=1)


def _block(channels: int, width: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, width, 3, stride, 1, bias=False),
                         nn.BatchNorm2d(width), nn.ReLU(inplace=True))


def masked_loss(model: Classifier, logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over columns of cross-entropy (binary or softmax), over the known labels only.

    `labels` (B, columns) holds NaN where unknown; a column that is unknown throughout adds 0.
    """
    total = logits.sum() * 0
    for part, truth in zip(model.split(logits).values(), labels.T, strict=True):
        known = ~truth.isnan()
        if not known.any():
            continue
        part, truth = part[known], truth[known]
        total = total + (F.binary_cross_entropy_with_logits(part[:, 0], truth)
                         if part.shape[1] == 1 else F.cross_entropy(part, truth.long()))
    return total / len(model.columns)


def fit(images: np.ndarray, labels: np.ndarray, columns: dict[str, int], settings: Settings,
        seed: int, where: torch.device | str = "cpu") -> Classifier:
    """Train on images (N, C, H, W) uint8 and labels (N, columns) with NaN = unknown.

    AdamW with a one-cycle schedule; the same seed gives the same weights on CPU.
    """
    torch.manual_seed(seed)
    model = Classifier(images.shape[1:], columns, settings.width).to(where)
    size = min(settings.batch_size, len(images))
    steps = max(1, round(settings.epochs * (len(images) // size)))
    optimiser = torch.optim.AdamW(model.parameters(), lr=settings.lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.lr, total_steps=steps + 1)
    targets = torch.from_numpy(labels.astype(np.float32))
    bar = tqdm(_batches(len(images), size, steps, seed), total=steps, desc="classifier",
               unit="step", mininterval=2)
    for rows in bar:
        logits = model(to_unit(torch.from_numpy(images[rows]).to(where)))
        loss = masked_loss(model, logits, targets[rows].to(where))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
    if not loss.isfinite():
        raise Problem(f"references: the classifier's loss is {loss.item()}; lower classifier.lr")
    return model.eval()


def _batches(count: int, size: int, steps: int, seed: int):
    """`steps` batches of rows, in order of place (memory-mapped reading), one shuffle an epoch."""
    generator = np.random.default_rng(seed)
    rows = np.empty(0, dtype=int)
    for _ in range(steps):
        if len(rows) < size:
            rows = generator.permutation(count)
        yield np.sort(rows[:size])
        rows = rows[size:]


def scores(model: Classifier, probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Accuracy of each categorical column and AUROC of each binary one, where defined."""
    from sklearn.metrics import roc_auc_score  # a second to import, and most stages never score

    found: dict[str, float] = {}
    start = 0
    for (name, size), truth in zip(model.columns.items(), labels.T, strict=True):
        part, known = probabilities[:, start:start + size], ~np.isnan(truth)
        start += size
        if size > 1 and known.any():
            found[name] = float((part[known].argmax(1) == truth[known]).mean())
        elif len(np.unique(truth[known])) == 2:
            found[name] = float(roc_auc_score(truth[known], part[known, 0]))
    return found


def _summary(model: Classifier, found: dict[str, float]) -> dict[str, float]:
    """Mean accuracy over categorical columns, mean AUROC over binary ones."""
    kinds = {"accuracy": [v for k, v in found.items() if model.columns[k] > 1],
             "auroc": [v for k, v in found.items() if model.columns[k] == 1]}
    return {f"classifier_test_{kind}": float(np.mean(v)) for kind, v in kinds.items() if v}


def save_classifier(folder: Path, model: Classifier, test: dict[str, float]) -> None:
    """Write classifier.safetensors and, last, classifier.json with its scores on the test split."""
    save_weights(folder / WEIGHTS, model)
    save_json(folder / "classifier.json", {
        "shape": model.shape, "columns": model.columns, "width": model.width,
        "outputs": model.outputs, "test": test})


def load_classifier(folder: Path) -> Classifier:
    """The classifier of a references folder, in eval mode on the CPU.

    `.features(x)` (B, D), `.forward(x)` logits and `.probabilities(x)` named by `.outputs`,
    x in [-1, 1]. Raises Problem when a file is missing or does not fit.
    """
    about = load_json(folder / "classifier.json")
    model = Classifier(about["shape"], about["columns"], about["width"])
    restore(model, folder / WEIGHTS)
    return model.eval()


def label_columns(meta: dict) -> dict[str, int]:
    """Number of classifier outputs of each label column of a prepared set."""
    return {name: 1 if about["kind"] == "binary" else len(about["names"])
            for name, about in meta["labels"].items()}


def label_values(data: Prepared, split: str) -> np.ndarray:
    """Labels (N, columns) float64 of a split, NaN = unknown."""
    return Labels.of(data.labels(split), data.meta["labels"]).values


def work(job: Job) -> dict:
    """Train a data set's classifier; store features of its reference images."""
    where = device(job)
    data = Prepared.open(job.folder("data"))
    model, found = _classifier(job, data, where)
    extractors = {"classifier": classifier_extractor(model, where)}
    none, weights = {}, None
    try:
        weights = _inception_weights(job)
        extractors["inception"] = inception_extractor(weights, where, job.threads)
    except NotApplicable as reason:
        none["inception"] = str(reason)
    for name, extractor in extractors.items():
        for split, cap in (("train", TRAIN_CAP), ("test", math.inf)):
            images = data.images(split)
            rows = random_rows(len(images), cap, "references", "rows", job.cell.dataset)
            features = extract(images, extractor, f"{name} features of {split}", rows=rows)
            save_npy(job.out / f"features_{name}_{split}.npy", features)
    save_json(job.out / "none.json", none)
    return found | {"missing": none, "inception": weights and sha256(weights)}


def _classifier(job: Job, data: Prepared, where: torch.device) -> tuple[Classifier, dict]:
    """The trained and stored classifier, and its mean scores on the test split."""
    columns = label_columns(data.meta)
    if not columns:
        raise Problem(f"{job.folder('data')}/meta.json: names no label column; the set's "
                      "classifier needs one")
    model = fit(data.images("train"), label_values(data, "train"), columns, job.cell.classifier,
                seed_for("references", job.cell.dataset), where)
    probabilities = extract(data.images("test"), _answers(model, where), "classifier on test")
    found = scores(model, probabilities, label_values(data, "test"))
    save_classifier(job.out, model, found)
    return model, _summary(model, found)


def _answers(model: Classifier, where: torch.device):
    @torch.inference_mode()
    def run(images: np.ndarray) -> np.ndarray:
        return model.probabilities(to_unit(torch.from_numpy(images).to(where))).cpu().numpy()

    return run


def _inception_weights(job: Job) -> Path:
    if not job.cell.inception:
        raise NotApplicable(f"Inception features are switched off at scale {job.cell.scale}")
    return inception_file()


if __name__ == "__main__":
    run("references", "analysis.references", work, inputs=("data",))

"""Encoders that were never trained, as many as it takes to see how they differ.

What one untrained encoder's code tells is one of a population: its weights and prototypes are drawn
at random. No denoiser is needed for what is read from codes alone.
"""

from collections.abc import Iterator

import numpy as np
import torch

from patronus.config import Cell
from patronus.errors import NotApplicable
from patronus.method import to_unit
from patronus.model import spread_out
from patronus.noise import batches
from patronus.prepared import Prepared
from patronus.prototypes import Prototypes
from patronus.rows import random_rows
from patronus.seeds import seed_for
from patronus.train import PREPARE_IMAGES

COUNT = 20
MOST = 2000  # random images of a split that they encode
BATCH = 256
SHAPE = ("encoder_channels", "encoder_kernels", "encoder_strides", "encoder_paddings")


def population(cell: Cell, data: Prepared, rows: dict[str, np.ndarray],
               where: torch.device) -> Iterator[dict[str, np.ndarray]]:
    """Codes (len(rows), m) by split, of COUNT encoders of this cell's shape on this data set.

    Random weights, k-means++ prototypes among patches of training images, as the method
    `untrained` has them. Raises NotApplicable for a method without prototypes.
    """
    if not set(SHAPE) <= set(cell.model):
        raise NotApplicable("the method has no prototypes, of which untrained ones could be drawn")
    for k in range(COUNT):
        encoder = drawn(cell, data, k, where)
        yield {split: encoded(encoder, data.images(split), some) for split, some in rows.items()}


def drawn(cell: Cell, data: Prepared, k: int, where: torch.device) -> Prototypes:
    """The k-th untrained encoder of this cell's shape on this data set."""
    names = ("untrained", data.meta["dataset"], k)
    torch.manual_seed(seed_for(*names))
    encoder = Prototypes(cell.shape[0], cell.code_dim, *(cell.model[key] for key in SHAPE))
    images = data.images("train")
    few = random_rows(len(images), PREPARE_IMAGES, *names, "images")
    with torch.no_grad():
        encoder.to(where)
        patches = encoder.features(to_unit(torch.from_numpy(images[few]).to(where)))
        patches = patches.movedim(1, -1).flatten(0, 2)
        encoder.vectors.copy_(spread_out(patches, cell.code_dim))
    return encoder


@torch.inference_mode()
def encoded(encoder: Prototypes, images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Codes (len(rows), m) float32 of these rows of uint8 images (N, C, H, W)."""
    where = encoder.vectors.device
    return np.concatenate([
        encoder(to_unit(torch.from_numpy(images[rows[some]]).to(where))).cpu().numpy()
        for some in (slice(r.start, r.stop) for r in batches(len(rows), BATCH))])

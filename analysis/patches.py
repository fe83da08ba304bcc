"""What the most activated patches of a dimension look like to a classifier (measures.md B4).

A patch is the box where a dimension fires most in one of the test images with the highest
activation, cut out and resized; its embedding is what an early layer of the classifier answers.
"""

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import roi_align

from analysis.references import Classifier
from patronus.method import Method, to_unit
from patronus.noise import batches
from patronus.rows import shuffled_rows

PATCHES = 8  # most activated test images of each dimension
SIDE = 16  # pixels to which a patch is resized
EARLY = 2  # blocks of the classifier: edges and colours, not yet parts
POOLED = 4  # side of the grid that the embedding keeps


@torch.inference_mode()
def embedded(model: Method, classifier: Classifier, images: np.ndarray, codes: np.ndarray,
             dims: np.ndarray, size: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Embeddings of the patches of D dimensions, each (D, q, F) float32.

    images uint8 (N, C, H, W), codes (N, m), dims (D,). `patches`: of the q images that activate a
    dimension most; `patches_elsewhere`: the same boxes in random other images, so that what a
    place of the image looks like anyway can be told from what the dimension looks for. Raises
    NotApplicable for a method without boxes.
    """
    q = min(PATCHES, len(codes))
    rows = strongest(codes[:, dims], q)
    others = rng.integers(len(codes), size=rows.shape)
    place = next(classifier.parameters()).device
    flat, dim = rows.ravel(), torch.from_numpy(np.repeat(dims, q)).to(place)
    found = {"patches": [], "patches_elsewhere": []}
    for some in batches(len(flat), size):
        part = slice(some.start, some.stop)
        x0, x1 = (to_unit(torch.from_numpy(np.asarray(images[of[part]])).to(place))
                  for of in (flat, others.ravel()))
        boxes = model.locate(x0).boxes
        boxes = boxes[torch.arange(len(x0), device=place), dim[part]]
        found["patches"].append(embed(classifier, x0, boxes))
        found["patches_elsewhere"].append(embed(classifier, x1, boxes))
    return {key: torch.cat(parts).view(*rows.shape, -1).cpu().numpy()
            for key, parts in found.items()}


def strongest(codes: np.ndarray, q: int) -> np.ndarray:
    """Rows (D, q) of the largest of codes (N, D), falling; equal ones in random order."""
    order = shuffled_rows(len(codes), len(codes), "patches")
    return order[np.argsort(-codes[order], axis=0, kind="stable")[:q]].T


def embed(classifier: Classifier, x0: Tensor, boxes: Tensor) -> Tensor:
    """Early features (B, F) of the patch in box (B, 4): y0, x0, y1, x1 of images (B, C, H, W)."""
    at = torch.arange(len(x0), device=x0.device)[:, None]
    corners = torch.cat([at, boxes[:, [1, 0, 3, 2]]], 1).to(x0)
    patch = roi_align(x0, corners, SIDE, sampling_ratio=2, aligned=True)
    early = classifier.blocks[:EARLY](patch)
    return torch.nn.functional.adaptive_avg_pool2d(early, POOLED).flatten(1)

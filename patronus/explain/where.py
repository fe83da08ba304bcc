"""Where in an image each code dimension fires: its map, and the box of its strongest patch."""

import numpy as np
import torch
from torch import Tensor

from patronus.explain.what import in_batches
from patronus.method import Method


@torch.inference_mode()
def fires(model: Method, x0: Tensor, dims: np.ndarray, settings) -> dict[str, np.ndarray]:
    """Activation (n, P), boxes (n, P, 4) and maps float16 (n, P, h, w) of images (n, C, H, W).

    x0 in [-1, 1]; boxes are y0, x0, y1, x1 in pixels, half open; the largest value of a map is
    the activation, up to the rounding to 16 bits.
    """
    dim = torch.from_numpy(np.array(dims)).to(x0.device)
    found = in_batches(lambda r: tuple(part[:, dim] for part in model.locate(x0[r])), len(x0),
                       settings)
    activation, boxes, maps = (part.cpu().numpy() for part in found)
    return {"activation": activation, "boxes": boxes, "maps": maps.astype(np.float16)}

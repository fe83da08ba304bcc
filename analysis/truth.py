"""Where the drawn parts of generated images are, and what boxes and changes have to do with them.

Pure functions on arrays (measures.md B9); no torch here. K parts, n images, D dimensions. A part
that the maker of the images does not draw under its output's name has an empty mask everywhere.
"""

import numpy as np


def masks(parts: np.ndarray, names: list[str], outputs: list[str]) -> np.ndarray:
    """bool (n, K, H, W): which pixels show what each output speaks of.

    parts (n, H, W) uint32, bit b of which belongs to names[b].
    """
    found = np.zeros((len(parts), len(outputs), *parts.shape[1:]), bool)
    for k, output in enumerate(outputs):
        if output in names:
            found[:, k] = parts >> np.uint32(names.index(output)) & 1
    return found


def regions(parts: np.ndarray, names: list[str], outputs: list[str]) -> np.ndarray:
    """bool (K, H, W): where each part lies in the images that show it.

    The pixels that show it most often, as many as it has in the median image: what an edit that
    adds the part to an image without it ought to change.
    """
    return np.stack([_region(masks(parts, names, [output])[:, 0]) for output in outputs])


def _region(shown: np.ndarray) -> np.ndarray:
    """bool (H, W) of one part, from shown (N, H, W) bool."""
    sizes = shown.sum((1, 2))
    if not sizes.any():
        return np.zeros(shown.shape[1:], bool)
    often = shown.mean(0).ravel()
    chosen = np.zeros(often.size, bool)
    chosen[np.argsort(-often, kind="stable")[:round(np.median(sizes[sizes > 0]))]] = True
    return chosen.reshape(shown.shape[1:])


def boxes_against(shown: np.ndarray, boxes: np.ndarray,
                  best_at: np.ndarray) -> dict[str, np.ndarray]:
    """Boxes of the best dimensions against the masks of images that show the part.

    shown (n, K, H, W) bool, boxes (n, D, 4), best_at (K,) positions, -1 where undefined. Returns,
    NaN where an image does not show the part: truth_iou and truth_hit (K, n), intersection over
    union with the best dimension's box and whether the box's middle lies in the mask; and the same
    as means over all D dimensions: truth_iou_any, truth_hit_any.
    """
    iou, hit = overlap(shown, boxes), middles(shown, boxes)
    there = shown.any((2, 3)).T
    found = {}
    for key, values in (("truth_iou", iou), ("truth_hit", hit)):
        found |= {key: np.where(there, picked(values, best_at), np.nan),
                  f"{key}_any": np.where(there, values.mean(0), np.nan)}
    return found


def overlap(shown: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union (D, K, n) of boxes (n, D, 4) and masks shown (n, K, H, W)."""
    sums = np.pad(shown.astype(np.int64).cumsum(2).cumsum(3), ((0, 0), (0, 0), (1, 0), (1, 0)))
    y0, x0, y1, x1 = (boxes[..., i].T for i in range(4))  # (D, n)
    at = np.arange(len(shown))
    inside = sums[at, :, y1, x1] - sums[at, :, y0, x1] - sums[at, :, y1, x0] + sums[at, :, y0, x0]
    area, own = ((y1 - y0) * (x1 - x0))[..., None], sums[:, :, -1, -1]  # inside (D, n, K)
    return np.moveaxis(inside / np.maximum(area + own - inside, 1), 1, 2)


def middles(shown: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """1.0 (D, K, n) where the middle pixel of boxes (n, D, 4) lies in shown (n, K, H, W)."""
    y, x = ((boxes[..., i] + boxes[..., i + 2]).T // 2 for i in (0, 1))
    return np.moveaxis(shown[np.arange(len(shown)), :, y, x].astype(float), 1, 2)


def energy_against(within: np.ndarray, area: np.ndarray, lack: np.ndarray,
                   best_at: np.ndarray) -> dict[str, np.ndarray]:
    """Change energy inside the region of a part over the region's share of the image.

    within (D, n, K) shares of the energy of raising each dimension, area (K,) in [0, 1], lack
    (n, K) bool: images that do not show the part. Returns truth_energy (K, n) of the best
    dimension and truth_energy_any, the mean over all; NaN elsewhere. 1: as if spread evenly.
    """
    ratio = np.full(within.shape, np.nan)
    np.divide(within, area, out=ratio, where=np.broadcast_to(area > 0, within.shape))
    ratio = np.moveaxis(ratio, 2, 1)  # (D, K, n)
    counted = ~np.isnan(ratio)
    every = np.divide(np.where(counted, ratio, 0).sum(0), counted.sum(0),
                      out=np.full(ratio.shape[1:], np.nan), where=counted.any(0))
    return {"truth_energy": np.where(lack.T, picked(ratio, best_at), np.nan),
            "truth_energy_any": np.where(lack.T, every, np.nan)}


def picked(values: np.ndarray, best_at: np.ndarray) -> np.ndarray:
    """values[best_at[k], k] (K, n) of values (D, K, n); NaN where best_at is -1."""
    found = values[best_at, np.arange(len(best_at))].astype(float)
    found[best_at < 0] = np.nan
    return found

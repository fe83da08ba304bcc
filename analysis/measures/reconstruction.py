"""Reconstruction of random test images from their codes: MSE, PSNR, SSIM.

Variant "inverted": x_T inverted from the image, which carries most of it by itself. Variant
"random": random x_T, what the code alone carries. uint8 levels are divided by 255: data range
[0, 1].
"""

from collections.abc import Callable

import numpy as np

from analysis.resampling import of_images
from analysis.spec import Known, Row, Spec, Value
from patronus.errors import NotApplicable

BATCH = 256
# uint8 images differ from the truth by rounding alone up to here (58.9 dB): the ceiling of PSNR.
ROUNDING_MSE = 1 / (12 * 255**2)
SSIM_WINDOW = 11


def squared_errors(images: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Mean squared error (N,) of each image (N, C, H, W) uint8, in units of the range [0, 1]."""
    difference = (images.astype(np.float32) - truth) / 255
    return np.square(difference).mean(axis=(1, 2, 3), dtype=np.float64)


def psnrs(images: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio (N,) in dB of each image, at most 58.9 (rounding to uint8)."""
    return -10 * np.log10(np.maximum(squared_errors(images, truth), ROUNDING_MSE))


def ssims(images: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Structural similarity (N,) of each image (Wang et al. 2004; Gaussian 11x11, sigma 1.5)."""
    import torch
    from torchmetrics.functional.image import structural_similarity_index_measure as ssim

    if min(images.shape[2:]) < SSIM_WINDOW:
        raise NotApplicable(f"SSIM needs images of at least {SSIM_WINDOW} pixels")
    pair = [torch.from_numpy(part / np.float32(255)) for part in (images, truth)]
    return np.atleast_1d(ssim(*pair, data_range=1.0, reduction="none").numpy())


def _mean(function: Callable) -> Callable[..., Value]:
    """`function` over batches, then the mean over images with its 95 % interval."""
    def compute(images: np.ndarray, truth: np.ndarray) -> Value:
        values = np.concatenate([function(images[i:i + BATCH], truth[i:i + BATCH])
                                 for i in range(0, len(images), BATCH)])
        return of_images(values)

    return compute


def _spec(name: str, title: str, unit: str, direction: str, function: Callable) -> Spec:
    compute = _mean(function)
    rows = tuple(Row(variant, compute, (f"samples.{samples}", "images.sampled"), "test")
                 for variant, samples in (("inverted", "reconstruction"),
                                          ("random", "conditional")))
    return Spec(name=name, title=title, unit=unit, direction=direction, paired=True,
                source="Wang et al. 2004; torchmetrics" if function is ssims else "definition",
                rows=rows, level="95 %", resamples="images")


SPECS = (
    _spec("mse", "MSE", "squared error, data range [0, 1]", "lower", squared_errors),
    _spec("psnr", "PSNR", "dB, data range [0, 1]", "higher", psnrs),
    _spec("ssim", "SSIM", "similarity, data range [0, 1]", "higher", ssims),
)


def _same(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    images = rng.integers(0, 256, size=(6, 3, 16, 16), dtype=np.uint8)
    return images, images


def _unrelated(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Independent uniform levels: E(a - b)^2 = 1/6 of the squared range, 7.8 dB, no structure."""
    return _same(rng)[0], _same(rng)[0]


def _flat(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Black against white, where the structure term is 0 / 0 without its constants."""
    return np.zeros((1, 1, 16, 16), np.uint8), np.full((1, 1, 16, 16), 255, np.uint8)


def _tiny(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return (np.zeros((2, 1, 8, 8), np.uint8),) * 2


KNOWN = (
    Known("mse", "perfect", _same, 0, 0),
    Known("mse", "null", _unrelated, 0.15, 0.18),
    Known("mse", "hostile", _flat, 1 - 1e-6, 1 + 1e-6),
    Known("psnr", "perfect", _same, 58.9, 59.0),
    Known("psnr", "null", _unrelated, 7.5, 8.1),
    Known("psnr", "hostile", _flat, -1e-5, 1e-5),
    Known("ssim", "perfect", _same, 1 - 1e-5, 1 + 1e-5),
    Known("ssim", "null", _unrelated, -0.1, 0.1),
    Known("ssim", "hostile", _flat, 0, 1e-3),
    Known("ssim", "hostile", _tiny, reason="11 pixels"),
)

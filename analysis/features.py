"""Features of images for Frechet and kernel distances: the official Inception, or a classifier.

An extractor is a function of uint8 images (B, C, H, W) that gives float32 features (B, D).
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from patronus.errors import NotApplicable, Problem
from patronus.files import sha256
from patronus.method import to_unit

Extractor = Callable[[np.ndarray], np.ndarray]
NAME = "inception-2015-12-05.pt"  # clean-fid's name for the official TorchScript file
SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"  # of NVIDIA's file
CACHE = Path("/tmp", NAME)  # where clean-fid keeps it
WIDTH = 2048
CURE = (f"the official Inception weights are not here: set PATRONUS_INCEPTION to the file {NAME}, "
        "or PATRONUS_DOWNLOAD=1 to let clean-fid download it; then rerun references and measures")


def extract(images: np.ndarray, extractor: Extractor, about: str, batch_size: int = 128,
            rows: np.ndarray | None = None) -> np.ndarray:
    """Features (N, D) float32 of images (N, C, H, W) uint8, batch by batch, with progress.

    `rows` are those of the images that count, in their order; None: all.
    """
    rows = np.arange(len(images)) if rows is None else rows
    starts = tqdm(range(0, len(rows), batch_size), desc=about, unit="batch", mininterval=2)
    return np.concatenate([extractor(np.array(images[rows[i:i + batch_size]])) for i in starts])


def classifier_extractor(model: nn.Module, where: torch.device | str = "cpu") -> Extractor:
    """Penultimate features of a set's own classifier (analysis.references)."""
    model = model.eval().to(where)

    @torch.inference_mode()
    def run(images: np.ndarray) -> np.ndarray:
        return model.features(to_unit(torch.from_numpy(images).to(where))).float().cpu().numpy()

    return run


def inception_file() -> Path:
    """The official weights: PATRONUS_INCEPTION, clean-fid's cache, or a download if allowed.

    Raises Problem when the named file is not there, NotApplicable (with the cure) when there is
    no file and no leave to download.
    """
    named = os.environ.get("PATRONUS_INCEPTION")
    if named:
        if not Path(named).is_file():
            raise Problem(f"{named}: named by PATRONUS_INCEPTION, is not a file; "
                          "mend the variable or unset it")
        return Path(named)
    if not CACHE.is_file():
        if os.environ.get("PATRONUS_DOWNLOAD") != "1":
            raise NotApplicable(CURE)
        _download()
    elif sha256(CACHE) != SHA256:  # anyone may write into that folder
        raise Problem(f"{CACHE}: has a wrong checksum; delete it, or set PATRONUS_INCEPTION")
    return CACHE


def _download() -> None:
    """clean-fid downloads into a scratch folder first, so a broken download leaves nothing."""
    from cleanfid.downloads_helper import check_download_inception

    with tempfile.TemporaryDirectory(dir=CACHE.parent) as scratch:
        try:
            path = check_download_inception(scratch)
        except OSError as error:
            raise Problem(f"{NAME}: cannot be downloaded ({error}); fetch it by hand and set "
                          "PATRONUS_INCEPTION") from error
        if sha256(Path(path)) != SHA256:
            raise Problem(f"{NAME}: what was downloaded has a wrong checksum; fetch it by hand and "
                          "set PATRONUS_INCEPTION")
        shutil.move(path, CACHE)


def inception_extractor(path: Path, where: torch.device | str = "cpu", threads: int = 1) \
        -> Extractor:
    """clean-fid's "clean" Inception features (B, 2048) from TorchScript weights at `path`.

    Each channel is resized to 299 by PIL's bicubic filter without rounding, gray is replicated
    to RGB (Parmar et al. 2022). Raises Problem when the file is no such network.
    """
    from cleanfid.resize import build_resizer

    model = _inception(path).to(where)
    resize = build_resizer("clean")

    def run(images: np.ndarray) -> np.ndarray:
        with ThreadPoolExecutor(threads) as pool:
            big = np.stack(list(pool.map(resize, _rgb(images))))
        with torch.inference_mode():
            batch = torch.from_numpy(big).permute(0, 3, 1, 2).contiguous().to(where)
            return model(batch).float().cpu().numpy()

    return run


def _rgb(images: np.ndarray) -> Iterator[np.ndarray]:
    """(H, W, 3) uint8 of each (C, H, W) image, C = 1 or 3."""
    for image in images:
        yield np.broadcast_to(image, (3, *image.shape[1:])).transpose(1, 2, 0)


def _inception(path: Path) -> nn.Module:
    """clean-fid opens a folder that holds the file under its own name."""
    from cleanfid.inception_torchscript import InceptionV3W

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, NAME).symlink_to(path.resolve())
        try:
            model = InceptionV3W(folder, download=False).eval()
        except (RuntimeError, AttributeError) as error:
            raise Problem(f"{path}: is not the TorchScript Inception of clean-fid; fetch {NAME} "
                          "again") from error
    return model.requires_grad_(False)

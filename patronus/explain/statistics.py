"""What is usual for a model: quantiles of its activations over a reference set of images.

They say how unusual an image is, and what "max" means: v_max_j, the largest activation of
prototype j over the set (patronus.md section 4). The 9.21 that the equation of s allows is no
such value: no image comes near it, and the denoiser has never met it.
"""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from patronus.encode import encode
from patronus.errors import Problem
from patronus.explain.what import QUANTILES
from patronus.files import load_json, save_npz
from patronus.method import Method
from patronus.prepare import fit
from patronus.reading import images_below, open_image
from patronus.seeds import seed_for

LEAST = 1e-3  # of a spread, as in patronus.model.RunningScale: a dead prototype is never unusual
MOST_IMAGES = 2000  # of a reference folder
ONE_SIGMA = (0.1587, 0.8413)  # levels one standard deviation from the mean of a normal variable
NAME = "statistics.npz"
PLACES = (NAME, "what.npz", "train.npy")  # in a folder that holds them, the best first


@dataclass(frozen=True)
class Statistics:
    """Activations of m prototypes over a reference set."""

    v_max: np.ndarray  # (m,)
    q: np.ndarray  # (Q,) levels, rising from 0 to 1
    quantiles: np.ndarray  # (m, Q)
    over: str  # which images, in words
    nearest: dict[int, np.ndarray] = field(default_factory=dict)  # by prototype: see `patches`

    @classmethod
    def of(cls, codes: np.ndarray, over: str) -> "Statistics":
        """Of codes (N, m)."""
        return cls(codes.max(0), QUANTILES, np.quantile(codes, QUANTILES, axis=0).T, over)

    def save(self, folder: Path) -> None:
        held = {f"patch_{j}": patch for j, patch in self.nearest.items()}
        save_npz(folder / NAME, v_max=self.v_max.astype(np.float32), q=self.q,
                 quantiles=self.quantiles.astype(np.float32), over=np.array(self.over), **held)

    def level(self, q: float) -> np.ndarray:
        """The q-quantile (m,), linear between the stored ones."""
        return np.array([np.interp(q, self.q, row) for row in self.quantiles])

    @property
    def usual(self) -> np.ndarray:
        """The median (m,)."""
        return self.level(0.5)

    def unusual(self, s: np.ndarray) -> np.ndarray:
        """z (m,) of activations (m,): distance from the median in spreads.

        A spread is half the distance of the 16 and 84 % quantiles: the standard deviation of a
        normal variable, but not moved by a few extreme images.
        """
        low, high = map(self.level, ONE_SIGMA)
        return (s - self.usual) / np.maximum((high - low) / 2, LEAST)

    def share_below(self, s: np.ndarray) -> np.ndarray:
        """Share (m,) of the reference images whose activation is lower."""
        return np.array([np.interp(value, row, self.q)
                         for value, row in zip(s, self.quantiles, strict=True)])


def find(model_folder: Path) -> Path | None:
    """The statistics that belong to a checkpoint folder, in it or where the study keeps them."""
    folder = model_folder.absolute()
    parts = folder.parts
    beside = [folder, folder.parent / "explanation"]
    if "checkpoints" in parts:  # results/<scale>/checkpoints/<dataset>/<method>/seed<k>
        at = len(parts) - 1 - parts[::-1].index("checkpoints")
        beside += [Path(*parts[:at], stage, *parts[at + 1:]) for stage in ("explanations", "codes")]
    return next(filter(None, map(within, beside)), None)


def within(folder: Path) -> Path | None:
    """The best file of statistics in a folder."""
    return next((folder / name for name in PLACES if (folder / name).is_file()), None)


def of_model(model: Method, folder: Path, reference: Path | None) -> Statistics | None:
    """The statistics for a model: from `reference` (a file, or a folder of files or of images),
    else those found beside its checkpoint; None where there are none."""
    if reference is not None and not reference.exists():
        raise Problem(f"{reference}: does not exist; name a folder of images like those the model "
                      "learned from")
    path = find(folder) if reference is None else reference
    if path is not None and path.is_dir():
        path = within(path) or path
    if path is None:
        return None
    found = of_images(model, path) if path.is_dir() else read(path)
    if len(found.v_max) != model.code_dim:
        raise Problem(f"{path}: is of {len(found.v_max)} prototypes, and {folder} has "
                      f"{model.code_dim}; name another by --reference")
    return found


def read(path: Path) -> Statistics:
    """From statistics.npz or what.npz, or from codes (N, m) in an .npy file."""
    try:
        held = np.load(path, allow_pickle=False)
        found = Statistics.of(held, f"{len(held):,} {path.stem} images") if path.suffix == ".npy" \
            else Statistics(held["v_max"], held["q"], held["quantiles"], described(path, held),
                            patches(held))
    except (OSError, ValueError, KeyError, IndexError, zipfile.BadZipFile) as error:
        raise Problem(f"{path}: is no whole file of statistics ({' '.join(str(error).split())}); "
                      "name a what.npz, or a folder of images") from error
    if not (np.isfinite(found.quantiles).all() and np.isfinite(found.v_max).all()):
        raise Problem(f"{path}: holds NaN or infinity; make it anew or delete it")
    return found


def patches(held: Mapping[str, np.ndarray]) -> dict[int, np.ndarray]:
    """By prototype, the training patch (C, h, w) uint8 that activates it most, where it is known.

    From statistics.npz (patch_<j>), or from what.npz or what `what.nearest_patches` found.
    """
    if "near_images" not in held:
        return {int(key.removeprefix("patch_")): held[key] for key in held
                if key.startswith("patch_")}
    return {int(j): image[:, y0:y1, x0:x1] for j, image, (y0, x0, y1, x1)
            in zip(held["order"], held["near_images"], held["near_boxes"], strict=True)}


def described(path: Path, held: np.lib.npyio.NpzFile) -> str:
    """Over which images the statistics of a file are, in words."""
    if "over" in held:
        return str(held["over"])
    beside = path.with_name("what.json")
    if not beside.is_file():
        return f"the images of {path.name}"
    about = load_json(beside)
    return f"the {about['split']} images of {titled(about['title'], about['generated'])}"


def titled(title: str, generated: bool) -> str:
    """A data set's name; a generated one says so, once."""
    mark = " (generated stand-in)"
    return title.removesuffix(mark) + (mark if generated else "")


def of_images(model: Method, folder: Path) -> Statistics:
    """Of the images below a folder, at most MOST_IMAGES of them, chosen by their names alone."""
    names = sorted(images_below(folder), key=lambda name: seed_for("reference", name))
    if len(names) < 2:
        raise Problem(f"{folder}: holds {len(names) or 'no'} image(s), what.npz or statistics.npz; "
                      "name a folder of at least two images")
    chosen = names[:MOST_IMAGES]
    images = np.stack([fit(open_image(folder / name), model.shape) for name in chosen])
    return Statistics.of(encode(model, images), f"{len(chosen):,} images in {folder.name}")

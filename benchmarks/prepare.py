"""Preparation: images once into an array, against decoding them anew in every epoch.

    python -m benchmarks.prepare

The same 178 x 218 colour pictures as JPEG (quality 95) and as PNG files, made on the spot. Three
ways to have all of them once, 64 x 64 in [-1, 1], in processor seconds (threads add up):

- prepare: patronus.prepare's own path (open, resize, store uint8 on disk) with two threads;
- decode: what a training loop without preparation does in every epoch: open, resize, to float;
- slice: what ours does instead: rows of the prepared array in random order, to float.

The reference "bare" is PIL alone, opening and resizing: what no preparation can do without.
"""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch
from PIL import Image

from benchmarks import timing
from patronus.method import to_unit
from patronus.prepare import Array, fill, fit, row_of
from patronus.reading import Source, open_image

SHAPE = (3, 64, 64)
SIDES = 178, 218  # width and height of CelebA's aligned images
BATCH, THREADS = 64, 2
FORMATS = {"jpeg": {"quality": 95}, "png": {}}


def picture(rng: np.random.Generator) -> Image.Image:
    """Smooth colours with grain: about as hard to decode as a photograph."""
    coarse = Image.fromarray(rng.integers(0, 256, (14, 11, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize(SIDES, Image.Resampling.BICUBIC), np.float32)
    grain = rng.normal(0, 4, smooth.shape).astype(np.float32)
    return Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8))


def written(folder: Path, count: int, suffix: str) -> Source:
    """`count` files of one format, the same pictures for each, as a source."""
    rng = np.random.default_rng(0)
    paths = [folder / f"{i:05d}.{suffix}" for i in range(count)]
    for path in paths:
        picture(rng).save(path, **FORMATS[suffix])
    table = pd.DataFrame({"id": [path.name for path in paths], "split": "train"})
    return Source(table, {}, lambda i: open_image(paths[i]), {})


def ways(source: Source, folder: Path) -> dict[str, Callable[[], object]]:
    """Each goes once over all images of the source."""
    count = len(source.table)
    order = np.random.default_rng(1).permutation(count)
    batches = [order[i:i + BATCH] for i in range(0, count, BATCH)]
    array = Array("train", count, SHAPE, "|u1", lambda i: row_of(source, i, SHAPE, None, []))

    def prepare() -> None:
        (folder / "state.json").unlink(missing_ok=True)  # or it finds that all is done
        fill([array], folder, "key", THREADS, [])

    def decode() -> None:
        for rows in batches:
            to_unit(torch.from_numpy(np.stack([fit(source.load(i), SHAPE) for i in rows])))

    def sliced() -> None:
        images = np.load(folder / "train.npy", mmap_mode="r")
        for rows in batches:
            to_unit(torch.from_numpy(images[rows]))

    def bare() -> None:
        for name in source.table["id"]:
            with Image.open(folder / name) as image:
                image.resize(SHAPE[:0:-1], Image.Resampling.BICUBIC)

    return {"prepare": prepare, "decode": decode, "slice": sliced, "bare": bare}


def compare(suffix: str, count: int, repeats: int) -> dict:
    """Images per processor second of each way, and ratios round by round."""
    with TemporaryDirectory() as folder:
        source = written(Path(folder), count, suffix)
        size = sum((Path(folder) / name).stat().st_size for name in source.table["id"])
        seconds = timing.timed(ways(source, Path(folder)), repeats)
    return {"kib_per_image": size / count / 1024,
            "images_per_second": {name: timing.spread([count / one for one in found])
                                  for name, found in seconds.items()},
            "times_faster_than_decode": timing.ratios(seconds, "decode"),
            "times_slower_than_bare": {name: timing.spread(
                [one / least for one, least in zip(found, seconds["bare"], strict=True)])
                for name, found in seconds.items() if name in ("prepare", "decode")},
            "epochs_until_preparing_pays": timing.spread(
                [p / (d - s) for p, d, s in zip(seconds["prepare"], seconds["decode"],
                                                seconds["slice"], strict=True)])}


def main() -> None:
    """Compare, write benchmarks/results/prepare.json and print one line."""
    given = timing.arguments(__doc__, "prepare", repeats=5, images=500)
    torch.set_num_threads(1)
    found = {suffix: compare(suffix, given.images, given.repeats) for suffix in FORMATS}
    timing.save(given.out, {"images": given.images, "repeats": given.repeats, "from": SIDES,
                            "to": SHAPE, "threads": THREADS, "sources": found})
    print("images per processor second: " + "; ".join(said(*one) for one in found.items()))


def said(suffix: str, found: dict) -> str:
    speed = {name: one["median"] for name, one in found["images_per_second"].items()}
    ratio = found["times_faster_than_decode"]["slice"]
    return (f"{suffix}: prepare {speed['prepare']:.0f}, decode each epoch {speed['decode']:.0f}, "
            f"slice the prepared array {speed['slice']:,.0f} ({ratio['min']:.0f} to "
            f"{ratio['max']:.0f} times faster than decoding)")


if __name__ == "__main__":
    main()

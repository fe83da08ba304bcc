"""Writes a generated stand-in for a data set, in the official layout of its reader.

    python -m patronus.generate --scale smoke --dataset celeba --root raw/generated/smoke

The images come from the data set's world (patronus/worlds/), their number from the scale. Beside
them lie generated.json (what made them, and digests of the set's own files), parts/ (which pixels
of a test image belong to which attribute) and GENERATED.txt. The same command gives the same
bytes. A planted correlation holds in the training images only: the test images stay fair.
"""

import argparse
import importlib
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
from tqdm import tqdm

from patronus.config import Dataset, Generated, load_study
from patronus.errors import Problem, guarded
from patronus.files import save_json, save_text, sha256
from patronus.prepare import reader
from patronus.raw import MANIFEST, data_root, raw_folder
from patronus.reading import IMAGE_SUFFIXES, Picture
from patronus.seeds import seed_for
from patronus.sources import source_hash

NOTICE = "GENERATED.txt"
BLOCK = 512  # pictures that may wait in memory to be written
TEXT = """These images are drawn by patronus/generate.py. They are a stand-in in the layout of
{title}, and no image of that data set is among them.
"""


def generate(scale: str, name: str, root: Path | None, threads: int = 1) -> Path:
    """Write the stand-in below `root`; the folder appears when it is whole."""
    study = load_study(scale, datasets=[name])
    dataset, size = study.datasets[name], study.generated
    if size is None or dataset.world is None:
        raise Problem(f"scales/{scale}.yaml: generates no stand-in for {name}; it needs "
                      f"`generated:` there and `world:` in datasets/{name}.yaml")
    folder = raw_folder(name, dataset, root or data_root(scale, True), True)
    refuse_foreign(folder)
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        write(part, scale, name, dataset, size, threads)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def refuse_foreign(folder: Path) -> None:
    """Raises Problem rather than replace anything that was not generated."""
    marked = any((folder / mark).is_file() for mark in (NOTICE, MANIFEST))
    if folder.is_dir() and any(folder.iterdir()) and not marked:
        raise Problem(f"{folder}: holds files that are not a generated stand-in, and they would "
                      "be replaced; give another --root")


def write(folder: Path, scale: str, name: str, dataset: Dataset, size: Generated,
          threads: int) -> None:
    """All files of the stand-in, the manifest last."""
    world = importlib.import_module(f"patronus.worlds.{dataset.world}")
    save_text(folder / NOTICE, TEXT.format(title=dataset.title))
    layout = reader(dataset.reader)
    plant = size.plant.get(name, dataset.plant)
    fair = dataset.shortcut.reference if dataset.shortcut else name  # official sets share these
    layout.write(folder, pictures(world, layout.WORLD, {"train": name, "test": fair}, size, plant,
                                  threads))
    files = [f for f in sorted(folder.rglob("*")) if f.is_file() and f.name != NOTICE
             and f.suffix not in IMAGE_SUFFIXES]
    save_json(folder / MANIFEST, {
        "dataset": name, "scale": scale, "world": dataset.world, "seed": size.seed,
        "counts": {"train": size.train, "test": size.test}, "plant": plant,
        "sources": source_hash("patronus.generate", f"patronus.worlds.{dataset.world}",
                               f"patronus.data.{dataset.reader}"),
        "parts": list(parts_of(world)), "negated": list(getattr(world, "NEGATED", ())),
        "files": {str(f.relative_to(folder)): sha256(f) for f in files}})


def parts_of(world: ModuleType) -> tuple[str, ...]:
    """Names of the bits of the world's masks."""
    return world.DRAWN if hasattr(world, "DRAWN") else world.PARTS


def pictures(world: ModuleType, options: dict, names: dict[str, str], size: Generated,
             plant: tuple | None, threads: int) -> Iterator[Picture]:
    """Training images, then test images; each depends on its split's name, seed and index only."""
    bar = tqdm(total=size.train + size.test, desc=f"drawing {names['train']}", unit=" images",
               mininterval=0.5 if sys.stderr.isatty() else 20)
    with bar, ProcessPoolExecutor(threads) as pool:
        for split, count, tie in (("train", size.train, plant), ("test", size.test, None)):
            seed = seed_for("world", names[split], split, size.seed)
            rows = labels_of(world, count, seed, tie, options).to_dict("records")
            for start in range(0, count, BLOCK):
                some = range(start, min(start + BLOCK, count))
                for picture in pool.map(partial(draw, world.__name__, split, seed),
                                        some, [rows[i] for i in some], chunksize=8):
                    yield picture
                    bar.update()


def draw(world: str, split: str, seed: int, index: int, row: dict) -> Picture:
    """One picture; a function of its own, so that several processes can draw."""
    image, parts = importlib.import_module(world).render(row, seed, index)
    return Picture(split, seed, index, row, image, np.asarray(parts, np.uint32))


def labels_of(world: ModuleType, count: int, seed: int, plant: tuple | None,
              options: dict) -> pd.DataFrame:
    """The world's labels; a Problem if it cannot plant that correlation."""
    try:
        return world.sample_labels(count, seed, plant=plant, **options)
    except ValueError as error:
        raise Problem(f"`plant` of the scale or of the data set: {error}") from None


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a generated stand-in for a data set.")
    parser.add_argument("--scale", required=True, help="a file in config/scales")
    parser.add_argument("--dataset", required=True, help="a file in config/datasets")
    parser.add_argument("--root", type=Path, help="folder of raw data")
    parser.add_argument("--threads", type=int, default=1, help="processes that draw")
    args = parser.parse_args()
    print(f"generated stand-in for {args.dataset}: "
          f"{generate(args.scale, args.dataset, args.root, max(1, args.threads))}")


if __name__ == "__main__":
    guarded(main)

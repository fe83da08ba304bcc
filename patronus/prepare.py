"""Stage "data": raw images in, memory-mapped uint8 arrays and a label table out.

Preparation (patronus.md section 2): to gray or RGB, then squashed to the set's height and width
by PIL's bicubic filter, whose support grows with the reduction (antialiased); this is what
torchvision's Resize does to PIL images. Bicubic weights overshoot at edges; storing uint8 rounds
and clips that, so no pixel leaves [0, 255]. Images of the right size are kept bit by bit.

Arrays grow in work/ chunk by chunk and get their names in results/ when all are whole, so a
killed preparation goes on where it was and memory stays at one chunk.
"""

import hashlib
import importlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
from PIL import Image, ImageCms
from tqdm import tqdm

from patronus.config import Dataset, Keep
from patronus.errors import Problem
from patronus.files import load_json, move, save_json, save_text
from patronus.prepared import SPLITS
from patronus.raw import MANIFEST, data_root, raw_folder, seen
from patronus.reading import Source, checked_options, from_manifest, load_parts
from patronus.sources import ROOT, source_hash
from patronus.stage import Job, run

CHUNK_BYTES = 2**25  # of prepared pixels: work lost by a kill, and the memory needed


def work(job: Job) -> dict:
    """Decode, resize and store a data set; every later stage reads the result by slicing."""
    if job.cell.generated:
        return prepare(job)
    before = seen(folder_of(job))  # what changes while it is read is thus seen the next time
    found = prepare(replace(job, raw=before.get("contents", "")))
    return found | {"listing": {"identity": job.raw} | (before or seen(folder_of(job)))}


def folder_of(job: Job) -> Path:
    """Where the raw data of a job lie."""
    root = job.root or data_root(job.cell.scale, job.cell.generated)
    return raw_folder(job.cell.dataset, job.dataset, root, job.cell.generated)


def prepare(job: Job) -> dict:
    """The same, told by `job.raw` what the raw data are: a partial array of others is dropped."""
    folder = folder_of(job)
    check_origin(folder, job.cell.generated, job.cell.scale, job.cell.dataset)
    source = ordered(read(job.dataset, folder, job.cell.dataset))
    if job.dataset.keep:
        source = filtered(source, job.dataset.keep, folder)
    counts = {split: int(n) for split in SPLITS if (n := (source.table["split"] == split).sum())}
    white, broken = white_of(source, job.dataset.white, job.threads), []
    arrays = plan(source, counts, folder, job, white, broken)
    job.work.mkdir(parents=True, exist_ok=True)
    fill(arrays, job.work, key(source, job), job.threads, broken)
    refuse_broken(broken, len(source.table), job.work)
    publish(source, counts, [array.name for array in arrays], folder, job)
    shutil.rmtree(job.work)
    return {"reader": job.dataset.reader, "options": job.dataset.options,
            "raw": source.inputs, "counts": counts}


def reader(name: str) -> ModuleType:
    """The module patronus/data/<name>.py."""
    known = sorted(path.stem for path in (ROOT / "patronus" / "data").glob("[a-z]*.py"))
    if name not in known:
        raise Problem(f"reader '{name}': there is no patronus/data/{name}.py; known are "
                      f"{', '.join(known)}")
    return importlib.import_module(f"patronus.data.{name}")


def read(dataset: Dataset, folder: Path, name: str) -> Source:
    """The source of a data set, its table checked."""
    module = reader(dataset.reader)
    source = module.read(folder, checked_options(module.Options, dataset.options, name))
    check_table(source, folder)
    if dataset.labels == "classes" and len(source.labels) != 1:
        raise Problem(f"datasets/{name}.yaml: `labels: classes` asks for one label column, and "
                      f"there are {len(source.labels)}; ignore the others or write `attributes`")
    if dataset.labels == "classes" and source.table[next(iter(source.labels))].nunique() < 2:
        raise Problem(f"{folder}: all images are of one class; give images of at least two, or "
                      f"write `labels: attributes` in datasets/{name}.yaml")
    return source


def check_origin(folder: Path, generated: bool, scale: str, dataset: str) -> None:
    """Stand-ins are never taken for official data, nor the other way round."""
    marked = (folder / MANIFEST).is_file()
    if generated and not marked:
        raise Problem(f"{folder}: holds no generated stand-in ({MANIFEST}); make it with "
                      f"python -m patronus.generate --scale {scale} --dataset {dataset}")
    if marked and not generated:
        raise Problem(f"{folder}: holds a generated stand-in, and scale '{scale}' asks for official"
                      " data; give the official data's folder by --root or PATRONUS_DATA")


def check_table(source: Source, folder: Path) -> None:
    """Raises Problem for duplicate ids, unknown or empty splits and labels out of range."""
    ids, split = source.table["id"], source.table["split"]
    if ids.duplicated().any():
        raise Problem(f"{folder}: the id {ids[ids.duplicated()].iloc[0]!r} occurs more than once "
                      f"({ids.duplicated().sum()} such rows in all); ids must be unique")
    strange = sorted(set(split.astype(str)) - set(SPLITS))
    if strange:
        raise Problem(f"{folder}: unknown split {strange[0]!r}; splits are {', '.join(SPLITS)}")
    for name in ("train", "test"):
        if not (split == name).any():
            raise Problem(f"{folder}: the split '{name}' is empty; give it images")
    for name, label in source.labels.items():
        known = source.table[name].dropna()
        if not known.isin(range(len(label.get("names", "01")))).all():
            raise Problem(f"{folder}: label {name!r} holds values that its kind "
                          f"({label['kind']}) does not have; mend the table")


def ordered(source: Source) -> Source:
    """The same source with its rows in the order train, valid, test."""
    order = source.table["split"].map(SPLITS.index).argsort(kind="stable").to_numpy()
    table = source.table.iloc[order].reset_index(drop=True)
    return Source(table, source.labels, lambda i: source.load(order[i]), source.inputs)


def filtered(source: Source, keep: Keep, folder: Path) -> Source:
    """The source with only those training and validation images that `keep` describes.

    Test images all stay: a tie between attributes is looked for in images that do not have it.
    Raises Problem if a label is unknown, nothing is left, or the official set gives other counts.
    """
    masks = [_carries(source, combination, folder) for combination in keep.any_of]
    counts = [int(mask.sum()) for mask in masks]
    if keep.counts and len(source.table) == keep.images and counts != keep.counts:
        raise Problem(f"{folder}: the combinations of `keep` are carried by {counts} of the "
                      f"{keep.images} images, not by {keep.counts}; fetch the label file again")
    test = (source.table["split"] == "test").to_numpy()
    chosen = np.flatnonzero(np.logical_or.reduce(masks) | test)
    table = source.table.iloc[chosen].reset_index(drop=True)
    if not (table["split"] == "train").any():
        raise Problem(f"{folder}: no training image carries a combination of labels that `keep` "
                      "lists; mend it in the data set's file")
    return Source(table, source.labels, lambda i: source.load(chosen[i]), source.inputs)


def _carries(source: Source, combination: dict[str, int], folder: Path) -> np.ndarray:
    """Which images have all these labels; an unknown label is no match."""
    lacking = [name for name in combination if name not in source.labels]
    if lacking:
        raise Problem(f"{folder}: `keep` asks for the label {lacking[0]!r}; known are "
                      f"{', '.join(source.labels)}")
    return np.logical_and.reduce([source.table[name].to_numpy() == value
                                  for name, value in combination.items()])


@dataclass(frozen=True)
class Array:
    """An array to be made: `name`.npy of `count` rows, row i being `make(i)`."""

    name: str
    count: int
    shape: tuple[int, ...]  # of a row
    dtype: str
    make: Callable[[int], np.ndarray]

    @property
    def row_bytes(self) -> int:
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize

    def header(self) -> dict:
        return {"descr": np.lib.format.dtype_to_descr(np.dtype(self.dtype)),
                "fortran_order": False, "shape": (self.count, *self.shape)}


def plan(source: Source, counts: dict[str, int], folder: Path, job: Job, white: int | None,
         broken: list[str]) -> list[Array]:
    """The arrays of each split, and of the test images' parts where they are known.

    `broken` gets a line for each image that cannot be prepared, so that all are told at once.
    """
    shape, start, arrays = job.cell.shape, 0, []
    for split, count in counts.items():
        arrays.append(Array(split, count, shape, "|u1",
                            lambda i, start=start: row_of(source, start + i, shape, white,
                                                          broken)))
        start += count
    if job.cell.generated:
        ids = source.table["id"].to_numpy()[-counts["test"]:]
        arrays.append(Array("parts", counts["test"], shape[1:], "<u4",
                            lambda i: fit_parts(load_parts(folder, ids[i]), shape)))
    return arrays


def row_of(source: Source, i: int, shape: tuple[int, int, int], white: int | None,
           broken: list[str]) -> np.ndarray:
    """Row i of the source, prepared; black and a line in `broken` where that cannot be done."""
    try:
        image = source.load(i)
    except Problem as problem:
        broken.append(str(problem))
        return np.zeros(shape, np.uint8)
    try:
        return fit(image, shape, white)
    except (Problem, ValueError) as problem:  # Pillow cannot turn every mode into every other
        broken.append(f"{source.table['id'].iloc[i]}: {problem}")
        return np.zeros(shape, np.uint8)


def refuse_broken(broken: list[str], count: int, work: Path) -> None:
    """Raises Problem that names every image that could not be prepared (or the first ten)."""
    if broken:
        shutil.rmtree(work)
        named = "; ".join(sorted(broken)[:10])
        more = f"; and {len(broken) - 10} more" if len(broken) > 10 else ""
        raise Problem(named if len(broken) == 1 else
                      f"{len(broken)} of {count} images cannot be used: {named}{more}")


def fit(image: Image.Image | np.ndarray, shape: tuple[int, int, int],
        white: int | None = None) -> np.ndarray:
    """An image as uint8 (C, H, W) of this shape; `white`: see `coloured`."""
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image = coloured(image, "L" if shape[0] == 1 else "RGB", white)
    image = image.resize((shape[2], shape[1]), Image.Resampling.BICUBIC)
    return np.asarray(image).reshape(shape[1], shape[2], shape[0]).transpose(2, 0, 1)


def coloured(image: Image.Image, mode: str, white: int | None = None) -> Image.Image:
    """The image in mode L or RGB: 16 bits are scaled, transparency lies on white.

    `white` is the 16-bit gray level that becomes 255; None: that of the image's own depth.
    """
    if image.mode.startswith("I"):
        levels = np.asarray(image)
        image = Image.fromarray(eight_bits(levels, white or depth_white(levels.max())))
    elif image.mode == "LAB":
        image = ImageCms.profileToProfile(image, ImageCms.createProfile("LAB"),
                                          ImageCms.createProfile("sRGB"), outputMode="RGB")
    elif image.mode == "F":
        raise Problem("the image holds floating-point pixels, whose range is unknown; save it with "
                      "8 or 16 bits")
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    elif image.mode == "P":
        image = image.convert("RGB")  # its gray is that of its colours
    return image if image.mode == mode else image.convert(mode)


def depth_white(largest: int) -> int:
    """The largest gray level of the least depth, of 8 to 16 bits, that holds `largest`."""
    return 2 ** min(16, max(8, int(largest).bit_length())) - 1


def eight_bits(levels: np.ndarray, white: int = 65535) -> np.ndarray:
    """16-bit gray levels (H, W) scaled to uint8, so that `white` becomes 255."""
    if levels.min() < 0 or levels.max() > 65535:
        raise Problem("the image holds gray levels outside 0..65535; save it with 8 or 16 bits")
    if levels.max() > white:
        raise Problem(f"the image holds the gray level {levels.max()}, above the {white} that "
                      "`white` of the data set says; mend it there")
    return np.rint(levels * (255 / white)).astype(np.uint8)


def white_of(source: Source, stated: int | None, threads: int) -> int | None:
    """The gray level that becomes 255 in all 16-bit images of a set; None: it has none.

    As stated, or of the depth (8 to 16 bits) that the set's largest level needs; a line says which.
    """
    first = source.load(0)
    if isinstance(first, np.ndarray) or not first.mode.startswith("I"):
        return stated
    white = stated
    if white is None:
        with ThreadPoolExecutor(max(1, threads)) as pool:
            largest = max(pool.map(lambda i: np.asarray(source.load(i)).max(),
                                   range(len(source.table))))
        white = depth_white(largest)
    print(f"note: images of 16 bits: gray levels 0 to {white} become 0 to 255 ("
          + ("as the data set says" if stated else "the depth that the largest level needs; "
             "`white` in the data set's file says otherwise") + ")")
    return white


def fit_parts(parts: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Masks uint32 (h, w) taken to (H, W) by the nearest pixel, since bits cannot be mixed."""
    image = Image.fromarray(parts.astype("<u4").view("<i4"))
    small = image.resize((shape[2], shape[1]), Image.Resampling.NEAREST)
    return np.asarray(small).astype("<i4").view("<u4")


def key(source: Source, job: Job) -> str:
    """Digest of all that decides the arrays: a partial one with another key is dropped."""
    module = f"patronus.data.{job.dataset.reader}"
    parts = [job.cell.shape, job.cell.generated, job.dataset.white, job.dataset.reader,
             job.dataset.options, job.raw, source.inputs, source.table.to_csv(),
             source_hash("patronus.prepare", module)]
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()


def fill(arrays: list[Array], work: Path, wanted: str, threads: int, broken: list[str]) -> None:
    """Make every array in `work`, going on from what an earlier run with the same key left.

    What that run found `broken` is added to what this one finds.
    """
    state_file = work / "state.json"
    state = load_json(state_file) if state_file.is_file() else {}
    if state.get("key") != wanted:
        state = {"key": wanted, "done": {}}
        save_json(state_file, state)
    state["done"] = {name: rows for name, rows in state["done"].items()
                     if (work / f"{name}.npy").is_file()}  # a kill may come amid publishing
    broken += state.get("broken", [])
    need = sum(a.row_bytes * (a.count - state["done"].get(a.name, 0)) for a in arrays)
    if need > shutil.disk_usage(work).free:
        raise Problem(f"{work}: {need / 2**30:.1f} GiB are needed and "
                      f"{shutil.disk_usage(work).free / 2**30:.1f} are free; make room")
    with ThreadPoolExecutor(max(1, threads)) as pool:
        for array in arrays:
            for done in grow(array, work / f"{array.name}.npy", state["done"], pool):
                state["done"][array.name] = done
                save_json(state_file, state | {"broken": broken})


def grow(array: Array, path: Path, done: dict[str, int], pool: ThreadPoolExecutor) -> Iterator[int]:
    """Append rows to an .npy file; yield the number of rows that are safely on disk."""
    first = done.get(array.name, 0)
    with path.open("r+b" if first else "wb") as handle, bar(array, first) as progress:
        np.lib.format.write_array_header_1_0(handle, array.header())
        handle.truncate(handle.tell() + first * array.row_bytes)
        handle.seek(0, os.SEEK_END)
        step = max(1, CHUNK_BYTES // array.row_bytes)
        for start in range(first, array.count, step):
            stop = min(start + step, array.count)
            for row in pool.map(array.make, range(start, stop)):
                handle.write(np.ascontiguousarray(row, array.dtype).tobytes())
                progress.update()
            handle.flush()
            os.fsync(handle.fileno())
            yield stop


def bar(array: Array, first: int) -> tqdm:
    """A progress bar that stays quiet in log files."""
    return tqdm(total=array.count, initial=first, desc=array.name, unit=" images",
                mininterval=0.5 if sys.stderr.isatty() else 20)


def publish(source: Source, counts: dict[str, int], arrays: list[str], folder: Path,
            job: Job) -> None:
    """Give everything its name in results/."""
    job.out.mkdir(parents=True, exist_ok=True)
    for name in arrays:
        move(job.work / f"{name}.npy", job.out / f"{name}.npy")
    if job.cell.generated:
        save_json(job.out / "parts.json", {key: from_manifest(folder, key)
                                           for key in ("parts", "negated")})
    save_text(job.out / "table.csv", table_text(source))
    save_json(job.out / "meta.json", {
        "dataset": job.cell.dataset, "title": job.dataset.title,
        "generated": job.cell.generated, "shape": list(job.cell.shape), "counts": counts,
        "labels": source.labels})


def table_text(source: Source) -> str:
    """table.csv: id, split, row, then whole numbers or empty cells."""
    table = source.table[["id", "split"]].copy()
    table["row"] = table.groupby("split").cumcount()
    labels = source.table[list(source.labels)].apply(pd.to_numeric).astype("Int64")
    return pd.concat([table, labels], axis=1).to_csv(index=False, lineterminator="\n")


if __name__ == "__main__":
    run("data", "patronus.prepare", work, inputs=())

"""Where raw data lie, and whether they are what they were. No torch or pandas here: the Snakefile
imports this module at every start.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from patronus.config import Cell, Dataset
from patronus.files import load_json, save_json, sha256

MANIFEST = "generated.json"  # in a data set's folder: it is a generated stand-in
KNOWN = Path(".snakemake", "patronus_raw.json")  # contents by listing, so that each is read once


def data_root(scale: str, generated: bool) -> Path:
    """Where raw data lie when no folder is given: PATRONUS_DATA or raw/official."""
    if generated:
        return Path("raw", "generated", scale)
    return Path(os.environ.get("PATRONUS_DATA", "raw/official"))


def raw_folder(name: str, dataset: Dataset, root: Path, generated: bool) -> Path:
    """The folder of a set's raw data.

    Sets that differ only in which images they keep share the official files; their stand-ins are
    drawn apart, since ties between attributes are drawn into them.
    """
    return root / (name if generated and dataset.shortcut else dataset.folder)


def listing(folder: Path) -> str:
    """Digest of the names, sizes and times of all files below a folder; "" where there is none."""
    lines = [f"{name}\0{about.st_size}\0{about.st_mtime_ns}\n" for name, about in _files(folder)]
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest() \
        if lines else ""


def contents(folder: Path) -> str:
    """Digest of the names and contents of all files below a folder: each is read whole."""
    digest = hashlib.sha256()
    for name, _ in _files(folder):
        digest.update(f"{name}\0{sha256(folder / name)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _files(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Files below a folder in name order, hidden ones left out, links followed once."""
    found, todo, seen = {}, [Path(folder)], set()
    while todo:
        place = todo.pop()
        if not place.is_dir() or (real := os.path.realpath(place)) in seen:
            continue
        seen.add(real)
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.name[0] == ".":
                    continue
                with suppress(OSError):  # a link to nothing or to itself: the reader names it
                    if entry.is_dir():
                        todo.append(Path(entry.path))
                    elif entry.is_file():
                        found[os.path.relpath(entry.path, folder)] = entry.stat()
    return iter(sorted(found.items()))


def identity(cell: Cell, dataset: Dataset) -> str:
    """What rule prepare is told of a set's raw data: it changes when their contents do.

    That which the last preparation was told, for as long as the files have the names, sizes and
    times that it saw, or at least the contents; where there are no raw files any more as well, so
    that restored results need none. Otherwise the digest of the new listing. Contents are read only
    when the listing has changed.
    """
    if cell.generated:
        return "generated"  # their manifest is an input of the rule
    folder = raw_folder(cell.dataset, dataset, data_root(cell.scale, False), False)
    now, record = listing(folder), cell.folder("data") / "record.json"
    told = load_json(record)["found"].get("listing") if record.is_file() else None
    if told is None:  # made before this was told, or not yet
        return "" if record.is_file() or not now else now
    same = now in ("", told["seen"]) or _contents_of(folder, now) == told["contents"]
    return told["identity"] if same else now


def _contents_of(folder: Path, now: str) -> str:
    """`contents`, from a file of known ones where this listing was met before."""
    known = load_json(KNOWN) if KNOWN.is_file() else {}
    if now not in known:
        save_json(KNOWN, known | {now: contents(folder)})
        known = load_json(KNOWN)
    return known[now]

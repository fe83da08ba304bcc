"""Where raw data lie, and whether they are what they were. No torch or pandas here: the Snakefile
imports this module at every start.
"""

import hashlib
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from patronus.config import Cell, Dataset
from patronus.errors import Problem
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


def listing(folder: Path, names: Iterable[str] | None = None) -> str:
    """Digest of the names, sizes and times of files below a folder; "" where there is none.

    `names` are those that count, relative to it; None: all that are not hidden. The time of the
    last change of a file's entry is among them, which a copy that keeps times does not keep.
    """
    lines = [f"{name}\0{about.st_size}\0{about.st_mtime_ns}\0{about.st_ctime_ns}\n"
             for name, about in _files(Path(folder), names)]
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest() \
        if lines else ""


def contents(folder: Path, names: Iterable[str] | None = None) -> str:
    """Digest of the names and contents of the same files: each is read whole."""
    digest = hashlib.sha256()
    for name, _ in _files(Path(folder), names):
        digest.update(f"{name}\0{sha256(folder / name)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def seen(folder: Path) -> dict[str, str]:
    """Both digests of all files below a folder; empty where there is none."""
    now = listing(folder)
    return {"seen": now, "contents": contents(folder)} if now else {}


def _files(folder: Path, names: Iterable[str] | None) -> list[tuple[str, os.stat_result]]:
    """Files below a folder in name order; without `names`, all but hidden ones."""
    if names is not None:
        return [(name, os.stat(os.path.join(folder, name))) for name in sorted(names)]
    return sorted(_below(folder, "", set()))


def _below(folder: Path, inside: str, met: set[str]) -> Iterator[tuple[str, os.stat_result]]:
    """Files below folder/inside, links followed, but into each folder once."""
    place = os.path.join(folder, inside)
    real = os.path.realpath(place)
    if real in met or not os.path.isdir(place):
        return
    met.add(real)
    with os.scandir(place) as entries:
        for entry in entries:
            if entry.name[0] == ".":
                continue
            with suppress(OSError):  # a link to nothing or to itself: the reader names it
                if entry.is_dir():
                    yield from _below(folder, f"{inside}{entry.name}/", met)
                elif entry.is_file():
                    yield inside + entry.name, entry.stat()


def identity(cell: Cell, dataset: Dataset, verify: bool = False) -> str:
    """What rule prepare is told of a set's raw data: it changes when their contents do.

    That which the last preparation was told, for as long as the files have the names, sizes and
    times that it saw, or at least the contents; where there are no raw files any more as well, so
    that restored results need none. Otherwise the digest of the new listing, and a line says so.
    Contents are read where the listing has changed, or always to `verify`.
    """
    if cell.generated:
        return "generated"  # their manifest is an input of the rule
    folder = raw_folder(cell.dataset, dataset, data_root(cell.scale, False), False)
    now, record = listing(folder), cell.folder("data") / "record.json"
    told = load_json(record).get("found", {}).get("listing") if record.is_file() else None
    if told is None:  # made before this was told, or not yet
        return "" if record.is_file() or not now else now
    if not now or now == told["seen"] and not verify:
        return told["identity"]
    if _contents(folder, now, verify) == told["contents"]:
        return told["identity"]
    print(f"note: {folder}: is not what {cell.folder('data')} was prepared from, which is made "
          "again, and what follows", file=sys.stderr)
    return now


def _contents(folder: Path, now: str, anew: bool) -> str:
    """`contents`, from a file of known ones where this listing was met before, unless `anew`."""
    known: dict = {}
    with suppress(Problem):  # cut short by a kill
        known = load_json(KNOWN) if KNOWN.is_file() else {}
    if anew or now not in known:
        print(f"note: {folder}: reading all of it, to compare it with what was prepared",
              file=sys.stderr)
        known[now] = contents(folder)
        save_json(KNOWN, known)
    return known[now]

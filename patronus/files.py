"""Whole files or none: everything is written to a temporary name and renamed."""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from patronus.errors import Problem

LONGEST = 80  # bytes of a folder's name in which a socket still fits


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` if the block ends well.

    The file is on disk before it gets its name, so a crash leaves the old file or the new one.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        with part.open("rb") as handle:
            os.fsync(handle.fileno())
        os.replace(part, path)
    except OSError as error:
        why = error.strerror or error
        raise Problem(f"{path}: cannot be written ({why}); free space or choose another place")\
            from error
    finally:
        with suppress(OSError):  # a folder that cannot be made holds no part
            part.unlink()


def save_npy(path: Path, array: np.ndarray) -> None:
    with whole(path) as part, part.open("wb") as handle:
        np.save(handle, array)


def save_npz(path: Path, **arrays: np.ndarray) -> None:
    with whole(path) as part, part.open("wb") as handle:
        np.savez_compressed(handle, **arrays)


def save_text(path: Path, text: str) -> None:
    with whole(path) as part:
        part.write_text(text, encoding="utf-8")


def save_json(path: Path, value: object) -> None:
    save_text(path, json.dumps(value, indent=2, allow_nan=False, default=_plain) + "\n")


def load_json(path: Path) -> dict:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:  # JSONDecodeError, or bytes that are no text
        raise Problem(f"{path}: is not valid JSON ({error}); delete it and rerun") from error
    except FileNotFoundError:
        raise Problem(f"{path}: is missing; run the stage that makes it") from None


def sha256(path: Path) -> str:
    """Hex digest of a file, or of a folder's files in name order (names included)."""
    path = Path(path)
    if path.is_file():
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    digest = hashlib.sha256()
    for file in sorted(f for f in path.rglob("*") if f.is_file()):
        digest.update(f"{file.relative_to(path)}\0{sha256(file)}\n".encode())
    return digest.hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return str(value)


def move(source: Path, target: Path) -> None:
    """Give a finished file its final name, also where that is on another disk."""
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with whole(target) as part:
            shutil.copyfile(source, part)
        source.unlink()


def socket_folder() -> str | None:
    """A folder for sockets, whose whole paths may have about a hundred bytes; None: there is none.

    The usual temporary one, or where its name is too long another that can be written.
    """
    places = (tempfile.gettempdir(), "/tmp", "/var/tmp")
    return next((place for place in places if len(os.fsencode(place)) <= LONGEST
                 and os.access(place, os.W_OK | os.X_OK)), None)


@contextmanager
def locked(folder: Path, what: str = "") -> Iterator[None]:
    """Hold `what` in a folder for one process at a time; the lock goes with the process.

    Raises Problem that names the process when another one has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / (f".{what}.lock" if what else ".lock")).open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            raise Problem(f"{folder / what}: process {handle.read().strip()} works here; wait for "
                          "it or end it, then run again") from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            print(f"note: {handle.name}: this disk knows no locks ({error.strerror}), so nothing "
                  "keeps a second process out; start each training once", file=sys.stderr)
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield

"""Who works in a folder with Snakemake, so that the lock of a killed one does not outlive it.

Snakemake's lock is files that say nothing of who made them; after a kill -9 or a closed terminal
they stay, and the same command is refused. So every Snakemake leaves a file of its own beside them
and holds a record lock on it, which the system takes back when the process ends, however it ends.
Where nobody holds one, the locks are of nobody. No torch here.
"""

import atexit
import fcntl
import os
import secrets
import shutil
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

BOOT = Path("/proc/sys/kernel/random/boot_id")  # names a running system, its containers included
DAY = 24 * 3600  # seconds

_held: list[BinaryIO] = []  # open for as long as this process lives: closing gives the lock back


def claim(folder: Path = Path()) -> bool:
    """Say that this process works in `folder`; True if the locks of dead ones were cleared.

    They stay where another Snakemake lives there, where one of another machine may (`snakemake
    --unlock` removes them), and where the disk knows no locks.
    """
    holders, locks = folder / ".snakemake" / "holders", folder / ".snakemake" / "locks"
    left = locks.is_dir() and any(locks.iterdir())
    try:
        holders.mkdir(parents=True, exist_ok=True)
        alone = not [file for file in sorted(holders.glob("[!.]*")) if _alive(file, left)]
        _hold(holders)
    except OSError:
        return False
    if alone and left:
        shutil.rmtree(locks)
    return alone and left


def _hold(holders: Path) -> None:
    """Leave a file that is locked before it has its name, so that nobody finds it unlocked."""
    name = "~".join([*_machine(), str(os.getpid()), secrets.token_hex(4)])
    handle = (holders / f".{name}").open("w+b")
    fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    (holders / f".{name}").rename(holders / name)
    _held.append(handle)
    atexit.register(_leave, holders.resolve() / name, os.getpid())


def _leave(file: Path, process: int) -> None:
    if os.getpid() == process:  # not a fork of it
        with suppress(OSError):
            file.unlink()


def _machine() -> list[str]:
    with suppress(OSError):
        return [socket.gethostname(), BOOT.read_text().strip()]
    return [socket.gethostname(), ""]


def _alive(file: Path, left: bool) -> bool:
    """Whether the process of a holder's file may still live; the file of a dead one goes.

    Of another machine nothing is known, but where no locks are `left`, an old file is of no use.
    """
    own, other = _machine(), file.name.split("~")[:2]
    if own[0] == other[0] or own[1] and own[1] == other[1]:
        alive = _locked(file)
    else:
        alive = left or file.stat().st_mtime > time.time() - DAY
    if not alive:
        file.unlink(missing_ok=True)
    return alive


def _locked(file: Path) -> bool:
    """Whether another process of this machine holds a file; not asked of one's own."""
    try:
        with file.open("r+b") as handle:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False  # it has just left
    except BlockingIOError:
        return True
    return False

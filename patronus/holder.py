"""Who works in a folder with Snakemake, so that the lock of a killed one does not outlive it.

Snakemake's lock is files that say nothing of who made them; after a kill -9 or a closed terminal
they stay, and the same command is refused. So every Snakemake leaves a file of its own beside them
and holds a record lock on it, which the system takes back when the process ends, however it ends.
Where nobody holds one, the locks are of nobody. No torch here.
"""

import fcntl
import os
import shutil
import socket
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

_held: list[BinaryIO] = []  # open for as long as this process lives: closing gives the lock back


def claim(folder: Path = Path()) -> bool:
    """Say that this process works in `folder`; True if the locks of dead ones were cleared.

    They stay where another Snakemake lives there, where one of another host may (its file is then
    left for `snakemake --unlock`), and where the disk knows no locks.
    """
    holders, locks = folder / ".snakemake" / "holders", folder / ".snakemake" / "locks"
    try:
        holders.mkdir(parents=True, exist_ok=True)
        alone = not [file for file in sorted(holders.iterdir()) if _alive(file)]
        mine = (holders / f"{socket.gethostname()}-{os.getpid()}").open("w+b")
        fcntl.lockf(mine, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    _held.append(mine)
    left = alone and locks.is_dir() and any(locks.iterdir())
    if left:
        shutil.rmtree(locks)
    return left


def _alive(file: Path) -> bool:
    """Whether the process of a holder's file may still live; the file of a dead one goes."""
    host, _, number = file.name.rpartition("-")
    if host != socket.gethostname():
        return True
    if number == str(os.getpid()):
        return False
    try:
        with file.open("r+b") as handle:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return file.exists()
    with suppress(OSError):
        file.unlink()
    return False

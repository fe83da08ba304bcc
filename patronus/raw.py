"""Where raw data lie. No torch or pandas here: the Snakefile imports this module at every start."""

import os
from pathlib import Path

from patronus.config import Dataset

MANIFEST = "generated.json"  # in a data set's folder: it is a generated stand-in


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

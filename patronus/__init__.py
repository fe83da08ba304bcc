"""Patronus: interpretable diffusion models with prototypes, as a reproducible benchmark."""

import sys

if sys.platform == "win32":
    raise SystemExit("error: Windows is not supported; use Linux (glibc 2.28 or newer), macOS 14 "
                     "or newer on Apple silicon, or Linux inside Windows (WSL 2)")


def load(folder, device="cpu"):
    """The model of a checkpoint folder, in evaluation mode (see patronus.checkpoint.load)."""
    from importlib import import_module  # by name, so that not every stage's sources hold the model
    from pathlib import Path

    return import_module("patronus.checkpoint").load(Path(folder), device)

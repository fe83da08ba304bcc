"""What a figure or table script is given: its name, title, scale, folder to write to, and inputs.

    python paper/figures/raised.py --scale smoke      an ordinary script, into work/paper/

The runner (paper/render.py) sets them through the environment; a script that is run by hand finds
them from its command line. The configuration is loaded only then: no kernel waits for it.
"""

import argparse
import atexit
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from patronus.config import Study

GIVEN = "PATRONUS_FIGURE"  # the environment variable in which the runner hands them over


class Given(NamedTuple):
    """`inputs` holds for each entry of the script's NEEDS the paths of its files."""

    name: str
    title: str
    scale: str
    out: str
    inputs: dict[str, list[str]]


def given() -> Given:
    """What this script is to draw; from the runner, or else from its own command line."""
    if GIVEN in os.environ:
        return Given(**json.loads(os.environ[GIVEN]))
    from patronus.errors import guarded

    found: list[Given] = []
    guarded(lambda: found.append(_typed(Path(sys.argv[0]).stem)))
    return found[0]


def of(name: str, study: "Study", out: Path) -> Given:
    """What the script of `name` is given in a study. Raises Problem for a missing input."""
    from paper import catalogue
    from patronus.errors import Problem

    files = catalogue.inputs(name, study)
    missing = [path for some in files.values() for path in some if not path.is_file()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise Problem(f"{name}: {missing[0]}{more}: missing; make it with `snakemake {name}`")
    return Given(name, catalogue.title(name), study.scale, str(out),
                 {key: list(map(str, some)) for key, some in files.items()})


def parser(about: str) -> argparse.ArgumentParser:
    """Options that choose a study, and the folder to write to."""
    found = argparse.ArgumentParser(description=about)
    found.add_argument("--scale", help="a file in config/scales; default: that of config.yaml")
    found.add_argument("--out", type=Path, help="folder to write to")
    for axis in ("datasets", "methods", "seeds"):
        found.add_argument(f"--{axis}", help="only these, separated by commas")
    return found


def study_of(args: argparse.Namespace) -> "Study":
    from patronus.config import load_study

    return load_study(args.scale, datasets=args.datasets, methods=args.methods, seeds=args.seeds)


def _typed(name: str) -> Given:
    args = parser("Draw this figure or table.").parse_args()
    study = study_of(args)
    out = args.out or Path("work", "paper", study.scale, name)
    found = of(name, study, out)
    out.mkdir(parents=True, exist_ok=True)
    atexit.register(print, f"{name}: {out}/")
    return found

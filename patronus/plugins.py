"""Faults of plugged-in files, named as theirs: the file, the line, and what the contract wants.

A plug-in is a file of one of the folders that are registries: methods, readers, measures, figures
and tables. No torch here.
"""

import inspect
import traceback
from pathlib import Path

from patronus.errors import Problem
from patronus.sources import ROOT

PAGES = {"baselines": "baselines/README.md", "patronus/data": "docs/data.md",
         "analysis/measures": "docs/measures.md", "paper/figures": "paper/README.md",
         "paper/tables": "paper/README.md"}


def page_of(path: Path) -> str | None:
    """The page that says what a file of that folder must do; None for a file that is no plug-in."""
    folder = Path(path).resolve().parent
    return PAGES.get(str(folder.relative_to(ROOT))) if folder.is_relative_to(ROOT) else None


def at_fault(error: BaseException) -> str | None:
    """One line for an error raised in, or below, a plug-in; None if there is none on the way."""
    if isinstance(error, SyntaxError) and error.filename and page_of(error.filename):
        return _line(Path(error.filename), error.lineno, f"is no valid Python ({error.msg})")
    frames = [frame for frame in traceback.extract_tb(error.__traceback__)
              if page_of(frame.filename)]
    if not frames:
        return None
    first = str(error).partition("\n")[0]
    return _line(Path(frames[-1].filename), frames[-1].lineno, f"{type(error).__name__}: {first}")


def breach(what: object, says: str) -> Problem:
    """A Problem that names the file and line of a function or class that breaks its contract."""
    function = inspect.unwrap(what)
    return Problem(_line(Path(inspect.getsourcefile(function)),
                         inspect.getsourcelines(function)[1], says))


def _line(path: Path, number: int | None, says: str) -> str:
    path = path.resolve()
    short = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    cure = f"; {page_of(path)} says what such a file must do" if page_of(path) else ""
    return f"{short}, line {number}: {says}{cure}"

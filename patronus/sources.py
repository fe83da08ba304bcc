"""Which source files make a result: the module and everything of ours that it imports."""

import ast
import hashlib
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OURS = ("patronus", "baselines", "analysis", "paper")
# Carries values and messages but decides none: a change here makes no result stale.
PLUMBING = ("patronus.config", "patronus.errors", "patronus.record", "patronus.sources",
            "patronus.stage")

DOCSTRING = re.compile(r'""".*?"""', re.DOTALL)
IMPORT = re.compile(r"^[ \t]*((?:from|import)[ \t](?:[^\n(]*\([^)]*\)|[^\n]*))", re.MULTILINE)


def file_of(module: str) -> Path | None:
    """The file of one of our modules, or None when there is no such module."""
    base = ROOT.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


@cache
def imports(path: Path) -> frozenset[Path]:
    """Files of ours that `path` imports directly (at the top or inside functions)."""
    names: set[str] = set()
    for node in _statements(path.read_text(encoding="utf-8")):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    ours = (name for name in names if name.split(".")[0] in OURS)
    return frozenset(filter(None, map(file_of, ours)))


def _statements(text: str) -> Iterable[ast.AST]:
    """The import statements of a source, among others.

    Parsing whole files took a third of the time of `snakemake -n`.
    """
    try:
        return ast.parse("\n".join(IMPORT.findall(DOCSTRING.sub("", text)))).body
    except SyntaxError:
        return ast.walk(ast.parse(text))


def closure(*modules: str) -> list[Path]:
    """Every file of ours that decides what the modules make, themselves included, by name."""
    todo = [path for path in map(file_of, modules) if path]
    plumbing = set(map(file_of, PLUMBING))
    seen: set[Path] = set()
    while todo:
        path = todo.pop()
        if path not in seen:
            seen.add(path)
            todo.extend(imports(path) - plumbing)
    return sorted(seen)


@cache
def source_hash(*modules: str) -> str:
    """Short digest of the sources of `modules`: a result is stale when it changes."""
    digest = hashlib.sha256()
    for path in closure(*modules):
        digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]

"""What several tests share: the text of a figure, a copy of the sources, digests of results."""

import re
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from patronus.files import sha256

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("patronus", "baselines", "analysis", "paper", "config", "profiles")
TIMES = ("record.json", "costs.json", ".tsv", ".html", ".ipynb", ".log")  # hold times


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A copy of what a run reads, which nobody edits meanwhile."""
    folder = tmp_path_factory.mktemp("clone")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / "Snakefile", folder)
    return folder


@pytest.fixture(scope="session")
def digests() -> Callable[[Path], dict[str, str]]:
    return _digests


def _digests(work: Path) -> dict[str, str]:
    """Of every file of the results that does not say when it was made."""
    files = sorted(f for f in (work / "results").rglob("*") if f.is_file())
    return {str(f.relative_to(work)): sha256(f) for f in files if not f.name.endswith(TIMES)}


@pytest.fixture(scope="session")
def pdf_text() -> Callable[[Path], str]:
    return _pdf_text


def _pdf_text(path: Path) -> str:
    """All text of a PDF by matplotlib (embedded TrueType, two bytes a letter), without spaces."""
    pages = []
    for stream in re.findall(rb"stream\r?\n(.*?)endstream", path.read_bytes(), re.DOTALL):
        try:
            page = zlib.decompress(stream)
        except zlib.error:
            continue
        if b"\nBT" in page:
            pages += re.findall(rb"\(((?:[^()\\]|\\.)*)\)", page)
    text = b"".join(pages).replace(b"\0", b"").replace(b"\\", b"").decode("latin-1")
    return text.replace(" ", "")  # where a line was broken there is none

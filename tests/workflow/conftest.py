"""What several tests of figures share."""

import re
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest


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

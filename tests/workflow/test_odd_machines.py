"""Machines without git, locks or short temporary folders, and other systems' ways of counting."""

import errno
import fcntl
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from patronus import files, record
from patronus.sources import ROOT


@pytest.fixture
def sources(tmp_path) -> Path:
    """A copy of the sources with a git folder that git may or may not accept."""
    copy = tmp_path / "sources"
    shutil.copytree(ROOT / "patronus", copy / "patronus",
                    ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def code(folder: Path, **variables: str) -> dict:
    text = "import json; from patronus.record import provenance; " \
        "print(json.dumps(provenance()['code']))"
    done = subprocess.run([sys.executable, "-c", text], cwd=folder, capture_output=True, text=True,
                          check=True, env=os.environ | {"PYTHONPATH": str(folder)} | variables)
    return __import__("json").loads(done.stdout)


def test_a_checkout_that_git_refuses_has_no_commit_and_is_not_called_clean(sources):
    (sources / ".git").mkdir()  # git says: not a repository; another owner's, it says: dubious
    found = code(sources)
    assert found["commit"] is None and found["dirty"] is None and found["why"]


def test_without_git_and_outside_of_a_checkout_the_reason_is_recorded(sources):
    assert "no git checkout" in code(sources)["why"]
    (sources / ".git").mkdir()
    python = Path(sys.executable).parent
    assert "not installed" in code(sources, PATH=str(sources))["why"], python


def test_a_commit_in_words():
    assert record.commit_of({"code": {"commit": "a" * 40, "dirty": True}}) == \
        "commit aaaaaaaaaa with local changes"
    assert "dubious" in record.commit_of({"code": {"commit": None, "dirty": None,
                                                   "why": "dubious ownership"}})


@pytest.mark.parametrize(("system", "peak"), [("linux", 3 * 2**20), ("darwin", 3 * 2**30)])
def test_peak_memory_is_counted_as_the_system_counts(monkeypatch, system, peak):
    used = resource.struct_rusage([0.0, 0.0, peak, *[0] * 13])
    monkeypatch.setattr(resource, "getrusage", lambda who: used)
    monkeypatch.setattr(sys, "platform", system)
    assert record.peak_memory_mib() == 3 * 2**10


@pytest.mark.parametrize("why", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_disk_without_locks_is_told_and_used(tmp_path, monkeypatch, capsys, why):
    def refuse(*args):
        raise OSError(why, os.strerror(why))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with files.locked(tmp_path, "train"):
        pass
    said = capsys.readouterr().err
    assert str(tmp_path) in said and "knows no locks" in said and said.count("\n") == 1


def test_another_refusal_of_a_lock_is_no_note(tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="Permission"), files.locked(tmp_path):
        pass


def test_a_figure_is_drawn_where_the_temporary_folder_has_a_long_name(tmp_path):
    import tempfile

    from paper import render

    long = tmp_path / ("long" * 30)
    long.mkdir()
    before, tempfile.tempdir = tempfile.tempdir, str(long)
    try:
        assert render._short() == "/tmp"
    finally:
        tempfile.tempdir = before
    assert len(render._short() or tempfile.gettempdir()) < 87


def test_windows_is_refused_in_one_line():
    done = subprocess.run([sys.executable, "-c", "import sys; sys.platform = 'win32'; "
                           "import patronus"], capture_output=True, text=True, check=False,
                          env=os.environ | {"PYTHONPATH": str(ROOT)})
    (line,) = done.stderr.strip().splitlines()
    assert done.returncode == 1 and line.startswith("error: Windows is not supported")

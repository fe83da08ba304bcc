"""Machines without git, locks or short temporary folders, and other systems' ways of counting."""

import errno
import fcntl
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from paper import render
from paper.given import Given
from patronus import files, record, warm
from patronus.errors import Problem
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
    return json.loads(done.stdout)


def test_a_checkout_that_git_refuses_has_no_commit_and_is_not_called_clean(sources):
    (sources / ".git").mkdir()  # git says: not a repository
    found = code(sources)
    assert found["commit"] is None and found["dirty"] is None and found["why"]


def test_another_owners_checkout_is_told_without_the_name_of_its_place(sources):
    subprocess.run(["git", "init", "-q"], cwd=sources, check=True)
    found = code(sources, GIT_TEST_ASSUME_DIFFERENT_OWNER="1")  # git's own switch for its tests
    assert found["commit"] is None and found["dirty"] is None
    assert "dubious ownership" in found["why"] and str(sources) not in found["why"]


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


@pytest.fixture
def long(tmp_path, monkeypatch) -> Path:
    """A temporary folder in which no socket has room."""
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_notebook_runs_where_the_temporary_folder_has_a_long_name(long, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("# %% [markdown]\n# Sum\n\n# %%\nprint(20 + 22)\n")
    book = render.notebook(script)
    render.execute(book, script, tmp_path / "kept.ipynb", Given("sum", "Sum", "tiny", "", {}))
    assert book.cells[-1].outputs[0].text == "42\n"


def test_warm_pythons_start_where_the_temporary_folder_has_a_long_name(long, monkeypatch):
    monkeypatch.setenv(warm.VARIABLE, "")
    begun = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, **_: begun.append(command))
    warm.start(True)
    address = Path(os.environ.pop(warm.VARIABLE))
    assert begun and address.exists() and not any(long.iterdir())
    shutil.rmtree(address.parent)


def test_where_no_folder_has_room_for_a_socket_a_line_says_so(long, tmp_path, monkeypatch):
    script = tmp_path / "script.py"
    script.write_text("# %% [markdown]\n# Sum\n")
    monkeypatch.setattr(files.os, "access", lambda *_: False)
    with pytest.raises(Problem, match="set TMPDIR"):
        render.execute(render.notebook(script), script, tmp_path / "kept.ipynb",
                       Given("sum", "Sum", "tiny", "", {}))


def test_windows_is_refused_in_one_line():
    done = subprocess.run([sys.executable, "-c", "import sys; sys.platform = 'win32'; "
                           "import patronus"], capture_output=True, text=True, check=False,
                          env=os.environ | {"PYTHONPATH": str(ROOT)})
    (line,) = done.stderr.strip().splitlines()
    assert done.returncode == 1 and line.startswith("error: Windows is not supported")


def test_a_reader_who_has_seen_enough_is_no_error():
    """As `patronus config ... | head -1` does."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, "-m", "patronus", "config", "celeba", "vae"],
                          stdout=writing, stderr=subprocess.PIPE, text=True, check=False,
                          env=os.environ | {"PYTHONPATH": str(ROOT)}, cwd=ROOT)
    os.close(writing)
    assert done.returncode == 1 and not done.stderr

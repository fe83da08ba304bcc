"""A killed Snakemake leaves no lock behind that the same command, typed again, would meet."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STUDY = """
import sys
sys.path.insert(0, {root!r})
from patronus import holder

if workflow.is_main_process and holder.claim():
    print("note: cleared", file=sys.stderr)

rule all:
    input: "slow"

rule slow:
    output: "slow"
    shell: "touch begun; test -e go || sleep 600; touch {{output}}"
"""
COMMAND = [sys.executable, "-m", "snakemake", "--cores", "1"]


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("Snakefile").write_text(STUDY.format(root=str(ROOT)))
    return tmp_path


@pytest.fixture
def begun(place):
    """A run in the middle of its only job."""
    process = subprocess.Popen(COMMAND, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               start_new_session=True)
    while not Path("begun").exists():
        assert process.poll() is None
        time.sleep(0.05)
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def again() -> subprocess.CompletedProcess:
    Path("go").touch()
    return subprocess.run([*COMMAND, "--rerun-incomplete"], capture_output=True, text=True,
                          check=False)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGHUP])
def test_the_same_command_goes_on_after_a_kill_or_a_closed_terminal(begun, how):
    os.killpg(begun.pid, how)
    begun.wait()
    done = again()
    assert done.returncode == 0, done.stderr
    assert Path("slow").exists()
    assert ("note: cleared" in done.stderr) == (how == signal.SIGKILL or "cleared" in done.stderr)


def test_the_job_that_outlives_its_snakemake_keeps_no_lock(begun):
    begun.kill()
    begun.wait()
    assert again().returncode == 0
    os.killpg(begun.pid, signal.SIGKILL)  # the job


def test_the_lock_of_a_living_one_stays(begun):
    done = again()
    assert done.returncode == 1 and "lock" in (done.stdout + done.stderr).lower()
    assert begun.poll() is None


def test_the_lock_of_another_host_stays(begun):
    os.killpg(begun.pid, signal.SIGKILL)
    begun.wait()
    (mine,) = Path(".snakemake/holders").iterdir()
    mine.rename(mine.with_name("elsewhere-1"))
    assert again().returncode == 1

"""A killed Snakemake leaves no lock behind that the same command, typed again, would meet."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from patronus import holder

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


def as_in_a_terminal() -> None:
    """Under nohup, or a runner started by it, the closing of a terminal would be ignored."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def begun(place):
    """A run in the middle of its only job."""
    process = subprocess.Popen(COMMAND, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               start_new_session=True, preexec_fn=as_in_a_terminal)
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
    assert Path("slow").exists() and "note: cleared" in done.stderr
    assert not any(Path(".snakemake/holders").iterdir()), "who has ended leaves no file"


def test_a_study_killed_with_its_jobs_is_made_by_the_same_command(clone, tmp_path):
    wanted = "results/tiny/data/fashion_mnist/record.json"
    command = [sys.executable, "-m", "snakemake", "-s", str(clone / "Snakefile"), "--directory",
               str(tmp_path), "--profile", str(clone / "profiles" / "default"), wanted, "--config",
               "scale=tiny", "datasets=fashion_mnist", "methods=ddpm"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               start_new_session=True)
    while not any(tmp_path.glob(".snakemake/locks/*")):
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("note: ")]
    assert "lock" in line and (tmp_path / wanted).exists()


def test_the_job_that_outlives_its_snakemake_keeps_no_lock(begun):
    begun.kill()
    begun.wait()
    assert again().returncode == 0
    os.killpg(begun.pid, signal.SIGKILL)  # the job


def test_the_lock_of_a_living_one_stays(begun):
    done = again()
    assert done.returncode == 1 and "lock" in (done.stdout + done.stderr).lower()
    assert begun.poll() is None


def renamed(host: str = "elsewhere", boot: str = "another", age: float = 0) -> Path:
    """The file that a killed one left, as of another machine."""
    (mine,) = Path(".snakemake/holders").iterdir()
    file = mine.rename(mine.with_name("~".join([host, boot, *mine.name.split("~")[2:]])))
    os.utime(file, (time.time() - age,) * 2)
    return file


def test_the_lock_of_another_machine_stays_until_it_is_unlocked(begun):
    os.killpg(begun.pid, signal.SIGKILL)
    begun.wait()
    file = renamed(age=10 * holder.DAY)
    assert again().returncode == 1 and file.exists()
    assert subprocess.run([*COMMAND, "--unlock"], check=False).returncode == 0
    assert again().returncode == 0 and not file.exists()


@pytest.mark.parametrize("where", [{"boot": "before the power failed", "host": "own"},
                                   {"boot": "own", "host": "a container"}])
def test_a_restarted_machine_and_a_container_of_it_are_this_machine(begun, where):
    os.killpg(begun.pid, signal.SIGKILL)
    begun.wait()
    own = dict(zip(("host", "boot"), holder._machine(), strict=True))
    renamed(**{key: own[key] if name == "own" else name for key, name in where.items()})
    assert again().returncode == 0


def test_a_disk_without_locks_clears_nothing(place, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    Path(".snakemake/locks").mkdir(parents=True)
    Path(".snakemake/locks/0.output.lock").touch()
    assert not holder.claim() and Path(".snakemake/locks/0.output.lock").exists()

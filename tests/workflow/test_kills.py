"""kill -9 in the middle of every stage, then the same command again: the results are those of a run
that nothing disturbed.

Half of the time Snakemake and its jobs die together, as with the machine; half of the time only
Snakemake dies and its job goes on, an orphan beside which the next start must not write. Part of
`make test-long`.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("checkpoints", "samples", "data", "interventions", "raw", "references", "codes", "priors",
          "explanations", "denoising", "costs", "measures", "paper")
KILLS = 20
WANTED = ("results/tiny/measures/table.csv", "fig4")
RNG = random.Random(0)

pytestmark = pytest.mark.long


def snakemake(clone: Path, work: Path, cores: int = 2, records: list[str] = ()) -> list[str]:
    """The study; of every stage in `records` too, were it needed by nothing that is still to do."""
    return [sys.executable, "-m", "snakemake", "-s", str(clone / "Snakefile"), "--directory",
            str(work), "--profile", str(clone / "profiles" / "default"), "--cores", str(cores),
            *WANTED, *records, "--config", "scale=tiny", "datasets=fashion_mnist",
            "methods=patronus"]


def records(work: Path) -> list[str]:
    """What Snakemake is asked for: the last file of every stage that a run has made."""
    return sorted(str(f.relative_to(work)) for f in (work / "results").rglob("record.json"))


@pytest.fixture(scope="module")
def model(clone, tmp_path_factory) -> Path:
    """Where a run that nobody disturbed has ended."""
    work = tmp_path_factory.mktemp("undisturbed")
    done = subprocess.run(snakemake(clone, work), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return work


@pytest.fixture(scope="module")
def undisturbed(model, digests) -> dict[str, str]:
    return digests(model)


def running(work: Path, stage: str, before: set[Path]) -> bool:
    """Whether a job of the stage has begun since: its log is there."""
    return any(log not in before or log.stat().st_mtime > time.time() - 1
               for log in (work / "logs" / "tiny" / stage).rglob("*.log"))


def orphans(work: Path) -> list[psutil.Process]:
    """Jobs that still run in this folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        if process.info["cwd"] == str(work) and "-m" in (process.info["cmdline"] or []):
            found.append(process)
    return found


def disturb(command: list[str], work: Path, stage: str, with_jobs: bool) -> str:
    """Start, kill -9 within a second of the stage's start; what it said if it ended before."""
    logs = set((work / "logs").rglob("*.log"))
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True, start_new_session=True)
    while process.poll() is None and not running(work, stage, logs):
        time.sleep(0.05)
    time.sleep(RNG.random())
    if process.poll() is not None:
        return process.communicate()[1]
    os.killpg(process.pid, signal.SIGKILL) if with_jobs else process.kill()
    process.communicate()
    return ""


def changed(found: dict[str, str], expected: dict[str, str]) -> list[str]:
    """Files under a final name that differ from what an undisturbed run made, by their digests."""
    return [name for name, digest in found.items()
            if "/." not in name and expected.get(name) != digest]


def test_a_second_run_on_one_core_gives_the_same_bytes(clone, undisturbed, digests, tmp_path):
    done = subprocess.run(snakemake(clone, tmp_path, cores=1), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert digests(tmp_path) == undisturbed
    assert any(name.endswith(".safetensors") for name in undisturbed)
    assert any(name.endswith(".pdf") for name in undisturbed)


def test_a_study_killed_again_and_again_ends_like_one_that_nobody_killed(clone, model, undisturbed,
                                                                         digests, tmp_path):
    command, killed = snakemake(clone, tmp_path, records=records(model)), []
    for k in range(KILLS):
        stage, with_jobs = STAGES[k % len(STAGES)], k % 2 == 0
        shutil.rmtree(tmp_path / "results" / "tiny" / stage, ignore_errors=True)  # it runs again
        if stage == "raw":  # asked for only where what is prepared from it is gone too
            shutil.rmtree(tmp_path / "raw", ignore_errors=True)
            shutil.rmtree(tmp_path / "results" / "tiny" / "data", ignore_errors=True)
        said = disturb(command, tmp_path, stage, with_jobs)
        assert "Traceback" not in said, said
        killed += [] if said else [stage]
        assert not changed(digests(tmp_path), undisturbed), "a half-written file has a final name"
        if not with_jobs and k % 4 == 1:
            for orphan in orphans(tmp_path):  # it ends by itself, before anybody starts again
                orphan.wait(120)
    for orphan in orphans(tmp_path):
        orphan.wait(120)
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert digests(tmp_path) == undisturbed
    print(f"killed in: {' '.join(killed)}")
    assert len(killed) >= KILLS * 0.7, killed

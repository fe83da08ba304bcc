"""Snakemake's main process does not wake itself more and more often, and loses no pass by it."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from patronus.scheduling import one_timer

ROOT = Path(__file__).resolve().parents[2]
MANY = """
import sys, threading
sys.path.insert(0, {root!r})
from patronus.scheduling import one_timer

rule all:
    input: expand("out/{{k}}", k=range(12))

rule one:
    output: "out/{{k}}"
    shell: "touch {{output}}"

onstart:
    one_timer(workflow.scheduler)

onsuccess:
    print("timers:", sum(isinstance(one, threading.Timer) for one in threading.enumerate()))
"""
SPY = """

_one_timer = one_timer


def one_timer(scheduler):
    _one_timer(scheduler)
    print("asks:", scheduler._schedule_reevalutation.__module__)
"""


class Scheduler:
    """What one_timer knows of Snakemake's."""

    def __init__(self):
        self._open_jobs = threading.Semaphore(0)

    def _schedule_reevalutation(self, delay: int) -> None:
        raise AssertionError("this one starts a timer each time")


def run(folder: Path, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", "snakemake", *arguments], cwd=folder, text=True,
                          capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_many_requests_give_one_pass_and_the_next_request_another():
    scheduler = Scheduler()
    one_timer(scheduler)
    for _ in range(2):
        for _ in range(5):
            scheduler._schedule_reevalutation(0.05)
        assert scheduler._open_jobs.acquire(timeout=60)
        assert not scheduler._open_jobs.acquire(timeout=0.2)


def test_a_long_wait_does_not_swallow_a_short_one():
    scheduler = Scheduler()
    one_timer(scheduler)
    for delay in (600, 0.01):
        scheduler._schedule_reevalutation(delay)
    assert scheduler._open_jobs.acquire(timeout=60)


def test_a_scheduler_without_timers_is_left_alone():
    other = object()
    one_timer(other)


@pytest.mark.parametrize("limit", [(), ("--max-jobs-per-timespan", "4/1s")],
                         ids=["default", "limited"])
def test_every_job_runs_and_one_timer_is_left_at_most(tmp_path, limit):
    (tmp_path / "Snakefile").write_text(MANY.format(root=str(ROOT)))
    said = run(tmp_path, "--cores", "1", *limit)
    assert len(list((tmp_path / "out").iterdir())) == 12
    assert int(said.partition("timers: ")[2].split()[0]) <= 1


def test_the_study_runs_so(clone, tmp_path):
    with (clone / "patronus" / "scheduling.py").open("a") as handle:
        handle.write(SPY)
    said = run(tmp_path, "-s", str(clone / "Snakefile"), "--profile",
               str(clone / "profiles" / "default"), "--cores", "1", "generate_fashion_mnist",
               "--config", "scale=tiny", "datasets=fashion_mnist", "methods=ddpm")
    assert "asks: patronus.scheduling" in said

"""Start-up: what a command costs before it does anything.

    python -m benchmarks.startup
    python -m benchmarks.startup --study 2   also two rounds, each of minutes, of a small study with
                                             and without patronus.warm

Processor seconds (user and system, the children's own) of whole processes, in turn within each
round. Planning (`snakemake -n` at the smoke scale) stands beside the same Snakemake on a Snakefile
of as many jobs that imports nothing of ours and decides nothing: the floor.

Where a smoke study has run here with PATRONUS_WARM=0, its logs also say how much of each stage's
processor time its start-up is: that of `--help`, which loads what stands at the top of the module.
"""

import ctypes
import math
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from benchmarks import timing
from patronus.config import load_study
from patronus.sources import ROOT

SNAKEMAKE = ["-m", "snakemake", "-n", "--quiet", "all"]
STUDY = ["--config", "scale=tiny", "datasets=fashion_mnist", "methods=ddpm,patronus_modern"]
LIBRARIES = ("numpy", "pandas", "torch")
STAGES = {"data": "patronus.prepare", "checkpoints": "patronus.train", "codes": "patronus.encode",
          "interventions": "analysis.interventions", "conditioning": "analysis.conditioning",
          "measures": "analysis.measure", "paper": "paper.render"}  # folder of logs: module


def spent() -> float:
    """Processor seconds of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def python(*arguments: str, folder: Path = ROOT) -> str:
    """What this Python says; raises CalledProcessError if it fails."""
    return subprocess.run([sys.executable, *arguments], cwd=folder, check=True, text=True,
                          capture_output=True).stdout


def trivial(stages: int, cells: int, others: int) -> str:
    """A Snakefile of `stages` chained rules over `cells` wildcards each, and `others` that end it.

    Every rule has a log, a benchmark, parameters and resources by function, as ours have.
    """
    rules = [f"""
rule stage{k}:
    input: {f'"out/{k - 1}/{{dataset}}/{{method}}"' if k else ""}
    output: "out/{k}/{{dataset}}/{{method}}"
    params: key=lambda wildcards: "{k}"
    log: "logs/{k}/{{dataset}}/{{method}}.log"
    benchmark: "logs/{k}/{{dataset}}/{{method}}.tsv"
    resources: runtime=lambda wildcards: 1, mem_mb=lambda wildcards: 1
    shell: "true > {{log}}"
""" for k in range(stages)]
    rules += [f"""
rule other{k}:
    input: "out/{stages - 1}/d/m{k % cells}"
    output: "other/{k}"
    log: "logs/other{k}.log"
    benchmark: "logs/other{k}.tsv"
    shell: "true > {{log}}"
""" for k in range(others)]
    return f"""
rule all:
    input:
        expand("out/{stages - 1}/d/m{{k}}", k=range({cells})),
        expand("other/{{k}}", k=range({others})),
""" + "".join(rules)


def planned(text: str) -> int:
    """Jobs that the words of `snakemake -n` count."""
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("total")))


def floor(folder: Path) -> None:
    """Write a trivial study of as many jobs as the smoke scale plans."""
    cells = len(load_study().cells)
    planning = planned(python("-m", "snakemake", "-n")) - 1  # without the one that only gathers
    (folder / "Snakefile").write_text(trivial(planning // cells, cells, planning % cells))


def jobs(logs: Path) -> dict[str, list[float]]:
    """Processor seconds of the jobs of each stage, from Snakemake's benchmarks below `logs`."""
    found: dict[str, list[float]] = {}
    for path in sorted(logs.glob("*/**/*.tsv")):
        seconds = pd.read_csv(path, sep="\t")["cpu_time"].iloc[-1]  # the last run's
        if not math.isnan(seconds):  # too short to be seen
            found.setdefault(path.relative_to(logs).parts[0], []).append(float(seconds))
    return found


def shares(ran: dict[str, list[float]], starts: dict[str, float]) -> dict[str, dict[str, float]]:
    """By stage: how many jobs, their processor seconds, and the part of it that is start-up."""
    return {stage: {"jobs": len(spent), "seconds": math.fsum(spent),
                    "start_up": min(1.0, starts[stage] * len(spent) / math.fsum(spent))}
            for stage, spent in ran.items() if stage in starts}


def studied(variables: dict[str, str]) -> None:
    """Make a small study from nothing, and wait for all that it has started."""
    with TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "snakemake", "--cores", "1", "-s",
                        str(ROOT / "Snakefile"), "--directory", folder, *STUDY], check=True,
                       env=os.environ | variables, capture_output=True)
        while True:  # the server is Snakemake's child and becomes ours
            try:
                os.wait()
            except ChildProcessError:
                break


def warmth(rounds: int) -> dict[str, dict]:
    """Processor seconds of a small study with and without a server of warm Pythons."""
    ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: orphans are counted here
    found = timing.timed({"PATRONUS_WARM=0": partial(studied, {"PATRONUS_WARM": "0"}),
                          "warm": partial(studied, {"PATRONUS_WARM": ""})}, rounds, spent)
    return {"rounds": rounds, "seconds": {name: timing.spread(own) for name, own in found.items()},
            "times_faster": timing.ratios(found, "PATRONUS_WARM=0")["warm"]}


def ways(folder: Path) -> dict[str, Callable[[], str]]:
    """What is timed, by name."""
    return {
        "python": partial(python, "-c", "pass"),
        **{f"import {name}": partial(python, "-c", f"import {name}") for name in LIBRARIES},
        "patronus --help": partial(python, "-m", "patronus", "--help"),
        "snakemake --version": partial(python, "-m", "snakemake", "--version"),
        "snakemake -n, trivial jobs": partial(python, *SNAKEMAKE, "--cores", "1", folder=folder),
        "snakemake -n": partial(python, *SNAKEMAKE),
        **{f"{name} --help": partial(python, "-m", name, "--help") for name in STAGES.values()}}


def main() -> None:
    """Time, write benchmarks/results/startup.json and print one line."""
    given = timing.arguments(__doc__, "startup", repeats=3, study=0)
    with TemporaryDirectory() as folder:
        floor(Path(folder))
        found = timing.timed(ways(Path(folder)), given.repeats, spent)
    seconds = {name: timing.spread(values) for name, values in found.items()}
    middle = {name: one["median"] for name, one in seconds.items()}
    starts = {stage: middle[f"{name} --help"] for stage, name in STAGES.items()}
    ratio = timing.ratios(found, "snakemake -n")["snakemake -n, trivial jobs"]
    timing.save(given.out, {"repeats": given.repeats, "seconds": seconds,
                            "planning_over_floor": ratio,
                            "study": warmth(given.study) if given.study else None,
                            "smoke": shares(jobs(ROOT / "logs" / "smoke"), starts)})
    print(f"processor seconds: patronus --help {middle['patronus --help']:.2f}, snakemake -n "
          f"{middle['snakemake -n']:.1f} (floor {middle['snakemake -n, trivial jobs']:.1f}: "
          f"{ratio['median']:.2f} times), import torch {middle['import torch']:.1f}, stages "
          f"{min(starts.values()):.1f} to {max(starts.values()):.1f}")


if __name__ == "__main__":
    main()

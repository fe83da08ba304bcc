"""Processor time of Snakemake's own process over many small jobs, with and without `one_timer`.

    python -m benchmarks.scheduler

Each job sleeps and has one parameter that takes about as long to work out as the digest of a stage
of ours. User and system seconds of the main process alone, its jobs left out, read as the last job
has ended; a pass of the scheduler is counted as it asks which jobs are ready.
"""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import timing
from patronus.sources import ROOT

SNAKEFILE = """
import json, resource, sys, time
sys.path.insert(0, {root!r})
from patronus.scheduling import one_timer
passes = []

def costly(wildcards):
    end = time.perf_counter() + {milliseconds} / 1000
    while time.perf_counter() < end:
        pass
    return 0

rule all:
    input: expand("out/{{k}}", k=range({jobs}))

rule one:
    output: "out/{{k}}"
    params: costly
    shell: "sleep {seconds}; touch {{output}}"

onstart:
    scheduler, ask = workflow.scheduler, workflow.scheduler.job_selector
    scheduler.job_selector = lambda jobs: (passes.append(len(jobs)), ask(jobs))[1]
    if {cured}:
        one_timer(scheduler)

onsuccess:
    used = resource.getrusage(resource.RUSAGE_SELF)
    found = {{"user": used.ru_utime, "system": used.ru_stime, "passes": len(passes)}}
    open("found.json", "w").write(json.dumps(found))
"""


def measured(cured: bool, jobs: int, seconds: float, milliseconds: float) -> dict[str, float]:
    """User and system seconds of the main process, and passes of its scheduler."""
    text = SNAKEFILE.format(root=str(ROOT), cured=cured, jobs=jobs, seconds=seconds,
                            milliseconds=milliseconds)
    with TemporaryDirectory() as folder:
        Path(folder, "Snakefile").write_text(text)
        subprocess.run([sys.executable, "-m", "snakemake", "--cores", "2", "--quiet", "all"],
                       cwd=folder, check=True, capture_output=True)
        return json.loads(Path(folder, "found.json").read_text())


def main() -> None:
    """Measure both, write benchmarks/results/scheduler.json and print one line."""
    given = timing.arguments(__doc__, "scheduler", jobs=300, milliseconds=600)
    seconds = given.milliseconds / 1000
    found = {name: measured(cured, given.jobs, seconds, 0.7)
             for name, cured in (("one_timer", True), ("snakemake", False))}
    timing.save(given.out, {"jobs": given.jobs, "seconds_of_a_job": seconds, "cores": 2, **found})
    print("processor seconds of the main process, passes: " + "; ".join(
        f"{name} {one['user'] + one['system']:.1f}, {one['passes']}"
        for name, one in found.items()))


if __name__ == "__main__":
    main()

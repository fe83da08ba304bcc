"""An edited source reruns exactly what depends on it: every stage's, read from the dry run.

No model is trained here. The files of a whole study are made up and Snakemake is told that they
are whole, as `make restore` does; from there on it knows of each result what made it. The jobs and
what each reads come from a dry run of everything, which looks at no source. Part of
`make test-long`; three of the edits are in test_pipeline.py as well.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from patronus.files import save_text

pytestmark = pytest.mark.long
ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("patronus", "baselines", "analysis", "paper", "config", "profiles")
STUDY = ("scale=tiny", "seeds=0,1")  # two seeds: stability compares them
ASKING = {"intervene", "vary_steps", "choose_images", "validate"}
EDITED = {  # source: rules that run it themselves; "generate" are those of all data sets
    "patronus/worlds/faces.py": {"generate_celeba", "generate_celeba_hair"},
    "patronus/generate.py": {"generate"},
    "patronus/prepare.py": {"generate", "prepare"},
    "analysis/references.py": {"references", "measure", *ASKING},
    "patronus/train.py": {"train", "prior", "sample", "count_costs"},
    "patronus/encode.py": {"encode", "validate"},
    "patronus/prior.py": {"prior", "sample"},
    "patronus/sample.py": {"sample"},
    "patronus/explain/edit.py": {"explain"},
    "analysis/interventions.py": ASKING,
    "analysis/shortcut.py": {"diagnose"},
    "analysis/spoiled.py": {"validate"},
    "analysis/denoising.py": {"denoise", "validate"},
    "analysis/conditioning.py": {"denoise", "compare", "measure", *ASKING - {"intervene"}},
    "analysis/stability.py": {"match_seeds"},
    "analysis/costs.py": {"count_costs"},
    "analysis/measures/tad.py": {"measure", "diagnose", *ASKING},
    "analysis/collect.py": {"collect"},
    "paper/figures/fig4.py": {"fig4"},
    "paper/tables/tab1.py": {"tab1"},
    "paper/table.py": {"tab1", "tab2", "measures", "costs"},
    "paper/report.py": {"report"},
    "patronus/explain/page.py": set(),  # of the command line alone
}


@dataclass(frozen=True)
class Job:
    rule: str
    inputs: frozenset[str]
    outputs: frozenset[str]


@dataclass(frozen=True)
class Place:
    folder: Path

    def snakemake(self, *arguments: object, **variables: str) -> str:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("PATRONUS_")}
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", "all", "report", "--cores", "1",
             *map(str, arguments), "--config", *STUDY],
            cwd=self.folder, capture_output=True, text=True, env=inherited | variables)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def jobs(self, *arguments: object, **variables: str) -> set[Job]:
        """What would run; `all` makes nothing and is left out."""
        said = self.snakemake("-n", *arguments, **variables)
        blocks = re.split(r"^(?:local)?rule (\w+):$", said, flags=re.MULTILINE)[1:]
        found = {Job(rule, listed(block, "input"), listed(block, "output"))
                 for rule, block in zip(blocks[::2], blocks[1::2], strict=True)}
        return {job for job in found if job.outputs}

    @contextmanager
    def edited(self, source: str) -> Iterator[None]:
        path = self.folder / source
        text = path.read_text()
        path.write_text(text + "\n# changed\n")
        try:
            yield
        finally:
            path.write_text(text)


def listed(block: str, kind: str) -> frozenset[str]:
    found = re.search(rf"^    {kind}: (.+)$", block, re.MULTILINE)
    return frozenset(found.group(1).split(", ")) if found else frozenset()


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Place:
    """The sources, every file of the study made up, and Snakemake told that all is whole."""
    place = Place(tmp_path_factory.mktemp("reruns") / "a clone")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, place.folder / name,
                        ignore=shutil.ignore_patterns("__pycache__", "showcase"))
    shutil.copy2(ROOT / "Snakefile", place.folder)
    for job in place.jobs("--forceall"):
        for path in job.outputs:
            save_text(place.folder / path, '{"outputs": {}}')
    place.snakemake("--touch", "--forceall", "--quiet", "all")
    return place


@pytest.fixture(scope="module")
def every(place) -> set[Job]:
    return place.jobs("--forceall")


def following(first: set[Job], every: set[Job]) -> set[Job]:
    """`first` and all that reads, however indirectly, what they make."""
    found = set(first)
    while True:
        made = frozenset().union(*(job.outputs for job in found))
        more = {job for job in every if job.inputs & made} - found
        if not more:
            return found
        found |= more


def test_the_study_has_a_job_of_each_rule(every):
    """So that no case below is empty for want of jobs."""
    named = {rule for rules in EDITED.values() for rule in rules} - {"generate"}
    assert named <= {job.rule for job in every}
    assert len(every) == len(frozenset().union(*(job.outputs for job in every))
                             & {min(job.outputs) for job in every})


def test_nothing_runs_when_nothing_was_edited(place):
    assert place.jobs() == set()


@pytest.mark.parametrize(("source", "rules"), EDITED.items(), ids=EDITED)
def test_edited_source_reruns_exactly_what_depends_on_it(place, every, source, rules):
    own = {job for job in every if job.rule in rules
           or "generate" in rules and job.rule.startswith("generate_")}
    assert len(own) >= len(rules)
    with place.edited(source):
        assert place.jobs() == following(own, every)


def test_edited_method_reruns_its_own_cells_only(place, every):
    """Costs are told beside the plain DDPM's, so they count for every method."""
    cells = {job for job in every if job.rule == "count_costs"
             or any("/ddpm/" in path for path in job.outputs)
             and job.rule not in {"match_seeds", "compare", "diagnose"}}
    with place.edited("baselines/ddpm.py"):
        assert place.jobs() == following(cells, every)


def test_edited_data_set_reruns_its_own_cells_only(place, every):
    path = place.folder / "config" / "datasets" / "fashion_mnist.yaml"
    values = yaml.safe_load(path.read_text())
    config = shutil.copytree(place.folder / "config", place.folder.parent / "config")
    save_text(config / "datasets" / path.name, yaml.safe_dump(values | {"title": "Renamed"}))
    (prepare,) = (job for job in every if job.rule == "prepare"
                  and "results/tiny/data/fashion_mnist/record.json" in job.outputs)
    assert place.jobs(PATRONUS_CONFIG=str(config)) == following({prepare}, every)

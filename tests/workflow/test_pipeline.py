"""The Snakefile: the tiny study is made once for real; copies of it show what an edit reruns."""

import csv
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml

from analysis.conditioning import counterpart
from paper import catalogue
from patronus.config import Cell, Study, load_study, stage_folder
from patronus.files import sha256

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("patronus", "baselines", "analysis", "paper", "config", "profiles")
STUDY = load_study("tiny")
CELL_STAGES = {"train": "checkpoints", "encode": "codes", "prior": "priors", "sample": "samples",
               "measure": "measures"}  # rule to stage: those that every cell goes through
FIGURE_STAGES = {  # rule to stage: those that run for the cells that figures read
    "explain": "explanations", "intervene": "interventions", "diagnose": "shortcut",
    "denoise": "denoising", "compare": "conditioning", "match_seeds": "stability",
    "count_costs": "costs", "vary_steps": "steps", "choose_images": "spread",
    "validate": "validation"}
MEASURED = ("interventions", "denoising", "explanations", "costs")  # what measures read of those
CELL = STUDY.cell("celeba", "patronus", 0)
MACHINE = re.compile(rb"/(?:home|root|tmp|Users)/\w|" + "|".join(
    re.escape(str(path)) for path in (ROOT, sys.prefix, tempfile.gettempdir())).encode())
BASE64 = re.compile(rb"[A-Za-z0-9+/=]{200,}")  # images inside pages: any letters may occur
GENERATED = "generated stand-in"


@dataclass(frozen=True)
class Place:
    """A clone of the sources with a commit, and a working folder; both have a space in the name."""

    folder: Path

    @property
    def clone(self) -> Path:
        return self.folder / "a clone"

    @property
    def work(self) -> Path:
        return self.folder / "a run"

    def execute(self, *command: object, **variables: str) -> subprocess.CompletedProcess:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("PATRONUS_")}
        return subprocess.run(list(map(str, command)), cwd=self.work, capture_output=True,
                              env=inherited | variables, text=True)

    def snakemake(self, *arguments: object, **variables: str) -> subprocess.CompletedProcess:
        return self.execute(
            sys.executable, "-m", "snakemake", "-s", self.clone / "Snakefile", "--directory",
            self.work, "--profile", self.clone / "profiles" / "default", "--cores", 2,
            *arguments, **variables)

    def plan(self, *arguments: object, config=("scale=tiny",), **variables: str) -> dict[str, int]:
        """Jobs that would run, by rule, without `all`."""
        done = self.snakemake("-n", *arguments, "--config", *config, **variables)
        assert done.returncode == 0, done.stderr
        if "Nothing to be done" in done.stdout:
            return {}
        rows = dict(re.findall(r"^(\w+) +(\d+)$", done.stdout.partition("Job stats:")[2], re.M))
        jobs = {rule: int(count) for rule, count in rows.items()}
        assert jobs.pop("total") == sum(jobs.values())
        return {rule: count for rule, count in jobs.items() if rule != "all"}

    def record(self, folder: Path) -> dict:
        return json.loads((self.work / folder / "record.json").read_text())

    def results(self) -> dict[str, str]:
        """Digest of every file below results/."""
        files = sorted(f for f in (self.work / "results").rglob("*") if f.is_file())
        return {str(f.relative_to(self.work)): sha256(f) for f in files}


@pytest.fixture
def empty(tmp_path) -> Place:
    """The sources as they are, and nothing made yet."""
    return clone(tmp_path)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Place:
    """The tiny study, made by one command; no test may change it."""
    place = clone(tmp_path_factory.mktemp("made"))
    git = ("git", "-C", place.clone, "-c", "user.name=test", "-c", "user.email=test@localhost",
           "-c", "commit.gpgsign=false")
    for command in (("init", "-q"), ("add", "-A"), ("commit", "-q", "-m", "sources")):
        done = place.execute(*git, *command)
        assert done.returncode == 0, done.stderr
    done = place.snakemake("--config", "scale=tiny")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "Figures and tables: results/tiny/paper/"
    return place


@pytest.fixture
def copy(made, tmp_path) -> Place:
    """A copy of the made study, times included, that a test may spoil."""
    return Place(shutil.copytree(made.folder, tmp_path / "copy", symlinks=True))


def clone(folder: Path) -> Place:
    place = Place(folder)
    place.work.mkdir()
    for name in FOLDERS:
        shutil.copytree(ROOT / name, place.clone / name,
                        ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / "Snakefile", place.clone)
    return place


def figures(study: Study) -> dict[str, int]:
    return dict.fromkeys(catalogue.wanted(study), 1)


def asked(study: Study) -> dict[Path, tuple[str, Cell]]:
    """What runs for those cells only that some figure reads: folder to stage and cell."""
    needs = [path for name in catalogue.wanted(study) for path in catalogue.needs(name, study)]
    found = [(path.parts[2], study.cell(path.parts[3], path.parts[4], path.parts[5][4:]))
             for path in needs if path.parts[2] in FIGURE_STAGES.values()]
    found += [(stage, cell) for stage in MEASURED for cell in study.benchmark.values()]
    found += [("shortcut", tied) for cell in study.benchmark.values() if (tied := study.tied(cell))]
    for stage, cell in list(found):
        if stage == "shortcut":
            fair = study.cell(cell.reference, cell.method, cell.seed)
            found += [("interventions", cell), ("interventions", fair)]
        if stage == "conditioning":
            other = counterpart(cell, study.cells.values())
            found += [("denoising", one) for one in (cell, other) if one]
    return {cell.folder(stage): (stage, cell) for stage, cell in found}


def folders(study: Study) -> list[Path]:
    """Every folder that a made study must have."""
    per_set = [stage_folder(s, study.scale, d) for s in ("data", "references")
               for d, dataset in study.datasets.items() if not (dataset.shortcut and s != "data")]
    per_cell = [c.folder(stage) for stage in CELL_STAGES.values() for c in study.benchmark.values()]
    papers = [Path("results", study.scale, "paper", name) for name in figures(study)]
    return [*per_set, *per_cell, *sorted(asked(study)), *papers]


def jobs(study: Study) -> dict[str, int]:
    """What a run from nothing consists of."""
    compared = [d for d, dataset in study.datasets.items() if not dataset.shortcut]
    per_cell = dict.fromkeys(CELL_STAGES, len(study.benchmark))
    more = asked(study).values()
    tied = len({cell.folder("codes") for _, cell in more if cell.shortcut})
    per_cell |= {rule: per_cell[rule] + tied for rule in ("train", "encode")}
    used = {cell.dataset for cell in study.benchmark.values()} \
        | {cell.dataset for _, cell in more}
    per_set = {"prepare": len(used), "references": len(compared)}
    drawn = [name for name in used if study.generated and study.datasets[name].world]
    rules = {stage: rule for rule, stage in FIGURE_STAGES.items()}
    return per_set | per_cell | Counter(rules[stage] for stage, _ in more) \
        | dict.fromkeys((f"generate_{d}" for d in drawn), 1) | {"collect": 1} | figures(study)


def readers(*stages: str) -> dict[str, int]:
    """Figures and tables that read what one of these stages makes."""
    return {name: 1 for name in figures(STUDY)
            if any(path.parts[2] in stages for path in catalogue.needs(name, STUDY))}


def append(path: Path, text: str) -> None:
    with path.open("a") as handle:
        handle.write(text)


# What the one command made


@pytest.mark.parametrize("folder", folders(STUDY), ids=lambda f: "-".join(f.parts[2:]))
def test_record_tells_the_truth(made, folder):
    record = made.record(folder)
    beside = {str(f.relative_to(made.work)) for f in (made.work / folder).iterdir() if f.is_file()}
    if folder.parts[2] != "paper":
        assert record["outputs"].keys() == beside - {str(folder / "record.json")}
    else:
        assert record["outputs"].keys() >= beside - {str(folder / "record.json")}
    for path, digest in record["outputs"].items():
        assert sha256(made.work / path) == digest, path
    for path, digest in record["inputs"].items():
        assert digest == input_digest(made.work / path), path
    assert record["code"]["dirty"] is False
    assert len(record["code"]["commit"]) == 40
    assert {"python", "torch", "numpy"} <= {k for k, v in record["versions"].items() if v}
    assert record["seconds"] > 0 and record["peak_memory_mib"] > 0


def input_digest(path: Path) -> str:
    """Of a stage's folder: digest of the outputs that its record lists; of a file: its own."""
    if path.is_file():
        return sha256(path)
    listed = json.loads((path / "record.json").read_text())["outputs"]
    return hashlib.sha256(json.dumps(listed, sort_keys=True).encode()).hexdigest()


@pytest.mark.parametrize("stage", CELL_STAGES.values())
@pytest.mark.parametrize("cell", STUDY.benchmark.values(), ids=lambda c: f"{c.dataset}-{c.method}")
def test_record_names_its_cell_and_what_was_asked_of_it(made, cell, stage):
    assert made.record(cell.folder(stage))["cell"] == cell.model_dump(mode="json")


@pytest.mark.parametrize("cell", STUDY.cells.values(), ids=lambda c: f"{c.dataset}-{c.method}")
def test_training_record_tells_how_many_images_were_seen(made, cell):
    found = made.record(cell.folder("checkpoints"))["found"]
    assert found["images_seen"] == found["steps"] * cell.train.batch_size > 0


def test_nothing_made_holds_a_path_of_this_machine(made):
    texts = {f: BASE64.sub(b"", f.read_bytes()) for f in (made.work / "results").rglob("*.*")
             if f.suffix in {".json", ".csv", ".md", ".tex", ".html", ".ipynb"}}
    assert len(texts) > len(folders(STUDY))
    assert {f: found.group() for f, text in texts.items() if (found := MACHINE.search(text))} == {}


@pytest.mark.parametrize("name", figures(STUDY))
def test_figure_or_table_has_all_its_forms(made, name):
    drawn = catalogue.script(name).parent.name == "figures"
    folder = made.work / "results" / "tiny" / "paper" / name
    for kind in ("ipynb", "html", *(("pdf", "png") if drawn else ("csv", "md", "tex"))):
        sheets = list(folder.glob(f"{name}*.{kind}"))  # one, or one for each data set
        assert sheets and min(sheet.stat().st_size for sheet in sheets) > 200, kind
    for kind in () if drawn else ("md", "tex", "html"):  # test_paper.py reads the figures
        assert GENERATED in (folder / f"{name}.{kind}").read_text(), kind


def test_the_metrics_that_dvc_shows_are_those_of_the_table(made):
    (name,) = yaml.safe_load((ROOT / "dvc.yaml").read_text())["metrics"]
    shown = json.loads((made.work / name.replace("${scale}", "tiny")).read_text())
    assert shown.keys() == {cell.dataset for cell in STUDY.benchmark.values()}
    with (made.work / "results" / "tiny" / "measures" / "table.csv").open() as handle:
        values = [float(row["value"]) for row in csv.DictReader(handle) if row["value"]]
    assert sorted(value for methods in shown.values() for seeds in methods.values()
                  for found in seeds.values() for value in found.values()) == sorted(values)


def test_the_figures_and_tables_of_the_foundation_are_among_them():
    assert {"fig4", "stand_ins", "tab1", "tab2"} <= figures(STUDY).keys()


@pytest.mark.parametrize("cell", STUDY.benchmark.values(),
                         ids=lambda c: f"{c.dataset}-{c.method}")
def test_samples_are_images_of_the_right_shape(made, cell):
    folder = made.work / cell.folder("samples")
    names = ["unconditional", "reconstruction"] + ["conditional"] * (cell.method != "ddpm")
    assert {f.stem for f in folder.glob("*.npy")} == {*names, "rows"}
    rows = np.load(folder / "rows.npy")
    assert len(np.unique(rows)) == len(np.load(folder / "reconstruction.npy")) and rows.min() >= 0
    for name in names:
        images = np.load(folder / f"{name}.npy")
        assert images.dtype == np.uint8
        assert images.shape[1:] == cell.shape
        assert len(np.unique(images)) > 2
    assert len(np.load(folder / "unconditional.npy")) == cell.sample.count


def test_codes_are_finite_and_of_the_asked_size(made):
    counts = {"train": STUDY.generated.train, "test": STUDY.generated.test}
    for split, count in counts.items():
        codes = np.load(made.work / CELL.folder("codes") / f"{split}.npy")
        assert codes.shape == (count, CELL.code_dim)
        assert np.isfinite(codes).all() and codes.std() > 0


# What runs again, and what does not


def test_second_run_does_nothing(made):
    before = made.results()
    done = made.snakemake("--config", "scale=tiny")
    assert done.returncode == 0
    assert "Nothing to be done" in done.stdout + done.stderr
    assert made.results() == before


def test_figures_by_id_are_known_and_up_to_date(made):
    assert made.plan("fig4", "tab1") == {}


def test_touched_sources_rerun_nothing(copy):
    for name in FOLDERS:
        for path in (copy.clone / name).rglob("*.*"):
            os.utime(path)
    assert copy.plan() == {}


def test_changed_setting_reruns_its_stage_and_what_follows(copy):
    config = shutil.copytree(copy.clone / "config", copy.folder / "config")
    path = config / "scales" / "tiny.yaml"
    values = yaml.safe_load(path.read_text())
    values["every"]["sample"]["steps"] += 1
    path.write_text(yaml.safe_dump(values))
    n = len(STUDY.benchmark)
    assert copy.plan(PATRONUS_CONFIG=str(config)) == \
        {"sample": n, "measure": n, "collect": 1, "choose_images": 1} \
        | readers("samples", "measures", "spread")


@pytest.mark.parametrize(("source", "rules"), [
    ("patronus/prior.py", ("prior", "sample", "measure", "collect", "choose_images",
                           *readers("samples", "measures", "spread"))),
    ("analysis/measures/tad.py", (
        "measure", "collect", "intervene", "diagnose", "vary_steps", "choose_images", "validate",
        *readers("measures", "interventions", "shortcut", "steps", "spread", "validation"))),
    ("paper/figures/fig4.py", ("fig4",)),
])
def test_changed_source_reruns_its_stage_and_what_follows(copy, source, rules):
    append(copy.clone / source, "\n# changed\n")
    assert copy.plan() == {rule: jobs(STUDY)[rule] for rule in rules}


def test_the_same_seed_gives_the_same_bytes(copy):
    stages = ("checkpoints", "codes", "priors", "samples")
    first = {stage: copy.record(CELL.folder(stage))["outputs"] for stage in stages}
    for stage in stages:
        shutil.rmtree(copy.work / CELL.folder(stage))
    done = copy.snakemake(CELL.folder("samples") / "record.json", "--config", "scale=tiny")
    assert done.returncode == 0, done.stderr
    assert {stage: copy.record(CELL.folder(stage))["outputs"] for stage in stages} == first


# Restricted and full studies


def test_study_can_be_restricted(empty):
    study = load_study("tiny", datasets=["celeba"], methods=["ddpm"])
    assert 0 < len(study.cells) < len(STUDY.cells)
    assert empty.plan(config=("scale=tiny", "datasets=celeba", "methods=ddpm")) == jobs(study)


def test_full_study_is_planned_without_data_and_without_torch(empty):
    study = load_study("paper")
    assert len(study.benchmark) == 5 * len(study.methods) * len(study.seeds)
    assert {cell.dataset for cell in study.benchmark.values()} == {
        "fashion_mnist", "cifar10", "ffhq", "celeba", "chexpert"}
    blocked = empty.folder / "blocked"
    blocked.mkdir()
    (blocked / "torch.py").write_text("raise ImportError('planning needs no torch')\n")
    assert empty.plan(config=("scale=paper",), PYTHONPATH=str(blocked)) == jobs(study)


# What goes wrong


def errors(done: subprocess.CompletedProcess) -> list[str]:
    """The lines that tell the user what is wrong; they must suffice."""
    assert "Traceback" not in done.stdout + done.stderr
    return [line for line in done.stderr.splitlines() if line.startswith("error: ")]


@pytest.mark.parametrize(("config", "names"), [
    (("scale=nosuch",), "scales/nosuch.yaml"),
    (("scale=tiny", "datasets=nosuch"), "datasets/nosuch.yaml"),
    (("scale=tiny", "methods=patronus,nosuch"), "methods/nosuch.yaml"),
    (("scale=tiny", "seed=1"), "seed"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_unknown_name_is_refused_in_one_line(empty, config, names):
    done = empty.snakemake("-n", "--config", *config)
    (line,) = errors(done)
    assert done.returncode != 0
    assert names in line


def test_absent_official_data_are_named_with_where_to_get_them(empty):
    wanted = stage_folder("data", "paper", "celeba") / "record.json"
    done = empty.snakemake(wanted, "--config", "scale=paper")
    (line,) = errors(done)  # from the log of the failed job, which is shown
    assert done.returncode != 0
    for part in ("raw/official/celeba", "list_attr_celeba.txt", "http", "PATRONUS_DATA"):
        assert part in line
    assert not any((empty.work / "results").rglob("*.*"))


def test_hole_in_the_grid_fails_the_collection(copy):
    record = CELL.folder("measures") / "record.json"
    table = copy.work / "results" / "tiny" / "measures" / "table.csv"
    before = table.read_bytes()
    (copy.work / record).unlink()
    done = copy.execute(sys.executable, "-m", "analysis.collect", "--scale", "tiny",
                        PYTHONPATH=str(copy.clone))
    (line,) = errors(done)
    assert done.returncode != 0
    assert "celeba/patronus/seed0" in line and str(record) in line
    assert table.read_bytes() == before


def test_failed_job_leaves_everything_else_and_is_all_that_runs_again(copy):
    before = copy.results()
    folder = str(CELL.folder("measures"))
    source = copy.clone / "analysis" / "measures" / "fid.py"
    text = source.read_text()
    append(source, "\nfrom patronus.errors import Problem\nraise Problem('fid: out of order')\n")
    done = copy.snakemake(f"{folder}/record.json", "--config", "scale=tiny")
    assert done.returncode != 0
    assert errors(done) == ["error: fid: out of order"]
    assert {f: d for f, d in before.items() if not f.startswith(folder)}.items() \
        <= copy.results().items()
    assert f"{folder}/record.json" not in copy.results()
    source.write_text(text)
    assert copy.plan() == {"measure": 1, "collect": 1} | readers("measures")

"""The reviewer's path: published results come back checked, one figure is made, nothing trains."""

import base64
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from patronus.config import load_study
from patronus.files import load_json, save_json, save_text, sha256

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("patronus", "baselines", "analysis", "paper", "config", "profiles", ".dvc")
FILES = ("Snakefile", "Makefile", "dvc.yaml", ".gitignore", ".gitattributes", ".dvcignore")
ONLY = ("datasets=celeba", "methods=patronus")
CELL = load_study("tiny").cell("celeba", "patronus", 0)
WEIGHTS = str(CELL.folder("checkpoints") / "model.safetensors")
FIGURE = "results/tiny/paper/fig3/fig3.png"
PUBLISHED = {"checkpoints", "codes", "data", "explanations", "paper"}  # what fig3 stands on, and it


@dataclass(frozen=True)
class Repo:
    """A clone in which git, DVC and make run as a user would run them, but without a GPU."""

    folder: Path

    def execute(self, *command: object, **variables: str) -> subprocess.CompletedProcess:
        home = self.folder.parent / "home"
        own = {f"DVC_{name}_DIR": str(home / name)
               for name in ("SITE_CACHE", "GLOBAL_CONFIG", "SYSTEM_CONFIG")}
        paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PATRONUS_", "MAKE"))}
        return subprocess.run(
            list(map(str, command)), cwd=self.folder, capture_output=True, text=True,
            env=inherited | own | {"PATH": paths, "CUDA_VISIBLE_DEVICES": "",
                                   "GIT_CONFIG_GLOBAL": os.devnull} | variables)

    def run(self, *command: object, **variables: str) -> str:
        done = self.execute(*command, **variables)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def git(self, *arguments: object) -> str:
        return self.run("git", "-c", "user.name=test", "-c", "user.email=test@localhost",
                        *arguments)

    def make(self, target: str, **variables: str) -> subprocess.CompletedProcess:
        """A target of the Makefile, in the environment that runs this test."""
        return self.execute("make", "--no-print-directory", target, "stamp=Makefile", "SCALE=tiny",
                            f"ARGS={' '.join(ONLY) if target in ('restore', 'report') else ''}",
                            **variables)

    def snakemake(self, *arguments: object, **variables: str) -> subprocess.CompletedProcess:
        return self.execute(sys.executable, "-m", "snakemake", *arguments, "--cores", 2,
                            "--config", "scale=tiny", *ONLY, **variables)

    def plan(self, *targets: str) -> set[str]:
        """Rules that would run."""
        done = self.snakemake(*targets, "-n")
        assert done.returncode == 0, done.stderr
        return set(re.findall(r"^(\w+) +\d+$", done.stdout.partition("Job stats:")[2], re.M)) \
            - {"total"}


def error(done: subprocess.CompletedProcess) -> str:
    """The one line that tells what is wrong."""
    assert done.returncode != 0
    assert "Traceback" not in done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return line


@pytest.fixture(scope="module")
def maintainer(tmp_path_factory) -> Repo:
    """One figure and what it stands on, made and published to a folder."""
    repo = Repo(tmp_path_factory.mktemp("restore") / "maintainer")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, repo.folder / name, ignore=shutil.ignore_patterns(
            "__pycache__", "cache", "tmp", "config.local"))
    for name in FILES:
        shutil.copy2(ROOT / name, repo.folder)
    append(repo.folder / "config" / "scales" / "tiny.yaml", "figures: [fig3]\n")
    repo.git("init", "-q")
    repo.run("dvc", "remote", "add", "-q", "-d", "store", "../store")
    repo.git("add", "-A")
    repo.git("commit", "-q", "-m", "sources")
    done = repo.snakemake("fig3")
    assert done.returncode == 0, done.stderr
    done = repo.make("publish")
    assert done.returncode == 0, done.stderr
    repo.git("add", "-A")
    repo.git("commit", "-q", "-m", "results")
    return repo


@pytest.fixture(scope="module")
def restored(maintainer) -> Repo:
    """A fresh clone after `make restore`; no test may change it."""
    repo = clone(maintainer, maintainer.folder.parent / "restored")
    done = repo.make("restore")
    assert done.returncode == 0, done.stderr
    return repo


@pytest.fixture
def reviewer(restored, tmp_path) -> Repo:
    """A restored clone, times included, that a test may spoil."""
    shutil.copytree(restored.folder.parent / "store", tmp_path / "store")
    return Repo(shutil.copytree(restored.folder, tmp_path / "reviewer"))


def clone(source: Repo, folder: Path) -> Repo:
    source.git("clone", "-q", source.folder, folder)
    return Repo(folder)


def append(path: Path, text: str) -> None:
    with path.open("a") as handle:
        handle.write(text)


def test_every_stage_is_published_and_git_holds_pointers_only(maintainer):
    assert set(maintainer.git("ls-files", "results").split()) == \
        {f"results/tiny/{stage}.dvc" for stage in PUBLISHED}


def test_restored_results_are_the_published_ones_without_the_figures(maintainer, restored):
    def digests(repo: Repo) -> dict[str, str]:
        files = [f for stage in PUBLISHED - {"paper"}
                 for f in (repo.folder / "results" / "tiny" / stage).rglob("*") if f.is_file()]
        return {str(f.relative_to(repo.folder)): sha256(f) for f in files}

    assert WEIGHTS in digests(restored)
    assert digests(restored) == digests(maintainer)
    assert not (restored.folder / "results" / "tiny" / "paper").exists()


def test_only_the_figure_is_made_without_torch_and_it_is_the_published_one(maintainer, reviewer):
    assert reviewer.plan("fig3") == {"fig3"}
    blocked = reviewer.folder.parent / "blocked"
    save_text(blocked / "torch.py", "raise ImportError('a figure needs no torch')\n")
    done = reviewer.snakemake("fig3", PYTHONPATH=str(blocked))
    assert done.returncode == 0, done.stderr
    assert sha256(reviewer.folder / FIGURE) == sha256(maintainer.folder / FIGURE)
    done = reviewer.make("report")
    assert done.returncode == 0, done.stderr
    page = (reviewer.folder / "results" / "tiny" / "report.html").read_text()
    assert base64.b64encode((reviewer.folder / FIGURE).read_bytes()).decode() in page
    assert "job-checkpoints-celeba-patronus-seed0" in page


@pytest.mark.parametrize(("source", "rules"), [
    ("patronus/train.py", {"train", "encode", "explain", "fig3"}),
    ("patronus/explain/edit.py", {"explain", "fig3"}),
    ("paper/sheets.py", {"fig3"}),
    ("analysis/measures/tad.py", {"fig3"}),  # which no part of fig3 reads: fig3 itself is not there
])
def test_after_restoring_an_edit_reruns_what_depends_on_it(reviewer, source, rules):
    append(reviewer.folder / source, "\n# changed\n")
    assert reviewer.plan("fig3") == rules


def altered(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("spoil", [altered, Path.unlink], ids=["tampered", "missing"])
def test_spoilt_checkpoint_is_named_before_anything_runs(reviewer, spoil):
    spoil(reviewer.folder / WEIGHTS)
    done = reviewer.snakemake("fig3")
    assert WEIGHTS in error(done)
    assert "localrule" not in done.stdout + done.stderr
    assert not (reviewer.folder / FIGURE).exists()
    assert WEIGHTS in error(reviewer.make("check"))
    reviewer.run("dvc", "checkout", "--force", "results/tiny/checkpoints.dvc")
    assert reviewer.plan("fig3") == {"fig3"}
    assert reviewer.make("check").returncode == 0


def test_restoring_overwrites_nothing_that_is_not_the_published(reviewer):
    altered(reviewer.folder / WEIGHTS)
    before = sha256(reviewer.folder / WEIGHTS)
    assert WEIGHTS in error(reviewer.make("restore"))
    assert sha256(reviewer.folder / WEIGHTS) == before


def stored(store: Path, digest: str) -> Path:
    return store / "files" / "md5" / digest[:2] / digest[2:]


def weights_md5(repo: Repo) -> str:
    return repo.run("md5sum", WEIGHTS).split()[0]


@pytest.mark.parametrize("spoil", [altered, Path.unlink], ids=["tampered", "missing"])
def test_checkpoint_spoilt_in_the_remote_is_not_believed(maintainer, tmp_path, spoil):
    store = shutil.copytree(maintainer.folder.parent / "store", tmp_path / "store")
    repo = clone(maintainer, tmp_path / "reviewer")
    path = stored(store, weights_md5(maintainer))
    path.chmod(0o644)
    spoil(path)
    assert WEIGHTS in error(repo.make("restore"))
    assert not (repo.folder / ".snakemake").exists()  # nothing was told to Snakemake


def test_a_remote_that_does_not_answer_is_no_lost_file(maintainer, tmp_path):
    repo = clone(maintainer, tmp_path / "reviewer")  # whose remote is a folder that is not there
    line = error(repo.make("restore"))
    assert "see that the remote is there" in line and WEIGHTS not in line


def without_git(folder: Path) -> str:
    """A PATH of all commands but git's."""
    folder.mkdir()
    for place in ("/usr/bin", "/bin", "/usr/local/bin"):
        for path in Path(place).iterdir():
            if not path.name.startswith("git") and not (folder / path.name).exists():
                (folder / path.name).symlink_to(path)
    return os.pathsep.join([str(Path(sys.executable).parent), str(folder)])


@pytest.mark.parametrize("how", ["a ZIP file", "a ZIP file and a remote of one's own", "no git"])
def test_results_are_restored_where_git_is_not(maintainer, tmp_path, how):
    shutil.copytree(maintainer.folder.parent / "store", tmp_path / "store")
    repo = clone(maintainer, tmp_path / "reviewer")
    paths = without_git(tmp_path / "bin") if how == "no git" else os.environ["PATH"]
    if how != "no git":
        shutil.rmtree(repo.folder / ".git")
    if "own" in how:
        save_text(repo.folder / ".dvc" / "config.local",
                  "['remote \"store\"']\n    jobs = 2\n")
    for target in ("restore", "check"):
        done = repo.make(target, PATH=paths)
        assert done.returncode == 0, done.stderr
    assert repo.plan("fig3") == {"fig3"}
    if "own" in how:
        assert "jobs = 2" in (repo.folder / ".dvc" / "config.local").read_text()


def test_results_of_other_sources_are_not_passed_off_as_of_these(maintainer, tmp_path):
    shutil.copytree(maintainer.folder.parent / "store", tmp_path / "store")
    repo = clone(maintainer, tmp_path / "reviewer")
    append(repo.folder / "patronus" / "explain" / "edit.py", "\n# changed\n")
    line = error(repo.make("restore"))
    assert str(CELL.folder("explanations") / "record.json") in line
    assert "checkpoints" not in line
    assert not (repo.folder / ".snakemake").exists()


def test_nothing_is_published_that_is_not_as_its_record_says(reviewer):
    altered(reviewer.folder / WEIGHTS)
    assert WEIGHTS in error(reviewer.make("publish"))


def test_a_scale_without_results_or_pointers_says_so(maintainer, tmp_path):
    repo = clone(maintainer, tmp_path / "reviewer")
    for what in ("publish", "restore", "check"):
        line = error(repo.execute("python", "-m", "patronus.carry", what, "--scale", "small"))
        assert "results/small" in line


def official(folder: Path, dataset: str, stages: tuple[str, ...]) -> None:
    """Results as a scale on official data has them, as far as publishing looks."""
    for stage in stages:
        place = folder / "results" / "paper" / stage / dataset
        save_text(place / "made.txt", f"{stage} of {dataset}")
        path = str((place / "made.txt").relative_to(folder))
        save_json(place / "record.json", {"outputs": {path: sha256(folder / path)}})


@pytest.mark.parametrize(("dataset", "options", "published"), [
    ("celeba", (), {"checkpoints", "codes"}),
    ("celeba", ("--private",), {"checkpoints", "codes", "data", "samples", "explanations"}),
    ("fashion_mnist", (), {"checkpoints", "codes", "data", "samples", "explanations"}),
])
def test_images_that_may_not_be_passed_on_stay(maintainer, tmp_path, dataset, options, published):
    repo = clone(maintainer, tmp_path / "a clone")
    official(repo.folder, dataset, ("checkpoints", "codes", "data", "samples", "explanations"))
    said = repo.run("python", "-m", "patronus.carry", "publish", "--scale", "paper", *options)
    assert {path.stem for path in (repo.folder / "results" / "paper").glob("*.dvc")} == published
    assert ("Left out: data, explanations, samples" in said) == (len(published) == 2)
    sent = [path.read_text() for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert (f"data of {dataset}" in sent) == ("data" in published)


def test_records_are_checked_without_computing_every_digest(restored):
    """The quick check of each start opens what was written after its record only."""
    record = restored.folder / CELL.folder("checkpoints") / "record.json"
    files = [restored.folder / path for path in load_json(record)["outputs"]]
    assert max(file.stat().st_mtime_ns for file in files) <= record.stat().st_mtime_ns

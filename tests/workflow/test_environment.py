"""The environment: one set of pins behind three doors, and a Makefile that sets it up safely."""

import ast
import os
import re
import shutil
import subprocess
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / "requirements.lock").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FOLDERS = ("patronus", "baselines", "analysis", "paper", "tests")
PYTHONS = SpecifierSet(PROJECT["requires-python"])

# A stand-in for every Python of these tests: it tells a version, makes a .venv of itself and
# writes what pip was asked to do; while a file `broken` lies there, its pip fails.
FAKE_PYTHON = """#!/bin/sh
case "$*" in
  --version) echo "Python {version}" ;;
  "-m venv "*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
  "-m pip --version") ;;
  *) echo "$*" >> calls.txt; test ! -e broken ;;
esac
"""


def entries() -> list[str]:
    """The lock's entries, each with its hashes on one logical line."""
    joined = LOCK.replace("\\\n", " ")
    return [line for line in joined.splitlines() if line and not line.lstrip().startswith("#")]


def pins() -> dict[str, Version]:
    """Canonical package name -> the version that the lock names."""
    pairs = (re.match(r"([A-Za-z0-9._-]+)==(\S+)", entry).groups() for entry in entries())
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def declared(*extras: str) -> list[Requirement]:
    """The libraries that pyproject.toml asks for, with those of the named extras."""
    optional = PROJECT["optional-dependencies"]
    lines = PROJECT["dependencies"] + [line for extra in extras for line in optional[extra]]
    return [Requirement(line) for line in lines]


@pytest.mark.parametrize("requirement", declared("test"), ids=lambda r: r.name)
def test_lock_meets_what_pyproject_asks(requirement):
    assert pins()[canonicalize_name(requirement.name)] in requirement.specifier


def imported(source: Path) -> set[str]:
    """Top-level names that a Python file imports, at any depth."""
    nodes = list(ast.walk(ast.parse(source.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    froms = (node for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 0)
    return {name.partition(".")[0] for name in names | {node.module for node in froms}}


def test_every_library_that_is_imported_is_declared():
    homes = packages_distributions()
    known = {canonicalize_name(r.name) for r in declared("test")} | {PROJECT["name"]}
    sources = [p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py")]
    libraries = {name for source in sources for name in imported(source)} & homes.keys()
    assert {"torch", "pytest"} <= libraries
    assert [n for n in sorted(libraries) if not known & set(map(canonicalize_name, homes[n]))] == []


def test_lock_holds_one_version_of_each_package():
    names = [canonicalize_name(entry.partition("==")[0]) for entry in entries()]
    assert len(names) > len(PROJECT["dependencies"])
    assert len(names) == len(set(names))


def test_every_entry_is_hashed():
    assert [e for e in entries() if not re.search(r"--hash=sha256:[0-9a-f]{64}", e)] == []


def test_lock_names_no_registry_and_no_machine():
    allowed = re.compile(r"[a-z0-9._-]+==\S+( ; .+?)? {2,}(--hash=sha256:[0-9a-f]{64}\s*)+")
    assert [e for e in entries() if not allowed.fullmatch(e)] == []
    assert not re.search(r"://|--index-url|--extra-index|--find-links|file:|(^|\s)/", LOCK, re.M)


def test_lock_serves_every_supported_python():
    """No pin is left out for one of the supported Pythons: markers tell platforms apart only."""
    bounds = set(re.findall(r"python_(?:full_)?version (\S+ '[^']+')", LOCK))
    assert bounds <= {"< '3.13'"}
    assert "3.12.99" in PYTHONS
    assert "3.13" not in PYTHONS


def test_slurm_executor_is_an_extra_that_the_lock_leaves_out():
    (executor,) = {r.name for r in declared("slurm")} - {r.name for r in declared()}
    assert executor not in pins()


def test_conda_environment_takes_its_pins_from_the_lock():
    wanted = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert wanted[-1] == {"pip": ["-r requirements.lock"]}
    python, pip = wanted[:-1]
    assert PYTHONS.contains(f"{python.removeprefix('python=')}.0")
    assert pip == "pip"


@pytest.fixture
def clone(tmp_path):
    """A folder, with a space in its name, that holds what `make env` needs; no network is used."""
    folder = tmp_path / "a clone"
    folder.mkdir()
    for name in ("Makefile", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    return folder


def fake_python(path: Path, version: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(FAKE_PYTHON.format(version=version))
    path.chmod(0o755)
    return path


def make_env(clone: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", "--no-print-directory", "env", *arguments],
        cwd=clone,
        env=inherited | variables,
        capture_output=True,
        text=True,
    )


def installations(clone: Path) -> int:
    calls = clone / "calls.txt"
    return calls.read_text().count("requirements.lock") if calls.exists() else 0


def stamps(clone: Path) -> list[str]:
    return [path.name for path in (clone / ".venv").glob(".lock-*")]


@pytest.mark.parametrize("minor", [9, 10, 11, 12, 13, 14])
def test_make_accepts_the_pythons_of_pyproject_and_no_other(clone, minor):
    version = f"3.{minor}.4"
    python = fake_python(clone / "my tools" / "python", version)
    done = make_env(clone, f"PYTHON={python}")
    assert (done.returncode == 0) == PYTHONS.contains(version)
    assert (clone / ".venv").exists() == PYTHONS.contains(version)


def test_refusal_is_one_line_that_names_the_cure(clone):
    done = make_env(clone, f"PYTHON={fake_python(clone / 'python', '3.10.1')}")
    message, closing = done.stderr.splitlines()
    assert "No Python 3.11 or 3.12" in message
    assert "make env PYTHON=" in message
    assert closing.startswith("make: ***")


def test_make_passes_over_an_unsupported_python3(clone, tmp_path):
    """The usual trap: `python3` is newer than what is supported and a plain `python` would do."""
    tools = tmp_path / "tools"
    for name, version in {"3.12": "9.9.9", "3.11": "9.9.9", "3": "3.14.0", "": "3.12.8"}.items():
        fake_python(tools / f"python{name}", version)
    done = make_env(clone, PATH=f"{tools}:{os.environ['PATH']}")
    assert "Creating .venv with Python 3.12.8" in done.stdout


def test_a_finished_environment_costs_nothing_and_a_changed_lock_is_installed(clone):
    option = f"PYTHON={fake_python(clone / 'python', '3.12.1')}"
    assert make_env(clone, option).returncode == 0
    assert make_env(clone, option).returncode == 0
    assert installations(clone) == 1
    assert "--require-hashes -r requirements.lock" in (clone / "calls.txt").read_text()
    with (clone / "requirements.lock").open("a") as lock:
        lock.write("# changed\n")
    assert make_env(clone, option).returncode == 0
    assert installations(clone) == 2
    assert len(stamps(clone)) == 1


def test_a_failed_installation_is_done_again(clone):
    option = f"PYTHON={fake_python(clone / 'python', '3.12.1')}"
    (clone / "broken").touch()
    assert make_env(clone, option).returncode != 0
    assert stamps(clone) == []
    (clone / "broken").unlink()
    assert make_env(clone, option).returncode == 0
    assert installations(clone) == 2


def test_an_environment_of_an_unsupported_python_is_replaced(clone):
    fake_python(clone / ".venv" / "bin" / "python", "3.13.0")
    done = make_env(clone, f"PYTHON={fake_python(clone / 'python', '3.11.2')}")
    assert done.returncode == 0
    assert "Python 3.11.2" in (clone / ".venv" / "bin" / "python").read_text()

"""record.json beside each output: what made it, from what, with what, in how long."""

import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

from patronus.errors import Problem
from patronus.files import load_json, save_json, sha256
from patronus.sources import ROOT, source_hash

PACKAGES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "clean-fid", "pandas",
            "seaborn", "snakemake")


class Record:
    """Collects provenance while a stage runs; `write` stores it."""

    def __init__(self, stage: str, modules: list[str], settings: dict, inputs: list[Path]):
        self.started, self.code = time.time(), _git()
        self.content = {
            "stage": stage,
            "settings": settings,
            "inputs": {str(path): _digest(path) for path in inputs},
            "sources": source_hash(*modules),
            "modules": modules,
        }

    @property
    def key(self) -> str:
        """Digest of what decides the result: settings, inputs and sources."""
        return hashlib.sha256(json.dumps(self.content, sort_keys=True).encode()).hexdigest()

    def write(self, folder: Path, outputs: list[Path], **found: object) -> None:
        """Write `folder`/record.json with digests of `outputs` and whatever was `found`."""
        self.content |= {
            "outputs": {str(path): sha256(path) for path in outputs},
            "found": found,
            **provenance(self.code),
            "seconds": round(time.time() - self.started, 2),
            "peak_memory_mib": peak_memory_mib(),
        }
        save_json(folder / "record.json", self.content)


def peak_memory_mib() -> int:
    """Of this process so far. The system counts in KiB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (2**20 if sys.platform == "darwin" else 2**10)


def provenance(code: dict | None = None) -> dict:
    """The commit (`code`, or that of now), versions of packages, and the device."""
    return {"code": code or _git(),
            "versions": {"python": platform.python_version()} | _versions(),
            "device": _device()}


def _digest(path: Path) -> str:
    """An input's digest; of a stage's folder, the digest of the outputs its record lists."""
    if path.is_file():
        return sha256(path)
    listed = json.dumps(verified(path), sort_keys=True)
    return hashlib.sha256(listed.encode()).hexdigest()


def verified(folder: Path) -> dict[str, str]:
    """The outputs (file to digest) that a stage's record lists, if each is as it was written.

    Raises Problem otherwise. Reading them costs seconds; a cut or changed file would cost the
    hours that follow.
    """
    record = folder / "record.json"
    if not record.is_file():
        raise Problem(f"{record}: is missing, so that stage was not finished; run it (again) first")
    about = load_json(record)
    listed = about.get("outputs") if isinstance(about, dict) else None
    if not isinstance(listed, dict):
        raise Problem(f"{record}: lists no outputs; delete it and run that stage again")
    for name, digest in listed.items():
        file = folder / Path(name).name
        fault = "is missing" if not file.is_file() else \
            "was changed or cut short after it was made" if sha256(file) != digest else ""
        if fault:
            raise Problem(f"{file}: {fault}; restore it, or delete {record} and run that stage "
                          "again")
    return listed


def _git() -> dict:
    """The commit and whether the sources differ from it; both None, and `why`, where git is silent.

    Digests of the sources are recorded in any case.
    """
    if not (ROOT / ".git").exists():
        return {"commit": None, "dirty": None, "why": "the sources are no git checkout"}
    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        said = git("rev-parse", "HEAD"), git("status", "--porcelain", "-uno")
    except FileNotFoundError:
        return {"commit": None, "dirty": None, "why": "git is not installed"}
    except subprocess.CalledProcessError as error:
        first = error.stderr.strip().partition("\n")[0].replace(str(ROOT), "this folder")
        return {"commit": None, "dirty": None, "why": first or f"git ended with {error.returncode}"}
    return {"commit": said[0], "dirty": bool(said[1])}


def commit_of(record: dict) -> str:
    """A record's commit in words, shortened; where none is known, why not."""
    code = record["code"]
    if not code["commit"]:
        return f"commit unknown ({code.get('why', 'outside git')})"
    return f"commit {code['commit'][:10]}" + (" with local changes" if code["dirty"] else "")


def _versions() -> dict:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def _device() -> dict:
    device = {"machine": platform.machine(), "cpus": os.cpu_count()}
    torch = sys.modules.get("torch")  # only what the stage itself has loaded
    if torch is not None:
        device["threads"] = torch.get_num_threads()
        if torch.cuda.is_available():
            device["gpu"] = torch.cuda.get_device_name()
            device["gpu_peak_memory_mib"] = torch.cuda.max_memory_allocated() // 2**20
    return device

"""Results that travel: publish what was made, restore what was published, check every file.

    python -m patronus.carry publish --scale smoke    into DVC's remote, a pointer for each stage
    python -m patronus.carry restore --scale smoke    back from it, every digest computed anew
    python -m patronus.carry check --scale smoke      what lies here against what git points to

DVC stores and carries. The digests are computed here, since DVC believes what a remote hands it
and what it has seen before. No torch here.
"""

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import yaml

from patronus.config import Study, load_study
from patronus.errors import Problem, guarded
from patronus.files import load_json, sha256
from patronus.sources import ROOT, source_hash
from patronus.stage import settings

PICTURES = ("data", "samples", "explanations", "interventions", "shortcut", "paper")  # hold images
SHOWN = "paper"  # figures and tables: a reviewer makes them anew, so restoring leaves them out
CURE = ("is lost or is not the published one; `dvc checkout --force` puts that back. What was made "
        "anew on purpose needs no restoring")


def publish(study: Study, private: bool = False) -> list[Path]:
    """Add every stage that the scale has to DVC and push it; returns the pointers.

    Stages that hold images of a data set whose terms forbid passing them on stay here, unless the
    remote is `private`. Raises Problem for a file that is not what its record says.
    """
    folder = Path("results", study.scale)
    stages = sorted(path for path in folder.glob("[a-z]*") if path.is_dir())
    if not stages:
        raise Problem(f"{folder}: has no results; make them with `snakemake --config "
                      f"scale={study.scale}`")
    _refuse(mismatched(study.scale), "is not what the record.json beside it says; make it anew")
    left = [] if private else _left_out(study, stages)
    sent = [stage for stage in stages if stage.name not in left]
    pointers = [stage.with_suffix(".dvc") for stage in sent]
    _dvc("add", *sent)
    _dvc("push", *pointers)
    return pointers


def restore(study: Study) -> list[Path]:
    """Bring back every published stage but the figures, and check each file; returns pointers.

    Raises Problem, before anything is written, for a file here that is not the published one, and
    afterwards for one that the remote did not hand over as it was published.
    """
    pointers = _pointers(study.scale)
    try:
        _dvc("fetch", *pointers)
    except Problem as problem:
        _refuse(_lost(pointers), f"is not at the remote, though git points to it; tell its "
                f"maintainer ({problem})")
        raise
    files = listing(pointers)
    _refuse((path for path in unlike(files) if path.exists()), CURE)
    _dvc("checkout", *pointers)
    _refuse(unlike(files), "is not what was published, and came so from the remote; tell its "
            "maintainer, delete the file and .dvc/cache, and restore again")
    _refuse(_stale(study), "was made by other sources or settings than those here; `git checkout` "
            "the commit of the pointers, or make it anew with `snakemake`")
    return pointers


def check(study: Study) -> list[Path]:
    """Compare every file but the figures with what git points to; raises Problem naming them."""
    pointers = _pointers(study.scale)
    _refuse(unlike(listing(pointers)), CURE)
    return pointers


def listing(pointers: list[Path]) -> dict[Path, str]:
    """The files below the pointers with their MD5, as git names them.

    Raises Problem if DVC's cache does not hold a list of files that git names.
    """
    cache = Path(_dvc("cache", "dir").strip(), "files", "md5")
    return {path: digest for pointer in pointers
            for path, digest in _listed(pointer, cache).items()}


def _lost(pointers: list[Path]) -> list[Path]:
    """Files below the pointers that a fetch did not bring, as far as the remote tells of them.

    DVC keeps the list of a folder only once all of it has come, hence the list from the remote.
    """
    cache, lost = Path(_dvc("cache", "dir").strip(), "files", "md5"), []
    with suppress(Problem):  # the remote does not answer, or has lost the list itself
        for stage in (pointer.with_suffix("") for pointer in pointers):
            listed = _dvc("ls", ".", stage, "--recursive", "--dvc-only", "--show-hash", "--json")
            lost += [stage / file["path"] for file in json.loads(listed)
                     if not (cache / file["md5"][:2] / file["md5"][2:]).is_file()]
    return lost


def _listed(pointer: Path, cache: Path) -> dict[Path, str]:
    (out,) = yaml.safe_load(pointer.read_text(encoding="utf-8"))["outs"]
    digest = out["md5"].removesuffix(".dir")
    path = cache / digest[:2] / f"{digest[2:]}.dir"
    if not path.is_file() or md5(path) != digest:
        raise Problem(f"{pointer}: its list of files is not at the remote (`dvc remote list` names "
                      "it), or is altered in DVC's cache; see that the remote is there, delete "
                      ".dvc/cache and restore again")
    files = json.loads(path.read_text(encoding="utf-8"))
    return {pointer.with_suffix("") / file["relpath"]: file["md5"] for file in files}


def unlike(files: dict[Path, str]) -> list[Path]:
    """Those of `files` that are missing or whose MD5 is another."""
    return [path for path, digest in files.items() if not path.is_file() or md5(path) != digest]


def md5(path: Path) -> str:
    """Hex digest of a file, as DVC names it."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "md5").hexdigest()


def mismatched(scale: str, quick: bool = False) -> list[Path]:
    """Files of a scale that are missing or not as the record.json beside them says.

    `quick` computes the digest of those only that were written after their record, which a stage
    writes last. Figures and tables are left out: nothing reads them.
    """
    records = [path for path in Path("results", scale).glob("**/record.json")
               if path.parts[2] != SHOWN]
    return [file for record in records for file in _mismatched(record, quick)]


def _mismatched(record: Path, quick: bool) -> list[Path]:
    written = record.stat().st_mtime_ns
    return [path for path, digest in load_json(record)["outputs"].items()
            if not Path(path).is_file()
            or not (quick and Path(path).stat().st_mtime_ns <= written)
            and sha256(Path(path)) != digest]


def check_records(scale: str) -> None:
    """What the Snakefile asks before anything runs; raises Problem naming the files."""
    _refuse(mismatched(scale, quick=True), "is lost or is not what the record.json beside it says; "
            "put it back (`dvc checkout --force`), or delete that record.json to make it anew")


def _stale(study: Study) -> list[Path]:
    """Records that name other sources or settings than those here."""
    return [path for path in Path("results", study.scale).glob("**/record.json")
            if path.parts[2] != SHOWN and _other(load_json(path), study)]


def _other(record: dict, study: Study) -> bool:
    own = record.get("cell", {})
    cell = study.cells.get((own.get("dataset"), own.get("method"), own.get("seed")))
    return record["sources"] != source_hash(*record["modules"]) or bool(
        cell and record["settings"] != settings(record["stage"], cell, study))


def _left_out(study: Study, stages: list[Path]) -> list[str]:
    """Stages that hold images which may not be passed on; says so."""
    kept = _kept(study, stages)
    left = [stage.name for stage in stages if stage.name in PICTURES and kept]
    if left:
        print(f"Left out: {', '.join(left)}: they hold images of {', '.join(kept)}, which may not "
              "be passed on (`public` in config/datasets); --private is for a remote that no "
              "one else reads")
    return left


def _kept(study: Study, stages: list[Path]) -> list[str]:
    """Data sets with results here whose images may not be passed on."""
    held = {path.name for stage in stages if stage.name != SHOWN for path in stage.iterdir()
            if path.is_dir()}
    sets = load_study(study.scale, datasets=sorted(held)).datasets
    return [name for name, one in sets.items()
            if not (one.public or study.generated and one.world)]


def _pointers(scale: str) -> list[Path]:
    found = [path for path in sorted(Path("results", scale).glob("*.dvc")) if path.stem != SHOWN]
    if not found:
        raise Problem(f"results/{scale}: git holds no pointer here, so nothing was published at "
                      "this scale; make it with `snakemake`, or name another one: SCALE=...")
    return found


def _refuse(paths: Iterable[Path], why: str) -> None:
    """Raises Problem that names the first of `paths`, if there is one."""
    named = list(map(str, paths))
    if named:
        more = f" and {len(named) - 5} more" if len(named) > 5 else ""
        raise Problem(f"{', '.join(named[:5])}{more}: {why}")


def _dvc(*arguments: object) -> str:
    own = ROOT / ".dvc" / "config.local"
    asks = not own.is_file() or "no_scm" not in own.read_text(encoding="utf-8")
    if asks and not (ROOT / ".git").exists():  # from a ZIP file: DVC else asks for git
        _call("config", "--local", "core.no_scm", "true")
    return _call(*arguments)


def _call(*arguments: object) -> str:
    done = subprocess.run([sys.executable, "-m", "dvc", *map(str, arguments)], text=True,
                          capture_output=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise Problem(f"dvc {arguments[0]}: {' '.join(said) or done.stderr.strip()}")
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description="Publish, restore or check results.")
    parser.add_argument("what", choices=["publish", "restore", "check"])
    parser.add_argument("--scale", help="a file in config/scales; default: that of config.yaml")
    parser.add_argument("--private", action="store_true",
                        help="publish images that may not be passed on, too")
    parser.add_argument("only", nargs="*", help="datasets=..., methods=..., seeds=... of the study "
                        "that was made, as for snakemake --config")
    args = parser.parse_intermixed_args()  # an option may stand before `only`
    study = load_study(args.scale, **{key: value for key, _, value in
                                      (part.partition("=") for part in args.only)})
    if args.what == "publish":
        pointers = publish(study, args.private)
        print(f"Pushed {len(pointers)} stages. Now: git add {' '.join(map(str, pointers))} && "
              "git commit")
    else:
        pointers = {"restore": restore, "check": check}[args.what](study)
        print(f"Every file of {len(pointers)} stages is as published: "
              f"{', '.join(pointer.stem for pointer in pointers)}")


if __name__ == "__main__":
    guarded(main)

"""What every stage entry point shares: its arguments, its folders, its record, its errors.

    python -m patronus.train --scale smoke --dataset celeba --method patronus --seed 0

A stage is a function of a `Job` that writes files into `job.out` and returns what it found.
"""

import argparse
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from patronus.config import PER_DATASET, Cell, Dataset, Study, load_study, stage_folder
from patronus.errors import Problem, guarded, refused
from patronus.files import load_json, locked
from patronus.record import Record
from patronus.sources import ROOT, source_hash


@dataclass(frozen=True)
class Job:
    """One stage of one cell (or of one data set, for stages all methods share)."""

    stage: str
    cell: Cell
    dataset: Dataset
    root: Path | None  # folder of raw data; only `prepare` reads it
    threads: int
    key: str = ""  # names settings, sources and inputs: resumable state belongs to one key
    siblings: tuple[Cell, ...] = ()  # other seeds of the study, for a stage that compares them
    tied: Cell | None = None  # the same on a data set that ties attributes of this one
    raw: str = ""  # what `prepare` is told of the raw data: raw.identity, or their contents

    @property
    def out(self) -> Path:
        return self.folder(self.stage)

    def folder(self, stage: str) -> Path:
        cell = self.cell
        return stage_folder(stage, cell.scale, cell.dataset, cell.method, cell.seed)

    @property
    def references(self) -> Path:
        """Where the classifier lies that answers for this data set."""
        return stage_folder("references", self.cell.scale, self.cell.reference or self.cell.dataset)

    @property
    def base(self) -> Path | None:
        """Where the trained model lies that this method stands on; None: on none."""
        cell = self.cell
        return cell.base and stage_folder("checkpoints", cell.scale, cell.dataset, cell.base,
                                          cell.seed)

    @property
    def work(self) -> Path:
        """Resumable state that no rule declares, so Snakemake never deletes it."""
        return Path("work", *self.out.parts[1:])


def device(job: Job):
    """The torch device a stage works on; it also gets its number of threads."""
    import torch

    torch.set_num_threads(job.threads)
    if job.cell.gpus and not torch.cuda.is_available():
        raise Problem("no GPU was found, but the scale asks for one; run on a machine with a GPU "
                      "or use `--config scale=smoke`")
    return torch.device("cuda" if job.cell.gpus else "cpu")


# Which parts of a cell decide a stage's result, and which stages it reads. The Snakefile passes
# the first to `params`, so a changed setting reruns exactly what it touches.
ALWAYS = ("dataset", "shape", "generated")
SETTINGS = {
    "raw": (),
    "data": (),
    "references": ("classifier", "labels", "inception"),
    "checkpoints": ("module", "code_dim", "train", "model", "method", "seed", "base"),
    "codes": (),
    "priors": ("prior",),
    "samples": ("sample",),
    "explanations": ("explain", "title", "recipe"),
    "interventions": ("intervene", "title", "recipe", "reference", "shortcut"),
    "steps": ("intervene", "title", "recipe", "reference", "shortcut"),
    "shortcut": ("shortcut", "reference", "code_dim", "model"),
    "validation": ("intervene", "title", "recipe", "reference", "shortcut"),
    "denoising": ("denoising", "title", "recipe"),
    "conditioning": ("module", "recipe", "model"),
    "costs": ("module", "code_dim", "model", "title", "recipe", "train", "threads", "gpus"),
    "measures": ("labels", "inception"),
    "spread": ("labels", "inception", "title", "recipe"),
}


def settings(stage: str, cell: Cell, study: Study) -> dict:
    """The part of the configuration that decides this stage's result, as plain values."""
    found = cell.model_dump(mode="json", include=set(ALWAYS + SETTINGS[stage]))
    found.get("train", {}).pop("save_seconds", None)  # changes no result
    dataset = study.datasets[cell.dataset].model_dump(mode="json")
    if stage == "raw":
        found |= {"world": dataset["world"], "plant": dataset["plant"],
                  "size": study.generated.model_dump(mode="json")}
    if stage == "data":
        found |= {key: dataset[key] for key in ("reader", "options", "folder", "title", "labels",
                                                "keep", "white")}
    if stage == "measures":
        tied = study.tied(cell)
        found |= {"seeds": [other.seed for other in study.siblings(cell)],
                  "tied": tied and tied.dataset}
    return found


def modules_of(stage: str, module: str, cell: Cell, dataset: Dataset) -> list[str]:
    """The modules whose sources make a stage's result, the plugged-in ones included."""
    measures = [f"analysis.measures.{path.stem}" for path in
                sorted((ROOT / "analysis" / "measures").glob("[a-z]*.py"))]
    plugged = {"raw": [f"patronus.worlds.{dataset.world}", f"patronus.data.{dataset.reader}"],
               "data": [f"patronus.data.{dataset.reader}"],
               "references": [], "shortcut": [], "conditioning": [],
               "measures": measures, "spread": measures, "steps": [cell.module, *measures],
               "validation": [cell.module, *measures]}
    return [module, *plugged.get(stage, [cell.module])]


def imported(cell: Cell) -> str | None:
    """Digest of the file that a cell's trained model was imported from; None: it was trained."""
    path = cell.folder("checkpoints") / "record.json"
    return load_json(path).get("found", {}).get("imported") if path.is_file() else None


def fingerprint(stage: str, module: str, study: Study, dataset: str, method: str = "",
                seed: int | str = 0) -> str:
    """Digest of the settings and sources that decide a job's result; no torch is imported."""
    cell = study.cell(dataset, method, seed) if method else next(
        cell for cell in study.cells.values() if cell.dataset == dataset)
    if stage == "checkpoints" and (source := imported(cell)):
        return f"imported {source[:16]}"  # nobody here could make it again
    sources = source_hash(*modules_of(stage, module, cell, study.datasets[dataset]))
    text = json.dumps([settings(stage, cell, study), sources], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def run(stage: str, module: str, work: Callable[[Job], dict], inputs: tuple[str, ...],
        beside: Callable[[Job], list[Path]] = lambda job: []) -> None:
    """Parse the command line, do the work, write the record; errors become one line.

    `inputs` are stages of the cell itself, `beside` folders of other cells that are read too.
    """
    guarded(lambda: _run(stage, module, work, inputs, beside))


def _run(stage: str, module: str, work: Callable[[Job], dict], inputs: tuple[str, ...],
         beside: Callable[[Job], list[Path]]) -> None:
    study, job = _job(stage, _arguments(stage, work.__doc__ or ""))
    record = Record(stage, modules_of(stage, module, job.cell, job.dataset),
                    settings(stage, job.cell, study),
                    [*(job.folder(s) for s in inputs), *beside(job)])
    for folder in map(job.folder, inputs):
        _check_owner(folder, job.cell)
    job = replace(job, key=record.key)
    record.content["cell"] = job.cell.model_dump(mode="json")
    if os.environ.get("LOCAL_RANK", "0") != "0":
        work(job)  # beside the process that trains on the first GPU, which writes for all
        return
    with locked(job.work.parent, job.work.name):  # a killed Snakemake leaves its jobs running
        _make(job, work, record)
    print(f"{stage} of {job.out.relative_to('results')}: done, in {job.out}/")


def _make(job: Job, work: Callable[[Job], dict], record: Record) -> None:
    with _unclaimed(job.out) as before:
        for part in job.out.glob(".*.part"):
            part.unlink()  # of a killed process
        found = work(job) or {}
        for file in before.items() & _files(job.out).items():
            file[0].unlink()  # written by an earlier run and not by this one
        record.write(job.out, sorted(_files(job.out)), **found)
    shutil.rmtree(job.work, ignore_errors=True)  # only a killed run needs its state


@contextmanager
def _unclaimed(folder: Path) -> Iterator[dict]:
    """Yield the files of an earlier run, without its record: no record, no claim to be whole.

    A failure that changed none of them gives the record back.
    """
    record, kept = folder / "record.json", folder / ".record.json.kept"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if kept.exists():
            kept.unlink(missing_ok=True)  # of a killed run, which may have changed the files
        with suppress(FileNotFoundError):
            record.rename(kept)
        before = _files(folder)
        yield before
    except (Exception, KeyboardInterrupt) as error:
        if kept.exists() and _files(folder) == before:
            kept.rename(record)
        if isinstance(error, OSError):
            raise Problem(refused(error, folder)) from error
        raise
    if kept.exists():
        kept.unlink(missing_ok=True)


def _check_owner(folder: Path, cell: Cell) -> None:
    """Raises Problem if a stage's folder holds what was made for another cell or shape."""
    keys = ("dataset", "shape") if folder.parts[2] in PER_DATASET else \
        ("dataset", "method", "seed", "shape")
    mine = cell.model_dump(mode="json", include=set(keys))
    made_for = load_json(folder / "record.json").get("cell", mine)
    for key in keys:
        if made_for.get(key) != mine[key]:
            raise Problem(f"{folder}/record.json: says that this was made for the {key} "
                          f"{made_for.get(key)}, not {mine[key]}; put the right results there, or "
                          "delete the folder and run that stage again")


def _files(folder: Path) -> dict[Path, tuple[int, int]]:
    """Files with inode and time: every write makes a new file, so an equal pair is no new one."""
    return {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in folder.iterdir()
            if file.is_file() and file.name[0] != "."}


def _arguments(stage: str, about: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=about.splitlines()[0] if about else stage)
    parser.add_argument("--scale", required=True, help="a file in config/scales")
    parser.add_argument("--dataset", required=True, help="a file in config/datasets")
    if stage not in PER_DATASET:
        parser.add_argument("--method", required=True, help="a method's name")
        parser.add_argument("--seed", type=int, default=0, help="training seed")
    if stage == "measures":
        for key in ("datasets", "seeds"):
            parser.add_argument(f"--{key}", help=f"{key} of the study that it is compared with, "
                                "separated by commas; the one above among them")
    if stage == "data":
        parser.add_argument("--raw", default="", help="what the raw data are, by patronus.raw")
    parser.add_argument("--root", type=Path, help="folder of raw data")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    args = parser.parse_args()
    if args.threads < 1:
        raise Problem(f"--threads: must be at least 1 (got {args.threads})")
    return args


def _job(stage: str, args: argparse.Namespace) -> tuple[Study, Job]:
    method = getattr(args, "method", None)
    seed = getattr(args, "seed", None)
    wider = {key: getattr(args, key, None) for key in ("datasets", "seeds")}
    study = load_study(args.scale, datasets=wider["datasets"] or [args.dataset],
                       methods=method and [method],
                       seeds=wider["seeds"] or (None if seed is None else [seed]))
    if not study.cells:
        raise Problem(f"datasets/{args.dataset}.yaml: none of its methods is in scale "
                      f"'{args.scale}'; add one there")
    cell = study.cell(args.dataset, method, seed) if method else next(iter(study.cells.values()))
    return study, Job(stage, cell, study.datasets[args.dataset], args.root, args.threads,
                      siblings=tuple(study.siblings(cell)), tied=study.tied(cell),
                      raw=getattr(args, "raw", ""))

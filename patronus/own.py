"""Training on one's own images, apart from the study: a folder of images in, a model folder out.

The stages are the study's own (preparation, training loop); what is here is a study of one cell
whose files lie in one folder, and how long it trains. A killed run goes on where it was when the
same command is given again. The folder then holds model.safetensors, config.json, history.csv,
record.json and statistics.npz (patronus/explain/statistics.py).
"""

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from patronus import checkpoint, raw
from patronus import train as training
from patronus.config import Cell, Dataset, Study, load_study
from patronus.encode import encode
from patronus.errors import Problem
from patronus.explain.statistics import Statistics, patches
from patronus.explain.what import nearest_patches
from patronus.files import load_json, save_json
from patronus.method import Method, batch_of
from patronus.noise import noise
from patronus.prepare import prepare
from patronus.prepared import Prepared
from patronus.raw import MANIFEST
from patronus.reading import images_below, sorted_files
from patronus.record import Record
from patronus.rows import shuffled_rows
from patronus.stage import Job, modules_of, settings

METHODS = {"modern": "patronus_modern", "published": "patronus"}
WIDTHS = {32: 16, 64: 32, 128: 48}  # of the published encoder -> of the small one
LARGE = 96  # pixels above which the encoder for 224 pixels serves, whose patches are larger
FEW = 1000  # images below which a model is likely to learn them by heart
WARM_UP = 2  # steps before the timing
TIMED_SECONDS = 2.0  # of a timing that is trusted
CHECKED, TIMES = 256, 10  # held-out images at most, and times t, of the closing check


@dataclass(frozen=True)
class Wish:
    """What the user may choose."""

    size: int = 64  # pixels of a side
    gray: bool = False
    prototypes: int = 50
    recipe: Literal["modern", "published"] = "modern"
    network: Literal["small", "published"] = "small"
    minutes: float | None = 30  # of training; None: `epochs` says how long
    epochs: float | None = None  # passes over the images
    seed: int = 0


@dataclass(frozen=True)
class OwnJob(Job):
    """A job whose files lie in one folder instead of results/ and work/."""

    place: Path = Path()

    def folder(self, stage: str) -> Path:
        return self.place if stage == "checkpoints" else self.place / "work" / stage

    @property
    def work(self) -> Path:
        return self.place / "work" / "state" / self.stage


def train(data: Path, out: Path, wish: Wish, say: Callable[[str], object] = print,
          verify: bool = False) -> None:
    """Prepare, train and describe; `say` gets one line at a time.

    A model of other images is trained anew; `verify` reads all of them to see whether they are.
    """
    seen, made = _listing(data), _made(out)
    same = made and made.get("seen") == seen and not verify
    asked = asdict(wish) | {"images": made["asked"]["images"] if same else _contents(data)}
    if _finished(out, asked, say):
        say(f"{out}: is trained so already; next: patronus explain IMAGE --model {out}")
        return
    plan, (job, study) = _plan(out, asked, say), _job(data, out, wish, asked["images"])
    _prepare(job, study, asked["images"])
    counts = Prepared.open(job.folder("data")).meta["counts"]
    if sum(counts.values()) < FEW:
        say(f"note: {sum(counts.values())} images are few; prototypes that mean something need "
            "thousands")
    job = replace(job, stage="checkpoints", cell=_marked(job.cell, data))
    epochs = wish.epochs or plan.get("epochs") or _epochs(job, wish.minutes)
    save_json(out / "work" / "plan.json", {"asked": asked, "seen": seen, "epochs": epochs})
    found = _train(replace(job, cell=lasting(job.cell, epochs, counts["train"])), study,
                   {"asked": asked, "seen": seen})
    say(f"held out: with another image's prototypes the error is {found['shuffled']:.2f} times as "
        "large (1.00 would mean that they are ignored)")
    say(f"{out}: trained for {found['steps']:,} steps ({found['images_seen']:,} images seen) in "
        f"{found['train_seconds'] / 60:.1f} minutes; next: patronus explain IMAGE --model {out}")


def _job(data: Path, out: Path, wish: Wish, images: str) -> tuple[OwnJob, Study]:
    study = study_of(data, wish, torch.cuda.is_available())
    cell, dataset = next(iter(study.cells.values())), next(iter(study.datasets.values()))
    return OwnJob("data", cell, dataset, data, torch.get_num_threads(), raw=images,
                  place=out), study


def study_of(data: Path, wish: Wish, gpu: bool) -> Study:
    """The study of one cell: the published settings, or the small network's, on this folder."""
    name, method = data.resolve().name or "images", METHODS[wish.recipe]
    base = "faces64" if wish.size <= LARGE else "chexpert"
    cell = load_study("paper", datasets=[base], methods=[method], seeds=[0]).cell(base, method, 0)
    shape = (1 if wish.gray else 3, wish.size, wish.size)
    cell = cell.model_copy(update={
        "scale": "own", "dataset": name, "reference": name, "seed": wish.seed, "shape": shape,
        "code_dim": wish.prototypes, "threads": torch.get_num_threads(), "gpus": int(gpu)})
    if wish.network == "small":
        cell = small(cell)
    dataset = Dataset(title=name, reader="images", folder=".", shape=shape,
                      code_dim=wish.prototypes, labels="attributes")
    return Study(scale="own", about="one's own images", generated=None, datasets={name: dataset},
                 figures=None, threads=cell.threads, gpus=cell.gpus,
                 cells={(name, method, wish.seed): cell})


def small(cell: Cell) -> Cell:
    """The cell with the showcase's narrow network and, by the modern recipe, its higher rates."""
    showcase = load_study("showcase", datasets=["celeba"], methods=["patronus_modern"], seeds=[0])
    like = showcase.cell("celeba", "patronus_modern", 0)
    narrow = {key: like.model[key] for key in ("base", "multipliers", "dropout")}
    narrow["encoder_channels"] = tuple(WIDTHS[c] for c in cell.model["encoder_channels"])
    train = cell.train
    if cell.method == METHODS["modern"]:
        train = like.train.model_copy(update={"batch_size": train.batch_size})
    return cell.model_copy(update={"model": cell.model | narrow, "train": train})


def lasting(cell: Cell, epochs: float, count: int) -> Cell:
    """The cell trained for so many passes over `count` images; a tenth of it at most is warm-up."""
    steps = round(epochs * count / min(cell.train.batch_size, count))
    warmup = min(cell.train.warmup_steps, steps // 10)
    train = cell.train.model_copy(update={"epochs": epochs, "warmup_steps": warmup})
    return cell.model_copy(update={"train": train})


def shuffled(model: Method, images: np.ndarray) -> float:
    """Noise error with the codes of other images over that with their own; images uint8 (n, ...).

    1.00 means that the denoiser ignores the code (patronus.md section 8).
    """
    rows = shuffled_rows(len(images), CHECKED, "check")  # the next one is any other image
    with torch.inference_mode():
        x0 = batch_of(images, rows, model.device)
        own = model.encode(x0)
        errors = np.zeros(2)
        for t in model.diffusion.times(TIMES):
            eps = noise(range(len(x0)), model.shape, "check", t).to(x0)
            time = torch.full((len(x0),), t, device=x0.device)
            x_t = model.diffusion.noised(x0, time, eps)
            errors += [float((model.predict(x_t, time, code)[1] - eps).square().mean())
                       for code in (own, own.roll(1, 0))]
    return errors[1] / errors[0]


def _listing(data: Path) -> str:
    """Of the names, sizes and times of the images."""
    if not data.is_dir():
        raise Problem(f"{data}: is no folder; give a folder of images")
    if (data / MANIFEST).is_file():
        raise Problem(f"{data}: is a generated stand-in of the study, with more than images in it; "
                      "name the folder of images inside")
    return raw.listing(data, images_below(data))


def _contents(data: Path) -> str:
    """Of the names and contents of the images."""
    return raw.contents(data, sorted_files(data)[0])


def _made(out: Path) -> dict:
    """What is known of the training in a folder, whole or not: what was asked and seen."""
    if (out / "record.json").is_file():
        return load_json(out / "record.json").get("found", {})
    plan = out / "work" / "plan.json"
    return load_json(plan) if plan.is_file() else {}


def _finished(out: Path, asked: dict, say: Callable[[str], object]) -> bool:
    """Whether this very training is done; a Problem if the folder holds anything else.

    The record of a model of other images goes: it is trained anew.
    """
    record = out / "record.json"
    if record.is_file():
        before = load_json(record)["found"].get("asked")
        if before == asked:
            return True
        _changed(out, before, asked, "a model")
        record.unlink()
        say(f"note: {out}: was trained on other images than are there now; it is trained anew")
        return False
    if out.exists() and not (out.is_dir() and (not any(out.iterdir()) or (out / "work").is_dir())):
        raise Problem(f"{out}: holds other files; choose another --out")
    return False


def _plan(out: Path, asked: dict, say: Callable[[str], object]) -> dict:
    """What an unfinished training of the same wish settled on."""
    file = out / "work" / "plan.json"
    plan = load_json(file) if file.is_file() else {}
    if plan and plan["asked"] != asked:
        _changed(out, plan["asked"], asked, "an unfinished training")
        shutil.rmtree(out / "work")
        say(f"note: {out}: the images changed since the training began; it begins anew")
        return {}
    return plan


def _changed(out: Path, before: dict | None, asked: dict, what: str) -> None:
    """Raises Problem if more than the images is not what it was."""
    if before is None or before | {"images": asked["images"]} != asked:
        raise Problem(f"{out}: holds {what} with other options; give the same, choose another "
                      "--out, or delete it")


def _marked(cell: Cell, data: Path) -> Cell:
    """The cell, saying so if its images are those of a generated stand-in."""
    generated = any((place / MANIFEST).is_file() for place in data.resolve().parents)
    return cell.model_copy(update={"generated": generated})


def _prepare(job: OwnJob, study: Study, digest: str) -> None:
    """The images as arrays, unless an earlier run has made them."""
    record = Record("data", modules_of("data", "patronus.prepare", job.cell, job.dataset),
                    settings("data", job.cell, study) | {"images": digest}, [])
    beside = job.out / "record.json"
    if beside.is_file() and record.content.items() <= load_json(beside).items():
        return
    prepare(job)
    record.write(job.out, _files(job.out))


def _train(job: OwnJob, study: Study, told: dict) -> dict:
    """Train, take the statistics, write the record, and drop what only a killed run needs."""
    record = Record("checkpoints", modules_of("checkpoints", "patronus.train", job.cell,
                                              job.dataset),
                    settings("checkpoints", job.cell, study), [job.folder("data")])
    found = training.work(replace(job, key=record.key))
    model = checkpoint.load(job.out, "cuda" if job.cell.gpus else "cpu")
    held = Prepared.open(job.folder("data"))
    splits = [held.images(split) for split in held.splits]
    codes = np.concatenate([encode(model, images) for images in splits])
    dims = np.arange(model.code_dim)
    near = nearest_patches(model, held.images("train"), dims, job.cell.explain) | {"order": dims}
    usual = Statistics.of(codes, f"the {len(codes):,} images of {held.meta['title']}")
    replace(usual, nearest=patches(near)).save(job.out)
    found["shuffled"] = round(shuffled(model, splits[-1]), 4)
    record.write(job.out, _files(job.out), **found, **told)
    shutil.rmtree(job.place / "work")
    return found


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def _epochs(job: OwnJob, minutes: float) -> float:
    """Passes over the images for which training takes about so long, by a short timing."""
    count = len(Prepared.open(job.folder("data")).images("train"))
    _timed(job, WARM_UP, count)
    steps = WARM_UP
    seconds = 0.0
    while seconds < TIMED_SECONDS:
        steps *= 4
        seconds = _timed(job, steps, count)
    size = min(job.cell.train.batch_size, count)
    return max(1, round(60 * minutes * steps / seconds)) * size / count


def _timed(job: OwnJob, steps: int, count: int) -> float:
    """Seconds that so many steps take."""
    size = min(job.cell.train.batch_size, count)
    settled = job.cell.train.model_copy(update={"epochs": steps * size / count})
    cell = job.cell.model_copy(update={"method": "timing", "train": settled})
    one = replace(job, stage="timing", cell=cell)
    found = training.work(one)
    for folder in (one.out, one.work):
        shutil.rmtree(folder)
    return found["train_seconds"]

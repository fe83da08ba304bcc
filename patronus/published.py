"""Import of the authors' published checkpoints (patronus.md section 1).

    python -m patronus.checkpoint import ckpt.tar OUT_DIR --dataset celeba

The file is read as plain tensors and never unpickled. The number of prototypes and the encoder's
widths come from the shapes; what shapes do not tell (image size, strides, paddings) comes from
config/datasets/<dataset>.yaml. Every tensor is accounted for, or the import refuses and names it.
"""

import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from patronus import checkpoint
from patronus.config import Cell, Study, load_study
from patronus.errors import Problem
from patronus.files import load_json, save_text, sha256
from patronus.method import Method
from patronus.record import Record
from patronus.sources import ROOT
from patronus.stage import modules_of, settings
from patronus.unet import sinusoids

Tensors = dict[str, Tensor]

# Our names to theirs, applied in this order.
RENAMES = [(re.compile(ours), theirs) for ours, theirs in (
    (r"^prototypes\.vectors$", "proactBlock.prototype_vectors"),
    (r"^prototypes\.encoder\.", "proactBlock.encoder.features."),
    (r"^denoiser\.time\.0\.", "time_embeddings.time_blocks.1."),
    (r"^denoiser\.time\.2\.", "time_embeddings.time_blocks.3."),
    (r"^denoiser\.code\.", "cond_embeddings.vector_fc."),
    (r"^denoiser\.first\.", "first."),
    (r"^denoiser\.last\.", "final."),
    (r"^denoiser\.down\.(\d+)\.(weight|bias)$", r"encoder_blocks.\1.downsample.\2"),
    (r"^denoiser\.up\.(\d+)\.1\.", r"decoder_blocks.\1.upsample.1."),
    (r"^denoiser\.down\.", "encoder_blocks."),
    (r"^denoiser\.middle\.", "bottleneck_blocks."),
    (r"^denoiser\.up\.", "decoder_blocks."),
    (r"(_blocks\.\d+)\.first\.0\.", r"\1.normlize_1."),
    (r"(_blocks\.\d+)\.first\.2\.", r"\1.conv_1."),
    (r"(_blocks\.\d+)\.time\.", r"\1.dense_1."),
    (r"(_blocks\.\d+)\.code\.", r"\1.dense_2."),
    (r"(_blocks\.\d+)\.second\.0\.", r"\1.normlize_2."),
    (r"(_blocks\.\d+)\.second\.3\.", r"\1.conv_2."),
    (r"(_blocks\.\d+)\.skip\.", r"\1.match_input."),
    (r"(_blocks\.\d+)\.attention\.norm\.", r"\1.attention.group_norm."),
    (r"(_blocks\.\d+)\.attention\.attention\.", r"\1.attention.mhsa."),
)]
VECTORS, ENCODER = "proactBlock.prototype_vectors", "proactBlock.encoder.features."
ONES, TABLE = "proactBlock.ones", "time_embeddings.time_blocks.0.weight"  # constants, not weights
# Rounding of a table computed in float32 (5e-5) and stored in float16 (2.5e-4); a table of
# another convention differs by more than 1.
TABLE_TOLERANCE = 5e-4


def convert(source: Path, folder: Path, dataset: str) -> dict:
    """Write the checkpoint `source` of `dataset` as a new checkpoint `folder`; what was found.

    Raises Problem, and writes nothing, unless every tensor has its place, shape and finite values.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Problem(f"{folder}: already exists; choose another folder or delete it")
    paper = load_study("paper", datasets=[dataset], methods=["patronus"], seeds=[0])
    record = Record("import", [__name__], {"dataset": dataset}, [])
    tensors, left_out = read(source)
    try:
        cell = cell_of(tensors, paper.cell(dataset, "patronus", 0))
        model = fill(cell, tensors)
    except Problem as error:
        raise Problem(f"{source}: {error}") from error
    found = {"source": {"name": source.name, "sha256": sha256(source)},
             "tensors": {"read": len(tensors), "imported": len(model.state_dict()),
                         "checked": [ONES, TABLE]},
             "left_out": left_out, "parameters": sum(p.numel() for p in model.parameters()),
             "time_table_difference": table_difference(tensors[TABLE])}
    with whole_folder(folder) as part:
        checkpoint.save(part, model, checkpoint.config_of(cell))
    record.write(folder, sorted(folder.iterdir()), **found)
    return found


def into_study(source: Path, scale: str, dataset: str, seed: int = 0) -> Path:
    """Write the checkpoint `source` as the trained Patronus of a study's cell; returns its folder.

    The stage is then whole, as if it had been trained here, and Snakemake is told: it trains no
    other model over it, whatever changes (stage.imported). Raises Problem if the scale's model is
    of another size, its data are not prepared, or a model is there already.
    """
    study = load_study(scale, datasets=[dataset], methods=["patronus"], seeds=[seed])
    cell = study.cell(dataset, "patronus", seed)
    folder = cell.folder("checkpoints")
    if folder.exists() and any(folder.iterdir()):
        raise Problem(f"{folder}: holds a model already; delete that folder to import into it")
    if not (cell.folder("data") / "record.json").is_file():
        raise Problem(f"{cell.folder('data')}: is not prepared yet; first run `snakemake "
                      f"{cell.folder('data')}/record.json --cores 1 --config scale={scale}`")
    tensors, _ = read(source)
    try:
        theirs = cell_of(tensors, cell)
        for key in ("code_dim", "model"):
            if getattr(theirs, key) != getattr(cell, key):
                raise Problem(f"its {key} is {getattr(theirs, key)}, and that of {dataset} at "
                              f"scale '{scale}' is {getattr(cell, key)}; choose a scale that has "
                              "the published sizes, such as paper")
        model = fill(cell, tensors)
    except Problem as error:
        raise Problem(f"{source}: {error}") from error
    _write_stage(source, study, cell, model)
    _tell_snakemake(folder, scale, dataset)
    return folder


def _write_stage(source: Path, study: Study, cell: Cell, model: Method) -> None:
    """What the stage "checkpoints" writes, with where the weights are from in its record."""
    folder, data = cell.folder("checkpoints"), cell.folder("data")
    modules = modules_of("checkpoints", "patronus.train", cell, study.datasets[cell.dataset])
    record = Record("checkpoints", modules, settings("checkpoints", cell, study), [data])
    record.content["cell"] = cell.model_dump(mode="json")
    images = load_json(data / "meta.json")["counts"]["train"]
    steps = round(cell.train.epochs * images / cell.train.batch_size)
    with whole_folder(folder) as part:
        checkpoint.save(part, model, checkpoint.config_of(cell))
        save_text(part / "history.csv", "step,loss\n")
    record.write(folder, sorted(folder.iterdir()), steps=steps, train_seconds=0.0,
                 images_seen=steps * cell.train.batch_size, precision="as published",
                 imported=sha256(source))


def _tell_snakemake(folder: Path, scale: str, dataset: str) -> None:
    """Snakemake takes for its own only what it has noted itself."""
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--touch", "--force", "--cores", "1", "--quiet", "all",
         "--snakefile", ROOT / "Snakefile", "--directory", ".", "--config", f"scale={scale}",
         f"datasets={dataset}", "methods=patronus", "--", folder / "record.json"],
        capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or [""]
        raise Problem(f"{folder}: is written, but Snakemake could not be told ({said[-1]})")


def read(path: Path) -> tuple[Tensors, list[str]]:
    """The weights of a file by published name, in float32, and the archive's other entries."""
    try:
        with warnings.catch_warnings(action="ignore"):
            archive = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise Problem(f"{path}: cannot be read ({error.strerror or error}); name the published "
                      "ckpt.tar") from error
    except Exception as error:  # a damaged file fails in whatever way its bytes lead to
        raise Problem(f"{path}: {_reason(error)}") from error
    inside = isinstance(archive, dict) and "model" in archive
    weights = archive["model"] if inside else archive
    if not isinstance(weights, dict) or not weights or not all(isinstance(k, str) for k in weights):
        raise Problem(f"{path}: holds no weights by name; save model.state_dict() and import that")
    bad = [key for key, value in weights.items()
           if not (isinstance(value, Tensor) and value.is_floating_point())]
    if bad:
        raise Problem(f"{path}: {bad[0]}: is no tensor of floats; save model.state_dict() and "
                      "import that")
    prefix = "module." if all(key.startswith("module.") for key in weights) else ""
    return ({key.removeprefix(prefix): value.detach().float() for key, value in weights.items()},
            [str(key) for key in archive if key != "model"] if inside else [])


def _reason(error: Exception) -> str:
    found = re.search(r"GLOBAL (\S+) was not an allowed", str(error))
    if found:
        return (f"holds Python objects ({found[1]}), and unpickling can run any code; save its "
                "state_dict alone, in a trusted place, and import that")
    first = re.split(r"[.:;]\s", " ".join(str(error).split()))[0][:100]
    return f"is not a whole file of plain tensors ({first or type(error).__name__}); fetch it again"


def cell_of(tensors: Tensors, paper: Cell) -> Cell:
    """The paper's cell of the data set with the number of prototypes and widths of `tensors`."""
    channels = _shape(tensors, "first.weight", 4)[1]
    if channels != paper.shape[0]:
        raise Problem(f"first.weight: takes images of {channels} channel(s), but {paper.dataset} "
                      f"has {paper.shape[0]}; name another --dataset")
    numbers = sorted(int(found[1]) for key in tensors if
                     (found := re.fullmatch(re.escape(ENCODER) + r"(\d{1,9})\.weight", key)))
    shapes = [_shape(tensors, f"{ENCODER}{number}.weight", 4) for number in numbers]
    kernels, usual = tuple(s[2] for s in shapes), tuple(paper.model["encoder_kernels"])
    if kernels != usual:
        raise Problem(f"{ENCODER}*: kernels are {kernels}, but those of {paper.dataset} "
                      f"are {usual}; name another --dataset")
    count = _shape(tensors, VECTORS, 4)[0]
    model = paper.model | {"encoder_channels": tuple(s[0] for s in shapes)}
    return paper.model_copy(update={"scale": "imported", "code_dim": count, "model": model})


def _shape(tensors: Tensors, key: str, dims: int) -> tuple[int, ...]:
    if key not in tensors:
        raise Problem(f"{key}: is missing; this is not a published Patronus checkpoint")
    if tensors[key].dim() != dims:
        raise Problem(f"{key}: has shape {tuple(tensors[key].shape)}, not {dims} dimensions")
    return tuple(tensors[key].shape)


def published_name(key: str) -> str:
    """The authors' name of one of our tensors."""
    for ours, theirs in RENAMES:
        key = ours.sub(theirs, key)
    return key


def expected_shapes(cell: Cell, model: Method) -> dict[str, tuple[int, ...]]:
    """Published name -> shape of every tensor in a published checkpoint of this cell."""
    shapes = {published_name(key): tuple(value.shape) for key, value in model.state_dict().items()}
    shapes[VECTORS] = shapes[ONES] = (*shapes[VECTORS], 1, 1)
    return shapes | {TABLE: (model.diffusion.timesteps, cell.model["base"])}


def fill(cell: Cell, tensors: Tensors) -> Method:
    """The cell's model with the published tensors in it, after checking each of them."""
    with torch.device("meta"):  # no memory and no random numbers for weights that are replaced
        model = checkpoint.build(cell.module, cell.shape, cell.code_dim, cell.model)
    check(tensors, expected_shapes(cell, model))
    state = {key: tensors[published_name(key)].reshape(value.shape)
             for key, value in model.state_dict().items()}
    model.load_state_dict(state, assign=True)
    return model


def check(tensors: Tensors, shapes: dict[str, tuple[int, ...]]) -> None:
    """Raise Problem unless names and shapes are these, values finite and constants as published."""
    for faults, what in ((shapes.keys() - tensors.keys(), "is missing"),
                         (tensors.keys() - shapes.keys(), "has no place in the model")):
        if faults:
            more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
            raise Problem(f"{min(faults)}: {what}{more}; this is not a published checkpoint of "
                          "this data set, or not a whole one")
    for key, value in tensors.items():
        if value.shape != shapes[key]:
            raise Problem(f"{key}: has shape {tuple(value.shape)}, not {shapes[key]}; this is not "
                          "a published checkpoint of this data set")
        if not value.isfinite().all():
            raise Problem(f"{key}: holds NaN or infinity; fetch the file again")
    if not (tensors[ONES] == 1).all():
        raise Problem(f"{ONES}: must be all ones; other weights of the distance are not supported")
    if table_difference(tensors[TABLE]) > TABLE_TOLERANCE:
        raise Problem(f"{TABLE}: is not the published table (sines, then cosines, of t times "
                      "10000^(-k/(half-1))); another one is not supported")


def table_difference(table: Tensor) -> float:
    """Largest difference of a time table (T, width) from the model's own."""
    return float((table - sinusoids(*table.shape)).abs().max())


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Yield a new folder beside `folder`; rename it to `folder` if the block ends well."""
    folder = folder.absolute()
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield part
        os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def run(source: Path, folder: Path, dataset: str) -> None:
    """`convert`, and a line that says what was done."""
    found = convert(source, folder, dataset)
    print(f"{folder}: {found['tensors']['imported']} tensors, {found['parameters']:,} parameters; "
          f"use it with patronus.load({str(folder)!r})")

"""Checkpoints: model.safetensors with config.json beside it. Nothing is ever unpickled.

    python -m patronus.checkpoint import ckpt.tar OUT_DIR --dataset celeba
"""

import argparse
import importlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import nn

from patronus.config import Cell
from patronus.errors import Problem, guarded
from patronus.files import load_json, save_json, whole
from patronus.method import Method

BUILDS = ("module", "shape", "code_dim", "model")  # what config.json must hold; more is a note


def build(module: str, shape: tuple[int, int, int], code_dim: int | None, model: dict) -> Method:
    """The untrained model: class Model of `module`, with the options `model`."""
    options = {key: tuple(value) if isinstance(value, list) else value
               for key, value in model.items()}
    return importlib.import_module(module).Model(tuple(shape), code_dim, **options)


def config_of(cell: Cell) -> dict:
    """config.json of a cell: what builds the model, then where it comes from."""
    return cell.model_dump(mode="json", include=set(BUILDS)) | {
        "about": cell.model_dump(mode="json", include={"scale", "dataset", "method", "seed",
                                                       "title", "recipe", "generated"})}


def save_weights(path: Path, model: nn.Module) -> None:
    weights = {key: value.contiguous().cpu() for key, value in model.state_dict().items()}
    with whole(path) as part:
        part.write_bytes(serialise(weights))


def save(folder: Path, model: nn.Module, config: dict) -> None:
    save_weights(folder / "model.safetensors", model)
    save_json(folder / "config.json", config)


def load(folder: Path, device: str | torch.device = "cpu") -> Method:
    """The trained model of a checkpoint folder, in evaluation mode."""
    config = load_json(folder / "config.json")
    if not isinstance(config, dict):
        raise Problem(f"{folder}/config.json: describes no model; train again or import it anew")
    if not str(config.get("module")).startswith(("patronus.", "baselines.")):  # it is imported
        raise Problem(f"{folder}/config.json: names the module {config.get('module')}, which is no "
                      "method of this suite; nothing of it was run")
    try:
        model = build(*(config[key] for key in BUILDS))
    except (AttributeError, KeyError, TypeError, ValueError, ImportError) as error:
        raise Problem(f"{folder}/config.json: does not describe a model of this version "
                      f"({error}); train again or import it anew") from error
    restore(model, folder / "model.safetensors")
    # channels_last is faster, but torch's GroupNorm of it on a CPU errs by up to 3e-4 at 224 px
    layout = torch.channels_last if torch.device(device).type == "cuda" else torch.contiguous_format
    return model.to(device, memory_format=layout).eval().requires_grad_(False)


def restore(model: nn.Module, path: Path) -> None:
    """Load weights in place; raises Problem unless every key, shape and value is right."""
    try:
        weights = load_file(path)
    except FileNotFoundError:
        raise Problem(f"{path}: is missing; train the model, or fetch it with `dvc pull`") from None
    except (SafetensorError, json.JSONDecodeError) as error:
        raise Problem(f"{path}: is not a whole safetensors file ({error}); delete it and "
                      "train again, or restore it") from error
    bad = [key for key, value in weights.items() if not value.isfinite().all()]
    if bad:
        raise Problem(f"{path}: {bad[0]} holds NaN or infinity; delete the file and train again")
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        first = " ".join(str(error).split())[:300]
        raise Problem(f"{path}: does not fit its config.json ({first}); "
                      "delete the folder and train again") from error


def main() -> None:
    """Command line: `import` a checkpoint that the paper's authors published."""
    parser = argparse.ArgumentParser(prog="python -m patronus.checkpoint")
    command = parser.add_subparsers(metavar="COMMAND", required=True).add_parser(
        "import", help="turn a checkpoint of the paper's authors into one of this suite")
    command.add_argument("source", type=Path, metavar="CKPT", help="their ckpt.tar")
    command.add_argument("folder", type=Path, metavar="OUT_DIR", help="new folder for ours")
    command.add_argument("--dataset", required=True, help="a file in config/datasets")
    # By name: what makes a checkpoint of ours does not depend on the import of theirs.
    importlib.import_module("patronus.published").run(**vars(parser.parse_args()))


if __name__ == "__main__":
    guarded(main)

"""The command line: explain an image, edit it, train on one's own images, import a checkpoint.

    patronus explain face.png            (or python -m patronus explain face.png)

torch is imported inside the commands only, so that --help and mistakes are answered at once.
"""

import functools
import math
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from patronus.errors import NotApplicable, Problem, guarded
from patronus.sources import ROOT

SHOWCASE = ROOT / "paper" / "showcase" / "checkpoint"
SCREENING = 10  # denoising steps by which the prototypes to show are chosen
PANEL = 256  # pixels that each picture of an edit is enlarged to, about

app = typer.Typer(
    name="patronus", add_completion=False, no_args_is_help=True, rich_markup_mode=None,
    pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]},
    help="See what a diffusion model with prototypes sees in an image, change it, or train one.")

ImageFile = Annotated[Path, typer.Argument(metavar="IMAGE", help=(
    "An image file (PNG, JPEG, ...) of any size; it is squashed to the model's size."))]
ModelFolder = Annotated[Path, typer.Option("--model", metavar="DIR", show_default=False, help=(
    "The model's folder: trained here, imported, or a checkpoint of the study. [default: the "
    "showcase model in paper/showcase, of generated 32x32 faces]"))]
Steps = Annotated[int, typer.Option(min=2, max=999, metavar="N", help=(
    "Denoising steps of each run; more are slower and more exact."))]
Reference = Annotated[Path | None, typer.Option(metavar="PATH", show_default=False, help=(
    "Images like those the model learned from (a folder), or a what.npz: they say which "
    "activations are usual and what the largest is. [default: the statistics beside the model]"))]


class Recipe(StrEnum):
    modern = "modern"
    published = "published"


class Network(StrEnum):
    small = "small"
    published = "published"


def command(name: str, example: str) -> Callable:
    """Register a command whose errors are one line, with an example in its help."""

    def register(function: Callable) -> Callable:
        @functools.wraps(function)
        def run(*args: object, **options: object) -> None:
            guarded(lambda: function(*args, **options))

        return app.command(name, epilog=f"Example: {example}")(run)

    return register


@command("explain", "patronus explain face.png --top 6")
def explain(
        image: ImageFile,
        model: ModelFolder = SHOWCASE,
        out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the page.")] = Path("."),
        top: Annotated[int, typer.Option(min=1, metavar="N", help=(
            "Number of prototypes shown."))] = 6,
        steps: Steps = 50,
        reference: Reference = None) -> None:
    """Write a page that shows what the prototypes see in an image.

    One HTML file. For the prototypes whose raising or lowering changes this image most: where they
    match, what they draw when raised and when lowered, the training patch nearest to them, and when
    they appear as the image forms out of noise.
    """
    picture = opened(image)
    from patronus.explain import image as one
    from patronus.explain.page import page
    from patronus.files import save_text

    net = loaded(model)
    foreign(model)
    seen = squashed(image, picture, net.shape)
    usual, s = statistics(net, model, reference), finite(one.read(net, seen), image)
    high, low = (usual.v_max, usual.level(0)) if usual else (None, None)
    if usual is None:
        typer.echo(f"note: {model} has no statistics, so nothing is raised and the most active "
                   "prototypes are shown; --reference FOLDER of images like its own gives them")
        order = (-s).argsort(kind="stable")
    else:
        few = min(steps, SCREENING)
        with progress(few * one.runs(net.code_dim, True)) as bar:
            order = (-one.effects(net, seen, high, low, few, bar.update)).argsort(kind="stable")
    dims = order[:top]
    with progress(steps * one.runs(len(dims), usual is not None)) as bar:
        found = one.explain(net, seen, dims, high, low, steps, bar.update)
    path = out / f"{image.name.replace('.', '_')}_explained.html"
    save_text(path, page(found, usual, image.name, facts(model, picture.size, net, steps,
                                                         usual is not None)))
    chosen = "whose change shows most" if usual else "that are most active"
    typer.echo(f"{path}: the {len(dims)} prototypes {chosen} in {image.name}; open it in a "
               "browser")


@command("edit", "patronus edit face.png --set 11=max --out with_glasses.png")
def edit(
        image: ImageFile,
        changes: Annotated[list[str], typer.Option("--set", metavar="J=VALUE", help=(
            "Set the activation of prototype J to VALUE, or to max: its largest usual value. "
            "Give it several times to set several."))],
        model: ModelFolder = SHOWCASE,
        out: Annotated[Path | None, typer.Option(metavar="FILE.png", show_default=False, help=(
            "The picture to write. [default: IMAGE's name with _edited]"))] = None,
        alone: Annotated[bool, typer.Option("--alone", help=(
            "Write the edited image alone, at the model's own size."))] = False,
        steps: Steps = 50,
        reference: Reference = None) -> None:
    """Change an image by setting the activations of prototypes.

    The picture shows, side by side and enlarged: the image, its reconstruction with nothing set,
    and the edited image. Printed for each prototype: its activation before, the one asked for,
    and the one that the edited image then has.
    """
    wanted, target = parsed(changes), out or Path(f"{image.stem}_edited.png")
    if target.suffix.lower() != ".png":
        raise Problem(f"{target}: is no PNG file, which alone keeps every pixel; end it in .png")
    picture = opened(image)
    from patronus.explain import image as one

    net = loaded(model)
    foreign(model)
    seen = squashed(image, picture, net.shape)
    finite(one.read(net, seen), image)
    values = settled(wanted, net.code_dim, statistics(net, model, reference), model)
    with progress(2 * steps) as bar:
        found = one.edit(net, seen, values, steps, bar.update)
    typer.echo("prototype  before -> asked -> after")
    for (j, value), old, new in zip(values.items(), found.old, found.realised, strict=True):
        typer.echo(f"{j:9d}  {old:6.2f} -> {value:5.2f} -> {new:5.2f}{disobeyed(old, value, new)}")
    save_png(target, [found.image] if alone else [seen, found.recon, found.image], alone)
    shown = "the edited image" if alone else "image, reconstruction and edited image, left to right"
    typer.echo(f"{target}: {shown}")


@command("train", "patronus train --data photos --out my_model --minutes 60")
def train(
        data: Annotated[Path, typer.Option(metavar="FOLDER", help=(
            "Folder of images, with or without subfolders; no labels are needed."))],
        out: Annotated[Path, typer.Option(metavar="DIR", help=(
            "New folder for the model."))] = Path("my_model"),
        size: Annotated[int, typer.Option(min=16, max=512, metavar="PIXELS", help=(
            "Side that images are squashed to; a multiple of 8."))] = 64,
        gray: Annotated[bool, typer.Option("--gray", help="One gray channel, no colours.")] = False,
        prototypes: Annotated[int, typer.Option(min=1, metavar="N", help=(
            "How many to learn."))] = 50,
        minutes: Annotated[float | None, typer.Option(metavar="X", show_default=False, help=(
            "How long to train, about; the speed is measured first. [default: 30]"))] = None,
        epochs: Annotated[float | None, typer.Option(metavar="X", show_default=False, help=(
            "Train for so many passes over the images instead."))] = None,
        recipe: Annotated[Recipe, typer.Option(help=(
            "modern learns within minutes to hours; published is the paper's own, for days."))]
        = Recipe.modern,
        network: Annotated[Network | None, typer.Option(show_default=False, help=(
            "small (about 1.4 million parameters) or published (about 25 million). "
            "[default: published with a GPU, else small]"))] = None,
        seed: Annotated[int, typer.Option(min=0, metavar="K", help=(
            "Seed of all that is random."))] = 0,
        verify: Annotated[bool, typer.Option("--verify", help=(
            "Read every image to see whether it changed, whatever its time and size say."))]
        = False) -> None:
    """Train a model on your own images, for explain and edit.

    A training that was killed goes on where it was: give the same command again.
    """
    if minutes is not None and epochs is not None:
        raise Problem("--minutes and --epochs: give one of them")
    for name, value in (("--minutes", minutes), ("--epochs", epochs)):
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise Problem(f"{name}: must be above 0 (got {value})")
    if size % 8:
        raise Problem(f"--size: must be a multiple of 8 (got {size}; try {size // 8 * 8})")
    import torch

    from patronus import own

    kind = network or (Network.published if torch.cuda.is_available() else Network.small)
    own.train(data, out, own.Wish(
        size=size, gray=gray, prototypes=prototypes, recipe=recipe.value, network=kind.value,
        minutes=None if epochs else minutes or 30.0, epochs=epochs, seed=seed), typer.echo,
        verify)


@command("import", "patronus import ckpt.tar my_celeba --dataset celeba")
def import_(
        source: Annotated[Path, typer.Argument(metavar="CKPT", help=(
            "A ckpt.tar that the paper's authors published."))],
        dataset: Annotated[str, typer.Option(metavar="NAME", help=(
            "What it was trained on: a file in config/datasets."))],
        folder: Annotated[Path | None, typer.Argument(metavar="OUT_DIR", show_default=False, help=(
            "New folder for the model."))] = None,
        scale: Annotated[str | None, typer.Option(metavar="NAME", show_default=False, help=(
            "In place of OUT_DIR: the study (a file in config/scales) in which it stands as the "
            "trained Patronus, to be measured and never trained over."))] = None,
        seed: Annotated[int, typer.Option(min=0, help="With --scale: as which seed.")] = 0) -> None:
    """Turn a checkpoint of the paper's authors into a model folder, or a study's trained model."""
    if (folder is None) == (scale is None):
        raise Problem("import: give either OUT_DIR or --scale")
    from patronus import published

    if folder is not None:
        published.run(source, folder, dataset)
        return
    made = published.into_study(source, scale, dataset, seed)
    typer.echo(f"{made}: stands as trained; measure it with `snakemake --cores all --config "
               f"scale={scale} datasets={dataset} methods=patronus`")


@command("config", "patronus config celeba vae --scale smoke")
def config(
        dataset: Annotated[str, typer.Argument(help="A data set: a file in config/datasets.")],
        method: Annotated[str, typer.Argument(help="A method: a file in config/methods.")],
        scale: Annotated[str | None, typer.Option(help="A file in config/scales.")] = None,
        seed: Annotated[int, typer.Option(min=0, help="Training seed.")] = 0) -> None:
    """Print every setting of one data set, method and scale with the file that set it."""
    from patronus.config import explained

    rows = [(key, str(value), source) for key, value, source
            in explained(scale, dataset, method, seed)]
    width = [max(len(row[i]) for row in rows) for i in range(2)]
    for key, value, source in rows:
        typer.echo(f"{key:{width[0]}}  {value:{min(width[1], 48)}}  {source}")


def parsed(changes: list[str]) -> dict[int, float | None]:
    """Prototype -> value, or None for max, of texts such as 38=3.0 and 5=max."""
    found: dict[int, float | None] = {}
    for text in changes:
        number, _, value = (part.strip() for part in text.partition("="))
        try:
            j, level = int(number), None if value == "max" else float(value)
        except ValueError:
            level = math.nan
        if level is not None and not math.isfinite(level):
            raise Problem(f"--set {text}: is not of the form J=VALUE; write a prototype's number "
                          "and a finite value or max, such as 38=3.0 or 5=max")
        if j in found:
            raise Problem(f"--set {text}: prototype {j} is set twice; give it once")
        found[j] = level
    return found


def settled(wanted: dict[int, float | None], count: int, usual, model: Path) -> dict[int, float]:
    """The values to set, max looked up; a Problem for a prototype that the model has not got.

    A value outside of what the reference images reach is told: the denoiser has not met it.
    """
    for j, level in wanted.items():
        if not 0 <= j < count:
            raise Problem(f"--set {j}: {model} has the prototypes 0 to {count - 1}; choose one")
        if level is None and usual is None:
            raise Problem(f"--set {j}=max: {model} has no statistics that say what its largest "
                          "value is; give --reference FOLDER of images like its own, or a number")
        if level is not None and usual is not None:
            low, high = float(usual.level(0)[j]), float(usual.v_max[j])
            if not low <= level <= high:
                typer.echo(f"note: prototype {j} at {level:g} lies outside {low:.2f} to "
                           f"{high:.2f}, its range over {usual.over}")
    return {j: float(usual.v_max[j]) if level is None else level for j, level in wanted.items()}


def disobeyed(old: float, asked: float, new: float) -> str:
    """What is wrong with an edit: nothing, or that the image went the other way or hardly moved."""
    gone = (new - old) / (asked - old) if abs(asked - old) > 0.01 else 1.0
    if gone < 0:
        return "  it moved the other way: the image does not obey this prototype here"
    return "  it hardly moved" if gone < 0.1 else ""


def foreign(folder: Path) -> None:
    """Says so where a model has seen drawings only."""
    from patronus.files import load_json

    if load_json(folder / "config.json").get("about", {}).get("generated"):
        typer.echo(f"note: {folder} has seen generated drawings only, never a photograph; train a "
                   "model on your own images with `patronus train`, and name it by --model")


def opened(path: Path):
    """The decoded image of a file; a Problem says what is wrong with it."""
    if not path.is_file():
        raise Problem(f"{path}: is {'no file' if path.exists() else 'missing'}; name an image file")
    from patronus.reading import open_image

    return open_image(path)


def loaded(folder: Path):
    """The model of a folder, on the GPU if there is one."""
    if not (folder / "config.json").is_file():
        raise Problem(f"{folder}: holds no model (config.json, model.safetensors); name the folder "
                      "of one by --model")
    import torch

    from patronus.checkpoint import load
    from patronus.explain.image import able

    model = load(folder, "cuda" if torch.cuda.is_available() else "cpu")
    try:
        able(model)
    except NotApplicable as reason:
        raise Problem(f"{folder}: cannot be explained: {reason}; name another model") from None
    return model


def statistics(net, folder: Path, reference: Path | None):
    """What is usual for the model, or None where that is not known."""
    from patronus.explain.statistics import of_model

    return of_model(net, folder, reference)


def squashed(path: Path, picture, shape: tuple[int, int, int]):
    """The image as the model sees it, uint8 (C, H, W); what is changed for that is told."""
    from patronus.prepare import fit

    channels, height, width = shape
    if picture.size != (width, height):
        typer.echo(f"note: {path.name} has {picture.width}x{picture.height} pixels; it is squashed "
                   f"to {width}x{height}, the model's size")
    if picture.mode.startswith("I"):
        typer.echo(f"note: {path.name} has 16 bits; its gray levels are scaled by its own depth")
    if channels == 1 and not picture.mode.startswith(("1", "L", "I")):
        typer.echo(f"note: {path.name} is turned to gray, as the model sees it")
    try:
        return fit(picture, shape)
    except Problem as problem:
        raise Problem(f"{path}: {problem}") from None


def finite(codes, image: Path):
    """The codes, or a Problem if any is NaN or infinite."""
    if not all(map(math.isfinite, codes)):
        raise Problem(f"{image}: its activations are NaN or infinite; the model is broken; train "
                      "or import it again")
    return codes


def progress(steps: int):
    """A bar over denoising steps, where someone looks on."""
    from tqdm import tqdm

    return tqdm(total=steps, unit="step", desc="denoising", leave=False, disable=None)


def facts(folder: Path, size: tuple[int, int], net, steps: int, compared: bool) -> list[str]:
    """The small print of a page; `compared`: there are statistics to compare with."""
    from patronus.explain.statistics import titled
    from patronus.files import load_json

    about = load_json(folder / "config.json").get("about", {})
    generated = about.get("generated", False)
    _, height, width = net.shape
    lines = [
        f"Model: {about.get('title', 'Patronus')}, {net.code_dim} prototypes, seed "
        f"{about.get('seed', 'unknown')}, trained on "
        f"{titled(about.get('dataset', 'unknown images'), generated)}"
        + ("; it has never seen a photograph." if generated else "."),
        f"Image: {size[0]}×{size[1]} pixels, squashed to {width}×{height}. Every run has {steps} "
        "steps of deterministic DDIM, from the noise that the image itself inverts to.",
        "s = log((d² + 1) / (d² + 0.0001)), d² being the squared distance of a prototype to the "
        "patch nearest to it."]
    return lines if not compared else [
        *lines, "z is the distance of s from the median, in half distances of the 16 and 84 % "
        "quantiles.",
        "What a raised prototype draws is what this model has learned to draw for it. It says "
        "nothing about the person or thing in the picture."]


def save_png(path: Path, images: list, alone: bool) -> None:
    """Images (uint8, C H W) side by side on white, enlarged without smoothing unless alone."""
    import numpy as np
    from PIL import Image

    from patronus.files import whole

    if not alone:
        factor = max(1, round(PANEL / images[0].shape[2]))
        large = [image.repeat(factor, 1).repeat(factor, 2) for image in images]
        gap = np.full((*large[0].shape[:2], PANEL // 32), 255, np.uint8)
        images = [np.concatenate([large[0], *(x for one in large[1:] for x in (gap, one))], 2)]
    pixels = np.moveaxis(images[0], 0, -1)
    with whole(path) as part:
        Image.fromarray(pixels.squeeze(-1) if pixels.shape[2] == 1 else pixels).save(part, "PNG")

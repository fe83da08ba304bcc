"""What of a study's results git can carry: python -m paper.deposit --scale real

Copies from results/<scale>/ into paper/results/<scale>/: tables, pictures of figures, the measures
of every cell, and of every trained model its weights (rounded to 16 bits), quantiles of its code,
settings, losses and record beside a card. README.md lists it with commands and times. Nothing of it
is written by hand. Cells that were not made, and files over 3 MB, are named there and left out.
`--weights` carries the weights of some models only, to keep a clone small; the others keep card,
settings, losses and record.
"""

import argparse
import shutil
from pathlib import Path

import pandas as pd
from PIL import Image

from analysis import collect
from patronus.config import Cell, Study, load_study
from patronus.errors import Problem, guarded
from patronus.files import load_json, save_text
from patronus.record import commit_of, verified
from patronus.sources import ROOT

OUT = ROOT / "paper" / "results"
LARGEST = 3_000_000  # bytes that git carries
WIDEST = 1350  # pixels: the width of a page at 200 dpi
LIMITS = """**Intended use**: to look at, to explain, and to test explanations on.
**Not**: any statement on how well the published model, trained as long as published, would do."""


def cell_folder(cell: Cell) -> Path:
    return Path(cell.dataset, cell.method, f"seed{cell.seed}")


def made(study: Study, stage: str) -> list[Cell]:
    """The cells of which the stage was finished."""
    return [cell for cell in study.cells.values()
            if (cell.folder(stage) / "record.json").is_file()]


def carry_model(cell: Cell, out: Path, whole: bool) -> None:
    """Weights as 16-bit floats and what is usual for its code (of a `whole` one), and what stands
    beside them."""
    from safetensors.torch import load_file, save_file  # torch is slow to import

    from patronus.explain import statistics

    source = cell.folder("checkpoints")
    verified(source)
    out.mkdir(parents=True, exist_ok=True)
    weights = load_file(source / "model.safetensors")
    if whole:
        save_file({name: value.half() if value.is_floating_point() else value
                   for name, value in weights.items()}, out / "model.safetensors")
        if usual := statistics.find(source):
            statistics.read(usual).save(out)
    for name in ("config.json", "history.csv", "record.json"):
        shutil.copyfile(source / name, out / name)
    numbers = sum(value.numel() for value in weights.values())
    save_text(out / "README.md", card(cell, numbers, whole))


def card(cell: Cell, numbers: int, whole: bool) -> str:
    """The model card: what it is, on what and how long it was trained, what it scores."""
    record = load_json(cell.folder("checkpoints") / "record.json")
    found, train = record["found"], cell.train
    title = cell.dataset if not cell.generated else f"{cell.dataset} (generated stand-in)"
    return "\n".join([
        f"# {cell.title} on {title}, seed {cell.seed}", "",
        f"`{cell.module}`, {numbers:,} numbers in its weights "
        f"({'rounded to 16 bits here' if whole else 'not carried here'}), images {cell.shape}, "
        f"code of {cell.code_dim if coded(cell) else 0} dimensions.", "",
        f"**Training**: {found['images_seen']:,} images seen ({found['steps']:,} steps of "
        f"{train.batch_size}), {found['train_seconds'] / 60:.0f} minutes, {found['precision']}, on "
        f"{record['device'].get('gpu', str(record['device'].get('threads')) + ' CPU thread')}; "
        f"recipe `{cell.recipe}` with lr {train.lr:g}, EMA {train.ema}, at scale `{cell.scale}`; "
        f"{commit_of(record)}.{clipping(record)}", "",
        "**Scores**, with n images (or what else is counted) and D dimensions or parts. What is "
        "beside a value says what it is and over what; none covers another training:", "",
        *scores(cell.folder("measures") / "measures.csv"), "",
        LIMITS.replace("\n", " "), "",
        f"    patronus explain IMAGE --model {OUT.relative_to(ROOT) / cell.scale}/checkpoints/"
        f"{cell_folder(cell)}" if whole else
        f"    snakemake {cell.folder('checkpoints')}/record.json --config scale={cell.scale}", ""])


def clipping(record: dict) -> str:
    """What a card must say of a training that clipped each entry of the gradient, not its norm."""
    clip = record["settings"]["train"]["clip"]
    if not clip or record["found"].get("clipped") == "norm":
        return ""
    return (" **A fault of this training**: the setting `clip` asks for a gradient of norm "
            f"{clip:g} at most, and each entry of it was clipped at {clip:g} instead; what that "
            "changes is measured in `benchmarks/results/clip.json`.")


def coded(cell: Cell) -> bool:
    return not (cell.folder("codes") / "none.json").is_file()


def scores(file: Path) -> list[str]:
    """Lines of a table of all measures in a measures.csv that have a value."""
    if not file.is_file():
        return ["Not measured."]
    table = collect.read(file)
    table = table[table["value"].notna()]
    rows = [f"| {one.measure} | {one.variant} | {one.value:.4g} | {beside(one)} | "
            f"{'' if pd.isna(one.n) else one.n} | {'' if pd.isna(one.d) else one.d} | "
            f"{one.split} |" for one in table.itertuples()]
    return ["| measure | variant | value | beside it | n | D | split |", f"|{'---|' * 7}", *rows]


def beside(one) -> str:
    """What stands beside a value: the ends, what they are and over what, for both questions."""
    found = [(one.low, one.high, one.level, one.resamples),
             (one.low_new, one.high_new, "95 %", one.resamples_new)]
    return "; ".join(f"{low:.4g} to {high:.4g} ({level} over {over})"
                     for low, high, level, over in found if pd.notna(low))


def carry_paper(folder: Path, out: Path) -> list[str]:
    """Tables and pictures of one figure or table; their names."""
    verified(folder)
    out.mkdir(parents=True, exist_ok=True)
    names = []
    for file in sorted(folder.iterdir()):
        if file.suffix in (".md", ".csv"):
            shutil.copyfile(file, out / file.name)
        elif file.suffix == ".png":
            picture = Image.open(file).convert("RGB")
            picture.thumbnail((WIDEST, 4 * WIDEST), Image.Resampling.LANCZOS)
            picture.save(out / file.name, optimize=True)
        else:
            continue
        names.append(file.name)
    return names


def too_large(out: Path) -> list[str]:
    """Remove what git would not carry, and name it."""
    found = [file for file in sorted(out.rglob("*")) if file.is_file()
             and file.stat().st_size > LARGEST]
    for file in found:
        file.unlink()
    return [str(file.relative_to(out)) for file in found]


def index(study: Study, papers: list[str], left_out: list[str], weights: set[str] | None) -> str:
    """README.md: commands, what was made of the study, times."""
    trained, measured = made(study, "checkpoints"), set(map(cell_folder, made(study, "measures")))
    rows = []
    for cell in trained:
        record = load_json(cell.folder("checkpoints") / "record.json")
        rows.append(f"| [{cell_folder(cell)}](checkpoints/{cell_folder(cell)}) | "
                    f"{record['found']['images_seen']:,} | "
                    f"{record['found']['train_seconds'] / 60:.0f} min | "
                    f"{'yes' if cell_folder(cell) in measured else 'no'} | "
                    f"{commit_of(record).removeprefix('commit ')} |")
    lacking = [str(cell_folder(cell)) for cell in study.cells.values() if cell not in trained]
    return "\n".join([
        f"# Results at scale `{study.scale}`", "", f"{study.about}.", "",
        f"    make reproduce SCALE={study.scale}      # all of it", "",
        f"    python -m paper.deposit --scale {study.scale}"
        + (f" --weights {','.join(sorted(weights))}" if weights else "")
        + "   # this folder, from its results", "",
        "| model | images seen | training | measured | commit |",
        "|---|---|---|---|---|", *rows, "",
        f"Not trained: {', '.join(lacking) or 'none'}.", "",
        f"Figures and tables: {', '.join(f'[{name}](paper/{name})' for name in papers)}.", "",
        f"Left out, over 3 MB: {', '.join(left_out) or 'nothing'}.", ""])


def deposit(study: Study, out: Path, weights: set[str] | None = None) -> None:
    """Fill `out` anew, with the weights of the first seed of these methods, or of all models.

    Raises Problem if nothing was made, or if a result was altered.
    """
    if not made(study, "checkpoints"):
        raise Problem(f"results/{study.scale}/checkpoints: no model was trained; run `make "
                      f"reproduce SCALE={study.scale}` first")
    shutil.rmtree(out, ignore_errors=True)
    for cell in made(study, "checkpoints"):
        whole = weights is None or cell.method in weights and cell.seed == 0
        carry_model(cell, out / "checkpoints" / cell_folder(cell), whole)
    for cell in made(study, "measures"):
        target = out / "measures" / cell_folder(cell)
        target.mkdir(parents=True)
        for name in ("measures.csv", "record.json"):
            shutil.copyfile(cell.folder("measures") / name, target / name)
    papers = []
    for record in sorted(Path("results", study.scale, "paper").glob("*/record.json")):
        papers += carry_paper(record.parent, out / "paper")
    save_text(out / "README.md", index(study, papers, too_large(out), weights))


def main() -> None:
    """Deposit one scale and say where."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", required=True)
    parser.add_argument("--seeds", help="those of the study, separated by commas")
    parser.add_argument("--weights", help="methods whose seed 0 keeps its weights, separated by "
                        "commas; all models do when none is named")
    given = parser.parse_args()
    only = {"seeds": given.seeds} if given.seeds else {}
    weights = set(given.weights.split(",")) if given.weights else None
    deposit(load_study(given.scale, **only), OUT / given.scale, weights)
    print(f"{(OUT / given.scale).relative_to(ROOT)}: git can carry this")


if __name__ == "__main__":
    guarded(main)

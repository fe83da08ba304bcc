"""What git carries of a study: models that load, cards that say what the records say."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from analysis import collect, intervals
from analysis.spec import COLUMNS
from paper import deposit
from patronus import checkpoint, load
from patronus.config import Cell, load_study
from patronus.errors import Problem
from patronus.explain import statistics
from patronus.files import load_json, save_text, sha256
from patronus.record import Record
from patronus.sources import ROOT

STUDY = load_study("tiny", datasets=["celeba"], methods=["patronus", "ddpm"])
CELL = STUDY.cell("celeba", "patronus", 0)
ROWS = [{"measure": "tad", "variant": "test", "value": 0.25, "low": 0.2, "high": 0.3, "level": "sd",
         "resamples": "folds", "n": 40, "split": "test"},
        {"measure": "fidelity", "variant": "inverted", "value": 0.5, "low": 0.4, "high": 0.6,
         "level": "95 %", "resamples": "images", "low_new": 0.3, "high_new": 0.7,
         "resamples_new": "dimensions and images", "n": 24, "d": 30, "split": "test"},
        {"measure": "fid", "variant": "test", "split": "test"}]


def finished(folder: Path, **found: object) -> None:
    outputs = [file for file in folder.iterdir() if file.name != "record.json"]
    settings = {"train": {"clip": None}}
    Record(folder.parts[2], ["patronus.train"], settings, []).write(folder, outputs, **found)


def train(cell: Cell) -> torch.nn.Module:
    torch.manual_seed(0)
    model = checkpoint.build(cell.module, cell.shape, cell.code_dim, cell.model).eval()
    folder = cell.folder("checkpoints")
    checkpoint.save(folder, model, checkpoint.config_of(cell))
    save_text(folder / "history.csv", "step,loss\n0,1.0\n")
    finished(folder, images_seen=12345, steps=77, train_seconds=600.0, precision="32-true")
    return model


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def made(here) -> torch.nn.Module:
    model = train(CELL)
    measured = CELL.folder("measures")
    measured.mkdir(parents=True)
    save_text(measured / "measures.csv", pd.DataFrame(ROWS, columns=COLUMNS).astype(
        {"n": "Int64", "d": "Int64"}).to_csv(index=False))
    finished(measured)
    figure = Path("results", "tiny", "paper", "fig4")
    figure.mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (900, 2700, 3)).astype(np.uint8)
    Image.fromarray(noise).save(figure / "fig4.png")
    save_text(figure / "fig4.html", "not carried")
    finished(figure)
    return model


def test_the_model_loads_and_answers_as_the_one_that_was_trained(here, made):
    deposit.deposit(STUDY, here / "out")
    carried = load(here / "out" / "checkpoints" / "celeba" / "patronus" / "seed0")
    x = torch.rand(3, *CELL.shape) * 2 - 1
    torch.testing.assert_close(carried.encode(x), made.encode(x), atol=0.01, rtol=0.01)
    assert {p.dtype for p in carried.parameters()} == {torch.float32}


def test_the_model_knows_what_is_usual_for_it(here, made):
    codes = np.random.default_rng(0).random((50, CELL.code_dim), np.float32)
    CELL.folder("codes").mkdir(parents=True)
    np.save(CELL.folder("codes") / "train.npy", codes)
    deposit.deposit(STUDY, here / "out")
    folder = here / "out" / "checkpoints" / "celeba" / "patronus" / "seed0"
    usual = statistics.of_model(made, folder, None)
    np.testing.assert_array_equal(usual.v_max, codes.max(0))
    assert statistics.find(folder).parent == folder and usual.over == "50 train images"


def test_the_card_says_what_record_and_measures_say(here, made):
    deposit.deposit(STUDY, here / "out")
    card = (here / "out/checkpoints/celeba/patronus/seed0/README.md").read_text()
    numbers = sum(value.numel() for value in made.state_dict().values())
    for said in ("celeba (generated stand-in), seed 0", f"{numbers:,} numbers", "12,345 images",
                 "77 steps", "10 minutes",
                 "| tad | test | 0.25 | 0.2 to 0.3 (sd over folds) | 40 |  | test |",
                 "| fidelity | inverted | 0.5 | 0.4 to 0.6 (95 % over images); 0.3 to 0.7 (95 % "
                 "over dimensions and images) | 24 | 30 | test |"):
        assert said in card, said
    assert "| fid |" not in card  # it has no value


def test_models_that_are_not_named_keep_all_but_their_weights(here, made):
    deposit.deposit(STUDY, here / "out", {"ddpm"})
    folder = here / "out/checkpoints/celeba/patronus/seed0"
    assert sorted(file.name for file in folder.iterdir()) == [
        "README.md", "config.json", "history.csv", "record.json"]
    card = (folder / "README.md").read_text()
    assert "not carried here" in card and "--model" not in card
    assert "snakemake results/tiny/checkpoints/celeba/patronus/seed0/record.json" in card
    deposit.deposit(STUDY, here / "out", {"patronus"})
    assert (folder / "model.safetensors").is_file()


def test_what_lacks_is_named_and_nothing_is_too_large_for_git(here, made):
    deposit.deposit(STUDY, here / "out")
    index = (here / "out" / "README.md").read_text()
    assert "Not trained: celeba/ddpm/seed0." in index
    assert "[celeba/patronus/seed0](checkpoints/celeba/patronus/seed0) | 12,345 | 10 min | yes" \
        in index
    assert (here / "out/measures/celeba/patronus/seed0/measures.csv").is_file()
    files = [file for file in (here / "out").rglob("*") if file.is_file()]
    assert max(file.stat().st_size for file in files) <= deposit.LARGEST
    with Image.open(here / "out" / "paper" / "fig4.png") as picture:
        assert picture.width == deposit.WIDEST
    assert not [file for file in files if file.suffix == ".html"]


def test_a_file_over_the_limit_is_left_out_and_named(here, made, monkeypatch):
    monkeypatch.setattr(deposit, "LARGEST", 10_000)
    deposit.deposit(STUDY, here / "out")
    assert not (here / "out/paper/fig4.png").exists()
    assert "paper/fig4.png" in (here / "out" / "README.md").read_text()


def test_a_second_deposit_is_the_same_bytes_and_forgets_what_is_gone(here, made):
    def content() -> dict[str, bytes]:
        return {str(f.relative_to(here)): f.read_bytes() for f in (here / "out").rglob("*")
                if f.is_file()}

    deposit.deposit(STUDY, here / "out")
    first = content()
    save_text(here / "out" / "stale", "")
    deposit.deposit(STUDY, here / "out")
    assert content() == first


def test_an_altered_model_or_none_is_one_line(here, made):
    with (CELL.folder("checkpoints") / "history.csv").open("a") as file:
        csv.writer(file).writerow([1, 2])
    with pytest.raises(Problem, match=r"history.csv: was changed"):
        deposit.deposit(STUDY, here / "out")
    with pytest.raises(Problem, match="no model was trained; run `make reproduce SCALE=smoke`"):
        deposit.deposit(load_study("smoke"), here / "out")


# what is deposited

DEPOSITED = sorted((ROOT / "paper" / "results").glob("*/measures/*/*/*/measures.csv"))


@pytest.mark.parametrize("path", DEPOSITED, ids=lambda path: "/".join(path.parts[-4:-1]))
def test_deposited_ends_say_what_they_are_over_and_the_record_knows_the_file(path):
    table = collect.read(path)
    ended = table["low"].notna()
    assert ended.any() and ((table["level"] != "") == ended).all()
    assert ((table["resamples"] != "") == ended).all()
    assert ((table["resamples_new"] != "") == table["low_new"].notna()).all()
    assert not (table["resamples"].str.contains("folds") & (table["level"] != "sd")).any()
    outputs = load_json(path.with_name("record.json"))["outputs"]
    assert next(digest for name, digest in outputs.items()
                if name.endswith("/measures.csv")) == sha256(path)
    card = path.parents[4] / "checkpoints" / path.parent.relative_to(path.parents[3]) / "README.md"
    assert "\n".join(deposit.scores(path)) in card.read_text(encoding="utf-8")


def test_deposited_accuracies_have_the_interval_of_a_share_and_stability_the_pairs():
    for path in DEPOSITED:
        rows = collect.read(path).set_index(["measure", "variant"])
        score = rows.loc["latent_score", "test"]
        if score.level == "95 %":
            expected = intervals.proportion(round(score.value * score.n), score.n)
            np.testing.assert_allclose((score.low, score.high), expected[1:], atol=1e-3)
    own = [collect.read(path).set_index("measure").loc["stability"] for path in DEPOSITED
           if path.parts[-4:-2] == ("fashion_mnist", "untrained_modern")]
    ends = sorted(one[end] for one in own for end in ("low", "high"))
    assert [round(end, 2) for end in ends] == [0.62, 0.62, 0.63, 0.63, 0.76, 0.76]
    assert np.mean([one.value for one in own]) == pytest.approx(np.mean(ends))

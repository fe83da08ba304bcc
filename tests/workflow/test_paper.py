"""Figures and tables from made-up inputs: whole, the same twice, honest on their face."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.asking import KINDS
from analysis.collect import CELL_COLUMNS
from analysis.spec import COLUMNS
from paper import catalogue, render, table
from patronus.config import Cell, Dataset, Study
from patronus.errors import NotApplicable, Problem
from patronus.sources import ROOT, closure

DATASETS = ("cifar10", "celeba")
METHODS = ("ddpm", "patronus", "untrained")
CLASSES = ["red", "green", "a very long name of a class"]
OUTSIDE = re.compile(r"""(src|href)\s*=\s*["']?https?:|url\(\s*["']?https?:|from\s+["']https?:""")


def study_of(datasets=DATASETS, methods=METHODS, seeds=(0, 1), scale="smoke") -> Study:
    cells = {(d, m, s): Cell.model_construct(dataset=d, method=m, seed=s)
             for d in datasets for m in methods for s in seeds}
    plain = Dataset.model_construct(shortcut=None)
    return Study.model_construct(scale=scale, figures=None, cells=cells,
                                 datasets=dict.fromkeys(datasets, plain))


def what(folder: Path, generated: bool = True, scale: str = "smoke") -> None:
    rng = np.random.default_rng(0)
    shape, prototypes, n = (3, 16, 16), 3, 5
    before = rng.random((prototypes, n))
    folder.mkdir(parents=True)
    np.savez(folder / "what.npz", order=np.array([4, 0, 2]), best=np.array([0, 3, 4]),
             images=rng.integers(0, 256, (n, *shape), dtype=np.uint8),
             edited=rng.integers(0, 256, (prototypes, n, *shape), dtype=np.uint8),
             boxes=np.tile([0, 3, 7, 12], (prototypes, n, 1)), before=before, realised=before + 1)
    (folder / "what.json").write_text(json.dumps({
        "dataset": "celeba", "title": "CelebA", "method": "patronus", "seed": 0,
        "generated": generated, "steps": 12, "images_seen": 345, "split": "test",
        "scale": scale}))


def data(folder: Path, dataset: str, label: dict) -> None:
    rng = np.random.default_rng(1)
    folder.mkdir(parents=True)
    np.save(folder / "test.npy", rng.integers(0, 256, (30, 1, 8, 8), dtype=np.uint8))
    pd.DataFrame({"id": range(30), "split": "test", "row": range(30),
                  "label": np.arange(30) % 2}).to_csv(folder / "table.csv", index=False)
    (folder / "meta.json").write_text(json.dumps({
        "dataset": dataset, "title": dataset.title(), "generated": True, "shape": [1, 8, 8],
        "counts": {"test": 30}, "labels": {"label": label}}))


def measured() -> pd.DataFrame:
    """Latent score 0.5 and 0.7 (two seeds) for Patronus, one seed missing for untrained."""
    rows = []
    for dataset in DATASETS:
        for method in METHODS:
            for seed in (0, 1):
                none = method == "ddpm" or (method, seed) == ("untrained", 1)
                rows.append({
                    "scale": "smoke", "dataset": dataset, "title": dataset.title(),
                    "method": method, "method_title": method.title(), "track": "", "seed": seed,
                    "generated": True, "measure": "latent_score", "variant": "test",
                    "value": None if none else 0.5 + 0.2 * seed, "n": None if none else 50,
                    "split": "test", "unit": "AUROC", "images_seen": 345,
                    "reason": f"{method} has no code" if none else None})
    return pd.DataFrame(rows, columns=[*CELL_COLUMNS, *COLUMNS])


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A working folder with inputs, where importing torch is an error."""
    torch = tmp_path / "blocked" / "torch.py"
    torch.parent.mkdir()
    torch.write_text("raise ImportError('a figure computes nothing')")
    monkeypatch.setenv("PYTHONPATH", str(torch.parent))
    monkeypatch.chdir(tmp_path)
    results = tmp_path / "results" / "smoke"
    what(results / "explanations" / "celeba" / "patronus" / "seed0")
    data(results / "data" / "cifar10", "cifar10", {"kind": "categorical", "names": CLASSES})
    data(results / "data" / "celeba", "celeba", {"kind": "binary"})
    (results / "measures").mkdir()
    measured().to_csv(results / "measures" / "table.csv", index=False)
    return tmp_path


@pytest.mark.parametrize("name", ["fig4", "stand_ins", "tab1", "tab2", "measures"])
def test_rendered_twice_is_the_same_and_honest(place, name, pdf_text):
    out = Path("results/smoke/paper") / name
    render.render(name, study_of(), out)
    first = {file.name: file.read_bytes() for file in out.iterdir()}
    kinds = ("pdf", "png") if f"{name}.pdf" in first else ("csv", "md", "tex")
    assert set(first) == {f"{name}.{kind}" for kind in (*kinds, "ipynb", "html")} | {"record.json"}
    render.render(name, study_of(), out)
    changed = [f for f in first if (out / f).read_bytes() != first[f] and f != "record.json"]
    assert changed == []
    assert not OUTSIDE.search(first[f"{name}.html"].decode())
    text = pdf_text(out / f"{name}.pdf") if "pdf" in kinds else \
        first[f"{name}.md"].decode().replace(" ", "")
    assert "(generatedstand-in)" in text
    if "tex" in kinds:
        assert b"(generated stand-in)" in first[f"{name}.tex"]
        assert b"(generated stand-in)" in first[f"{name}.csv"]
    record = json.loads(first["record.json"])
    assert set(record["inputs"]) == {str(path) for path in catalogue.needs(name, study_of())}


def test_small_print_of_a_figure(place, pdf_text):
    out = Path("results/smoke/paper/fig4")
    render.render("fig4", study_of(), out)
    text = pdf_text(out / "fig4.pdf")
    for part in ("prototype 4", "patronus, seed 0", "12 steps (345 images seen)", "n = 5 test",
                 "scale smoke", "says nothing about interpretability"):
        assert part.replace(" ", "") in text
    assert b"FontFile2" in (out / "fig4.pdf").read_bytes()


def test_official_data_is_not_called_generated(place, pdf_text):
    what(Path("results/paper/explanations/celeba/patronus/seed0"), generated=False, scale="paper")
    out = Path("results/paper/paper/fig4")
    render.render("fig4", study_of(scale="paper"), out)
    text = pdf_text(out / "fig4.pdf")
    assert "stand-in" not in text
    assert "plumbing" not in text
    assert "scalepaper" in text


def test_missing_input_is_one_line(place):
    gone = Path("results/smoke/measures/table.csv")
    gone.unlink()
    with pytest.raises(Problem, match=r"^tab2: results/smoke/measures/table.csv: missing; .*"):
        render.render("tab2", study_of(), Path("out"))
    assert not Path("out").exists()


def test_error_in_a_script_names_the_cell_and_keeps_the_last_result(place, monkeypatch):
    script = place / "figures" / "bad.py"
    script.parent.mkdir()
    script.write_text('# %% [markdown]\n# # Bad\n\n# %% tags=["parameters"]\nNEEDS = {}\n\n'
                      "# %%\nnumber = 1\nimport torch\n")
    monkeypatch.setattr(catalogue, "ids", lambda: {"bad": script})
    out = place / "out"
    out.mkdir()
    (out / "bad.pdf").write_text("the last good one")
    with pytest.raises(Problem) as caught:
        render.render("bad", study_of(), out)
    line = str(caught.value)
    assert "figures/bad.py, cell 2 (number = 1): ImportError: a figure computes nothing" in line
    assert "\n" not in line
    kept = Path("work/paper/smoke/bad/bad.ipynb")
    assert str(kept) in line
    assert "Traceback" in kept.read_text()
    assert [file.name for file in out.iterdir()] == ["bad.pdf"]


def test_unknown_id_on_the_command_line():
    done = subprocess.run([sys.executable, "-m", "paper.render", "fig99", "--scale", "smoke"],
                          cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: fig99: is no figure or table; known are ")
    assert done.stderr.count("\n") == 1


def test_needs_are_what_the_study_has():
    base = Path("results/smoke/explanations")
    assert catalogue.needs("fig4", study_of())[0] == base / "celeba/patronus/seed0/what.npz"
    modern = study_of(("cifar10",), ("patronus", "patronus_modern"), (3,))
    assert catalogue.needs("fig4", modern)[0] == base / "cifar10/patronus_modern/seed3/what.npz"
    files = catalogue.needs("stand_ins", study_of())
    assert len(files) == 3 * len(DATASETS)
    assert Path("results/smoke/data/cifar10/test.npy") in files
    assert catalogue.needs("tab2", study_of()) == [Path("results/smoke/measures/table.csv"),
                                                Path("results/smoke/data/cifar10/meta.json")]


def test_a_study_makes_what_it_can():
    without = study_of(("cifar10",), ("ddpm",))
    with pytest.raises(NotApplicable, match=r"fig4: the study has no method out of patronus_m"):
        catalogue.needs("fig4", without)
    assert {"fig4", "tab1"}.isdisjoint(catalogue.wanted(without))
    assert {"tab2", "stand_ins"} <= set(catalogue.wanted(without))
    assert "tab2" not in catalogue.wanted(study_of(("celeba",)))
    named = without.model_copy(update={"figures": ["tab2"]})
    assert catalogue.wanted(named) == ["tab2"]
    with pytest.raises(Problem, match="fig99"):
        catalogue.wanted(without.model_copy(update={"figures": ["fig99"]}))


@pytest.mark.parametrize("name", catalogue.ids())
def test_scripts_have_title_caption_needs_and_no_torch(name):
    path = catalogue.ids()[name]
    title, caption = render.notebook(path).cells[0].source.split("\n", 1)
    assert title.startswith("# ")
    assert len(caption.split()) > 10
    for need in catalogue.declared(path).values():
        assert {"stage", "files"} <= set(need) <= {"stage", "files", "kinds", *catalogue.AXES}
        assert set(need.get("kinds", ())) <= set(KINDS)
    ours = [path, *closure(f"paper.{path.parent.name}.{name}", "paper.style", "paper.table")]
    assert [file for file in ours
            if re.search(r"^\s*(import|from) torch\b", file.read_text(), re.MULTILINE)] == []


def test_table_entries_are_means_spreads_and_reasons():
    found = table.entries(measured(), ["latent_score", "tad"]).set_index(
        ["dataset", "split", "method", "measure"]).sort_index()
    ours = found.loc["celeba", "test", "patronus", "latent_score"]
    assert ours["mean"] == pytest.approx(0.6)
    assert ours["std"] == pytest.approx(0.2 / 2**0.5)
    assert (ours["seeds"], ours["n"]) == (2, 50)
    one = found.loc["celeba", "test", "untrained", "latent_score"]
    assert (one["mean"], one["seeds"], one["reason"]) == (0.5, 1, "untrained has no code")
    assert np.isnan(one["std"])
    none = found.loc["celeba", "test", "ddpm"]
    assert none["mean"].isna().all()
    assert list(none["reason"]) == ["ddpm has no code", "not in this study"]


def test_published_values_stand_beside_ours():
    found = table.entries(measured(), ["latent_score", "fid", "rfid"])
    printed = found.dropna(subset="published").set_index(
        ["dataset", "method_title", "measure"])["published"].to_dict()
    assert printed["celeba", "Patronus", "fid"] == 14.6
    assert printed["celeba", "Patronus", "rfid"] == 4.8
    assert printed["cifar10", "DiffAE", "fid"] == 32.1
    assert ("cifar10", "Patronus", "fid") not in printed
    text = table.markdown(found[found["dataset"] == "celeba"], "CelebA")
    row = next(line for line in text.splitlines() if line.startswith("| test"))
    assert [cell.strip() for cell in row.split("|")[1:-1]] == [
        "test", "Ddpm", "n/a (a)", "n/a (b)", "n/a (b)", "–"]
    assert "| n/a (b) [14.6] | n/a (b) [4.8] | 2 " in text
    assert "0.600 ± 0.141" in text
    assert "0.500 (c) " in text
    assert "one seed" in text
    assert "not on one scale" in text
    assert "reconstruction FID" in text


def test_markdown_lines_up_and_latex_has_every_cell():
    found = table.entries(measured(), ["latent_score", "fid"])
    lines = [line for line in table.markdown(found, "Sets").splitlines() if line[:1] == "|"]
    assert len({len(line) for line in lines}) == 1
    rows = [line for line in table.latex(found, "100% of_sets", "tab9").splitlines()
            if line.endswith(r"\\")]
    assert len(rows) == len(lines) - 1
    assert {row.count("&") for row in rows} == {5}
    assert r"100\% of\_sets" in table.latex(found, "100% of_sets", "tab9")


def test_two_values_for_one_seed_are_refused():
    twice = pd.concat([measured(), measured()])
    with pytest.raises(Problem, match="several rows for one seed"):
        table.entries(twice, ["latent_score"])


def test_rows_stand_by_track_and_the_supervised_ones_last():
    tracks = {"ddpm": "supervised", "untrained": "matched"}
    found = measured()
    found["track"] = found["method"].map(tracks).fillna("")
    headings, rows, notes = table.grid(table.entries(found, ["latent_score"]))
    at = headings.index("Track")
    ours = [row[at] for row in rows if row[0] == rows[0][0] and row[1] == "test"]
    assert ours == sorted(ours, key=("–", "matched", "published", "supervised").index)
    assert set(ours) == {"–", "matched", "supervised"}
    assert any("not to be ranked" in note for note in notes)
    plain = table.grid(table.entries(measured(), ["latent_score"]))
    assert "Track" not in plain[0] and not any("not to be ranked" in note for note in plain[2])


def test_a_figure_is_an_ordinary_script(place):
    """Typed as any script: it finds its inputs, draws, and says where."""
    done = subprocess.run([sys.executable, ROOT / "paper" / "figures" / "fig4.py",
                           "--scale", "smoke", "--datasets", "celeba", "--methods", "patronus"],
                          capture_output=True, text=True, check=False,
                          env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    made = place / done.stdout.strip().removeprefix("fig4: ")
    assert {file.name for file in made.iterdir()} == {"fig4.pdf", "fig4.png"}


def test_a_figure_run_by_hand_names_the_input_that_is_missing(place):
    done = subprocess.run([sys.executable, ROOT / "paper" / "figures" / "fig4.py",
                           "--scale", "smoke", "--datasets", "cifar10", "--methods", "patronus"],
                          capture_output=True, text=True, check=False,
                          env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "what.npz" in line and "snakemake fig4" in line
    assert not done.stdout and not (place / "work" / "paper").exists()


SCRIPT = """# %% [markdown]
# # A title

# %%
NEEDS = {}

# %%
from matplotlib import pyplot as plt

from paper import style
from paper.given import given

name, title, scale, out, inputs = given()
fig, ax = plt.subplots()
"""


@pytest.mark.parametrize(("end", "word"), [("", "saves nothing"),
                                           ("style.save(fig, out, name)\n", "not signed")])
def test_a_figure_that_saves_nothing_or_does_not_sign_fails(place, monkeypatch, end, word):
    script = place / "figures" / "bad.py"
    script.parent.mkdir(exist_ok=True)
    script.write_text(SCRIPT + end)
    monkeypatch.setattr(catalogue, "ids", lambda: {"bad": script})
    with pytest.raises(Problem, match=word):
        render.render("bad", study_of(), place / "out")
    assert not (place / "out" / "record.json").exists()


def test_two_scripts_of_one_id_are_named(monkeypatch, tmp_path):
    for folder in catalogue.FOLDERS:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.py").write_text("NEEDS = {}\n")
    monkeypatch.setattr(catalogue, "__file__", str(tmp_path / "catalogue.py"))
    with pytest.raises(Problem, match="figures/same.py"):
        catalogue.ids.__wrapped__()


@pytest.mark.parametrize(("typed", "said"), [
    (["fig33"], "the nearest is fig3"), (["--cores", "2", "fig33"], "fig33"),
    (["--config", "scale=smoke", "--", "tabel"], "tabel"), (["fig5"], "makes no fig5"),
    (["raport"], "the nearest is report")])
def test_a_target_that_cannot_be_made_is_told_with_the_reason(typed, said):
    study = study_of(datasets=("cifar10",))
    with pytest.raises(Problem, match=re.escape(said)):
        catalogue.refuse(typed, study, ["all", "report", "train"])


@pytest.mark.parametrize("typed", [
    ["--cores", "all"], ["-n"], ["report"], ["--cores", "1", "all"], ["results/x/record.json"],
    ["--config", "scale=smoke", "datasets=celeba"], ["--profile", "profiles"]])
def test_other_command_lines_are_left_to_snakemake(typed):
    catalogue.refuse(typed, study_of(), ["all", "report", "train"])


def test_snakemake_itself_says_why(tmp_path):
    for target, word in (("fig33", "the nearest is fig3"), ("strengths", "makes no strengths")):
        done = subprocess.run([sys.executable, "-m", "snakemake", "-n", "-s", ROOT / "Snakefile",
                               "-d", tmp_path, target], capture_output=True, text=True, check=False)
        lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert done.returncode == 1 and word in lines[0], done.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "paper").glob("[ft][ia][gb]*/*.py")),
                         ids=lambda path: path.stem)
def test_a_caption_says_what_each_interval_is_over(path):
    caption = re.sub(r"\n#", " ", path.read_text(encoding="utf-8").partition("# %% tags")[0])
    told = [part for part in re.split(r"(?<=[.;:])\s+", caption)
            if "95 %" in part and "interval" in part]
    assert all(re.search(r"over\s+(test )?(the )?(images|dimensions|prototypes|them)\b", part)
               for part in told), told

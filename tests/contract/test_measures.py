"""Every file in analysis/measures/ keeps its word; the stage and the table have no silent holes."""

import importlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from analysis import collect, measure, references
from analysis.spec import COLUMNS, FOLDER, KEY, LEVELS, Known, expected, modules, specs
from patronus.config import Cell, Dataset, Study
from patronus.errors import NotApplicable, Problem
from patronus.files import load_json, save_json, save_npy, save_npz
from patronus.sources import ROOT, closure
from patronus.stage import Job

CASES = [(name, case) for name in modules() for case in importlib.import_module(name).KNOWN]


def test_every_file_in_the_folder_is_a_measure():
    files = {path.stem for path in FOLDER.glob("*.py")} - {"__init__"}
    assert {name.rsplit(".", 1)[1] for name in modules()} == files
    assert all(importlib.import_module(name).SPECS for name in modules())
    assert len(set(expected())) == len(expected())


@pytest.mark.parametrize("spec", specs().values(), ids=lambda spec: spec.name)
def test_a_measure_says_what_its_number_is(spec):
    assert all((spec.title, spec.unit, spec.source, spec.rows)) and spec.least_n >= 1
    assert spec.direction in ("higher", "lower")
    kinds = {case.kind for _, case in CASES if case.measure == spec.name}
    assert kinds == {"perfect", "null", "hostile"}


@pytest.mark.parametrize(("module", "case"), CASES, ids=lambda x: x if isinstance(x, str) else
                         f"{x.measure}-{x.kind}")
def test_known_answers(module: str, case: Known):
    spec = {spec.name: spec for spec in importlib.import_module(module).SPECS}[case.measure]
    arrays = case.arrays(np.random.default_rng(0))
    for array in arrays:
        getattr(array, "values", array).setflags(write=False)
    state = str(np.random.get_state())
    for compute in {row.compute for row in spec.rows}:
        if case.reason:
            with pytest.raises(NotApplicable, match=case.reason):
                compute(*arrays)
            continue
        found = compute(*arrays)
        assert case.low <= found.value <= case.high
        assert found.n == (len(arrays[0]) if case.n is None else case.n)
        assert case.d is None or found.d == case.d
        assert found.low is None or not found.low > found.value
        assert found.high is None or not found.high < found.value
        assert compute(*arrays) == found
    assert str(np.random.get_state()) == state, "a measure must leave the global seed alone"


def test_fid_is_said_of_inception_features_only():
    for spec in specs().values():
        named = spec.name.endswith(("fid", "kid")) or spec.title.upper().endswith(("FID", "KID"))
        assert all((row.extractor == "inception") == named for row in spec.rows)


def test_tables_and_the_workflow_need_no_torch():
    code = ("import sys, analysis.collect, analysis.spec as s; s.expected(); "
            "sys.exit('torch' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_sources_of_a_measure_are_found_by_the_source_hash():
    files = {path.relative_to(ROOT).as_posix() for path in closure(*modules())}
    assert {"analysis/measures/tad.py", "analysis/spec.py", "analysis/frechet.py"} <= files


# --- the stages on a toy set -----------------------------------------------------------------

SHAPE = (3, 16, 16)


def _cell(method: str = "good") -> Cell:
    return Cell(scale="toy", dataset="discs", method=method, seed=0, title=method, module="m",
                recipe="published", generated=True, shape=SHAPE, code_dim=4, labels="attributes",
                threads=1, gpus=0, inception=True, train={}, prior={}, sample={}, explain={},
                classifier={"width": 4, "epochs": 4, "batch_size": 32}, model={})


def _study(*methods: str) -> Study:
    dataset = Dataset(title="Discs", reader="r", folder="f", shape=SHAPE, code_dim=4,
                      labels="attributes")
    return Study(scale="toy", about="", generated=None, datasets={"discs": dataset},
                 figures=None, threads=1, gpus=0,
                 cells={("discs", method, 0): _cell(method) for method in methods})


def _job(stage: str, method: str = "good") -> Job:
    study = _study(method)
    job = Job(stage, study.cells["discs", method, 0], study.datasets["discs"], None, 1)
    job.out.mkdir(parents=True, exist_ok=True)
    return job


def _images(bright: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noise = rng.integers(0, 90, size=(len(bright), *SHAPE))
    return (noise + 120 * bright[:, None, None, None]).astype(np.uint8)


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A prepared set, its references, and one cell with everything a method can give."""
    for name in ("PATRONUS_INCEPTION", "PATRONUS_DOWNLOAD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("analysis.features.CACHE", tmp_path / "none.pt")
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    data, parts = _job("data").out, []
    for split, n in (("train", 160), ("test", 80)):
        labels = rng.integers(0, 2, size=(n, 2)).astype(float)
        save_npy(data / f"{split}.npy", _images(labels[:, 0], rng))
        save_npy(_job("codes").out / f"{split}.npy",
                 np.hstack([labels, rng.normal(size=(n, 2))]).astype(np.float32))
        labels[::7, 1] = np.nan
        parts.append(pd.DataFrame({"id": [f"{split}{i}" for i in range(n)], "split": split,
                                   "row": range(n), "bright": labels[:, 0],
                                   "hidden": labels[:, 1]}))
    pd.concat(parts).to_csv(data / "table.csv", index=False)
    save_json(data / "meta.json", {
        "dataset": "discs", "title": "Discs", "generated": True, "shape": SHAPE,
        "counts": {"train": 160, "test": 80},
        "labels": {"bright": {"kind": "binary"}, "hidden": {"kind": "binary"}}})
    truth = np.load(data / "test.npy")
    for name, images in (("unconditional", truth[::-1]), ("conditional", truth[:40]),
                         ("reconstruction", truth[:40])):
        save_npy(_job("samples").out / f"{name}.npy", images)
    save_npy(_job("samples").out / "rows.npy", np.arange(40))
    save_json(_job("samples").out / "none.json", {"own": "it has no sampler of its own"})
    save_json(_job("checkpoints").out / "record.json", {"found": {"images_seen": 640}})
    save_npz(_job("interventions").out / "interventions.npz", **_interventions())
    mse = rng.uniform(0.1, 0.2, size=(2, 20, 3)).astype(np.float32)
    mse[1] = 2 * mse[0]
    save_npz(_job("denoising").out / "denoising.npz", kinds=np.array(["code", "shuffled"]),
             mse=mse)
    save_npz(_job("explanations").out / "when.npz", tau=np.arange(6.0),
             arrived=np.tile([[1, 0.25], [1, 0.5], [1, 1]], (6, 1, 1)),
             arrived_images=np.ones((3, 2)),
             centroid=np.arange(6.0)[::-1])
    save_json(_job("costs").out / "costs.json", _costs(flops_encoding=3e9))
    return tmp_path


def _costs(**more: float) -> dict:
    """Counts, of which the same denoiser without a code has all but those given here."""
    shared = {"parameters": 5e6, "parameters_frozen": 1e6, "flops_sampling": 2e9}
    return {"reasons": {"encoding": "a plain DDPM has no code"}, "costs": {
        key: {"unit": "", "value": value, "unconditional": shared.get(key), "ratio": None}
        for key, value in (shared | more).items()}}


def _interventions() -> dict[str, np.ndarray]:
    """Ten test images that show at once, in half the image, what dimensions 2 and 3 are set to."""
    codes, rows, dims = np.load(_job("codes").out / "test.npy"), np.arange(10), np.array([3, 2])
    kinds = ["max", "thrice", "max_random", "thrice_random", "q95", "q50", "q05"]
    levels = np.quantile(codes, (1, 1, 1, 1, 0.95, 0.5, 0.05), axis=0).astype(np.float32)
    edited = np.tile(codes[rows], (len(kinds), len(dims), 1, 1))
    for d, dim in enumerate(dims):
        edited[:, d, :, dim] = levels[:, dim, None]
    grid = edited.shape[:3]
    seen = np.zeros((*grid, 2))  # both parts by dimension 3, in all and in half of the images;
    seen[:, 0, :, 0], seen[:, 0, :5, 1], seen[:, 1, 5:, 0] = 1, 1, 1  # half of one by the other
    return {"rows": rows, "dims": dims, "sigma": codes.std(0), "kinds": np.array(kinds),
            "levels": levels, "codes": edited, "codes_recon": np.stack([codes[rows]] * 2),
            "share": np.ones(grid), "area": np.full(grid, 0.5), "hit": np.ones(grid),
            "square": np.full(grid, 0.25), "negated": np.array([False, False]),
            "labels": np.zeros((10, 2)), "probabilities": seen,
            "probabilities_recon": np.zeros((2, 10, 2)), "best": np.array([3, 3]),
            "best_shuffled": np.full((4, 2), 2), "noises": np.array([0.05, 0.1, 0.2]),
            "moved": np.outer([0.05, 0.1, 0.2], np.full(10, 40.0)),
            **dict.fromkeys(("patches", "patches_elsewhere"), np.eye(2)[:, None].repeat(4, 1)),
            **{f"truth_{key}{kind}": np.full((2, 10), 0.25) for key in ("iou", "hit", "energy")
               for kind in ("", "_any")}}


def _reference() -> dict:
    job = _job("references")
    found = references.work(job)
    save_json(job.out / "record.json", {"found": found})
    return found


def _measures(method: str = "good") -> pd.DataFrame:
    job = _job("measures", method)
    save_json(job.out / "record.json", {"found": measure.work(job)})
    path = job.out / "measures.csv"
    return pd.read_csv(path, keep_default_na=False).set_index(KEY)


def test_references_learn_what_is_there_and_say_what_is_not(toy):
    found = _reference()
    folder = _job("references").out
    scores = load_json(folder / "classifier.json")["test"]
    assert scores["bright"] > 0.99 and 0.2 < scores["hidden"] < 0.8
    assert found["classifier_test_auroc"] == pytest.approx(np.mean(list(scores.values())))
    assert "PATRONUS_INCEPTION" in load_json(folder / "none.json")["inception"]
    assert np.load(folder / "features_classifier_train.npy").shape == (160, 16)
    assert not (folder / "features_inception_test.npy").exists()


def test_measures_of_a_whole_cell(toy):
    _reference()
    rows = _measures()
    assert list(rows.index) == expected()
    assert float(rows.value["latent_score", "test", ""]) > 0.999
    assert float(rows.value["captured", "train", ""]) == 2
    assert float(rows.value["mse", "inverted", ""]) == 0
    assert float(rows.value["fd_cls", "test", "classifier"]) == pytest.approx(0, abs=1e-6)
    assert rows.n["rfd_cls", "train", "classifier"] == "40"
    assert rows.value["fid", "test", "inception"] == ""
    assert "PATRONUS_DOWNLOAD" in rows.reason["fid", "test", "inception"]
    for name, value in (("fidelity", 1), ("realised", 1), ("selectivity", 1), ("locality", 2),
                        ("pointing", 1), ("change_area", 0.25)):
        assert float(rows.value[name, "inverted", ""]) == pytest.approx(value), name
    assert float(rows.value["causal_success", "thrice_random", ""]) == 0.75
    assert float(rows.value["causal_success_shuffled", "max", ""]) == 0.25
    assert float(rows.value["conditioning", "test", ""]) == pytest.approx(2)
    assert float(rows.value["emergence", "test", ""]) == pytest.approx(-1)
    assert float(rows.value["coarse_first", "test", ""]) == pytest.approx(1.25 / 3)
    for name, value in (("parameters", 6), ("flops_step", 2), ("flops_encode", 3)):
        assert float(rows.value[name, "count", ""]) == value
    assert rows.reason["stability", "test", ""] == "one seed was trained"
    assert "no data set with a planted tie" in rows.reason["shortcut", "test", ""]
    assert ((rows.value == "") == (rows.reason != "")).all()


def test_every_end_of_a_row_says_its_level_and_what_it_is_over(toy):
    _reference()
    rows = _measures()
    for low, level, over in (("low", rows.level, rows.resamples),
                             ("low_new", None, rows.resamples_new)):
        there = rows[low] != ""
        assert there.any() and ((over != "") == there).all()
        assert level is None or ((level != "") == there).all()
    assert set(rows.level[rows.level != ""]) <= set(LEVELS)
    over = rows.resamples[rows.level == "95 %"]
    assert set(over) == {"images", "dimensions"}
    folds = rows.resamples == "folds"
    assert folds.any() and (rows.level[folds] == "sd").all()  # never called an interval
    assert not (rows.resamples[rows.level == "sd"] != "folds").any()
    both = rows[rows.resamples_new != ""]
    assert (both.n == "10").all() and set(both.d) == {"2"}  # images, and dimensions or parts
    assert set(both.resamples_new) == {"dimensions and images", "parts and images"}
    assert rows.loc["fidelity", "inverted", ""].resamples == "images"


@pytest.mark.parametrize("spec", specs().values(), ids=lambda spec: spec.name)
def test_no_measure_has_ends_without_a_name_for_them(spec):
    for _, case in CASES:
        if case.measure == spec.name and not case.reason:
            arrays = case.arrays(np.random.default_rng(0))
            for found in (row.compute(*arrays) for row in spec.rows):
                assert found.low is None or (spec.level and spec.resamples)
                assert (found.low is None) == (found.high is None)
                assert found.low_new is None or spec.across
                assert not spec.across or found.d is not None
    assert bool(spec.level) == bool(spec.resamples) and ("95 %" in spec.spread) == (
        spec.level == "95 %")


class _StandIn(torch.nn.Module):
    """The official network's interface and sizes, not its weights: a mean of patches."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Conv2d(3, 2048, 13, 143),
                                          torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())

    def forward(self, x):
        return self.layers(x)


def test_inception_is_used_when_its_file_is_named(toy, monkeypatch):
    paths = [toy / "mine.pt", toy / "other.pt"]
    for seed, path in enumerate(paths):
        torch.manual_seed(seed)
        torch.jit.trace(_StandIn(), torch.zeros(1, 3, 299, 299)).save(str(path))
    monkeypatch.setenv("PATRONUS_INCEPTION", str(paths[0]))
    _reference()
    arrays = measure.Arrays(_job("measures"))
    np.testing.assert_allclose(arrays["features.inception.unconditional"][::-1],
                               arrays["features.inception.test"], atol=1e-5)
    monkeypatch.setenv("PATRONUS_INCEPTION", str(paths[1]))
    with pytest.raises(Problem, match="other.pt: is not the file that made"):
        measure.Arrays(_job("measures"))["features.inception.conditional"]
    monkeypatch.delenv("PATRONUS_INCEPTION")
    for stale in _job("references").out.glob("features_inception_*"):  # as stage.run does
        stale.unlink()
    _reference()
    with pytest.raises(NotApplicable, match="PATRONUS_INCEPTION"):
        measure.Arrays(_job("measures"))["features.inception.test"]


def test_a_method_without_a_code_gets_rows_with_its_reason(toy):
    _reference()
    save_json(_job("codes", "plain").out / "none.json", {"reason": "DDPM has no code"})
    save_npy(_job("samples", "plain").out / "unconditional.npy",
             np.load(_job("data").out / "test.npy")[:8])
    save_json(_job("samples", "plain").out / "none.json",
              {key: "DDPM has no code" for key in ("conditional", "reconstruction", "own")})
    save_json(_job("interventions", "plain").out / "none.json", {"reason": "DDPM has no code"})
    save_json(_job("explanations", "plain").out / "none.json", {"reason": "no boxes"})
    save_npz(_job("denoising", "plain").out / "denoising.npz", kinds=np.array(["none"]),
             mse=np.ones((1, 20, 3)))
    save_json(_job("costs", "plain").out / "costs.json", _costs())
    rows = _measures("plain")
    assert list(rows.index) == expected()
    for name in ("latent_score", "tad", "captured"):
        assert rows.reason[name, "test", ""] == "DDPM has no code"
    assert rows.reason["psnr", "random", ""] == "DDPM has no code"
    assert rows.reason["fidelity", "inverted", ""] == "DDPM has no code"
    assert rows.reason["conditioning", "test", ""] == "the method has no code"
    assert "n = 8 is below" in rows.reason["fd_cls", "test", "classifier"]
    assert rows.reason["emergence", "test", ""] == "no boxes"
    assert rows.reason["flops_encode", "count", ""] == "a plain DDPM has no code"
    assert rows.reason["stability", "test", ""] == "DDPM has no code"


def _compared(seeds: int = 3, tied: bool = True) -> Job:
    """The good cell among trainings by other seeds and beside one of tied images."""
    job = _job("measures")
    others = tuple(job.cell.model_copy(update={"seed": seed}) for seed in range(1, seeds))
    biased = job.cell.model_copy(update={"dataset": "tied", "reference": "discs",
                                         "shortcut": [("bright", "hidden")]})
    return replace(job, siblings=others, tied=biased if tied else None)


def test_the_measures_of_a_cell_see_other_seeds_and_the_planted_tie(toy):
    _reference()
    job, codes = _compared(), np.load(_job("codes").out / "test.npy")
    for cell in job.siblings:
        save_npy(cell.folder("codes") / "test.npy", np.roll(-codes, cell.seed, axis=1))
    score = np.array([[0.0, 0.5], [0.25, 0.0]])
    save_npz(job.tied.folder("shortcut") / "shortcut.npz", score=score, rows=np.arange(30),
             tied=np.array([0.5, 0.25, 0.75]), pairs=np.array([[0, 1]]),
             outputs=np.array(["bright", "hidden"]))
    measure.work(job)
    rows = pd.read_csv(job.out / "measures.csv").set_index("measure")
    assert rows.value["stability"] == pytest.approx(1) == rows.value["cka"]
    found = rows.loc["shortcut"]
    assert (found.value, found.low, found.high, found.n) == (0.5, 0.25, 0.75, 30)
    assert "beside the tied ones" in rows.reason["shortcut_detection"]
    assert measure.beside(job) == [Path(f"results/toy/{folder}/good/seed{seed}") for folder, seed in
                                   (("codes/discs", 1), ("codes/discs", 2), ("shortcut/tied", 0))]


def test_codes_of_other_images_by_another_seed_are_named(toy):
    job = _compared(2, tied=False)
    folder = job.siblings[0].folder("codes")
    with pytest.raises(Problem, match=f"{folder}/test.npy: is missing"):
        measure.Arrays(job)["codes.other_seeds"]
    save_npy(folder / "test.npy", np.ones((79, 4), np.float32))
    with pytest.raises(Problem, match=f"{folder}/test.npy: is .79, 4., and .* .80, 4.; rerun"):
        measure.Arrays(job)["codes.other_seeds"]


@pytest.mark.parametrize(("file", "content"), [
    ("codes/discs/good/seed0/test.npy", np.full((80, 4), np.nan, np.float32)),
    ("samples/discs/good/seed0/conditional.npy", np.zeros((40, 1, 16, 16), np.uint8)),
    ("samples/discs/good/seed0/reconstruction.npy", None),
    ("interventions/discs/good/seed0/interventions.npz", None),
    ("explanations/discs/good/seed0/when.npz", None), ("costs/discs/good/seed0/costs.json", None)])
def test_a_spoilt_or_missing_input_is_named(toy, file, content):
    _reference()
    path = Path("results/toy", file)
    path.unlink()
    if content is not None:
        save_npy(path, content)
    with pytest.raises(Problem, match=str(path)):
        measure.work(_job("measures"))
    assert not (_job("measures").out / "measures.csv").exists()


def test_an_array_that_an_older_stage_did_not_write_is_named(toy):
    held = _interventions()
    del held["levels"]
    save_npz(_job("interventions").out / "interventions.npz", **held)
    with pytest.raises(Problem, match="interventions.npz: has no array 'levels'; rerun"):
        measure.Arrays(_job("measures"))["interventions.levels"]


def test_only_generated_sets_know_the_parts_of_an_image(toy):
    with pytest.raises(NotApplicable, match="only generated sets"):
        measure.Arrays(_job("measures"))["parts.test"]
    folder, masks = _job("data").out, np.ones((80, 16, 16), np.uint32)
    save_npy(folder / "parts.npy", masks)
    save_json(folder / "parts.json", {"parts": ["bright"], "negated": []})
    arrays = measure.Arrays(_job("measures"))
    np.testing.assert_array_equal(arrays["parts.test"], masks)
    assert arrays["parts.names"].tolist() == ["bright"]


def test_the_table_holds_every_cell_and_names_what_is_missing(toy):
    _reference()
    rows = _measures()
    table = collect.table(_study("good"))
    assert list(table.columns) == collect.CELL_COLUMNS + COLUMNS
    assert len(table) == len(expected())
    written = pd.to_numeric(rows.value)
    assert ((table.value.to_numpy() == written) | (table.value.isna().to_numpy()
                                                   & written.isna())).all()
    assert set(table.images_seen) == {640} and set(table.title) == {"Discs"}
    with pytest.raises(Problem, match="discs/other/seed0") as problem:
        collect.table(_study("good", "other"))
    assert "\n" not in str(problem.value)


def test_a_partial_table_leaves_out_and_names_what_is_not_measured(toy, capsys):
    with pytest.raises(Problem, match="no cell is measured yet"):
        collect.measured(_study("good", "other"))
    _reference()
    _measures()
    partial = collect.measured(_study("good", "other"))
    assert "left out: discs/other/seed0" in capsys.readouterr().out
    assert set(collect.table(partial).method) == {"good"}
    assert collect.measured(partial).cells == partial.cells
    assert capsys.readouterr().out == ""


def test_a_missing_measure_fails_the_table(toy):
    _reference()
    _measures()
    path = _job("measures").out / "measures.csv"
    rows = pd.read_csv(path)
    rows[rows.measure != "tad"].to_csv(path, index=False)
    with pytest.raises(Problem, match=r"discs/good/seed0 lacks tad/test, tad/train$"):
        collect.table(_study("good"))

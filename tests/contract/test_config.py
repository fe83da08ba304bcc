"""config/ is right as it stands, and what is wrong in it is told all at once."""

import re
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from patronus import config, stage
from patronus.config import Cell, check_references, load_study
from patronus.errors import Problem
from patronus.sources import ROOT

SCALES = config.names("scales")
STAGES = {"raw": "patronus.generate", "data": "patronus.prepare",
          "references": "analysis.references", "checkpoints": "patronus.train",
          "codes": "patronus.encode", "priors": "patronus.prior", "samples": "patronus.sample",
          "explanations": "patronus.explain.__main__",
          "interventions": "analysis.interventions", "denoising": "analysis.denoising",
          "costs": "analysis.costs", "measures": "analysis.measure",
          "steps": "analysis.steps", "spread": "analysis.spread",
          "validation": "analysis.validation"}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A copy of config/ that may be spoilt."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    monkeypatch.setenv("PATRONUS_CONFIG", str(tmp_path / "config"))
    return tmp_path / "config"


def edit(path: Path, changes: dict) -> None:
    """Merge `changes` into a YAML file, sections deeply."""
    def merge(old: dict, new: dict) -> dict:
        return old | {key: merge(old.get(key) or {}, value) if isinstance(value, dict) else value
                      for key, value in new.items()}

    old = yaml.safe_load(path.read_text()) if path.is_file() else {}
    path.write_text(yaml.safe_dump(merge(old, changes), sort_keys=False))


def cell(scale: str = "tiny", dataset: str = "celeba", method: str = "patronus") -> Cell:
    return load_study(scale, datasets=[dataset], methods=[method], seeds=[0]).cell(
        dataset, method, 0)


def complaints(scale: str = "tiny", **only: object) -> list[str]:
    with pytest.raises(Problem) as error:
        load_study(scale, **only)
    return str(error.value).splitlines()


def told(lines: list[str], *words: str) -> bool:
    return any(all(word in line for word in words) for line in lines)


# what stands in the repository


@pytest.mark.parametrize("scale", SCALES)
def test_every_scale_loads_with_every_set_and_method(scale: str):
    methods = config.method_names()
    sets = [name for name in config.names("datasets") if encoder_fits(scale, name)]
    study = load_study(scale, datasets=sets, methods=methods)
    spec = yaml.safe_load((ROOT / "config" / "scales" / f"{scale}.yaml").read_text())
    also = {(d, m, seed) for d, part in spec.get("by_dataset", {}).items()
            for m, seeds in part.get("also", {}).items() for seed in seeds}
    assert set(study.cells) == set(product(sets, methods, spec.get("seeds", [0]))) | also
    assert load_study(scale).cells
    assert "celeba" in sets


def encoder_fits(scale: str, dataset: str) -> bool:
    """Whether a scale's encoders suit a set's; nothing else may be wrong with the pair."""
    try:
        load_study(scale, datasets=[dataset], methods=config.method_names())
    except Problem as error:
        return bool(re.sub(r".*(encoder's layers|encoder_kernels).*", "", str(error)).strip())
    return True


def test_every_method_file_and_every_baseline_is_a_method():
    files = {path.stem for path in (ROOT / "baselines").glob("[a-z]*.py")}
    assert files | {"patronus", "patronus_modern"} <= set(config.method_names())
    assert len(config.method_names()) == len(set(config.method_names()))


PAPER = {"fashion_mnist": ((1, 32, 32), 30, 128, 100), "cifar10": ((3, 32, 32), 100, 128, 300),
         "ffhq": ((3, 64, 64), 100, 64, 300), "celeba": ((3, 64, 64), 100, 64, 300),
         "chexpert": ((1, 224, 224), 100, 16, 300)}


@pytest.mark.parametrize("dataset", PAPER)
@pytest.mark.parametrize("method", ["patronus", "ddpm", "untrained"])
def test_the_paper_scale_is_as_published(dataset: str, method: str):
    """The table of patronus.md section 2."""
    found = cell("paper", dataset, method)
    assert (found.shape, found.code_dim, found.train.batch_size, found.train.epochs) \
        == PAPER[dataset]
    train = found.train
    assert (train.lr, train.schedule, train.warmup_steps, train.clip, train.ema, train.weight_decay,
            train.code_lr_scale) == (1e-5, "constant", 0, None, None, 0.01, 1)
    assert train.precision == "16-mixed"
    assert (found.model["base"], found.model["multipliers"], found.model["dropout"],
            found.model["prediction"]) == (64, (1, 2, 4, 4), 0.1, "eps")
    assert not found.generated


def test_the_published_patronus_has_no_modern_option():
    model = cell("paper").model
    assert (model["prototype_init"], model["normalise_code"], model["freeze_code"],
            model["distinct_weight"]) == ("uniform", False, False, 0)


def test_the_paper_scale_has_the_five_sets_and_three_seeds():
    study = load_study("paper")
    assert {cell.dataset for cell in study.benchmark.values()} == set(PAPER)
    assert study.datasets.keys() - PAPER.keys() == {"celeba_hair", "chexpert_devices"}
    assert study.seeds == [0, 1, 2]
    assert study.generated is None


def test_the_modern_recipe_differs_where_it_should_and_nowhere_else():
    old, new = cell("paper"), cell("paper", method="patronus_modern")
    differ = {key for key in old.model if old.model[key] != new.model[key]}
    assert differ == {"prediction", "prototype_init", "normalise_code"}
    assert (new.model["prediction"], new.model["prototype_init"]) == ("v", "patches")
    was, now = old.train.model_dump(), new.train.model_dump()
    assert {key for key in was if was[key] != now[key]} == {
        "lr", "code_lr_scale", "warmup_steps", "schedule", "clip", "ema", "precision"}
    assert now["ema"] and now["lr"] > was["lr"]
    assert new.shape == old.shape and new.module == old.module


def test_no_torch_is_loaded_to_check_a_study():
    code = ("import sys; from patronus import config, stage; s = config.load_study('paper'); "
            "stage.fingerprint('checkpoints', 'patronus.train', s, 'celeba', 'patronus', 0); "
            "sys.exit('torch' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_what_is_loaded_cannot_be_changed():
    found = cell()
    with pytest.raises(ValidationError):
        found.train.lr = 1.0


# errors


def test_all_errors_of_all_files_are_told_at_once(folder):
    edit(folder / "scales" / "tiny.yaml", {"every": {"sample": {"steps": -5}},
                                           "by_dataset": {"celebb": {"code_dim": 3}},
                                           "by_method": {"patronos": {"train": {"lr": 1}}}})
    edit(folder / "datasets" / "celeba.yaml", {"train": {"warmup_steps": "ten"}})
    edit(folder / "methods" / "ddpm.yaml", {"options": {"bass": 3}})
    edit(folder / "recipes" / "published.yaml", {"train": {"momentum": 0.9}})
    edit(folder / "datasets" / "ffhq.yaml", {"colour": "blue"})
    lines = complaints(datasets=["celeba", "ffhq", "mnist"], methods=["patronus", "ddpm", "vaee"])
    assert told(lines, "scales/tiny.yaml", "sample.steps", "greater than 0", "-5")
    assert told(lines, "scales/tiny.yaml", "by_dataset.celebb", "unknown", "celeba")
    assert told(lines, "scales/tiny.yaml", "by_method.patronos", "unknown", "patronus")
    assert told(lines, "datasets/celeba.yaml", "train.warmup_steps", "integer", "'ten'")
    assert told(lines, "methods/ddpm.yaml", "model.bass", "unknown key")
    assert told(lines, "recipes/published.yaml", "train.momentum", "unknown key")
    assert told(lines, "datasets/ffhq.yaml", "colour", "unknown key", "'blue'")
    assert told(lines, "datasets/mnist.yaml", "does not exist", "fashion_mnist")
    assert told(lines, "methods/vaee.yaml", "does not exist", "patronus_modern")
    assert len(lines) == len(set(lines)) == 9


@pytest.mark.parametrize("file", ["scales/tiny.yaml", "datasets/celeba.yaml", "methods/ddpm.yaml",
                                  "recipes/published.yaml"])
@pytest.mark.parametrize("text", ["a: [1, 2\nb: }", "- a\n- b\n", "train: {lr: 1}\n  x: y"])
def test_a_file_that_is_no_yaml_mapping_is_named_on_one_line(folder, file: str, text: str):
    (folder / file).write_text(text)
    lines = complaints()
    assert len(lines) == 1
    assert told(lines, Path(file).name)


def test_bad_yaml_does_not_hide_other_errors(folder):
    (folder / "datasets" / "celeba.yaml").write_text("a: [1, 2\nb: }")
    edit(folder / "datasets" / "fashion_mnist.yaml", {"colour": "blue"})
    lines = complaints()
    assert told(lines, "celeba.yaml", "YAML", "line 2")
    assert told(lines, "fashion_mnist.yaml", "colour")


def test_an_unknown_recipe_is_told_with_the_other_errors(folder):
    edit(folder / "methods" / "ddpm.yaml", {"recipe": "secret"})
    edit(folder / "methods" / "patronus.yaml", {"colour": "blue"})
    lines = complaints()
    assert told(lines, "recipes/secret.yaml", "published") and told(lines, "patronus.yaml: colour")


def test_an_unknown_key_of_a_recipe_is_named(folder):
    edit(folder / "recipes" / "published.yaml", {"trian": {"lr": 1}})
    assert told(complaints(), "recipes/published.yaml", "trian", "unknown key")


@pytest.mark.parametrize("file", ["scales/tiny.yaml", "datasets/celeba.yaml",
                                  "recipes/published.yaml"])
def test_settings_of_a_module_that_does_not_exist_are_no_silent_hole(folder, file: str):
    changes = {"model": {"patronus.modle": {"base": 8}}}
    edit(folder / file, {"every": changes} if file.startswith("scales") else changes)
    assert told(complaints(), file, "patronus.modle")


def test_an_unknown_scale_names_the_known_ones():
    assert told(complaints("big"), "scales/big.yaml", "does not exist", "smoke")


def test_a_method_whose_module_is_missing_is_told(folder):
    edit(folder / "methods" / "new.yaml", {"title": "New", "module": "baselines.nowhere"})
    assert told(complaints(methods=["new"]), "baselines.nowhere", "no such module")


@pytest.mark.parametrize(("key", "value"), [("epochs", 0), ("ema", 1.5), ("schedule", "linear"),
                                            ("lr", "fast"), ("precision", 16)])
def test_a_training_setting_out_of_range_is_told(folder, key: str, value: object):
    edit(folder / "scales" / "tiny.yaml", {"every": {"train": {key: value}}})
    assert told(complaints(), "scales/tiny.yaml", f"train.{key}", repr(value))


@pytest.mark.parametrize(("key", "value"), [("prediction", "x0"), ("normalise_code", "perhaps"),
                                            ("encoder_channels", [8, "many"]), ("base", 1.5)])
def test_a_model_option_of_the_wrong_type_is_told(folder, key: str, value: object):
    edit(folder / "scales" / "tiny.yaml", {"every": {"model": {"patronus.model": {key: value}}}})
    assert told(complaints(), "scales/tiny.yaml", f"model.{key}")


@pytest.mark.parametrize("shape", [[2, 32, 32], [3, 4, 32], [3, 32], "big"])
def test_an_impossible_shape_is_told(folder, shape):
    edit(folder / "datasets" / "celeba.yaml", {"shape": shape})
    assert told(complaints(), "datasets/celeba.yaml", "shape")


def test_a_cell_outside_the_study_is_a_problem():
    with pytest.raises(Problem, match="celeba/vaee/seed0: is not in scale 'tiny'"):
        load_study("tiny").cell("celeba", "vaee", 0)


# merging


def test_later_files_win(folder):
    """Recipe, data set, method, then the scale: for all, for the set, for the method."""
    ladder = [("recipes/published.yaml", ()), ("datasets/celeba.yaml", ()),
              ("methods/patronus.yaml", ()), ("scales/tiny.yaml", ("every",)),
              ("scales/tiny.yaml", ("by_dataset", "celeba")),
              ("scales/tiny.yaml", ("by_method", "patronus"))]
    for rank, (file, place) in enumerate(ladder, 1):
        changes: dict = {"train": {"warmup_steps": rank}}
        for key in reversed(place):
            changes = {key: changes}
        edit(folder / file, changes)
        assert cell().train.warmup_steps == rank
    assert cell(dataset="fashion_mnist", method="ddpm").train.warmup_steps == 4


def test_model_options_merge_key_by_key(folder):
    edit(folder / "datasets" / "celeba.yaml", {"model": {"patronus.model": {
        "base": 24, "dropout": 0.3, "distinct_delta": 0.9}}})
    edit(folder / "methods" / "patronus.yaml", {"options": {"dropout": 0.4}})
    found = cell().model
    assert found["distinct_delta"] == 0.9
    assert found["dropout"] == 0.4
    assert found["base"] == 8  # of the scale
    assert cell(dataset="fashion_mnist").model["distinct_delta"] == 0.5
    assert cell(method="ddpm").model["dropout"] == 0.1


def test_a_scale_changes_shape_and_code_of_cells_and_set_alike(folder):
    edit(folder / "scales" / "tiny.yaml", {"by_dataset": {"celeba": {"code_dim": 5}}})
    study = load_study("tiny")
    found = study.cell("celeba", "patronus", 0)
    assert (found.shape, found.code_dim) == ((3, 32, 32), 5)
    assert (study.datasets["celeba"].shape, study.datasets["celeba"].code_dim) == ((3, 32, 32), 5)
    assert study.cell("fashion_mnist", "patronus", 0).code_dim == 8


def test_a_method_with_its_own_number_of_prototypes_keeps_it_unless_the_scale_says_so(folder):
    assert cell(method="prototypes_16").code_dim == 16
    assert cell(method="patronus").code_dim == 8  # of the scale
    edit(folder / "scales" / "tiny.yaml", {"by_method": {"prototypes_16": {"code_dim": 5}}})
    assert cell(method="prototypes_16").code_dim == 5


def test_lists_on_a_command_line_restrict_the_grid():
    study = load_study("tiny", datasets="celeba, fashion_mnist", methods="ddpm", seeds=[3, 4])
    assert set(study.cells) == set(product(["celeba", "fashion_mnist"], ["ddpm"], [3, 4]))


def test_a_scale_names_cells_beside_its_grid_which_a_command_line_restricts_too(folder):
    edit(folder / "scales" / "tiny.yaml", {"methods": ["ddpm", "patronus"], "by_dataset": {
        "celeba": {"also": {"patronus": [0, 2], "distinct_05": [1]}}}})
    more = {("celeba", "patronus", 2), ("celeba", "distinct_05", 1)}
    sets = ["celeba", "ffhq"]
    study = load_study("tiny", datasets=sets)
    assert set(study.cells) == set(product(sets, ["ddpm", "patronus"], [0])) | more
    assert study.cell("celeba", "patronus", 2).code_dim == 8  # settings as in the grid
    assert [c.seed for c in study.siblings(study.cell("celeba", "patronus", 0))] == [2]
    assert study.siblings(study.cell("ffhq", "patronus", 0)) == []
    assert not more & set(load_study("tiny", datasets=["ffhq"]).cells)
    assert set(load_study("tiny", datasets=["celeba"], seeds="0,2").cells) - more == \
        set(product(["celeba"], ["ddpm", "patronus"], [0, 2])) - more
    assert set(load_study("tiny", datasets=["celeba"], methods=["distinct_05"]).cells) == {
        ("celeba", "distinct_05", 0), ("celeba", "distinct_05", 1)}


def test_cells_beside_the_grid_are_checked_like_all_names(folder):
    edit(folder / "scales" / "tiny.yaml", {"every": {"also": {"ddpm": [1]}}, "by_dataset": {
        "celeba": {"also": {"patronos": [0]}}}})
    lines = complaints(datasets=["celeba"], methods=["ddpm"])
    assert told(lines, "scales/tiny.yaml", "celeba.also.patronos", "unknown", "patronus")
    assert told(lines, "scales/tiny.yaml", "every.also", "by_dataset")


def test_a_set_outside_the_study_comes_only_when_named():
    assert "faces64" not in load_study("smoke").datasets
    assert list(load_study("smoke", datasets=["faces64"]).datasets) == ["faces64"]


def test_a_set_of_the_diagnosis_meets_its_own_methods_and_enters_no_table():
    study = load_study("smoke")
    hair = {key: cell for key, cell in study.cells.items() if key[0] == "celeba_hair"}
    assert {method for _, method, _ in hair} == {"patronus", "patronus_modern"}
    assert not hair.keys() & study.benchmark.keys()
    assert {cell.reference for cell in hair.values()} == {"celeba"}
    named = load_study("smoke", datasets=["celeba", "celeba_hair"], methods=["ddpm"])
    assert ("celeba_hair", "ddpm", 0) in named.cells  # what is named is made


def test_a_diagnosis_without_its_reference_is_one_line():
    with pytest.raises(Problem, match="celeba_hair: its answers come .* celeba; name that"):
        check_references(load_study("smoke", datasets=["celeba_hair"]))
    check_references(load_study("smoke"))


def test_all_methods_are_those_of_a_scale_without_a_list():
    every = load_study("smoke", methods="all")
    assert every.methods == load_study("paper").methods
    assert set(load_study("smoke").methods) < set(every.methods)
    assert ("celeba_hair", "ddpm", 0) not in every.cells


def test_a_method_that_stands_on_another_needs_it(folder):
    edit(folder / "methods" / "ddpm_modern.yaml", {"base": "ddpm"})
    study = load_study("smoke", methods=["ddpm", "ddpm_modern"])
    assert study.cell("celeba", "ddpm_modern", 0).base == "ddpm"
    check_references(study)
    with pytest.raises(Problem, match="ddpm_modern: stands on a trained ddpm; name that"):
        check_references(load_study("smoke", methods=["ddpm_modern"]))
    edit(folder / "methods" / "ddpm_modern.yaml", {"base": "ddpn"})
    assert told(complaints(methods=["ddpm_modern"]), "methods/ddpm_modern.yaml", "base", "unknown",
                "ddpm")


def test_a_method_outside_the_study_comes_only_when_named():
    assert "ddpm_modern" not in load_study("smoke").methods
    assert load_study("smoke", methods=["ddpm_modern"]).methods == ["ddpm_modern"]
    assert "untrained_modern" in load_study("showcase").methods


@pytest.mark.parametrize(("change", "key"), [
    ({"shortcut": {"reference": "celebb", "pairs": []}}, "shortcut.reference"),
    ({"methods": ["patronos"]}, "methods")])
def test_an_unknown_name_in_a_data_set_is_told(folder, change, key):
    edit(folder / "datasets" / "celeba.yaml", change)
    assert told(complaints(), "datasets/celeba.yaml", key, "unknown", "patronus" if key == "methods"
                else "celeba")


# what a changed setting touches


def fingerprints() -> dict[tuple, str]:
    study = load_study("tiny")
    return {(name, *key[:2]): stage.fingerprint(name, module, study, *key)
            for name, module in STAGES.items() for key in study.cells}


TOUCHED = [  # (file, change, stages, data sets, methods)
    ("scales/tiny.yaml", {"every": {"train": {"lr": 0.5}}}, {"checkpoints", "costs"}, None, None),
    ("scales/tiny.yaml", {"every": {"prior": {"epochs": 3}}}, {"priors"}, None, None),
    ("scales/tiny.yaml", {"every": {"sample": {"steps": 4}}}, {"samples"}, None, None),
    ("scales/tiny.yaml", {"every": {"explain": {"steps": 4}}}, {"explanations"}, None, None),
    ("scales/tiny.yaml", {"every": {"intervene": {"steps": 4}}},
     {"interventions", "steps", "validation"}, None, None),
    ("scales/tiny.yaml", {"every": {"denoising": {"times": 4}}}, {"denoising"}, None, None),
    ("scales/tiny.yaml", {"every": {"classifier": {"width": 9}}}, {"references"}, None, None),
    ("scales/tiny.yaml", {"inception": True}, {"references", "measures", "spread"}, None, None),
    ("scales/tiny.yaml", {"generated": {"train": 65}}, {"raw"}, None, None),
    ("scales/tiny.yaml", {"threads": 2}, {"costs"}, None, None),
    ("scales/tiny.yaml", {"about": "other"}, set(), None, None),
    ("scales/tiny.yaml", {"by_method": {"ddpm": {"train": {"lr": 0.5}}}}, {"checkpoints", "costs"},
     None, {"ddpm"}),
    ("methods/patronus.yaml", {"options": {"distinct_weight": 0.5}}, {"checkpoints", "costs"},
     None,
     {"patronus"}),
    ("datasets/celeba.yaml", {"train": {"warmup_steps": 7}}, {"checkpoints", "costs"}, {"celeba"},
     None),
    ("datasets/celeba.yaml", {"options": {"x": 1}}, {"data"}, {"celeba"}, None),
    ("datasets/celeba.yaml", {"world": "garments"}, {"raw"}, {"celeba"}, None),
    ("datasets/celeba.yaml", {"plant": ["Male", "Smiling", 1.0]}, {"raw"}, {"celeba"}, None),
    ("datasets/celeba.yaml", {"keep": {"any_of": [{"Male": 1}]}}, {"data"}, {"celeba"}, None),
    ("scales/tiny.yaml", {"by_dataset": {"celeba": {"code_dim": 9}}}, {"checkpoints", "costs"},
     {"celeba"}, None),
    ("scales/tiny.yaml", {"by_dataset": {"celeba": {"shape": [3, 40, 40]}}}, set(STAGES),
     {"celeba"}, None),
]


@pytest.mark.parametrize(("file", "change", "stages", "sets", "methods"), TOUCHED,
                         ids=lambda x: str(x) if isinstance(x, dict) else "")
def test_a_changed_setting_touches_exactly_its_stages(folder, file, change, stages, sets, methods):
    before = fingerprints()
    edit(folder / file, change)
    after = fingerprints()
    assert before.keys() == after.keys()
    found = {key for key in before if before[key] != after[key]}
    assert found == {(s, d, m) for s, d, m in before if s in stages
                     and (sets is None or d in sets) and (methods is None or m in methods)}


def test_a_fingerprint_tells_methods_and_seeds_apart_where_it_must():
    study = load_study("tiny", seeds=[0, 1])
    prints = [stage.fingerprint("checkpoints", "patronus.train", study, "celeba", m, seed)
              for m in ("patronus", "ddpm") for seed in ("0", 1)]
    assert len(set(prints)) == 4
    shared = [stage.fingerprint("data", "patronus.prepare", study, d) for d in study.datasets]
    assert len(set(shared)) == len(study.datasets)


# traps: what would be misread, or would fail only in training


BOMB = "a0: &a0 [1, 1]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n"
                                    for i in range(1, 12))


def add(folder: Path, text: str) -> None:
    path = folder / "scales" / "tiny.yaml"
    path.write_text(path.read_text() + text)


@pytest.mark.parametrize(("text", "word"), [("\nthreads: 1\nthreads: 1\n", "threads"),
                                            (BOMB, "unfold")])
def test_a_key_that_stands_twice_and_an_alias_bomb_are_named_with_the_line(folder, text, word):
    add(folder, text)
    assert told(complaints(), "scales/tiny.yaml", "line", word)


def test_a_key_may_stand_beside_the_one_that_is_merged_under_it(folder):
    path = folder / "more.yaml"
    path.write_text("a: &a {x: 1, y: 1}\nb: &b {<<: *a, x: 2}\nc: {<<: *b, y: 3}\n")
    assert config._yaml(path)["c"] == {"x": 2, "y": 3}


@pytest.mark.parametrize(("section", "key"), [("sample", "steps"), ("train", "epochs"),
                                              ("train", "batch_size"), ("denoising", "images")])
def test_yes_is_no_number(folder, section, key):
    edit(folder / "scales" / "tiny.yaml", {"every": {section: {key: True}}})
    assert told(complaints(), f"{section}.{key}", "truth")


@pytest.mark.parametrize("change", [
    {"base": 7}, {"base": 0}, {"base": -8}, {"dropout": 5.0}, {"multipliers": []},
    {"multipliers": [0, 1]}, {"encoder_kernels": [99, 99, 99, 99]},
    {"encoder_strides": [0, 1, 1, 1]}, {"encoder_kernels": [3, 3]}, {"encoder_paddings": []},
    {"base": True}])
def test_a_model_that_could_not_be_built_is_refused_before_anything_runs(folder, change):
    edit(folder / "scales" / "tiny.yaml", {"every": {"model": {"patronus.model": change}}})
    (key,) = change
    lines = complaints("tiny", datasets=["celeba"], methods=["patronus"])
    assert told(lines, "scales/tiny.yaml", key.removesuffix("s"))


@pytest.mark.parametrize("method", sorted(set(config.method_names())))
def test_options_that_methods_share_have_one_range(folder, method):
    """Whatever module a method is of: a width that no group divides is told, if it has one."""
    module = config._load_method(method, []).module
    for key, bad in (("base", 12), ("dropout", 1.0), ("multipliers", [])):
        if key in config.options(module).model_fields:
            edit(folder / "scales" / "tiny.yaml", {"every": {"model": {module: {key: bad}}}})
            assert told(complaints("tiny", datasets=["celeba"], methods=[method]), f"model.{key}")


def test_what_is_named_twice_is_told(folder):
    edit(folder / "scales" / "tiny.yaml", {"figures": ["fig3", "fig3"]})
    assert told(complaints(), "figures", "more than once", "fig3")


def test_every_setting_of_a_cell_is_shown_with_the_file_that_set_it():
    rows = {key: (value, source) for key, value, source
            in config.explained("smoke", "celeba", "vae")}
    cell = load_study("smoke", datasets=["celeba"], methods=["vae"]).cell("celeba", "vae", 0)
    flat = cell.model_dump(mode="json")
    for key, (value, _) in rows.items():
        section, _, name = key.partition(".")
        assert value == (flat[section][name] if name else flat[section])
    assert set(rows) >= {f"train.{key}" for key in flat["train"]}
    assert rows["train.lr"] == (0.001, "scales/smoke.yaml")
    assert rows["train.clip"][1] == "methods/vae.yaml"
    assert rows["train.betas"][1] == "default"
    assert rows["code_dim"] == (32, "scales/smoke.yaml")

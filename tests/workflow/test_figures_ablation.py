"""Figures of ablations, attributes and stability over seeds, from made-up inputs; their scales."""

import json
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from analysis.stability import of_seeds
from paper import ablation, catalogue, given
from patronus.config import load_study, stage_folder
from patronus.files import save_json, save_npz

SCALES = ("ablation", "ablation_paper")
VARIANTS = {"distinct_02": (0.5, 0.2), "distinct_05": (0.5, 0.5), "distinct_10": (0.5, 1.0)}
SEEDS = (0, 1)
STUDY = load_study("ablation")


def value(method: str, seed: int, key: str) -> float:
    return STUDY.methods.index(method) + 0.1 * seed + ("tad", "fd_cls").index(key)


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A working folder with what the ablation scale's stages would leave."""
    monkeypatch.chdir(tmp_path)
    rows = []
    for (dataset, method, seed), cell in STUDY.cells.items():
        save_json(cell.folder("checkpoints") / "config.json", {
            "code_dim": cell.code_dim, "model": cell.model,
            "about": {"method": method, "title": cell.title, "dataset": dataset}})
        rows += [{"dataset": dataset, "title": "CelebA", "generated": True, "method": method,
                  "method_title": cell.title, "track": "", "seed": seed, "images_seen": 12_000,
                  "measure": key, "variant": "test", "value": value(method, seed, key), "n": n,
                  "unit": "points"} for key, n in (("tad", 1000), ("fd_cls", 256))]
    table = Path("results/ablation/measures/table.csv")
    table.parent.mkdir(parents=True)
    pd.DataFrame(rows).to_csv(table, index=False)
    return tmp_path


def draw(name: str, study=STUDY) -> dict:
    """Run a script as the runner does, in this process; its variables."""
    out = Path("out", name)
    out.mkdir(parents=True, exist_ok=True)
    found = {}
    with mpl.rc_context(), pytest.MonkeyPatch.context() as patch:
        patch.setenv(given.GIVEN, json.dumps(given.of(name, study, out)._asdict()))
        mpl.use("agg")
        exec(compile(catalogue.script(name).read_text(), name, "exec"), found)
    assert {file.name for file in out.iterdir()} == {f"{name}.pdf", f"{name}.png"}
    return found


def words(found: dict) -> str:
    texts = [text.get_text() for text in found["fig"].findobj(Text)]
    return " ".join(" ".join(texts).split())


def labels(ax) -> list[str]:
    return [tick.get_text() for tick in ax.get_xticklabels()]


def marks(ax) -> list[tuple[float, float]]:
    return [(x, y) for line in ax.lines if line.get_marker() == "o"
            for x, y in zip(*line.get_data(), strict=True)]


# the scales and the methods


@pytest.mark.parametrize("scale", SCALES)
def test_a_variant_differs_from_the_modern_recipe_in_what_its_name_says(scale):
    study = load_study(scale)
    base = study.cell("celeba", "patronus_modern", 0)
    assert base.model["distinct_weight"] == 0
    for method in study.methods:
        cell = study.cell("celeba", method, 0)
        changed = {key for key in base.model if cell.model.get(key) != base.model[key]}
        kind, _, size = method.rpartition("_")
        if kind == "distinct":
            assert (cell.model["distinct_weight"], cell.model["distinct_delta"]) == VARIANTS[method]
            assert changed <= {"distinct_weight", "distinct_delta"}
        if kind == "width":
            *first, last = cell.model["encoder_channels"]
            assert (changed, last) == ({"encoder_channels"}, int(size))
            assert first == list(base.model["encoder_channels"][:-1])
        if kind == "prototypes":
            assert (changed, cell.code_dim) == (set(), int(size))
        else:
            assert cell.code_dim == base.code_dim
        assert cell.train == base.train and cell.recipe == "modern"


def test_the_scales_name_the_same_methods_and_no_other_scale_runs_the_variants():
    first, second = map(load_study, SCALES)
    assert first.methods == second.methods
    assert list(first.datasets) == list(second.datasets) == ["celeba"]
    assert first.seeds == second.seeds == list(SEEDS)
    assert second.generated is None
    variants = {method for method in first.methods if method[-1].isdecimal()}
    assert len(variants) == 8
    for scale in ("smoke", "paper", "gpu"):
        assert variants.isdisjoint(load_study(scale).methods)


def test_the_figures_are_made_where_their_inputs_are():
    ours = {"distinct", "prototypes_number", "stability"}
    assert ours <= set(catalogue.wanted(STUDY))
    assert ours.isdisjoint(catalogue.wanted(load_study("smoke")))
    assert catalogue.applies("stability", load_study("paper"))
    assert not catalogue.applies("stability", load_study("ablation", seeds=[0]))
    assert not catalogue.applies("distinct", load_study("ablation", methods=["patronus_modern"]))
    assert catalogue.applies("auroc", load_study("smoke"))
    assert not catalogue.applies("auroc", load_study("smoke", datasets=["cifar10"]))


# ablations


def test_the_distinct_loss_stands_in_the_order_of_delta_with_a_mark_for_each_seed(place):
    found = draw("distinct")
    axes = found["fig"].axes
    order = ["patronus_modern", *VARIANTS]
    assert [ax.get_title() for ax in axes[::3]] == ["TAD ↑", "FD-cls ↓"]
    assert labels(axes[0]) == ["off", "0.2", "0.5", "1"]
    for ax, key in ((axes[0], "tad"), (axes[3], "fd_cls")):
        assert marks(ax) == [(x, value(method, seed, key)) for x, method in enumerate(order)
                             for seed in SEEDS]
        (dashes,) = [line for line in ax.lines if line.is_dashed()]
        assert dashes.get_ydata()[0] == pytest.approx(value("untrained_modern", 0.5, key))
    text = words(found)
    for part in ("CelebA (generated stand-in)", "4 settings, 8 models (seeds 0, 1)",
                 "12,000 images seen by each", "n = 1,000 (TAD)", "n = 256 (FD-cls)",
                 "weight of the distinct loss 0.5", "32 prototypes of 48 channels",
                 "scale ablation"):
        assert part in text


def test_number_and_width_stand_in_two_rows_with_the_shared_model_in_both(place):
    found = draw("prototypes_number")
    axes = found["fig"].axes
    assert labels(axes[0]) == ["8", "16", "32*", "64"]
    assert labels(axes[5]) == ["16", "48*", "96"]
    shared = [(2, value("patronus_modern", seed, "tad")) for seed in SEEDS]
    assert [mark for mark in marks(axes[0]) if mark[0] == 2] == shared
    assert [y for x, y in marks(axes[5]) if x == 1] == [y for _, y in shared]
    assert [y for x, y in marks(axes[5]) if x == 2] == [value("width_96", s, "tad") for s in SEEDS]
    assert "6 settings, 12 models" in words(found)


def test_fid_is_shown_where_it_was_measured_and_a_hole_stays_a_hole(place):
    table = pd.read_csv("results/ablation/measures/table.csv")
    assert ablation.keys(table) == ["tad", "captured", "latent_score", "fd_cls", "rfd_cls"]
    table.loc[table["measure"] == "fd_cls", "measure"] = "fid"
    table.loc[(table["method"] == "distinct_05") & (table["seed"] == 1), "value"] = np.nan
    assert ablation.keys(table)[3] == "fid"
    assert ablation.by_seed(table, "distinct_05", "tad").tolist() == [2]
    assert ablation.by_seed(table, "distinct_05", "latent_score").tolist() == []
    table.to_csv("results/ablation/measures/table.csv", index=False)
    axes = draw("distinct")["fig"].axes
    assert len(marks(axes[3])) == 7
    assert marks(axes[2]) == []


def test_drawn_twice_is_the_same_bytes(place):
    drawn = []
    for _ in range(2):
        draw("distinct")
        drawn.append(Path("out/distinct/distinct.png").read_bytes())
    assert drawn[0] == drawn[1]


# stability


@pytest.fixture
def seeds(place) -> dict:
    """Two seeds of which half of the dimensions agree; one method without a code. The arrays."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=(60, 6))
    b = np.hstack([a[:, :3], rng.normal(size=(60, 3))])[:, ::-1]
    arrays, pairs = of_seeds(dict(zip(SEEDS, (a, b), strict=True)), "celeba", "test")
    for method in STUDY.methods:
        folder = stage_folder("stability", "ablation", "celeba", method)
        title = STUDY.cell("celeba", method, 0).title
        save_json(folder / "record.json", {})
        if method == "untrained_modern":
            save_json(folder / "none.json", {"reason": "it has no code", "method_title": title})
            continue
        save_npz(folder / "stability.npz", **arrays)
        save_json(folder / "stability.json", {
            "title": "CelebA", "generated": True, "method": method, "method_title": title, "n": 60,
            "dims": 6, "dead": {0: 0, 1: 1}, "seeds": SEEDS, "shuffles": 20, "pairs": pairs})
    for seed in SEEDS:
        folder = stage_folder("explanations", "ablation", "celeba", "patronus_modern", seed)
        edited = np.arange(5 * 2)[:, None, None, None, None] * np.ones((1, 3, 12, 12))
        save_npz(folder / "what.npz", order=np.array([5, 4, 2, 1, 0]),
                 best=np.array([0, 1, 0, 1, 0]), images=np.zeros((2, 3, 12, 12), np.uint8),
                 edited=edited.reshape(5, 2, 3, 12, 12).astype(np.uint8) + 100 * seed,
                 boxes=np.tile([0, 3, 7, 12], (5, 2, 1)))
        save_json(folder / "what.json", {
            "method": "patronus_modern", "method_title": "Patronus (modern recipe)", "seed": seed,
            "images_seen": 12_000})
    return arrays


def test_matched_prototypes_stand_below_each_other_from_the_best_match_down(seeds):
    found = draw("stability")
    partner, correlation = seeds["partner"][0], seeds["correlation"][0]
    chosen = [int(j) for j in found["chosen"]]
    assert set(chosen) == {j for j in (5, 4, 2, 1, 0) if partner[j] != 3}  # 3 has no picture
    assert list(correlation[chosen]) == sorted(correlation[chosen], reverse=True)
    order = [5, 4, 2, 1, 0]
    for (top, _, below, _), j in zip(found["axes"].T, chosen, strict=False):
        p, other = order.index(j), order.index(partner[j])
        assert np.asarray(top.images[0].get_array()).max() == 2 * p + p % 2
        assert np.asarray(below.images[0].get_array()).max() == 100 + 2 * other + other % 2
        assert f"|r| = {correlation[j]:.2f}" in top.get_title()
        assert below.get_title() == f"prototype {partner[j]}"


def test_every_method_has_its_pairs_and_its_null_and_reasons_are_told(seeds):
    found = draw("stability")
    methods = len(STUDY.methods) - 1
    assert len(found["left"].get_yticklabels()) == methods
    for ax, value_of_all in ((found["left"], seeds["correlation"].mean()),
                             (found["right"], seeds["cka"][0])):
        x, y = zip(*marks(ax), strict=True)
        assert x == pytest.approx([value_of_all] * methods)
        assert y == tuple(range(methods))
        assert [text.get_text() for text in ax.texts] == [f"{value_of_all:.2f}"] * methods
    bar = next(line for line in found["left"].lines if line.get_linewidth() == 3)
    null = seeds["null"]
    assert bar.get_xdata() == pytest.approx([null.mean(), np.quantile(null, 0.95)])
    text = words(found)
    for part in ("n = 60 test images", "codes of 6 dimensions", "seeds 0, 1 (pairs: 1)",
                 "20 shuffles", f"counted as 0: {methods}", "pairs pictured in both seeds, of 6 in",
                 "Untrained encoder (modern recipe): it has no code", "generated stand-in"):
        assert part in text


def test_each_pair_is_printed_and_of_many_the_range(seeds):
    printed = draw("stability")["printed"]
    assert printed([0.63, 0.76, 0.62]) == "0.62  0.63  0.76"  # not the means of each seed's pairs
    assert printed([0.63, 0.76, 0.62, 0.7]) == "0.62 to 0.76"


# attributes

BEST = {"patronus": {"Bald": 0.9, "Male": 0.7}, "untrained": {"Bald": 0.6, "Male": 0.8}, "ddpm": {}}


def attributes(datasets: tuple[str, ...]):
    study = load_study("smoke", datasets=list(datasets), methods=list(BEST), seeds=list(SEEDS))
    rows = []
    for (dataset, method, seed), cell in study.cells.items():
        best = {} if dataset == "cifar10" else {k: v + 0.02 * seed for k, v in BEST[method].items()}
        save_json(cell.folder("measures") / "details.json", {"tad.test": {
            "best_auroc": best, "best_auroc_shuffled": dict.fromkeys(best, 0.55)}} if best else {})
        save_json(cell.folder("data") / "meta.json", {})
        rows.append({"dataset": dataset, "title": dataset.title(), "generated": True,
                     "method": method, "method_title": cell.title, "seed": seed,
                     "images_seen": 100 + seed, "measure": "tad", "variant": "test",
                     "value": 0.1 if best else None, "n": 128 if best else None})
    path = Path("results/smoke/measures/table.csv")
    pd.DataFrame(rows).to_csv(path, index=False)
    return study


def test_attributes_are_in_the_order_of_the_untrained_encoder_with_means_over_seeds(
        tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = draw("auroc", attributes(("celeba", "chexpert", "cifar10")))
    left, right = found["fig"].axes[:2]
    assert [text.get_text() for text in left.get_yticklabels()] == ["Bald", "Male"]
    assert [left.get_title(), right.get_title()] == ["Celeba (generated stand-in)",
                                                     "Chexpert (generated stand-in)"]
    assert [sorted(y) for y in zip(*marks(left), strict=True)] == [
        pytest.approx([0.71, 0.91]), pytest.approx([0, 1])]
    control = [segment[0, 0] for lines in left.collections for segment in lines.get_segments()
               if segment[0, 0] == segment[1, 0]]
    assert control == pytest.approx([0.55, 0.55, 0.61, 0.81])
    text = words(found)
    for part in ("n = 128 test images", "seeds 0, 1", "100 to 101", "no code: DDPM",
                 "Chance: the best dimension"):
        assert part in text
    assert "Cifar10" not in text


def test_a_study_without_chexpert_shows_celeba_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = draw("auroc", attributes(("celeba", "cifar10")))
    assert len(found["fig"].axes) == 2  # with the legend's
    assert "Chexpert" not in words(found)

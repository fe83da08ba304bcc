"""The figures that say whether measures can be trusted, from made-up inputs."""

import json
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from analysis import validation
from analysis.spoiled import SPOILS
from paper import catalogue, given
from patronus.config import load_study
from patronus.files import save_json, save_npz

STRENGTHS = {"faces_tied_50": 0.5, "faces_tied_60": 0.6, "faces_tied_75": 0.75,
             "faces_tied_90": 0.9, "faces_tied_100": 1.0}
ABOUT = {"title": "CelebA", "method": "patronus_modern", "seed": 0, "generated": True,
         "split": "test", "steps": 1250, "images_seen": 20_000, "ddim_steps": 10, "n": 20}
BLIND = ("permuted", "locality")  # the fault that the made measures miss
STILL = ("deaf", "locality")  # the one that leaves nothing to measure


def made_validation(folder: Path) -> None:
    """Every expected fault is noticed but one; a deaf model has no locality."""
    measures, judged = validation.described(), []
    for name in measures:
        for spoil in SPOILS:
            one = {"version": spoil.name, "measure": name, "expected": name in spoil.notice}
            lost = 0.3 * one["expected"] * ((spoil.name, name) != BLIND)
            judged.append(one | {"noticed": lost > 0, "value": lost, "low": lost - 0.1,
                                 "high": lost + 0.1, "over": "images", "n": 20})
            if (spoil.name, name) == STILL:
                judged[-1] = one | {"noticed": None, "reason": "no edit changed any image"}
    table = pd.DataFrame([{"version": "good", "measure": name, "variant": "max", "value": 0.5}
                          for name in measures], columns=validation.COLUMNS)
    folder.mkdir(parents=True)
    table.to_csv(folder / "validation.csv", index=False)
    save_json(folder / "validation.json", ABOUT | {
        "versions": {spoil.name: spoil.wrong for spoil in SPOILS}, "dims": 32,
        "measures": measures, "judged": judged, "pair": ["No_Beard", "Eyeglasses"],
        "parts": [{"output": "Eyeglasses", "negated": False},
                  {"output": "No_Beard", "negated": True}]})


def made_strength(folder: Path, strength: float) -> None:
    names, rng = ["Eyeglasses", "Smiling", "Wearing_Hat"], np.random.default_rng(0)
    score = rng.normal(0, 0.01, (3, 3))
    score[[0, 2], [2, 0]] = [strength - 0.5, 0.6 * (strength - 0.5)]
    save_npz(folder / "shortcut.npz", score=score, score_low=score - 0.05,
             score_high=score + 0.08, detection=np.array(min(1, 0.4 + strength)))
    save_json(folder / "shortcut.json", ABOUT | {
        "title": f"Faces, hat tied to glasses: {strength:.0%}", "strength": strength,
        "outputs": names, "pairs": [["Eyeglasses", "Wearing_Hat"], ["Wearing_Hat", "Eyeglasses"]],
        "unbiased": {"title": "CelebA", "generated": True, "steps": 1250}})


def drawn(name: str, study) -> dict:
    """Run a script as the runner does, in this process; its variables."""
    out = Path("out")
    out.mkdir()
    found = {}
    with mpl.rc_context(), pytest.MonkeyPatch.context() as patch:
        patch.setenv(given.GIVEN, json.dumps(given.of(name, study, out)._asdict()))
        mpl.use("agg")
        exec(compile(catalogue.script(name).read_text(), name, "exec"), found)
    return found


def words(found: dict) -> str:
    return " ".join(" ".join(text.get_text() for text in found["fig"].findobj(Text)).split())


def test_a_fault_that_was_missed_is_marked_and_no_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = load_study("showcase")
    made_validation(study.cell("celeba", "patronus_modern", 0).folder("validation"))
    found = drawn("validation", study)
    missed = [ax.get_title() for ax in found["axes"].flat for line in ax.lines
              if line.get_marker() == "X"]
    assert missed == ["Locality →"]
    ax = next(ax for ax in found["axes"].flat if ax.get_title() == "Change area ←")
    line, bars = ax.lines[-1], [bar for box in ax.containers for bar in box.lines[2]]
    assert set(line.get_xdata()) == {0.5}
    ends = {spoil.name: bar.get_segments()[0][:, 0] for spoil, bar in
            zip(SPOILS, bars, strict=True)}
    np.testing.assert_allclose(ends["rotated"], [0.7, 0.9])  # less is better: worse is to the right
    np.testing.assert_allclose(ends["swapped"], [0.4, 0.6])
    text = words(found)
    for said in ("Causal success →", "Change area ←", "n = 20 test images", "generated stand-in",
                 "tied: raising No Beard = 0 raises Eyeglasses", "expected, not noticed"):
        assert said in text, said
    assert text.count("n/a") == 1


def test_the_score_stands_over_the_strength(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = load_study("strengths")
    for dataset, strength in STRENGTHS.items():
        made_strength(study.cell(dataset, "patronus_modern", 0).folder("shortcut"), strength)
    found = drawn("strengths", study)
    above, below = found["above"], found["below"]
    for points, slope in zip(above.containers, (1, 0.6), strict=True):
        x, y = points.lines[0].get_data()
        np.testing.assert_allclose(x, list(STRENGTHS.values()), atol=0.01)
        np.testing.assert_allclose(y, slope * (np.array(list(STRENGTHS.values())) - 0.5))
    np.testing.assert_allclose(below.lines[0].get_ydata(), [0.9, 1, 1, 1, 1])
    text = words(found)
    for said in ("Eyeglasses → Wearing Hat", "1,250 steps", "‘Faces, hat tied to glasses "
                 "(generated stand-in)’", "n = 20 test images"):
        assert said in text, said


@pytest.mark.parametrize(("scale", "made"), [
    ("strengths", {"strengths"}), ("smoke", {"validation"}), ("showcase", {"validation"}),
    ("tiny", {"validation"}), ("ablation", set())])
def test_only_a_scale_with_every_strength_draws_them(scale, made):
    assert {"strengths", "validation"} & set(catalogue.wanted(load_study(scale))) == made


@pytest.mark.parametrize(("scale", "made"), [
    ("real", {"dose"}), ("showcase", {"causal", "dose"}), ("smoke", {"causal", "dose"}),
    ("tiny", set())])
def test_a_scale_draws_the_interventions_it_asks_for(scale, made):
    """A figure of kinds that no cell was asked for would fail at the end of the run."""
    assert {"causal", "dose"} & set(catalogue.wanted(load_study(scale))) == made


def test_the_strengths_are_those_that_the_data_sets_say():
    study = load_study("strengths")
    assert {name: study.datasets[name].plant[2] for name in STRENGTHS} == STRENGTHS
    assert {need["dataset"][0] for need in catalogue.declared(
        catalogue.script("strengths")).values()} == set(STRENGTHS)

"""Stability over seeds: known answers, outside computations, and the stage on made-up codes."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from analysis import matching, stability
from analysis.matching import linear_cka, matched, standardised
from analysis.stability import compare, of_seeds
from patronus.config import load_study, stage_folder
from patronus.errors import NotApplicable, Problem
from patronus.files import load_json, save_json, save_npy, sha256
from patronus.sources import ROOT

N, M = 400, 6


@pytest.fixture(autouse=True)
def few_shuffles(monkeypatch):
    monkeypatch.setattr(matching, "SHUFFLES", 20)


def codes(seed: int, n: int = N, m: int = M) -> np.ndarray:
    """Skewed and correlated, as activations are."""
    rng = np.random.default_rng(seed)
    return np.exp(rng.normal(size=(n, m)) @ (np.eye(m) + 0.2 * rng.normal(size=(m, m))))


def likeness(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.abs(standardised(a).T @ standardised(b))


def gram_cka(a: np.ndarray, b: np.ndarray) -> float:
    """Kornblith et al. 2019, equations 2 and 3: HSIC of the centred Gram matrices."""
    centre = np.eye(len(a)) - 1 / len(a)
    first, second = (centre @ (x @ x.T) @ centre for x in (a, b))
    return (first * second).sum() / np.sqrt((first**2).sum() * (second**2).sum())


def test_the_same_dimensions_in_another_order_sign_and_scale_are_fully_stable():
    a, rng = codes(0), np.random.default_rng(1)
    order, sign, scale = rng.permutation(M), rng.choice([-1, 1], M), rng.uniform(0.01, 100, M)
    assert (order != np.arange(M)).any() and (sign < 0).any()
    found = compare(a, (a * sign * scale)[:, order] + 3, "same")
    np.testing.assert_allclose(found.correlation, 1, atol=1e-12)
    np.testing.assert_array_equal(order[found.partner], np.arange(M))
    assert found.null.mean() < 0.3


def test_unrelated_codes_are_as_alike_as_shuffled_images_make_them():
    found = compare(codes(0), codes(1), "unrelated")
    assert found.correlation.mean() == pytest.approx(found.null.mean(), abs=4 * found.null.std())
    assert found.cka == pytest.approx(found.cka_null.mean(), abs=4 * found.cka_null.std())
    assert found.null.std() > 0 and found.null.mean() < 0.2


def test_half_of_the_dimensions_shared():
    a, other = codes(0), codes(1)
    b = np.hstack([a[:, :3], other[:, 3:]])[:, ::-1]
    found = compare(a, b, "half")
    np.testing.assert_array_equal(found.partner[:3], [5, 4, 3])
    np.testing.assert_allclose(found.correlation[:3], 1, atol=1e-12)
    assert found.correlation[3:].max() < 0.4
    assert found.correlation.mean() > 0.5 > np.quantile(found.null, 0.95)


def test_correlations_equal_numpy():
    a, b = codes(0), codes(1).astype(np.float32)
    np.testing.assert_allclose(likeness(a, b), np.abs(np.corrcoef(a.T, b.T)[:M, M:]), atol=1e-12)


def test_the_match_is_the_best_of_all():
    table = likeness(codes(0), codes(1))
    partner, values = matched(table)
    rows, expected = linear_sum_assignment(-table)
    np.testing.assert_array_equal(partner, expected)
    best = max(table[np.arange(M), np.random.default_rng(k).permutation(M)].sum()
               for k in range(300))
    assert values.sum() >= best
    assert values.sum() == pytest.approx(table[rows, expected].sum())


@pytest.mark.parametrize("other", [codes(1), codes(1, m=9), codes(0) + 0.5 * codes(1)])
def test_cka_equals_the_gram_matrices_definition(other):
    assert linear_cka(codes(0), other) == pytest.approx(gram_cka(codes(0), other), rel=1e-9)


def test_cka_is_blind_to_rotation_shift_and_common_scale_and_to_nothing_else():
    a = codes(0)
    turned = np.linalg.qr(np.random.default_rng(0).normal(size=(M, M)))[0]
    assert linear_cka(a, 7 * a @ turned + 2) == pytest.approx(1, abs=1e-12)
    assert linear_cka(a, a * np.arange(1, M + 1)) < 0.95


def test_a_dead_dimension_is_matched_with_nothing():
    a, b = codes(0).astype(np.float32), codes(0).astype(np.float32)
    a[:, 2], b[:, 4] = 0.1, 0.1  # 0.1 is no exact mean of itself
    found = compare(a, b, "dead")
    assert found.correlation[2] == 0
    assert found.correlation.mean() == pytest.approx(4 / M, abs=0.06)
    assert np.isfinite(found.null).all() and np.isfinite(found.cka)
    nothing = compare(np.ones((9, 3)), codes(0, 9, 3), "all dead")
    assert nothing.correlation.tolist() == [0, 0, 0]
    assert nothing.cka == 0


def test_the_null_is_the_same_every_time_and_its_own_for_each_name():
    first, again, other = (compare(codes(0), codes(1), name) for name in ("x", "x", "y"))
    np.testing.assert_array_equal(first.null, again.null)
    assert len(set(first.null)) == len(first.null) == 20
    assert (first.null != other.null).any() and (first.cka_null != other.cka_null).any()


def test_every_pair_of_seeds_is_compared():
    arrays, pairs = of_seeds({0: codes(0), 2: codes(0)[:, ::-1], 5: codes(1)}, "set", "method")
    assert arrays["pairs"].tolist() == [[0, 2], [0, 5], [2, 5]]
    assert arrays["partner"].shape == arrays["correlation"].shape == (3, M)
    assert arrays["null"].shape == arrays["cka_null"].shape == (3, 20)
    assert pairs[0]["seeds"] == (0, 2)
    assert pairs[0]["correlation"] == pytest.approx(1) and pairs[0]["cka"] == pytest.approx(1)
    assert pairs[1]["null"] < pairs[1]["null_q95"] < 1
    with pytest.raises(NotApplicable, match="one seed was trained"):
        of_seeds({0: codes(0)}, "set", "method")


def test_codes_of_other_images_are_refused():
    with pytest.raises(Problem, match="celeba/patronus/0/1: .* 400 and 399 images"):
        compare(codes(0), codes(1)[1:], "celeba", "patronus", 0, 1)


# the stage


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with codes of two seeds of the tiny study, and a method without any."""
    monkeypatch.chdir(tmp_path)
    study = load_study("tiny", datasets=["celeba"], seeds=[0, 1])
    save_json(stage_folder("data", "tiny", "celeba") / "meta.json", {"title": "CelebA"})
    for cell in study.cells.values():
        save_json(cell.folder("checkpoints") / "record.json",
                  {"found": {"steps": 4, "images_seen": 64}})
        folder = cell.folder("codes")
        if cell.method == "ddpm":
            save_json(folder / "none.json", {"reason": "DDPM has no code"})
        else:
            save_npy(folder / "test.npy", codes(0)[:, ::1 - 2 * cell.seed].astype(np.float32))
        save_json(folder / "record.json", {"outputs": {str(path): sha256(path)
                                                       for path in folder.iterdir()}})
    return tmp_path


def test_the_stage_stores_arrays_summary_and_parents(place):
    out = stability.stability(load_study("tiny", seeds=[0, 1]), "celeba", "patronus")
    arrays, found = np.load(out / "stability.npz"), load_json(out / "stability.json")
    assert arrays["partner"].tolist() == [list(range(M))[::-1]]
    assert arrays["correlation"] == pytest.approx(np.ones((1, M)), abs=1e-6)
    assert (found["n"], found["dims"], found["seeds"], found["images_seen"]) == (N, M, [0, 1], 64)
    assert found["pairs"][0]["correlation"] == pytest.approx(1)
    record = load_json(out / "record.json")
    assert record["settings"]["seeds"] == [0, 1]
    assert sorted(record["inputs"]) == [f"results/tiny/codes/celeba/patronus/seed{k}"
                                        for k in (0, 1)]
    assert sorted(record["outputs"]) == [f"{out}/stability.json", f"{out}/stability.npz"]


def test_where_there_is_nothing_to_compare_the_reason_is_stored(place):
    both, one = (load_study("tiny", seeds=seeds) for seeds in ([0, 1], [1]))
    assert (stability.stability(both, "celeba", "patronus") / "stability.npz").is_file()
    out = stability.stability(one, "celeba", "patronus")
    assert sorted(path.name for path in out.iterdir()) == ["none.json", "record.json"]
    assert load_json(out / "none.json")["reason"] == "one seed was trained"
    out = stability.stability(both, "celeba", "ddpm")
    assert load_json(out / "none.json")["reason"] == "DDPM has no code"


def test_a_missing_code_is_named(place):
    study = load_study("tiny", seeds=[0, 1])
    path = study.cell("celeba", "patronus", 1).folder("codes") / "test.npy"
    path.unlink()
    with pytest.raises(Problem, match=f"{path}: is missing.* run that stage again"):
        stability.stability(study, "celeba", "patronus")


def test_on_the_command_line_and_without_torch(place):
    code = ("import sys; from analysis import stability; stability.main(); "
            "sys.exit('torch' in sys.modules)")
    run = subprocess.run(
        [sys.executable, "-c", code, "--scale", "tiny", "--dataset", "celeba", "--method",
         "patronus", "--seeds", "0,1"], capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})
    assert run.returncode == 0, run.stderr
    out = stage_folder("stability", "tiny", "celeba", "patronus")
    assert run.stdout == f"stability of celeba/patronus: done, in {out}/\n"
    assert len(json.loads((out / "stability.json").read_text())["pairs"]) == 1

"""A fault in a plugged-in file is named as that file's: the file, the line, what it must do."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from analysis import measure, spec
from patronus.errors import Problem
from patronus.method import Method, checked_code, checked_images, checked_loss
from patronus.sources import ROOT

HERE = f"tests/workflow/{Path(__file__).name}, line "
METHOD = """\"\"\"A method of one's own.\"\"\"

from torch import nn

from patronus.method import Method


class Model(Method):
    def __init__(self, shape, code_dim, *, base: int = 8):
        {start}
        self.net = nn.Linear(1, {width})
"""
BUILD = """from patronus.errors import guarded
from patronus import checkpoint
guarded(lambda: checkpoint.build("baselines.mine", (3, 8, 8), 4, {}))"""


def last_line(folder: Path, code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True,
                          check=False, env={"PYTHONPATH": str(folder), "PATH": ""})
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(("start", "width", "line", "word"), [
    ("pass", "1", 11, "__init__"), ("super().__init__(shape, code_dim)", "nowhere", 11, "nowhere")])
def test_an_error_below_a_method_names_its_file_and_line(clone, start, width, line, word):
    (clone / "baselines" / "mine.py").write_text(METHOD.format(start=start, width=width))
    said = last_line(clone, BUILD)
    assert said.startswith(f"error: baselines/mine.py, line {line}: ")
    assert word in said and "baselines/README.md" in said and "report" not in said


def test_a_syntax_error_in_a_method_names_its_line(clone):
    (clone / "baselines" / "mine.py").write_text("x = 1\ndef (:\n")
    said = last_line(clone, "from patronus.errors import guarded\n"
                     "from patronus.config import load_study\n"
                     "guarded(lambda: load_study('tiny', methods=['mine']))")
    assert said.startswith("error: baselines/mine.py, line 2: ")


def test_a_fault_of_ours_is_still_called_ours(clone):
    said = last_line(clone, "from patronus.errors import guarded\n"
                     "from patronus import noise\nguarded(lambda: noise.batches(1, 0))")
    assert "a fault of this program" in said


class Listing(Method):
    def __init__(self):
        super().__init__((3, 4, 4), 5)

    def loss(self, x0, labels=None):
        return [x0.mean()]

    def encode(self, x0):
        return x0.flatten(1)[:, :3]

    def decode(self, x_T, code, steps, on_step=None):
        return x_T[:, :1]


def test_what_a_method_returns_is_checked_where_it_is_made():
    model, x0 = Listing(), torch.zeros(2, 3, 4, 4)
    for check, given, word in (
            (lambda *a: checked_loss(*a[:2]), model.loss(x0), "dict of scalar tensors"),
            (checked_code, model.encode(x0), r"shape \(2, 5\).*got \(2, 3\)"),
            (checked_images, model.decode(x0, None, 1), r"\(2, 3, 4, 4\).*got \(2, 1, 4, 4\)")):
        with pytest.raises(Problem, match=word) as caught:
            check(model, given, 2)
        assert str(caught.value).startswith(HERE)


@pytest.mark.parametrize("losses", [{"mse": torch.tensor(1.0)}, {"loss": torch.ones(2)}, None,
                                    {"loss": 0.5}])
def test_a_loss_that_cannot_be_minimised_is_refused(losses):
    with pytest.raises(Problem, match="under \"loss\""):
        checked_loss(Listing(), losses)


GOOD = '''"""Half of something."""
from analysis.spec import Known, Row, Spec, Value


def half(codes):
    return {returns}


SPECS = (Spec(name="{name}", title="Half", unit="", direction="higher", source="ours",
              rows=(Row("test", half, ("{need}",), "test"),)),)
KNOWN = tuple(Known("{name}", kind, lambda rng: (rng.normal(size=(60, 2)),), 0, 1)
              for kind in {kinds})
'''
KINDS = ("perfect", "null", "hostile")


@pytest.mark.parametrize(("text", "words"), [
    ('"""Nothing."""\n', ("analysis/measures/mine.py", "SPECS")),
    (GOOD.format(name="tad", returns="Value(0.5, 60)", need="codes.test", kinds=KINDS),
     ("mine.py", "tad.py", "another name")),
    (GOOD.format(name="half", returns="Value(0.5, 60)", need="codes.test", kinds=KINDS[:2]),
     ("mine.py", "hostile")),
    (GOOD.format(name="half", returns="0", need="codes.test", kinds=KINDS).split("\n", 1)[1],
     ("mine.py", "docstring"))])
def test_a_measure_that_says_too_little_of_itself_is_named(clone, text, words):
    (clone / "analysis" / "measures" / "mine.py").write_text(text)
    try:
        said = last_line(clone, "from patronus.errors import guarded\nfrom analysis import spec\n"
                         "guarded(spec.specs)")
    finally:
        (clone / "analysis" / "measures" / "mine.py").unlink()
    assert said.startswith("error: analysis/measures/") and all(word in said for word in words)


class Nothing(measure.Arrays):
    def __init__(self):
        self._loaders, self._known = {"codes": lambda rest: np.zeros((60, 2))}, {}


def plain(codes):
    return 0.5


@pytest.mark.parametrize(("need", "word"), [("codes.test", "must return a Value"),
                                            ("code.test", "which no stage makes")])
def test_a_measure_that_returns_no_value_or_needs_what_nobody_makes_is_named(need, word):
    row = spec.Row("test", plain, (need,), "test")
    one = spec.Spec("half", "Half", "", "higher", "ours", (row,))
    with pytest.raises(Problem, match=word) as caught:
        measure.evaluate(one, row, Nothing())
    assert str(caught.value).startswith(HERE)


def test_needs_that_are_no_literal_are_named(clone):
    (clone / "paper" / "figures" / "mine.py").write_text(
        "# %%\nKEY = 1\nNEEDS = {KEY: 2}\n\n# %%\n")
    try:
        said = last_line(clone, "from patronus.errors import guarded\nfrom paper import catalogue\n"
                         "guarded(lambda: catalogue.declared(catalogue.script('mine')))")
    finally:
        (clone / "paper" / "figures" / "mine.py").unlink()
    assert said.startswith("error: figures/mine.py, line 3: NEEDS")
    assert clone != ROOT

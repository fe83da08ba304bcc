"""Numbers in prose are those of the deposited files."""

import pytest
from jinja2 import UndefinedError

from analysis.measures.latent_score import KNOWN  # noqa: F401  (measures are found by import)
from paper import numbers
from patronus.errors import Problem


def test_the_committed_pages_are_what_the_deposited_files_give():
    assert numbers.stale(numbers.rendered().items()) == []


def test_a_changed_file_makes_the_pages_stale(monkeypatch):
    table = numbers.measures("fashion_mnist", "patronus_modern").copy()
    table.loc[table.index.get_level_values(0) == "fd_cls", "value"] += 0.5
    real = numbers.measures
    monkeypatch.setattr(numbers, "measures", lambda d, m, seed=0: table if (d, m, seed) == (
        "fashion_mnist", "patronus_modern", 0) else real(d, m, seed))
    assert numbers.stale(numbers.rendered().items()) == ["results.md", "README.md"]


def test_a_number_that_nobody_deposited_is_an_error():
    with pytest.raises(Problem, match="has no value of fid"):
        numbers.value("fashion_mnist", "patronus_modern", "fid", "test")
    with pytest.raises(KeyError):
        numbers.of_showcase("interventions", "nothing")


def test_a_template_cannot_print_what_is_not_there(monkeypatch, tmp_path):
    (tmp_path / "results.md.j2").write_text("{{ nowhere }}")
    (tmp_path / "findings.md.j2").write_text("")
    monkeypatch.setattr(numbers, "TEMPLATES", tmp_path)
    with pytest.raises(UndefinedError):
        numbers.rendered()


@pytest.mark.parametrize(("share", "n", "ends"), [(0.365, 10_000, (0.3556, 0.3745)),
                                                  (1.0, 19, (0.8235, 1.0))])
def test_the_interval_of_a_share_is_the_exact_one(share, n, ends):
    assert numbers._exact(share, n)[1:] == pytest.approx(ends, abs=1e-4)


def test_the_templates_hold_no_result_as_digits():
    """Only sizes, levels and numbers that are withdrawn may stand in the words themselves."""
    import re

    text = (numbers.TEMPLATES / "results.md.j2").read_text()
    words = re.sub(r"{{.*?}}|{%.*?%}", "", text, flags=re.DOTALL)
    typed = set(re.findall(r"(?<![\w.])0\.\d{2,}(?!\d)", words))
    assert typed <= {"0.99", "0.21"}, typed  # the classifier's level; chance of a box

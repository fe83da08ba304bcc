"""Numbers in prose come from files: docs/results.md and the findings in README.md are rendered.

    python -m paper.numbers            after anything in paper/results or paper/showcase changed

Templates (jinja2) hold the words, docs/results.md.j2 and docs/findings.md.j2; each number in them
is asked of a deposited file by the functions below; one that is not there is an error. No torch.
"""

from collections.abc import Iterable
from functools import cache
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd
from scipy.stats import binomtest

from analysis.spec import Value, specs
from patronus.errors import Problem, guarded
from patronus.files import load_json, save_text
from patronus.sources import ROOT

REAL, SHOWCASE = ROOT / "paper" / "results" / "real", ROOT / "paper" / "showcase"
TEMPLATES, PAGE, README = ROOT / "docs", ROOT / "docs" / "results.md", ROOT / "README.md"
MARKS = ("<!-- findings: made by `python -m paper.numbers` -->", "<!-- end of findings -->")
NUMBERS = ("value", "low", "high", "n", "d", "low_new", "high_new")


@cache
def measures(dataset: str, method: str, seed: int = 0) -> pd.DataFrame:
    """The deposited measures of a trained model, by measure, variant and extractor."""
    path = REAL / "measures" / dataset / method / f"seed{seed}" / "measures.csv"
    table = pd.read_csv(path, keep_default_na=False, na_values=dict.fromkeys(NUMBERS, [""]))
    return table.set_index(["measure", "variant", "extractor"])


def row(dataset: str, method: str, measure: str, variant: str = "", seed: int = 0) -> pd.Series:
    """One deposited row. Raises Problem where the model has no such value."""
    table = measures(dataset, method, seed)
    found = table[(table.index.get_level_values(0) == measure)
                  & (table.index.get_level_values(1) == variant)]
    if len(found) != 1 or pd.isna(found["value"].iloc[0]):
        raise Problem(f"paper/results/real/measures/{dataset}/{method}/seed{seed}: has no value of "
                      f"{measure} ({variant}); mend the template that asks for it")
    return found.iloc[0]


def value(*names: object, digits: int = 2) -> str:
    """A value alone, as `row` finds it."""
    return f"{row(*names)['value']:.{digits}f}"


def seeds(dataset: str, method: str, measure: str, variant: str = "", digits: int = 2,
          count: int = 3) -> str:
    """Mean over training seeds, and each of them: so few have no interval worth the name."""
    found = [row(dataset, method, measure, variant, seed)["value"] for seed in range(count)]
    each = ", ".join(f"{one:.{digits}f}" for one in sorted(found))
    return f"{np.mean(found):.{digits}f} ({each})"


def pairs(dataset: str, method: str, measure: str, digits: int = 2) -> str:
    """Mean over the pairs of three trainings, and each pair: a row holds the two of its seed."""
    ends = [row(dataset, method, measure, "test", seed)[end] for seed in range(3)
            for end in ("low", "high")]
    found = sorted(ends)[::2]  # each pair stands in the rows of both
    each = ", ".join(f"{one:.{digits}f}" for one in found)
    return f"{np.mean(found):.{digits}f} ({each})"


def accuracy(dataset: str, method: str, seed: int = 0) -> str:
    """Accuracy over test images with its exact 95 % interval (Clopper and Pearson)."""
    one = row(dataset, method, "latent_score", "test", seed)
    return "{:.3f} [{:.3f}, {:.3f}]".format(*_exact(float(one["value"]), int(one["n"])))


def _exact(share: float, n: int) -> tuple[float, float, float]:
    """A share of n images with its exact 95 % interval."""
    ends = binomtest(round(share * n), n).proportion_ci()
    return share, ends.low, ends.high


def within(dataset: str, method: str, measure: str, variant: str = "", digits: int = 2) -> str:
    """Value and deposited interval of one model; what that is over stands in the text.

    Where the row has both, that for these dimensions.
    """
    one = row(dataset, method, measure, variant)
    ends = one[["low", "high"] if pd.notna(one["low"]) else ["low_new", "high_new"]]
    return "{:.{d}f} [{:.{d}f}, {:.{d}f}]".format(one["value"], *ends, d=digits)


def count(dataset: str, method: str, measure: str, variant: str = "") -> str:
    return f"{int(row(dataset, method, measure, variant)['n']):,}"


@cache
def edits(which: str) -> dict[str, np.ndarray]:
    """The deposited interventions of the showcase ("interventions") or its control ("control")."""
    with np.load(SHOWCASE / which / "interventions.npz") as held:
        return {f"interventions.{key}": held[key] for key in held.files}


def of_showcase(which: str, measure: str, digits: int = 2) -> str:
    """A measure of deposited interventions, with its 95 % interval over images."""
    spec = specs()[measure]
    found: Value = spec.rows[0].compute(*(edits(which)[need] for need in spec.rows[0].needs))
    ends = "" if found.low is None else f" [{found.low:.{digits}f}, {found.high:.{digits}f}]"
    return f"{found.value:.{digits}f}{ends}"


def causal(which: str, part: str, kind: str = "max") -> str:
    """Share of the images without a part in which raising draws it, exact 95 % interval, and n."""
    arrays, parts = edits(which), load_json(SHOWCASE / which / "interventions.json")["outputs"]
    k, v = parts.index(part), arrays["interventions.kinds"].tolist().index(kind)
    share, n = (float(arrays[f"interventions.success{key}"][v, k]) for key in ("", "_n"))
    return "{:.2f} [{:.2f}, {:.2f}], n = {:.0f}".format(*_exact(share, int(n)), n)


def drawn(which: str, kind: str = "max", least: float = 0.8) -> int:
    """How many parts raising draws in at least such a share of images."""
    arrays = edits(which)
    v = arrays["interventions.kinds"].tolist().index(kind)
    return int((arrays["interventions.success"][v] >= least).sum())


def mean_success(which: str, kind: str = "max", key: str = "success") -> str:
    arrays = edits(which)
    v = arrays["interventions.kinds"].tolist().index(kind)
    return f"{np.nanmean(arrays[f'interventions.{key}'][v]):.2f}"


def effect(side: str, a: str, b: str) -> str:
    """Change of P(b) by raising a, deposited with its interval over images."""
    about = load_json(SHOWCASE / "shortcut" / "shortcut.json")
    at = tuple(map(about["outputs"].index, (a, b)))
    with np.load(SHOWCASE / "shortcut" / "shortcut.npz") as held:
        ends = [float(held[f"{side}{end}"][at]) for end in ("", "_low", "_high")]
    return "{:+.2f} [{:+.2f}, {:+.2f}]".format(*ends).replace("-", "−")


def pairs_of_shortcut() -> dict:
    """The deposited score of all pairs: how many exclude 0, the planted ones' ranks, detection.

    A tie holds both ways: the reverse of a planted pair is neither planted nor unplanted.
    """
    about = load_json(SHOWCASE / "shortcut" / "shortcut.json")
    planted = [tuple(map(about["outputs"].index, pair)) for pair in about["pairs"]]
    with np.load(SHOWCASE / "shortcut" / "shortcut.npz") as held:
        score, low, high = (held[f"score{end}"] for end in ("", "_low", "_high"))
        detection = float(held["detection"])
    all_pairs = [(a, b) for a, b in np.ndindex(score.shape) if a != b and ~np.isnan(score[a, b])]
    order = sorted(all_pairs, key=lambda at: -abs(score[at]))
    others = [at for at in all_pairs if at not in planted and at[::-1] not in planted]
    seen = sum(bool(low[at] > 0 or high[at] < 0) for at in others)
    return {"count": len(all_pairs), "others": len(others), "seen": seen, "detection": detection,
            "ranks": [order.index(at) + 1 for at in planted], "n": about["n"],
            "n_unbiased": about["n_unbiased"], "images": about["images_seen"],
            "images_unbiased": about["unbiased"]["images_seen"]}


def conditioning(what: str) -> str:
    """Error of the noise against the same denoiser without a code, in per cent, with its interval.

    `what`: "relative", with the own code; "relative_shuffled", with another image's.
    """
    about = load_json(SHOWCASE / "conditioning" / "conditioning.json")
    ends = [100 * end for end in about["overall"][what]]
    return "{:+.1f} % [{:+.1f}, {:+.1f}]".format(*ends).replace("-", "−")


def file(path: str) -> dict | None:
    """A deposited JSON file below the repository, or None."""
    return load_json(ROOT / path) if (ROOT / path).is_file() else None


FUNCTIONS = (value, seeds, pairs, accuracy, within, count, of_showcase, causal, drawn, mean_success,
             effect, pairs_of_shortcut, conditioning, file)


def rendered() -> dict[Path, str]:
    """Each page that is made, with its text."""
    engine = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), trim_blocks=True,
                                lstrip_blocks=True, keep_trailing_newline=True,
                                undefined=jinja2.StrictUndefined, autoescape=False)
    engine.globals |= {function.__name__: function for function in FUNCTIONS}
    before, after = README.read_text(encoding="utf-8").split(MARKS[0])
    findings = engine.get_template("findings.md.j2").render()
    readme = "".join([before, MARKS[0], "\n", findings, MARKS[1], after.split(MARKS[1])[1]])
    return {PAGE: engine.get_template("results.md.j2").render(), README: readme}


def stale(pages: Iterable[tuple[Path, str]]) -> list[str]:
    """Names of the pages whose committed text is not what the files give."""
    return [path.name for path, text in pages if not path.is_file()
            or path.read_text(encoding="utf-8") != text]


def main() -> None:
    for path, text in rendered().items():
        save_text(path, text)
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    guarded(main)

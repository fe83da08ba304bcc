"""Causal success: does an edit make an independent classifier see a part? (measures.md B1)

Of the test images that lack a part, by label and in their reconstruction, the share in which
raising one code dimension makes the classifier see it: the dimension whose training codes tell the
part best (AUROC). Images that show the part anyway are not counted, so nothing has to be
subtracted. Mean over parts, each with the same weight; the interval is over parts.

Chance is the measure `causal_success_shuffled`: the dimension that shuffled codes would have
chosen, mean over 20 shuffles. Variants: at the largest value of the test codes ("max", "q95" for
their 95 % quantile) or three times as far from the median ("thrice"), x_T inverted from the image
or "_random".
"""

from collections.abc import Callable

import numpy as np

from analysis.resampling import kind, summary
from analysis.spec import Known, Row, Spec, Value

VARIANTS = ("max", "thrice", "max_random", "thrice_random", "q95")
NONE = "every image shows every part already, or no code tells a part"


def mean_success(name: str) -> Callable[..., Value]:
    """The measure of the kind `name` of intervention."""
    def compute(kinds: np.ndarray, success: np.ndarray) -> Value:
        """Mean over parts of success (V, K), in [0, 1]; kinds (V,). NaN: undefined, left out."""
        return summary(success[kind(kinds, name)], NONE)

    return compute


def _spec(name: str, title: str, array: str, direction: str, chance: str) -> Spec:
    rows = tuple(Row(variant, mean_success(variant),
                     ("interventions.kinds", f"interventions.{array}"), "test")
                 for variant in VARIANTS)
    return Spec(name=name, title=title, unit="share of images", direction=direction, rows=rows,
                source="measures.md B1", chance=chance,
                spread="95 % bootstrap interval over parts of one model")


SPECS = (
    _spec("causal_success", "Causal success", "success", "higher", "causal_success_shuffled"),
    _spec("causal_success_shuffled", "Causal success, shuffled", "success_shuffled", "lower",
          "itself: it is the control"),
)


def _shares(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same shares (K,) for every kind of intervention."""
    return np.array(VARIANTS), np.tile(values, (len(VARIANTS), 1))


def _known(name: str) -> tuple[Known, ...]:
    undefined = np.array([0.25, np.nan, 0.75, np.nan])
    return (Known(name, "perfect", lambda rng: _shares(np.ones(5)), 1, 1, n=5),
            Known(name, "null", lambda rng: _shares(np.zeros(6)), 0, 0, n=6),
            Known(name, "hostile", lambda rng: _shares(undefined), 0.5, 0.5, n=2),
            Known(name, "hostile", lambda rng: _shares(undefined[1:2]), reason="no code tells"))


KNOWN = tuple(case for spec in SPECS for case in _known(spec.name))

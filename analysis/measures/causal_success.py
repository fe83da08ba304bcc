"""Causal success: does an edit make an independent classifier see a part? (measures.md B1)

Of the test images that lack a part, by label and in their reconstruction, the share in which
raising one code dimension makes the classifier see it: the dimension whose training codes tell the
part best (AUROC). Images that show the part anyway are not counted, so nothing has to be
subtracted. Mean over parts, each with the same weight.

Chance is the measure `causal_success_shuffled`: the dimension that shuffled codes would have
chosen, mean over 20 shuffles. Variants: at the largest value of the test codes ("max", "q95" for
their 95 % quantile) or three times as far from the median ("thrice"), x_T inverted from the image
or "_random".
"""

from collections.abc import Callable

import numpy as np

from analysis.answers import made_seen
from analysis.causal import as_parts
from analysis.resampling import OVER_IMAGES, kind, summary
from analysis.spec import Known, Row, Spec, Value

VARIANTS = ("max", "thrice", "max_random", "thrice_random", "q95")
NONE = "every image shows every part already, or no code tells a part"


def mean_success(name: str) -> Callable[..., Value]:
    """The measure of the kind `name` of intervention."""
    def compute(kinds: np.ndarray, dims: np.ndarray, negated: np.ndarray, labels: np.ndarray,
                recon: np.ndarray, edited: np.ndarray, best: np.ndarray) -> Value:
        """Mean over parts, in [0, 1]: kinds (V,), dims (D,), negated (K,), labels (n, K),
        recon (2, n, K) and edited (V, D, n, K) probabilities, best (K,) or (R, K) dimensions."""
        labels, recon, edited = (as_parts(part, negated) for part in (
            labels, recon[int(name.endswith("_random"))], edited[kind(kinds, name)]))
        made = [made_seen(labels, recon, edited, position(dims, own))
                for own in np.atleast_2d(best)]
        return summary(np.mean(made, axis=0), NONE, shares=len(made) == 1)

    return compute


def position(dims: np.ndarray, best: np.ndarray) -> np.ndarray:
    """Where in dims (D,) the code dimensions best (K,) are; -1 stays -1."""
    return np.where(best < 0, -1, (dims[:, None] == best).argmax(axis=0))


def _spec(name: str, title: str, best: str, direction: str, chance: str) -> Spec:
    needs = tuple(f"interventions.{key}" for key in (
        "kinds", "dims", "negated", "labels", "probabilities_recon", "probabilities", best))
    rows = tuple(Row(variant, mean_success(variant), needs, "test") for variant in VARIANTS)
    return Spec(name=name, title=title, unit="share of images", direction=direction, rows=rows,
                source="measures.md B1", chance=chance, **OVER_IMAGES | {"across": "parts"})


SPECS = (
    _spec("causal_success", "Causal success", "best", "higher", "causal_success_shuffled"),
    _spec("causal_success_shuffled", "Causal success, shuffled", "best_shuffled", "lower",
          "itself: it is the control"),
)


def _given(made: np.ndarray) -> tuple:
    """Part k is made seen in the images where made (K, n) is 1; NaN: by its label it is there."""
    parts, n = made.shape
    edited = np.where(made == 1, 0.9, 0.1).T  # whatever is raised
    return (np.array(VARIANTS), np.arange(3), np.zeros(parts, bool), np.isnan(made).T.astype(float),
            np.full((2, n, parts), 0.2), np.tile(edited, (len(VARIANTS), 3, 1, 1)),
            np.arange(parts) % 3)


def _half(rng: np.random.Generator) -> tuple:
    """Made seen in a quarter and in three quarters of 20 images; two parts that all show."""
    made = np.full((4, 20), np.nan)
    made[0], made[2] = np.arange(20) < 5, np.arange(20) < 15
    return _given(made)


def _untold(rng: np.random.Generator) -> tuple:
    """No code tells any part."""
    return *_given(np.ones((4, 20)))[:-1], np.full(4, -1)


def _known(name: str) -> tuple[Known, ...]:
    return (Known(name, "perfect", lambda rng: _given(np.ones((5, 30))), 1, 1, n=30, d=5),
            Known(name, "null", lambda rng: _given(np.zeros((6, 30))), 0, 0, n=30, d=6),
            Known(name, "hostile", _half, 0.5, 0.5, n=20, d=2),
            Known(name, "hostile", _untold, reason="no code tells"))


KNOWN = tuple(case for spec in SPECS for case in _known(spec.name))

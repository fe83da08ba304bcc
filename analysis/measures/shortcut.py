"""Shortcut score: does a code show that training tied two attributes together? (measures.md B8)

Asked of a data set whose attributes another one of the study ties together (its
`shortcut.reference`), for the same method and training seed. The score of a pair (a, b) is the
change of P(b) when the dimensions that tell most of a are raised, in the model trained on the tied
images less in the one trained without the tie; an independent classifier answers
(analysis.shortcut). `shortcut`: mean of |score| over the tied pairs. `shortcut_detection`: AUROC of
|score| for telling the tied pairs from all others. A tie that was planted should be found: higher
is better, of the code as an instrument. It is no virtue of the model that it learned the tie.
"""

import numpy as np

from analysis import causal
from analysis.intervals import Interval
from analysis.resampling import ends
from analysis.spec import Known, Row, Spec, Value
from patronus.errors import NotApplicable

NONE = "no code dimension tells the tied attributes"
ALONE = "there are no pairs beside the tied ones"


def shortcut(tied: np.ndarray, score: np.ndarray, pairs: np.ndarray, rows: np.ndarray,
             outputs: np.ndarray) -> Value:
    """Mean |score| of the tied pairs, in [0, 1]; the arrays of shortcut.npz.

    tied (3,): that mean and its ends; score (K, K), pairs (P, 2), rows (n,) of the test images,
    outputs (K,) names. detail: every pair, and the mean |score| of the pairs that nothing ties.
    """
    if np.isnan(tied[0]):
        raise NotApplicable(NONE)
    return Value(float(tied[0]), len(rows), *ends(Interval(*tied)),
                 detail={"pairs": listed(score, pairs, outputs), "others": others(score, pairs)})


def listed(score: np.ndarray, pairs: np.ndarray, outputs: np.ndarray) -> list[dict]:
    """Each tied pair by name, with its score; None where it has none."""
    return [{"raised": str(outputs[a]), "changed": str(outputs[b]),
             "score": None if np.isnan(score[a, b]) else float(score[a, b])} for a, b in pairs]


def others(score: np.ndarray, pairs: np.ndarray) -> float | None:
    """Mean |score| of the pairs that nothing ties, one way or the other; None without any."""
    free = ~np.eye(len(score), dtype=bool) & ~np.isnan(score)
    for a, b in pairs:
        free[a, b] = free[b, a] = False
    return float(np.abs(score[free]).mean()) if free.any() else None


def detection(score: np.ndarray, pairs: np.ndarray) -> Value:
    """AUROC, in [0, 1], of |score| (K, K) for finding pairs (P, 2); n counts the pairs judged.

    The reverse of a tied pair is left out: a tie holds both ways.
    """
    value = causal.detection(score, [tuple(pair) for pair in pairs.tolist()])
    if np.isnan(value):
        raise NotApplicable(NONE if np.isnan(score[tuple(pairs.T)]).all() else ALONE)
    planted = {tuple(pair) for pair in pairs.tolist()}
    judged = [(a, b) for a, b in zip(*np.nonzero(~np.isnan(score)), strict=True)
              if a != b and ((a, b) in planted or (b, a) not in planted)]
    return Value(value, len(judged), detail={"tied": len(planted.intersection(judged))})


def _spec(name: str, title: str, unit: str, chance: str, compute, *keys: str,
          **over: str) -> Spec:
    needs = tuple(f"shortcut.{key}" for key in keys)
    return Spec(name=name, title=title, unit=unit, direction="higher", chance=chance,
                source="measures.md B8", rows=(Row("test", compute, needs, "test"),), **over)


SPECS = (
    _spec("shortcut", "Shortcut score", "change of a probability", "pairs that nothing ties",
          shortcut, "tied", "score", "pairs", "rows", "outputs", level="95 %", resamples="images"),
    _spec("shortcut_detection", "Shortcut detection", "AUROC over pairs", "0.5", detection,
          "score", "pairs"),
)

_PAIRS = np.array([[0, 1], [1, 0], [2, 3]])
_NAMES = np.array([f"p{k}" for k in range(12)])


def _case(score: np.ndarray, half: float = 0.05) -> tuple:
    sizes = np.abs(score[tuple(_PAIRS.T)])
    tied = np.nan if np.isnan(sizes).all() else np.nanmean(sizes)
    return tied + np.array([0, -half, half]), score, _PAIRS.copy(), np.arange(40), _NAMES.copy()


def _tied(rng: np.random.Generator, size: float, sign: int = 1) -> np.ndarray:
    """Scores of noise, of a size at the tied pairs, alternating in sign."""
    score = 0.01 * rng.normal(size=(12, 12))
    score[tuple(_PAIRS.T)] = size * np.array([1, sign, 1])
    return score


def _undefined(rng: np.random.Generator) -> np.ndarray:
    """No dimension tells part 2, so the third pair has no score."""
    score = _tied(rng, 0.4)
    score[2] = np.nan
    return score


def _nothing(rng: np.random.Generator) -> np.ndarray:
    score = _tied(rng, 0.4)
    score[:3] = np.nan
    return score


def _pair(rng: np.random.Generator, make) -> tuple[np.ndarray, np.ndarray]:
    return make(rng), _PAIRS.copy()


_COUNT = 12 * 11 - 1  # but for (3, 2), the reverse of a tied pair

KNOWN = (
    Known("shortcut", "perfect", lambda rng: _case(_tied(rng, 1.0), 0), 1, 1, n=40),
    Known("shortcut", "null", lambda rng: _case(_tied(rng, 0)), 0, 0, n=40),
    Known("shortcut", "hostile", lambda rng: _case(_tied(rng, 0.5, -1)), 0.5, 0.5, n=40),
    Known("shortcut", "hostile", lambda rng: _case(_undefined(rng)), 0.4, 0.4, n=40),
    Known("shortcut", "hostile", lambda rng: _case(_nothing(rng)), reason="no code dimension"),
    Known("shortcut_detection", "perfect", lambda rng: _pair(rng, lambda r: _tied(r, 0.5, -1)),
          1, 1, n=_COUNT),
    Known("shortcut_detection", "null", lambda rng: (np.ones((12, 12)), _PAIRS.copy()), 0.5, 0.5,
          n=_COUNT),
    Known("shortcut_detection", "hostile", lambda rng: _pair(rng, lambda r: _tied(r, 0)), 0, 0,
          n=_COUNT),
    Known("shortcut_detection", "hostile", lambda rng: _pair(rng, _undefined), 1, 1,
          n=_COUNT - 11),
    Known("shortcut_detection", "hostile", lambda rng: _pair(rng, _nothing),
          reason="no code dimension"),
    Known("shortcut_detection", "hostile", lambda rng: (np.eye(2), np.array([[0, 1], [1, 0]])),
          reason="no pairs beside"),
)

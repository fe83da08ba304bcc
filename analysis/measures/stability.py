"""Stability over seeds: does another training find the same dimensions? (measures.md B6)

Codes of the same test images by this training and by every other training seed of the study.
`stability`: the dimensions of two trainings are matched one to one so that the sum of |Pearson| is
largest; mean over the dimensions, and over the pairs with every other training. A dimension that
never changes is matched by 0. `cka`: linear CKA of the codes as wholes (the biased estimator of
Kornblith et al., ICML 2019), mean over the same pairs.
Beside them the lowest and the highest of several pairs. Chance is what shuffled images give; it
stands in details.json.
"""

import numpy as np

from analysis.matching import aligned, match, shuffles
from analysis.resampling import listed
from analysis.spec import Known, Row, Spec, Value

NEEDS = ("codes.test", "codes.other_seeds")
PAIRS = {"level": "range", "resamples": "pairs of trainings"}


def stability(codes: np.ndarray, others: np.ndarray) -> Value:
    """Mean |Pearson| of matched dimensions, in [0, 1]: codes (N, m), others (S - 1, N, m)."""
    found = [match(codes, other, shuffles(len(codes), k)) for k, other in enumerate(others)]
    _, correlations, nulls = (np.stack(part) for part in zip(*found, strict=True))
    return _pairs(correlations.mean(axis=1), nulls, len(codes), listed(correlations.mean(axis=0)))


def cka(codes: np.ndarray, others: np.ndarray) -> Value:
    """Linear CKA, in [0, 1]: codes (N, m), others (S - 1, N, m)."""
    found = [aligned(codes, other, shuffles(len(codes), k)) for k, other in enumerate(others)]
    values, nulls = (np.array(part) for part in zip(*found, strict=True))
    return _pairs(values, nulls, len(codes), {})


def _pairs(values: np.ndarray, nulls: np.ndarray, n: int, detail: dict) -> Value:
    """Mean of values (S - 1,) of pairs of trainings, and the lowest and highest of several."""
    value = float(values.mean())
    lowest, highest = min(float(values.min()), value), max(float(values.max()), value)
    return Value(value, n, *((lowest, highest) if len(values) > 1 else (None, None)),
                 detail=detail | {"other_seeds": values.tolist(), **_chance(nulls)})


def _chance(nulls: np.ndarray) -> dict[str, float]:
    """Of nulls (S - 1, R): the mean, and the 95 % quantile of the means over other seeds."""
    return {"null": float(nulls.mean()), "null_q95": float(np.quantile(nulls.mean(axis=0), 0.95))}


SPECS = (
    Spec(name="stability", title="Stability", unit="mean |Pearson| of matched dimensions",
         direction="higher", source="measures.md B6", chance="shuffled images", **PAIRS,
         rows=(Row("test", stability, NEEDS, "test"),)),
    Spec(name="cka", title="CKA over seeds", unit="linear CKA", direction="higher", **PAIRS,
         source="measures.md B6; Kornblith et al. 2019", chance="shuffled images",
         rows=(Row("test", cka, NEEDS, "test"),)),
)

N, M = 600, 6


def _codes(rng: np.random.Generator) -> np.ndarray:
    """Skewed and correlated, as activations are."""
    return np.exp(rng.normal(size=(N, M)) @ (np.eye(M) + 0.2 * rng.normal(size=(M, M))))


def _renamed(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Other trainings with the same dimensions in another order, sign and place."""
    codes = _codes(rng)
    return codes, np.stack([7 * codes[:, rng.permutation(M)] * rng.choice([-1, 1], M) + 3
                            for _ in range(2)])


def _unrelated(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return _codes(rng), np.stack([_codes(rng), _codes(rng)])


def _half_dead(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Half of the dimensions never change in any training; the others are the same in all."""
    codes = _codes(rng)
    codes = np.hstack([codes[:, :3], np.full((N, 3), 0.1, np.float32)])
    return codes, codes[None, :, ::-1].copy()


def _one_alike(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One other training is the same, and in the other every dimension is dead."""
    codes = _codes(rng)
    return codes, np.stack([codes, np.ones((N, M))])


KNOWN = (
    Known("stability", "perfect", _renamed, 1 - 1e-9, 1 + 1e-9, ),
    Known("stability", "null", _unrelated, 0, 0.15, ),
    Known("stability", "hostile", _half_dead, 0.5 - 1e-9, 0.5 + 1e-9, ),
    Known("stability", "hostile", _one_alike, 0.5 - 1e-9, 0.5 + 1e-9, ),
    Known("cka", "perfect", _renamed, 1 - 1e-9, 1 + 1e-9),
    Known("cka", "null", _unrelated, 0, 0.1),
    Known("cka", "hostile", _half_dead, 1 - 1e-9, 1 + 1e-9),
    Known("cka", "hostile", _one_alike, 0.5 - 1e-9, 0.5 + 1e-9),
)

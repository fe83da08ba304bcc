"""Consistency: do the patches of one dimension look alike? (measures.md B4)

The most activated patches of each dimension, embedded by an early layer of the data set's
classifier. Mean cosine of two patches of one dimension minus that of patches of two dimensions;
embeddings are first centred over all patches, without which all look alike. 1: patches of a
dimension are the same, those of others unrelated; chance 0, with a permutation p-value in the
details. "elsewhere" is the control: the same boxes in random images. Where images are aligned one
place looks alike in all of them, and only the difference of the two says what a dimension adds.
"""

import numpy as np

from analysis.resampling import OVER_DIMENSIONS, over_dimensions
from analysis.spec import Known, Row, Spec, Value
from patronus.errors import NotApplicable
from patronus.seeds import seed_for

PERMUTATIONS = 999
NO_BOX = "the method does not say where a dimension fires: no patch to look at"
ALIKE = "all patches look the same to the classifier"


def consistency(patches: np.ndarray) -> Value:
    """Mean over D dimensions of within minus between cosine, in [-2, 2], from patches (D, q, F)."""
    if np.isnan(patches).any():
        raise NotApplicable(NO_BOX)
    dims, q = patches.shape[:2]
    if dims < 2 or q < 2:
        raise NotApplicable(f"{dims} dimensions with {q} patches each: two of both are needed")
    cosine = cosines(patches)
    owner = np.repeat(np.arange(dims), q)
    scores = contrast(cosine, owner)
    rng = np.random.default_rng(seed_for("consistency"))
    null = np.array([contrast(cosine, rng.permutation(owner)).mean()
                     for _ in range(PERMUTATIONS)])
    p = (1 + (null >= scores.mean() - 1e-12).sum()) / (1 + PERMUTATIONS)
    return over_dimensions(scores, ALIKE, p=float(p))


def cosines(patches: np.ndarray) -> np.ndarray:
    """Cosine (D q, D q) of all centred embeddings (D, q, F)."""
    flat = patches.reshape(-1, patches.shape[-1]).astype(np.float64)
    flat = flat - flat.mean(axis=0)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    if (length <= 1e-9 * max(1.0, np.abs(patches).max())).all():
        raise NotApplicable(ALIKE)
    flat = np.divide(flat, length, out=np.zeros_like(flat), where=length > 0)
    return flat @ flat.T


def contrast(cosine: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Mean cosine within each owner (D,) minus that with patches of the others.

    cosine (P, P), owner (P,) in 0..D-1, each with the same number of patches.
    """
    belongs = np.eye(owner.max() + 1)[owner]  # (P, D)
    sums = belongs.T @ cosine @ belongs
    q, total = len(owner) // (owner.max() + 1), len(owner)
    own = (np.diag(sums) - belongs.T @ np.diag(cosine)) / (q * (q - 1))
    return own - (sums.sum(axis=1) - np.diag(sums)) / (q * (total - q))


SPECS = (
    Spec(name="consistency", title="Consistency", unit="cosine", direction="higher",
         source="measures.md B4", chance="0", **OVER_DIMENSIONS,
         rows=(Row("", consistency, ("interventions.patches",), "test", "classifier"),)),
    Spec(name="consistency_elsewhere", title="Consistency, same boxes in other images",
         unit="cosine", direction="lower", source="measures.md B4", **OVER_DIMENSIONS,
         chance="itself: it is the control",
         rows=(Row("", consistency, ("interventions.patches_elsewhere",), "test", "classifier"),)),
)


def _same(rng: np.random.Generator) -> tuple:
    """Each dimension has one patch, as far from those of the others as possible."""
    return (np.tile(np.eye(5)[:, None], (1, 6, 1)),)


def _unrelated(rng: np.random.Generator) -> tuple:
    return (rng.normal(size=(12, 8, 40)),)


def _shared(rng: np.random.Generator) -> tuple:
    """All patches share a large part, and one dimension's are all its own."""
    patches = rng.normal(size=(6, 8, 300)) + 50
    patches[0] = patches[0, :1]
    return (patches,)


def _still(rng: np.random.Generator) -> tuple:
    return (np.full((4, 5, 3), 0.3),)


def _known(name: str) -> tuple[Known, ...]:
    return (Known(name, "perfect", _same, 1.25 - 1e-9, 1.25 + 1e-9),  # 1 - (-1/4)
            Known(name, "null", _unrelated, -0.03, 0.03),
            Known(name, "hostile", _shared, 0.1, 0.25),
            Known(name, "hostile", _still, reason="look the same"),
            Known(name, "hostile", lambda rng: (rng.normal(size=(1, 5, 3)),), reason="two of both"),
            Known(name, "hostile", lambda rng: (np.full((4, 1, 1), np.nan),), reason="no patch"))


KNOWN = tuple(case for spec in SPECS for case in _known(spec.name))

"""Which rows of a set are taken where not all of them are: a random choice, never the first ones.

A set may be sorted (by class, as folders list it): its head is then no sample of it.
"""

import numpy as np

from patronus.seeds import seed_for


def random_rows(count: int, wanted: float, *names: object) -> np.ndarray:
    """`wanted` different rows of `count`, ascending; all of them where `wanted` is no less.

    They depend on the arguments alone: `names` are the seed's (patronus.seeds).
    """
    if wanted >= count:
        return np.arange(count)
    rng = np.random.default_rng(seed_for(*names))
    return np.sort(rng.choice(count, wanted, replace=False))


def shuffled_rows(count: int, wanted: float, *names: object) -> np.ndarray:
    """The same rows in random order: for whatever takes the first of them, or neighbours."""
    rng = np.random.default_rng(seed_for(*names, "order"))
    return rng.permutation(random_rows(count, wanted, *names))

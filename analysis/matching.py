"""How alike two codes of the same images are (measures.md B6). No torch here.

The dimensions of two codes are matched one to one so that the sum of |Pearson| is largest
(Hungarian assignment); linear CKA compares the codes as wholes. What shuffled images would give is
the null of both.
"""

import numpy as np
from scipy.optimize import linear_sum_assignment

from patronus.seeds import seed_for

SHUFFLES = 100


def shuffles(n: int, *names: object) -> list[np.ndarray]:
    """SHUFFLES orders (n,) of n images, which `names` decide."""
    return [np.random.default_rng(seed_for("stability", *names, r)).permutation(n)
            for r in range(SHUFFLES)]


def standardised(codes: np.ndarray) -> np.ndarray:
    """Columns of codes (n, m) with mean 0 and length 1, so that x.T @ y is Pearson's r.

    A constant column becomes 0 and so correlates with nothing: a dead dimension is no stable one.
    """
    codes = np.asarray(codes, dtype=np.float64)
    centred = np.where(dead(codes), 0, codes - codes.mean(0))
    return centred / np.maximum(np.linalg.norm(centred, axis=0), np.finfo(float).tiny)


def dead(codes: np.ndarray) -> np.ndarray:
    """(m,) bool: columns of codes (n, m) that hold one value."""
    return np.ptp(codes, axis=0) == 0


def matched(likeness: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of likeness (m, m): the column of each row in the assignment of largest sum, its entries."""
    rows, partner = linear_sum_assignment(likeness, maximize=True)
    return partner, likeness[rows, partner]


def match(a: np.ndarray, b: np.ndarray,
          orders: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """partner (m,), correlation (m,) and null (R,) of codes (n, m) and (n, m) of the same images.

    partner: the dimension of b matched with each of a; correlation: |Pearson| of the two; null:
    the mean of that after each of the R orders (n,) of b's images.
    """
    x, y = standardised(a), standardised(b)
    null = [matched(np.abs(x.T @ y[order]))[1].mean() for order in orders]
    return *matched(np.abs(x.T @ y)), np.array(null)


def aligned(a: np.ndarray, b: np.ndarray,
            orders: list[np.ndarray]) -> tuple[float, np.ndarray]:
    """Linear CKA, in [0, 1], of codes (n, p) and (n, q), and its null (R,) as in `match`.

    Kornblith et al. 2019: |y'x|^2 / (|x'x| |y'y|) of centred columns, the Gram matrices' formula
    without n x n matrices; 0 where a code is constant.
    """
    if dead(a).all() or dead(b).all():
        return 0.0, np.zeros(len(orders))
    x, y = (np.asarray(code, dtype=np.float64) - np.mean(code, axis=0, dtype=np.float64)
            for code in (a, b))
    own = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    values = [np.linalg.norm(part.T @ x) ** 2 / own for part in (y, *(y[o] for o in orders))]
    return float(values[0]), np.array(values[1:])


def linear_cka(a: np.ndarray, b: np.ndarray) -> float:
    """The same without a null."""
    return aligned(a, b, [])[0]

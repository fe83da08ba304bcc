"""Resolution: does a dimension tell images apart at all? A warning, for coarse codes.

Share of the pairs of test images to which a dimension gives different values (Simpson's index of
diversity, without replacement): 1 where no two are equal, a half for a balanced bit, 0 where all
are. What differs by less than rounding is equal. Mean over all dimensions of the code.

A step of a coarse code is as large as the change that is asked for, so that any answer is a whole
one: a code of one bit raises the realised fraction and selectivity of the very same model. These
leave coarse dimensions out (`fine`).
"""

import numpy as np

from analysis.answers import TIE, spread
from analysis.resampling import OVER_DIMENSIONS, over_dimensions
from analysis.spec import Known, Row, Spec, Value
from patronus.errors import NotApplicable

FEW = 10  # different values; with fewer, one step is more than a tenth of what can be asked
NONE = "the code has no dimension"
COARSE = (f"the asked dimensions are coarse: each takes fewer than {FEW} different values in the "
          "test images, so one step is as much as is asked; see resolution")


def resolution(test_codes: np.ndarray) -> Value:
    """Mean over m dimensions of the share of pairs told apart, in [0, 1], of codes (N, m).

    detail: `values`, how many different values each dimension takes; `coarse`, how many are.
    """
    counts = repeats(test_codes)
    n = len(test_codes)
    same = np.array([(count * (count - 1)).sum() for count in counts], dtype=float)
    return over_dimensions(1 - same / (n * (n - 1)), NONE, values=[len(count) for count in counts],
                   coarse=int(coarse(test_codes).sum()))


def coarse(test_codes: np.ndarray) -> np.ndarray:
    """(m,) bool of codes (N, m): fewer than FEW values, which repeat.

    The most common value does not count, so that a sparse code, mostly 0, is not coarse as long as
    half of the others are different. A constant dimension is not coarse: it asks nothing.
    """
    counts = repeats(test_codes)
    values = np.array([len(count) for count in counts])
    others = len(test_codes) - np.array([count.max() for count in counts])
    return (values < FEW) & (values - 1 < others / 2)


def fine(values: np.ndarray, dims: np.ndarray, test_codes: np.ndarray) -> np.ndarray:
    """Values (D, n) of dimensions dims (D,) of codes (N, m), NaN where these are coarse.

    Raises NotApplicable where no dimension is left.
    """
    left_out = coarse(test_codes)[dims]
    if left_out.all():
        raise NotApplicable(COARSE)
    return np.where(left_out[:, None], np.nan, values)


def repeats(codes: np.ndarray) -> list[np.ndarray]:
    """For each of m dimensions of codes (N, m), how often each of its values occurs."""
    steps = np.round(codes / np.nan_to_num(spread(codes.std(axis=0)), nan=1) / TIE)
    return [np.unique(column, return_counts=True)[1] for column in steps.T]


SPECS = (
    Spec(name="resolution", title="Resolution", unit="share of pairs of images", least_n=2,
         direction="higher", source="measures.md B2; Simpson 1949", **OVER_DIMENSIONS,
         chance="0.5: one bit", rows=(Row("test", resolution, ("codes.test",), "test"),)),
)


def _bits(rng: np.random.Generator) -> tuple:
    """Three balanced bits, the first with rounding upon it."""
    codes = np.tile(np.arange(40.0)[:, None] % 2, 3)
    codes[:, 0] += 1e-6 * rng.normal(size=40)
    return (codes,)


def _sparse(rng: np.random.Generator) -> tuple:
    """Half of the images have 0, the others values of their own: 3/4 of the pairs, nearly."""
    return (np.where(np.arange(40)[:, None] % 2, 0, rng.uniform(1, 2, (40, 2))),)


KNOWN = (
    Known("resolution", "perfect", lambda rng: (rng.normal(size=(200, 5)),), 1 - 1e-3, 1, n=5),
    Known("resolution", "null", lambda rng: (np.ones((30, 4)),), 0, 0, n=4),
    Known("resolution", "hostile", _bits, 20 / 39 - 1e-12, 20 / 39 + 1e-12, n=3),
    Known("resolution", "hostile", _sparse, 1 - 19 / 78 - 1e-12, 1 - 19 / 78 + 1e-12, n=2),
)

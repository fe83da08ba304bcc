"""Locality: does an edit change the image where the dimension fires? (measures.md B3)

The box is the receptive field of the edited image's most activated patch, the change is
|x' - xhat|^2 after do(j, v_max). Locality: share of the change inside the box over the box's share
of the image; chance 1, and a box of a tenth of the image allows 10 at most. Pointing: share of
images in which the peak of the blurred change lies in the box; chance is the box's share of the
image. Change area, also of methods without boxes: share of the image of the smallest square that
holds half of the change; a change spread evenly over the image has 0.5.

Means over images, then over the D dimensions of largest spread; images that did not change are
left out.
"""

from collections.abc import Callable

import numpy as np

from analysis.resampling import OVER_IMAGES, kind, summary
from analysis.spec import Known, Row, Spec, Value
from patronus.errors import NotApplicable

NO_BOX = "the method does not say where a dimension fires: no box; see change_area"
NO_CHANGE = "no edit changed any image"


def locality(name: str) -> Callable[..., Value]:
    """The measure under the kind `name` of intervention."""
    def compute(kinds: np.ndarray, share: np.ndarray, area: np.ndarray) -> Value:
        """Mean of share / area (V, D, n), at least 0; kinds (V,)."""
        share, area = _boxed(kinds, name, share, area)
        ratio = np.divide(share, area, out=np.full(share.shape, np.nan), where=area > 0)
        return summary(ratio, NO_CHANGE, area=float(np.nanmean(area)))

    return compute


def pointing(name: str) -> Callable[..., Value]:
    """The measure under the kind `name` of intervention."""
    def compute(kinds: np.ndarray, hit: np.ndarray, area: np.ndarray) -> Value:
        """Mean of hit (V, D, n), 0 to 1; kinds (V,), area (V, D, n). detail: the chance level."""
        hit, area = _boxed(kinds, name, hit, area)
        return summary(hit, NO_CHANGE, shares=True, chance=float(np.nanmean(area)))

    return compute


def change_area(name: str) -> Callable[..., Value]:
    """The measure under the kind `name` of intervention."""
    def compute(kinds: np.ndarray, square: np.ndarray) -> Value:
        """Mean of square (V, D, n), 0 to 1; kinds (V,)."""
        return summary(square[kind(kinds, name)], NO_CHANGE)

    return compute


def _boxed(kinds: np.ndarray, name: str, *arrays: np.ndarray) -> list[np.ndarray]:
    """One kind (D, n) of arrays (V, D, n), the last of which is the area: NaN without boxes."""
    found = [array[kind(kinds, name)] for array in arrays]
    if np.isnan(found[-1]).all():
        raise NotApplicable(NO_BOX)
    return found


def _spec(name: str, title: str, unit: str, direction: str, chance: str, make: Callable,
          *arrays: str) -> Spec:
    needs = tuple(f"interventions.{key}" for key in ("kinds", *arrays))
    rows = tuple(Row(variant, make(of), needs, "test")
                 for variant, of in (("inverted", "max"), ("random", "max_random")))
    return Spec(name=name, title=title, unit=unit, direction=direction, rows=rows,
                source="measures.md B3; pointing game: Zhang et al. 2016", chance=chance,
                **OVER_IMAGES)


SPECS = (
    _spec("locality", "Locality", "times chance", "higher", "1", locality, "share", "area"),
    _spec("pointing", "Pointing", "share of images", "higher", "the box's share of the image",
          pointing, "hit", "area"),
    _spec("change_area", "Change area", "share of the image", "lower",
          "0.5: spread evenly", change_area, "square"),
)


def _case(values: np.ndarray, area: float | None = 0.1, still: int = 0) -> tuple:
    """values (D, n) and boxes of one size, None for no boxes; some dimensions change nothing."""
    values = values.copy()
    values[len(values) - still:] = np.nan
    areas = np.full(values.shape, np.nan if area is None else area)
    return np.array(["max", "max_random"]), np.stack([values] * 2), np.stack([areas] * 2)


def _by_chance(rng: np.random.Generator) -> tuple:
    return _case((rng.random((20, 200)) < 0.1).astype(float))


def _holes(values: np.ndarray) -> tuple:
    """Images that did not change, and a dimension that never does anything."""
    values[:, ::3] = np.nan
    return _case(values, still=1)


_ONES = np.ones((6, 30))

KNOWN = (
    Known("locality", "perfect", lambda rng: _case(_ONES), 10 - 1e-9, 10 + 1e-9, n=30, d=6),
    Known("locality", "null", lambda rng: _case(0.1 * _ONES), 1 - 1e-9, 1 + 1e-9, n=30, d=6),
    Known("locality", "hostile", lambda rng: _holes(_ONES.copy()), 10 - 1e-9, 10 + 1e-9, n=20, d=5),
    Known("locality", "hostile", lambda rng: _case(_ONES * np.nan, None), reason="no box"),
    Known("locality", "hostile", lambda rng: _case(_ONES, still=6), reason="no edit changed"),
    Known("pointing", "perfect", lambda rng: _case(_ONES), 1, 1, n=30, d=6),
    Known("pointing", "null", _by_chance, 0.09, 0.11, n=200, d=20),
    Known("pointing", "hostile", lambda rng: _holes(_ONES.copy()), 1, 1, n=20, d=5),
    Known("pointing", "hostile", lambda rng: _case(_ONES * np.nan, None), reason="no box"),
    Known("change_area", "perfect", lambda rng: _case(_ONES / 1024)[:2], 0, 1 / 1024, n=30, d=6),
    Known("change_area", "null", lambda rng: _case(_ONES / 2)[:2], 0.5, 0.5, n=30, d=6),
    Known("change_area", "hostile", lambda rng: _holes(_ONES / 4)[:2], 0.25, 0.25, n=20, d=5),
    Known("change_area", "hostile", lambda rng: _case(_ONES, still=6)[:2],
          reason="no edit changed"),
)

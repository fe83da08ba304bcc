"""Sensitivity: how far does the image move with its code? (measures.md B7)

Noise of 0.05, 0.1 and 0.2 standard deviations of the training codes is added to all entries of an
image's code, x_T stays, and the image is decoded anew: root mean squared change in gray levels of
256. "slope": least squares through the origin, gray levels for one standard deviation. 0 is a code
that nothing listens to. Neither much nor little is right by itself: read it beside `realised`.
"""

from collections.abc import Callable

import numpy as np

from analysis.answers import NOISES
from analysis.resampling import of_images
from analysis.spec import Known, Row, Spec, Value


def slope(noises: np.ndarray, moved: np.ndarray) -> Value:
    """Gray levels for one standard deviation: noises (L,), moved (L, n) gray levels."""
    return of_images(noises @ moved / np.square(noises).sum())


def change(at: float) -> Callable[..., Value]:
    """The measure at one amount of noise."""
    def compute(noises: np.ndarray, moved: np.ndarray) -> Value:
        """Mean change in gray levels: noises (L,), moved (L, n)."""
        return of_images(moved[np.abs(noises - at).argmin()])

    return compute


_NEEDS = ("interventions.noises", "interventions.moved")

SPECS = (
    Spec(name="sensitivity", title="Sensitivity", unit="gray levels", direction="higher",
         source="measures.md B7", chance="0",
         level="95 %", resamples="images",
         rows=(Row("slope", slope, _NEEDS, "test"),
               *(Row(str(at), change(at), _NEEDS, "test") for at in NOISES))),
)


def _moved(rng: np.random.Generator, rate: float, n: int = 40) -> tuple:
    """Images that move in proportion to the noise."""
    return np.array(NOISES), rate * np.array(NOISES)[:, None] * np.ones((1, n))


def _saturated(rng: np.random.Generator) -> tuple:
    """All move as far whatever the noise: 1 gray level, as a slope 0.35 / 0.0525 at most."""
    return np.array(NOISES), np.ones((3, 40))


KNOWN = (
    Known("sensitivity", "perfect", lambda rng: _moved(rng, 20.0), 1 - 1e-9, 20 + 1e-9, n=40),
    Known("sensitivity", "null", lambda rng: _moved(rng, 0.0), 0, 0, n=40),
    Known("sensitivity", "hostile", _saturated, 1 - 1e-9, 0.35 / 0.0525 + 1e-9, n=40),
    Known("sensitivity", "hostile", lambda rng: _moved(rng, 2.0, 1), 0.1 - 1e-9, 2 + 1e-9, n=1),
)

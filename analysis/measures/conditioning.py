"""Conditioning: does the denoiser use the code of its image? (measures.md B10)

Held-out error of the noise estimate with another image's code over that with the image's own, each
the mean over images and over times spread evenly. 1: the code is not used, or does not tell images
apart. Whether the own code helps at all, against the same denoiser without a code, is the figure of
the stage "conditioning", which has the counterpart for some methods only.
"""

import numpy as np

from analysis import intervals
from analysis.resampling import ends
from analysis.spec import Known, Row, Spec, Value
from patronus.errors import NotApplicable


def conditioning(kinds: np.ndarray, mse: np.ndarray) -> Value:
    """Shuffled over own error, above 0: mse (kinds, n, T') of denoising.npz, kinds by name.

    Raises NotApplicable for a method without a code, and for one that makes no error at all.
    """
    errors = dict(zip(kinds.tolist(), mse.mean(axis=2, dtype=np.float64), strict=True))
    if "shuffled" not in errors:
        raise NotApplicable("the method has no code")
    own, n = errors["code"], mse.shape[1]
    if not (own > 0).all():
        raise NotApplicable("the error with the own code is 0: there is no ratio")
    found = intervals.ratio(errors["shuffled"], own)
    return Value(float(found.value), n, *ends(found),
                 detail={"own": float(own.mean()), "shuffled": float(errors["shuffled"].mean())})


SPECS = (
    Spec(name="conditioning", title="Conditioning", unit="shuffled over own error",
         direction="higher", source="measures.md B10", chance="1",
         level="95 %", resamples="images",
         rows=(Row("test", conditioning, ("denoising.kinds", "denoising.mse"), "test"),)),
)


def _errors(rng: np.random.Generator, factor: float) -> tuple[np.ndarray, np.ndarray]:
    own = rng.uniform(0.01, 0.5, size=(80, 9)).astype(np.float32)
    return np.array(["code", "shuffled"]), np.stack([own, np.float32(factor) * own])


def _unused(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Errors that do not depend on whose code it is, apart from noise."""
    kinds, mse = _errors(rng, 1)
    return kinds, mse * rng.uniform(0.9, 1.1, size=mse.shape).astype(np.float32)


def _misleading(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The own code hurts, in the order of kinds that no file has."""
    kinds, mse = _errors(rng, 0.5)
    return kinds[::-1].copy(), mse[::-1].copy()


KNOWN = (
    Known("conditioning", "perfect", lambda rng: _errors(rng, 4), 4 - 1e-6, 4 + 1e-6, n=80),
    Known("conditioning", "null", _unused, 0.98, 1.02, n=80),
    Known("conditioning", "hostile", _misleading, 0.5 - 1e-6, 0.5 + 1e-6, n=80),
    Known("conditioning", "hostile", lambda rng: (np.array(["none"]), _errors(rng, 1)[1][:1]),
          reason="no code"),
    Known("conditioning", "hostile", lambda rng: (_errors(rng, 1)[0], np.zeros((2, 5, 3))),
          reason="no ratio"),
)

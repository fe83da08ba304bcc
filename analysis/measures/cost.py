"""Cost of a method: what it holds and what it computes (measures.md B11).

Counted for the cell's configuration (stage "costs"): parameters, trained or frozen; floating-point
operations of one sampling step of one image, the code at hand, and of encoding one image. A
multiply-add counts 2. Seconds and memory differ from run to run: they stand in the table `costs`.
"""

import numpy as np

from analysis.spec import Known, Row, Spec, Value

MILLION, GIGA = 1e6, 1e9


def parameters(trained: np.ndarray, frozen: np.ndarray) -> Value:
    """All parameters held, in millions, from (count, count of the same denoiser without a code).

    The second is NaN where there is no such denoiser; all of it is trained.
    """
    own, still = trained[0] / MILLION, frozen[0] / MILLION
    return _beside(own + still, trained[1] / MILLION, trained=float(own), frozen=float(still))


def operations(flops: np.ndarray) -> Value:
    """GFLOP for one image, from (FLOPs, those of the same denoiser without a code or NaN)."""
    return _beside(flops[0] / GIGA, flops[1] / GIGA)


def _beside(value: float, other: float, **detail: float) -> Value:
    """A count of one model; detail: the counterpart's and the ratio, where there is one."""
    if other > 0:
        detail |= {"unconditional": float(other), "ratio": float(value / other)}
    return Value(float(value), 1, detail=detail)


def _spec(name: str, title: str, unit: str, compute, *keys: str) -> Spec:
    needs = tuple(f"costs.{key}" for key in keys)
    return Spec(name=name, title=title, unit=unit, direction="lower", source="measures.md B11",
                rows=(Row("count", compute, needs, ""),))


SPECS = (
    _spec("parameters", "Parameters", "million", parameters, "parameters", "parameters_frozen"),
    _spec("flops_step", "Sampling step", "GFLOP an image", operations, "flops_sampling"),
    _spec("flops_encode", "Encoding", "GFLOP an image", operations, "flops_encoding"),
)


def _operations(name: str) -> tuple[Known, ...]:
    return (
        Known(name, "perfect", lambda rng: (np.array([4.2e9, 4.0e9]),), 4.2, 4.2, n=1),
        Known(name, "null", lambda rng: (np.array([0.0, 4.0e9]),), 0, 0, n=1),
        Known(name, "hostile", lambda rng: (np.array([7e13, np.nan]),), 70_000, 70_000, n=1))


KNOWN = (
    Known("parameters", "perfect", lambda rng: (np.array([25.9e6, 24.05e6]), np.array([0.0, 0])),
          25.9, 25.9, n=1),
    Known("parameters", "null", lambda rng: (np.zeros(2), np.zeros(2)), 0, 0, n=1),
    # nothing of it is trained: it stands on a frozen denoiser and is no cheaper for that
    Known("parameters", "hostile", lambda rng: (np.array([0, np.nan]), np.array([24e6, np.nan])),
          24, 24, n=1),
    *_operations("flops_step"), *_operations("flops_encode"),
)

"""Ground truth: do boxes and changes meet the parts that were drawn? (measures.md B9)

Generated sets only: their maker knows which pixels show which part. For each part its best
dimension, by AUROC of training codes. Box against part, in test images that show it: intersection
over union with the mask, and whether the middle of the box lies in it. Change against part, in
images without it, after do(j, v_max): share of the change where the part lies when it is there
(analysis/truth.py), over that region's share of the image; 1 is as if spread evenly.

Means over images, then over parts. "any" is chance: the mean over all
dimensions asked instead of the best one. A box much larger than the part has a small intersection
over union however well it lies, so compare it with "any", not with 1.
"""

import numpy as np

from analysis.resampling import OVER_IMAGES, summary
from analysis.spec import Known, Row, Spec, Value

NONE = "no part of this set is drawn under its label's name, or the method has no boxes"


def mean_over_parts(values: np.ndarray) -> Value:
    """Mean of values (K, n) over images, then over parts; NaN: not counted."""
    return summary(values, NONE)


def share_over_parts(values: np.ndarray) -> Value:
    """The same of values that are 0 or 1."""
    return summary(values, NONE, shares=True)


def _spec(name: str, title: str, unit: str) -> Spec:
    best = share_over_parts if name == "truth_hit" else mean_over_parts
    rows = (Row("best", best, (f"interventions.{name}",), "test"),
            Row("any", mean_over_parts, (f"interventions.{name}_any",), "test"))
    return Spec(name=name, title=title, unit=unit, direction="higher", rows=rows,
                source="measures.md B9", chance="the row \"any\"",
                **OVER_IMAGES | {"across": "parts"})


SPECS = (
    _spec("truth_iou", "Box on the true part", "intersection over union"),
    _spec("truth_hit", "Box's middle in the true part", "share of images"),
    _spec("truth_energy", "Change in the true part", "times the region's share of the image"),
)


def _holes(rng: np.random.Generator) -> tuple:
    """Part 0 is always met, in the one image that shows it; part 1 never; part 2 is nowhere."""
    values = np.full((3, 9), np.nan)
    values[0, 4], values[1] = 1, 0
    return (values,)


def _known(name: str) -> tuple[Known, ...]:
    return (Known(name, "perfect", lambda rng: (np.ones((4, 9)),), 1, 1, n=9, d=4),
            Known(name, "null", lambda rng: (np.zeros((4, 9)),), 0, 0, n=9, d=4),
            Known(name, "hostile", _holes, 0.5, 0.5, n=9, d=2),
            Known(name, "hostile", lambda rng: (np.full((4, 9), np.nan),), reason="no part"))


KNOWN = tuple(case for spec in SPECS for case in _known(spec.name))

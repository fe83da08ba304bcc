"""The worst dimensions: what a mean over all of them hides.

Two broken dimensions of 32 take a sixteenth from a mean, less than models differ by anyway. Beside
the mean of a measure over dimensions stands here the mean of its worst tenth (rounded up to whole
dimensions; `d` says how many): of the dimensions that have a value, those of the lowest. Taken of
the first row of each measure named in OF, whose docstring and source hold here too.

The worst of many is below the mean by chance alone, the more so the fewer images there are: compare
it with other models asked about as many images and dimensions. Which dimensions they are may
differ from model to model; `details.json` has their positions (`at`). The interval is over images,
with the worst as chosen; there is none for new dimensions, for the worst are no sample of them.
"""

from collections.abc import Callable
from dataclasses import replace
from math import ceil

import numpy as np

from analysis.intervals import by_dimension
from analysis.measures import fidelity, locality, rank, selectivity
from analysis.resampling import summary
from analysis.spec import Known, Row, Spec, Value

SHARE = 10  # one in so many
OF = ("fidelity", "realised", "selectivity", "rank", "locality", "pointing")
MODULES = (fidelity, selectivity, rank, locality)


def worst(compute: Callable[..., Value]) -> Callable[..., Value]:
    """The measure `compute`, a mean over dimensions of which more is better, of the worst tenth."""
    def found(*arrays: np.ndarray) -> Value:
        """Mean of the lowest of the D dimensions; arrays as those of the measure itself."""
        whole = compute(*arrays)
        order = np.argsort(by_dimension(whole.scores), kind="stable")  # NaN last
        lowest = order[:ceil(whole.d / SHARE)]
        own = summary(whole.scores[lowest], "", at=lowest.tolist(), of=whole.d)
        return replace(own, n=whole.n, unit=whole.unit, low_new=None, high_new=None)

    return found


def _spec(of: Spec) -> Spec:
    row = of.rows[0]
    return replace(of, name=f"{of.name}_worst", title=f"{of.title}, worst tenth", across="",
                   chance=f"below that of {of.name}: the worst of many",
                   rows=(Row(row.variant, worst(row.compute), row.needs, row.split),))


SPECS = tuple(_spec(spec) for name in OF for module in MODULES
              for spec in module.SPECS if spec.name == name)


def _known(case: Known) -> Known:
    """A case of the measure itself: the worst of equals is as the mean, of others below it."""
    return replace(case, measure=f"{case.measure}_worst", d=case.d and ceil(case.d / SHARE),
                   low=-2 if case.kind == "null" else case.low)


KNOWN = tuple(_known(case) for name in OF for module in MODULES
              for case in module.KNOWN if case.measure == name)

"""Lightning Fabric, imported without torchmetrics.

Fabric imports all of torchmetrics (and with it torchvision and SciPy's signal processing) only to
ask for its version, which decides about a callback that nothing here uses. That took two thirds
of the start of every job that trains.
"""

import sys

_ABSENT = "torchmetrics" not in sys.modules
if _ABSENT:
    sys.modules["torchmetrics"] = None  # Python's way to say: cannot be imported
try:
    from lightning_fabric import Fabric
finally:
    if _ABSENT:
        del sys.modules["torchmetrics"]

__all__ = ["Fabric"]

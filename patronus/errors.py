"""The one error a user sees: a line that names the thing at fault and the cure."""

import sys
from collections.abc import Callable


class Problem(Exception):
    """Something the user can mend. The message is one line: what, where, and the cure."""


class NotApplicable(Exception):
    """A method cannot do this by its nature. The message is the reason shown in tables."""


def guarded(function: Callable[[], None]) -> None:
    """Run `function`; turn user-mendable errors into one line on stderr and exit status 1."""
    try:
        function()
    except (Problem, OSError) as error:
        sys.exit(f"error: {error}")
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":
            raise
        sys.exit(f"error: the GPU's memory is full; lower batch_size of this stage in the scale "
                 f"({str(error).splitlines()[0]})")
    except KeyboardInterrupt:
        sys.exit("error: interrupted; run the same command again to go on")

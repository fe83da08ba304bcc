"""The one error a user sees: a line that names the thing at fault and the cure."""

import os
import sys
import traceback
from collections.abc import Callable


class Problem(Exception):
    """Something the user can mend. The message is one line: what, where, and the cure."""


class NotApplicable(Exception):
    """A method cannot do this by its nature. The message is the reason shown in tables."""


def refused(error: OSError, place: object = "") -> str:
    """The line of a file that the system refused: its name (else `place`), why, and the cure."""
    where = error.filename or place
    why = " ".join(str(error.strerror or error).split())
    return (f"{where}{': ' if where else ''}the system refused it ({why}); "
            "mend the path or its permissions, or free space, then run the same command again")


def guarded(function: Callable[[], None]) -> None:
    """Run `function`; turn user-mendable errors into one line on stderr and exit status 1.

    Before the line of any other error stands its traceback.
    """
    try:
        function()
    except Problem as error:
        sys.exit(f"error: {error}")
    except BrokenPipeError:  # whoever read along has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        sys.exit(f"error: {refused(error)}")
    except MemoryError:
        sys.exit("error: the memory is full; lower batch_size of this stage in the scale, or end "
                 "other programs")
    except Exception as error:
        first = str(error).partition("\n")[0]
        if type(error).__name__ == "OutOfMemoryError":
            sys.exit("error: the GPU's memory is full; lower batch_size of this stage in the scale "
                     f"({first})")
        traceback.print_exc()
        from patronus.plugins import at_fault  # rarely needed

        if said := at_fault(error):
            sys.exit(f"error: {said}")
        sys.exit(f"error: {type(error).__name__}: {first}; a fault of this program: please report "
                 "it with the lines above")
    except KeyboardInterrupt:
        sys.exit("error: interrupted; run the same command again to go on")

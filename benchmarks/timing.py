"""What the benchmarks share: ways of doing one thing, timed in turn, and their record."""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from patronus.files import save_json
from patronus.record import provenance

RESULTS = Path(__file__).with_name("results")
Action = Callable[[], object]


def timed(ways: dict[str, Action], repeats: int, clock: Callable[[], float] = time.process_time) \
        -> dict[str, list[float]]:
    """Seconds of each way in `repeats` rounds, after one that warms up; each round runs them all.

    The default clock is processor time: threads add up, and a busy machine hardly matters. On a
    GPU and for waiting on files or processes give time.perf_counter.
    """
    def once(action: Action) -> float:
        start = clock()
        action()
        return clock() - start

    rounds = [{name: once(action) for name, action in ways.items()} for _ in range(repeats + 1)]
    return {name: [one[name] for one in rounds[1:]] for name in ways}


def spread(values: list[float]) -> dict[str, float]:
    """Of some seconds or ratios: min, median and max."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def ratios(seconds: dict[str, list[float]], reference: str) -> dict[str, dict[str, float]]:
    """How many times faster than `reference` each other way is, round by round."""
    return {name: spread([slow / fast for slow, fast in zip(seconds[reference], own, strict=True)])
            for name, own in seconds.items() if name != reference}


def parser(doc: str, name: str, **defaults: int) -> argparse.ArgumentParser:
    """Of a benchmark: `--out`, and one number for each of `defaults`."""
    made = argparse.ArgumentParser(description=doc.splitlines()[0])
    for option, value in defaults.items():
        made.add_argument(f"--{option}", type=int, default=value)
    made.add_argument("--out", type=Path, default=RESULTS / f"{name}.json")
    return made


def arguments(doc: str, name: str, **defaults: int) -> argparse.Namespace:
    """What the command line says of these options."""
    return parser(doc, name, **defaults).parse_args()


def save(out: Path, found: dict) -> None:
    """Write what was found, with what it was found on."""
    save_json(out, found | {"record": provenance()})

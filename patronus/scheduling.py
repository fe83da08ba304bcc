"""Snakemake's scheduler, kept from waking itself more and more often (docs/running.md).

Seen with Snakemake 9.27: while jobs are ready, each pass of the scheduler starts a timer of one
second whose end starts another pass. Every finished job adds a pass, and so a chain of timers that
goes on until the last job starts; each pass asks for the parameters and resources of all ready
jobs. No torch here.
"""

import threading


def one_timer(scheduler: object) -> None:
    """Let a JobScheduler have one timer of each length at most, so that passes do not multiply.

    The one that is pending brings the pass that the others would have brought. A scheduler without
    these timers is left as it is.
    """
    jobs = getattr(scheduler, "_open_jobs", None)
    if jobs is None or not hasattr(scheduler, "_schedule_reevalutation"):
        return
    pending: set[float] = set()

    def wake(delay: float) -> None:
        pending.discard(delay)  # first, since the pass that follows may ask for the next
        jobs.release()

    def once(delay: float) -> None:
        if delay not in pending:
            pending.add(delay)
            timer = threading.Timer(delay, wake, [delay])
            timer.daemon = True  # the end of the study waits for none
            timer.start()

    scheduler._schedule_reevalutation = once

"""Console output: results on stdout, everything else on stderr."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from megatron_music.cli import ctrl_c
from megatron_music.formatting import escape_controls
from megatron_music.progress import Progress

_SLOW = 0.2
LINE_INTERVAL_S = 5.0
"""Seconds between progress lines where stderr is not a terminal."""


def log(text: str) -> None:
    """Print a remark on stderr."""
    print(escape_controls(text), file=sys.stderr, flush=True)


def wait_for(what: str, rank: int = 0) -> None:
    """Report a step of some seconds, on rank 0 only."""
    if rank == 0:
        log(f"loading {what}")


@contextmanager
def progress(title: str, unit: str, interval_s: float = LINE_INTERVAL_S) -> Iterator[Progress]:
    """Show progress with a rate and the time left: live on a terminal, else a line now and then."""
    live = sys.stderr.isatty()
    # `first` is what was done before the first call, as by an earlier run: it does not count for
    # the rate.
    state = {"start": time.monotonic(), "last": 0.0, "first": -1, "open": False}

    def update(done: int, total: int, note: str = "") -> None:
        ctrl_c.check()
        now = time.monotonic()
        if state["first"] < 0:
            state["first"], state["start"] = done, now
        finished = done >= total
        if not finished and now - state["last"] < (0.1 if live else interval_s):
            return
        state["last"] = now
        line = progress_line(
            title, unit, done, total, done - int(state["first"]), now - state["start"]
        )
        # A line replaces the one before; the last one ends, since remarks may follow.
        end = "" if live and not finished else "\n"
        sys.stderr.write(
            ("\r\x1b[2K" if live else "") + escape_controls(f"{line}  {note}".rstrip()) + end
        )
        sys.stderr.flush()
        state["open"] = not finished

    try:
        yield update
    finally:
        if live and state["open"]:
            sys.stderr.write("\n")


def progress_line(
    title: str, unit: str, done: int, total: int, fresh: int, elapsed_s: float
) -> str:
    """Return a line of progress; `fresh` of the `done` were done in the last `elapsed_s`."""
    rate = fresh / elapsed_s if elapsed_s >= 1 else 0.0  # less says little
    share = done / total if total else 1.0
    line = f"{title}: {done:,}/{total:,} {unit} ({share:.0%})"
    if not rate:
        return line
    speed = f"{rate:,.{0 if rate >= 10 else 1}f} {unit}/s"
    if rate < _SLOW:
        speed = f"{duration(1 / rate)} each"
    if done >= total:
        return f"{line}, {speed}, took {duration(elapsed_s)}"
    return f"{line}, {speed}, {duration(max(1.0, (total - done) / rate))} left"


def duration(seconds: float) -> str:
    """Format a length of time: 8 s, 3 min 20 s, 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"

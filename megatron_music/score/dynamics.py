"""Dynamics as notation writes them, and their velocities."""

from bisect import bisect_right
from collections.abc import Sequence

MARKS = {
    "pppp": 8,
    "ppp": 24,
    "pp": 40,
    "p": 56,
    "mp": 72,
    "mf": 88,
    "f": 104,
    "ff": 120,
    "fff": 124,
    "ffff": 127,
}
"""Velocities by mark: from `pp` to `ff` the middles of the eight levels of VELOCITY tokens."""

LEVELS = tuple(MARKS)[:8]
"""The marks that are written: of each sixteen velocities one."""

_WIDTH = 16


def mark_of(velocity: int) -> str:
    """Return the mark for a velocity of 1 to 127."""
    return LEVELS[velocity // _WIDTH]


def velocity_at(tick: int, marks: Sequence[tuple[int, int]]) -> int | None:
    """Return the velocity of the last mark, `(tick, velocity)` in order, up to a tick."""
    place = bisect_right(marks, tick, key=lambda mark: mark[0])
    return marks[place - 1][1] if place else None

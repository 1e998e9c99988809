"""The velocities of new notes: those of their neighbours in the same track."""

from collections.abc import Sequence

import numpy as np

from megatron_music.score.midi_events import SourceNote
from megatron_music.score.notes import DEFAULT_VELOCITY, IntArray

_NEIGHBOURS = 4


class Dynamics:
    """The velocities of a track over time, from its notes.

    A new note gets a velocity between the means of the nearest notes on either side, by its
    distance to them. With `by_pitch`, as for drums, these are notes of its pitch if there are any.
    """

    def __init__(self, notes: Sequence[SourceNote], *, by_pitch: bool = False) -> None:
        self._all = _Course(notes)
        self._of_pitch: dict[int, _Course] = {}
        if by_pitch:
            for pitch in {note.pitch for note in notes}:
                self._of_pitch[pitch] = _Course([one for one in notes if one.pitch == pitch])

    def velocity(self, tick: int, pitch: int) -> int:
        """Return the velocity of a new note."""
        return self._of_pitch.get(pitch, self._all).velocity(tick)


class _Course:
    """The velocities of notes over time."""

    def __init__(self, notes: Sequence[SourceNote]) -> None:
        rows = sorted((note.onset, note.velocity) for note in notes)
        self._onset: IntArray = np.array([onset for onset, _ in rows], np.int64)
        self._velocity: IntArray = np.array([velocity for _, velocity in rows], np.int64)

    def velocity(self, tick: int) -> int:
        """Return the velocity at a tick, between the means of the notes on either side."""
        place = int(np.searchsorted(self._onset, tick))
        before = slice(max(0, place - _NEIGHBOURS), place)
        after = slice(place, place + _NEIGHBOURS)
        sides = [
            (abs(float(self._onset[side].mean()) - tick), float(self._velocity[side].mean()))
            for side in (before, after)
            if len(self._onset[side])
        ]
        if not sides:
            return DEFAULT_VELOCITY
        near, far = sides[0], sides[-1]
        apart = near[0] + far[0]
        share = near[0] / apart if apart else 0.0
        return min(127, max(1, round(near[1] + (far[1] - near[1]) * share)))

"""The columns that MIDI files are read into, and why a file cannot be read: see `midi_kernel`."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Columns = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]

NO_ROOM = -1
CUT, LONG_NUMBER, NO_STATUS, NO_EVENT, LATE, FOREIGN, HEADER, FORMAT = range(-2, -10, -1)
PATTERNS, FRAMES, NO_TICKS, SILENT, LONG = range(-10, -15, -1)
"""What `scan` answers instead of a number of notes: `midi_reader.FAULTS` says what they mean."""

TRACK, ONSET, END, PITCH, VELOCITY, FOLLOWING = range(6)
"""Rows of notes. The last is which note of this channel and pitch was opened after this one."""

CODE, COUNT, KEY = 0, 1, 2
"""Rows of tracks: instrument code, number of notes, port, channel and sound."""

CONTROL_TICK, CONTROL_CHANNEL, CONTROL_KIND, CONTROL_VALUE = range(4)
"""Rows of controls: tick, port and channel, status byte, both bytes of data as 14 bits.

Tempi are among them: TEMPO as the status byte, and the microseconds of a quarter note.
"""

CONTROLLER, BEND, TEMPO = 0xB0, 0xE0, 0x51

DRUM_CHANNEL = 9
"""Counted from 0."""

US_PER_MINUTE = 60_000_000

NOTE_ROWS, TRACK_ROWS, METRE_ROWS, CONTROL_ROWS = 6, 3, 3, 4

CHANGE_TICK, CHANGE_CHUNK, CHANGE_CHANNEL, CHANGE_KIND, CHANGE_VALUE = range(5)
"""Rows of changes, the settings that decide what channels play: see `channel_kernel`."""

CHANGE_ROWS = 5
MOST_TRACKS = 256
MOST_METRES = 255
MOST_CHANGES = 1 << 14
"""What files have that are encoded many at a time; larger ones are read one by one."""


class Buffers(NamedTuple):
    """What files are read into.

    `notes` (NOTE_ROWS rows, times in ticks), `tracks` (TRACK_ROWS) and `metres` (tick, numerator,
    denominator) are filled from their beginning; `controls` (CONTROL_ROWS) if it has any room; the
    rest is room to work in.
    """

    notes: Columns
    tracks: Columns
    metres: Columns
    controls: Columns
    changes: Columns
    work: Columns

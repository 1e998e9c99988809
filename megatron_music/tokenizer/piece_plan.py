"""What a piece that is composed has to become: what a grammar is followed with."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """What a piece has to become; None leaves it open.

    `instruments` are codes in any order, `tracks` is how many without saying which; `max_tokens`
    counts from PIECE_START to PIECE_END. With
    `single_voices` SOPRANO, ALTO, TENOR and BASS sing one note at a time, and with `full_bars` as
    well up to each barline: a rest in a bar is followed by a note, which ends on the barline or is
    held over it. `attributes` are ids, ascending: the head has just these. `densities` gives
    instruments, by code, their level. `metre` is the index of the one that all bars are in, and
    `tempo` that of their tempo. `velocities` are the lowest and the highest level of notes.
    """

    bars: int | None = None
    instruments: tuple[int, ...] | None = None
    max_tokens: int | None = None
    single_voices: bool = False
    attributes: tuple[int, ...] | None = None
    densities: tuple[tuple[int, int], ...] = ()
    tracks: int | None = None
    full_bars: bool = True
    metre: int | None = None
    tempo: int | None = None
    velocities: tuple[int, int] | None = None

    @property
    def track_count(self) -> int | None:
        """How many tracks the piece has to have; None where that is open."""
        return self.tracks if self.instruments is None else len(self.instruments)

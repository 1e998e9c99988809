"""The music that tokens spell, noted while they are taken."""

import numpy as np

from megatron_music.score.notes import UNTOLD, Piece
from megatron_music.score.quantize import canonical_track
from megatron_music.score.tempo import TEMPI_US
from megatron_music.score.words import spelt
from megatron_music.tokenizer.position import Position
from megatron_music.tokenizer.vocabulary import Kind


class Transcript:
    """The instruments, notes, metres and tempi of the tokens of one piece."""

    def __init__(self) -> None:
        self.instruments: list[int] = []
        self._notes: list[list[tuple[int, int, int, int]]] = []
        self._velocities: dict[int, int] = {}
        self._syllables: list[list[str]] = []
        self._parts: dict[int, list[int]] = {}
        self._singing: list[int] = []
        self._metres: list[int] = []
        self._tempos: list[int] = []

    def take(self, token: int, at: Position) -> None:
        """Note what a legal token spells that comes at a position."""
        vocabulary = at.vocabulary
        kind, value = vocabulary.meanings[token]
        if kind is Kind.NOTE_ON:
            level = at.velocity
            self._velocities[value] = UNTOLD if level is None else vocabulary.velocity_of(level)
            self._singing = self._parts[value] = []
        elif kind is Kind.SYLLABLE:
            self._singing.append(value)
        elif kind is Kind.NOTE_OFF:
            note = (at.sounding[value], at.step, value, self._velocities[value])
            self._notes[-1].append(note)
            self._syllables[-1].append(spelt(self._parts[value]))
        elif kind is Kind.INST:
            self.instruments.append(value)
            self._notes.append([])
            self._syllables.append([])
        elif token == vocabulary.bar_start and at.tracks == 1:
            self._metres.append(at.metre or 0)
            self._tempos.append(at.tempo or 0)

    def piece(self, at: Position) -> Piece:
        """Return the music so far, canonical."""
        vocabulary = at.vocabulary
        tracks = tuple(
            canonical_track(
                code, onset, end, pitch, velocity, np.array(sung, np.str_) if any(sung) else None
            )
            for code, notes, sung in zip(
                self.instruments, self._notes, self._syllables, strict=True
            )
            if notes
            for onset, end, pitch, velocity in [np.array(notes, np.int64).T]
        )
        return Piece(
            vocabulary.settings.steps_per_quarter,
            at.piece_bars or 0,
            tracks,
            tuple(vocabulary.metres[index] for index in self._metres),
            tuple(TEMPI_US[index] for index in self._tempos if vocabulary.has_tempos),
        )

    def newest_track(self, at: Position) -> tuple[int, list[tuple[int, int, int]]]:
        """Return the instrument of the track begun last, and its notes: onset, end, pitch.

        A note that still sounds ends, for now, at the position's step.
        """
        notes = [(onset, end, pitch) for onset, end, pitch, _ in self._notes[-1]]
        sounding = [(onset, at.step, pitch) for pitch, onset in at.sounding.items()]
        return self.instruments[-1], notes + [one for one in sounding if one[0] < at.step]

"""The piece to begin from: on the model's grid, with the names of its tracks and its file."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import numpy.typing as npt

from megatron_music.errors import UsageError
from megatron_music.generate.song_request import Request
from megatron_music.score.barlines import Barlines, barlines, common_barlines
from megatron_music.score.general_midi import find_instrument, instrument_title
from megatron_music.score.instruments import DRUMS, VOICES, instrument_name
from megatron_music.score.metre import COMMON_TIME, TimeSignature
from megatron_music.score.midi_source import MidiSource, read_source
from megatron_music.score.notes import IntArray, Piece, Track
from megatron_music.score.quantize import nearest_step, quantize

BoolArray = npt.NDArray[np.bool_]

_WORD = re.compile(r"\w+")
_TRACK_NUMBER = re.compile(r"track ([0-9]+)", re.IGNORECASE)


@dataclass(frozen=True)
class Prompt:
    """A piece to begin from.

    `piece` has the instruments as the model gets them; `names` are those of the tracks in the file,
    "" for none. `source` and `bars` are the file and the ticks of its bars, None for music that is
    not from a file. Where a channel changes its programme, `at_turn` [tracks, bars] says in which
    bars of the grid it plays which of its tracks.
    """

    piece: Piece
    names: tuple[str, ...]
    source: MidiSource | None = None
    bars: Barlines | None = None
    at_turn: BoolArray | None = None

    @classmethod
    def of(cls, piece: "Piece | Prompt") -> "Prompt":
        """Return a piece without a file as a prompt."""
        return piece if isinstance(piece, Prompt) else cls(piece, ("",) * len(piece.tracks))

    def title(self, track: int) -> str:
        """Return a track's name with its instrument in brackets, for messages."""
        instrument = instrument_title(self.piece.tracks[track].instrument)
        name = self.names[track]
        if not name or name.casefold() == instrument.casefold():
            return instrument
        return f"{name} ({instrument})"

    def titles(self) -> str:
        """Return the titles of all tracks in order; equal titles get the track numbers."""
        titles = [self.title(track) for track in range(len(self.names))]
        return ", ".join(
            f"{one} [track {place}]" if titles.count(one) > 1 else one
            for place, one in enumerate(titles, 1)
        )

    def find(self, name: str) -> list[int]:
        """Return the tracks of a name: their own, their instrument's, or "track 2".

        Raises UsageError with a suggestion where there is none.
        """
        found = self.look_up(name)
        if found:
            return found
        known = [*filter(None, self.names), *map(instrument_title, self._codes())]
        folded = {one.casefold(): one for one in known}
        close = get_close_matches(name.casefold(), folded, n=1)
        hint = f"did you mean {folded[close[0]]!r}? It" if close else "it"
        raise UsageError(f"the piece has no track {name!r}; {hint} has {self.titles()}")

    def look_up(self, name: str) -> list[int]:
        """Return the tracks of a name; empty where there is none."""
        wanted = name.strip().casefold()
        numbered = _TRACK_NUMBER.fullmatch(wanted)
        if numbered and 1 <= int(numbered[1]) <= len(self.names):
            return [int(numbered[1]) - 1]
        # The file's own names come first: a track "Bass" may play any instrument.
        own = [track for track, one in enumerate(self.names) if one.casefold() == wanted]
        if own:
            return own
        try:
            code = find_instrument(name)
        except UsageError:
            code = -1
        codes = self._codes()
        if code in codes:
            return [track for track, one in enumerate(codes) if one == code]
        parts = _WORD.findall(wanted)
        words = [
            _WORD.findall(f"{name} {instrument_title(code)}".casefold())
            for name, code in zip(self.names, codes, strict=True)
        ]
        return [
            track
            for track, known in enumerate(words)
            if parts and all(any(word.startswith(part) for word in known) for part in parts)
        ]

    def _codes(self) -> list[int]:
        return [track.instrument for track in self.piece.tracks]

    def assigned(self, words: Sequence[str]) -> "Prompt":
        """Return the tracks as other instruments: "SOPRANO,ALTO" in order, or "Lead=SOPRANO".

        The model gets these; the file keeps its own. Raises UsageError.
        """
        parts = [part.strip() for word in words for part in word.split(",")]
        codes = self._codes()
        by_name = [part for part in parts if "=" in part]
        if not by_name:
            if len(parts) != len(codes):
                raise UsageError(
                    f"{len(parts)} instruments for {len(codes)} tracks ({self.titles()}); name one "
                    "each, in this order, or some as NAME=INSTRUMENT"
                )
            codes = [find_instrument(part) for part in parts]
        elif len(by_name) < len(parts):
            raise UsageError("name instruments in the order of tracks, or each as NAME=INSTRUMENT")
        for part in by_name:
            name, _, instrument = part.rpartition("=")
            for track in self.find(name):
                codes[track] = find_instrument(instrument)
        return self._with_codes(codes)

    def _with_codes(self, codes: Sequence[int]) -> "Prompt":
        for track, code in enumerate(codes):
            if (code == DRUMS) != (self.piece.tracks[track].instrument == DRUMS):
                raise UsageError(
                    f"{self.title(track)} cannot be taken as {instrument_title(code)}: drums have "
                    "no pitches; name another track"
                )
        for voice in VOICES:
            if codes.count(voice) > 1:
                taken = [self.title(track) for track, code in enumerate(codes) if code == voice]
                raise UsageError(
                    f"{' and '.join(taken)} are both {instrument_name(voice)}; a choir has each "
                    "voice once"
                )
        tracks = [
            replace(track, instrument=code)
            for track, code in zip(self.piece.tracks, codes, strict=True)
        ]
        return replace(self, piece=replace(self.piece, tracks=tuple(tracks)))

    def as_named(self, known: Sequence[int]) -> "Prompt":
        """Return tracks called after a voice as that voice, where the model knows it.

        Only instruments that it does not know are changed, and only if no voice comes twice.
        """
        voices = {instrument_name(code): code for code in VOICES if code in known}
        codes = [
            # A choir's file often plays all voices as one piano; its track names say who sings
            # what.
            code if code in known or code == DRUMS else voices.get(name.strip().upper(), code)
            for code, name in zip(self._codes(), self.names, strict=True)
        ]
        once = all(codes.count(code) <= 1 for code in VOICES)
        return self._with_codes(codes) if once else self

    def composable(self, track: int, bars: int) -> BoolArray:
        """Tell in which of the first `bars` bars of the grid a track can get notes."""
        if self.at_turn is None:
            return np.ones(bars, np.bool_)
        row = self.at_turn[track]
        later = np.full(max(0, bars - len(row)), row[-1])
        able: BoolArray = np.concatenate((row, later))[:bars]
        return able

    def on_grid(self, request: Request) -> Request:
        """Return a request with the file's bars counted on the grid."""
        if self.bars is None:
            return request
        to_grid = self.bars.to_grid
        fills = [bar for one in request.fill_bars for bar in range(to_grid(one - 1), to_grid(one))]
        return replace(
            request,
            bars=None if request.bars is None else to_grid(request.bars),
            prompt_bars=None if request.prompt_bars is None else to_grid(request.prompt_bars),
            fill_bars=tuple(bar + 1 for bar in fills),
        )

    @property
    def bar_count(self) -> int:
        """The number of bars in the file."""
        return self.piece.bars if self.bars is None else self.bars.to_file(self.piece.bars - 1) + 1

    def bar_of_note(self, track: int) -> IntArray:
        """Return the bar of the grid in which each note of a track of the file begins."""
        if self.source is None or self.bars is None:
            return np.zeros(0, np.int64)
        onset = np.array([note.onset for note in self.source.tracks[track].notes], np.int64)
        laid = self.bars.laid_out(
            replace(self.source.score, tracks=(Track(0, onset, onset + 1, onset),))
        )
        step = nearest_step(
            laid.tracks[0].onset, laid.ticks_per_quarter, self.piece.steps_per_quarter
        )
        return self.piece.bar_at(step)


def read_prompt(
    path: Path,
    steps_per_quarter: int,
    any_metre: bool = False,
    known: Collection[TimeSignature] = (COMMON_TIME,),
) -> Prompt:
    """Read a MIDI file to begin from, its bars in the metres that are `known`.

    With `any_metre` four quarters are a bar throughout. Raises MidiError.
    """
    source = read_source(path)
    bars = common_barlines(source.score) if any_metre else barlines(source.score, known)
    piece = quantize(bars.laid_out(source.score), steps_per_quarter)
    piece = replace(piece, bars=bars.to_grid(bars.to_file(piece.bars - 1) + 1))
    names = tuple(track.name for track in source.tracks)
    return Prompt(piece, names, source, bars, _turns(piece, source, bars))


def _turns(piece: Piece, source: MidiSource, bars: Barlines) -> BoolArray | None:
    """Tell in which bars each track is the one its channel plays, None where no channel changes.

    That is where it has notes, and where no track of its channel has and its programme is set.
    """
    owners = [(track.chunk, track.channel) for track in source.tracks]
    if len(set(owners)) == len(owners):
        return None
    plays = np.zeros((len(owners), piece.bars), np.bool_)
    for row, track in zip(plays, piece.tracks, strict=True):
        row[piece.bar_at(track.onset)] = True
    edges = bars.grid_ticks(np.arange(piece.bars + 1))
    middle = bars.ticks((edges[:-1] + edges[1:]) // 2)
    turns = plays.copy()
    for owner in set(owners):
        alike = [i for i, one in enumerate(owners) if one == owner]
        changes = source.programs(owner[1])
        set_at = np.searchsorted([tick for tick, _ in changes], middle, side="right") - 1
        program = np.array([program for _, program in changes])[set_at]
        for i in alike:
            is_set = len(alike) == 1 or (program == source.tracks[i].program)
            turns[i] |= is_set & ~plays[alike].any(axis=0)
        if len(alike) == 1:
            turns[alike] = True
    return turns

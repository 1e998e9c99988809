"""The grammar of mmmtrack for Python: a piece followed token by token, with reasons in words.

`grammar_rules_kernel` has the rules, `grammar_walk_kernel` follows songs by them, and
`grammar_state` has what both take.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from megatron_music.errors import TokenError
from megatron_music.score.notes import UNTOLD, IntArray, Piece, Track
from megatron_music.score.quantize import canonical_track
from megatron_music.score.tempo import TEMPI_US
from megatron_music.tokenizer import grammar_state as at
from megatron_music.tokenizer import token_kinds as kinds
from megatron_music.tokenizer.grammar_state import Plan
from megatron_music.tokenizer.hidden_bars import is_hidden, restore
from megatron_music.tokenizer.vocabulary import PITCHES, Kind, Vocabulary

BoolArray = npt.NDArray[np.bool_]

_WHERE = {
    at.START: "before the piece",
    at.HEAD: "at the head of the piece",
    at.INSTRUMENT: "at the head of a track",
    at.DENSITY: "after the instrument",
    at.BETWEEN_BARS: "between bars",
    at.IN_BAR: "in a bar",
    at.BETWEEN_TRACKS: "between tracks",
    at.END: "after the piece",
}
_EXPECTED = {
    at.START: "PIECE_START",
    at.INSTRUMENT: "INST",
    at.DENSITY: "DENSITY",
    at.BETWEEN_BARS: "BAR_START or TRACK_END",
    at.IN_BAR: "NOTE_ON, NOTE_OFF, TIME_DELTA or BAR_END",
    at.BETWEEN_TRACKS: "TRACK_START or PIECE_END",
    at.END: "nothing more",
}


class Walker:
    """Follow the tokens of one piece, knowing at each point which may come next.

    With a plan, a token is legal only if the plan can still be met after it, provided that its
    `max_tokens` is at least `min_tokens(vocabulary, plan)`.
    """

    def __init__(self, vocabulary: Vocabulary, plan: Plan | None = None) -> None:
        self.vocabulary = vocabulary
        self.tokens: list[int] = []
        self._rules = at.new_rules(vocabulary, plan or Plan())
        self._song = at.new_song(plan or Plan(), self._rules)
        self._open_notes = at.OpenNotes(*np.zeros((2, PITCHES), np.int64))
        self._notes: list[IntArray] = []

    @property
    def length(self) -> int:
        """Tokens taken so far."""
        return len(self.tokens)

    @property
    def where(self) -> str:
        """Return which part of the form of a piece comes next, in words."""
        return _WHERE[self._cell(at.PHASE)]

    @property
    def is_whole(self) -> bool:
        """True after PIECE_END."""
        return self._cell(at.PHASE) == at.END

    @property
    def may_stop(self) -> bool:
        """True where the tokens so far are a whole piece, but maybe for PIECE_END."""
        return self._cell(at.PHASE) in (at.END, at.BETWEEN_TRACKS)

    @property
    def bar(self) -> int:
        """The number of whole bars of the newest track."""
        return self._cell(at.BAR)

    @property
    def bar_steps(self) -> int:
        """The steps of the newest bar."""
        return self._cell(at.BAR_STEPS)

    def _cell(self, column: int) -> int:
        return int(self._song.cells[column])

    def advance(self, token: int) -> None:
        """Take the next token; raises TokenError with the reason if it is not legal."""
        self.follow([token])

    def follow(self, tokens: Sequence[int] | npt.NDArray[np.integer]) -> None:
        """Take further tokens; raises TokenError at the first that is not legal."""
        # Here and below: importing compiled code takes half a second.
        from megatron_music.tokenizer.grammar_rules_kernel import LEGAL
        from megatron_music.tokenizer.grammar_walk_kernel import NOTE_COLUMNS, follow_tokens

        row = np.array(tokens, np.int64)
        notes = np.zeros((len(row), NOTE_COLUMNS), np.int64)
        # Each bar may note a metre and a tempo: the state grows with the row.
        marks, bars = self._song.marks, (self.length + len(row)) // 2
        if marks.shape[1] < bars and (self.vocabulary.has_metres or self.vocabulary.has_tempos):
            wider = np.zeros((2, 2 * bars), np.int64)
            wider[:, : marks.shape[1]] = marks
            self._song = self._song._replace(marks=wider)
        taken, reason, ended = follow_tokens(row, self._song, self._rules, self._open_notes, notes)
        self.tokens += row[:taken].tolist()
        self._notes.append(notes[:ended])
        if reason != LEGAL:
            raise TokenError(self._describe(reason, int(row[taken])), self.length)

    def refusal(self, token: int) -> str | None:
        """Say why a token is not legal here; None if it is."""
        from megatron_music.tokenizer.grammar_rules_kernel import LEGAL, refuse

        reason = refuse(token, self._song, self._rules)
        return None if reason == LEGAL else self._describe(reason, token)

    def allowed(self) -> BoolArray:
        """Return the legal next tokens as a mask over the vocabulary; none after the piece."""
        from megatron_music.tokenizer.grammar_walk_kernel import mark_legal

        mask = np.zeros(len(self.vocabulary), np.bool_)
        mark_legal(at.State(*(of[None] for of in self._song)), self._rules, mask[None])
        return mask

    # -- the music -------------------------------------------------------------------------

    def newest_track(self) -> tuple[int, int, list[tuple[int, int, int]]]:
        """Return the place of the track begun last, its instrument, and its notes.

        A note is onset, end, pitch; one that still sounds ends, for now, at the step reached.
        """
        track, now = self._cell(at.TRACKS) - 1, self._cell(at.BAR_START) + self._cell(at.STEP)
        rows, onsets = np.concatenate(self._notes), self._song.onsets
        notes: list[tuple[int, int, int]] = [
            (onset, end, pitch) for of, onset, end, pitch in rows[:, :4].tolist() if of == track
        ]
        notes += [
            (int(onsets[pitch]), now, pitch)
            for pitch in np.flatnonzero((onsets != at.SILENT) & (onsets < now)).tolist()
        ]
        return track, self._instruments()[track], notes

    def piece(self) -> Piece:
        """Return the music of the whole tracks taken so far, canonical."""
        vocabulary, bars = self.vocabulary, self._cell(at.PIECE_BARS)
        metres, tempos = self._song.marks[:, :bars].tolist()
        if not (vocabulary.has_metres or vocabulary.has_tempos):
            metres = [0] * bars
        rows = np.concatenate([np.zeros((0, 6), np.int64), *self._notes])
        tracks = (
            self._track(code, rows[rows[:, 0] == track])
            for track, code in enumerate(self._instruments())
        )
        return Piece(
            vocabulary.settings.steps_per_quarter,
            bars,
            tuple(tracks),
            tuple(vocabulary.metres[index] for index in metres),
            tuple(TEMPI_US[index] for index in tempos if vocabulary.has_tempos),
        )

    def _instruments(self) -> list[int]:
        meanings = (self.vocabulary.meanings[token] for token in self.tokens)
        return [value for kind, value in meanings if kind is Kind.INST]

    def _track(self, code: int, rows: IntArray) -> Track:
        _, onset, end, pitch, level, place = rows.T
        velocity = np.full(len(rows), UNTOLD, np.int64)
        if self.vocabulary.has_velocities:
            levels = [self.vocabulary.velocity_of(one) for one in level.tolist()]
            velocity = np.array(levels, np.int64)
        syllables = [
            self.vocabulary.spelling.spelled(self._syllable(one)) for one in place.tolist()
        ]
        sung = np.array(syllables, np.str_) if any(syllables) else None
        return canonical_track(code, onset, end, pitch, velocity, sung)

    def _syllable(self, note_on: int) -> list[int]:
        """Return the parts of the syllable after a NOTE_ON, by its place."""
        parts: list[int] = []
        for place in range(note_on + 1, self.length):
            kind, value = self.vocabulary.meanings[self.tokens[place]]
            if kind is not Kind.SYLLABLE:
                break
            parts.append(value)
        return parts

    # -- reasons in words ------------------------------------------------------------------

    def _describe(self, reason: int, token: int) -> str:
        from megatron_music.tokenizer.grammar_rules_kernel import REASONS

        vocabulary = self.vocabulary
        if not 0 <= token < len(vocabulary):
            return REASONS[reason].format(id=token, size=len(vocabulary))
        kind, value = vocabulary.meanings[token]
        steps, bars = self.bar_steps, self._cell(at.PIECE_BARS)
        phase = self._cell(at.PHASE)
        expected = self._head() if phase == at.HEAD else _EXPECTED[phase]
        if self._cell(at.ANNOUNCED):  # a VELOCITY, which tells of the note after it
            expected = "NOTE_ON"
        later = [one for one in self._rules.attributes.tolist() if one > self._cell(at.ATTRIBUTE)]
        return REASONS[reason].format(
            token=vocabulary.tokens[token],
            kind=kind.name,
            value=value,
            where=self.where,
            expected=expected,
            asked=self._asked(kind),
            max_tokens=self._rules.max_tokens,
            sounding=next(iter(np.flatnonzero(self._song.onsets != at.SILENT)), None),
            sung=self._cell(at.SUNG),
            steps=steps,
            room=steps - self._cell(at.STEP),
            head=self._head(),
            attribute=self.vocabulary.tokens[later[0]] if later else "",
            bar=self.bar,
            next_bar=self.bar + 1,
            bars=bars or "at least 1",
            change=self._change_due(),
            changed="METRE" if self._cell(at.CHANGED) & at.METRE_TOLD else "TEMPO",
            tracks=self._cell(at.TRACKS),
            missing=self._cell(at.ASKED) - self._cell(at.TRACKS),
        )

    def _head(self) -> str:
        """Return what comes next at the head of a piece."""
        if self._cell(at.METRE) == at.UNTOLD:
            return "METRE"
        return "TEMPO" if self._cell(at.TEMPO) == at.UNTOLD else "TRACK_START"

    def _asked(self, kind: Kind) -> str:
        """Return what the plan asks for where it asks for one of a kind."""
        v, rules = self.vocabulary, self._rules
        if kind is Kind.VELOCITY:
            return f"{v.velocity_of(rules.softest)}..{v.velocity_of(rules.loudest)}"
        if kind is Kind.METRE:
            return str(v.metres[rules.metre])
        return str(v.tempi[rules.tempo] if kind is Kind.TEMPO else self._cell(at.LEVEL))

    def _change_due(self) -> str:
        """Return the METRE or TEMPO that comes before this bar in the first track."""
        v, marks, bar = self.vocabulary, self._song.marks, self._cell(at.BAR)
        for is_told, first, now, column in (
            (v.has_metres, v.metre, self._cell(at.METRE), marks[0]),
            (v.has_tempos, v.tempo, self._cell(at.TEMPO), marks[1]),
        ):
            if is_told and bar < len(column) and column[bar] != now:
                return v.tokens[first + int(column[bar])]
        return ""


def min_tokens(vocabulary: Vocabulary, plan: Plan) -> int:
    """Return the tokens of the shortest piece that is as planned."""
    from megatron_music.tokenizer.grammar_rules_kernel import owed_after

    rules = at.new_rules(vocabulary, plan)
    song = at.new_song(plan, rules)
    return 1 + owed_after(kinds.PIECE_START, vocabulary.piece_start, song, rules)


def walk(tokens: npt.NDArray[np.integer], vocabulary: Vocabulary) -> Walker:
    """Follow the tokens of a piece, hidden bars put back; raises TokenError at the first wrong one.

    Positions in errors are those of the tokens given.
    """
    places = np.arange(len(tokens))
    if is_hidden(tokens, vocabulary):
        tokens, places = restore(tokens, vocabulary)
    walker = Walker(vocabulary)
    try:
        walker.follow(tokens)
    except TokenError as fault:
        raise TokenError(fault.reason, int(places[walker.length])) from None
    return walker


def legal_masks(tokens: npt.NDArray[np.integer], vocabulary: Vocabulary) -> BoolArray:
    """Return what is legal after each token of a piece but its last, [tokens - 1, vocabulary].

    Raises TokenError at the first that is not legal itself.
    """
    from megatron_music.tokenizer.grammar_walk_kernel import mark_along

    rules = at.new_rules(vocabulary, Plan())
    song = at.new_song(Plan(), rules, most_bars=len(tokens))
    masks = np.zeros((max(len(tokens) - 1, 0), len(vocabulary)), np.bool_)
    if mark_along(tokens.astype(np.int64), song, rules, masks) < len(masks):
        walk(tokens[:-1], vocabulary)
    return masks


def check(tokens: npt.NDArray[np.integer], vocabulary: Vocabulary) -> None:
    """Raise TokenError, with position and reason, unless the tokens are one whole piece."""
    walker = walk(tokens, vocabulary)
    if not walker.is_whole:
        raise TokenError(f"the piece stops early, {walker.where}; expected PIECE_END", len(tokens))

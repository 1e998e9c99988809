"""Each token is told where it stands and what sounds there, as a readable twin tells it."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_music.errors import UsageError
from megatron_music.score.instruments import DRUMS, instrument_name
from megatron_music.score.metre import METRES
from megatron_music.score.notes import Piece
from megatron_music.tokenizer.codec import encode, from_text
from megatron_music.tokenizer.hidden_bars import choose_bars, hide
from megatron_music.tokenizer.structure import INPUTS, PositionRows, position_rows
from megatron_music.tokenizer.structure_tracker import StructureTracker, document_rows
from megatron_music.tokenizer.vocabulary import Kind, TokenizerSettings, Vocabulary
from tests.music import pieces, track

FINGERPRINT = "0123456789abcdef" * 2
SEQ_LENGTH = 600
UNKNOWN = (-1, -1)


class Twin:
    """The same rows from lists and sets, a note at a time."""

    def __init__(self, rows: PositionRows, vocabulary: Vocabulary, place: tuple[int, int]) -> None:
        self.rows, self.v, self.place = rows, vocabulary, place
        self.index = self.bar = self.step = self.track = 0
        self.instrument: int | None = None
        self.last: tuple[int, int] | None = None
        self.open: dict[int, tuple[int, int | None]] = {}
        self.unfinished: list[tuple[int, int, int]] = []
        self.finished: set[tuple[int, int]] = set()
        self.begun: set[tuple[int, int]] = set()
        self.hidden: list[tuple[int, int, int | None, list[int], int]] = []
        self.head_steps = self.bar_steps = self.v.bar_steps[0]
        self.lengths: list[int] = []

    @property
    def part(self) -> int:
        """Whose pitches the current track's are told as: 0 for all but drums and voices."""
        names = ("DRUMS", "SOPRANO", "ALTO", "TENOR", "BASS")
        name = "" if self.instrument is None else instrument_name(self.instrument)
        return 1 + names.index(name) if name in names else 0

    @property
    def bar_begins(self) -> int:
        return sum(self.lengths)

    def take(self, token: int) -> list[int]:
        kind, value = self.v.meanings[token]
        if kind is Kind.NOTE_ON:
            self.open[value] = (self.step, None)
        elif kind is Kind.NOTE_OFF:
            onset, _ = self.open.pop(value, (self.bar_begins, None))
            self.unfinished.append((onset, self.step, value))
            self.last = (value, self.step)
        elif kind is Kind.TIME_DELTA:
            self.step += value
        elif kind is Kind.INST:
            self.instrument = value
        elif kind is Kind.METRE:
            self.bar_steps = self.v.bar_steps[value]
            self.head_steps = self.head_steps if self.track else self.bar_steps
        elif kind is Kind.MARK:
            self._take_mark(self.v.tokens[token])
        self.index += 1
        return self._rows()

    def _take_mark(self, name: str) -> None:
        self.last = self.last if name in ("BAR_START", "BAR_END") else None
        if name == "TRACK_START":
            self.track += 1
            self._begin()
            self.instrument = None
        elif name in ("BAR_END", "FILL_IN"):
            if name == "FILL_IN":
                told = (self.bar, self.track, self.instrument)
                self.hidden.append((*told, list(self.lengths), self.bar_steps))
                for pitch, (onset, cut) in self.open.items():
                    self.open[pitch] = (onset, self.bar_begins if cut is None else cut)
            self.bar += 1
            self.lengths.append(self.bar_steps)
            self.step = self.bar_begins
        elif name == "FILL_START":
            of_bar = self.hidden.pop(0)
            self.bar, self.track, self.instrument, self.lengths, self.bar_steps = of_bar
            self.step = self.bar_begins
        elif name in ("TRACK_END", "FILL_END"):
            end = self.step if name == "TRACK_END" else self.bar_begins + self.bar_steps
            for pitch, (onset, cut) in self.open.items():
                self.unfinished.append((onset, end if cut is None else cut, pitch))
            for onset, end, pitch in self.unfinished:
                self.finished |= {(s, pitch + 128 * self.part) for s in range(onset, end)}
                if onset < min(end, self.rows.times - 1):
                    self.begun.add((onset, pitch + 128 * self.part))
            self.unfinished, self.open = [], {}
            self._begin()

    def _begin(self) -> None:
        self.bar = self.step = 0
        self.lengths, self.bar_steps = [], self.head_steps

    def _rows(self) -> list[int]:
        r = self.rows
        last = r.times - 1
        rows = (
            [r.time + min(self.step, last)]
            if r.time >= 0
            else [min(self.index - 1, SEQ_LENGTH - 1)]
        )
        if r.track >= 0:
            rows.append(r.track + min(self.track, 15))
        if r.instrument >= 0 and self.instrument is not None:
            rows.append(r.instrument + self.instrument)
        if r.held >= 0:
            held = sorted(pitch for pitch, (_, cut) in self.open.items() if cut is None)
            rows += [r.held + pitch for pitch in held[:16]]
        if r.sounding >= 0 and self.step < last:
            rows += [r.sounding + pitch for pitch in self._at(self.finished, self.step)]
        if r.begins >= 0:
            rows += self._ahead(min(self.step, last))
        if r.last >= 0 and self.last is not None:
            rows += self._motion(*self.last, min(self.step, last))
        if r.above >= 0 and self.part >= 2:
            voices = [(note // 128, note % 128) for note in self._all_at(self.finished, self.step)]
            above = [pitch for part, pitch in voices if 2 <= part < self.part]
            below = [pitch for part, pitch in voices if part > self.part]
            rows += [r.above + min(above)] if above else []
            rows += [r.below + max(below)] if below else []
        before, bars = self.place
        if r.since_begin >= 0 and before >= 0:
            rows.append(r.since_begin + min(before + self.bar, 16))
            if bars >= 0:
                rows.append(r.to_end + min(max(bars - 1 - before - self.bar, 0), 16))
        return rows

    def _ahead(self, now: int) -> list[int]:
        r = self.rows
        rows = [r.begins + pitch for pitch in self._at(self.begun, now)]
        for step in range(now + 1, r.times):
            sounding = self._at(self.finished, step)
            if self._at(self.begun, step) or sounding != self._at(self.finished, step - 1):
                rows += [r.after + pitch for pitch in sounding]
                return [*rows, r.wait + min(step - now, self.v.longest_bar)]
        return [*rows, r.wait]

    def _motion(self, pitch: int, end: int, now: int) -> list[int]:
        rows = [self.rows.last + pitch]
        if now != end or now == 0:
            return rows
        for interval, first in ((7, self.rows.fifths), (0, self.rows.octaves)):
            parallel = []
            for part in (0, 2, 3, 4, 5):
                before, after = (
                    {one % 128 for one in self._all_at(self.finished, step) if one // 128 == part}
                    for step in (now - 1, now)
                )
                if len(before) == len(after) == 1 and before != after:
                    other = before.pop()
                    moved = pitch + after.pop() - other
                    if abs(pitch - other) % 12 == interval and 0 <= moved < 128:
                        parallel.append(first + moved)
            rows += dict.fromkeys(parallel)
        return rows

    def _at(self, notes: set[tuple[int, int]], step: int) -> list[int]:
        """List the pitches at a step, the lowest sixty."""
        return self._all_at(notes, step)[:60]

    def _all_at(self, notes: set[tuple[int, int]], step: int) -> list[int]:
        """List the pitches at a step; in the last row of time nothing sounds."""
        if step >= self.rows.times - 1:
            return []
        return sorted(pitch for of, pitch in notes if of == step)


def lists(rows: np.ndarray, none: int) -> list[list[int]]:
    """Return rows without what only makes them equally long, which has to stand after."""
    found = []
    for row in rows.tolist():
        kept = [one for one in row if one != none]
        assert row == kept + [none] * (len(row) - len(kept))
        found.append(kept)
    return found


@st.composite
def documents(draw: st.DrawFn) -> tuple[Vocabulary, list[list[int]]]:
    """Draw documents of one vocabulary: many tracks, drums, some with hidden bars."""
    steps = draw(st.sampled_from([4, 12]))
    bars = draw(st.sampled_from([1, 4, 8]))
    metres = draw(st.booleans())
    names = tuple(map(str, METRES)) if metres else ()
    vocabulary = Vocabulary(TokenizerSettings(steps, draw(st.booleans()), bars=bars, metres=names))
    found = []
    for _ in range(draw(st.integers(1, 3))):
        alike = pieces(metres=metres).filter(lambda piece: piece.steps_per_quarter == steps)
        piece = draw(alike)
        tokens = encode(piece, vocabulary)
        if draw(st.booleans()):
            seed = draw(st.integers(0, 2**63))
            tokens = hide(
                tokens,
                choose_bars(seed, FINGERPRINT, 0, len(piece.tracks), piece.bars),
                vocabulary,
            )
        found.append(tokens.tolist())
    return vocabulary, found


places = st.just(UNKNOWN) | st.tuples(st.integers(0, 20), st.integers(-1, 40))
some_inputs = st.lists(st.sampled_from(INPUTS), unique=True) | st.just(list(INPUTS))


@settings(max_examples=50)
@given(documents(), some_inputs, st.data())
def test_documents_songs_and_the_twin_agree(
    drawn: tuple[Vocabulary, list[list[int]]], inputs: list[str], data: st.DataObject
) -> None:
    vocabulary, documents = drawn
    rows = position_rows(inputs, SEQ_LENGTH, vocabulary)
    known = [data.draw(places) for _ in documents]
    plain = [data.draw(st.booleans()) for _ in documents]
    starts = np.cumsum([0, *map(len, documents)])
    made = document_rows(
        np.concatenate(documents), starts, np.array(known), np.array(plain), rows, vocabulary
    )
    told = lists(made, rows.total)
    assert made.shape[1] == max(map(len, told))
    for place, (tokens, is_plain) in enumerate(zip(documents, plain, strict=True)):
        part = told[starts[place] : starts[place + 1]]
        if is_plain:
            assert part == [[min(i, SEQ_LENGTH - 1)] for i in range(len(tokens))]
            continue
        twin = Twin(rows, vocabulary, known[place])
        assert part == [twin.take(token) for token in tokens]
        tracker = StructureTracker(rows, vocabulary, 1, np.array([known[place]]))
        cuts = sorted(data.draw(st.lists(st.integers(1, len(tokens)), max_size=3)))
        pieces_of = np.split(np.array(tokens), cuts)
        stepwise = [
            row for piece in pieces_of for row in lists(tracker.advance(piece[None])[0], rows.total)
        ]
        assert stepwise == part


def test_token_by_token_is_the_whole_and_songs_know_nothing_of_one_another() -> None:
    vocabulary = Vocabulary(TokenizerSettings(bars=2))
    notes = [(0, 8, 60), (8, 30, 64)]
    one = encode(
        Piece(4, 2, (track(0, *notes), track(DRUMS, (0, 2, 36)), track(40, *notes))), vocabulary
    )
    other = encode(Piece(4, 2, (track(40, (4, 32, 70)), track(0, *notes))), vocabulary)
    length = min(len(one), len(other))
    batch = np.stack([one[:length], other[:length]]).astype(np.int64)
    rows = position_rows(INPUTS, 64, vocabulary)
    known = np.array([[3, 9], UNKNOWN])
    whole = StructureTracker(rows, vocabulary, 2, known).advance(batch)
    tracker = StructureTracker(rows, vocabulary, 2, known)
    for place in range(length):
        step = tracker.advance(batch[:, place : place + 1])
        for song in range(2):
            assert lists(step[song], rows.total) == lists(
                whole[song, place : place + 1], rows.total
            )


def test_a_track_knows_what_would_be_parallel_fifths_and_octaves() -> None:
    """By hand, for music drawn at random hardly moves in parallel."""
    vocabulary = Vocabulary(TokenizerSettings(density=False, bars=4))
    rows = position_rows(("time", "motion"), 100, vocabulary)
    text = (
        "PIECE_START TRACK_START INST=SOPRANO BAR_START NOTE_ON=67 TIME_DELTA=4 NOTE_OFF=67 "
        "NOTE_ON=69 TIME_DELTA=4 NOTE_OFF=69 BAR_END TRACK_END "
        "TRACK_START INST=ALTO BAR_START NOTE_ON=72 TIME_DELTA=4 NOTE_OFF=72 NOTE_ON=71 "
        "TIME_DELTA=5 NOTE_OFF=71 BAR_END TRACK_END "
        "TRACK_START INST=BASS BAR_START NOTE_ON=48 TIME_DELTA=3 NOTE_OFF=48 NOTE_ON=60 "
        "TIME_DELTA=1 NOTE_OFF=60 TIME_DELTA=2 NOTE_ON=41"
    )
    tokens = from_text(text, vocabulary)[None].astype(np.int64)
    found = lists(StructureTracker(rows, vocabulary, 1).advance(tokens)[0], rows.total)
    told = dict(zip(text.split(), found, strict=True))
    last, now = rows.last, rows.time
    assert told["NOTE_OFF=48"] == [now + 3, last + 48], "nobody else moves here"
    parallel = [rows.fifths + 62, rows.octaves + 59]
    assert told["NOTE_OFF=60"] == [now + 4, last + 60, *parallel]
    assert told["NOTE_ON=41"] == [now + 6, last + 60]


def test_tokens_that_make_no_sense_are_survived() -> None:
    vocabulary = Vocabulary(TokenizerSettings(bars=1))
    rows = position_rows(INPUTS, 20, vocabulary)
    rng = np.random.default_rng(0)
    tokens = rng.integers(-3, len(vocabulary) + 3, (8, 3000))
    made = StructureTracker(rows, vocabulary, 8, np.full((8, 2), 5)).advance(tokens)
    assert made.shape[2] <= 217
    assert made.min() >= 0
    assert made.max() <= rows.total


def test_more_than_sixty_pitches_leave_the_highest_out() -> None:
    vocabulary = Vocabulary(TokenizerSettings(bars=1))
    piece = Piece(
        4, 1, (track(0, *[(0, 16, pitch) for pitch in range(20, 100)]), track(1, (8, 9, 1)))
    )
    rows = position_rows(("sounding",), 400, vocabulary)
    tokens = encode(piece, vocabulary)
    made = document_rows(
        tokens, np.array([0, len(tokens)]), np.array([UNKNOWN]), np.array([False]), rows, vocabulary
    )
    assert made.shape[1] == 61
    assert made[-1, 1:].tolist() == [rows.sounding + pitch for pitch in range(20, 80)]


def test_a_table_has_only_the_groups_asked_for_at_the_same_places() -> None:
    """If this fails, models that were exported before have other rows: that breaks them."""
    vocabulary = Vocabulary(TokenizerSettings(bars=2))
    names = "time track held sounding begins after wait since_begin to_end instrument last fifths"
    names += " octaves above below"
    firsts = (50, 83, 99, 227, 995, 1763, 2531, 2548, 2565, 2582, 2715, 2843, 2971, 3099, 3227)
    all_rows = dict(zip(names.split(), firsts, strict=True))

    def groups(inputs: Sequence[str]) -> dict[str, int]:
        rows = position_rows(inputs, 50, vocabulary)
        assert (rows.seq_length, rows.times, rows.waits, rows.common_bar) == (50, 33, 17, 16)
        found = {"total": rows.total} | {name: getattr(rows, name) for name in (*all_rows, "sung")}
        return {name: first for name, first in found.items() if first >= 0}

    assert groups(()) == {"total": 50}
    assert groups(INPUTS) == {**all_rows, "total": 3355}
    some = {"time": 50, "since_begin": 83, "to_end": 100, "total": 117}
    assert groups(("place", "time")) == some
    with pytest.raises(UsageError, match=r"sonding.*did you mean 'sounding'"):
        position_rows(("sonding",), 50, vocabulary)

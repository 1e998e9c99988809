"""Bars are written into a piece and nothing else of it changes, whatever is written."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from megatron_music.errors import MidiError, UsageError
from megatron_music.generate.infill import InfillState, next_template, open_bars, select_bars
from megatron_music.generate.sampler import InfillConstraint
from megatron_music.score.instruments import SOPRANO, VOICES
from megatron_music.score.metre import METRES
from megatron_music.score.notes import Piece
from megatron_music.tokenizer.codec import encode, piece_of
from megatron_music.tokenizer.grammar import check
from megatron_music.tokenizer.infill_template import InfillTemplate
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary
from tests.music import bars_not_full, notes, scores, track, wander

ROOM = 2000


def scribble(
    template: InfillTemplate, vocabulary: Vocabulary, max_tokens: int, seed: int
) -> list[int]:
    """Write any legal tokens into a template."""
    constraint = InfillConstraint(vocabulary, [template], max_tokens)
    return wander(constraint, vocabulary, np.random.default_rng(seed))


def rows(piece: Piece, index: int) -> set[tuple[int, int, int]]:
    return set(notes(piece.tracks[index]))


def loudness(piece: Piece, index: int) -> dict[tuple[int, int], int]:
    one = piece.tracks[index]
    places = zip(one.onset.tolist(), one.pitch.tolist(), strict=True)
    return dict(zip(places, one.velocity.tolist(), strict=True))


def bar_at(piece: Piece, step: int) -> int:
    return int(piece.bar_at(np.array([step]))[0])


@st.composite
def states(draw: st.DrawFn) -> tuple[Piece, InfillState, Vocabulary]:
    vocabulary = Vocabulary(
        TokenizerSettings(
            draw(st.sampled_from([4, 12])),
            density=draw(st.booleans()),
            bars=draw(st.integers(1, 8)),
            fill=draw(st.booleans()),
            metres=draw(st.sampled_from([(), tuple(map(str, METRES))])),
            velocity=draw(st.sampled_from([0, 8])),
            tempo=draw(st.booleans()),
            lyrics=draw(st.booleans()),
        )
    )
    score = draw(scores(metres=vocabulary.has_metres, expressive=True))
    known = tuple(metre for metre in score.metres if metre.signature in METRES)
    try:
        piece = piece_of(replace(score, metres=known), vocabulary)
    except MidiError:  # all that sounds begins just before another metre
        assume(False)
    piece = replace(piece, bars=piece.bars + draw(st.integers(0, 3)))
    shape = (len(piece.tracks), piece.bars)
    cells = draw(
        st.lists(st.booleans(), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1])
    )
    holes = np.array(cells).reshape(shape)
    holes[draw(st.integers(0, shape[0] - 1)), draw(st.integers(0, shape[1] - 1))] = True
    return piece, open_bars(piece, holes), vocabulary


@settings(max_examples=150)
@given(states(), st.integers(0, 2**32), st.booleans())
def test_kept_notes_stay_and_new_notes_are_in_the_holes(
    drafted: tuple[Piece, InfillState, Vocabulary], seed: int, tight: bool
) -> None:
    piece, state, vocabulary = drafted
    holes = state.holes
    while not state.is_done:
        template = next_template(state, vocabulary, ROOM)
        budget = template.min_tokens if tight else ROOM
        tokens = scribble(template, vocabulary, budget, seed)
        assert len(tokens) <= budget
        state = state.filled(template, tokens, vocabulary)
    done = state.piece
    for index in range(len(piece.tracks)):
        before = {note for note in rows(piece, index) if not holes[index, bar_at(piece, note[0])]}
        after = rows(done, index)
        assert before <= after
        louds = loudness(piece, index)
        assert all(loudness(done, index)[on, pitch] == louds[on, pitch] for on, _, pitch in before)
        for onset, end, _ in after - before:
            assert holes[index, bar_at(piece, onset) : bar_at(piece, end - 1) + 1].all()
    sounding = replace(done, tracks=tuple(one for one in done.tracks if len(one)))
    check(encode(sounding, vocabulary), vocabulary)


@settings(max_examples=150)
@given(
    states(),
    st.integers(0, 2**32),
    st.booleans(),
    st.integers(40, 200) | st.just(ROOM),
    st.booleans(),
)
def test_a_single_voice_sings_one_note_at_a_time_and_up_to_each_barline(
    drafted: tuple[Piece, InfillState, Vocabulary],
    seed: int,
    tight: bool,
    room: int,
    full_bars: bool,
) -> None:
    piece, state, vocabulary = drafted
    tracks = tuple(replace(one, instrument=SOPRANO) for one in state.piece.tracks)
    state = replace(state, piece=replace(state.piece, tracks=tracks))
    holes = state.holes
    while not state.is_done:
        try:
            template = next_template(state, vocabulary, room, full_bars=full_bars)
        except UsageError:
            assume(False)
        budget = template.min_tokens if tight else room
        tokens = scribble(template, vocabulary, budget, seed)
        assert len(tokens) <= budget
        assert not tight or len(tokens) == budget
        state = state.filled(template, tokens, vocabulary)
    for index, one in enumerate(state.piece.tracks):
        if full_bars:
            assert not bars_not_full(one, piece) & set(np.flatnonzero(holes[index]))
        for onset, end, pitch in rows(state.piece, index):
            if holes[index, bar_at(piece, onset)]:
                others = rows(state.piece, index) - {(onset, end, pitch)}
                assert all(b <= onset or a >= end for a, b, _ in others)


@settings(max_examples=60)
@given(states(), st.integers(0, 2**32))
def test_a_filled_document_is_one_that_training_could_have_had(
    drafted: tuple[Piece, InfillState, Vocabulary], seed: int
) -> None:
    piece, state, vocabulary = drafted
    settings = replace(vocabulary.settings, fill=True, bars=min(64, piece.bars))
    vocabulary = Vocabulary(settings)
    template = next_template(state, vocabulary, 100_000)
    tokens = scribble(template, vocabulary, 100_000, seed)
    check(np.array(tokens), vocabulary)


def test_a_track_that_is_all_to_be_written_sounds() -> None:
    vocabulary = Vocabulary(TokenizerSettings(bars=4, density=False))
    piece = Piece(4, 4, (track(0, (0, 64, 60)), track(VOICES[3], (0, 4, 40))))
    state = open_bars(piece, select_bars(piece, (), (1,)))
    for seed in range(20):
        template = next_template(state, vocabulary, 60)
        done = state.filled(template, scribble(template, vocabulary, 60, seed), vocabulary)
        assert len(done.piece.tracks[1]) > 0


def test_tracks_take_turns_where_not_all_fit() -> None:
    vocabulary = Vocabulary(TokenizerSettings(bars=8, density=False))
    piece = Piece(4, 2, tuple(track(code, (0, 4, 60)) for code in range(10)))
    holes = np.zeros((10, 12), np.bool_)
    holes[:, 2:] = True
    state = InfillState(replace(piece, bars=12), holes)
    windows = 0
    while not state.is_done:
        template = next_template(state, vocabulary, 120)
        state = state.filled(template, scribble(template, vocabulary, 120, windows), vocabulary)
        windows += 1
    assert windows > 10


def test_bars_that_are_not_there_are_refused() -> None:
    piece = Piece(4, 2, (track(0, (0, 4, 60)),))
    with pytest.raises(UsageError, match=r"the piece has bars 1..2 \(got 3\)"):
        select_bars(piece, (3,), ())


@pytest.mark.parametrize("fill", [False, True])
def test_notes_that_the_end_of_a_window_cut_are_written_once_more(fill: bool) -> None:
    vocabulary = Vocabulary(TokenizerSettings(bars=4, fill=fill))
    long = track(0, (0, 16, 60), (30, 64, 62), (60, 64, 65))
    short, kept = track(33, (0, 50, 40)), track(48, (56, 64, 50))
    piece = Piece(4, 8, (long, short, kept))
    holes = np.tile(np.arange(8) > 3, (3, 1))
    written = ~holes & np.array([[True], [True], [False]])
    state = InfillState(piece, holes, written=written).open_at(4, 4)
    opened = state.holes & ~holes
    assert [np.flatnonzero(row).tolist() for row in opened] == [[3], [], []]
    assert rows(state.piece, 0) == {(0, 16, 60), (30, 64, 62)}

    slots = [slot for slot in next_template(state, vocabulary, ROOM).slots if slot.track == 0]
    assert [(slot.bar, slot.ends) for slot in slots] == [(3, False), (4, True)]
    now = state
    while not now.is_done:
        template = next_template(now, vocabulary, ROOM)
        now = now.filled(template, scribble(template, vocabulary, ROOM, 1), vocabulary)
    assert all(rows(state.piece, track) <= rows(now.piece, track) for track in range(3))


def test_longer_windows_write_more_of_what_was_cut_once_more() -> None:
    piece = Piece(4, 12, (track(0, (16, 128, 60), (90, 128, 62), (112, 128, 65)),))
    holes = np.arange(12)[None, :] > 7
    for first, opened in ((1, [5, 6, 7]), (6, [7]), (8, [])):
        state = InfillState(piece, holes, written=~holes).open_at(8, 8, first)
        assert np.flatnonzero(state.holes & ~holes).tolist() == opened
    assert InfillState(piece, holes).open_at(8, 8).holes.tolist() == holes.tolist()

"""Windows of whole pieces hold the piece's own music: whole bars, one key, legal mmmtrack."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_music.errors import DataError
from megatron_music.score.instruments import DRUMS
from megatron_music.score.metre import METRES
from megatron_music.score.notes import Piece, Track
from megatron_music.score.quantize import placed_windows
from megatron_music.tokenizer.codec import decode, encode
from megatron_music.tokenizer.grammar import check
from megatron_music.tokenizer.hidden_bars import choose_bars, hide, is_hidden, restore
from megatron_music.tokenizer.vocabulary import (
    Kind,
    TokenArray,
    TokenizerSettings,
    Vocabulary,
    vocabulary_of,
)
from megatron_music.tokenizer.window_draw import (
    WHOLE,
    Documents,
    documents_of,
    fixed_draw,
    new_draw,
)
from megatron_music.tokenizer.window_plan_kernel import hide_bars
from megatron_music.tokenizer.windows import Windows, plan, shortened
from tests.music import pieces, sung_pieces, track

PLAIN = vocabulary_of(TokenizerSettings(fill=True))
ANY_METRE = tuple(map(str, METRES))
Row = tuple[int, int, int, str]

in_any_metre = st.lists(pieces(metres=True, expressive=True), min_size=1, max_size=3)
with_words = st.lists(sung_pieces(), min_size=1, max_size=3)
some_pieces = st.one_of(st.lists(pieces(), min_size=1, max_size=3), in_any_metre, with_words)


def vocabulary_for(music: Sequence[Piece]) -> Vocabulary:
    """Return a vocabulary that all of the pieces can be written in: what is sung, how loud."""
    any_metre = any(piece.metres for piece in music)
    return vocabulary_of(
        TokenizerSettings(
            12,
            fill=True,
            metres=ANY_METRE if any_metre else (),
            velocity=8 * any_metre,
            tempo=any_metre,
            lyrics=any(piece.is_sung for piece in music),
        )
    )


def on_fine_grid(piece: Piece) -> Piece:
    """Return a piece on the grid of 12 steps a quarter."""
    factor = 12 // piece.steps_per_quarter
    tracks = tuple(
        replace(one, onset=one.onset * factor, end=one.end * factor) for one in piece.tracks
    )
    return replace(piece, steps_per_quarter=12, tracks=tracks)


def stored(tokens: Sequence[TokenArray]) -> Documents:
    lengths = np.array([len(one) for one in tokens], np.int32)
    starts = np.cumsum(lengths, dtype=np.int64) - lengths
    return documents_of(np.concatenate(tokens), starts, lengths)


def all_of(windows: Windows) -> list[tuple[int, int, TokenArray]]:
    """Return document, first bar and tokens of each window."""
    sources = windows.sources.tolist()
    return [(*of, windows.read(i)) for i, of in enumerate(sources)]


def rows(one: Track, semitones: int = 0) -> list[Row]:
    pitch = one.pitch + (0 if one.instrument == DRUMS else semitones)
    columns = (one.onset, one.end, pitch, one.sung)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def as_set(piece: Piece, semitones: int = 0) -> Counter[tuple[int, tuple[Row, ...]]]:
    """Return the tracks of a piece in no order, moved by semitones."""
    return Counter((one.instrument, tuple(rows(one, semitones))) for one in piece.tracks)


def window_of(piece: Piece, first: int, bars: int) -> Piece:
    """Return some bars of a piece, by the readable path."""
    starts = dict(placed_windows(piece, bars, 1))
    return starts[first]


@given(some_pieces, st.integers(1, 9))
@settings(max_examples=60)
def test_windows_for_validation_are_those_that_a_build_cuts(music: list[Piece], bars: int) -> None:
    music = list(map(on_fine_grid, music))
    vocabulary = vocabulary_for(music)
    documents = stored([encode(piece, vocabulary) for piece in music])
    cut = plan(documents, fixed_draw(shuffle=False), bars, WHOLE, vocabulary, moves=False)
    expected = [
        (number, first, encode(window, vocabulary).tolist())
        for number, piece in enumerate(music)
        for first, window in placed_windows(piece, bars, bars)
    ]
    assert [(*of, tokens.tolist()) for *of, tokens in all_of(cut)] == expected
    assert cut.sizes.tolist() == [len(tokens) for *_, tokens in expected]


@given(some_pieces, st.integers(1, 9), st.integers(0, 2**63), st.sampled_from([80, 200, 10_000]))
@settings(max_examples=60)
def test_drawn_windows_are_bars_of_the_piece_in_one_key(
    music: list[Piece], bars: int, word: int, most_tokens: int
) -> None:
    music = list(map(on_fine_grid, music))
    vocabulary = vocabulary_for(music)
    documents = stored([encode(piece, vocabulary) for piece in music])
    draw = new_draw(word, range(-6, 6), hidden=0.4)
    drawn = plan(documents, draw, bars, most_tokens, vocabulary, moves=True)
    for number, first, tokens in all_of(drawn):
        assert len(tokens) <= most_tokens
        check(tokens, vocabulary)
        window = decode(tokens, vocabulary)
        real = window_of(music[number], first, window.bars)
        assert 1 <= window.bars <= bars
        assert any(as_set(window) <= as_set(real, shift) for shift in range(-6, 6))
        if window.bars > 1:
            assert len(window.tracks) == len(real.tracks), "tracks go where one bar is too long"
        whole = restore(tokens, vocabulary)[0] if is_hidden(tokens, vocabulary) else tokens
        assert whole.tolist() == encode(window, vocabulary).tolist(), "densities are the window's"


@given(pieces(), st.integers(1, 9), st.integers(0, 2**63))
def test_every_bar_that_sounds_is_in_some_window_of_an_epoch(
    piece: Piece, bars: int, word: int
) -> None:
    piece = on_fine_grid(piece)
    vocabulary = vocabulary_for([piece])
    documents = stored([encode(piece, vocabulary)])
    drawn = plan(documents, new_draw(word, range(1)), bars, WHOLE, vocabulary, moves=True)
    seen: Counter[int] = Counter()
    for _, first, tokens in all_of(drawn):
        window = decode(tokens, vocabulary)
        is_last = first + window.bars == piece.bars
        assert window.bars == min(bars, piece.bars) or (is_last and window.bars < bars)
        seen.update(range(first, first + window.bars))
    onsets = np.concatenate([one.onset for one in piece.tracks])
    assert set(piece.bar_at(onsets).tolist()) <= set(seen)
    assert max(seen.values()) <= (2 if piece.bars >= 3 * bars else 3)


def test_the_last_window_of_a_piece_has_any_length_and_is_whole_in_half_of_the_epochs() -> None:
    music = track(0, *[(bar * 16, bar * 16 + 4, 60) for bar in range(20)])
    documents = stored([encode(Piece(4, 20, (music,)), PLAIN)])
    lengths: Counter[int] = Counter()
    for word in range(400):
        drawn = plan(documents, new_draw(word, range(1)), 8, WHOLE, PLAIN, moves=True)
        *others, (_, _, last) = all_of(drawn)
        assert {decode(tokens, PLAIN).bars for *_, tokens in others} == {8}
        lengths[decode(last, PLAIN).bars] += 1
    assert set(lengths) == set(range(1, 9))
    assert 180 <= lengths[8] <= 270, "half of them, and an eighth of the others"


def test_what_is_drawn_follows_from_the_word_alone() -> None:
    music = track(0, *[(i, i + 2, 40 + i % 30) for i in range(0, 640, 2)])
    drums = track(DRUMS, *[(i, i + 1, 36) for i in range(0, 640, 4)])
    documents = stored([encode(Piece(4, 40, (music, drums), ()), PLAIN)])

    def drawn(word: int) -> list[bytes]:
        draw = new_draw(word, range(-6, 6), hidden=0.5)
        windows = plan(documents, draw, 8, 1000, PLAIN, moves=True)
        return [tokens.tobytes() for *_, tokens in all_of(windows)]

    assert drawn(1) == drawn(1)
    assert not set(drawn(1)) & set(drawn(2))
    found = {bytes(tokens) for word in range(40) for tokens in drawn(word)}
    windows = [decode(np.frombuffer(one, np.uint16), PLAIN) for one in found]
    lowest = {
        int(min(one.pitch.min() for one in w.tracks if one.instrument != DRUMS)) for w in windows
    }
    assert lowest == set(range(34, 46)), "all twelve keys"
    assert {int(p) for w in windows for one in w.tracks if one.instrument == DRUMS
            for p in one.pitch} == {36}  # fmt: skip
    orders = Counter(w.tracks[0].instrument for w in windows if len(w.tracks) == 2)
    assert min(orders[0], orders[DRUMS]) > len(windows) / 4


def test_of_a_share_of_windows_one_track_is_dropped_and_the_others_stay() -> None:
    def drawn(count: int, word: int, dropped: float) -> Piece:
        tracks = tuple(track(code, (0, 16, 60)) for code in range(count))
        documents = stored([encode(Piece(4, 1, tracks, ()), PLAIN)])
        windows = plan(
            documents, new_draw(word, range(1), dropped=dropped), 1, WHOLE, PLAIN, moves=True
        )
        return decode(windows.read(0), PLAIN)

    def instruments(piece: Piece) -> list[int]:
        return [one.instrument for one in piece.tracks]

    left_out: Counter[int] = Counter()
    for word in range(200):
        whole, some = (instruments(drawn(6, word, share)) for share in (0.0, 0.5))
        gone = set(whole) - set(some)
        assert len(gone) <= 1
        assert some == [code for code in whole if code not in gone], "in the same order"
        left_out.update(gone)
        assert instruments(drawn(1, word, 0.99)) == [0], "never the last one"
    assert 70 <= left_out.total() <= 130
    assert set(left_out) == set(range(6))


def test_only_the_first_tracks_stay() -> None:
    tracks = tuple(track(code, (0, 16, 60)) for code in range(6))
    documents = stored([encode(Piece(4, 1, tracks, ()), PLAIN)])
    two = plan(documents, new_draw(5, range(1), max_tracks=2), 1, WHOLE, PLAIN, moves=True)
    assert len(decode(two.read(0), PLAIN).tracks) == 2


def levels_of(tokens: TokenArray, vocabulary: Vocabulary, kind: Kind) -> list[int]:
    """Return the levels that the tokens of a kind tell, in their order."""
    meanings = (vocabulary.meanings[token] for token in tokens.tolist())
    return [value for of, value in meanings if of is kind]


@given(in_any_metre, st.integers(1, 9), st.integers(0, 2**63), st.integers(1, 9), st.booleans())
@settings(max_examples=60)
def test_tempo_and_velocity_of_a_window_move_as_one_and_stay_levels(
    music: list[Piece], bars: int, word: int, most: int, of_tempo: bool
) -> None:
    music = list(map(on_fine_grid, music))
    vocabulary = vocabulary_for(music)
    documents = stored([encode(piece, vocabulary) for piece in music])
    kind, levels = (Kind.TEMPO, len(vocabulary.tempi)) if of_tempo else (Kind.VELOCITY, 8)

    def drawn(**levels: int) -> list[tuple[int, int, TokenArray]]:
        draw = new_draw(word, range(-6, 6), hidden=0.4, **levels)
        return all_of(plan(documents, draw, bars, 300, vocabulary, moves=True))

    moves = {f"{kind.name.lower()}_levels": most}
    moved = drawn(**moves)
    assert [one.tolist() for *_, one in moved] == [one.tolist() for *_, one in drawn(**moves)]
    first = vocabulary.tempo if of_tempo else vocabulary.velocity
    for (*place, tokens), (*same, other) in zip(drawn(), moved, strict=True):
        check(other, vocabulary)
        before, after = (levels_of(one, vocabulary, kind) for one in (tokens, other))
        (shift,) = {b - a for a, b in zip(before, after, strict=True)} or {0}
        assert abs(shift) <= most
        assert not after or 0 <= min(after) <= max(after) < levels
        back = other.astype(np.int64)
        back[(back >= first) & (back < first + levels)] -= shift
        assert (place, tokens.tolist()) == (same, back.tolist()), "nothing else changes"


def test_every_shift_of_velocity_and_tempo_is_drawn() -> None:
    loud = replace(track(0, (0, 16, 60), (16, 32, 62)), velocity=np.array([40, 88]))
    piece = Piece(4, 2, (loud,), tempos_us=(500_000,))
    vocabulary = vocabulary_of(TokenizerSettings(velocity=8, tempo=True))
    documents = stored([encode(piece, vocabulary)])
    found: dict[Kind, set[tuple[int, ...]]] = {Kind.VELOCITY: set(), Kind.TEMPO: set()}
    for word in range(150):
        draw = new_draw(word, range(1), tempo_levels=2, velocity_levels=4)
        tokens = plan(documents, draw, 2, WHOLE, vocabulary, moves=True).read(0)
        for kind, seen in found.items():
            seen.add(tuple(levels_of(tokens, vocabulary, kind)))
    assert found[Kind.VELOCITY] == {(low, low + 3) for low in range(5)}, "2 and 5, and 8 levels"
    tempi = sorted(found[Kind.TEMPO])
    assert len(tempi) == 5
    assert tempi[-1][0] - tempi[0][0] == 4


@given(st.integers(1, 12), st.integers(1, 16), st.integers(0, 2**64 - 1))
def test_bars_are_hidden_as_the_build_hides_them(tracks: int, bars: int, seed: int) -> None:
    from megatron_music.tokenizer.hidden_bars import hiding_seed

    music = "0123456789abcdef"
    hidden = np.zeros((tracks, bars), np.bool_)
    hide_bars(hiding_seed(seed, music, 7), hidden)
    expected = choose_bars(seed, music, 7, tracks, bars)
    assert [np.flatnonzero(of_track).tolist() for of_track in hidden] == expected


@given(some_pieces, st.integers(30, 200), st.booleans())
@settings(max_examples=60)
def test_a_long_document_is_shortened_to_the_most_bars_that_fit(
    music: list[Piece], most_tokens: int, hides: bool
) -> None:
    music = list(map(on_fine_grid, music))
    vocabulary = vocabulary_for(music)
    tokens = [encode(piece, vocabulary) for piece in music]
    if hides:
        choices = [choose_bars(1, "ab" * 8, i, len(p.tracks), p.bars) for i, p in enumerate(music)]
        pairs = zip(tokens, choices, strict=True)
        tokens = [hide(one, chosen, vocabulary) for one, chosen in pairs]
    short = shortened(stored(tokens), np.arange(len(music)), most_tokens, vocabulary)
    for number, piece in enumerate(music):
        size = int(short.sizes[number])
        if not size:
            continue
        made = short.read(number)
        assert len(made) == size <= most_tokens
        check(made, vocabulary)
        held = decode(made, vocabulary)
        real = window_of(piece, 0, held.bars)
        if len(held.tracks) < len(real.tracks):
            assert held.bars == 1
            assert len(encode(real, vocabulary)) + hides * len(real.tracks) > most_tokens
        else:
            assert as_set(held) == as_set(real)
        if held.bars < piece.bars and not hides:
            assert len(encode(window_of(piece, 0, held.bars + 1), vocabulary)) > most_tokens


@pytest.mark.parametrize(
    "words",
    [
        "BAR_START BAR_END",
        "PIECE_START PIECE_END",
        "TRACK_START",
        "PIECE_START TRACK_START INST=0 BAR_START BAR_END TRACK_END",
        "PIECE_START TRACK_START INST=0 FILL_IN TRACK_END PIECE_END",
        "PIECE_START BAR_START BAR_END TRACK_START INST=0 TRACK_END PIECE_END",
    ],
)
def test_a_document_that_is_not_a_piece_is_named_by_its_number(words: str) -> None:
    sound = encode(Piece(4, 1, (track(0, (0, 4, 60)),), ()), PLAIN)
    odd = np.array([PLAIN.ids[word] for word in words.split()], np.uint16)
    with pytest.raises(DataError, match="document 1 is not a whole piece"):
        plan(stored([sound, odd]), fixed_draw(), 4, WHOLE, PLAIN, moves=False)
    short = shortened(stored([sound, odd]), np.array([1]), 2, PLAIN)
    assert short.sizes.tolist() == [0]


@given(st.lists(st.integers(0, 500), min_size=1, max_size=60), st.integers(1, 5))
def test_no_tokens_make_the_kernels_read_beyond_the_end(ids: list[int], bars: int) -> None:
    documents = stored([np.array(ids, np.uint16)])
    try:
        windows = plan(documents, new_draw(1, range(1)), bars, 100, PLAIN, moves=True)
    except DataError:
        return
    for _, _, tokens in all_of(windows):
        assert len(tokens) <= 100

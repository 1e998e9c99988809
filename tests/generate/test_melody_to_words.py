"""Given words: a text in syllables, laid into bars, and sung in order by whatever is composed."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_music.errors import UsageError
from megatron_music.generate.infill import InfillState, empty_track, next_template
from megatron_music.generate.lyrics import lay_words, syllables_of, usual_bars
from megatron_music.generate.melody_to_words import SungTrack, WordsConstraint, tokens_of_words
from megatron_music.score.instruments import SOPRANO
from megatron_music.score.notes import Piece
from megatron_music.tokenizer.vocabulary import TokenizerSettings, vocabulary_of
from tests.music import wander

STAR = "Twinkle, twinkle, little star,\nHow I wonder what you are!\n\nUp a-bove"


def test_a_text_is_divided_into_syllables_with_the_ends_of_words_lines_and_verses() -> None:
    assert syllables_of(STAR, "en") == (
        ("Twin", "kle, ", "twin", "kle, ", "lit", "tle ", "star,\n"),
        ("How ", "I ", "won", "der ", "what ", "you ", "are!\f"),
        ("Up ", "a", "bove\n"),
    )


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("Herzen kommen", "de", ("Her", "zen ", "kom", "men\n")),
        ("o-pen", "en-US", ("o", "pen\n")),
        ("花の歌", "en", ("花", "の", "歌\n")),
        ("- one & two -", "en", ("one ", "two\n")),
    ],
)
def test_languages_hyphens_and_scripts(text: str, language: str, expected: tuple[str]) -> None:
    assert syllables_of(text, language) == (expected,)


@pytest.mark.parametrize("text", ["", " \n ", "...", "x" * 33, "word " * 5_000])
def test_what_cannot_be_sung_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="words"):
        syllables_of(text, "en")


def test_a_language_without_hyphenation_is_refused() -> None:
    with pytest.raises(UsageError, match="did you mean"):
        syllables_of("word", "english")


@given(st.lists(st.integers(1, 12), min_size=1, max_size=9), st.integers(1, 40), st.integers(0, 4))
def test_bars_have_the_words_in_order_and_lines_have_bars_of_their_own(
    lengths: list[int], bars: int, upbeat: int
) -> None:
    lines = tuple(tuple(f"{i}.{j}" for j in range(n)) for i, n in enumerate(lengths))
    flat = [one for line in lines for one in line]
    try:
        laid = lay_words(lines, bars, 16, upbeat)
    except UsageError as refused:
        enough = int(str(refused).split("`bars` ")[1].split()[0])
        assert bars < enough <= usual_bars(lines, upbeat)
        laid = lay_words(lines, enough, 16, upbeat)
    assert [one for bar in laid.bars for one in bar] == flat
    assert max(map(len, laid.bars)) <= 8
    if upbeat or len(laid.bars) >= len(lines):
        own = [bar[: len(bar) - of] for bar, of in zip(laid.bars, laid.upbeats, strict=True)]
        assert all(len({one.split(".")[0] for one in bar}) <= 1 for bar in own)
    if upbeat:
        ahead = [min(upbeat, count - 1) for count in lengths]
        assert [of for of in laid.upbeats if of] == [of for of in ahead if of]


def test_the_upbeat_of_a_line_is_at_the_end_of_the_bar_before() -> None:
    lines = syllables_of("A-maz-ing grace how sweet the sound\nThat saved a wretch like me", "en")
    laid = lay_words(lines, usual_bars(lines, 1), 12, 1)
    assert laid.bars == (
        ("A",),
        ("maz", "ing ", "grace ", "how "),
        ("sweet ", "the ", "sound\n", "That "),
        ("saved ", "a ", "wretch "),
        ("like ", "me\n"),
    )
    assert laid.upbeats == (1, 0, 1, 0, 0)
    assert laid.upbeat_step == 8, "the last quarter of a bar of 3/4"


@given(
    st.integers(0, 2**32),
    st.sampled_from([(SOPRANO,), (0, 40), (40, SOPRANO)]),
    st.booleans(),
    st.sampled_from([0, 8]),
    st.integers(0, 60),
    st.integers(0, 2),
)
@settings(max_examples=60, deadline=None)
def test_all_words_are_sung_in_order_whatever_is_drawn(
    seed: int, codes: tuple[int, ...], full_bars: bool, velocity: int, spare: int, upbeat: int
) -> None:
    pieces = ("kle", "Twin") if seed % 2 else ()
    vocabulary = vocabulary_of(
        TokenizerSettings(lyrics=True, velocity=velocity, bars=4, syllable_pieces=pieces)
    )
    lines = syllables_of(STAR, "en")
    laid = lay_words(lines, 6, 16, upbeat)
    singer = len(codes) - 1
    sung = SungTrack(singer, laid)
    empty = Piece(4, 6, tuple(map(empty_track, codes)))
    state = InfillState(empty, np.ones((len(codes), 6), np.bool_))
    rng = np.random.default_rng(seed)
    while not state.is_done:
        whole = next_template(
            state,
            vocabulary,
            2000,
            full_bars=full_bars,
            reserved=lambda template: tokens_of_words(template, sung, vocabulary),
        )
        # So few tokens that nearly all of them are owed to the words.
        most = whole.min_tokens + tokens_of_words(whole, sung, vocabulary) + spare
        song = WordsConstraint(vocabulary, [whole], most, [sung])
        tokens = wander(song, vocabulary, rng, song.given[0])
        assert len(tokens) <= most
        state = state.filled(whole, tokens, vocabulary)
    track = state.piece.tracks[singer]
    bars = state.piece.bar_at(track.onset)
    for bar in range(6):
        of_bar = (bars == bar) & (track.sung != "")
        assert tuple(track.sung[of_bar].tolist()) == laid.bars[bar]
        steps = (track.onset[of_bar] - 16 * bar).tolist()
        own = len(steps) - laid.upbeats[bar]
        if laid.upbeats[bar]:
            assert max(steps[:own], default=0) < laid.upbeat_step <= min(steps[own:])
        if bar and laid.upbeats[bar - 1]:
            assert steps[0] == 0, "the syllable after an upbeat is on the downbeat"
    assert all(first < second for first, second in pairwise(track.onset.tolist())), "one note"
    assert state.piece.tracks[0].syllables is None or singer == 0

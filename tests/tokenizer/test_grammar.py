"""The grammar takes every piece, refuses each kind of wrong token, and always finds the end."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_music.errors import TokenError
from megatron_music.score.instruments import VOICES
from megatron_music.score.tempo import TEMPI_US
from megatron_music.tokenizer.codec import from_text
from megatron_music.tokenizer.grammar import Walker, check, min_tokens
from megatron_music.tokenizer.grammar_state import Plan
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary
from tests.music import bars_not_full, pick

PLAIN = Vocabulary(TokenizerSettings(density=False))
DENSE = Vocabulary(TokenizerSettings(density=True))
METRED = Vocabulary(
    TokenizerSettings(attributes=("GENRE=JAZZ",), metres=("4/4", "3/4", "6/8"), density=False)
)
EXPRESSIVE = Vocabulary(
    TokenizerSettings(
        attributes=("GENRE=JAZZ",), metres=("4/4", "3/4"), velocity=8, tempo=True, density=False
    )
)
TIMED = Vocabulary(TokenizerSettings(velocity=32, tempo=True))
SUNG = Vocabulary(
    TokenizerSettings(
        attributes=("GENRE=JAZZ",), velocity=8, lyrics=True, syllable_pieces=("ü", "in", "ing")
    )
)
ATTRIBUTED = Vocabulary(TokenizerSettings(attributes=("GENRE=JAZZ", "GENRE=ROCK")))

HEAD = "PIECE_START TRACK_START INST=0 BAR_START"
NOTE = "NOTE_ON=60 TIME_DELTA=4 NOTE_OFF=60"
TAIL = "BAR_END TRACK_END PIECE_END"


LOUD_HEAD = "PIECE_START METRE=3/4 TEMPO=120 TRACK_START INST=0"
LOUD_NOTE = "VELOCITY=88 NOTE_ON=60 TIME_DELTA=4 NOTE_OFF=60"


SUNG_HEAD = "PIECE_START TRACK_START INST=0 DENSITY=0 BAR_START VELOCITY=88"


@pytest.mark.parametrize(
    ("vocabulary", "text", "position", "reason"),
    [
        (EXPRESSIVE, "PIECE_START TEMPO=120", 1, "before METRE"),
        (EXPRESSIVE, "PIECE_START METRE=3/4 TRACK_START", 2, "before TEMPO"),
        (EXPRESSIVE, "PIECE_START METRE=3/4 TEMPO=120 TEMPO=60", 3, "expected TRACK_START"),
        (EXPRESSIVE, "PIECE_START METRE=3/4 TEMPO=120 GENRE=JAZZ", 3, "attributes come first"),
        (EXPRESSIVE, f"{LOUD_HEAD} TEMPO=60", 5, "no bar changes"),
        (EXPRESSIVE, f"{LOUD_HEAD} BAR_START NOTE_ON=60", 6, "before the VELOCITY"),
        (EXPRESSIVE, f"{LOUD_HEAD} BAR_START VELOCITY=88 VELOCITY=72", 7, "expected NOTE_ON"),
        (EXPRESSIVE, f"{LOUD_HEAD} BAR_START {LOUD_NOTE} {LOUD_NOTE}", 10, "VELOCITY=88 again"),
        (EXPRESSIVE, f"{LOUD_HEAD} BAR_START TIME_DELTA=12 VELOCITY=88", 7, "after the last step"),
        (EXPRESSIVE, f"{LOUD_HEAD} BAR_START {LOUD_NOTE} BAR_END TEMPO=120", 11, "again"),
        (
            EXPRESSIVE,
            f"{LOUD_HEAD} BAR_START {LOUD_NOTE} BAR_END TEMPO=60 METRE=4/4",
            12,
            "expected BAR_ST",
        ),
        (
            EXPRESSIVE,
            f"{LOUD_HEAD} BAR_START {LOUD_NOTE} BAR_END TEMPO=60 TRACK_END",
            12,
            "after TEMPO",
        ),
        (
            EXPRESSIVE,
            f"{LOUD_HEAD} BAR_START {LOUD_NOTE} BAR_END TEMPO=60 BAR_START BAR_END TRACK_END "
            "TRACK_START INST=1 BAR_START BAR_END BAR_START",
            19,
            "before TEMPO=60, as in the first track",
        ),
        (SUNG, f"{SUNG_HEAD} SYLLABLE=a", 6, "right after its NOTE_ON"),
        (SUNG, f"{SUNG_HEAD} NOTE_ON=60 SYLLABLE=WORD_END", 7, "before the text"),
        (SUNG, f"{SUNG_HEAD} NOTE_ON=60 SYLLABLE=a SYLLABLE=WORD_END SYLLABLE=b", 9, "right after"),
        (SUNG, f"{SUNG_HEAD} NOTE_ON=60{' SYLLABLE=a' * 33}", 39, "after 32 bytes"),
        (
            SUNG,
            f"{SUNG_HEAD} NOTE_ON=60{' SYLLABLE=ing' * 10} SYLLABLE=ü SYLLABLE=a",
            18,
            "after 32",
        ),
        (ATTRIBUTED, "PIECE_START GENRE=ROCK GENRE=JAZZ", 2, "out of order or repeated"),
        (ATTRIBUTED, "PIECE_START GENRE=JAZZ GENRE=JAZZ", 2, "out of order or repeated"),
        (PLAIN, "TRACK_START", 0, "expected PIECE_START"),
        (PLAIN, "PIECE_START INST=0", 1, "expected TRACK_START"),
        (PLAIN, "PIECE_START TRACK_START BAR_START", 2, "expected INST"),
        (PLAIN, "PIECE_START TRACK_START INST=0 DENSITY=1", 3, "expected BAR_START"),
        (PLAIN, f"{HEAD} BAR_START", 4, "in a bar"),
        (PLAIN, f"{HEAD} FILL_IN", 4, "1 FILL_IN, 0 FILL_START and 0 FILL_END"),
        (PLAIN, f"{HEAD} NOTE_OFF=60", 4, "while 60 is not sounding"),
        (PLAIN, f"{HEAD} NOTE_ON=60 TIME_DELTA=4 NOTE_ON=60", 6, "while 60 is sounding"),
        (PLAIN, f"{HEAD} TIME_DELTA=1 NOTE_ON=60 NOTE_OFF=60", 6, "at the step of its NOTE_ON"),
        (PLAIN, f"{HEAD} NOTE_ON=60 BAR_END BAR_START NOTE_OFF=60", 7, "in the bar before"),
        (PLAIN, f"{HEAD} TIME_DELTA=12 TIME_DELTA=5", 5, "4 of 16 steps left"),
        (PLAIN, f"{HEAD} TIME_DELTA=16 NOTE_ON=60", 5, "in the next bar"),
        (PLAIN, f"{HEAD} NOTE_ON=60 TIME_DELTA=4 BAR_END TRACK_END", 7, "while 60 is sounding"),
        (PLAIN, f"{HEAD} BAR_END TRACK_END", 5, "without a note"),
        (PLAIN, "PIECE_START TRACK_START INST=0 TRACK_END", 3, "0 of at least 1 bars"),
        (PLAIN, f"{HEAD} {NOTE} BAR_END NOTE_ON=60", 8, "between bars"),
        (
            PLAIN,
            f"{HEAD} {NOTE} BAR_END TRACK_END BAR_START",
            9,
            "expected TRACK_START or PIECE_END",
        ),
        (PLAIN, f"{HEAD} {NOTE} {TAIL} PIECE_START", 10, "expected nothing more"),
        (
            PLAIN,
            f"{HEAD} {NOTE} BAR_END TRACK_END "
            f"TRACK_START INST=1 BAR_START {NOTE} BAR_END BAR_START",
            16,
            "all tracks must have as many bars",
        ),
        (
            PLAIN,
            f"{HEAD} {NOTE} BAR_END BAR_START BAR_END TRACK_END "
            f"TRACK_START INST=1 BAR_START {NOTE} BAR_END TRACK_END",
            18,
            "1 of 2 bars",
        ),
        (
            PLAIN,
            f"{HEAD} {NOTE} BAR_END TRACK_END TRACK_START INST=1 BAR_START NOTE_ON=60 BAR_END",
            13,
            "BAR_END of the last bar while 60",
        ),
        (
            PLAIN,
            f"{HEAD} {NOTE} BAR_END TRACK_END TRACK_START INST=1 BAR_START TIME_DELTA=16",
            12,
            "without a note",
        ),
    ],
)
def test_each_wrong_token_is_refused_at_its_place(
    vocabulary: Vocabulary, text: str, position: int, reason: str
) -> None:
    with pytest.raises(TokenError, match=reason) as caught:
        check(from_text(text, vocabulary), vocabulary)
    assert caught.value.position == position


@st.composite
def plans(draw: st.DrawFn) -> tuple[Vocabulary, Plan]:
    vocabulary = draw(st.sampled_from([PLAIN, DENSE, ATTRIBUTED, METRED, EXPRESSIVE, TIMED, SUNG]))
    code = st.integers(0, 132) | st.sampled_from(VOICES)
    codes = st.lists(code, min_size=1, max_size=5).map(tuple)
    instruments = draw(st.none() | codes)
    ids = range(vocabulary.attribute, len(vocabulary))
    heads = st.lists(st.sampled_from(ids), unique=True) if ids else st.just([])
    plan = Plan(
        draw(st.none() | st.integers(1, 9)),
        instruments,
        single_voices=draw(st.booleans()),
        attributes=draw(st.none() | heads.map(sorted).map(tuple)),
        densities=tuple((code, draw(st.integers(0, 9))) for code in sorted(set(instruments or ()))),
        tracks=draw(st.none() | st.integers(1, 4)) if instruments is None else None,
        full_bars=draw(st.booleans()),
        metre=draw(st.none() | st.integers(0, 1)) if vocabulary.has_metres else None,
        tempo=draw(st.none() | st.integers(0, 31)) if vocabulary.has_tempos else None,
        velocities=draw(st.none() | st.sampled_from([(0, 2), (5, 5), (6, 7)]))
        if vocabulary.has_velocities
        else None,
    )
    least = min_tokens(vocabulary, plan)
    return vocabulary, replace(plan, max_tokens=least + draw(st.integers(0, 150)))


def wander(vocabulary: Vocabulary, plan: Plan, seed: int) -> Walker:
    """Choose legal tokens at random until the piece ends."""
    rng = np.random.default_rng(seed)
    walker = Walker(vocabulary, plan)
    while not walker.is_whole:
        walker.advance(pick(rng, walker.allowed(), vocabulary))
    return walker


@settings(deadline=None, max_examples=150)
@given(plans(), st.integers(0, 2**32))
def test_any_legal_choice_ends_as_planned(planned: tuple[Vocabulary, Plan], seed: int) -> None:
    vocabulary, plan = planned
    walker = wander(vocabulary, plan, seed)
    check(np.array(walker.tokens), vocabulary)
    piece = walker.piece()
    assert walker.length <= (plan.max_tokens or 0)
    assert plan.bars in (None, piece.bars)
    if plan.instruments is not None:
        assert sorted(t.instrument for t in piece.tracks) == sorted(plan.instruments)
    assert plan.tracks in (None, len(piece.tracks))
    if plan.single_voices and plan.full_bars:
        for track in piece.tracks:
            assert track.instrument not in VOICES or not bars_not_full(track, piece)
    if plan.metre is not None:
        metres = {piece.metre_of(bar) for bar in range(piece.bars)}
        assert metres == {vocabulary.metres[plan.metre]}
    if plan.tempo is not None:
        assert set(piece.tempos_us) == {TEMPI_US[plan.tempo]}
    for track in piece.tracks if plan.velocities is not None else ():
        levels = vocabulary.levels_of(track.velocity)
        assert plan.velocities[0] <= levels.min() <= levels.max() <= plan.velocities[1]
    if plan.attributes is not None:
        assert walker.tokens[1 : 1 + len(plan.attributes)] == list(plan.attributes)
    if vocabulary.settings.density:
        for code, level in plan.densities:
            assert walker.tokens[walker.tokens.index(vocabulary.inst + code) + 1] == (
                vocabulary.density + level
            )


@settings(deadline=None, max_examples=50)
@given(plans(), st.integers(0, 2**32))
def test_the_shortest_way_is_as_long_as_promised(
    planned: tuple[Vocabulary, Plan], seed: int
) -> None:
    vocabulary, plan = planned
    least = min_tokens(vocabulary, plan)
    tight = replace(plan, max_tokens=least)
    assert wander(vocabulary, tight, seed).length == least

"""The compiled grammar marks, refuses and passes over what the readable one does."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_music.errors import TokenError
from megatron_music.score.metre import METRES
from megatron_music.tokenizer.codec import encode, from_text
from megatron_music.tokenizer.grammar import Walker, check, legal_masks
from megatron_music.tokenizer.grammar_state import Plan, new_rules, new_state
from megatron_music.tokenizer.grammar_walk_kernel import mark_legal, suspect_documents, take_tokens
from megatron_music.tokenizer.hidden_bars import choose_bars, hide, is_hidden
from megatron_music.tokenizer.vocabulary import TokenArray, TokenizerSettings, Vocabulary
from tests.music import pick, pieces, sung_pieces
from tests.tokenizer.oracle import OracleWalker
from tests.tokenizer.oracle_position import Phase
from tests.tokenizer.test_grammar import plans

ATTRIBUTES = ("GENRE=JAZZ", "GENRE=ROCK")
VOCABULARIES = {
    (steps, density, metres): Vocabulary(
        TokenizerSettings(
            steps,
            density,
            attributes=ATTRIBUTES,
            metres=tuple(map(str, METRES)) if metres else (),
            velocity=8 if metres and density else 0,
            lyrics=density,
            tempo=metres and density,
        )
    )
    for steps in (4, 12)
    for density in (False, True)
    for metres in (False, True)
}
PLAIN = VOCABULARIES[4, False, False]
NOTE = "NOTE_ON=60 TIME_DELTA=4 NOTE_OFF=60"


def legal(tokens: TokenArray, vocabulary: Vocabulary) -> bool:
    try:
        check(tokens, vocabulary)
    except TokenError:
        return False
    return True


def suspected(documents: list[TokenArray], vocabulary: Vocabulary) -> list[int]:
    lengths = np.array([len(document) for document in documents], np.int32)
    return list(suspect_documents(np.concatenate(documents), lengths, vocabulary))


@st.composite
def documents(draw: st.DrawFn) -> tuple[TokenArray, Vocabulary]:
    """Draw the tokens of a piece, some with attributes, some with hidden bars."""
    metres = draw(st.booleans())
    piece = draw(pieces(metres=metres, expressive=metres) | sung_pieces())
    vocabulary = VOCABULARIES[piece.steps_per_quarter, draw(st.booleans()), metres]
    tokens = encode(piece, vocabulary)
    if draw(st.booleans()):
        seed = draw(st.integers(0, 2**63))
        bars = choose_bars(seed, "0" * 32, 0, len(piece.tracks), piece.bars)
        tokens = hide(tokens, bars, vocabulary)
    chosen = draw(st.sampled_from(["", "GENRE=JAZZ", "GENRE=JAZZ GENRE=ROCK"]))
    return np.insert(tokens, 1, from_text(chosen, vocabulary)), vocabulary


@st.composite
def spoiled(draw: st.DrawFn) -> tuple[TokenArray, Vocabulary]:
    """Draw the tokens of a piece with a few of them changed, lost, repeated or exchanged."""
    tokens, vocabulary = draw(documents())
    rows = tokens.tolist()
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(rows) - 1))
        other = draw(st.integers(0, len(rows) - 1))
        way = draw(st.sampled_from(["change", "nudge", "lose", "repeat", "exchange", "cut"]))
        if way == "change":
            rows[place] = draw(st.integers(0, len(vocabulary) + 3))
        elif way == "nudge":
            rows[place] += 1
        elif way == "lose" and len(rows) > 1:
            del rows[place]
        elif way == "repeat":
            rows.insert(other, rows[place])
        elif way == "exchange":
            rows[place], rows[other] = rows[other], rows[place]
        elif way == "cut" and place:
            del rows[place:]
    return np.array(rows, np.uint16), vocabulary


@settings(max_examples=60, deadline=None)
@given(plans(), st.integers(0, 2**32), st.booleans())
def test_each_token_is_refused_for_the_reason_of_the_oracle(
    planned: tuple[Vocabulary, Plan], seed: int, endless: bool
) -> None:
    vocabulary, plan = planned
    plan = replace(plan, max_tokens=None) if endless else plan
    rng = np.random.default_rng(seed)
    walker, oracle = Walker(vocabulary, plan), OracleWalker(vocabulary, plan)
    while not walker.is_whole and walker.length < 200:
        allowed = walker.allowed()
        if walker.length < 6 or not rng.integers(8):  # of all steps some: there are many tokens
            refusals = [walker.refusal(token) for token in range(len(vocabulary))]
            assert refusals == [oracle.refusal(token) for token in range(len(vocabulary))]
            assert allowed.tolist() == [reason is None for reason in refusals]
        token = pick(rng, allowed, vocabulary)
        walker.advance(token)
        oracle.advance(token)


@settings(max_examples=40, deadline=None)
@given(plans(), st.integers(0, 2**32))
def test_songs_of_a_batch_are_masked_as_each_is_alone(
    planned: tuple[Vocabulary, Plan], seed: int
) -> None:
    vocabulary, plan = planned
    rng = np.random.default_rng(seed)
    rules = new_rules(vocabulary, plan)
    state = new_state([plan, plan], rules)
    walkers = [Walker(vocabulary, plan) for _ in range(2)]
    masks, tokens = np.ones((2, len(vocabulary)), np.bool_), np.zeros((2, 1), np.int64)
    while not all(walker.is_whole for walker in walkers):
        mark_legal(state, rules, masks)
        for row, walker in enumerate(walkers):
            assert (masks[row] == walker.allowed()).all()
            if not walker.is_whole:
                tokens[row] = pick(rng, masks[row], vocabulary)
                walker.advance(int(tokens[row, 0]))
        take_tokens(tokens, state, rules)


@settings(max_examples=20)
@given(documents())
def test_masks_along_a_document_are_those_of_each_step(
    drawn: tuple[TokenArray, Vocabulary],
) -> None:
    tokens, vocabulary = drawn
    if is_hidden(tokens, vocabulary):
        return
    walker = Walker(vocabulary)
    for token, mask in zip(tokens.tolist(), legal_masks(tokens, vocabulary), strict=False):
        walker.advance(token)
        assert (mask == walker.allowed()).all()


def oracle_fault(tokens: TokenArray, vocabulary: Vocabulary) -> tuple[int, str] | None:
    walker = OracleWalker(vocabulary)
    try:
        for token in tokens.tolist():
            walker.advance(token)
    except TokenError as fault:
        return fault.position, fault.reason
    if walker.position.phase is Phase.END:
        return None
    where = walker.position.phase.value
    return len(tokens), f"the piece stops early, {where}; expected PIECE_END"


@settings(max_examples=200)
@given(spoiled())
def test_the_first_fault_of_a_document_is_that_of_the_oracle(
    drawn: tuple[TokenArray, Vocabulary],
) -> None:
    tokens, vocabulary = drawn
    if is_hidden(tokens, vocabulary):
        return
    try:
        check(tokens, vocabulary)
        found = None
    except TokenError as fault:
        found = fault.position, fault.reason
    assert found == oracle_fault(tokens, vocabulary)


@given(documents())
def test_what_is_legal_is_passed_over(drawn: tuple[TokenArray, Vocabulary]) -> None:
    tokens, vocabulary = drawn
    assert suspected([tokens, tokens], vocabulary) == []


@settings(max_examples=300)
@given(st.lists(spoiled(), min_size=1, max_size=3))
def test_what_is_not_legal_is_suspected(drawn: list[tuple[TokenArray, Vocabulary]]) -> None:
    for tokens, vocabulary in drawn:
        found = suspected([tokens], vocabulary) == [0]
        if not is_hidden(tokens, vocabulary):
            assert found is not legal(tokens, vocabulary)
        assert found or legal(tokens, vocabulary)


def test_each_document_is_judged_by_itself() -> None:
    good = from_text(
        f"PIECE_START TRACK_START INST=0 BAR_START {NOTE} BAR_END TRACK_END PIECE_END", PLAIN
    )
    sounding = good[good != PLAIN.note_off + 60]
    empty = np.zeros(0, np.uint16)
    assert suspected([good, sounding, good, empty, good], PLAIN) == [1, 3]


@pytest.mark.parametrize("tokens", [[-1], [1, 3, -5], [1, 3, 2**31 - 1]])
def test_ids_outside_the_vocabulary_are_suspected(tokens: list[int]) -> None:
    row = np.array(tokens, np.int32)
    assert list(suspect_documents(row, np.array([len(row)], np.int32), PLAIN)) == [0]


@pytest.mark.parametrize(
    "text",
    [
        "INST=0 FILL_IN TRACK_END FILL_START {note} FILL_END FILL_START FILL_END",
        "INST=0 FILL_IN FILL_IN TRACK_END FILL_START {note} FILL_END",
        "INST=0 FILL_IN TRACK_END FILL_START {note} BAR_END",
        "INST=0 FILL_IN TRACK_END",
        "FILL_IN INST=0 TRACK_END FILL_START {note} FILL_END",
        "INST=0 BAR_START {note} BAR_END TRACK_END FILL_START FILL_END",
    ],
)
def test_hidden_bars_that_are_not_told_are_suspected(text: str) -> None:
    tokens = from_text(f"PIECE_START TRACK_START {text} PIECE_END".format(note=NOTE), PLAIN)
    assert not legal(tokens, PLAIN)
    assert suspected([tokens], PLAIN) == [0]

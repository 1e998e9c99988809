"""The compiled grammar marks and refuses what the readable one does, at every step."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_music.errors import TokenError
from megatron_music.tokenizer.grammar import Walker, check, legal_masks
from megatron_music.tokenizer.grammar_mask_kernel import mark_legal, take_tokens
from megatron_music.tokenizer.grammar_state import new_rules, new_state
from megatron_music.tokenizer.hidden_bars import is_hidden
from megatron_music.tokenizer.piece_plan import Plan
from megatron_music.tokenizer.vocabulary import TokenArray, Vocabulary
from tests.music import pick
from tests.tokenizer.oracle import OracleWalker
from tests.tokenizer.oracle_position import Phase
from tests.tokenizer.test_grammar import plans
from tests.tokenizer.test_validate_kernel import documents, spoiled


@settings(max_examples=120)
@given(plans(), st.integers(0, 2**32), st.booleans())
def test_it_marks_what_the_oracle_allows(
    planned: tuple[Vocabulary, Plan], seed: int, endless: bool
) -> None:
    vocabulary, plan = planned
    if endless:
        plan = Plan(plan.bars, plan.instruments, None, plan.single_voices, full_bars=plan.full_bars)
    rng = np.random.default_rng(seed)
    rules = new_rules(vocabulary, plan)
    state = new_state([plan, plan], rules)
    walkers = [OracleWalker(vocabulary, plan) for _ in range(2)]
    masks = np.ones((2, len(vocabulary)), np.bool_)
    tokens = np.zeros((2, 1), np.int64)
    for _ in range(200):
        mark_legal(state, rules, masks)
        for row, walker in enumerate(walkers):
            allowed = walker.allowed()
            assert np.flatnonzero(masks[row]).tolist() == np.flatnonzero(allowed).tolist()
            if walker.position.phase is not Phase.END:
                tokens[row] = pick(rng, allowed, vocabulary)
                walker.advance(int(tokens[row, 0]))
        take_tokens(tokens, state, rules)


@settings(max_examples=25)
@given(plans(), st.integers(0, 2**32))
def test_each_token_is_refused_for_the_reason_of_the_oracle(
    planned: tuple[Vocabulary, Plan], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    walker, oracle = Walker(*planned), OracleWalker(*planned)
    ids = range(len(walker.vocabulary))
    while not walker.is_whole:
        allowed = walker.allowed()
        if walker.length < 6 or not rng.integers(8):  # of all steps some: there are many tokens
            refusals = [walker.refusal(token) for token in ids]
            assert refusals == [oracle.refusal(token) for token in ids]
            assert allowed.tolist() == [reason is None for reason in refusals]
        token = pick(rng, allowed, walker.vocabulary)
        walker.advance(token)
        oracle.advance(token)


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


@settings(max_examples=20)
@given(documents())
def test_masks_along_a_document_are_those_of_the_oracle(
    drawn: tuple[TokenArray, Vocabulary],
) -> None:
    tokens, vocabulary = drawn
    if is_hidden(tokens, vocabulary):
        return
    oracle = OracleWalker(vocabulary)
    for token, mask in zip(tokens.tolist(), legal_masks(tokens, vocabulary), strict=False):
        oracle.advance(token)
        assert (mask == oracle.allowed()).all()

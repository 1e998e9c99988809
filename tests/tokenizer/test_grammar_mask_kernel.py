"""The compiled grammar marks what the readable one allows, at every step of every song."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_music.tokenizer.grammar import Walker
from megatron_music.tokenizer.grammar_mask_kernel import mark_legal, take_tokens
from megatron_music.tokenizer.grammar_state import new_rules, new_state
from megatron_music.tokenizer.plan import Plan
from megatron_music.tokenizer.position import Phase
from megatron_music.tokenizer.vocabulary import Vocabulary
from tests.music import pick
from tests.tokenizer.test_grammar import plans


@settings(max_examples=120)
@given(plans(), st.integers(0, 2**32), st.booleans())
def test_it_marks_what_the_walker_allows(
    planned: tuple[Vocabulary, Plan], seed: int, endless: bool
) -> None:
    vocabulary, plan = planned
    if endless:
        plan = Plan(plan.bars, plan.instruments, None, plan.single_voices, full_bars=plan.full_bars)
    rng = np.random.default_rng(seed)
    rules = new_rules(vocabulary, plan)
    state = new_state([plan, plan], rules)
    walkers = [Walker(vocabulary, plan) for _ in range(2)]
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

"""Decoding computes what transformers computes, whole or step by step, and ends where songs do."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from megatron_music.errors import CheckpointError
from megatron_music.generate.decoding import CachedGPT2, decode

TOKENS, LENGTH, ENDS = 40, 400, [24, 11]


def small_gpt2(**settings: object) -> GPT2LMHeadModel:
    torch.manual_seed(3)
    config = GPT2Config(
        vocab_size=TOKENS,
        n_positions=LENGTH,
        n_embd=24,
        n_layer=2,
        n_head=3,
        bos_token_id=1,
        eos_token_id=2,
        **settings,
    )
    model = GPT2LMHeadModel(config).double().eval()
    for parameter in model.parameters():  # new weights are so small that logits hardly differ
        torch.nn.init.normal_(parameter, std=0.3)
    return model


class Reader:
    """Reads ids by a cached model, with a row of the position table for each index."""

    def __init__(self, model: GPT2LMHeadModel, songs: int) -> None:
        self.model, self.cached = model, CachedGPT2(model, songs)

    def __call__(self, ids: torch.Tensor) -> torch.Tensor:
        transformer, first = self.model.transformer, self.cached.taken
        rows = transformer.wpe.weight[first : first + ids.shape[1]]
        return self.cached.read(transformer.wte(ids) + rows)


@pytest.mark.parametrize("parts", [[LENGTH], [1] * LENGTH, [9, 1, 240, 1, 100, 49]])
def test_tokens_read_in_any_parts_give_the_logits_of_the_model(parts: list[int]) -> None:
    model = small_gpt2()
    ids = torch.randint(TOKENS, (3, LENGTH))
    reader = Reader(model, 3)
    with torch.inference_mode():
        wanted = model(ids).logits
        taken = 0
        for part in ids.split(parts, dim=1):
            taken += part.shape[1]
            assert torch.allclose(reader(part), wanted[:, taken - 1], atol=1e-9)


def test_greedy_decoding_is_that_of_generate() -> None:
    model = small_gpt2()
    start = torch.arange(20, 36).view(8, 2)
    theirs = model.generate(
        start,
        attention_mask=torch.ones_like(start),
        do_sample=False,
        max_length=60,
        eos_token_id=ENDS,
        pad_token_id=0,
    )
    ours = decode(Reader(model, 8), lambda _, scores: scores.argmax(-1), start, ENDS, 60)
    for row, song in zip(theirs.tolist(), ours, strict=True):
        assert row[: len(song)] == song
        assert song[-1] in ENDS or len(song) == 60
        assert not set(ENDS) & set(song[2:-1])
    assert len({len(song) for song in ours}) > 1, "no song ends before another"


def test_another_arithmetic_is_refused() -> None:
    with pytest.raises(CheckpointError, match="activation_function='relu'"):
        CachedGPT2(small_gpt2(activation_function="relu"), 1)

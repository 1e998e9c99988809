"""Attention by blocks is causal attention: the same values and gradients as torch's own."""

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("megatron.core")

import torch.nn.functional as F  # noqa: E402, N812 - torch's own habit
from megatron.core.transformer import TransformerConfig  # noqa: E402

from megatron_music.train.layers import (  # noqa: E402
    BLOCK,
    TorchCoreAttention,
    attend_by_blocks,
    document_spans,
    gelu_tanh,
)

pytestmark = pytest.mark.filterwarnings("ignore")


def parts(tokens: int, dtype: Any = torch.float32) -> list[Any]:
    """Draw query, key, value and a gradient: [2, 3, tokens, 16]."""
    torch.manual_seed(tokens)
    return [torch.randn(2, 3, tokens, 16, dtype=dtype) for _ in range(4)]


def gradients(attend: Any, *parts: Any) -> list[Any]:
    """Return the result and the gradients of query, key and value."""
    *inputs, onto = [part.clone().requires_grad_() for part in parts]
    result = attend(*inputs)
    return [result, *torch.autograd.grad(result, inputs, onto)]


@pytest.mark.parametrize("tokens", [1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 3 * BLOCK + 50])
@pytest.mark.parametrize("scale", [None, 0.5])
def test_values_and_gradients_are_those_of_torch(tokens: int, scale: float | None) -> None:
    def theirs(*parts: Any) -> Any:
        return F.scaled_dot_product_attention(*parts, is_causal=True, scale=scale)

    def ours(*parts: Any) -> Any:
        return attend_by_blocks(*parts, scale=scale)

    drawn = parts(tokens)
    for mine, other in zip(gradients(ours, *drawn), gradients(theirs, *drawn), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_bf16_stays_as_near_as_its_digits_allow(dropout: float) -> None:
    def seeded(*parts: Any) -> Any:
        torch.manual_seed(5)
        return attend_by_blocks(*parts, dropout=dropout)

    drawn = parts(2 * BLOCK)  # the same shapes in both: the same weights are dropped
    found = gradients(seeded, *(part.bfloat16() for part in drawn))
    for near, exact in zip(found, gradients(seeded, *drawn), strict=True):
        assert near.dtype is torch.bfloat16
        torch.testing.assert_close(near.float(), exact, atol=0.1, rtol=0.05)


def test_gradients_follow_what_dropout_left() -> None:
    def seeded(*parts: Any) -> Any:
        torch.manual_seed(5)
        return attend_by_blocks(*parts, dropout=0.3)

    drawn = [part[:1, :1, :, :2].requires_grad_() for part in parts(BLOCK + 2, torch.float64)[:3]]
    assert torch.autograd.gradcheck(seeded, drawn, fast_mode=True)


def test_dropout_leaves_the_mean_and_never_shows_what_is_to_come() -> None:
    query, key, value, _ = parts(200)
    whole = attend_by_blocks(query, key, value)
    drawn = torch.stack([attend_by_blocks(query, key, value, dropout=0.2) for _ in range(200)])
    assert not torch.equal(drawn[0], drawn[1])
    torch.testing.assert_close(drawn.mean(0)[:, :, 50:], whole[:, :, 50:], atol=0.15, rtol=0)
    torch.manual_seed(5)
    before = attend_by_blocks(query, key, value, dropout=0.2)
    value[:, :, 150:] = 7.0
    torch.manual_seed(5)
    assert torch.equal(
        attend_by_blocks(query, key, value, dropout=0.2)[:, :, :150], before[:, :, :150]
    )


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_packed_documents_attend_as_if_each_were_alone(dropout: float) -> None:
    lengths, padding = [5, 200, 1, 170], 24
    total, width = sum(lengths) + padding, 8
    core = TorchCoreAttention(
        TransformerConfig(num_layers=1, hidden_size=16, num_attention_heads=2), dropout
    ).eval()
    torch.manual_seed(1)
    parts = [torch.randn(total, 2, width, requires_grad=True) for _ in range(3)]
    spans = document_spans(np.array(lengths), total, 256)
    context = core(*parts, packed_seq_params=spans)
    assert context.shape == (total, 2, width)
    assert not context[-padding:].any()
    ends = np.cumsum(lengths).tolist()
    alone = torch.cat(
        [
            core(*(part[end - length : end, None] for part in parts)).view(length, 2, width)
            for length, end in zip(lengths, ends, strict=True)
        ]
    )
    torch.testing.assert_close(context[:-padding], alone, atol=1e-5, rtol=1e-5)
    onto = torch.randn_like(alone)
    packed = torch.autograd.grad(context[:-padding], parts, onto)
    for mine, other in zip(packed, torch.autograd.grad(alone, parts, onto), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-5)


def test_bf16_documents_leave_no_trace_in_those_behind_them() -> None:
    """Blocks reach past the end of a short document, over all of the next ones."""
    lengths, total = (33, 1, 2, 1, 3, 170, 31, 1, 64), 310
    drawn = parts(total)

    def packed(*of: Any) -> Any:
        return attend_by_blocks(*of, lengths=lengths)

    found = gradients(packed, *(part.bfloat16() for part in drawn))
    for near, exact in zip(found, gradients(packed, *drawn), strict=True):
        torch.testing.assert_close(near.float(), exact, atol=0.1, rtol=0.05)
        assert not near[:, :, sum(lengths) :].any()


def test_a_microbatch_without_documents_is_all_padding() -> None:
    core = TorchCoreAttention(
        TransformerConfig(num_layers=1, hidden_size=16, num_attention_heads=2), 0.0
    )
    parts = [torch.randn(24, 2, 8, requires_grad=True) for _ in range(3)]
    context = core(*parts, packed_seq_params=document_spans(np.zeros(0, np.int64), 24, 256))
    gradients = torch.autograd.grad(context, parts, torch.ones_like(context))
    assert not any(tensor.any() for tensor in (context, *gradients))


def test_megatron_gets_padding_as_separate_documents() -> None:
    spans = document_spans(np.array([100, 30]), 512, 128)
    assert spans.cu_seqlens_q.tolist() == [0, 100, 130, 258, 386, 512]
    assert (spans.max_seqlen_q, spans.qkv_format) == (128, "thd")
    assert spans.cu_seqlens_q.dtype == torch.int32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gelu_and_its_gradient_are_those_of_torch(dtype: Any) -> None:
    x = torch.linspace(-30, 30, 6001).to(dtype).requires_grad_()
    onto = torch.linspace(-2, 2, 6001).to(dtype)
    mine, other = gelu_tanh(x), F.gelu(x, approximate="tanh")
    torch.testing.assert_close(mine, other, atol=1e-6, rtol=1e-5)
    mine, other = (torch.autograd.grad(result, x, onto)[0] for result in (mine, other))
    torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-5)

"""Core attention for Megatron's local layers, on torch's own kernels."""

import math
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit
from megatron.core.packed_seq_params import PackedSeqParams
from megatron.core.tensor_parallel import ColumnParallelLinear, RowParallelLinear
from megatron.core.tensor_parallel.random import get_cuda_rng_tracker
from megatron.core.transformer import TransformerConfig
from megatron.core.transformer.module import MegatronModule
from megatron.core.transformer.spec_utils import ModuleSpec

BLOCK = 160
"""Queries a block on a CPU: the fastest of 64 to 640 in fp32 at 640 tokens, on two cores."""

BF16_STEP = 32
"""Documents are computed as if their tokens were a multiple of it, in bf16.

oneDNN compiles a program for each shape of a bf16 product, 1 ms and its memory for 0.1 ms of work.
Without this each length of a document has shapes of its own.
"""

_softmax_backward = torch.ops.aten._softmax_backward_data.out  # noqa: SLF001 - has no public name
_dropped = torch.ops.aten.native_dropout_backward


@dataclass
class DocumentSpans(PackedSeqParams):  # type: ignore[misc]
    """Which tokens belong to one document, for attention that stays inside each of them.

    Megatron's own fields are for Transformer Engine. For torch's kernels on a GPU the documents are
    side by side as [documents, longest]: there token i of the microbatch has the place `slots[i]`.
    Tokens after the last slot are padding.
    """

    lengths: tuple[int, ...] = ()

    documents: int = 0
    longest: int = 0
    slots: torch.Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))


class TorchCoreAttention(MegatronModule):  # type: ignore[misc]
    """Causal core attention on torch's kernels, for a Megatron layer spec.

    Mirrors the interface of megatron/core/transformer/dot_product_attention.py. Takes query, key
    and value [s, b, heads / TP, d] and returns [s, b, heads / TP * d]; with `packed_seq_params`
    (a `DocumentSpans`) it takes [t, heads / TP, d], returns the same, and attends inside each
    document alone.
    """

    def __init__(
        self,
        config: TransformerConfig,
        attention_dropout: float | None = None,
        softmax_scale: float | None = None,
        **_: Any,
    ) -> None:
        super().__init__(config=config)
        self.dropout = config.attention_dropout if attention_dropout is None else attention_dropout
        self.softmax_scale = softmax_scale

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *_: Any,
        packed_seq_params: DocumentSpans | None = None,
        **__: Any,
    ) -> torch.Tensor:
        """Attend to the past; dropout draws from Megatron's tensor parallel stream on CUDA."""
        if packed_seq_params is None:
            tokens, batch, heads, width = query.shape
            parts = (part.permute(1, 2, 0, 3) for part in (query, key, value))
            return self._attend(*parts).permute(2, 0, 1, 3).reshape(tokens, batch, heads * width)
        spans = packed_seq_params
        if query.is_cuda:
            parts = (side_by_side(part, spans) for part in (query, key, value))
            return one_after_another(self._attend(*parts), spans, len(query))
        parts = (part.transpose(0, 1)[None] for part in (query, key, value))
        return self._attend(*parts, lengths=spans.lengths)[0].transpose(0, 1)

    def _attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        lengths: tuple[int, ...] | None = None,
    ) -> torch.Tensor:
        """Take and return [b, heads, s, d]; `lengths` are those of documents, on a CPU."""
        dropout = self.dropout if self.training else 0.0
        with get_cuda_rng_tracker().fork() if dropout else nullcontext():
            if query.is_cuda:
                return F.scaled_dot_product_attention(
                    query, key, value, dropout_p=dropout, is_causal=True, scale=self.softmax_scale
                )
            return attend_by_blocks(query, key, value, dropout, self.softmax_scale, lengths)


class _ByBlocks(torch.autograd.Function):
    """Gradients by hand: autograd fills and adds a whole key and value for each block's past.

    A document at a time, and each block's results in place: what one product writes the next one
    finds in the cache.
    """

    @staticmethod
    def forward(
        ctx: Any,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        lengths: tuple[int, ...],
        dropout: float,
        scale: float,
    ) -> torch.Tensor:
        """Take and return [b * heads, t, d]: documents of these lengths, then padding."""
        tokens, blocks = q.shape[1], _blocks(lengths, q.dtype)
        q, k, v = (_lengthen(part) for part in (q, k, v))
        to_come = q.new_full((BLOCK, BLOCK), -torch.inf).triu(1)
        context, unread = torch.empty_like(v), q.new_empty(())
        kept: list[torch.Tensor] = []
        masks: list[torch.Tensor] = []
        for document, _, begin, end in blocks:
            past, here, size = slice(document, end), slice(begin, end), end - begin
            # With beta=0 `unread` is not read: the scale is applied without a pass of its own.
            weights = torch.baddbmm(
                unread, q[:, here], k[:, past].transpose(1, 2), beta=0, alpha=scale
            )
            # Only the block on the diagonal has keys that are still to come.
            weights[:, :, begin - document :] += to_come[:size, :size]
            torch.softmax(weights, -1, out=weights)
            kept.append(weights)
            if dropout:
                weights, mask = torch.native_dropout(weights, dropout, True)
                masks.append(mask)
            # Rows behind the document's end belong to the next one, which is yet to write them.
            torch.bmm(weights, v[:, past], out=context[:, here])
        context[:, sum(lengths) :] = 0
        ctx.save_for_backward(q, k, v, *kept, *masks)
        ctx.lengths, ctx.dropout, ctx.scale = lengths, dropout, scale
        return context[:, :tokens]

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of query, key and value."""
        q, k, v, *kept = ctx.saved_tensors
        tokens, blocks = gradients[0].shape[1], _blocks(ctx.lengths, q.dtype)
        gradient = _lengthen(gradients[0])
        grads = grad_q, grad_k, grad_v = tuple(map(torch.empty_like, (q, k, v)))
        # Each document's last block first: it reaches all keys, and writes where the others add.
        # It also writes zeros behind the document's end, before the next document writes there.
        for at in sorted(range(len(blocks)), key=lambda at: (blocks[at][0], -at)):
            document, last, begin, end = blocks[at]
            past, here = slice(document, end), slice(begin, end)
            into = gradient[:, here]
            if end > last:
                into = F.pad(into[:, : last - begin], (0, 0, 0, end - last))
            grad_used = into @ v[:, past].transpose(1, 2)
            used = weights = kept[at]
            if ctx.dropout:
                used, grad_used = (
                    _dropped(part, kept[len(blocks) + at], 1 / (1 - ctx.dropout))
                    for part in (weights, grad_used)
                )
            beta = 0 if end >= last else 1
            _add_product(grad_v[:, past], used.transpose(1, 2), into, beta)
            _softmax_backward(grad_used, weights, -1, weights.dtype, grad_input=grad_used)
            _add_product(grad_q[:, here], grad_used, k[:, past], 0, ctx.scale)
            _add_product(grad_k[:, past], grad_used.transpose(1, 2), q[:, here], beta, ctx.scale)
        for grad in grads:
            grad[:, sum(ctx.lengths) :] = 0
        return *(grad[:, :tokens] for grad in grads), None, None, None


def _lengthen(part: torch.Tensor) -> torch.Tensor:
    """Return [b * heads, t, d] with as many zeros behind it as the last block may reach further."""
    return F.pad(part, (0, 0, 0, BF16_STEP)) if part.dtype is torch.bfloat16 else part


def _add_product(
    onto: torch.Tensor, left: torch.Tensor, right: torch.Tensor, beta: int, alpha: float = 1.0
) -> None:
    """Set `onto` to beta * onto + alpha * left @ right."""
    torch.baddbmm(onto, left, right, beta=beta, alpha=alpha, out=onto)


def gelu_tanh(x: torch.Tensor) -> torch.Tensor:
    """Return GELU in its tanh form, which is GPT-2's (`gelu_new` in Hugging Face)."""
    if x.device.type == "cpu" and x.dtype is torch.float32:
        result: torch.Tensor = _SigmoidGelu.apply(x)  # type: ignore[no-untyped-call]
        return result
    return F.gelu(x, approximate="tanh")


class _SigmoidGelu(torch.autograd.Function):
    """The same by (1 + tanh(u)) / 2 = sigmoid(2u), which a CPU computes in a third of the time.

    Keeps the sigmoid for the backward pass, which then has no exponential: 2u = x (A + B x^2).
    """

    A = math.sqrt(8 / math.pi)
    B = 0.044715 * A

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        """Return x sigmoid(2u)."""
        sigmoid = torch.square(x).mul_(_SigmoidGelu.B).add_(_SigmoidGelu.A).mul_(x).sigmoid_()
        result = x * sigmoid
        ctx.save_for_backward(x, sigmoid, result)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        """Return the gradient: sigmoid + (x sigmoid) (1 - sigmoid) (A + 3 B x^2), times it."""
        x, sigmoid, result = ctx.saved_tensors
        slope = torch.square(x).mul_(3 * _SigmoidGelu.B).add_(_SigmoidGelu.A).mul_(result)
        slope.addcmul_(slope, sigmoid, value=-1)
        return slope.add_(sigmoid).mul_(gradients[0])


class UnshardedColumnLinear(ColumnParallelLinear):  # type: ignore[misc]
    """A linear layer from [s, b, in] to [s, b, out], for TP=1 only."""

    def forward(self, input_: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, None]:
        """Return the result, and no bias that is still to be added."""
        return F.linear(input_, self.weight, self.bias), None


class UnshardedRowLinear(RowParallelLinear):  # type: ignore[misc]
    """A linear layer from [s, b, in] to [s, b, out], for TP=1 only."""

    def forward(self, input_: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Return the result, and no bias that is still to be added."""
        return F.linear(input_, self.weight, self.bias), None


def document_spans(lengths: npt.NDArray[np.int64], total: int, seq_length: int) -> DocumentSpans:
    """Return the spans of documents of these lengths, one after another from the first token.

    Behind them padding fills `total` tokens: to Megatron documents of at most `seq_length` tokens.
    """
    real = int(lengths.sum())
    padding = [min(seq_length, total - at) for at in range(real, total, seq_length)]
    ends = np.cumsum([*lengths, *padding])
    bounds = torch.from_numpy(np.concatenate(([0], ends)).astype(np.int32))
    longest = int(lengths.max(initial=1))
    first = np.cumsum(lengths) - lengths
    slots = np.arange(real) + np.repeat(np.arange(len(lengths)) * longest - first, lengths)
    return DocumentSpans(
        qkv_format="thd",
        cu_seqlens_q=bounds,
        cu_seqlens_kv=bounds,
        max_seqlen_q=max(longest, *padding, 1),
        max_seqlen_kv=max(longest, *padding, 1),
        lengths=tuple(lengths.tolist()),
        documents=max(1, len(lengths)),  # no kernel takes none
        longest=longest,
        slots=torch.from_numpy(slots),
    )


def side_by_side(part: torch.Tensor, spans: DocumentSpans) -> torch.Tensor:
    """Return [t, heads, d] as [documents, heads, longest, d], shorter documents padded with 0."""
    _, heads, width = part.shape
    padded = part.new_zeros(spans.documents * spans.longest, heads, width)
    padded = padded.index_copy(0, spans.slots, part[: len(spans.slots)])
    return padded.view(spans.documents, spans.longest, heads, width).transpose(1, 2)


def one_after_another(part: torch.Tensor, spans: DocumentSpans, tokens: int) -> torch.Tensor:
    """Return what `side_by_side` took apart as [tokens, heads, d]; padding gets 0."""
    documents, heads, longest, width = part.shape
    flat = part.transpose(1, 2).reshape(documents * longest, heads, width)
    real = flat.index_select(0, spans.slots)
    return F.pad(real, (0, 0, 0, 0, 0, tokens - len(real)))


def attend_by_blocks(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    dropout: float = 0.0,
    scale: float | None = None,
    lengths: tuple[int, ...] | None = None,
) -> torch.Tensor:
    """Return causal attention, each block of queries over its own past alone; all [b, heads, s, d].

    The same as `scaled_dot_product_attention`, which on a CPU computes nearly the whole square and
    gains nothing from bf16. Keeps the weights for the backward pass: memory grows with s^2.
    `lengths` are of documents one after another, each of which attends to itself alone; what
    follows them is padding and gets 0.
    """
    batch, heads, tokens, width = query.shape
    parts = (part.reshape(batch * heads, tokens, width) for part in (query, key, value))
    scale = width**-0.5 if scale is None else scale
    context: torch.Tensor = _ByBlocks.apply(  # type: ignore[no-untyped-call]
        *(part.contiguous() for part in parts),
        (tokens,) if lengths is None else lengths,
        dropout,
        scale,
    )
    return context.view(batch, heads, tokens, width)


def _blocks(lengths: tuple[int, ...], dtype: torch.dtype) -> list[tuple[int, int, int, int]]:
    """Return (document start, document end, block start, block end) of each block.

    In bf16 the last block of a document may end behind it: see `BF16_STEP`.
    """
    step = BF16_STEP if dtype is torch.bfloat16 else 1
    found, document = [], 0
    for length in lengths:
        after, rounded = document + length, document + -(-length // step) * step
        found += [
            (document, after, begin, min(begin + BLOCK, rounded))
            for begin in range(document, after, BLOCK)
        ]
        document = after
    return found


def use_unsharded_linears(layer: ModuleSpec) -> None:
    """Put them into Megatron's local layer spec, which core 0.17 and later partly bind early."""
    mlp = layer.submodules.mlp
    mlp = mlp.submodules if isinstance(mlp, ModuleSpec) else mlp.keywords["submodules"]
    attention = layer.submodules.self_attention.submodules
    attention.linear_qkv = mlp.linear_fc1 = UnshardedColumnLinear
    attention.linear_proj = mlp.linear_fc2 = UnshardedRowLinear

"""Classify GPU kernels by their names.

NVIDIA's libraries name their kernels after the generation they are made for: `volta_...s884gemm`,
`turing_...s1688gemm`, `ampere_...s16816gemm`, `sm80_xmma_gemm`, `sm90_xmma_gemm`, `cutlass_80_...`,
`nvjet_...` (Hopper and Blackwell), `cutlass3x_sm100_...`. The table below is read from the top and
the first pattern that occurs in the name decides; the order matters, since a template's name
holds the names of its arguments (a flash attention kernel on `cutlass::bfloat16_t` is not a GEMM).
"""

import re

CLASSES = (
    "gemm",
    "attention",
    "communication",
    "norm",
    "optimizer",
    "elementwise",
    "memory",
    "other",
)
"""Every class, in the order in which they are shown.

`elementwise` holds reductions too, `memory` gathers, scatters, copies and fills, and `other`
all kernels without a pattern: it is shown, so that gaps in the table are noticed.
"""

PATTERNS: tuple[tuple[str, str], ...] = (
    ("communication", r"\bnccl|nvshmem|userbuffers|deep_?ep::"),
    ("communication", r"all_?reduce|all_?gather|reduce_?scatter|all_?to_?all|multimem_"),
    ("other", r"log_?softmax|nll_?loss|cross_?entropy"),
    ("attention", r"flash|fmha|softmax|sdpa|attention|mha_(fwd|bwd|varlen)|paged_attn"),
    ("optimizer", r"multi_?tensor|adam|lamb_|\bsgd|lion_|foreach|lpnorm|l2norm|clip_grad"),
    ("gemm", r"gemm|gemv|matmul|nvjet|xmma|splitk_?reduce|\bdot_kernel|cublas(lt)?::"),
    ("gemm", r"[sh]884|s1688|s16816|i8816|tensorop|cutlass_?\d|cutlass::(gemm|device_)?kernel"),
    ("gemm", r"triton_(mm|bmm|tem)_|implicit_convolve|conv\dd|_(fprop|dgrad|wgrad)"),
    ("norm", r"(layer|rms|batch|group)_?norm|\bln_(fwd|bwd)|norm_(fwd|bwd)|welford"),
    ("norm", r"GammaBeta|cuComputeGradInput|cuComputePartGrad|RowwiseMoments"),
    ("memory", r"^\[?(cuda )?mem(cpy|set)|CatArray|gather|scatter|transpose|permute"),
    ("memory", r"index(_?select|ing|_elementwise|_put|FuncLarge)|embedding|compute_grad_weight"),
    ("elementwise", r"elementwise|pointwise|reduce_kernel|distribution_|triton_(poi|red|per)_"),
    ("elementwise", r"dropout|gelu|swiglu|relu|rotary|\brope|_rope|fused_|cast|scan|arange"),
    ("memory", r"copy|fill|memset|zero_"),
)
"""(class, pattern) from the top; matched anywhere in the name, in upper or lower case."""


def classify(name: str) -> str:
    """Return the class of a kernel by its demangled name; `other` where nothing fits."""
    for kind, pattern in PATTERNS:
        if re.search(pattern, name, re.IGNORECASE):
            return kind
    return "other"

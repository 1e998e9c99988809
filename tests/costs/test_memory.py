"""Memory by part: worked by hand, counted in the real model, and held against Megatron's own."""

import pytest

from megatron_music.config import Recipe, load_recipe
from megatron_music.costs.memory import (
    estimate_memory,
    layer_activations,
    parameter_count,
    stage_parameters,
)

HAND = [
    "model.num_layers=4",
    "model.hidden_size=8",
    "model.num_attention_heads=2",
    "model.seq_length=16",
    "train.micro_batch_size=1",
    "train.global_batch_size=4",
    "train.precision=bf16",
    "train.optimizer=adam",
    "model.structural_inputs=[]",
]
"""A layer of width 8 has 12 x 64 + 13 x 8 = 872 parameters; the tables 128 x 8 and 16 x 8."""

PARAMETERS = 4 * 872 + 128 * 8 + 16 * 8 + 2 * 8
VOCABULARY_SIZE = 100
TP2, PP2 = "parallel.tensor_model_parallel_size=2", "parallel.pipeline_model_parallel_size=2"
DROPOUT = "model.hidden_dropout=0.1"


def recipe(*overrides: str) -> Recipe:
    return load_recipe("tiny", [*HAND, *overrides])


def test_the_parameters_are_worked_by_hand() -> None:
    assert parameter_count(recipe().model, VOCABULARY_SIZE) == PARAMETERS == 4656


@pytest.mark.parametrize(
    ("tensor", "pipeline", "expected"),
    [
        (2, 1, [4 * (412 + 48) + 64 * 8 + 16 * 8 + 16]),  # 12 x 64 + 7 x 8 over two, 6 x 8 on each
        (1, 2, [2 * 872 + 128 * 8 + 16 * 8, 2 * 872 + 128 * 8 + 16]),  # the head is copied
        (1, 4, [872 + 128 * 8 + 16 * 8, 872, 872, 872 + 128 * 8 + 16]),
    ],
)
def test_each_stage_holds_its_part(tensor: int, pipeline: int, expected: list[int]) -> None:
    shape = recipe().model
    found = [
        stage_parameters(shape, VOCABULARY_SIZE, tensor, pipeline, stage)
        for stage in range(pipeline)
    ]
    assert found == expected


@pytest.mark.parametrize(
    ("precision", "distributed", "expected"),
    [
        ("bf16", "false", (2, 4, 12)),
        ("fp16", "false", (2, 4, 12)),
        ("fp32", "false", (4, 4, 8)),
        ("bf16", "true", (2, 4, 3)),
        ("fp32", "true", (4, 4, 2)),
    ],
)
def test_bytes_a_parameter(precision: str, distributed: str, expected: tuple[float, ...]) -> None:
    given = recipe(
        f"train.precision={precision}", f"parallel.use_distributed_optimizer={distributed}"
    )
    memory = estimate_memory(given, VOCABULARY_SIZE, data_parallel_size=4)
    parts = (memory.weights, memory.gradients, memory.optimizer)
    assert tuple(part / PARAMETERS for part in parts) == expected


def test_a_layers_activations_are_those_of_the_paper_without_the_scores() -> None:
    wide = 16 * 8
    assert layer_activations(recipe(DROPOUT)) == 34 * wide
    whole = recipe(DROPOUT, TP2, "parallel.sequence_parallel=false")
    assert layer_activations(whole) == (10 + 24 / 2) * wide
    for choice in ("auto", "true"):
        parallel = recipe(DROPOUT, TP2, f"parallel.sequence_parallel={choice}")
        assert layer_activations(parallel) == 34 / 2 * wide
    assert layer_activations(recipe()) == 32 * wide
    assert layer_activations(recipe("train.precision=fp32")) == 64 * wide


def test_all_activations_are_worked_by_hand() -> None:
    wide, tokens = 16 * 8, 8 * 16
    ends = tokens + 4 * wide + 4 * 16 * 128  # token ids, the last norm's two, fp32 logits
    found = estimate_memory(recipe(), VOCABULARY_SIZE, 1)
    assert found.activations == 4 * 32 * wide + ends
    full = estimate_memory(recipe("train.recompute=full"), VOCABULARY_SIZE, 1)
    assert full.activations == 4 * 2 * wide + tokens + max(32 * wide, ends - tokens)
    first = estimate_memory(recipe(PP2), VOCABULARY_SIZE, 1)  # two microbatches of two layers
    assert first.stage == 0
    assert first.activations == 2 * (2 * 32 * wide + tokens)


def test_the_real_model_has_as_many_parameters_and_saves_as_much_for_its_backward_pass() -> None:
    """Build it on the CPU and count.

    Attention is the GPU's, which the estimate is about; a CPU's, by blocks, saves its weights.
    """
    torch = pytest.importorskip("torch")
    pytest.importorskip("megatron.core")
    from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary
    from megatron_music.train import distributed, layers
    from megatron_music.train.model import build_model

    changes = ["model.hidden_size=64", "model.seq_length=128", "model.num_layers=6"]
    given = recipe(*changes)
    plain = recipe(*changes, "train.precision=fp32")  # any CPU can start
    vocabulary = Vocabulary(TokenizerSettings())
    with distributed.start(plain, on_cpu=True) as context:
        model = build_model(given, vocabulary, context).to(torch.bfloat16)
        owned = {p.untyped_storage().data_ptr() for p in model.parameters()}
        saved: dict[int, int] = {}

        def keep(tensor: "torch.Tensor") -> "torch.Tensor":
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in owned:
                saved[storage.data_ptr()] = storage.nbytes()
            return tensor

        def fused(*parts: "torch.Tensor | float | None") -> "torch.Tensor":
            *qkv, dropout, scale, _ = parts
            attend = torch.nn.functional.scaled_dot_product_attention
            return attend(*qkv, dropout_p=dropout, is_causal=True, scale=scale)

        tokens = torch.randint(len(vocabulary), (1, 128))
        positions = torch.arange(128)[None]
        with (
            pytest.MonkeyPatch.context() as patch,
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        ):
            patch.setattr(layers, "attend_by_blocks", fused)
            model(tokens, positions, None, labels=tokens)
        parameters = sum(p.numel() for p in model.parameters())
    assert parameters == parameter_count(given.model, len(vocabulary))
    expected = estimate_memory(given, len(vocabulary), 1).activations
    assert sum(saved.values()) == pytest.approx(expected, rel=0.05)

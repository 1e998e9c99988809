"""A recipe as the argument list of Megatron-LM's own `pretrain_gpt.py`. Loads no torch.

Stock Megatron differs in two ways: it draws other random numbers (weights, order of the data), and
it pads the vocabulary to a multiple of the size given times TP, which is why that is divided here.
"""

from pathlib import Path

from megatron_music.config import Recipe
from megatron_music.costs.flops import VOCABULARY_MULTIPLE
from megatron_music.costs.layout import splits_sequence
from megatron_music.errors import UsageError
from megatron_music.train.blend import Blend
from megatron_music.train.datasets import read_window_settings
from megatron_music.train.hyperparameters import (
    ADAM_BETAS,
    ADAM_EPSILON,
    INIT_STD,
    LAYERNORM_EPSILON,
    warmup_iters,
)

SAVED = "megatron_lm"
"""Folder of stock checkpoints in the run folder, apart from ours."""

WITHOUT_APEX = (
    "--no-persist-layer-norm",
    "--no-gradient-accumulation-fusion",
    "--no-masked-softmax-fusion",
)
"""Stock Megatron asks for Apex's kernels in its local layers, and refuses to start without."""

_RECOMPUTE = {
    "none": [],
    "selective": ["--recompute-granularity", "selective"],
    "full": [
        *("--recompute-granularity", "full"),
        *("--recompute-method", "uniform"),
        *("--recompute-num-layers", "1"),
    ],
}


def megatron_lm_arguments(
    recipe: Recipe,
    blend: Blend,
    run: Path,
    transformer_impl: str = "transformer_engine",
    tokenizer: Path | None = None,
    has_apex: bool = True,
) -> list[str]:
    """Return what `pretrain_gpt.py` is given; precision `auto` means bf16.

    Takes the prefixes of the data set folders (with their shares, if there are several) and the
    `tokenizer` folder, else that of the first, as they are. For megatron-core 0.16 to 0.19. Raises
    UsageError for a recipe with structural inputs, and for data sets of whole pieces.
    """
    if recipe.model.structural_inputs:
        raise UsageError(
            "stock Megatron-LM gives a token the row of its index and no structural inputs; give "
            "model.structural_inputs=[], or take the recipe article"
        )
    for folder in blend.folders:
        if read_window_settings(folder) is not None:
            raise UsageError(
                f"stock Megatron-LM draws no windows, and {folder} holds whole pieces; write them "
                f"out: megatron-music data convert {folder} -o {folder}-windows"
            )
    log, train = recipe.log, recipe.train
    # Stock Megatron knows no 0 for never: there it is later than the last iteration.
    never = train.train_iters + 1
    valued = {
        **_model_and_optimizer(recipe),
        "log-interval": log.log_interval,
        "eval-interval": log.eval_interval or never,
        "eval-iters": log.eval_iters if log.eval_interval else 0,
        "save-interval": log.save_interval or never,
        "data-cache-path": run / SAVED / "cache",
        "tokenizer-type": "HuggingFaceTokenizer",
        "save": run / SAVED,
        "load": run / SAVED,
        "tensorboard-dir": run / SAVED / "tensorboard",
        "ckpt-format": "torch_dist",
        "distributed-backend": "nccl",
    }
    valued["tokenizer-model"] = tokenizer or blend.folders[0] / "tokenizer"
    words = [word for name, value in valued.items() for word in (f"--{name}", str(value))]
    # The prefix of each split, or of several folders: share, prefix, share, prefix.
    for split in ("train", "valid", "test") if log.eval_interval else ("train",):
        words.append(f"--{split}-data-path")
        for folder, share in zip(blend.folders, blend.shares, strict=True):
            words += [f"{share:.9g}"] if len(blend.parts) > 1 else []
            words.append(str(folder / split))
    words += ["--transformer-impl", transformer_impl]
    if transformer_impl == "local" and not has_apex:
        words += WITHOUT_APEX
    return [*words, *_flags(recipe, transformer_impl)]


def _model_and_optimizer(recipe: Recipe) -> dict[str, object]:
    shape, parallel, train = recipe.model, recipe.parallel, recipe.train
    tensor = parallel.tensor_model_parallel_size
    return {
        "num-layers": shape.num_layers,
        "hidden-size": shape.hidden_size,
        "num-attention-heads": shape.num_attention_heads,
        "seq-length": shape.seq_length,
        "max-position-embeddings": shape.seq_length,
        "position-embedding-type": "learned_absolute",
        "hidden-dropout": shape.hidden_dropout,
        "attention-dropout": shape.attention_dropout,
        "init-method-std": INIT_STD,
        "norm-epsilon": LAYERNORM_EPSILON,
        "make-vocab-size-divisible-by": max(1, VOCABULARY_MULTIPLE // tensor),
        "tensor-model-parallel-size": tensor,
        "pipeline-model-parallel-size": parallel.pipeline_model_parallel_size,
        "train-iters": train.train_iters,
        "micro-batch-size": train.micro_batch_size,
        "global-batch-size": train.global_batch_size,
        "lr": train.lr,
        "min-lr": train.min_lr,
        "lr-warmup-iters": warmup_iters(train),
        "lr-decay-iters": train.train_iters,
        "lr-decay-style": "cosine",
        "weight-decay": train.weight_decay,
        "clip-grad": train.clip_grad,
        "adam-beta1": ADAM_BETAS[0],
        "adam-beta2": ADAM_BETAS[1],
        "adam-eps": ADAM_EPSILON,
        "seed": train.seed,
    }


def _flags(recipe: Recipe, transformer_impl: str) -> list[str]:
    parallel, train = recipe.parallel, recipe.train
    flags = list(_RECOMPUTE[train.recompute])
    if train.precision == "fp16":
        flags += ["--fp16", "--initial-loss-scale", f"{train.initial_loss_scale:.0f}"]
    elif train.precision != "fp32":
        flags.append("--bf16")
    can = transformer_impl == "transformer_engine" or parallel.sequence_parallel is True
    if can and splits_sequence(recipe):
        flags.append("--sequence-parallel")
    if parallel.overlap_grad_reduce is not False:
        flags.append("--overlap-grad-reduce")
    if parallel.use_distributed_optimizer:
        flags.append("--use-distributed-optimizer")
        if {parallel.overlap_grad_reduce, parallel.overlap_param_gather}.isdisjoint({False}):
            flags.append("--overlap-param-gather")
    return [*flags, "--no-create-attention-mask-in-dataloader"]

"""One typed schema for recipes: YAML files with dotted overrides.

    recipe = load_recipe("tiny", ["train.lr=1e-3", "parallel.tensor_model_parallel_size=2"])
    larger = load_recipe("article", depth=24)

Keys carry Megatron's own names. A key that does not exist is answered with the nearest that does.
"""

import difflib
import math
import reprlib
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from megatron_music.errors import RecipeError
from megatron_music.files import os_error_reason, read_small

MOST = 2**31 - 1
"""The largest number of any key; numpy takes seeds of 32 bits."""

Count = Annotated[int, Field(ge=1, le=MOST)]
CountOrZero = Annotated[int, Field(ge=0, le=MOST)]
Probability = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
PositiveOrZero = Annotated[float, Field(ge=0, allow_inf_nan=False)]
StructuralInput = Literal[
    "time", "track", "held", "sounding", "ahead", "place", "instrument", "motion", "bounds"
]
Switch = bool | Literal["auto"]
"""`auto`: on where Megatron's requirements for it hold."""

_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring = 1, 80


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class ModelConfig(_Section):
    """The GPT-2 model: learned positions, GELU (tanh) MLP of width 4 x hidden_size, tied head.

    `structural_inputs` are embedded in addition to a token's id, in place of its index: see
    `tokenizer.structure`. Without any it is plain GPT-2.
    """

    num_layers: Count
    hidden_size: Count
    num_attention_heads: Count
    seq_length: Count
    hidden_dropout: Probability = 0.0
    attention_dropout: Probability = 0.0
    structural_inputs: tuple[StructuralInput, ...] = ()

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"model.hidden_size={self.hidden_size} is not a multiple of "
                f"model.num_attention_heads={self.num_attention_heads}; change one of them"
            )
        return self


class ParallelConfig(_Section):
    """How the model is laid out over processes; data parallelism takes what is left over."""

    tensor_model_parallel_size: Count = 1
    pipeline_model_parallel_size: Count = 1
    sequence_parallel: Switch = "auto"
    use_distributed_optimizer: bool = False
    overlap_grad_reduce: Switch = "auto"
    overlap_param_gather: Switch = "auto"


class TrainConfig(_Section):
    """Training: iterations, batch, optimizer, learning rates, precision.

    `unlabelled_share` is the share of documents whose labels (composer, genre) are all replaced by
    unknown ones; of the others each label is, in the same share.
    Windows that are drawn from whole pieces have up to `window_bars` bars, 0: as many as the data
    set says. In `dropped_track_share` of them one track is left out; in each all TEMPO tokens move
    by up to `tempo_shift_levels`, all VELOCITY tokens by up to `velocity_shift_levels`.
    `plain_share` is the share of documents that a model with structural inputs sees without them,
    so that it also composes from bare ids. With `optimizer` muon the matrices of the blocks are
    updated by Muon at the rate `muon_lr`, all else by Adam at `lr`; both follow one schedule.

    Precision `auto` is bf16 where the device computes with it, else fp16 on a GPU, fp32 on a CPU.
    """

    train_iters: Count
    micro_batch_size: Count
    global_batch_size: Count
    lr: Positive
    min_lr: PositiveOrZero = 0.0
    lr_warmup_iters: CountOrZero = 0
    weight_decay: PositiveOrZero = 0.1
    clip_grad: PositiveOrZero = 1.0
    seed: CountOrZero = 1234
    optimizer: Literal["adam", "muon"] = "adam"
    muon_lr: Positive = 0.02
    window_bars: Annotated[int, Field(ge=0, le=64)] = 0
    dropped_track_share: Probability = 0.0
    tempo_shift_levels: Annotated[int, Field(ge=0, le=31)] = 0
    velocity_shift_levels: Annotated[int, Field(ge=0, le=31)] = 0
    plain_share: Probability = 0.1
    unlabelled_share: Probability = 0.1
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"
    initial_loss_scale: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 65536.0
    recompute: Literal["none", "selective", "full"] = "none"
    transformer_impl: Literal["auto", "transformer_engine", "local"] = "auto"
    loss_spike_nats: PositiveOrZero = 1.0

    @model_validator(mode="after")
    def _rates_in_order(self) -> Self:
        if self.min_lr > self.lr:
            raise ValueError(
                f"train.min_lr={self.min_lr} is above train.lr={self.lr}; lower train.min_lr"
            )
        return self


class LogConfig(_Section):
    """How often a run logs, evaluates, saves and composes; in iterations, 0 for never.

    The last iteration is always saved, unless `save_last` is false. The iterations
    after `profile_step_start` up to `profile_step_end` are profiled; with `use_pytorch_profiler`
    rank 0 writes them as RUN/trace.json.gz.
    """

    log_interval: Count = 10
    eval_interval: CountOrZero = 100
    eval_iters: Count = 10
    save_interval: CountOrZero = 100
    save_last: bool = True
    sample_interval: CountOrZero = 0
    profile_step_start: CountOrZero = 0
    profile_step_end: CountOrZero = 0
    use_pytorch_profiler: bool = False
    tensorboard: bool = True
    wandb_project: str = ""


class Recipe(_Section):
    """Everything that decides a training run, apart from the data and the number of processes."""

    model: ModelConfig
    parallel: ParallelConfig = ParallelConfig()
    train: TrainConfig
    log: LogConfig = LogConfig()

    @model_validator(mode="after")
    def _muon_needs_whole_matrices(self) -> Self:
        if self.train.optimizer == "muon" and self.parallel.use_distributed_optimizer:
            raise ValueError(
                "train.optimizer=muon needs whole blocks of matrices, and "
                "parallel.use_distributed_optimizer=true cuts them anywhere; switch one of them off"
            )
        return self


TEXT_RECIPES = ("gpt2-lyrics", "tiny-text")
"""For training on words."""


def recipe_names() -> list[str]:
    """List the recipes that come with the package."""
    folder = resources.files("megatron_music") / "recipes"
    return sorted(
        item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml")
    )


def recipes_by_length() -> dict[int, list[str]]:
    """Return the recipes that are for training on music by their sequence length, in tokens."""
    found: dict[int, list[str]] = {}
    for name in recipe_names():
        # Those of profiling are as large as they are for measuring, not for a data set.
        if name not in TEXT_RECIPES and not name.startswith("profile-"):
            found.setdefault(load_recipe(name).model.seq_length, []).append(name)
    return dict(sorted(found.items()))


def load_recipe(
    name_or_path: str, overrides: Sequence[str] = (), depth: int | None = None
) -> Recipe:
    """Read a recipe by name or path, scale it to a depth, apply `section.key=value` overrides.

    Values are YAML scalars (`1e-3`, `true`, `bf16`). Raises RecipeError for an unknown recipe or
    key (with the nearest that exists) and for a value out of range.
    """
    try:
        values = read_yaml(_read(name_or_path))
    except ValueError as fault:
        raise RecipeError(f"the recipe {name_or_path} is not valid YAML: {fault}") from None
    if not isinstance(values, dict):
        raise RecipeError(
            f"the recipe {name_or_path} must hold sections: {', '.join(Recipe.model_fields)}"
        )
    # The depth first: overrides count for the scaled recipe.
    if depth is not None:
        values = scale_to_depth(parse_recipe(values), depth).model_dump()
    for override in overrides:
        _apply(values, override)
    return parse_recipe(values)


def parse_recipe(values: dict[str, Any]) -> Recipe:
    """Check a nested dictionary against the schema; raises RecipeError, one line."""
    try:
        return Recipe.model_validate(values)
    except ValidationError as fault:
        error = fault.errors(include_url=False)[0]
        key = ".".join(str(part) for part in error["loc"])
        if error["type"] == "extra_forbidden":
            known = _keys() if "." in key else list(Recipe.model_fields)
            message = f"no key {key!r} in a recipe{did_you_mean(key, known)}; remove or rename it"
        elif error["type"] == "missing":
            message = f"the recipe lacks {key!r}; add it or give {key}=VALUE"
        elif error["type"] == "value_error":  # of our own validators: the message is whole
            message = str(error["ctx"]["error"])
        else:
            message = validation_message(fault)
        raise RecipeError(message) from None


def scale_to_depth(recipe: Recipe, depth: int) -> Recipe:
    """Return a recipe of `depth` layers: the width grows with them, the rate falls with the width.

    Layers to width and the width of a head stay in proportion, the heads even in number, so that
    TP=2 divides them; rates go with 1 / sqrt(width). One dial, and both rules, as nanochat's
    `--depth` (github.com/karpathy/nanochat, scripts/base_train.py); its number of tokens for each
    parameter is left out, since a data set of music is read in epochs. Raises RecipeError.
    """
    shape, train = recipe.model, recipe.train
    if depth < 1:
        raise RecipeError(f"--depth must be 1 or more (got {depth}); it is the number of layers")
    head = shape.hidden_size // shape.num_attention_heads
    heads = 2 * max(1, round(shape.num_attention_heads * depth / shape.num_layers / 2))
    slower = math.sqrt(shape.hidden_size / (heads * head))
    size = {"num_layers": depth, "hidden_size": heads * head, "num_attention_heads": heads}
    rates = {name: float(f"{getattr(train, name) * slower:.3g}") for name in ("lr", "min_lr")}
    return recipe.model_copy(
        update={"model": shape.model_copy(update=size), "train": train.model_copy(update=rates)}
    )


def dump_recipe(recipe: Recipe) -> str:
    """Write a recipe as YAML that `load_recipe` reads back unchanged."""
    return yaml.safe_dump(recipe.model_dump(), sort_keys=False)


def _read(name_or_path: str) -> str:
    packaged = resources.files("megatron_music") / "recipes" / f"{name_or_path}.yaml"
    if "/" not in name_or_path and packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        try:
            return read_small(path)
        except (OSError, UnicodeDecodeError) as fault:
            reason = os_error_reason(fault) if isinstance(fault, OSError) else "it is not text"
            raise RecipeError(f"cannot read the recipe {path}: {reason}; check the path") from None
    known = recipe_names()
    if path.is_dir():
        raise RecipeError(
            f"{path} is a folder, not a recipe ({', '.join(known)}); the recipe comes first, as in "
            f"train {known[0]} --data {path}"
        )
    raise RecipeError(
        f"no recipe named {name_or_path!r}{did_you_mean(name_or_path, known)}; "
        f"there are {', '.join(known)}, or give the path of a .yaml file"
    )


def read_yaml(text: str) -> Any:
    """Parse YAML text into plain values, never objects; raises ValueError with one line."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as fault:
        raise ValueError(" ".join(str(fault).split())) from None
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        is_folder = Path(override).is_dir()
        cure = f"; a data set is given with --data {override}" if is_folder else ""
        raise RecipeError(f"override {override!r} is not of the form section.key=value{cure}")
    section, _, name = key.partition(".")
    if key not in _keys():
        whole = [known for known in _keys() if known.endswith(f".{key}")]
        near = did_you_mean(key, whole or _keys())
        raise RecipeError(f"no key {key!r} in a recipe{near}; config.yaml of a run shows all keys")
    try:
        value = read_yaml(text)
    except ValueError:
        value = text  # not YAML: a word, which the schema judges
    entries = values.setdefault(section, {})
    if not isinstance(entries, dict):
        raise RecipeError(f"section {section!r} of the recipe must hold keys (got {entries!r})")
    entries[name] = value


def _keys() -> list[str]:
    return list(_walk(Recipe))


def _walk(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _walk(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """Return " (did you mean ...?)" with the nearest known word, "" where none is near."""
    # Of a single word even a distant one is meant; among many it would be a guess.
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.2 if len(known) == 1 else 0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""


def validation_message(fault: ValidationError) -> str:
    """Return a message for the first fault of a schema: the key, the reason and the value."""
    error = fault.errors(include_url=False)[0]
    key = ".".join(str(part) for part in error["loc"])
    got = _SHORT.repr(error["input"])  # in full, YAML's aliases can make it endless
    message = error["msg"].partition(", unable to")[0]
    return f"{key}: {message[0].lower()}{message[1:]} (got {got})".removeprefix(": ")

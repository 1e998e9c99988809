"""A sweep as data: a base recipe, what is fixed, and a grid over recipe keys and processes.

    recipe: tiny                    # a recipe's name, or a .yaml next to the sweep
    fixed: {model.seq_length: 256}  # for every configuration
    warmup_iters: 3                 # run first, not counted
    measured_iters: 10
    timeout_s: 120                  # for each configuration, start-up included
    captures: 3                     # how many of the best are traced by nsys afterwards; or 0
    grid:                           # every combination of these
      processes: [1, 2]             # or all: one for each GPU, or core where there is none
      parallel.tensor_model_parallel_size: [1, 2]
      size:                         # values that belong together, under any name
        - {model.num_layers: 6, model.hidden_size: 512}
        - {model.num_layers: 24, model.hidden_size: 1024}

Keys are those of recipes, by their dotted names.
"""

import hashlib
import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from megatron_music.config import Count, CountOrZero, Positive, Recipe, load_recipe, read_yaml
from megatron_music.costs.flops import recipe_shape
from megatron_music.costs.layout import check_layout
from megatron_music.costs.memory import Memory, estimate_memory
from megatron_music.errors import InputError, LayoutError, UsageError
from megatron_music.files import os_error_reason, read_small
from megatron_music.profiling.sweep.hardware import Machine
from megatron_music.profiling.sweep.results import GIB, Outcome, Row, label
from megatron_music.tokenizer.structure import position_rows
from megatron_music.tokenizer.vocabulary import TokenizerSettings, vocabulary_of
from megatron_music.train.backends import cpu

PROCESSES = "processes"
ALL = "all"
"""As a number of processes: that of the machine's GPUs, or of its cores if it has none."""

MOST_POINTS = 10_000

QUIET = (
    "log.log_interval=1",
    "log.eval_interval=0",
    "log.save_interval=0",
    "log.save_last=false",
    "log.tensorboard=false",
    "log.sample_interval=0",
)
"""Overrides of every measurement: every step in the log, no evaluation or saving between."""

ALWAYS = (*QUIET, "train.lr_warmup_iters=0", "train.loss_spike_nats=0")
"""Overrides of every training of a sweep."""

OURS = ("log.", "train.train_iters", "train.lr_warmup_iters", "train.loss_spike_nats")
"""Keys that the sweep sets itself."""

_RECOMPUTE = ("none", "selective", "full")
_PRECISION = ("bf16", "fp16", "fp32")


class Sweep(BaseModel):
    """The contents of a sweep file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: str
    fixed: dict[str, Any] = {}
    warmup_iters: CountOrZero = 3
    measured_iters: Count = 10
    timeout_s: Positive = 600.0
    captures: CountOrZero = 0
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]]


@dataclass(frozen=True)
class Configuration:
    """One point of the grid; `overrides` on the recipe `base` give `recipe`."""

    base: str
    overrides: tuple[str, ...]
    recipe: Recipe
    processes: int
    warmup_iters: int

    @property
    def key(self) -> str:
        """Return a hash of all that decides the configuration's figures."""
        # Of the whole recipe, not of the overrides: the same configuration can be written in
        # several ways, and has one row.
        parts = [self.recipe.model_dump(), self.processes, self.warmup_iters]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def label(self) -> str:
        """Name the configuration shortly, for a person, as its row is named."""
        model, parallel, train = self.recipe.model, self.recipe.parallel, self.recipe.train
        return label(
            processes=self.processes,
            tensor=parallel.tensor_model_parallel_size,
            pipeline=parallel.pipeline_model_parallel_size,
            data=self.data_parallel_size,
            micro_batch=train.micro_batch_size,
            global_batch=train.global_batch_size,
            precision=train.precision,
            recompute=train.recompute,
            layers=model.num_layers,
            width=model.hidden_size,
        )

    @property
    def data_parallel_size(self) -> int:
        """Return how many copies of the model the processes hold, 0 where the layout is not."""
        parallel = self.recipe.parallel
        ranks = parallel.tensor_model_parallel_size * parallel.pipeline_model_parallel_size
        return 0 if self.processes % ranks else self.processes // ranks

    @property
    def rank(self) -> tuple[int, ...]:
        """The place in the order of trials; see `expand`."""
        parallel, train = self.recipe.parallel, self.recipe.train
        return (
            parallel.tensor_model_parallel_size * parallel.pipeline_model_parallel_size,
            -train.micro_batch_size,
            _RECOMPUTE.index(train.recompute),
            _PRECISION.index(train.precision),
            -train.global_batch_size,
            self.processes,
        )

    def row(self, outcome: Outcome, reason: str, command: str) -> Row:
        """Return the row of the configuration without any figure."""
        model, parallel, train = self.recipe.model, self.recipe.parallel, self.recipe.train
        shape = recipe_shape(self.recipe, len(vocabulary_of(TokenizerSettings())))
        is_possible = refusal_reason(self, self.processes) is None
        return Row(
            key=self.key,
            outcome=outcome,
            reason=reason,
            command=command,
            processes=self.processes,
            precision=train.precision,
            tensor_parallel=parallel.tensor_model_parallel_size,
            pipeline_parallel=parallel.pipeline_model_parallel_size,
            data_parallel=self.data_parallel_size,
            micro_batch_size=train.micro_batch_size,
            global_batch_size=train.global_batch_size,
            recompute=train.recompute,
            seq_length=model.seq_length,
            num_layers=model.num_layers,
            hidden_size=model.hidden_size,
            padded_vocab_size=shape.padded_vocab_size,
            estimated_bytes=round(estimate_memory_needed(self).total) if is_possible else None,
        )


def load_sweep(path: Path) -> Sweep:
    """Read a sweep file; raises InputError where there is none, UsageError where it is wrong."""
    try:
        text = read_small(path)
    except (OSError, UnicodeDecodeError) as fault:
        reason = os_error_reason(fault) if isinstance(fault, OSError) else "it is not text"
        raise InputError(f"cannot read the sweep {path}: {reason}; check the path") from None
    try:
        values = read_yaml(text)
    except ValueError as fault:
        raise UsageError(f"{path} is not valid YAML: {fault}") from None
    try:
        sweep = Sweep.model_validate(values)
    except ValidationError as fault:
        error = fault.errors(include_url=False)[0]
        place = ".".join(map(str, error["loc"])) or "a sweep"
        known = ", ".join(Sweep.model_fields)
        raise UsageError(f"{path}: {place}: {error['msg']}; its keys are {known}") from None
    local = path.parent / sweep.recipe
    return sweep.model_copy(update={"recipe": str(local)}) if local.is_file() else sweep


def expand(sweep: Sweep, most: int = 1, precision: str = "fp32") -> list[Configuration]:
    """Return every configuration of the grid once, the likely best first.

    The heuristic: what splits the model costs communication, so fewer model parallel ranks first;
    then larger micro batches, less recomputation, 16-bit before 32-bit, larger global batches, and
    fewer processes. `most` processes are what `all` means, `precision` what the recipe's `auto`
    does. Raises RecipeError for a key or a value that no recipe has, UsageError for a grid of more
    than MOST_POINTS.
    """
    points = math.prod(map(len, sweep.grid.values()))
    if points > MOST_POINTS:
        raise UsageError(
            f"the grid has {points:,} configurations, {MOST_POINTS:,} at most can be listed; "
            "leave some values out"
        )
    found = {}
    for values in itertools.product(*sweep.grid.values()):
        settings = dict(sweep.fixed)
        for name, value in zip(sweep.grid, values, strict=True):
            settings.update(value if isinstance(value, dict) else {name: value})
        configuration = _configuration(sweep, settings, most, precision)
        found[configuration.key] = configuration
    return sorted(found.values(), key=lambda one: one.rank)


def refusal_reason(configuration: Configuration, gpus: int) -> str | None:
    """Return why a configuration cannot run on a machine with `gpus`, None if it may."""
    try:
        check_layout(configuration.recipe, configuration.processes)
    except LayoutError as fault:
        return str(fault)
    if gpus and configuration.processes > gpus:
        return f"{configuration.processes} processes need as many GPUs; this machine has {gpus}"
    precision = configuration.recipe.train.precision
    if not gpus and precision not in cpu().precisions:
        return f"train.precision={precision} needs a GPU and there is none"
    return None


def _configuration(
    sweep: Sweep, settings: Mapping[str, Any], most: int, precision: str
) -> Configuration:
    processes = settings.get(PROCESSES, 1)
    processes = most if processes == ALL else processes
    # By type, not isinstance: YAML's true would pass for the number 1.
    if type(processes) is not int or processes < 1:
        raise UsageError(
            f"{PROCESSES} must be 1 or more, or {ALL} (got {processes!r}); correct the sweep"
        )
    given = {key: value for key, value in settings.items() if key != PROCESSES}
    if taken := [key for key in given if key.startswith(OURS)]:
        raise UsageError(
            f"a sweep sets {taken[0]} itself; remove it, and use warmup_iters and measured_iters"
        )
    overrides = (
        *(
            f"{key}={value if isinstance(value, str) else json.dumps(value)}"
            for key, value in given.items()
        ),
        f"train.train_iters={sweep.warmup_iters + sweep.measured_iters}",
        *ALWAYS,
    )
    recipe = load_recipe(sweep.recipe, overrides)
    if recipe.train.precision == "auto":  # figures need its name
        overrides = (*overrides, f"train.precision={precision}")
        recipe = load_recipe(sweep.recipe, overrides)
    return Configuration(sweep.recipe, overrides, recipe, processes, sweep.warmup_iters)


MARGIN = 1.1
"""A configuration is tried up to this factor above the memory: estimates err."""


def infeasible_reason(configuration: Configuration, machine: Machine) -> str | None:
    """Return why a configuration cannot run on a machine, None if it may."""
    reason = refusal_reason(configuration, len(machine.gpus))
    if reason is not None:
        return reason
    asked, can = configuration.recipe.train.precision, machine.precisions
    if asked not in can:
        return f"train.precision={asked} is not for {machine.name}; it has {', '.join(can)}"
    room_bytes = machine.room_bytes(configuration.processes)
    needed = estimate_memory_needed(configuration)
    if room_bytes is None or needed.total <= MARGIN * room_bytes:
        return None
    parts = ", ".join(
        f"{name} {getattr(needed, name) / GIB:.1f}"
        for name in ("weights", "gradients", "optimizer", "activations")
    )
    return (
        f"needs about {needed.total / GIB:.1f} GiB of {room_bytes / GIB:.1f} a process ({parts}); "
        "a smaller micro batch, more recomputation or a larger TP or PP takes less"
    )


def estimate_memory_needed(configuration: Configuration) -> Memory:
    """Estimate what the fullest process of a layout holds; the layout is one that can work.

    Where sequence parallel is left to the engine it is counted as on, which takes less.
    """
    recipe, data = configuration.recipe, configuration.data_parallel_size
    shape, vocabulary = recipe.model, vocabulary_of(TokenizerSettings())
    rows = position_rows(shape.structural_inputs, shape.seq_length, vocabulary)
    return estimate_memory(recipe, len(vocabulary), data, rows.total)

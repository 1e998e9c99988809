"""The training loop: iterate, log, evaluate, save, stop after a signal, resume.

Mirrors `train` of megatron/training/training.py.
"""

import json
import math
import platform
import sys
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version

import torch

from megatron_music import __version__
from megatron_music.config import Recipe, dump_recipe
from megatron_music.costs.flops import padded_vocab_size, recipe_shape
from megatron_music.costs.memory import parameter_count
from megatron_music.errors import TrainingError
from megatron_music.files import write_text
from megatron_music.tokenizer.structure import position_rows
from megatron_music.train import distributed
from megatron_music.train.backends import resolve_auto_precision
from megatron_music.train.checkpoint import load_train_state, load_weights, save
from megatron_music.train.dataloader import DataLoader
from megatron_music.train.distributed import ParallelContext
from megatron_music.train.loggers import Logger, open_loggers
from megatron_music.train.metrics import LossGuard, MetricsLogger, Say, StepReport, Stopwatch
from megatron_music.train.model import build_model, layer_kernels
from megatron_music.train.optimizer import build_train_state
from megatron_music.train.profiler import PhaseTimers
from megatron_music.train.request import SampleCallback, SampleContext, TrainingRequest
from megatron_music.train.run_dir import (
    CheckpointMeta,
    clean,
    logged_losses,
    lowest_validation_loss,
    rewind_log,
    write_tokenizer,
)
from megatron_music.train.signals import StopRequest
from megatron_music.train.step import StepResult, evaluate, mean_loss, train_step
from megatron_music.train.torch_build import driver_problem

_PACKAGES = ("torch", "megatron-core", "transformer-engine", "transformers", "accelerate", "numpy")


class Trainer:
    """A training run on this rank."""

    def __init__(
        self,
        request: TrainingRequest,
        context: ParallelContext,
        loader: DataLoader,
        metrics: MetricsLogger,
        listen: SampleCallback | None,
    ) -> None:
        self._request, self._context, self._loader = request, context, loader
        self._metrics, self._listen = metrics, listen
        self._recipe = request.recipe
        self._train_state = build_train_state(
            request.recipe, build_model(request.recipe, request.vocabulary, context), context
        )
        if request.start is not None:
            load_train_state(request.start, self._train_state)
        elif request.resume.origin is not None:
            load_weights(request.resume.origin, self._train_state)
        self._train_state.set_schedule_step(request.start_iteration, request.recipe.train)
        self._timers = PhaseTimers(request.recipe.log, context, request.run.trace)
        self._timers.watch(self._train_state)
        self._best = lowest_validation_loss(request.run, request.start_iteration)
        self._watch = Stopwatch()
        self._guard = LossGuard(request.recipe.train.loss_spike_nats, logged_losses(request.run))

    def go(self, stop: StopRequest) -> None:
        """Carry out the remaining iterations; raises TrainingError."""
        seed, start = self._recipe.train.seed, self._request.start_iteration
        # The first point of the curve: the loss of the untrained (or inherited) weights.
        if start == 0 and self._request.evaluates:
            loss = self._evaluate()
            if self._context.is_first:
                self._metrics.report_start(loss)
        self._watch.resume()
        for iteration in range(start + 1, self._recipe.train.train_iters + 1):
            with self._timers.iteration(iteration):
                result = train_step(
                    self._train_state, self._loader, self._context, seed, iteration, self._timers
                )
            self._watch.count()
            stopped = stop.agreed(self._context.total, iteration)
            self._conclude(iteration, result, stopping=stopped is not None)
            if stopped is not None:
                raise stopped

    def _conclude(self, iteration: int, result: StepResult, stopping: bool) -> None:
        """Log, evaluate, save and compose as due after an iteration."""
        due = due_after(self._recipe, iteration)
        listens = self._listen is not None and due.listens
        saves = due.saves or stopping or listens
        # Returned at once, so that the next iteration is queued while the GPU computes this one.
        if not (saves or due.reports):
            return
        # Before the clock stops: reading the loss waits for the GPU, whose work counts.
        loss = mean_loss(result.losses, self._context)
        self._watch.pause()
        fault = self._guard.fault(loss) if due.reports else ""
        if not math.isfinite(loss) or fault:
            # Finite weights are kept for inspection; training resumes from the last good ones.
            kept = ""
            if math.isfinite(loss):
                self._save(iteration, None, update_latest=False)
                kept = f" (the weights are in {self._request.run.spike(iteration)})"
            good = self._request.run.latest()
            onward = f"resumes from {good.name}" if good else "starts again"
            raise TrainingError(
                f"{fault or f'the loss became {loss}'} at iteration {iteration}{kept}; the same "
                f"command {onward}: give it a lower train.lr or clip_grad, a longer "
                "train.lr_warmup_iters, or another train.seed, which changes the order of the data"
            )
        validation_loss = self._evaluate() if due.evaluates else None
        if due.reports and self._context.is_first:
            report = StepReport(
                iteration, loss, result.learning_rate, result.grad_norm, self._timers.take()
            )
            self._metrics.report(report, self._watch.lap(), validation_loss)
        if saves or (self._recipe.log.save_interval and self._is_best(validation_loss)):
            self._save(iteration, validation_loss)
        if listens:
            self._compose(iteration)
        self._watch.resume()

    def _evaluate(self) -> float:
        return evaluate(self._train_state, self._loader, self._context)

    def _is_best(self, validation_loss: float | None) -> bool:
        return validation_loss is not None and (self._best is None or validation_loss < self._best)

    def _compose(self, iteration: int) -> None:
        """Compose with the weights that were just saved, on the first rank; the others wait."""
        # Weights of other layers or split over ranks have to be read from the checkpoint.
        if self._listen is not None and self._context.is_first:
            kernels = layer_kernels(self._recipe, self._context)
            parallel = self._recipe.parallel
            split = parallel.tensor_model_parallel_size * parallel.pipeline_model_parallel_size
            whole = split == 1 and kernels.transformer_impl == "local"
            run = self._request.run
            self._listen(
                SampleContext(
                    iteration=iteration,
                    recipe=self._recipe,
                    vocabulary=self._request.vocabulary,
                    step=run.step(iteration),
                    samples=run.samples(iteration),
                    weights=self._train_state.model.state_dict() if whole else None,
                )
            )
        self._context.wait()

    def _save(
        self, iteration: int, validation_loss: float | None, update_latest: bool = True
    ) -> None:
        if update_latest and self._is_best(validation_loss):
            self._best = validation_loss
        meta = checkpoint_meta(self._request, self._context.world_size, iteration, validation_loss)
        save(self._request.run, meta, self._train_state, self._context, update_latest)


@dataclass(frozen=True)
class Due:
    """Actions due at this iteration. Sampling and interruption imply a checkpoint."""

    evaluates: bool
    reports: bool
    saves: bool
    listens: bool


def train(request: TrainingRequest, say: Say, listen: SampleCallback | None = None) -> None:
    """Train from the last checkpoint of the run folder to `train.train_iters`, on this rank.

    `listen` is called every `log.sample_interval`. Raises StoppedError after a signal (all is
    saved) and TrainingError when the loss diverges.
    """
    with distributed.start(request.recipe) as context:
        request = replace(request, recipe=resolve_auto_precision(request.recipe, context.kind))
        if context.is_first:
            kernels = layer_kernels(request.recipe, context).text
            open_run(request, context, kernels)
            say(describe(request, context, f"{kernels}, megatron-core {version('megatron-core')}"))
            if not context.is_cuda and (problem := driver_problem()):
                say(f"note: no GPU is used: {problem}")
        context.wait()
        with ExitStack() as stack:
            opened: list[Logger] = []
            if context.is_first:
                opened = stack.enter_context(
                    open_loggers(request.run, request.recipe, request.start_iteration)
                )
            report = say if context.is_first else lambda _: None  # rank 0 reports for all
            loader = DataLoader(request, context)
            report(loader.describe())
            shape = replace(
                recipe_shape(request.recipe, len(request.vocabulary)),
                attended_tokens=loader.attended_tokens,
            )
            metrics = MetricsLogger(request.run, request.recipe, shape, context, report, opened)
            loop = Trainer(request, context, loader, metrics, listen)
            # Only now: before the first iteration a signal ends the program at once.
            loop.go(stack.enter_context(StopRequest(report)))


def due_after(recipe: Recipe, iteration: int) -> Due:
    """Return what is due after an iteration, counted from 1."""
    log, last = recipe.log, iteration == recipe.train.train_iters
    evaluates = log.eval_interval > 0 and (last or _is_turn(iteration, log.eval_interval))
    return Due(
        evaluates=evaluates,
        reports=last or evaluates or _is_turn(iteration, log.log_interval),
        saves=(last and log.save_last) or _is_turn(iteration, log.save_interval),
        listens=_is_turn(iteration, log.sample_interval),
    )


def _is_turn(iteration: int, interval: int) -> bool:
    return interval > 0 and iteration % interval == 0


def open_run(request: TrainingRequest, context: ParallelContext, attention: str) -> None:
    """Write recipe, environment and tokenizer of a run, and rewind its log to the checkpoint."""
    request.run.path.mkdir(parents=True, exist_ok=True)
    clean(request.run)
    write_text(request.run.path / "config.yaml", dump_recipe(request.recipe))
    folders = [str(folder.resolve()) for folder in request.blend.folders]
    data = (
        folders[0] if len(folders) == 1 else dict(zip(folders, request.blend.shares, strict=True))
    )
    environment = {
        "versions": versions(),
        "platform": platform.platform(),
        "device": context.kind.name,
        "world_size": context.world_size,
        "data_parallel_size": context.data_parallel_size,
        "attention": attention,
        "threads": torch.get_num_threads(),
        "tflops_formula": "model_causal",
        "data": data,
        "from": None if request.resume.origin is None else str(request.resume.origin),
        "vocabulary_hash": request.vocabulary.hash,
        "argv": sys.argv,
    }
    write_text(request.run.environment, json.dumps(environment, indent=2) + "\n")
    # Before any checkpoint: `export` needs only the run folder, even where the data set has gone.
    write_tokenizer(request.vocabulary, request.run)
    rewind_log(request.run, request.start_iteration if request.start else None)


def describe(request: TrainingRequest, context: ParallelContext, trainer: str) -> str:
    """Describe a run in one line: model, data, layout; `trainer` names engine and kernels."""
    shape, parallel, size = request.recipe.model, request.recipe.parallel, len(request.vocabulary)
    rows = position_rows(shape.structural_inputs, shape.seq_length, request.vocabulary)
    millions = parameter_count(shape, size, rows.total) / 1e6
    resume = request.resume
    begins = "begins with new weights"
    if resume.step is not None:
        changes = f" with {', '.join(resume.changes)}" if resume.changes else ""
        begins = f"resumes after iteration {resume.iteration}{changes}"
    elif resume.origin:
        begins = f"begins with the weights of {resume.origin}"
    return (
        f"{request.run.path} {begins}: {millions:.2f} M parameters, "
        f"vocabulary {size} padded to {padded_vocab_size(size)}, {request.recipe.train.precision}, "
        f"{context.world_size} x {context.kind.name} (TP={parallel.tensor_model_parallel_size} "
        f"PP={parallel.pipeline_model_parallel_size} DP={context.data_parallel_size}), {trainer}"
    )


def checkpoint_meta(
    request: TrainingRequest, world_size: int, iteration: int, validation_loss: float | None
) -> CheckpointMeta:
    """Return the description of a checkpoint of this run; the loss in nats a token."""
    return CheckpointMeta(
        iteration=iteration,
        recipe=request.recipe.model_dump(),
        vocabulary_hash=request.vocabulary.hash,
        data_hash=request.data_hash,
        origin=str(request.resume.origin or ""),
        validation_loss=validation_loss,
        world_size=world_size,
        versions=versions(),
    )


def versions() -> dict[str, str]:
    """Return the versions that decide a run's numbers."""
    found = {"megatron-music": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found

"""The training loop: iterate, log, evaluate, save, stop when asked; resume by itself.

Mirrors `train` of megatron/training/training.py.
"""

import math
from dataclasses import replace

from megatron_music.costs.flops import recipe_shape
from megatron_music.errors import TrainingError
from megatron_music.train import engine as engines
from megatron_music.train.batches import build_batches
from megatron_music.train.checkpoint import load_learner, save
from megatron_music.train.choices import settle_precision
from megatron_music.train.engine import Engine
from megatron_music.train.folder import CheckpointMeta, lowest_validation_loss
from megatron_music.train.job import Job
from megatron_music.train.model import build_model
from megatron_music.train.monitor import Monitor, Say, StepReport, Stopwatch
from megatron_music.train.opening import describe, open_run, versions
from megatron_music.train.optimizer import build_learner
from megatron_music.train.ranges import Ranges
from megatron_music.train.step import StepResult, evaluate, mean_loss, train_step
from megatron_music.train.stop import StoppedError, StopRequest


def run(job: Job, say: Say) -> None:
    """Train from where the run folder stands to `train.train_iters`, on this rank.

    Raises StoppedError after a signal (all is saved) and TrainingError when the loss diverges.
    """
    with engines.start(job.recipe) as engine:
        job = replace(job, recipe=settle_precision(job.recipe, engine.kind))
        if engine.is_first:
            open_run(job, engine)
            say(describe(job, engine))
        engine.wait()
        loop = Loop(job, engine, say if engine.is_first else _say_nothing)
        with StopRequest() as stop:
            loop.go(stop)


class Loop:
    """A run in progress on this rank."""

    def __init__(self, job: Job, engine: Engine, say: Say) -> None:
        self._job, self._engine, self._say = job, engine, say
        self._recipe = job.recipe
        self._learner = build_learner(
            job.recipe, build_model(job.recipe, len(job.vocabulary), engine), engine
        )
        if job.start is not None:
            load_learner(job.start, self._learner)
        self._learner.fast_forward(job.start_iteration, job.recipe.train)
        self._ranges = Ranges(job.recipe.log, engine)
        self._ranges.watch(self._learner)
        self._batches = build_batches(job, engine)
        self._best = lowest_validation_loss(job.run, job.start_iteration)
        self._watch = Stopwatch()
        shape = recipe_shape(job.recipe, len(job.vocabulary))
        self._monitor = Monitor(job.run, job.recipe, shape, engine.world_size, say)

    def go(self, stop: StopRequest) -> None:
        """Carry out the iterations that are left; raises TrainingError."""
        seed, start = self._recipe.train.seed, self._job.start_iteration
        if start == 0 and self._job.evaluates:
            self._report_start()
        self._watch.resume()
        for iteration in range(start + 1, self._recipe.train.train_iters + 1):
            with self._ranges.iteration(iteration):
                result = train_step(
                    self._learner, self._batches, self._engine, seed, iteration, self._ranges
                )
            self._watch.count()
            stopping = self._engine.total([float(bool(stop.signal_name))])[0] > 0
            self._conclude(iteration, result, stopping)
            if stopping:
                raise StoppedError(
                    f"stopped by {stop.signal_name or 'a signal'} after iteration {iteration}, "
                    "all saved; the same command goes on from there"
                )

    def _conclude(self, iteration: int, result: StepResult, stopping: bool) -> None:
        """Do what is due after an iteration; nothing waits for the GPU where nothing is."""
        log, last = self._recipe.log, iteration == self._recipe.train.train_iters
        evaluates = log.eval_interval > 0 and (last or iteration % log.eval_interval == 0)
        saves = last or stopping or _is_due(iteration, log.save_interval)
        reports = last or evaluates or _is_due(iteration, log.log_interval)
        if not (saves or reports):
            return
        loss = mean_loss(result.losses, self._engine)  # waits for the GPU: its work counts
        self._watch.pause()
        self._check(iteration, loss)
        validation_loss = self._evaluate() if evaluates else None
        if reports and self._engine.is_first:
            report = StepReport(
                iteration, loss, result.learning_rate, result.grad_norm, self._ranges.take()
            )
            self._monitor.report(report, self._watch.lap(), validation_loss)
        if saves or (log.save_interval and self._is_best(validation_loss)):
            self._save(iteration, validation_loss)
        self._watch.resume()

    def _report_start(self) -> None:
        loss = self._evaluate()
        if self._engine.is_first:
            self._monitor.report_start(loss)

    def _evaluate(self) -> float:
        return evaluate(self._learner, self._batches, self._engine)

    def _is_best(self, validation_loss: float | None) -> bool:
        return validation_loss is not None and (self._best is None or validation_loss < self._best)

    def _save(self, iteration: int, validation_loss: float | None) -> None:
        if self._is_best(validation_loss):
            self._best = validation_loss
        meta = CheckpointMeta(
            iteration=iteration,
            recipe=self._recipe.model_dump(),
            vocabulary_hash=self._job.vocabulary.hash,
            data_hash=self._job.data_hash,
            validation_loss=validation_loss,
            world_size=self._engine.world_size,
            versions=versions(),
        )
        save(self._job.run, meta, self._learner, self._engine)

    def _check(self, iteration: int, loss: float) -> None:
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss became {loss} at iteration {iteration}; lower train.lr or raise "
                "train.lr_warmup_iters and go on from the last checkpoint"
            )


def _is_due(iteration: int, interval: int) -> bool:
    return interval > 0 and iteration % interval == 0


def _say_nothing(_: str) -> None:
    """Stay silent: rank 0 speaks for all."""

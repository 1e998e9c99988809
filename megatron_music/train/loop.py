"""The training loop: iterate, log, evaluate, save, stop when asked; resume by itself.

Mirrors `train` of megatron/training/training.py.
"""

import math
from contextlib import ExitStack
from dataclasses import replace
from importlib.metadata import version
from typing import NoReturn

from megatron_music.costs.flops import recipe_shape
from megatron_music.errors import TrainingError
from megatron_music.train import engine as engines
from megatron_music.train.checkpoint import load_learner, load_weights, save
from megatron_music.train.choices import settle_precision
from megatron_music.train.dataloader import DataLoader
from megatron_music.train.due import due_after
from megatron_music.train.engine import Engine
from megatron_music.train.folder import logged_losses, lowest_validation_loss
from megatron_music.train.guard import LossGuard
from megatron_music.train.job import Job
from megatron_music.train.model import build_model, layer_kernels
from megatron_music.train.moment import Listen, Moment
from megatron_music.train.monitor import Monitor, Say, StepReport, Stopwatch
from megatron_music.train.opening import checkpoint_meta, describe, open_run
from megatron_music.train.optimizer import build_learner
from megatron_music.train.ranges import Ranges
from megatron_music.train.step import StepResult, evaluate, mean_loss, train_step
from megatron_music.train.stop import StopRequest
from megatron_music.train.torch_build import driver_problem
from megatron_music.train.watch import Watcher, watchers


def run(job: Job, say: Say, listen: Listen | None = None) -> None:
    """Train from where the run folder stands to `train.train_iters`, on this rank.

    `listen` is called every `log.sample_interval`. Raises StoppedError after a signal (all is
    saved) and TrainingError when the loss diverges.
    """
    with engines.start(job.recipe) as engine:
        job = replace(job, recipe=settle_precision(job.recipe, engine.kind))
        if engine.is_first:
            kernels = layer_kernels(job.recipe, engine).text
            open_run(job, engine, kernels)
            say(describe(job, engine, f"{kernels}, megatron-core {version('megatron-core')}"))
            if not engine.is_cuda and (problem := driver_problem()):
                say(f"note: no GPU is used: {problem}")
        engine.wait()
        with ExitStack() as stack:
            opened: list[Watcher] = []
            if engine.is_first:
                opened = stack.enter_context(watchers(job.run, job.recipe, job.start_iteration))
            told = say if engine.is_first else _say_nothing
            loader = DataLoader(job, engine)
            told(loader.describe())
            shape = replace(
                recipe_shape(job.recipe, len(job.vocabulary)),
                attended_tokens=loader.attended_tokens,
            )
            monitor = Monitor(job.run, job.recipe, shape, engine, told, opened)
            loop = Loop(job, engine, loader, monitor, listen)
            # Not before: until then nothing is to be saved, and a signal ends the program at once.
            loop.go(stack.enter_context(StopRequest(told)))


class Loop:
    """A run in progress on this rank."""

    def __init__(
        self,
        job: Job,
        engine: Engine,
        loader: DataLoader,
        monitor: Monitor,
        listen: Listen | None,
    ) -> None:
        self._job, self._engine, self._loader = job, engine, loader
        self._monitor, self._listen = monitor, listen
        self._recipe = job.recipe
        self._learner = build_learner(
            job.recipe, build_model(job.recipe, job.vocabulary, engine), engine
        )
        if job.start is not None:
            load_learner(job.start, self._learner)
        elif job.begins.origin is not None:
            load_weights(job.begins.origin, self._learner)
        self._learner.fast_forward(job.start_iteration, job.recipe.train)
        self._ranges = Ranges(job.recipe.log, engine, job.run.trace)
        self._ranges.watch(self._learner)
        self._best = lowest_validation_loss(job.run, job.start_iteration)
        self._watch = Stopwatch()
        self._guard = LossGuard(job.recipe.train.loss_spike_nats, logged_losses(job.run))

    def go(self, stop: StopRequest) -> None:
        """Carry out the iterations that are left; raises TrainingError."""
        seed, start = self._recipe.train.seed, self._job.start_iteration
        if start == 0 and self._job.evaluates:
            self._report_start()
        self._watch.resume()
        for iteration in range(start + 1, self._recipe.train.train_iters + 1):
            with self._ranges.iteration(iteration):
                result = train_step(
                    self._learner, self._loader, self._engine, seed, iteration, self._ranges
                )
            self._watch.count()
            stopped = stop.agreed(self._engine.total, iteration)
            self._conclude(iteration, result, stopping=stopped is not None)
            if stopped is not None:
                raise stopped

    def _conclude(self, iteration: int, result: StepResult, stopping: bool) -> None:
        """Do what is due after an iteration; nothing waits for the GPU where nothing is."""
        due = due_after(self._recipe, iteration)
        listens = self._listen is not None and due.listens
        saves = due.saves or stopping or listens
        if not (saves or due.reports):
            return
        loss = mean_loss(result.losses, self._engine)  # waits for the GPU: its work counts
        self._watch.pause()
        fault = self._guard.fault(loss) if due.reports else ""
        if not math.isfinite(loss) or fault:
            self._give_up(iteration, loss, fault)
        validation_loss = self._evaluate() if due.evaluates else None
        if due.reports and self._engine.is_first:
            report = StepReport(
                iteration, loss, result.learning_rate, result.grad_norm, self._ranges.take()
            )
            self._monitor.report(report, self._watch.lap(), validation_loss)
        if saves or (self._recipe.log.save_interval and self._is_best(validation_loss)):
            self._save(iteration, validation_loss)
        if listens:
            self._compose(iteration)
        self._watch.resume()

    def _report_start(self) -> None:
        loss = self._evaluate()
        if self._engine.is_first:
            self._monitor.report_start(loss)

    def _evaluate(self) -> float:
        return evaluate(self._learner, self._loader, self._engine)

    def _is_best(self, validation_loss: float | None) -> bool:
        return validation_loss is not None and (self._best is None or validation_loss < self._best)

    def _compose(self, iteration: int) -> None:
        """Have the weights just saved compose, on the first rank, while the others wait."""
        if self._listen is not None and self._engine.is_first:
            kernels = layer_kernels(self._recipe, self._engine)
            parallel = self._recipe.parallel
            split = parallel.tensor_model_parallel_size * parallel.pipeline_model_parallel_size
            whole = split == 1 and kernels.transformer_impl == "local"
            run = self._job.run
            self._listen(
                Moment(
                    iteration=iteration,
                    recipe=self._recipe,
                    vocabulary=self._job.vocabulary,
                    step=run.step(iteration),
                    samples=run.samples(iteration),
                    weights=self._learner.model.state_dict() if whole else None,
                )
            )
        self._engine.wait()

    def _save(self, iteration: int, validation_loss: float | None, leads: bool = True) -> None:
        if leads and self._is_best(validation_loss):
            self._best = validation_loss
        meta = checkpoint_meta(self._job, self._engine.world_size, iteration, validation_loss)
        save(self._job.run, meta, self._learner, self._engine, leads)

    def _give_up(self, iteration: int, loss: float, fault: str) -> NoReturn:
        """Stop; weights that are numbers are kept for a look, and the last good ones lead on."""
        kept = ""
        if math.isfinite(loss):
            self._save(iteration, None, leads=False)
            kept = f" (the weights are in {self._job.run.spike(iteration)})"
        good = self._job.run.latest()
        onward = f"goes on from {good.name}" if good else "starts afresh"
        raise TrainingError(
            f"{fault or f'the loss became {loss}'} at iteration {iteration}{kept}; the same "
            f"command {onward}: give it a lower train.lr or clip_grad, a longer "
            "train.lr_warmup_iters, or another train.seed, which orders the data otherwise"
        )


def _say_nothing(_: str) -> None:
    """Stay silent: rank 0 speaks for all."""

"""What the engine does after an iteration, done as a callback of Hugging Face's Trainer."""

import math
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from megatron_music.errors import TrainingError
from megatron_music.train.engine import Engine
from megatron_music.train.folder import CheckpointMeta, publish, read_log
from megatron_music.train.guard import LossGuard
from megatron_music.train.hyperparameters import learning_rate
from megatron_music.train.job import Job
from megatron_music.train.monitor import Monitor, StepReport, Stopwatch
from megatron_music.train.opening import versions
from megatron_music.train.stop import SIGNALS, StoppedError, StopRequest


class Watch(TrainerCallback):  # type: ignore[misc]
    """Says when the Trainer logs, evaluates and saves; keeps the run folder as the engine does.

    The Trainer's own checkpoints become `step_N` when they are whole.
    """

    def __init__(self, job: Job, engine: Engine, monitor: Monitor, stop: StopRequest) -> None:
        self._job, self._engine, self._monitor, self._stop = job, engine, monitor, stop
        self._clock = Stopwatch()
        self._step_s = 0.0
        self._report: StepReport | None = None
        self._validation_loss: float | None = None
        earlier = read_log(job.run) if job.run.log.exists() else []
        losses = [entry["lm_loss"] for entry in earlier if "lm_loss" in entry]
        self._guard = LossGuard(job.recipe.train.loss_spike_nats, losses)
        self._stopped: StoppedError | None = None

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock: all is built, and the first evaluation is over."""
        self._clock.resume()

    def on_step_end(
        self, _: TrainingArguments, state: TrainerState, control: TrainerControl, **__: Any
    ) -> None:
        """Say what is due after an iteration, as the engine would."""
        self._clock.count()
        log, iteration = self._job.recipe.log, state.global_step
        last = iteration == self._job.recipe.train.train_iters
        self._stopped = self._stop_wished(iteration)
        stopping = self._stopped is not None
        control.should_evaluate = log.eval_interval > 0 and (
            last or iteration % log.eval_interval == 0
        )
        control.should_save = (
            (last and log.save_last) or stopping or _is_due(iteration, log.save_interval)
        )
        control.should_log = (
            last or stopping or control.should_evaluate or _is_due(iteration, log.log_interval)
        )
        control.should_training_stop |= stopping

    def on_log(
        self,
        _: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float],
        **__: Any,
    ) -> None:
        """Take up the mean loss since the last line; raises TrainingError when it has risen."""
        if "loss" not in logs:
            return
        self._clock.pause()
        self._step_s = self._clock.lap()
        fault = self._guard.fault(logs["loss"])
        if fault:
            raise TrainingError(
                f"{fault} at iteration {state.global_step}; the same command goes on from the last "
                "checkpoint: give it a lower train.lr or clip_grad, or another train.seed"
            )
        norm = logs.get("grad_norm", math.inf)
        rate = learning_rate(self._job.recipe.train, state.global_step)
        finite = norm if math.isfinite(norm) else None
        self._report = StepReport(state.global_step, logs["loss"], rate, finite, {})
        if not (control.should_evaluate or control.should_save):
            self._tell()

    def on_evaluate(
        self,
        _: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float],
        **__: Any,
    ) -> None:
        """Take up the validation loss, nats a token."""
        if state.global_step > 0:
            self._validation_loss = metrics["eval_loss"]
            if not control.should_save:
                self._tell()
        elif self._engine.is_first:
            self._monitor.report_start(metrics["eval_loss"])

    def on_save(
        self, arguments: TrainingArguments, state: TrainerState, _: TrainerControl, **__: Any
    ) -> None:
        """Make a checkpoint that is whole now `step_N`, and `latest`."""
        self._engine.wait()
        if self._engine.is_first:
            saved = Path(arguments.output_dir) / f"checkpoint-{state.global_step}"
            with publish(self._job.run, self._meta(state.global_step)) as folder:
                folder.rmdir()
                saved.rename(folder)
        self._engine.wait()
        self._tell()

    def conclude(self) -> None:
        """Raise StoppedError if a signal ended the run."""
        if self._stopped is not None:
            raise self._stopped

    def _tell(self) -> None:
        """Write the line of an iteration whose work is all done."""
        if self._report is not None and self._engine.is_first:
            self._monitor.report(self._report, self._step_s, self._validation_loss)
        self._report, self._validation_loss = None, None
        self._clock.resume()

    def _stop_wished(self, iteration: int) -> StoppedError | None:
        wishes = [float(self._stop.signal_name == name.name) for name in SIGNALS]
        by_keyboard, by_others = (count > 0 for count in self._engine.total(wishes))
        if not (by_keyboard or by_others):
            return None
        return StoppedError(
            f"stopped by {self._stop.signal_name or 'a signal'} after iteration {iteration}, "
            "all saved; the same command goes on from there",
            by_keyboard,
        )

    def _meta(self, iteration: int) -> CheckpointMeta:
        return CheckpointMeta(
            iteration=iteration,
            recipe=self._job.recipe.model_dump(),
            vocabulary_hash=self._job.vocabulary.hash,
            data_hash=self._job.data_hash,
            validation_loss=self._validation_loss,
            world_size=self._engine.world_size,
            versions=versions(),
        )


def _is_due(iteration: int, interval: int) -> bool:
    return interval > 0 and iteration % interval == 0

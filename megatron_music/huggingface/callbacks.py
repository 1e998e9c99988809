"""A callback of Hugging Face's Trainer that writes the run folder of the engine."""

import math
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from megatron_music.errors import TrainingError
from megatron_music.train.distributed import ParallelContext
from megatron_music.train.hyperparameters import learning_rate
from megatron_music.train.metrics import LossGuard, MetricsLogger, StepReport, Stopwatch
from megatron_music.train.request import TrainingRequest
from megatron_music.train.run_dir import commit_checkpoint, logged_losses
from megatron_music.train.signals import StoppedError, StopRequest
from megatron_music.train.trainer import checkpoint_meta, due_after


class RunDirCallback(TrainerCallback):  # type: ignore[misc]
    """Decides when the Trainer logs, evaluates and saves; writes the run folder as the engine does.

    The Trainer's own checkpoints become `step_N` when they are whole.
    """

    def __init__(
        self,
        request: TrainingRequest,
        context: ParallelContext,
        metrics: MetricsLogger,
        stop: StopRequest,
    ) -> None:
        self._request, self._context, self._metrics, self._stop = request, context, metrics, stop
        self._clock = Stopwatch()
        self._step_s = 0.0
        self._report: StepReport | None = None
        self._validation_loss: float | None = None
        self._guard = LossGuard(request.recipe.train.loss_spike_nats, logged_losses(request.run))
        self._stopped: StoppedError | None = None

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock: all is built, and the first evaluation is over."""
        self._clock.resume()

    def on_step_end(
        self, _: TrainingArguments, state: TrainerState, control: TrainerControl, **__: Any
    ) -> None:
        """Set the actions due after an iteration, as in the engine."""
        self._clock.count()
        due = due_after(self._request.recipe, state.global_step)
        self._stopped = self._stop.agreed(self._context.total, state.global_step)
        stopping = self._stopped is not None
        control.should_evaluate = due.evaluates
        control.should_save = due.saves or stopping
        control.should_log = due.reports or stopping
        control.should_training_stop |= stopping

    def on_log(
        self,
        _: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float],
        **__: Any,
    ) -> None:
        """Record the mean loss since the last line; raises TrainingError for a loss spike."""
        if "loss" not in logs:
            return
        self._clock.pause()
        self._step_s = self._clock.lap()
        fault = self._guard.fault(logs["loss"])
        if fault:
            raise TrainingError(
                f"{fault} at iteration {state.global_step}; the same command resumes from the last "
                "checkpoint: give it a lower train.lr or clip_grad, or another train.seed"
            )
        norm = logs.get("grad_norm", math.inf)
        rate = learning_rate(self._request.recipe.train, state.global_step)
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
        """Record the validation loss, nats a token."""
        if state.global_step > 0:
            self._validation_loss = metrics["eval_loss"]
            if not control.should_save:
                self._tell()
        # Step 0 is the evaluation before any training.
        elif self._context.is_first:
            self._metrics.report_start(metrics["eval_loss"])

    def on_save(
        self, arguments: TrainingArguments, state: TrainerState, _: TrainerControl, **__: Any
    ) -> None:
        """Rename a complete checkpoint to `step_N`, and move `latest`."""
        self._context.wait()
        if self._context.is_first:
            saved = Path(arguments.output_dir) / f"checkpoint-{state.global_step}"
            meta = checkpoint_meta(
                self._request, self._context.world_size, state.global_step, self._validation_loss
            )
            with commit_checkpoint(self._request.run, meta) as folder:
                # The Trainer's folder takes the place of the one that `commit_checkpoint` made.
                folder.rmdir()
                saved.rename(folder)
        self._context.wait()
        self._tell()

    def conclude(self) -> None:
        """Raise StoppedError if a signal ended the run."""
        if self._stopped is not None:
            raise self._stopped

    def _tell(self) -> None:
        """Write the line of an iteration whose work is all done."""
        if self._report is not None and self._context.is_first:
            self._metrics.report(self._report, self._step_s, self._validation_loss)
        self._report, self._validation_loss = None, None
        self._clock.resume()

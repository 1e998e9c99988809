"""Metrics of a run: a line of `log.jsonl`, a line on the console, and loss spikes. Rank 0 only."""

import json
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from megatron_music.config import Recipe
from megatron_music.costs import flops
from megatron_music.costs.devices import dense_peak
from megatron_music.train.distributed import ParallelContext
from megatron_music.train.loggers import Logger
from megatron_music.train.run_dir import RunDir

TERA = 1e12
GIB = 1 << 30

Say = Callable[[str], None]
"""Shows one line to the user."""

WINDOW = 20
"""Number of logged losses whose median is the usual loss."""

PATIENCE = 3
"""This many losses in a row above the limit are a spike; one may be a hard batch."""


@dataclass(frozen=True)
class StepReport:
    """One iteration: `lm_loss` in nats a token of its batch, `grad_norm` before clipping.

    `grad_norm` is None where fp16 overflowed and the update was skipped. `phases_s` says where
    the time went, in a profiled run on a CPU.
    """

    iteration: int
    lm_loss: float
    learning_rate: float
    grad_norm: float | None
    phases_s: dict[str, float]


class Stopwatch:
    """Times iterations; what happens between `pause` and `resume` does not count."""

    def __init__(self) -> None:
        self._since = time.perf_counter()
        self._elapsed_s = 0.0
        self._iterations = 0

    def count(self) -> None:
        """Count an iteration."""
        self._iterations += 1

    def pause(self) -> None:
        """Stop the time."""
        self._elapsed_s += time.perf_counter() - self._since

    def resume(self) -> None:
        """Start the time again."""
        self._since = time.perf_counter()

    def lap(self) -> float:
        """Return seconds an iteration since the last lap, of a watch that is paused."""
        seconds = self._elapsed_s / max(1, self._iterations)
        self._elapsed_s, self._iterations = 0.0, 0
        return seconds


class MetricsLogger:
    """Writes the log of a run, and shows it on the console."""

    def __init__(
        self,
        run: RunDir,
        recipe: Recipe,
        shape: flops.Shape,
        context: ParallelContext,
        say: Say,
        open_loggers: Sequence[Logger] = (),
    ) -> None:
        self._log = run.log
        self._context = context
        self._peak = dense_peak(context.kind.name, recipe.train.precision)
        self._watchers = open_loggers
        self._total = recipe.train.train_iters
        self._tokens = shape.global_batch_size * shape.seq_length
        self._flops = flops.model_causal(shape)
        self._say = say

    def report(self, report: StepReport, step_time_s: float, validation_loss: float | None) -> None:
        """Log an iteration; `step_time_s` is the mean since the last line."""
        tflops = self._flops / (step_time_s * self._context.world_size * TERA)
        entry: dict[str, Any] = {
            "iteration": report.iteration,
            "consumed_tokens": report.iteration * self._tokens,
            "lm_loss": report.lm_loss,
            "learning_rate": report.learning_rate,
            "grad_norm": report.grad_norm,
            "step_time_s": step_time_s,
            "tokens_per_s": self._tokens / step_time_s,
            "tflops_per_gpu": tflops,
            "memory_bytes": self._context.peak_memory_bytes(),
        }
        # No utilisation without a known peak: a guessed one would look like a measurement.
        share = f" {tflops / self._peak.tflops:.1%}" if self._peak else ""
        if report.phases_s:
            entry["phases_s"] = report.phases_s
        norm = "skipped" if report.grad_norm is None else f"{report.grad_norm:7.3f}"
        left_s = (self._total - report.iteration) * step_time_s
        self._write(entry, validation_loss)
        whole = round(left_s)
        clock = f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
        self._say(
            f"{self._place(report.iteration)} | loss {report.lm_loss:7.4f} "
            f"| lr {report.learning_rate:.2e} | grad norm {norm} "
            f"| {step_time_s:6.3f} s/iteration | {entry['tokens_per_s']:>9,.0f} tokens/s "
            f"| {tflops:.3g} TFLOP/s{share} ({flops.model_causal.__name__}) "
            f"| {entry['memory_bytes'] / GIB:.1f} GiB "
            f"| {clock} left{_validation(validation_loss)}"
        )

    def report_start(self, validation_loss: float) -> None:
        """Log the evaluation before any training, as iteration 0."""
        self._write({"iteration": 0, "consumed_tokens": 0}, validation_loss)
        self._say(f"{self._place(0)}{_validation(validation_loss)}")

    def _place(self, iteration: int) -> str:
        return f"iteration {iteration:>{len(str(self._total))}}/{self._total}"

    def _write(self, entry: dict[str, Any], validation_loss: float | None) -> None:
        if validation_loss is not None:
            entry["validation_loss"] = validation_loss
        with self._log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        for show in self._watchers:
            show(entry)


class LossGuard:
    """Detects loss spikes; all ranks see the same losses, and come to the same result.

    `limit_nats` is how far above the median of the last losses a loss may be, 0 for no limit.
    NaN and infinite losses are always faults.
    """

    def __init__(self, limit_nats: float, earlier: Iterable[float] = ()) -> None:
        self._limit = limit_nats
        self._usual: deque[float] = deque(earlier, maxlen=WINDOW)
        self._above = 0

    def fault(self, loss: float) -> str:
        """Return why a loss is a fault, compared with those before it; "" if it is none."""
        if not math.isfinite(loss):
            return f"the loss became {loss}"
        usual = median(self._usual) if len(self._usual) >= PATIENCE else math.inf
        if self._limit and loss > usual + self._limit:
            self._above += 1
        else:
            self._above = 0
            # Losses above the limit are left out: they would raise the median that they are
            # compared with.
            self._usual.append(loss)
        if self._above < PATIENCE:
            return ""
        return (
            f"the loss rose to {loss:.2f} and stayed more than train.loss_spike_nats="
            f"{self._limit:g} above the {usual:.2f} before, {PATIENCE} log lines in a row"
        )


def _validation(loss: float | None) -> str:
    return "" if loss is None else f" | validation loss {loss:.4f}"

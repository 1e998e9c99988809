"""The run folder: checkpoints that are whole or absent, and a log that agrees with them.

    RUN/config.yaml, environment.json, log.jsonl, tokenizer/
    RUN/checkpoints/{step_N/, latest -> step_N, best -> step_N}
    RUN/samples/step_N/{.mid, .png, .wav}, tensorboard/, trace.json.gz

This module loads neither torch nor megatron. Its writing functions are for rank 0 alone.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from megatron_music.config import validation_message
from megatron_music.errors import CheckpointError, WriteError
from megatron_music.files import os_error_reason, read_small, write_cure, write_text
from megatron_music.tokenizer.load import AnyVocabulary, save_any_tokenizer

META_FILE = "meta.json"

KEPT_STEPS = 2
"""How many of the newest checkpoints are kept in addition to `best`."""

_PARTIAL = ".partial"
_STATE_FILE = "trainer_state.json"


@dataclass(frozen=True)
class CheckpointMeta:
    """The description of a checkpoint: `meta.json` inside `step_N`.

    `validation_loss` is in nats a token, None where it was not evaluated at this iteration.
    `data_hash` identifies the data, where they have manifests. `origin` is the checkpoint of
    another run whose weights the run began with, if there is one.
    """

    iteration: int
    recipe: dict[str, Any]
    vocabulary_hash: str
    validation_loss: float | None
    world_size: int
    versions: dict[str, str]
    data_hash: str = ""
    origin: str = ""


@dataclass(frozen=True)
class RunDir:
    """The paths of a run."""

    path: Path

    @property
    def lock(self) -> Path:
        """The lock file that a running training holds."""
        return self.path / ".lock"

    @property
    def has_other_files(self) -> bool:
        """True for a folder with files, but none of a run."""
        # Not `tokenizer`, which a data set has as well.
        ours = (self.checkpoints, self.log, self.lock)
        held = self.path.is_dir() and any(self.path.iterdir())
        return held and not any(path.exists() for path in ours)

    @property
    def checkpoints(self) -> Path:
        """The folder of `step_N`, `latest` and `best`."""
        return self.path / "checkpoints"

    @property
    def log(self) -> Path:
        """The log: one JSON object a line."""
        return self.path / "log.jsonl"

    @property
    def environment(self) -> Path:
        """What the run was started with: versions, device, layout, data."""
        return self.path / "environment.json"

    @property
    def trace(self) -> Path:
        """What torch's profiler recorded of the profiled iterations."""
        return self.path / "trace.json.gz"

    @property
    def tokenizer(self) -> Path:
        """The data set's tokenizer; of a blend, what all its folders share."""
        return self.path / "tokenizer"

    def samples(self, iteration: int) -> Path:
        """Return the folder of the songs composed at an iteration."""
        return self.path / "samples" / f"step_{iteration}"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard's event files."""
        return self.path / "tensorboard"

    def step(self, iteration: int) -> Path:
        """Return the folder of the checkpoint of an iteration."""
        return self.checkpoints / f"step_{iteration}"

    def spike(self, iteration: int) -> Path:
        """Return the folder of the weights of a loss spike; runs do not resume from it."""
        return self.checkpoints / f"spike_{iteration}"

    def partial(self, iteration: int) -> Path:
        """Return where the checkpoint of an iteration is written before it is complete."""
        return self.checkpoints / f".step_{iteration}{_PARTIAL}"

    def steps(self) -> list[int]:
        """List the iterations of all complete checkpoints, ascending."""
        names = (path.name.removeprefix("step_") for path in self.checkpoints.glob("step_*"))
        return sorted(
            int(name) for name in names if name.isdigit() and _is_whole(self.step(int(name)))
        )

    def latest(self) -> Path | None:
        """Return the checkpoint to resume from: `latest`, else the newest whole one, else None."""
        # The link may point to a checkpoint that was removed by hand.
        link = self.checkpoints / "latest"
        if _is_whole(link):
            return link.resolve()
        steps = self.steps()
        return self.step(steps[-1]) if steps else None


def find_step(path: Path) -> Path | None:
    """Return the checkpoint at a path, or the latest one of a run folder; None for neither."""
    step = path if _is_whole(path) else RunDir(path).latest()
    return None if step is None else step.resolve()


def read_meta(step: Path) -> CheckpointMeta:
    """Read the description of a checkpoint; raises CheckpointError."""
    try:
        return TypeAdapter(CheckpointMeta).validate_json(read_small(step / META_FILE), strict=True)
    except (OSError, ValueError) as fault:
        reason = validation_message(fault) if isinstance(fault, ValidationError) else fault
        raise CheckpointError(
            f"{step} is not a sound checkpoint ({reason}); remove it to resume from an older one"
        ) from None


@contextmanager
def commit_checkpoint(
    run: RunDir, meta: CheckpointMeta, update_latest: bool = True
) -> Iterator[Path]:
    """Give an empty folder to save into; when the block ends it becomes `step_N`, then `latest`.

    `best` moves to the lowest validation loss so far and old checkpoints are removed. Without
    `update_latest` it becomes `spike_N`, and no link moves. Raises WriteError; no error
    leaves anything half-written under a final name.
    """
    final = run.step(meta.iteration) if update_latest else run.spike(meta.iteration)
    partial = run.partial(meta.iteration)
    try:
        _remove(partial)
        partial.mkdir(parents=True)
        yield partial
        # Written last: a folder with this file is complete, see `_is_whole`.
        write_text(partial / META_FILE, json.dumps(asdict(meta), indent=2) + "\n")
        _remove(final)
        partial.rename(final)
        if not update_latest:
            return
        _link(run.checkpoints / "latest", final.name)
        best = min(_validation_losses(run, meta.iteration), default=(None, None))[1]
        if best is not None:
            _link(run.checkpoints / "best", run.step(best).name)
        # Not those of later iterations: they are from before a resume at an older checkpoint.
        steps = [step for step in run.steps() if step <= meta.iteration]
        for step in set(steps) - set(steps[-KEPT_STEPS:]) - {best}:
            # Renamed first: a kill during the removal leaves no half checkpoint.
            doomed = run.partial(step)
            run.step(step).rename(doomed)
            _remove(doomed)
    except OSError as fault:
        raise WriteError(
            f"cannot write {final}: {os_error_reason(fault)}; {write_cure(fault)} and start again"
        ) from fault
    finally:
        _remove(partial)


def lowest_validation_loss(run: RunDir, iteration: int) -> float | None:
    """Return the lowest validation loss of the checkpoints up to an iteration, nats a token."""
    return min(_validation_losses(run, iteration), default=(None,))[0]


def clean(run: RunDir) -> None:
    """Remove what a killed process left half-written."""
    for partial in run.checkpoints.glob(f".*{_PARTIAL}"):
        _remove(partial)


def rewind_log(run: RunDir, iteration: int | None) -> None:
    """Drop the lines after an iteration, and a line that was cut short; all lines for None."""
    # A run that was killed has logged iterations after its last checkpoint; they come again.
    if not run.log.exists():
        return
    kept = [] if iteration is None else [e for e in read_log(run) if e["iteration"] <= iteration]
    write_text(run.log, "".join(json.dumps(entry) + "\n" for entry in kept))


def read_log(run: RunDir) -> list[dict[str, Any]]:
    """Read the log's entries in order, without a line that was cut short; [] without a log."""
    if not run.log.exists():
        return []
    entries = []
    for line in run.log.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and isinstance(entry.get("iteration"), int):
            entries.append(entry)
    return entries


def logged_losses(run: RunDir) -> list[float]:
    """Return the training losses that the log holds so far, nats a token."""
    return [entry["lm_loss"] for entry in read_log(run) if "lm_loss" in entry]


def write_tokenizer(vocabulary: AnyVocabulary, run: RunDir) -> None:
    """Write the run's tokenizer folder in one piece; raises WriteError."""
    # Not copied: the data set's folder may have other files, which must not be redistributed.
    partial = run.path / f".tokenizer{_PARTIAL}"
    _remove(partial)
    save_any_tokenizer(vocabulary, partial)
    _remove(run.tokenizer)
    partial.rename(run.tokenizer)


def _is_whole(step: Path) -> bool:
    return (step / META_FILE).is_file()


def _validation_losses(run: RunDir, iteration: int) -> list[tuple[float, int]]:
    metas = (read_meta(run.step(step)) for step in run.steps() if step <= iteration)
    return [
        (meta.validation_loss, meta.iteration) for meta in metas if meta.validation_loss is not None
    ]


def _link(link: Path, target: str) -> None:
    # A link cannot be overwritten, but renaming another one over it is atomic.
    temporary = link.with_name(f".{link.name}{_PARTIAL}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(link)


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
    elif path.exists():
        shutil.rmtree(path)


def is_hf_trainer_checkpoint(step: Path) -> bool:
    """Tell whether Hugging Face's Trainer saved this checkpoint, and not Megatron."""
    return (step / _STATE_FILE).is_file()

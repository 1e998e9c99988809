"""The environment variables of a launcher such as torchrun.

Loads neither torch nor megatron.
"""

import os
from dataclasses import dataclass

from megatron_music.errors import UsageError

NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""The variables without which ranks cannot meet."""

RUN_DIR_OPTIONS = ("--run-dir", "--run")
"""The option of the run folder. Under torchrun only the first works: before Python 3.12.7 its
argparse reads the second as its own `--run-path`, although it comes after the program's name.
"""

VARIABLES = (*NEEDED, "LOCAL_RANK", "LOCAL_WORLD_SIZE")


@dataclass(frozen=True)
class LaunchedProcess:
    """One process of a training, as its launcher numbers it; alone where there was no launcher."""

    rank: int = 0
    world_size: int = 1
    local_rank: int | None = None
    """Its number on this machine; None where the launcher does not set it."""
    local_world_size: int = 1


def launched_process() -> LaunchedProcess:
    """Read the launcher's variables; a WORLD_SIZE without a RANK is a scheduler's own.

    Raises UsageError for a RANK without the others, and for values that cannot be.
    """
    if "RANK" not in os.environ:
        return LaunchedProcess()
    missing = [name for name in NEEDED if not os.environ.get(name)]
    if missing:
        raise UsageError(
            f"RANK={os.environ['RANK']} says that a launcher started this process, but "
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set; start it with "
            "torchrun, set what is missing, or unset RANK to train in one process"
        )
    process = LaunchedProcess(
        _number("RANK", 0),
        _number("WORLD_SIZE", 1),
        _number("LOCAL_RANK", 0) if "LOCAL_RANK" in os.environ else None,
        _number("LOCAL_WORLD_SIZE", 1),
    )
    # Only checked, for a clear message: torch reads the variable itself.
    _number("MASTER_PORT", 0)
    if process.rank >= process.world_size:
        raise UsageError(
            f"RANK={process.rank} must be below WORLD_SIZE={process.world_size}; "
            "start the ranks with torchrun"
        )
    return process


def rank() -> int:
    """Return this process's rank, 0 without a launcher; raises UsageError."""
    return launched_process().rank


def world_size() -> int:
    """Return the number of processes that were started, 1 without a launcher; raises UsageError."""
    return launched_process().world_size


def ignore_launcher(keep_ranks: bool = False) -> None:
    """Remove a launcher's variables, for this process and those that it starts.

    Pods of a training job and notebooks in one have them set in every shell; a command of one
    process does not wait for others. `keep_ranks` keeps all where there is a RANK.
    """
    if keep_ranks and "RANK" in os.environ:
        return
    for name in VARIABLES:
        os.environ.pop(name, None)


def _number(name: str, otherwise: int) -> int:
    text = os.environ.get(name, str(otherwise))
    if not text.isdecimal():
        raise UsageError(f"{name} must be a number (got {text!r}); unset it, or start torchrun")
    return int(text)

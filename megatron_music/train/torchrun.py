"""Let `--run DIR` pass through torchrun, and let an error of ours be the last word.

Before Python 3.12.7 argparse takes `--run`, although it stands behind the program's name, for a
short form of torchrun's own `--run-path` and ends with "ambiguous option". With a `--` before the
program's name it does not. torch calls `separate_program` through the entry point
`torch.backends`, while it is imported and before torchrun reads its arguments; in every process
but a torchrun that starts this package it does nothing.

When a rank ends with an error, torchrun adds thirty lines to the one that says what is wrong, and
exits with 1. Here it says no more, unless a rank was killed, and exits with the rank's own code.
"""

import logging
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import TracebackType

_PROGRAM = "megatron_music"
_SCRIPT = ("launch", "huggingface.py")
_TELLTALES = (
    "torch.distributed.run",
    "torch.distributed.elastic.agent.server.api",
    "torch.distributed.elastic.multiprocessing.api",
)


def separate_program() -> None:
    """Put `--` before our program in the arguments of a torchrun that starts it."""
    if not is_torchrun(sys.orig_argv):
        return
    arguments = separated(sys.argv[1:])
    if arguments != sys.argv[1:]:
        sys.argv[1:] = arguments
        _leave_the_last_word()


def last_word(exit_code: int) -> str:
    """Return what is left to say of a rank by its exit code: nothing where it spoke itself."""
    if exit_code >= 0:
        return ""
    cure = "; was there too little memory?" if exit_code == -signal.SIGKILL else ""
    name = signal.Signals(-exit_code).name
    return f"error: a process of this run was killed by {name} (exitcode: {exit_code}){cure}"


def _leave_the_last_word() -> None:
    if os.environ.get("MEGATRON_MUSIC_DEBUG"):
        return
    for name in _TELLTALES:
        logging.getLogger(name).addFilter(lambda _: False)
    sys.excepthook = _end


def _end(kind: type[BaseException], fault: BaseException, trace: TracebackType | None) -> None:
    """Take the place of torchrun's report; what is not a rank's end is shown as ever."""
    if kind.__name__ == "ChildFailedError":
        _, failure = fault.get_first_failure()  # type: ignore[attr-defined]
        code = int(failure.exitcode)
        told = last_word(code)
    elif kind.__name__ == "SignalException":
        code, told = -int(fault.sigval), ""  # type: ignore[attr-defined]
    else:
        traceback.print_exception(kind, fault, trace)
        code, told = 1, ""
    if told:
        print(told, file=sys.stderr)
    sys.stderr.flush()
    os._exit(code if code >= 0 else 128 - code)


def is_torchrun(command: Sequence[str]) -> bool:
    """Tell whether a command line, interpreter included, is torchrun's."""
    script = any(Path(word).name == "torchrun" for word in command[:3])
    return script or ("-m", "torch.distributed.run") in pairwise(command)


def separated(arguments: Sequence[str]) -> list[str]:
    """Return torchrun's arguments with `--` between its own and this program's."""
    words = list(arguments)
    for at, word in enumerate(words):
        if word == "--":
            break
        is_module = word == _PROGRAM and at > 0 and words[at - 1] in ("-m", "--module")
        if is_module or Path(word).parts[-2:] == _SCRIPT:
            return [*words[:at], "--", *words[at:]]
    return words

"""Let `--run DIR` pass through torchrun.

Before Python 3.12.7 argparse takes `--run`, although it stands behind the program's name, for a
short form of torchrun's own `--run-path` and ends with "ambiguous option". With a `--` before the
program's name it does not. torch calls `separate_program` through the entry point
`torch.backends`, while it is imported and before torchrun reads its arguments; in every process
but a torchrun that starts this package it does nothing.
"""

import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

_PROGRAM = "megatron_music"


def separate_program() -> None:
    """Put `--` before `megatron_music` in the arguments of a torchrun that starts it."""
    if is_torchrun(sys.orig_argv):
        sys.argv[1:] = separated(sys.argv[1:])


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
        if word == _PROGRAM and at and words[at - 1] in ("-m", "--module"):
            return [*words[:at], "--", *words[at:]]
    return words

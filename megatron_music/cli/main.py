"""Run the `megatron-music` program: every error, typer's too, becomes one line and an exit code."""

import atexit
import gc
import os
import re
import sys
import traceback
from collections.abc import Sequence
from io import TextIOWrapper
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NoReturn

from megatron_music.cli import ctrl_c, show
from megatron_music.errors import (
    Interrupted,
    MusicError,
    UsageError,
    WriteError,
    is_by_ctrl_c,
)
from megatron_music.files import os_error_reason, write_cure

if TYPE_CHECKING:
    import typer

# Commands that resume from what they have saved; of others Ctrl-C leaves nothing to resume.
_RESUMING = {"train", "data", "profile"}

INTERRUPTED = 130
"""The exit code shells give a program stopped by Ctrl-C."""


def run(program: "typer.Typer | None" = None) -> None:
    """Run a program, `megatron-music` by default; report an error as one line on stderr."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # file names may be invalid UTF-8
    atexit.register(gc.freeze)  # else collecting torch's objects takes seconds at exit
    ctrl_c.watch()
    try:
        _refuse_empty(sys.argv[1:])
        # Imported here: it takes a while, and Ctrl-C may come meanwhile.
        from megatron_music.cli.app import NAME, app

        # Not standalone: typer would print its errors in its own way and exit.
        code = (program or app)(prog_name=NAME, standalone_mode=False)
        ctrl_c.check()
    except KeyboardInterrupt:
        _end_interrupted()
    except Exception as error:
        _end_failed(error)
    if code == INTERRUPTED:  # what typer makes of Ctrl-C
        _end_interrupted()
    sys.exit(code if isinstance(code, int) else 0)


def _end_interrupted() -> NoReturn:
    command = [word for word in sys.argv[1:] if not word.startswith("-")][:1]
    resumes = _RESUMING.intersection(command)
    # A launcher sends the signal to all its ranks: the first reports it.
    if command != ["train"] or os.environ.get("RANK", "0") == "0":
        show.log("interrupted" + "; the same command resumes from what is saved" * bool(resumes))
    sys.exit(INTERRUPTED)


def _end_failed(error: Exception) -> NoReturn:
    """End with one line on what went wrong, and its exit code."""
    if isinstance(error, Interrupted):
        show.log(str(error))
        sys.exit(error.exit_code)
    if isinstance(error, MusicError):
        _fail(str(error), INTERRUPTED if is_by_ctrl_c(error) else error.exit_code)
    if is_by_ctrl_c(error):
        _end_interrupted()
    if isinstance(error, BrokenPipeError):
        # The reader of the pipe has gone, as with `| head`: Python would raise again when it
        # flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        cure = write_cure(error, otherwise="check the path")
        _fail(f"{place}{os_error_reason(error)}; {cure}", WriteError.exit_code)
    # By its attributes: the classes of typer's errors are not public.
    if is_usage_error(error):
        message = usage_message(error, sys.argv[1:])
        if message:
            _fail(message, UsageError.exit_code)
        sys.exit(UsageError.exit_code)
    # torch has no error of its own for it on a CPU: the text tells.
    texts = ("out of memory", "allocate memory")
    if isinstance(error, MemoryError) or any(one in str(error) for one in texts):
        _fail("out of memory; ask for less (a smaller model or batch), or take a larger machine", 1)
    _fail(
        "this is a fault of the program, not of yours; please report it and "
        f"attach {_traceback_file(error)}, which says what happened and where",
        1,
    )


def _refuse_empty(words: list[str]) -> None:
    """Refuse empty arguments, as of unset variables: an empty path means the current folder."""
    for before, word in pairwise(["", *words]):
        if not word or (word.startswith("--") and word.endswith("=")):
            where = f"after {before!r}" if not word and before else repr(word)
            raise UsageError(f"an empty argument ({where}); give it a value, or leave it out")


def _traceback_file(error: Exception) -> str:
    """Write a traceback into a file; return its name."""
    from tempfile import NamedTemporaryFile

    try:
        with NamedTemporaryFile(
            "w", prefix="megatron-music-", suffix=".txt", delete=False, errors="backslashreplace"
        ) as file:
            traceback.print_exception(error, file=file)
    except OSError:
        return "what --debug shows"
    return file.name


def _fail(message: str, exit_code: int) -> NoReturn:
    if os.environ.get("MEGATRON_MUSIC_DEBUG"):
        traceback.print_exc()
    show.log(f"error: {message}")
    sys.exit(exit_code)


_RULES = (
    (r"^Missing command", "a command is missing"),
    (r"^Missing \w+ '([^']+)'.*", r"\1 is missing"),
    (r"^No such command '([^']+)'\. Did you mean (.*)\?", r"no command '\1' (did you mean \2?)"),
    (r"^Got unexpected extra argument\(?s?\)? \((.*)\)", r"one argument too many: '\1'"),
    (r"^No such option: (\S+)", r"there is no option \1"),
    (r"\(Possible options: (.*)\)", r"(did you mean \1?)"),
    (r"^Option '(\S+)' requires", r"\1 requires"),
    (r"^Invalid value for '([^']+)'(?: / \S+)?: ", r"\1: "),
    (r"Input should be a valid integer.*", "it takes a whole number"),
    (r"Input should be a valid number.*", "it takes a number"),
    (r"Input should be (\w+ than)", r"it must be \1"),
)
"""Typer's sentences, and ours."""


def is_usage_error(error: Exception) -> bool:
    """Tell whether typer refused the command line; its classes are not public."""
    return hasattr(error, "format_message") and hasattr(error, "exit_code")


def usage_message(error: Any, words: Sequence[str]) -> str:
    """Return one line for what typer refused of these words, "" where it has shown its help."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        return ""
    message = " ".join(error.format_message().split()).rstrip(".")
    for pattern, ours in _RULES:
        message = re.sub(pattern, ours, message)
    # typer's error does not hold the value that was given.
    given = _given(getattr(error, "param", None), words)
    got = f" (got {given!r})" if given is not None else ""
    if context is None:
        return f"{message}{got}; megatron-music -h lists the commands"
    usage = " ".join(context.get_usage().split()).removeprefix("Usage: ")
    plain = re.sub(r"\{([^}|]+)\}", r"\1", usage)
    return f"{message}{got}; usage: {plain}, where -h lists the options"


def _given(param: Any, words: Sequence[str]) -> str | None:
    """Return what the words give an option, None where that is not seen."""
    for name in getattr(param, "opts", ()):
        for place, word in enumerate(words):
            if word == name and place + 1 < len(words):
                return words[place + 1]
            if name.startswith("--") and word.startswith(f"{name}="):
                return word.partition("=")[2]
    return None

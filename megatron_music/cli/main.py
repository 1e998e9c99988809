"""The `megatron-music` program: its commands, and how an error becomes one line, typer's too."""

import atexit
import errno
import gc
import os
import re
import sys
import traceback
from collections.abc import Sequence
from io import TextIOWrapper
from itertools import pairwise
from typing import Annotated, Any

import typer

from megatron_music import __version__
from megatron_music.cli import (
    data,
    doctor,
    evaluate,
    export,
    kernels,
    profile,
    render,
    sample,
    show,
    studio,
    tokens,
    train,
)
from megatron_music.errors import Interrupted, MusicError, UsageError, WriteError
from megatron_music.files import os_error_reason
from megatron_music.train.launcher import ignore_launcher

_NAME = "megatron-music"

app = typer.Typer(
    name=_NAME,
    help="MIDI in, Megatron-trained composer out.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# Commands that resume from what they have saved; of others Ctrl-C leaves nothing to resume.
_RESUMING = {"train", "data", "profile"}

INTERRUPTED = 130
"""The exit code shells give a program stopped by Ctrl-C."""


def _version(wanted: bool) -> None:
    if wanted:
        print(f"megatron-music {__version__}")
        raise typer.Exit


@app.callback()
def common(
    context: typer.Context,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug", help="Show the traceback of an error.", envvar="MEGATRON_MUSIC_DEBUG"
        ),
    ] = False,
    version: Annotated[  # noqa: ARG001  (its callback acts on it)
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """MIDI in, Megatron-trained composer out."""
    if debug:
        os.environ["MEGATRON_MUSIC_DEBUG"] = "1"
    # Pods of a training job have a launcher's variables in every shell: other commands must not
    # take them for ranks to wait for.
    if context.invoked_subcommand != "train":
        ignore_launcher()


app.command("doctor")(doctor.doctor)
app.command("compile")(kernels.compile_)
app.add_typer(data.app, name="data")
app.command("encode")(tokens.encode)
app.command("decode")(tokens.decode)
app.command("train")(train.train)
app.command("export")(export.export)
app.command("sample")(sample.sample)
app.command("compose", help="The same as sample.")(sample.sample)
app.command("evaluate")(evaluate.evaluate)
app.command("rank")(evaluate.rank)
app.command("render")(render.render)
app.command("studio")(studio.studio)
app.add_typer(profile.app, name="profile")


_OUT_OF_MEMORY = "out of memory; ask for less (a smaller model or batch), or take a larger machine"


def run(program: typer.Typer = app) -> None:
    """Run the program; report every error as one line on stderr and an exit code."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # file names may be invalid UTF-8
    atexit.register(gc.freeze)  # else collecting torch's objects takes seconds at exit
    try:
        _refuse_empty(sys.argv[1:])
        # Not standalone: typer would print its errors in its own way and exit.
        code = program(prog_name=_NAME, standalone_mode=False)
        if code == INTERRUPTED:  # what typer makes of Ctrl-C
            resumes = _RESUMING.intersection(sys.argv[1:2])
            show.log(
                "interrupted" + "; the same command resumes from what is saved" * bool(resumes)
            )
        sys.exit(code if isinstance(code, int) else 0)
    except Interrupted as stopped:
        show.log(str(stopped))
        sys.exit(stopped.exit_code)
    except MusicError as error:
        _fail(str(error), error.exit_code)
    except BrokenPipeError:
        # The reader of the pipe has gone, as with `| head`: Python would raise again when it
        # flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        cure = "make room" if error.errno == errno.ENOSPC else "check the path"
        _fail(f"{place}{os_error_reason(error)}; {cure}", WriteError.exit_code)
    except Exception as error:
        # By its attributes: the classes of typer's errors are not public.
        if is_usage_error(error):
            message = usage_message(error, sys.argv[1:])
            if message:
                _fail(message, UsageError.exit_code)
            sys.exit(UsageError.exit_code)
        unforeseen = (
            "this is a fault of the program, not of yours; please report it and "
            f"attach {_written(error)}, which says what happened and where"
        )
        # torch has no error of its own for it on a CPU: the text tells.
        texts = ("out of memory", "allocate memory")
        lacks_memory = isinstance(error, MemoryError) or any(one in str(error) for one in texts)
        _fail(_OUT_OF_MEMORY if lacks_memory else unforeseen, 1)


def _refuse_empty(words: list[str]) -> None:
    """Refuse empty arguments, as of unset variables: an empty path means the current folder."""
    for before, word in pairwise(["", *words]):
        if not word or (word.startswith("--") and word.endswith("=")):
            where = f"after {before!r}" if not word and before else repr(word)
            raise UsageError(f"an empty argument ({where}); give it a value, or leave it out")


def _written(error: Exception) -> str:
    """Write a traceback into a file and return its name."""
    from tempfile import NamedTemporaryFile

    try:
        with NamedTemporaryFile(
            "w", prefix="megatron-music-", suffix=".txt", delete=False, errors="backslashreplace"
        ) as file:
            traceback.print_exception(error, file=file)
    except OSError:
        return "what --debug shows"
    return file.name


def _fail(message: str, exit_code: int) -> None:
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

"""Format typer's errors of a command line as one line: the fault, and where to find help."""

import re
from collections.abc import Sequence
from typing import Any

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

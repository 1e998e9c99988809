"""Commands whose options are the fields of a dataclass."""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

Options = TypeVar("Options")


def command_of(
    options: type[Options],
) -> Callable[[Callable[[Options], None]], Callable[..., None]]:
    """Make a command of a function that takes one dataclass: typer reads its fields as options."""

    def decorate(function: Callable[[Options], None]) -> Callable[..., None]:
        def command(**values: Any) -> None:
            function(options(**values))

        command.__name__, command.__doc__ = function.__name__, function.__doc__
        command.__module__ = function.__module__
        # typer reads the parameters of a command from its signature.
        command.__signature__ = inspect.signature(options)  # type: ignore[attr-defined]
        return command

    return decorate

"""Checks of arguments against their annotations: a mistake in Python is one line that says which.

Without them a value of a wrong type would end in an error of whatever meets it first. pydantic,
which checks recipes, takes neither numpy's numbers as `int` nor annotations of arrays.
"""

import inspect
import os
import reprlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache, wraps
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from megatron_music.config import did_you_mean
from megatron_music.errors import UsageError

P = ParamSpec("P")
R = TypeVar("R")

# What is accepted for a type, and its name in the singular and plural.
_KINDS: dict[Any, tuple[Any, str, str]] = {
    bool: ((bool, np.bool_), "True or False", "booleans"),
    int: (Integral, "a whole number", "whole numbers"),
    float: (Real, "a number", "numbers"),
    str: (str, "text", "texts"),
    Path: (os.PathLike, "a path", "paths"),
    NoneType: (NoneType, "None", ""),
    Any: (object, "anything", ""),
}


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function refuse arguments of other types than its annotations, with UsageError."""
    signature = inspect.signature(function)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            check_type(name, value, signature.parameters[name].annotation)
        return function(*args, **kwargs)

    return call


def check_fields(kind: type, given: Mapping[str, Any]) -> None:
    """Check arguments against the fields of a dataclass; raises UsageError for a wrong one."""
    hints = _hints(kind)
    for name, value in given.items():
        if name not in hints:
            raise UsageError(f"there is no argument `{name}`{did_you_mean(name, list(hints))}")
        check_type(name, value, hints[name])


def check_type(name: str, value: Any, hint: Any) -> None:
    """Raise UsageError where an argument is not of the type that it is annotated with."""
    if not _fits(value, hint):
        # `reprlib` cuts short what is long, such as a list of tokens.
        raise UsageError(f"`{name}` must be {_words(hint)} (got {reprlib.repr(value)})")


_hints = cache(get_type_hints)


def _fits(value: Any, hint: Any) -> bool:
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, one) for one in get_args(hint))
    if get_origin(hint) is np.ndarray:  # of token ids; torch's tensors are taken as well
        array = np.asarray(value) if hasattr(value, "__array__") else np.empty(0)
        return array.ndim == 1 and array.dtype.kind in "iu"
    if get_origin(hint) in (tuple, Sequence):
        kind = _KINDS[get_args(hint)[0]][0]
        items = isinstance(value, Sequence | np.ndarray) and not isinstance(value, str | bytes)
        return items and all(isinstance(one, kind) for one in value)
    return isinstance(value, _KINDS[hint][0] if hint in _KINDS else hint)


def _words(hint: Any) -> str:
    """Return what a value has to be, as "a whole number or None"."""
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(map(_words, get_args(hint)))
    if get_origin(hint) is np.ndarray:
        return "an array of them"
    if get_origin(hint) in (tuple, Sequence):
        return f"a list of {_KINDS[get_args(hint)[0]][2]}"
    return _KINDS[hint][1] if hint in _KINDS else f"a {hint.__name__}"

"""Restricted unpickling: nothing in a checkpoint is run.

A pickle calls what it names, and torch loads the pickles of distributed checkpoints without any
check: `.metadata` with `pickle.load`, small objects with `torch.load(weights_only=False)`,
Transformer Engine's extra states with `pickle.loads`. Mirrors "Restricting Globals" of Python's
pickle.
"""

import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass
from enum import Enum, EnumType
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

_FORCED, _FORBIDDEN = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
_RECORDS = "torch.distributed.checkpoint."
_NAMED = {
    ("collections", "OrderedDict"),
    ("pathlib", "PosixPath"),
    ("pathlib._local", "PosixPath"),  # Python 3.13's
    ("torch", "Size"),
    ("torch.serialization", "_get_layout"),
}


@contextmanager
def restricted_unpickling(step: Path) -> Iterator[None]:
    """Let what is loaded from a checkpoint in the block be data, nothing that runs.

    What `step` pickles is read once before: it may name torch's records of a checkpoint alone.
    Raises UnpicklingError, or what garbage makes `pickle` raise.
    """
    # torch reads this file with plain `pickle.load`, which no setting restricts: so it is read with
    # our own unpickler first, and refused before torch sees it.
    for path in step.glob("*.metadata"):
        with path.open("rb") as file:
            _DataUnpickler(file).load()
    before = {name: os.environ.pop(name, None) for name in (_FORCED, _FORBIDDEN)}
    os.environ[_FORCED] = "1"
    try:
        yield
    finally:
        del os.environ[_FORCED]
        os.environ.update({name: value for name, value in before.items() if value is not None})


def without_pickles(state: dict[str, Any]) -> dict[str, Any]:
    """Return the state of a model without the pickled extra states; those of no use stay."""
    found = dict(state)
    for key, value in state.items():
        is_filled = isinstance(value, torch.Tensor) and value.numel() > 0
        if key.endswith("_extra_state") and is_filled:
            found[key] = None
    return found


class _DataUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return what a pickle names, if it is one of torch's records."""
        if (
            (module, name) in _NAMED
            or _is_record(module, name)
            or (module == "torch" and isinstance(getattr(torch, name, None), torch.dtype))
        ):
            return super().find_class(module, name)
        if (module, name) == ("builtins", "getattr"):
            return _EnumMember()
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is not part of a checkpoint")


class _EnumMember:
    """`getattr` as Python 3.11.0 to 3.11.3 (Debian 12's too) pickle an enum: `getattr(cls, name)`.

    Not a function, which would bind to what it is set on: torch's unpickler calls the built-in,
    and both must behave the same.
    """

    __slots__ = ()

    def __call__(self, cls: Any, name: str) -> Enum:
        """Return a member of an allowed enum; raises UnpicklingError for any other attribute."""
        if isinstance(cls, EnumType) and _is_record(cls.__module__, cls.__name__):
            member = getattr(cls, name, None)
            if type(member) is cls:
                return member
        raise pickle.UnpicklingError(f"it names {name!r}, which is not a member of an enum")


def _is_record(module: str, name: str) -> bool:
    if not module.startswith(_RECORDS):
        return False
    found = getattr(import_module(module), name, None)
    is_own = getattr(found, "__module__", None) == module
    return is_own and (is_dataclass(found) or isinstance(found, EnumType))

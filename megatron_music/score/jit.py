"""Functions compiled by numba: the one place where it is imported.

Importing this module takes half a second, so only the kernels do, and they only when first used.
"""

import fcntl
import sys
import time
from collections.abc import Callable
from functools import cache
from multiprocessing import current_process
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
import xxhash
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import types
from numba.core.event import Listener, RecordingListener, install_listener, register
from numba.extending import intrinsic

_Function = TypeVar("_Function", bound=Callable[..., Any])

MADE_FROM = (
    "**/*_kernel.py",
    "score/jit.py",
    "score/hashing.py",
    "score/instruments.py",
    "score/metre.py",
    "score/midi_columns.py",
    "score/notes.py",
    "score/tempo.py",
    "score/words.py",
    "tokenizer/document_columns.py",
    "tokenizer/encode_setup.py",
    "tokenizer/token_kinds.py",
    "tokenizer/infill_template.py",
    "tokenizer/structure.py",
    "tokenizer/vocabulary.py",
    "tokenizer/window_draw.py",
    "tokenizer/grammar_state.py",
    "generate/sampling_params.py",
)
"""The files with kernels, and those whose constants are compiled into them."""

COMPILING = "compiling {}, once after an installation or update: about ten seconds"
LONG_S = 1.0
"""Compiling that takes longer is reported: each command needs other kernels."""


def kernel(function: _Function) -> _Function:
    """Compile a function when it is first called; the machine code is kept on disk.

    A kernel takes machine integers and numpy arrays. Nothing checks its indices but the kernel
    itself: an index out of bounds reads or writes other memory.
    """
    return _compile(function)


def borrowing_kernel(function: _Function) -> _Function:
    """Do as `kernel` for a function that makes no arrays: it only borrows those of its caller.

    A tuple of ten arrays costs some hundred nanoseconds a call where their references are counted.
    """
    return _compile(function, _nrt=False)


def inlined(function: _Function) -> _Function:
    """Compile a short function into the kernels that call it, in place of the calls.

    A call that takes arrays counts references to them, atomically, and passes on all that a tuple
    of arrays holds: more than a few lines cost.
    """
    return _compile(function, inline="always")


def _compile(function: _Function, **options: Any) -> _Function:
    compiled: Any = numba.njit(function, nogil=True, error_model="numpy", **options)
    try:
        compiled.enable_caching()
        kept = compiled._cache._cache_file  # noqa: SLF001 (numba looks at one source file alone)
        kept._source_stamp = _sources()  # noqa: SLF001
        # Of an index numba reads the version first, then records by name: those of an older version
        # of ours may be gone.
        kept._version = f"{numba.__version__} {_sources()}"  # noqa: SLF001
        kept.save = _one_at_a_time(kept.save, Path(kept._cache_path))  # noqa: SLF001
    except (RuntimeError, AttributeError):  # nowhere to keep it, or another numba
        compiled = numba.njit(function, nogil=True, error_model="numpy", **options)
    called = compiled.get_call_template

    def template(arguments: Any, keywords: Any) -> Any:
        return called(tuple(map(types.unliteral, arguments)), keywords)

    compiled.get_call_template = template  # else it is compiled anew for each constant given to it
    return cast(_Function, compiled)


def _one_at_a_time(save: Callable[..., None], folder: Path) -> Callable[..., None]:
    """Let one process at a time add machine code; else one index would overwrite the other."""

    def saved(*arguments: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "kernels.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            save(*arguments)

    return saved


@cache
def _sources() -> str:
    """Return a hash of all that kernels are made from: they call one another.

    Of the text, not of the times of the files: a copy of a working tree keeps its kernels.
    """
    package = Path(__file__).parents[1]
    paths = sorted(path for name in MADE_FROM for path in package.glob(name))
    digest = xxhash.xxh3_128()
    for path in paths:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


class _Remark(Listener):
    """Says once what is being compiled: it takes seconds that nothing else explains."""

    def __init__(self) -> None:
        self._has_remarked = False
        self._depth, self._began_s, self._name = 0, 0.0, ""

    def on_start(self, event: Any) -> None:
        """Remark on a long compilation, in place of a live line of progress: kernels nest."""
        if not self._depth:
            self._began_s = time.monotonic()
            self._name = event.data["dispatcher"].py_func.__name__
        self._depth += 1
        # All workers of a pool compile the same: the first one reports it for all.
        reports = current_process().name in ("MainProcess", "ForkServerProcess-1")
        is_long = time.monotonic() - self._began_s >= LONG_S
        if reports and is_long and not self._has_remarked:
            self._has_remarked = True
            clear = "\r\x1b[2K" if sys.stderr.isatty() else ""
            print(clear + COMPILING.format(self._name), file=sys.stderr, flush=True)

    def on_end(self, event: Any) -> None:  # noqa: ARG002 (whichever function it was)
        """Return to the kernel that needed this one."""
        self._depth -= 1


register("numba:compile", _Remark())  # type: ignore[no-untyped-call]


def count_compiled(work: Callable[[], object]) -> int:
    """Do some work; return the number of functions that it had to compile."""
    with install_listener("numba:compile", RecordingListener()) as recorded:  # type: ignore[no-untyped-call]
        work()
    return sum(event.is_start for _, event in recorded.buffer)


@intrinsic
def _count_trailing_zeros(_context: Any, _value: Any) -> Any:
    def build(_backend: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), build


@kernel
def lowest_bit(bits: int) -> int:
    """Return the index of the lowest bit set in an unsigned 64-bit word that is not 0."""
    found: int = _count_trailing_zeros(bits)  # type: ignore[call-arg] # the context is numba's
    return found


@kernel
def wide(number: Any) -> int:
    """Return a cell of an array as a signed integer of 64 bits, which kernels calculate with."""
    return np.int64(number)  # type: ignore[return-value] # an int to Python's eye

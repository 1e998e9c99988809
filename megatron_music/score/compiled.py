"""Functions compiled by numba: the one place where it is imported.

Importing this module takes half a second, so only the kernels do, and they only when first used.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import types
from numba.extending import intrinsic

_Function = TypeVar("_Function", bound=Callable[..., Any])


def kernel(function: _Function) -> _Function:
    """Compile a function when it is first called; the machine code is kept on disk.

    What a kernel accepts is machine integers and numpy arrays. It knows no bounds: every index is
    to be checked by the kernel itself.
    """
    try:
        return cast(_Function, numba.njit(function, cache=True, nogil=True, error_model="numpy"))
    except RuntimeError:  # nowhere to keep it: neither beside the source nor in the home folder
        return cast(_Function, numba.njit(function, nogil=True, error_model="numpy"))


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
    """Return a cell of an array as an integer of 64 bits, signed: what kernels reckon in."""
    return np.int64(number)  # type: ignore[return-value] # an int to Python's eye

"""Imported by the process that workers are forked from, where there are many files to encode.

Kernels load the rest of numba when they are first called. It looks whether scipy could multiply
matrices, which no kernel does, for a fifth of the time.
"""

import sys
from typing import Any

from megatron_music.data import together
from megatron_music.data.garbage import uncollected

modules: dict[str, Any] = sys.modules
modules["scipy"] = None
with uncollected(for_good=True):
    together.load_kernels()
del modules["scipy"]

"""Imported by the process that workers are forked from, where there are many files to encode.

Kernels load the rest of numba when they are first called. It looks whether scipy could multiply
matrices and cffi call what is written in C, which no kernel does, for a quarter of the time.
"""

import sys
from typing import Any

from megatron_music.data import together
from megatron_music.data.garbage import uncollected

modules: dict[str, Any] = sys.modules
not_needed = {"scipy", "cffi"} - modules.keys()
modules.update(dict.fromkeys(not_needed))
with uncollected(for_good=True):
    together.load_kernels()
for name in not_needed:
    del modules[name]

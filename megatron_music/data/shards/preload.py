"""Load what all workers need, in the process that they are forked from."""

import sys
from multiprocessing import spawn
from typing import Any

from megatron_music.data.workers.limits import uncollected

modules: dict[str, Any] = sys.modules

# The garbage collector never writes to frozen objects, so forked processes share their memory.
with uncollected(for_good=True):
    from megatron_music.data.shards import density_kernel, encode_midi, make
    from megatron_music.data.sources import folder

    # numba would load scipy for products of matrices, which no kernel has: a fifth of the time.
    modules["scipy"] = None
    encode_midi.load_kernels()
    del modules["scipy"]

del density_kernel, encode_midi, folder, make


def _nothing(*_: object) -> None:
    """Do nothing."""


# Forked processes do not run the main module again, which none of their functions is from: a script
# without `if __name__ == "__main__"` would start all over.
spawn._fixup_main_from_name = spawn._fixup_main_from_path = _nothing  # type: ignore[attr-defined] # noqa: SLF001

# From here on it tells of one thing: a process that was asked for by one that has ended meanwhile.
sys.excepthook = _nothing

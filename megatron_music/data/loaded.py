"""Imported by the process that workers are forked from: it loads what all of them need."""

import sys

from megatron_music.data.forked import stand_in
from megatron_music.data.garbage import uncollected

# Frozen, nothing writes to it: forked processes go on sharing it. And numba looks whether scipy
# could multiply matrices, which no kernel does, for a fifth of the time.
with uncollected(for_good=True), stand_in("scipy", None):
    from megatron_music.data import join_kernel, shards, together

    # Kernels load the rest of numba when they are first called.
    together.load_kernels()

del join_kernel, shards, together

# From here on it tells of one thing: a process that was asked for by one that has ended meanwhile.
sys.excepthook = lambda *_: None

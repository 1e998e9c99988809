"""OpenMP settings, made before torch is loaded."""

import os

SPINS = 1_000


def set_omp_wait_policy() -> None:
    """Have waiting OpenMP threads sleep soon; call it before torch is loaded.

    Threads that only spin make everything wait for the one that lost its core to another process;
    threads that sleep at once are woken late, and often on a core that is taken. Tokens/s of
    `tiny` in bf16 on two cores, alone and with one busy neighbour:

        spinning    36,800   9,000 to 14,000
        1,000 turns 34,800  16,500
        asleep      22,300  21,300

    GOMP_SPINCOUNT is read by GNU's OpenMP, which torch's wheels for Linux bring; any other keeps to
    the standard's policy. Variables that are set already are kept.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "passive"
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))

"""How threads wait for each other."""

import os


def wait_asleep() -> None:
    """Have OpenMP's threads sleep while they wait; to be called before torch is loaded.

    Spinning gains nothing here and, where any other process wants a core, makes everything wait
    for the thread that lost its own: with one busy neighbour on two cores a training step took
    1.4 s spinning, 0.27 s sleeping and 0.16 s, either way, without the neighbour.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")

"""How long training takes on this machine's processor: from FLOPs and a measured rate."""

import time

import numpy as np

from megatron_music.config import Recipe
from megatron_music.costs.flops import model_causal, recipe_shape

SHARE = 0.4
"""Of the rate of a plain matrix product: what training reaches, as `tiny` does on two cores."""

HOUR_S, DAY_S = 3_600, 86_400
_SIZE, _TRIES = 1_024, 5


def cpu_flops_per_s() -> float:
    """Return the FLOPs a second of training in fp32 here; takes a fraction of a second."""
    matrix = np.full((_SIZE, _SIZE), 0.5, np.float32)
    matrix @ matrix  # starts the threads
    best_s = np.inf
    for _ in range(_TRIES):
        began_s = time.perf_counter()
        matrix @ matrix
        best_s = min(best_s, time.perf_counter() - began_s)
    return SHARE * 2 * _SIZE**3 / best_s


def cpu_iteration_s(recipe: Recipe, vocabulary_size: int, flops_per_s: float) -> float:
    """Return the seconds of an iteration, of all processes on this machine together."""
    return model_causal(recipe_shape(recipe, vocabulary_size)) / flops_per_s

"""The parameters of sampling tokens."""

from typing import NamedTuple

MOST_GUIDANCE = 10
"""Beyond it hardly anything but the likeliest token is drawn."""


class SamplingParams(NamedTuple):
    """The figures of a request that the choice of a token goes by, as the kernels take them."""

    temperature: float
    top_k: int
    top_p: float
    min_p: float

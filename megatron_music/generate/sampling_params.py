"""The parameters of sampling tokens."""

from typing import NamedTuple

USUAL_MIN_P = 0.1
"""Of models whose folder names no other."""
MOST_STEERING = 10
"""Beyond it a model's own choice hardly counts."""


class SamplingParams(NamedTuple):
    """The figures of a request that the choice of a token goes by, as the kernels take them."""

    temperature: float
    top_k: int
    top_p: float
    min_p: float


class Steering(NamedTuple):
    """What is done to the model's choice among pitches; 0 does nothing.

    `guidance`: how much more structural inputs count than they were trained to.
    `parallel_penalty`: nats taken from a pitch that would move in parallel fifths or octaves with
    another voice.
    """

    guidance: float = 0.0
    parallel_penalty: float = 0.0


NO_STEERING = Steering()

"""The parameters of sampling tokens."""

from typing import NamedTuple

USUAL_MIN_P = 0.1
"""The `min_p` of models whose folder names no other."""
MOST_STEERING = 10
"""The largest guidance and penalty; beyond it the model's own choice hardly counts."""


class SamplingParams(NamedTuple):
    """The parameters by which a token is chosen, as the kernels take them."""

    temperature: float
    top_k: int
    top_p: float
    min_p: float


class Steering(NamedTuple):
    """Changes of the model's choice among pitches; 0 changes nothing.

    `guidance`: how much more structural inputs count than they were trained to.
    `parallel_penalty`: nats taken from a pitch that would move in parallel fifths or octaves with
    another voice.
    """

    guidance: float = 0.0
    parallel_penalty: float = 0.0


NO_STEERING = Steering()

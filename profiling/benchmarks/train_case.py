"""What is measured: a recipe in a precision, by each of the ways to train."""

from dataclasses import dataclass, field

from measure import Cost

from megatron_music.config import Recipe
from megatron_music.costs.flops import Shape

WARMUP = 5
"""Iterations before those that count."""

ENGINE = "megatron_music"
COMPILED = "plain torch, compiled"
WAYS = {
    ENGINE: ("train_run.py", "engine"),
    "Hugging Face's Trainer": ("train_run.py", "trainer"),
    "plain torch": ("train_plain.py",),
    COMPILED: ("train_plain.py", "--compile"),
}


@dataclass
class Case:
    """A recipe over a data set's vocabulary; `costs` by way and precision, the best of the rounds.

    A cost has `step_s`, the median seconds of an iteration, and the last `loss`; `missing` alone
    where a way could not be gone.
    """

    name: str
    recipe: Recipe
    shape: Shape
    costs: dict[tuple[str, str], Cost] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """Tokens an iteration."""
        return self.shape.global_batch_size * self.shape.seq_length

    def take(self, way: str, precision: str, cost: Cost) -> None:
        """Keep the cost if it is the best so far."""
        best = self.costs.get((way, precision), {})
        if cost.get("step_s", 1e9) <= best.get("step_s", 1e9):
            self.costs[way, precision] = cost

    def rate(self, way: str, precision: str) -> float:
        """Return tokens a second, 0 where it was not measured."""
        cost = self.costs.get((way, precision), {})
        return self.tokens / cost["step_s"] if "step_s" in cost else 0.0

    def best_peer(self, precision: str) -> float:
        """Return the tokens a second of the fastest of the others."""
        return max(self.rate(way, precision) for way in WAYS if way != ENGINE)

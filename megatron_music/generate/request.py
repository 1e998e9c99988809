"""What to compose: one request, the same names in Python and on the command line."""

from dataclasses import dataclass

from megatron_music.errors import UsageError
from megatron_music.score.instruments import parse_instrument
from megatron_music.tokenizer.grammar import Plan
from megatron_music.tokenizer.vocabulary import Vocabulary


@dataclass(frozen=True)
class Request:
    """A wish for `count` songs; None leaves a choice to the model or to its training data.

    Song i is made from seed `seed + i` alone, so that each can be had again by its number; other
    batches can change a song only where their rounding tips a choice between near equals. Raises
    UsageError for a value out of range.
    """

    count: int = 1
    seed: int = 7
    bars: int | None = None
    instruments: tuple[str, ...] | None = None
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 0.95
    tempo_bpm: float = 100.0

    def __post_init__(self) -> None:
        """Check every figure against its range."""
        _within("count", self.count, 1, 100_000, "ask for one song or more")
        _within("seed", self.seed, 0, 2**62, "use a whole number from 0")
        if self.bars is not None:
            _within("bars", self.bars, 1, 1000, "4, 8 and 16 are usual")
        if not 0 < self.temperature <= 100:
            raise UsageError(
                f"temperature must be in (0, 100] (got {self.temperature}); 1.0 changes nothing"
            )
        _within("top_k", self.top_k, 0, 1_000_000, "use 0 to disable")
        if not 0 < self.top_p <= 1:
            raise UsageError(f"top_p must be in (0, 1] (got {self.top_p}); use 1.0 to disable")
        _within("tempo", self.tempo_bpm, 10, 400, "quarter notes a minute")
        for name in self.instruments or ():
            parse_instrument(name)

    def plan(self, vocabulary: Vocabulary, max_tokens: int) -> Plan:
        """Return each song's hard constraints; the training data decides what is left open."""
        names = self.instruments or vocabulary.settings.ensemble or None
        codes = None if names is None else tuple(parse_instrument(name) for name in names)
        bars = self.bars or vocabulary.settings.bars
        return Plan(bars, codes, max_tokens, single_voices=True)


def _within(name: str, value: float, low: int, high: int, hint: str) -> None:
    if not low <= value <= high:
        raise UsageError(f"{name} must be {low}..{high} (got {value}); {hint}")

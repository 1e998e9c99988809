"""The request for songs of words; its fields are the options of `sample`."""

from dataclasses import dataclass

from megatron_music.errors import UsageError
from megatron_music.generate.sampling_params import SamplingParams
from megatron_music.generate.song_request import Request

MOST_TOKENS = 1 << 16


@dataclass(frozen=True)
class TextRequest:
    """A request for `count` songs that begin with `prompt`.

    Song i depends on seed `seed + i` alone. `song_ids` are seeds too, one for each song; with them
    the model computes in fp64, so that an id gives the same song on every machine. The model
    chooses an artist or a title that is not given. A song has at most `max_tokens` tokens.
    Raises UsageError for a value out of range.
    """

    count: int = 1
    seed: int = 7
    song_ids: tuple[int, ...] = ()
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 0.95
    min_p: float = 0.1
    prompt: str = ""
    artist: str = ""
    title: str = ""
    max_tokens: int = 1024

    def __post_init__(self) -> None:
        """Check the numbers: a request for music has the same limits."""
        Request(
            count=self.count,
            seed=self.seed,
            song_ids=self.song_ids,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
        )
        if not 1 <= self.max_tokens <= MOST_TOKENS:
            raise UsageError(f"max tokens must be 1..{MOST_TOKENS} (got {self.max_tokens})")

    @property
    def seeds(self) -> list[int]:
        """The seeds of the songs."""
        return list(self.song_ids) or list(range(self.seed, self.seed + self.count))

    @property
    def exact(self) -> bool:
        """Whether the model computes in fp64."""
        return bool(self.song_ids)

    @property
    def sampling(self) -> SamplingParams:
        """The parameters with which tokens are drawn."""
        return SamplingParams(self.temperature, self.top_k, self.top_p, self.min_p)

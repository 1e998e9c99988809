"""A request for words, with the same names in Python and on the command line."""

from dataclasses import dataclass

from megatron_music.errors import UsageError
from megatron_music.generate.request import Request
from megatron_music.generate.sampling_params import SamplingParams

MOST_TOKENS = 1 << 16


@dataclass(frozen=True)
class TextRequest:
    """A request for the words of `count` songs, each beginning with `prompt`.

    Song i is made from seed `seed + i` alone. With `song_ids` those are the seeds, one song each,
    and the model computes in fp64, so that a number means the same song everywhere. An artist or a
    title that is not given is the model's choice. A song ends by itself, or after `max_tokens`.
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
        """Check the numbers as those of a request for music."""
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
        """The seed of each song."""
        return list(self.song_ids) or list(range(self.seed, self.seed + self.count))

    @property
    def exact(self) -> bool:
        """Whether the model computes in fp64."""
        return bool(self.song_ids)

    @property
    def sampling(self) -> SamplingParams:
        """The parameters of sampling."""
        return SamplingParams(self.temperature, self.top_k, self.top_p, self.min_p)

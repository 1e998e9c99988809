"""Any request gives valid songs, as asked, or is refused in words; from weights of random numbers.

MEGATRON_MUSIC_REQUESTS=10000 pytest --timeout 0 tests/generate/test_random_requests.py
"""

import os
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from megatron_music.errors import UsageError
from megatron_music.generate.composer import Composer
from megatron_music.generate.harmonise import kept_voice
from megatron_music.generate.prompt import Prompt
from megatron_music.generate.sampler import Constraint, TokenSampler, Watch
from megatron_music.generate.sampling_kernel import sample_tokens, song_seeds
from megatron_music.generate.sampling_params import SamplingParams
from megatron_music.generate.song import Song
from megatron_music.generate.song_request import Request
from megatron_music.score.general_midi import find_instrument, instrument_title
from megatron_music.score.instruments import VOICES, parse_instrument
from megatron_music.score.notes import Piece
from megatron_music.tokenizer.grammar import check
from megatron_music.tokenizer.structure import PlaceArray
from megatron_music.tokenizer.vocabulary import TokenizerSettings
from tests.generate.conftest import CHORALE, untrained
from tests.music import bars_not_full, names

REQUESTS = int(os.environ.get("MEGATRON_MUSIC_REQUESTS", "120"))
NAMES = [*map(str, range(1, 129)), "DRUMS", *CHORALE]
SETTINGS = (
    TokenizerSettings(bars=4, ensemble=CHORALE),
    TokenizerSettings(12, density=False, bars=2),
    TokenizerSettings(bars=4, attributes=("GENRE=JAZZ", "GENRE=ROCK"), fill=True),
)


class Noise(TokenSampler):
    """Scores of random numbers in place of a model's: every token as likely as any other."""

    def __init__(self, composer: Composer, sampling: SamplingParams) -> None:
        super().__init__(composer.model, composer.vocabulary, sampling)
        self.vocabulary, self.sampling = composer.vocabulary, sampling

    def draw(
        self,
        constraint: Constraint,
        seeds: Sequence[int],
        stage: int = 0,
        places: PlaceArray | None = None,  # noqa: ARG002 (noise hears nothing)
        first_bar: int = 0,  # noqa: ARG002
    ) -> list[list[int]]:
        rng = np.random.default_rng([stage, *seeds])
        shape = (len(seeds), len(self.vocabulary))
        masks, chosen = np.zeros(shape, np.bool_), np.zeros(len(seeds), np.int64)
        words, rows = song_seeds(list(seeds), stage), [list[int]() for _ in seeds]
        for step in range(self.max_tokens):
            constraint.mark(masks)
            scores = np.where(masks, rng.normal(0, 4, shape), -np.inf)
            sample_tokens(
                scores,
                words,
                step,
                self.sampling,
                self.vocabulary.kinds,
                self.vocabulary.duration_kind,
                chosen,
            )
            constraint.take(chosen[:, None])
            for row, token in zip(rows, chosen.tolist(), strict=True):
                row.append(token)
        end = self.vocabulary.piece_end
        return [row[: row.index(end) + 1] for row in rows]


class NoisyComposer(Composer):
    """A composer of noise."""

    def sampler(self, request: Request, watch: Watch | None = None) -> TokenSampler:  # noqa: ARG002
        return Noise(self, request.sampling)


@pytest.fixture(scope="module")
def composers(tmp_path_factory: pytest.TempPathFactory) -> list[NoisyComposer]:
    folder = tmp_path_factory.mktemp("noise")
    folders = [untrained(folder / str(i), settings) for i, settings in enumerate(SETTINGS)]
    return [NoisyComposer.load(one) for one in folders]


def wish(rng: np.random.Generator, vocabulary_bars: int, prompt: Piece | None) -> dict[str, object]:
    """Draw a wish; some cannot be met."""
    made: dict[str, object] = {
        "count": int(rng.integers(1, 4)),
        "seed": int(rng.integers(0, 2**40)),
        "temperature": float(np.exp(rng.uniform(np.log(0.05), np.log(100)))),
        "top_k": int(rng.choice([0, 1, 5, 50])),
        "top_p": float(rng.choice([1.0, 0.95, 0.5, 1e-6])),
        "min_p": float(rng.choice([0.0, 0.05, 1.0])),
        "full_bars": bool(rng.random() < 0.7),
    }
    if rng.random() < 0.5:
        names = rng.choice(NAMES, int(rng.integers(1, 6)))
        made["instruments"] = tuple(map(str, names))
    elif prompt is None and rng.random() < 0.3:
        made["tracks"] = int(rng.integers(1, 6))
    if rng.random() < 0.3:
        made["density"] = (str(rng.integers(0, 10)),)
    if prompt is None:
        made["bars"] = int(rng.integers(1, 3 * vocabulary_bars))
    elif (kind := rng.integers(0, 4)) == 0:
        made |= {"bars": prompt.bars + int(rng.integers(0, 8))}
        made |= {"prompt_bars": int(rng.integers(1, prompt.bars + 1))}
    else:
        made = {key: made[key] for key in made if key != "instruments"}
        if kind == 1:
            made["vary"] = float(rng.uniform(0.05, 1.0))
        elif kind == 2:
            made["voice"] = instrument_title(int(rng.choice([t.instrument for t in prompt.tracks])))
        else:
            bars = rng.integers(1, prompt.bars + 1, int(rng.integers(1, 4)))
            made["fill_bars"] = tuple(sorted({int(bar) for bar in bars}))
    return made


def hold(song: Song, request: Request, composer: Composer, prompt: Piece | None) -> None:
    """Hold a song to the grammar and to what was asked."""
    check(np.array(song.tokens), composer.vocabulary)
    piece = song.piece
    played = names(piece)
    if prompt is None:
        assert piece.bars == request.bars
        codes = request.codes(composer.vocabulary)
        assert codes is None or sorted(map(parse_instrument, played)) == sorted(codes)
        assert request.tracks in (None, len(played))
    elif request.fills:
        assert piece.bars == prompt.bars
        assert played == names(prompt)
    elif request.voice is not None:
        assert piece.bars == prompt.bars
        place, code = kept_voice(Prompt.of(prompt), request.voice, composer.vocabulary)
        assert replace(prompt.tracks[place], instrument=code) in piece.tracks
    else:
        assert piece.bars == request.bars
        held = {track.instrument for track in piece.tracks}
        assert set(map(find_instrument, request.instruments or ())) <= held
    if request.full_bars and not (request.fills or request.voice):
        kept = 0 if prompt is None else request.prompt_bars or prompt.bars
        for track in piece.tracks:
            rests = bars_not_full(track, piece)
            assert track.instrument not in VOICES or all(bar < kept for bar in rests)


def test_random_requests_give_valid_songs_or_are_refused(composers: list[NoisyComposer]) -> None:
    rng = np.random.default_rng(2026)
    prompts: list[Piece | None] = [None] * len(composers)
    songs = refused = 0
    for _ in range(REQUESTS):
        which = int(rng.integers(0, len(composers)))
        composer, prompt = composers[which], prompts[which]
        prompt = prompt if rng.random() < 0.5 else None
        request = Request(**wish(rng, composer.vocabulary.settings.bars, prompt))  # type: ignore[arg-type]
        try:
            for song in composer.compose(request, prompt):
                hold(song, request, composer, prompt)
                prompts[which] = song.piece
                songs += 1
        except UsageError:
            refused += 1
    print(f"{REQUESTS} requests: {songs} valid songs, {refused} requests refused")
    assert songs > REQUESTS
    assert refused < REQUESTS / 3

"""What to compose: one request, the same names in Python, on the command line and in notebooks."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from megatron_music.arguments import check_fields
from megatron_music.errors import UsageError
from megatron_music.generate.lyrics import (
    LONGEST_UPBEAT,
    LaidWords,
    lay_words,
    syllables_of,
    usual_bars,
)
from megatron_music.generate.sampling_params import (
    MOST_STEERING,
    USUAL_MIN_P,
    SamplingParams,
    Steering,
)
from megatron_music.generate.song_key import parse_key
from megatron_music.score.dynamics import MARKS
from megatron_music.score.general_midi import find_instrument
from megatron_music.score.instruments import VOICES, instrument_name, parse_instrument
from megatron_music.score.metre import parse_metre
from megatron_music.score.midi_columns import US_PER_MINUTE
from megatron_music.score.tempo import nearest_tempi
from megatron_music.tokenizer.attributes import Blend, parse_blends
from megatron_music.tokenizer.vocabulary import DENSITY_LEVELS, VELOCITIES, Vocabulary

_SPAN = re.compile(r"([0-9]{1,4})(?:-([0-9]{1,4}))?")
_LEVELS = tuple(map(str, range(DENSITY_LEVELS)))

DYNAMICS = {name: MARKS[name] for name in ("pp", "p", "mp", "mf", "f", "ff")}
"""The velocities of dynamics."""
_DYNAMICS_WIDTH = 16
"""How much louder or softer single notes may be where dynamics are asked for."""

SONG_TEMPO_BPM = 100.0
"""Of a song from nothing, unless asked."""

USUAL_LANGUAGE = "en"
"""Of words that are given, unless asked."""

_OF_A_PIECE = ("prompt_bars", "drop", "fill_bars", "fill_tracks", "vary", "roles")
"""What is asked about a piece to begin from, `voice` aside."""


@dataclass(frozen=True)
class Request:
    """A request for `count` songs; None leaves a choice to the model or to its training data.

    With `best` only that many songs are kept, those that a critic ranks highest. `guidance` is how
    much more than trained structural inputs count in the choice of pitches, `parallel_penalty` are
    the nats taken from a pitch that would move in parallel fifths or octaves with another voice.
    For these two and `min_p` None means what the folder of the model says.

    Song i is made from seed `seed + i` alone. With `song_ids` those are the seeds, one song each,
    and the model computes in fp64, so that a number means the same song everywhere.

    With a piece to begin from: its first `prompt_bars` bars are kept (None: all), without the
    tracks in `drop`; `instruments` are added to it. `fill_bars` (from 1) and `fill_tracks`
    say what to compose anew, or `vary` which share of its bars, or `voice` which track alone is
    kept (as "SOPRANO", "Lead=SOPRANO" to take another as the soprano, or "" for the only one)
    while all others are composed around it; else it is continued to `bars`. Tracks are named as
    their file does, by their instruments, or as "track 2".

    `roles` are the instruments that its tracks are taken as, which its file does not get to know:
    "SOPRANO,ALTO" in order, or "Lead=SOPRANO". With `key` no note outside its scale begins in what
    is composed, drums apart.

    Instruments have General MIDI's names or its numbers from 1, DRUMS, or a voice's name.

    `density` holds "LEVEL" for all tracks or "INSTRUMENT=LEVEL", `attributes` labels as
    "GENRE=JAZZ" or blends as "COMPOSER=BACH:0.7,HAYDN:0.3"; families not named are unknown. With
    `full_bars` SOPRANO, ALTO, TENOR and BASS sing up to each barline of what is composed, as in
    chorales; without it they may fall silent before. None means with it, but without it where
    `end` is asked for. With `begin` the song begins like a piece, with `end` it ends like one, if
    the model knows the place in a piece. `dynamics` are pp to ff, of what is composed; or one
    velocity.

    `words` are a text to be sung, a line of it to some bars: a melody is composed to it, in
    syllables as its `language` is hyphenated; `upbeat` syllables of each line come before its first
    barline. With `sing` every note of a piece stays, and words
    are composed to its track `voice`. Raises UsageError for a value out of range.
    """

    count: int = 1
    seed: int = 7
    bars: int | None = None
    instruments: tuple[str, ...] | None = None
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 0.95
    tempo_bpm: float | None = None
    min_p: float | None = None
    guidance: float | None = None
    parallel_penalty: float | None = None
    tracks: int | None = None
    density: tuple[str, ...] = ()
    attributes: tuple[str, ...] | None = None
    song_ids: tuple[int, ...] = ()
    prompt_bars: int | None = None
    drop: tuple[str, ...] = ()
    fill_bars: tuple[int, ...] = ()
    fill_tracks: tuple[str, ...] = ()
    vary: float | None = None
    full_bars: bool | None = None
    begin: bool = False
    end: bool = False
    voice: str | None = None
    roles: tuple[str, ...] = ()
    key: str | None = None
    best: int | None = None
    metre: str | None = None
    dynamics: str | None = None
    words: str | None = None
    language: str | None = None
    upbeat: int = 0
    sing: bool = False

    def __post_init__(self) -> None:
        """Check every argument: its type, then its range."""
        check_fields(Request, vars(self))
        # All at once, before a model is loaded: a mistake should cost no minute.
        _within("`count`", self.count, 1, 100_000, "ask for one song or more")
        for name, number in (
            ("`seed`", self.seed),
            *(("`song_ids`", one) for one in self.song_ids),
        ):
            # Seeds are words of 64 bits, counted up from the first.
            _within(name, number, 0, 2**62, "use a whole number from 0")
        if self.best is not None:
            _within("`best`", self.best, 1, self.count, "the number of composed songs to keep")
        if len(set(self.song_ids)) != len(self.song_ids):
            raise UsageError(f"a song id is given twice (got {self.song_ids}); name each once")
        for name, value in (("`bars`", self.bars), ("`prompt_bars`", self.prompt_bars)):
            if value is not None:
                _within(name, value, 1, 1000, "4, 8 and 16 are usual")
        self._check_tracks()
        self._check_sampling()
        _within("`tempo_bpm`", self.tempo, 10, 400, "quarter notes a minute")
        if self.metre is not None:
            parse_metre(self.metre)
        if self.dynamics is not None:
            _velocities(self.dynamics)
        self._check_filling()
        self._check_words()
        if self.key is not None:
            parse_key(self.key)

    def _check_tracks(self) -> None:
        codes = [find_instrument(name) for name in self.instruments or ()]
        for voice in VOICES:
            if codes.count(voice) > 1:
                raise UsageError(
                    f"{instrument_name(voice)} is asked for {codes.count(voice)} times; a choir "
                    "has each voice once, other instruments may repeat"
                )
        self.levels()
        if self.tracks is None:
            return
        _within("`tracks`", self.tracks, 1, 64, "4 to 10 are usual")
        if self.instruments is not None and len(self.instruments) != self.tracks:
            raise UsageError(
                f"`tracks` is {self.tracks}, but {len(self.instruments)} instruments are given; "
                "leave one of the two out"
            )

    def _check_filling(self) -> None:
        if any(bar < 1 for bar in self.fill_bars):
            raise UsageError(
                f"`fill_bars` must be 1 or more (got {min(self.fill_bars)}); bars count from 1"
            )
        if self.vary is None:
            return
        if not 0 < self.vary <= 1:
            raise UsageError(
                f"`vary` must be in (0, 1] (got {self.vary}); 0.25 makes a quarter of the bars anew"
            )
        if self.fill_bars or self.fill_tracks:
            raise UsageError("`vary` chooses the bars itself; leave out either it or what to fill")

    def _check_words(self) -> None:
        if self.language is not None and self.words is None:
            raise UsageError("`language` is that of `words`; give both")
        if self.upbeat and self.words is None:
            raise UsageError("`upbeat` is that of the lines of `words`; give both")
        _within("`upbeat`", self.upbeat, 0, LONGEST_UPBEAT, "the syllables before a barline")
        if self.words is not None:
            if self.sing:
                raise UsageError("`sing` composes words, and `words` gives them; leave one out")
            _within("the bars of `words`", self.song_bars or 1, 1, 1000, "give fewer lines")
        if not self.sing:
            return
        others = ("bars", "instruments", "density", "dynamics", "key", *_OF_A_PIECE)
        for name in others:
            if name not in ("drop", "roles") and getattr(self, name):
                raise UsageError(f"`sing` keeps every note of the piece; leave `{name}` out")

    def _check_sampling(self) -> None:
        if not 0 < self.temperature <= 100:
            raise UsageError(
                f"`temperature` must be in (0, 100] (got {self.temperature}); 1.0 changes nothing"
            )
        _within("`top_k`", self.top_k, 0, 1_000_000, "use 0 to disable")
        if not 0 < self.top_p <= 1:
            raise UsageError(f"`top_p` must be in (0, 1] (got {self.top_p}); use 1.0 to disable")
        if self.min_p is not None and not 0 <= self.min_p <= 1:
            raise UsageError(f"`min_p` must be in [0, 1] (got {self.min_p}); use 0.0 to disable")
        for name in Steering._fields:
            if getattr(self, name) is not None:
                _within(f"`{name}`", getattr(self, name), 0, MOST_STEERING, "use 0.0 to disable")

    @property
    def tempo(self) -> float:
        """Quarter notes a minute of a song from nothing."""
        return SONG_TEMPO_BPM if self.tempo_bpm is None else self.tempo_bpm

    @property
    def has_full_bars(self) -> bool:
        """True where voices have to sing up to each barline."""
        # A piece often ends before its last barline, to be complete with its upbeat. A voice that
        # has to sing on leaves the last chord: 48 % of songs ended in a triad, without 64 %.
        return not self.end if self.full_bars is None else self.full_bars

    @property
    def sampling(self) -> SamplingParams:
        """The parameters of sampling, with the usual `min_p` where the request has none."""
        min_p = USUAL_MIN_P if self.min_p is None else float(self.min_p)
        return SamplingParams(float(self.temperature), self.top_k, float(self.top_p), min_p)

    @property
    def exact(self) -> bool:
        """True where the songs have to be the same on any machine."""
        return bool(self.song_ids)

    @property
    def seeds(self) -> list[int]:
        """One a song."""
        return list(self.song_ids) or list(range(self.seed, self.seed + self.count))

    @property
    def song_bars(self) -> int | None:
        """The bars asked for, or those that the given words have; None where that is open."""
        if self.bars is not None or self.words is None:
            return self.bars
        lines = syllables_of(self.words, self.language or USUAL_LANGUAGE)
        return usual_bars(lines, self.upbeat)

    @property
    def fills(self) -> bool:
        """True where bars of a piece are to be composed anew."""
        return bool(self.fill_bars or self.fill_tracks or self.vary)

    def refuse_without_piece(self) -> None:
        """Raise UsageError where a wish is about a piece to begin from."""
        # An empty `voice` counts: it means the only track.
        for name in (*_OF_A_PIECE, "voice", "sing"):
            value = getattr(self, name)
            if value or (name == "voice" and value is not None):
                raise UsageError(f"`{name}` needs a piece to begin from; give `prompt`")

    def refuse_with_piece(self) -> None:
        """Raise UsageError where a wish is about songs from nothing."""
        if self.tracks is not None:
            raise UsageError(
                f"`tracks` (got {self.tracks}) is for songs from nothing; a piece keeps its own, "
                "and `instruments` adds to them"
            )
        if self.metre is not None:
            raise UsageError(
                f"`metre` (got {self.metre}) is for songs from nothing; a piece keeps its own"
            )
        if self.words is not None:
            raise UsageError(
                "`words` is for songs from nothing; for words to a melody that is there give `sing`"
            )

    def given_words(self, bar_steps: int, steps_per_quarter: int) -> LaidWords:
        """Return the given syllables of each bar of `bar_steps` steps; raises UsageError."""
        lines = syllables_of(self.words or "", self.language or USUAL_LANGUAGE)
        return lay_words(lines, self.song_bars or 1, bar_steps, self.upbeat, steps_per_quarter)

    def refuse_unsung(self, vocabulary: Vocabulary) -> None:
        """Raise UsageError where words are asked of a model that has none."""
        for name in ("words", "sing"):
            if getattr(self, name) and not vocabulary.has_lyrics:
                raise UsageError(
                    f"this model was trained without words; leave `{name}` out, or train on data "
                    "built with --lyrics, such as bach-sung"
                )

    def codes(self, vocabulary: Vocabulary) -> tuple[int, ...] | None:
        """Return the instruments asked for, or those that all training music has."""
        ensemble = vocabulary.settings.ensemble if self.tracks is None else ()
        if self.instruments:
            return tuple(find_instrument(name) for name in self.instruments)
        return tuple(parse_instrument(name) for name in ensemble) or None

    def levels(self) -> tuple[dict[int, int], int | None]:
        """Return the densities asked for: by instrument, and for all others."""
        by_code: dict[int, int] = {}
        others: int | None = None
        for wish in self.density:
            name, _, level = wish.rpartition("=")
            if level not in _LEVELS:
                raise UsageError(
                    f"`density` must be 0..{DENSITY_LEVELS - 1} or INSTRUMENT=LEVEL "
                    f"(got {wish!r}); 0 is sparse, 9 is busy"
                )
            if name:
                by_code[find_instrument(name)] = int(level)
            else:
                others = int(level)
        return by_code, others

    def density_of(self, code: int, vocabulary: Vocabulary) -> int | None:
        """Return the density level requested of an instrument; raises UsageError without levels."""
        by_code, others = self.levels()
        if self.density and not vocabulary.settings.density:
            raise UsageError(
                "this model was trained without DENSITY tokens; leave `density` out, or train on "
                "data built with --density"
            )
        return by_code.get(code, others)

    def blends(self, vocabulary: Vocabulary) -> list[Blend]:
        """Return what is asked of each family of labels; raises UsageError for unknown ones."""
        return parse_blends(self.attributes or (), vocabulary)

    def metre_index(self, vocabulary: Vocabulary) -> int | None:
        """Return the place of the metre asked for among the vocabulary's; None if none is.

        Raises UsageError where the model has none or does not have this one.
        """
        if self.metre is None:
            return None
        metre = parse_metre(self.metre)
        if not vocabulary.has_metres and metre not in vocabulary.metres:
            raise UsageError(
                f"this model was trained on 4/4 alone; leave out `metre` (got {metre}), or train "
                "on data built with --metre any"
            )
        return vocabulary.metre_index(metre)

    def tempo_index(self, vocabulary: Vocabulary) -> int | None:
        """Return the index of the TEMPO token nearest to the requested tempo; None if none is."""
        if self.tempo_bpm is None or not vocabulary.has_tempos:
            return None
        return int(nearest_tempi([round(US_PER_MINUTE / self.tempo_bpm)])[0])

    def levels_of_velocity(self, vocabulary: Vocabulary) -> tuple[int, int] | None:
        """Return the lowest and the highest level of the dynamics asked for; None if none are.

        Raises UsageError where the model has no levels.
        """
        if self.dynamics is None:
            return None
        if not vocabulary.has_velocities:
            raise UsageError(
                f"this model was trained without VELOCITY tokens; leave out `dynamics` (got "
                f"{self.dynamics}), or train on data built with --velocity 8"
            )
        softest, loudest = vocabulary.levels_of(np.array(_velocities(self.dynamics))).tolist()
        return softest, loudest

    def attribute_ids(self, vocabulary: Vocabulary) -> tuple[int, ...] | None:
        """Return the ids of the labels that songs begin with, ascending; None for any."""
        ids = sorted(blend.token for blend in self.blends(vocabulary))
        return tuple(ids) if ids or self.attributes is not None else None

    def attribute_words(self, vocabulary: Vocabulary) -> list[str]:
        """Return the labels that songs begin with, such as "COMPOSER=BACH"."""
        return [vocabulary.tokens[token] for token in self.attribute_ids(vocabulary) or ()]


def request_of(options: Mapping[str, Any]) -> Request:
    """Return the request that options ask for, by name; raises UsageError for an unknown one."""
    check_fields(Request, options)
    return Request(**options)


def _velocities(dynamics: str) -> tuple[int, int]:
    """Return the lowest and the highest velocity of pp to ff, or twice a number; UsageError."""
    name = dynamics.strip().lower()
    if name in DYNAMICS:
        return DYNAMICS[name] - _DYNAMICS_WIDTH, min(
            DYNAMICS[name] + _DYNAMICS_WIDTH, VELOCITIES - 1
        )
    if not name.isascii() or not name.isdigit() or not 1 <= int(name) < VELOCITIES:
        raise UsageError(
            f"`dynamics` must be {', '.join(DYNAMICS)}, or a velocity of 1..{VELOCITIES - 1} "
            f"(got {dynamics!r})"
        )
    return int(name), int(name)


def parse_bars(text: str) -> tuple[int, ...]:
    """Read bars as "4-6,9", counted from 1; raises UsageError."""
    bars: set[int] = set()
    for part in text.split(","):
        span = _SPAN.fullmatch(part.strip())
        first, last = (int(span[1]), int(span[2] or span[1])) if span else (1, 0)
        if last < first:
            raise UsageError(f"bars must be given as 4, 4-6 or 4-6,9 (got {text!r})")
        bars.update(range(first, last + 1))
    return tuple(sorted(bars))


def _within(name: str, value: float, low: int, high: int, hint: str) -> None:
    if not low <= value <= high:
        raise UsageError(f"{name} must be {low}..{high} (got {value}); {hint}")

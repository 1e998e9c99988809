"""What to compose: one request, the same names in Python, on the command line and in notebooks."""

import re
from collections.abc import Collection, Mapping
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
"""The MIDI velocity of each dynamic mark."""
_DYNAMICS_WIDTH = 16
"""How far the velocity of single notes may be from that of the mark."""

SONG_TEMPO_BPM = 100.0
"""The tempo of a song from nothing where the request has none."""

USUAL_LANGUAGE = "en"
"""The language of `words` where the request names none."""

_NEED_A_PIECE = ("prompt_bars", "drop", "fill_bars", "fill_tracks", "vary", "roles")
"""Fields that have no meaning without a piece to begin from; `voice` and `sing` are others."""

_RANGES: dict[str, tuple[int, int, str]] = {
    "count": (1, 100_000, "ask for one song or more"),
    # Seeds are words of 64 bits, counted up from the first.
    "seed": (0, 2**62, "use a whole number from 0"),
    "song_ids": (0, 2**62, "use a whole number from 0"),
    "bars": (1, 1000, "4, 8 and 16 are usual"),
    "prompt_bars": (1, 1000, "4, 8 and 16 are usual"),
    "fill_bars": (1, 9999, "bars count from 1"),
    "tracks": (1, 64, "4 to 10 are usual"),
    "tempo_bpm": (10, 400, "quarter notes a minute"),
    "upbeat": (0, LONGEST_UPBEAT, "the syllables before a barline"),
    "top_k": (0, 1_000_000, "use 0 to disable"),
    "min_p": (0, 1, "use 0.0 to disable"),
    **dict.fromkeys(Steering._fields, (0, MOST_STEERING, "use 0.0 to disable")),
}
"""The lowest and the highest value of a field, or of each of its values, and a hint."""

_ABOVE_ZERO = {
    "temperature": (100, "1.0 changes nothing"),
    "top_p": (1, "use 1.0 to disable"),
    "vary": (1, "0.25 composes a quarter of the bars anew"),
}
"""The highest value of fields that must be above 0, and a hint."""


@dataclass(frozen=True)
class Request:
    """A request for `count` songs; None leaves a choice to the model or to its training data.

    Which songs:
    - `seed`: song i depends on seed `seed + i` alone. `song_ids`: these are the seeds, one for each
      song, and the model computes in fp64, so that an id gives the same song on every machine.
    - `best`: of `count` songs keep this many, those that a critic ranks highest.

    What is composed:
    - `bars`, `tracks`, `tempo_bpm`, `metre` ("3/4"), `key` ("F# minor"). With `key` all new notes
      begin in its scale, apart from drums.
    - `instruments`: names of General MIDI or its numbers from 1, DRUMS, or names of voices.
    - `density`: "LEVEL" for all tracks, or "INSTRUMENT=LEVEL".
    - `dynamics`: pp to ff, or one MIDI velocity, for new notes.
    - `attributes`: labels such as "GENRE=JAZZ", or blends such as "COMPOSER=BACH:0.7,HAYDN:0.3". A
      family that is not named is UNKNOWN.
    - `begin`, `end`: the song begins, or closes, as a whole piece does. The model must know the
      place in a piece.
    - `full_bars`: SOPRANO, ALTO, TENOR and BASS sing up to each barline, as in chorales; without
      it they may rest before the barline. None means True, unless `end` is given.
    - `words`: a text; a melody is composed to its syllables. `language` is the language of its
      hyphenation. The first `upbeat` syllables of each line come before the line's first barline.

    How it is sampled: `temperature`, `top_k`, `top_p`, `min_p`, and
    - `guidance`: the additional weight of structural inputs in the choice of pitches.
    - `parallel_penalty`: the nats taken from the logit of a pitch that makes parallel fifths or
      octaves with another voice.
    - For `min_p`, `guidance` and `parallel_penalty` None means the value in the model's folder.

    With a piece to begin from, whose tracks are named as in its file, by instrument, or "track 2":
    - `prompt_bars`: only the first bars are kept; None keeps all. The piece is continued to `bars`.
    - `drop`: tracks that are left out. `instruments`: tracks that are added.
    - `fill_bars` (from 1), `fill_tracks`: these are composed anew. `vary`: this share of the bars.
    - `voice`: the only track that is kept, while others are composed around it: "SOPRANO";
      "Lead=SOPRANO" to use another track as the soprano; or "" where the piece has one track.
    - `roles`: the instruments that the model takes the tracks for: "SOPRANO,ALTO" in order, or
      "Lead=SOPRANO". The song's file keeps the instruments of the piece.
    - `sing`: all notes are kept, and words are composed to the melody in track `voice`.

    Raises UsageError for a value of a wrong type or out of range.
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
        # All at once, before a model is loaded: a mistake should cost no minute.
        check_fields(Request, vars(self))
        self._check_ranges()
        if self.best is not None:
            hint = "the number of composed songs to keep"
            _check_range("`best`", self.best, 1, self.count, hint)
        if len(set(self.song_ids)) != len(self.song_ids):
            raise UsageError(f"a song id is given twice (got {self.song_ids}); name each once")
        self._check_tracks()
        self._check_words()
        if self.vary is not None and (self.fill_bars or self.fill_tracks):
            raise UsageError(
                "`vary` chooses the bars itself; leave it out, or `fill_bars` and `fill_tracks`"
            )
        for text, parse in (
            (self.metre, parse_metre),
            (self.dynamics, _velocities),
            (self.key, parse_key),
        ):
            if text is not None:
                parse(text)

    def _check_ranges(self) -> None:
        for name, (low, high, hint) in _RANGES.items():
            value = getattr(self, name)
            for one in value if isinstance(value, Collection) else (value,):
                if one is not None:
                    _check_range(f"`{name}`", one, low, high, hint)
        for name, (high, hint) in _ABOVE_ZERO.items():
            value = getattr(self, name)
            if value is not None and not 0 < value <= high:
                raise UsageError(f"`{name}` must be in (0, {high}] (got {value}); {hint}")

    def _check_tracks(self) -> None:
        codes = [find_instrument(name) for name in self.instruments or ()]
        for voice in VOICES:
            if codes.count(voice) > 1:
                raise UsageError(
                    f"{instrument_name(voice)} is asked for {codes.count(voice)} times; a choir "
                    "has each voice once, other instruments may repeat"
                )
        self.levels()
        if None not in (self.tracks, self.instruments) and len(codes) != self.tracks:
            raise UsageError(
                f"`tracks` is {self.tracks}, but {len(codes)} instruments are given; "
                "leave one of the two out"
            )

    def _check_words(self) -> None:
        if self.words is None:
            for name in ("language", "upbeat"):
                if getattr(self, name):
                    raise UsageError(f"`{name}` needs `words`; give both")
        else:
            if self.sing:
                raise UsageError("`sing` composes words, and `words` gives them; leave one out")
            _check_range("the bars of `words`", self.song_bars or 1, 1, 1000, "give fewer lines")
        if not self.sing:
            return
        others = ("bars", "instruments", "density", "dynamics", "key", *_NEED_A_PIECE)
        for name in others:
            if name not in ("drop", "roles") and getattr(self, name):
                raise UsageError(f"`sing` keeps every note of the piece; leave `{name}` out")

    @property
    def tempo(self) -> float:
        """The tempo of a song from nothing, in quarter notes a minute."""
        return SONG_TEMPO_BPM if self.tempo_bpm is None else self.tempo_bpm

    @property
    def has_full_bars(self) -> bool:
        """Whether voices have to sing up to each barline."""
        # A piece with an upbeat ends before its last barline. A voice that has to sing on leaves
        # the last chord: 48 % of songs ended in a triad with full bars, 64 % without.
        return not self.end if self.full_bars is None else self.full_bars

    @property
    def sampling(self) -> SamplingParams:
        """The parameters of sampling, with the usual `min_p` where the request has none."""
        min_p = USUAL_MIN_P if self.min_p is None else float(self.min_p)
        return SamplingParams(float(self.temperature), self.top_k, float(self.top_p), min_p)

    @property
    def exact(self) -> bool:
        """Whether the songs have to be the same on every machine."""
        return bool(self.song_ids)

    @property
    def seeds(self) -> list[int]:
        """The seed of each song."""
        return list(self.song_ids) or list(range(self.seed, self.seed + self.count))

    @property
    def song_bars(self) -> int | None:
        """The bars of a song: those asked for, or as many as `words` need; None for either."""
        if self.bars is not None or self.words is None:
            return self.bars
        lines = syllables_of(self.words, self.language or USUAL_LANGUAGE)
        return usual_bars(lines, self.upbeat)

    @property
    def fills(self) -> bool:
        """Whether bars of a piece are composed anew."""
        return bool(self.fill_bars or self.fill_tracks or self.vary)

    def refuse_without_piece(self) -> None:
        """Raise UsageError for a field that needs a piece to begin from."""
        # `voice` may be "", which means the only track.
        for name in (*_NEED_A_PIECE, "voice", "sing"):
            value = getattr(self, name)
            if value or (name == "voice" and value is not None):
                raise UsageError(f"`{name}` needs a piece to begin from; give `prompt`")

    def refuse_with_piece(self) -> None:
        """Raise UsageError for a field that has a meaning only for songs from nothing."""
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
                "`words` is for songs from nothing; `sing` composes words to a melody of a piece"
            )

    def given_words(self, bar_steps: int, steps_per_quarter: int) -> LaidWords:
        """Return the syllables of `words` for each bar of `bar_steps` steps; raises UsageError."""
        lines = syllables_of(self.words or "", self.language or USUAL_LANGUAGE)
        return lay_words(lines, self.song_bars or 1, bar_steps, self.upbeat, steps_per_quarter)

    def refuse_unsung(self, vocabulary: Vocabulary) -> None:
        """Raise UsageError for words where the model was trained without words."""
        for name in ("words", "sing"):
            if getattr(self, name) and not vocabulary.has_lyrics:
                raise UsageError(
                    f"this model was trained without words; leave `{name}` out, or train on data "
                    "built with --lyrics, such as bach-sung"
                )

    def codes(self, vocabulary: Vocabulary) -> tuple[int, ...] | None:
        """Return the instruments asked for, else those of all training pieces; None for neither."""
        ensemble = vocabulary.settings.ensemble if self.tracks is None else ()
        if self.instruments:
            return tuple(find_instrument(name) for name in self.instruments)
        return tuple(parse_instrument(name) for name in ensemble) or None

    def levels(self) -> tuple[dict[int, int], int | None]:
        """Return the density level of each instrument that has one, and that of all others."""
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
        """Return the blend of each family in `attributes`; raises UsageError for unknown labels."""
        return parse_blends(self.attributes or (), vocabulary)

    def metre_index(self, vocabulary: Vocabulary) -> int | None:
        """Return the index of `metre` in the vocabulary's metres, None without a metre.

        Raises UsageError where the vocabulary lacks it.
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
        """Return the index of the TEMPO token nearest to `tempo_bpm`, None where there is none."""
        if self.tempo_bpm is None or not vocabulary.has_tempos:
            return None
        return int(nearest_tempi([round(US_PER_MINUTE / self.tempo_bpm)])[0])

    def levels_of_velocity(self, vocabulary: Vocabulary) -> tuple[int, int] | None:
        """Return the lowest and the highest VELOCITY level of `dynamics`; None without dynamics.

        Raises UsageError where the vocabulary has no VELOCITY tokens.
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
    """Return the lowest and the highest velocity of a dynamic mark; of a number, itself twice.

    Raises UsageError.
    """
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


def _check_range(name: str, value: float, low: int, high: int, hint: str) -> None:
    if not low <= value <= high:
        raise UsageError(f"{name} must be {low}..{high} (got {value}); {hint}")

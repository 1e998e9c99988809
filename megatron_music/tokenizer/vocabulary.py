"""The mmmtrack vocabulary: which tokens there are, and their integers.

NOTE_ON and NOTE_OFF each have 128 ids in a row, so that transposition is an addition.
"""

import hashlib
import json
import math
from collections import Counter
from dataclasses import asdict, dataclass
from enum import Enum
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from megatron_music.errors import DataError, UsageError
from megatron_music.files import read_small, write_text
from megatron_music.score.instruments import (
    INSTRUMENT_COUNT,
    VOICES,
    instrument_name,
    parse_instrument,
)
from megatron_music.score.metre import TimeSignature, parse_metre, time_signatures
from megatron_music.score.notes import IntArray
from megatron_music.score.tempo import TEMPI_BPM
from megatron_music.tokenizer.spelling import Spelling
from megatron_music.tokenizer.text_vocabulary import is_text

TokenArray = npt.NDArray[np.uint16]

VERSION = 1
PITCHES = 128
DENSITY_LEVELS = 10
UINT16_LIMIT = 65_500
"""Megatron's own bound: the ids of a larger vocabulary are stored as int32."""
SETTINGS_FILE = "mmmtrack.json"
VELOCITIES = 128
VELOCITY_LEVELS = (8, 32)
"""The numbers of levels of velocity that can be chosen: as in notation, or nearly all one hears."""
_LATER = (
    *("metres", "velocity", "tempo", "lyrics", "syllable_pieces"),
    "instrumentation_labels",
)
"""Settings that vocabularies are written without, unless they have them: folders stay the same."""

_MARKS = (
    "PAD",
    "PIECE_START",
    "PIECE_END",
    "TRACK_START",
    "TRACK_END",
    "BAR_START",
    "BAR_END",
    "FILL_IN",
    "FILL_START",
    "FILL_END",
)


class Kind(Enum):
    """What a token speaks of, and what its value is.

    A pitch, steps, an instrument's code, a level, an index in `Vocabulary.metres`, `TEMPI_BPM` or
    `Spelling.parts`, or an id.
    """

    MARK = "mark"
    NOTE_ON = "NOTE_ON"
    NOTE_OFF = "NOTE_OFF"
    TIME_DELTA = "TIME_DELTA"
    INST = "INST"
    DENSITY = "DENSITY"
    METRE = "METRE"
    VELOCITY = "VELOCITY"
    TEMPO = "TEMPO"
    SYLLABLE = "SYLLABLE"
    ATTRIBUTE = "attribute"


@dataclass(frozen=True)
class TokenizerSettings:
    """What decides the tokens of a data set.

    `density_edges` are nine ascending figures in notes a bar; a track of n notes a bar gets the
    density level that is the number of edges at or below n. `bars` is the usual length of a
    window and `ensemble` the instruments of every piece, where all pieces have the same. `fill`
    says that the data set holds documents with hidden bars, as `tokenizer.hidden_bars` writes them.
    `instrumentations` are the instruments of some training windows ("0 33 DRUMS"), each as often
    as the data have it, `instrumentation_tokens` the lengths of those windows, and where there are
    `attributes`, `instrumentation_labels` those of each ("COMPOSER=BACH GENRE=CHORALE"); after the
    first 256 come windows of rare labels, see `tokenizer.instrumentations`.
    `metres` are those that there are METRE tokens for; without any, all music is in 4/4.
    `velocity` is the number of levels that there are VELOCITY tokens for, 0 without such tokens;
    `tempo` says that there are TEMPO tokens, `lyrics` that there are SYLLABLE tokens: of bytes, of
    ends of words, and of `syllable_pieces`.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    steps_per_quarter: int = 4
    density: bool = True
    density_edges: tuple[int | float, ...] = (1, 2, 3, 4, 6, 8, 10, 13, 18)
    attributes: tuple[str, ...] = ()
    bars: int = 4
    ensemble: tuple[str, ...] = ()
    fill: bool = False
    instrumentations: tuple[str, ...] = ()
    instrumentation_tokens: tuple[int, ...] = ()
    instrumentation_labels: tuple[str, ...] = ()
    metres: tuple[str, ...] = ()
    velocity: int = 0
    tempo: bool = False
    lyrics: bool = False
    syllable_pieces: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse settings that no vocabulary can be made from; raises UsageError."""
        if self.steps_per_quarter not in (4, 12):
            raise UsageError(
                f"steps per quarter must be 4 or 12 (got {self.steps_per_quarter}); "
                "4 is the article's grid, 12 also holds triplets"
            )
        if not 1 <= self.bars <= 64:
            raise UsageError(f"bars must be 1..64 (got {self.bars}); 4, 8 and 16 are usual")
        edges = self.density_edges
        ascend = all(low <= high for low, high in pairwise((-math.inf, *edges, math.inf)))
        if len(edges) != DENSITY_LEVELS - 1 or not ascend:
            raise UsageError(f"density edges must be nine ascending figures (got {edges})")
        for name in (*self.attributes, *self.syllable_pieces):
            if name.split() != [name]:
                raise UsageError(
                    f"an attribute or a piece of syllables must be one word (got {name!r})"
                )
        for name in (*self.ensemble, *" ".join(self.instrumentations).split()):
            parse_instrument(name)
        names, lengths, labels = map(
            len, (self.instrumentations, self.instrumentation_tokens, self.instrumentation_labels)
        )
        if lengths != names or labels not in {0, names}:
            raise UsageError(
                f"{names} instrumentations have {lengths} lengths and {labels} labels; each must "
                "have one, labels none where there are no attributes"
            )
        for metre in self.metres:
            parse_metre(metre)
        if self.velocity not in (0, *VELOCITY_LEVELS):
            raise UsageError(
                f"velocity must be 8 or 32 levels, or 0 for none (got {self.velocity}); 8 are "
                "those of pp to ff"
            )

    @property
    def voices(self) -> tuple[str, ...]:
        """The voices of a choir that all pieces of the data set have; () for other music."""
        known = {instrument_name(code) for code in VOICES}
        return self.ensemble if len(self.ensemble) > 1 and set(self.ensemble) <= known else ()


class Ids(NamedTuple):
    """The ids that tokens are made from, by their names in `Vocabulary`: for compiled code."""

    piece_start: int
    piece_end: int
    track_start: int
    track_end: int
    bar_start: int
    bar_end: int
    note_on: int
    note_off: int
    time_delta: int
    inst: int
    density: int
    metre: int
    velocity: int
    tempo: int
    syllable: int
    attribute: int


class Vocabulary:
    """The tokens of one group of settings and their ids.

    `note_on`, `note_off`, `inst` and `density` are the ids of the first token of their run;
    `time_delta` is such that `time_delta + d` is the id of `TIME_DELTA=d`, d from 1. `meanings`
    gives the kind and the value of every id. `metres` are those that bars can be in and
    `bar_steps` the lengths of their bars; `longest_bar` is the longest of these. A VELOCITY token
    names the MIDI velocity in the middle of its level, a TEMPO token quarter notes a minute. A
    SYLLABLE token is a part of `spelling`.
    """

    def __init__(self, settings: TokenizerSettings) -> None:
        self.settings = settings
        self.metres: tuple[TimeSignature, ...] = time_signatures(settings.metres)
        self.bar_steps = tuple(one.steps(settings.steps_per_quarter) for one in self.metres)
        self.longest_bar = max(self.bar_steps)
        self.tempi: tuple[int, ...] = TEMPI_BPM if settings.tempo else ()
        self.spelling = Spelling(settings.syllable_pieces)
        syllable_parts = self.spelling.parts if settings.lyrics else ()
        # Kinds that came later are last, so that older data sets keep their ids; attributes are
        # those of one data set alone.
        self.tokens: tuple[str, ...] = (
            *_MARKS,
            *(f"NOTE_ON={pitch}" for pitch in range(PITCHES)),
            *(f"NOTE_OFF={pitch}" for pitch in range(PITCHES)),
            *(f"TIME_DELTA={steps}" for steps in range(1, self.longest_bar + 1)),
            *(f"INST={instrument_name(code)}" for code in range(INSTRUMENT_COUNT)),
            *(f"DENSITY={level}" for level in range(DENSITY_LEVELS)),
            *(f"METRE={metre}" for metre in settings.metres),
            *(f"VELOCITY={self.velocity_of(level)}" for level in range(settings.velocity)),
            *(f"TEMPO={bpm}" for bpm in self.tempi),
            *(f"SYLLABLE={part}" for part in syllable_parts),
            *settings.attributes,
        )
        self.ids: dict[str, int] = {token: i for i, token in enumerate(self.tokens)}
        if len(self.ids) != len(self.tokens):
            again = [token for token, count in Counter(self.tokens).items() if count > 1]
            raise UsageError(f"two tokens have one name: {', '.join(again)}; rename the label")
        self.pad = self.ids["PAD"]
        self.piece_start = self.ids["PIECE_START"]
        self.piece_end = self.ids["PIECE_END"]
        self.track_start = self.ids["TRACK_START"]
        self.track_end = self.ids["TRACK_END"]
        self.bar_start = self.ids["BAR_START"]
        self.bar_end = self.ids["BAR_END"]
        self.note_on = self.ids["NOTE_ON=0"]
        self.note_off = self.ids["NOTE_OFF=0"]
        self.time_delta = self.ids["TIME_DELTA=1"] - 1  # there is no delta of 0
        self.inst = self.ids["INST=0"]
        self.density = self.ids["DENSITY=0"]
        self.metre = self.density + DENSITY_LEVELS
        self.velocity = self.metre + len(settings.metres)
        self.tempo = self.velocity + settings.velocity
        self.syllable = self.tempo + len(self.tempi)
        self.attribute = self.syllable + len(syllable_parts)
        self.meanings: tuple[tuple[Kind, int], ...] = (
            *((Kind.MARK, token) for token in range(len(_MARKS))),
            *((Kind.NOTE_ON, pitch) for pitch in range(PITCHES)),
            *((Kind.NOTE_OFF, pitch) for pitch in range(PITCHES)),
            *((Kind.TIME_DELTA, steps) for steps in range(1, self.longest_bar + 1)),
            *((Kind.INST, code) for code in range(INSTRUMENT_COUNT)),
            *((Kind.DENSITY, level) for level in range(DENSITY_LEVELS)),
            *((Kind.METRE, index) for index in range(len(settings.metres))),
            *((Kind.VELOCITY, level) for level in range(settings.velocity)),
            *((Kind.TEMPO, index) for index in range(len(self.tempi))),
            *((Kind.SYLLABLE, index) for index in range(len(syllable_parts))),
            *((Kind.ATTRIBUTE, token) for token in range(self.attribute, len(self.tokens))),
        )

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def has_metres(self) -> bool:
        """True where METRE tokens tell the metres."""
        return bool(self.settings.metres)

    @property
    def has_velocities(self) -> bool:
        """True where VELOCITY tokens tell how loud notes are."""
        return self.settings.velocity > 0

    @property
    def has_tempos(self) -> bool:
        """True where TEMPO tokens tell the tempo."""
        return self.settings.tempo

    @property
    def has_lyrics(self) -> bool:
        """True where SYLLABLE tokens tell what notes are sung to."""
        return self.settings.lyrics

    @property
    def note_tokens(self) -> int:
        """The tokens of the shortest note: [VELOCITY], NOTE_ON, TIME_DELTA, NOTE_OFF."""
        return 3 + self.has_velocities

    def velocity_of(self, level: int) -> int:
        """Return the velocity in the middle of a level."""
        width = VELOCITIES // self.settings.velocity
        return level * width + width // 2

    def levels_of(self, velocities: IntArray) -> IntArray:
        """Return the levels of velocities."""
        return velocities * self.settings.velocity // VELOCITIES

    def metre_index(self, metre: TimeSignature) -> int:
        """Return the place of a metre among `metres`; raises UsageError where it is none."""
        if metre not in self.metres:
            raise UsageError(
                f"there are no bars of {metre} in this vocabulary; it has "
                f"{', '.join(map(str, self.metres))}"
            )
        return self.metres.index(metre)

    @property
    def numbers(self) -> Ids:
        """The ids that compiled code makes tokens from."""
        return Ids(*(getattr(self, name) for name in Ids._fields))

    @cached_property
    def kinds(self) -> IntArray:
        """The kind of each token, as its place among all kinds."""
        places = {kind: place for place, kind in enumerate(Kind)}
        return np.array([places[kind] for kind, _ in self.meanings], np.int64)

    @property
    def duration_kind(self) -> int:
        """The kind of TIME_DELTA among `kinds`."""
        return int(self.kinds[self.time_delta + 1])

    @cached_property
    def hash(self) -> str:
        """A sha256 over version and tokens: equal exactly when every id means the same."""
        text = f"mmmtrack {VERSION}\n" + "\n".join(self.tokens)
        return hashlib.sha256(text.encode()).hexdigest()


@lru_cache(maxsize=4)
def vocabulary_of(settings: TokenizerSettings) -> Vocabulary:
    """Return the vocabulary of these settings, the same one when asked again: making it costs."""
    return Vocabulary(settings)


def token_dtype(vocabulary_size: int) -> np.dtype[np.generic]:
    """Return the dtype ids are stored in.

    Mirrors `DType.optimal_dtype` of megatron/core/datasets/indexed_dataset.py.
    """
    return np.dtype(np.uint16 if vocabulary_size < UINT16_LIMIT else np.int32)


def save_settings(settings: TokenizerSettings, folder: Path) -> None:
    """Write `mmmtrack.json`: the settings, the version and the vocabulary's hash."""
    values = {
        "version": VERSION,
        "vocabulary_hash": Vocabulary(settings).hash,
        **{name: of for name, of in asdict(settings).items() if of or name not in _LATER},
    }
    write_text(folder / SETTINGS_FILE, json.dumps(values, indent=2) + "\n")


def load_vocabulary(folder: Path) -> Vocabulary:
    """Read the vocabulary of a tokenizer folder; raises DataError if it is not a sound one."""
    path = folder / SETTINGS_FILE
    if is_text(folder):
        raise DataError(f"{folder} is of words and has no music; give one of music")
    if not path.is_file():
        raise DataError(f"no {SETTINGS_FILE} in {folder}; give a folder made by this tool")
    try:
        # Limited in size: a tokenizer folder may come from anywhere.
        values: dict[str, Any] = json.loads(read_small(path))
        version, expected = values.pop("version"), values.pop("vocabulary_hash")
        vocabulary = Vocabulary(_checked(values))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as fault:
        raise DataError(f"{path} is damaged ({fault}); build or export it again") from None
    except UsageError as fault:
        raise DataError(f"{path} does not fit: {fault}; build or export it again") from None
    if version != VERSION or vocabulary.hash != expected:
        raise DataError(
            f"{path} holds another vocabulary (version {version}, this tool has {VERSION}); "
            "build the data set again with this version"
        )
    return vocabulary


def _checked(values: dict[str, Any]) -> TokenizerSettings:
    """Return the settings that JSON holds, after checking their types; raises UsageError."""
    from pydantic import TypeAdapter, ValidationError

    from megatron_music.config import validation_message

    try:
        return TypeAdapter(TokenizerSettings).validate_json(json.dumps(values), strict=True)
    except ValidationError as fault:
        raise UsageError(validation_message(fault)) from None

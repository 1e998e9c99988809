"""The settings of a build of music, their defaults, and checks of them."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from megatron_music.errors import UsageError
from megatron_music.tokenizer.vocabulary import TokenizerSettings, load_vocabulary

SPLITS = ("train", "valid", "test")
MOST_TRANSPOSITIONS = 12
_LATER = (
    *("density_edges", "attributes", "metres", "velocity", "tempo"),
    *("lyrics", "pieces", "quality", "learned_pieces"),
)
"""A manifest lists these settings only if they are chosen, so that older ones stay valid."""

_OF_LYRICS = ("syllable_pieces", "learned_pieces")
"""Settings that have an effect only with `lyrics`."""

_OF_STORED_WINDOWS = ("hop", "seed")
"""Settings without effect on whole pieces: training draws windows by its own seed."""

WHOLE_PIECE_BARS = 1 << 20
"""More than any piece has."""

MOST_SYLLABLE_PIECES = 4096
"""A language has some thousand syllables."""

MANY_FILES = 2_000
"""More files than this have music in all keys: transpositions are not needed."""


class Cut(NamedTuple):
    """How documents are cut from pieces and written: see `BuildSettings`."""

    bars: int
    hop: int
    shifts: range
    shuffle: bool
    max_tracks: int | None


@dataclass(frozen=True)
class BuildSettings:
    """Everything that decides the tokens of a data set, apart from the music.

    - A window of `bars` bars is cut every `hop` bars (None: every `bars` bars). Training windows
      are written in `transpositions` keys, the others as they are.
    - `voices`: pieces are chorales of four tracks, soprano first. `merge`: the tracks of one
      instrument become one. `shuffle`: tracks are in random order, at most `max_tracks` of them.
    - `fill`: each document is followed by a copy with hidden bars, which it has at its end.
    - `split`: the weights of train, valid and test.
    - `metres`: music in these is kept, with METRE tokens; if empty, music in 4/4 alone.
    - `velocity`: the number of levels of VELOCITY tokens, 0 for none. `tempo`: TEMPO tokens.
      `lyrics`: SYLLABLE tokens, of bytes and of up to `syllable_pieces` longer pieces.
    - `density_edges`, `attributes` (the words of labels, see `sources.labels`) and `learned_pieces`
      are those of another data set; None or empty: found in this one.
    - `pieces`: a document is a whole piece, or a stretch of one between rests that are left out.
      Training draws windows of it by the other settings.
    - `quality`: music without key or rhythm is left out, and near duplicates (`shards.quality`).
    """

    bars: int = 4
    hop: int | None = None
    steps_per_quarter: int = 4
    voices: bool = False
    merge: bool = True
    density: bool = True
    fill: bool = False
    transpositions: int = 1
    seed: int = 0
    max_tracks: int | None = None
    shuffle: bool = True
    split: tuple[int, ...] = (90, 5, 5)
    density_edges: tuple[float, ...] | None = None
    attributes: tuple[str, ...] = ()
    metres: tuple[str, ...] = ()
    velocity: int = 0
    tempo: bool = False
    lyrics: bool = False
    syllable_pieces: int = 512
    learned_pieces: tuple[str, ...] = ()
    pieces: bool = False
    quality: bool = False

    def __post_init__(self) -> None:
        """Refuse what no data set can be built with; raises UsageError."""
        self.tokenizer()
        if self.hop is not None and not 1 <= self.hop <= self.bars:
            raise UsageError(
                f"hop must be 1..{self.bars}, the bars of a window (got {self.hop}); "
                "more would leave music out"
            )
        if not 1 <= self.transpositions <= MOST_TRANSPOSITIONS:
            raise UsageError(
                f"transpositions must be 1..{MOST_TRANSPOSITIONS} (got {self.transpositions}); "
                "12 reaches every key, 1 leaves the music as it is"
            )
        if self.max_tracks is not None and self.max_tracks < 1:
            raise UsageError(f"max tracks must be 1 or more (got {self.max_tracks})")
        if not 0 <= self.syllable_pieces <= MOST_SYLLABLE_PIECES:
            raise UsageError(
                f"syllable pieces must be 0..{MOST_SYLLABLE_PIECES} (got {self.syllable_pieces}); "
                "0 spells all words letter by letter"
            )
        if len(self.split) != len(SPLITS) or min(self.split) < 0 or self.split[0] < 1:
            raise UsageError(
                f"split must be three weights with training above 0 (got {self.split}); "
                "for instance 90,5,5"
            )

    @property
    def hop_bars(self) -> int:
        """The bars from the beginning of a window to that of the next."""
        return self.hop or self.bars

    @property
    def shifts(self) -> range:
        """The semitones by which training windows are transposed; 12 keys are -6..+5."""
        lowest = -(self.transpositions // 2)
        return range(lowest, lowest + self.transpositions)

    @property
    def cut(self) -> Cut:
        """How documents are cut: into windows, or not at all for whole pieces."""
        if self.pieces:
            return Cut(WHOLE_PIECE_BARS, WHOLE_PIECE_BARS, range(1), shuffle=False, max_tracks=None)
        return Cut(self.bars, self.hop_bars, self.shifts, self.shuffle, self.max_tracks)

    def tokenizer(self) -> TokenizerSettings:
        """Return the tokenizer's settings before the data have been seen."""
        start = TokenizerSettings(
            steps_per_quarter=self.steps_per_quarter,
            density=self.density,
            bars=self.bars,
            fill=self.fill,
            attributes=self.attributes,
            metres=self.metres,
            velocity=self.velocity,
            tempo=self.tempo,
            lyrics=self.lyrics,
            syllable_pieces=self.learned_pieces if self.lyrics else (),
        )
        if self.density_edges is None:
            return start
        return dataclasses.replace(start, density_edges=self.density_edges)

    def record(self) -> dict[str, Any]:
        """Return the settings for a manifest; those of `_LATER` only if they are chosen."""
        return {
            name: of
            for name, of in vars(self).items()
            if (of or name not in _LATER) and (self.lyrics or name not in _OF_LYRICS)
        }


def for_own_music(files: int) -> BuildSettings:
    """Return the default settings for a folder or an archive of the user's files.

    Windows are drawn from whole pieces, as long as the songs that `sample` is asked for. Some bars
    are hidden so that bars can be filled in. Windows of few files are in all keys.
    """
    keys = MOST_TRANSPOSITIONS if files <= MANY_FILES else 1
    return BuildSettings(bars=8, transpositions=keys, fill=True, pieces=True)


def choose(preferred: BuildSettings, chosen: Mapping[str, Any]) -> BuildSettings:
    """Return a collection's own settings, changed by what the user chose.

    A hop that was not chosen gives way to shorter windows. Raises UsageError, also for a choice
    that means nothing for whole pieces.
    """
    changes = dict(chosen)
    hop = preferred.hop
    if "hop" not in changes and hop is not None and changes.get("bars", hop) < hop:
        changes["hop"] = None
    settings = dataclasses.replace(preferred, **changes)
    for name in _OF_STORED_WINDOWS if settings.pieces else ():
        if name in chosen:
            raise UsageError(
                f"{name} is for stored windows, and these are whole pieces (got {chosen[name]}); "
                f"leave {name} out, or store windows: --windows"
            )
    return settings


def like(folder: Path, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the chosen settings and those that give tokens the meaning of another data set.

    Raises DataError where the folder is none, UsageError for choices that contradict it.
    """
    other = load_vocabulary(folder / "tokenizer").settings
    names = (
        "steps_per_quarter",
        "bars",
        "density",
        "fill",
        "metres",
        "velocity",
        "tempo",
        "lyrics",
    )
    same = {name: getattr(other, name) for name in names}
    for name, of in same.items():
        if chosen.get(name, of) != of:
            raise UsageError(
                f"{name} is {of} in {folder} (got {chosen[name]}); leave the option out, or --like"
            )
    edges = {"density_edges": other.density_edges} if other.density else {}
    pieces = other.syllable_pieces
    words = {"syllable_pieces": len(pieces), "learned_pieces": pieces} if other.lyrics else {}
    return {**chosen, **same, **edges, **words, "attributes": other.attributes}

"""The data set folders of a run and their shares, checked for the same tokens. Loads no torch.

blend = parse_blend(["data/bach:0.7", "data/lakh:0.3"])    # without weights: by size
"""

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from pathlib import Path

from megatron_music.errors import DataError, UsageError
from megatron_music.files import build_hint
from megatron_music.tokenizer.instrumentations import (
    MOST_DRAWN,
    Instrumentation,
    instrumentations_of,
    with_instrumentations,
    with_rare_labels,
)
from megatron_music.tokenizer.load import AnyVocabulary, load_any_vocabulary
from megatron_music.tokenizer.text_vocabulary import TextVocabulary
from megatron_music.tokenizer.vocabulary import (
    Vocabulary,
    load_vocabulary,
    token_dtype,
    vocabulary_of,
)

_MEANINGS = ("steps_per_quarter", "attributes", "bars", "density", "density_edges")
"""The tokenizer's settings that have to be the same for tokens to mean the same."""


@dataclass(frozen=True)
class Part:
    """A data set folder; `weight` is its share relative to the others, None for its size."""

    folder: Path
    weight: float | None = None


@dataclass(frozen=True)
class Blend:
    """One data set folder or several; all have a weight, or none has."""

    parts: tuple[Part, ...]

    @classmethod
    def of(cls, folder: Path) -> "Blend":
        """Return a single folder as a blend."""
        return cls((Part(folder),))

    @property
    def name(self) -> str:
        """The names of the folders, for the name of a run."""
        return "+".join(part.folder.resolve().name for part in self.parts)

    @property
    def folders(self) -> list[Path]:
        """The folders in the given order."""
        return [part.folder for part in self.parts]

    @property
    def shares(self) -> list[float]:
        """The share of each folder in all samples; a blend must have weights, see `sized`."""
        if len(self.parts) == 1:
            return [1.0]
        total = sum(part.weight or 0.0 for part in self.parts) or 1.0
        return [(part.weight or 0.0) / total for part in self.parts]

    def __str__(self) -> str:
        shares = zip(self.folders, self.shares, strict=True)
        return " and ".join(
            f"{folder} ({share:.1%})" if share < 1 else str(folder) for folder, share in shares
        )

    def resolved(self) -> "Blend":
        """Return it with absolute paths."""
        return Blend(tuple(replace(part, folder=part.folder.resolve()) for part in self.parts))

    def sized(self, vocabulary: AnyVocabulary) -> "Blend":
        """Return the blend with weights: if it has none, the training tokens of each folder."""
        # Without weights Megatron trains for one epoch only, so runs always have weights.
        if all(part.weight for part in self.parts):
            return self
        return Blend(
            tuple(
                Part(folder, float(token_count(folder / "train.bin", vocabulary)))
                for folder in self.folders
            )
        )

    def epochs(self, tokens: int, vocabulary: AnyVocabulary) -> dict[str, float]:
        """Return how often each folder is read in training on `tokens` tokens."""
        parts = self.sized(vocabulary)
        return {
            str(folder): tokens * share / max(1, token_count(folder / "train.bin", vocabulary))
            for folder, share in zip(parts.folders, parts.shares, strict=True)
        }


def parse_blend(words: Sequence[str]) -> Blend:
    """Read `DIR` or `DIR:WEIGHT`, several of them for a blend; weights of one folder add up.

    The part after the last colon is a weight if it is a number or the part before it is a folder,
    unless the whole word is a folder.
    Raises UsageError for weights that are not above 0, or that only some folders have.
    """
    parts = [_part(word) for word in words]
    bare = [str(part.folder) for part in parts if part.weight is None]
    if bare and len(bare) < len(parts):
        raise UsageError(
            f"{bare[0]} has no weight and other data have; give a weight to all, as in "
            f"--data {bare[0]}:0.5, or to none to blend by size"
        )
    merged: dict[Path, Part] = {}
    for part in parts:
        known = merged.get(part.folder.resolve(), Part(part.folder))
        weight = None if part.weight is None else part.weight + (known.weight or 0.0)
        merged[part.folder.resolve()] = replace(known, weight=weight)
    return Blend(tuple(merged.values()))


def _part(word: str) -> Part:
    name, colon, number = word.rpartition(":")
    if not colon or not name or Path(word).is_dir():
        return Part(Path(word))
    try:
        weight = float(number)
    except ValueError:
        if not Path(name).is_dir():
            return Part(Path(word))
        weight = math.nan
    if not (weight > 0 and math.isfinite(weight)):
        raise UsageError(
            f"a weight must be a number above 0 (got --data {word}); leave out data of no weight"
        )
    return Part(Path(name), weight)


def common_vocabulary(blend: Blend) -> AnyVocabulary:
    """Return the vocabulary that all folders have.

    `ensemble` stays where it is the same, `fill` where any has it. Raises DataError for a folder
    that is not a data set, and for two whose tokens do not mean the same.
    """
    for folder in blend.folders:
        if not (folder / "tokenizer").is_dir():
            raise DataError(f"no data set in {folder}; {build_hint(folder)}")
    first, *others = blend.folders
    vocabulary = load_any_vocabulary(first / "tokenizer")
    several: list[Vocabulary] = []
    for folder in others:
        other = load_any_vocabulary(folder / "tokenizer")
        different = differences(vocabulary, other)
        if different:
            raise DataError(
                f"tokens of {first} and {folder} mean different things (by {different}); build "
                "the second with the tokens of the first: megatron-music data build SOURCE -o "
                f"{shlex.quote(f'{folder}-like-{first.name}')} --like {shlex.quote(str(first))}"
            )
        if isinstance(other, Vocabulary):
            several.append(other)
    if isinstance(vocabulary, TextVocabulary):
        return vocabulary
    settings = vocabulary.settings
    for music in several:
        settings = replace(
            settings,
            fill=settings.fill or music.settings.fill,
            ensemble=settings.ensemble if settings.ensemble == music.settings.ensemble else (),
        )
    return vocabulary_of(settings)


def with_shared_instruments(blend: Blend, vocabulary: AnyVocabulary) -> AnyVocabulary:
    """Return a blend's vocabulary with the instruments of its folders' windows, by their shares.

    The blend has to be `sized`.
    """
    if isinstance(vocabulary, TextVocabulary) or len(blend.parts) == 1:
        return vocabulary
    if vocabulary.settings.ensemble:
        return vocabulary
    known: list[Instrumentation] = []
    windows: list[list[Instrumentation]] = []
    for folder in blend.folders:
        of = load_vocabulary(folder / "tokenizer").settings
        rows = instrumentations_of(of) or [Instrumentation(" ".join(of.ensemble), 1)] * bool(
            of.ensemble
        )
        known += rows
        windows.append(rows[:MOST_DRAWN])
    # Rounded together, so that they are `MOST_DRAWN` in all: the windows of rare labels come after.
    ends = [round(MOST_DRAWN * end) for end in accumulate(blend.shares, initial=0.0)]
    drawn: list[Instrumentation] = []
    for rows, (first, last) in zip(windows, pairwise(ends), strict=True):
        # Evenly over the windows of a folder, so that each instrumentation keeps its share.
        count = last - first if rows else 0
        drawn += [rows[i * len(rows) // count] for i in range(count)]
    return vocabulary_of(with_instrumentations(vocabulary.settings, with_rare_labels(drawn, known)))


def differences(one: AnyVocabulary, other: AnyVocabulary) -> str:
    """Name the settings by which the same token means different things; "" where there are none.

    The hash covers the tokens' names alone: a density level is a name that says nothing of where
    it is cut.
    """
    if isinstance(one, TextVocabulary) or isinstance(other, TextVocabulary):
        same_kind = type(one) is type(other)
        different = "the vocabulary's hash" if same_kind else "words or music"
        return "" if one.hash == other.hash else different
    names = [n for n in _MEANINGS if getattr(one.settings, n) != getattr(other.settings, n)]
    if not one.settings.density and not other.settings.density:
        names = [name for name in names if name != "density_edges"]
    return ", ".join(names) or ("" if one.hash == other.hash else "the vocabulary's hash")


def token_count(binary: Path, vocabulary: AnyVocabulary) -> int:
    """Return how many tokens a `.bin` file holds, by its size; raises DataError without it."""
    try:
        return binary.stat().st_size // token_dtype(len(vocabulary)).itemsize
    except OSError:
        raise DataError(
            f"no {binary}; build the data set with 'megatron-music data build'"
        ) from None

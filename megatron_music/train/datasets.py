"""Check data set folders against their manifests before a run. Loads neither torch nor megatron."""

import json
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from megatron_music.config import Recipe, TrainConfig
from megatron_music.errors import DataError, UsageError
from megatron_music.files import find_damaged
from megatron_music.tokenizer.load import AnyVocabulary
from megatron_music.tokenizer.places_in_piece import PLACES_SUFFIX
from megatron_music.tokenizer.structure import position_rows
from megatron_music.tokenizer.text_vocabulary import TextVocabulary
from megatron_music.tokenizer.vocabulary import Kind, Vocabulary, vocabulary_of
from megatron_music.train.blend import (
    Blend,
    common_vocabulary,
    token_count,
    with_shared_instruments,
)

_MOST_SHIFTS = 12
_OF_DRAWN_WINDOWS: dict[str, Kind | None] = {
    "window_bars": None,
    "dropped_track_share": None,
    "tempo_shift_levels": Kind.TEMPO,
    "velocity_shift_levels": Kind.VELOCITY,
}
"""The keys of `train` for windows drawn from pieces, and the tokens that they need."""


@dataclass(frozen=True)
class CheckedData:
    """Data that a run can be trained on: `blend` has weights, `hash` identifies the data."""

    blend: Blend
    vocabulary: AnyVocabulary
    hash: str


@dataclass(frozen=True)
class WindowSettings:
    """The settings of windows with which a data set of pieces was built."""

    transpositions: int = 1
    shuffle: bool = True
    max_tracks: int | None = None
    fill: bool = False

    @property
    def shifts(self) -> range:
        """The semitones that windows are moved by; 12 gives -6..+5."""
        lowest = -(self.transpositions // 2)
        return range(lowest, lowest + self.transpositions)


def read_window_settings(folder: Path) -> WindowSettings | None:
    """Return how the windows of a data set are drawn, None where its documents are windows.

    Raises DataError for a manifest that is damaged.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        return None
    try:
        settings: dict[str, Any] = json.loads(path.read_bytes())["settings"]
        if not settings.get("pieces"):
            return None
        names = ("transpositions", "shuffle", "max_tracks", "fill")
        keys, shuffle, most, fill = (settings[name] for name in names)
        # By type, not isinstance: JSON's true would pass for the number 1.
        is_sound = (
            type(keys) is int
            and 1 <= keys <= _MOST_SHIFTS
            and type(shuffle) is type(fill) is bool
            and (most is None or (type(most) is int and most >= 1))
        )
        if not is_sound:
            raise ValueError("settings of windows out of range")  # noqa: TRY301
        return WindowSettings(keys, shuffle, most, fill)
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as fault:
        raise DataError(f"{path} is damaged ({fault}); build the data set again") from None


def check_data(blend: Blend, recipe: Recipe) -> CheckedData:
    """Check every folder of a blend, and that their tokens mean the same.

    Raises DataError for data that are missing, damaged, too few or of different vocabularies, and
    UsageError for words that a recipe of music is asked to learn.
    """
    vocabulary = common_vocabulary(blend)
    position_rows(recipe.model.structural_inputs, recipe.model.seq_length, vocabulary)
    hashes = []
    for folder in blend.folders:
        hashes.append(_check_manifest(folder, vocabulary))
        _check_tokens(folder / "train", vocabulary, "use a larger data set")
        if recipe.log.eval_interval:
            _check_tokens(folder / "valid", vocabulary, "set log.eval_interval=0")
    weighed = blend.sized(vocabulary)
    vocabulary = with_shared_instruments(weighed, vocabulary)
    _check_windows(blend, recipe.train, vocabulary)
    # Of what the folders hold, not of their paths; "" where a manifest is missing.
    data_hash = hashes[0]
    if len(hashes) > 1:
        parts = [[of, f"{share:.9g}"] for of, share in zip(hashes, weighed.shares, strict=True)]
        data_hash = "" if "" in hashes else sha256(json.dumps(parts).encode()).hexdigest()
    bars = recipe.train.window_bars
    if bars and isinstance(vocabulary, Vocabulary) and bars != vocabulary.settings.bars:
        vocabulary = vocabulary_of(replace(vocabulary.settings, bars=bars))
        # Windows of another length are other samples: a run must not resume with them.
        data_hash = sha256(f"{data_hash} {bars}".encode()).hexdigest()
    return CheckedData(weighed, vocabulary, data_hash)


def _check_windows(blend: Blend, train: TrainConfig, vocabulary: AnyVocabulary) -> None:
    """Refuse keys for drawn windows if no windows are drawn, or tokens they need are missing.

    Raises UsageError.
    """
    kinds = {kind for kind, _ in getattr(vocabulary, "meanings", ())}
    for key, needed in _OF_DRAWN_WINDOWS.items():
        value = getattr(train, key)
        if not value or (key == "window_bars" and value == _bars(vocabulary)):
            continue
        asked = f"(got train.{key}={value}); leave it out"
        if isinstance(vocabulary, TextVocabulary):
            raise UsageError(f"words have no bars and no tracks {asked}")
        for folder in blend.folders:
            if read_window_settings(folder) is None:
                raise UsageError(
                    f"{folder} holds windows of {_bars(vocabulary)} bars {asked}, or build the "
                    "data set with --pieces"
                )
        if needed is not None and needed not in kinds:
            raise UsageError(
                f"{blend.folders[0]} has no {needed.name} tokens {asked}, or build the data set "
                f"with --{needed.name.lower()}"
            )


def _bars(vocabulary: AnyVocabulary) -> int:
    return vocabulary.settings.bars if isinstance(vocabulary, Vocabulary) else 0


def _check_manifest(data: Path, vocabulary: AnyVocabulary) -> str:
    """Check a data set against its manifest; return the manifest's hash, "" without a manifest."""
    path = data / "manifest.json"
    if not path.is_file():
        return ""
    try:
        raw = path.read_bytes()
        manifest = json.loads(raw)
        written = manifest.get("vocabulary_hash")
        files = manifest.get("files", {}).items()
        needed = (".bin", ".idx", PLACES_SUFFIX)
        sizes = {name: of["bytes"] for name, of in files if name.endswith(needed)}
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as fault:
        raise DataError(f"{path} is damaged ({fault}); build the data set again") from None
    if written not in (None, vocabulary.hash):
        raise DataError(
            f"{data} was built with another vocabulary than its tokenizer/ holds; "
            "build the data set again"
        )
    for name in find_damaged(data, sizes):
        raise DataError(
            f"{data / name} is missing or not the {sizes[name]} bytes that it was built with; "
            "build the data set again"
        )
    return sha256(raw).hexdigest()


def _check_tokens(prefix: Path, vocabulary: AnyVocabulary, advice: str) -> None:
    binary = prefix.with_name(prefix.name + ".bin")
    index = prefix.with_name(prefix.name + ".idx")
    for path in (binary, index):
        if not path.is_file():
            raise DataError(f"no {path}; build the data set with 'megatron-music data build'")
    if not token_count(binary, vocabulary):
        raise DataError(f"{binary} holds no document; {advice}")

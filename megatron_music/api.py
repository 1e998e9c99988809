"""The functions that `import megatron_music` gives: from a MIDI file to a composed piece.

What is heavy (torch, the builder) is imported inside the functions that need it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from megatron_music.arguments import check_fields, checked
from megatron_music.errors import MidiError, UsageError
from megatron_music.score.notes import Piece
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary, vocabulary_of

if TYPE_CHECKING:
    from megatron_music.generate.session import Session

DEFAULT_STEPS_PER_QUARTER = 4
SLOWEST_BPM, FASTEST_BPM = 4, 60_000_000
"""A MIDI file holds the microseconds of a quarter note, whole ones, in 24 bits."""


@checked
def read_midi(path: str | Path, steps_per_quarter: int = DEFAULT_STEPS_PER_QUARTER) -> Piece:
    """Read a MIDI file as notes on a grid; raises MidiError if it is missing or damaged.

    Every onset and end moves to the nearest step: 4 steps a quarter note are sixteenths.
    """
    from megatron_music.score import midi_reader
    from megatron_music.score.notation import is_score
    from megatron_music.score.quantize import quantize

    if is_score(Path(path).name):
        raise MidiError(f"{path} is notation, not MIDI; read it with read_music", "foreign")
    _check_steps(steps_per_quarter)
    return quantize(midi_reader.read_midi(Path(path)), steps_per_quarter)


@checked
def read_music(path: str | Path, steps_per_quarter: int = DEFAULT_STEPS_PER_QUARTER) -> Piece:
    """Read a file of one piece as notes on a grid, with its words: MIDI, MusicXML, ABC or kern.

    Raises MusicFileError if it is missing or damaged, or holds several tunes.
    """
    from megatron_music.score import music_file
    from megatron_music.score.quantize import quantize

    _check_steps(steps_per_quarter)
    return quantize(music_file.read_music(Path(path)), steps_per_quarter)


@checked
def write_midi(piece: Piece, path: str | Path, tempo_bpm: float | None = None) -> None:
    """Write a piece as a MIDI file of named tracks; raises UsageError and WriteError.

    Without `tempo_bpm` it has the piece's own tempi, 120 where there are none.
    """
    from megatron_music.score import midi_writer

    if tempo_bpm is not None and not SLOWEST_BPM <= tempo_bpm <= FASTEST_BPM:
        raise UsageError(
            f"`tempo_bpm` must be {SLOWEST_BPM}..{FASTEST_BPM:,} (got {tempo_bpm}); "
            "quarter notes a minute"
        )
    midi_writer.write_midi(piece, Path(path), tempo_bpm)


@checked
def encode(piece: Piece, vocabulary: Vocabulary | None = None) -> npt.NDArray[np.uint16]:
    """Return the token ids of a piece; raises UsageError if the vocabulary has no word for it.

    Without a vocabulary that of the piece's own grid is used, with density tokens.
    """
    from megatron_music.tokenizer import codec

    return codec.encode(piece, vocabulary or _vocabulary(piece.steps_per_quarter))


@checked
def decode(
    tokens: Sequence[int] | npt.NDArray[np.integer], vocabulary: Vocabulary | None = None
) -> Piece:
    """Return the piece that token ids encode; raises TokenError where they break the grammar."""
    from megatron_music.tokenizer import codec

    return codec.decode(tokens, vocabulary or _vocabulary(DEFAULT_STEPS_PER_QUARTER))


@checked
def load_vocabulary(folder: str | Path) -> Vocabulary:
    """Load the vocabulary of a data set or an exported model, for `encode` and `decode`.

    Raises DataError where the folder holds none.
    """
    from megatron_music.tokenizer import vocabulary

    place = Path(folder)
    return vocabulary.load_vocabulary(
        place / "tokenizer" if (place / "tokenizer").is_dir() else place
    )


@checked
def build(
    source: str | Path, folder: str | Path, workers: int | None = 1, **settings: Any
) -> dict[str, Any]:
    """Build a data set, as `megatron-music data build SOURCE -o FOLDER` does; return its manifest.

    `source` is a folder or archive of MIDI files, or the name of a collection; `settings` are the
    fields of BuildSettings, such as `bars=8` or `transpositions=3`. `workers=None` is one a core.
    An interrupted build resumes. Raises UsageError, DataError and WriteError.
    """
    from megatron_music.data import build as builder
    from megatron_music.data.settings import BuildSettings, choose
    from megatron_music.data.sources.open import open_source

    check_fields(BuildSettings, settings)
    music = open_source(str(source))
    result = builder.build(music, Path(folder), choose(music.preferred, settings), workers)
    return result.manifest


@checked
def load_composer(model: str | Path, midi: str | Path | None = None) -> "Session":
    """Load an exported model, and a MIDI file to begin from; needs the `train` extra.

    The model `chorales` comes with the package. The session's `compose`, `continue_piece`, `fill`,
    `vary` and `harmonise` return songs: each has its `piece`, `tokens` and `seed`. Raises
    CheckpointError and MidiError.
    """
    from megatron_music.generate.model_folder import find_model
    from megatron_music.generate.session import Session

    return Session.load(find_model(Path(model)), midi)


def _check_steps(steps_per_quarter: int) -> None:
    if steps_per_quarter < 1:
        raise UsageError(
            f"`steps_per_quarter` must be 1 or more (got {steps_per_quarter}); 4 and 12 are usual"
        )


def _vocabulary(steps_per_quarter: int) -> Vocabulary:
    return vocabulary_of(TokenizerSettings(steps_per_quarter))

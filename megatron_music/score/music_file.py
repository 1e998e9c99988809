"""Any file of music as a score, with its words: MIDI, or notation as MusicXML, ABC and kern."""

from collections.abc import Callable
from pathlib import Path

from megatron_music.errors import ScoreError
from megatron_music.score.midi import parse_sung
from megatron_music.score.midi_file import read_bytes
from megatron_music.score.notes import Score
from megatron_music.score.score_file import is_score, read_scores


def read_music(path: Path) -> Score:
    """Read a file of one piece; raises MusicFileError."""
    pieces = read_all_music(path)
    if len(pieces) > 1:
        raise ScoreError(
            f"{path} holds {len(pieces)} tunes, one is needed; give a file of that tune alone",
            "format",
        )
    return pieces[0]


def read_all_music(
    path: Path, leave_out: Callable[[ScoreError], None] | None = None
) -> list[Score]:
    """Read the pieces of a file: tunes where it is ABC, else one; raises MusicFileError.

    `leave_out` is told of each tune that is left out, see `read_scores`.
    """
    if is_score(path.name):
        return read_scores(path, leave_out)
    return [parse_sung(read_bytes(path), str(path)).score]

"""Any file of music as a score: MIDI, or notation as MusicXML, ABC and Humdrum kern."""

from pathlib import Path

from megatron_music.errors import ScoreError
from megatron_music.score.midi import read_midi
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


def read_all_music(path: Path) -> list[Score]:
    """Read the pieces of a file: tunes where it is ABC, else one; raises MusicFileError."""
    return read_scores(path) if is_score(path.name) else [read_midi(path)]

"""Any file of music as a score, with its words: MIDI, or notation as MusicXML, ABC and kern."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from megatron_music.errors import ScoreError
from megatron_music.score.karaoke import Sung, may_have_words, with_words
from megatron_music.score.midi_events import parse_events, source_tracks
from megatron_music.score.midi_reader import parse_file, read_bytes, score_of
from megatron_music.score.notation import is_score, read_scores
from megatron_music.score.notes import Score


def read_music(path: Path) -> Score:
    """Read a file of one piece; raises MusicFileError."""
    pieces = read_all_music(path)
    if len(pieces) > 1:
        raise ScoreError(
            f"{path} holds {len(pieces)} tunes, one is needed; give a file of that tune alone",
            "format",
        )
    return pieces[0]


def parse_sung(raw: bytes, name: str) -> Sung:
    """Read the bytes of a MIDI file with its words; raises MidiError with its reason."""
    midi = parse_file(raw, name)
    score = score_of(midi)
    if not may_have_words(raw):
        return Sung(score, Counter())
    events = parse_events(raw)
    chunks = [track.chunk for track in source_tracks(midi.tracks, events.tracks)]
    return with_words(score, events, chunks)


def read_all_music(
    path: Path, leave_out: Callable[[ScoreError], None] | None = None
) -> list[Score]:
    """Read the pieces of a file: tunes where it is ABC, else one; raises MusicFileError.

    `leave_out` is told of each tune that is left out, see `read_scores`.
    """
    if is_score(path.name):
        return read_scores(path, leave_out)
    return [parse_sung(read_bytes(path), str(path)).score]

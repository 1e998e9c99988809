"""Pieces written as MusicXML are read back, by music21, as they were."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from music21 import converter

from megatron_music.errors import WriteError
from megatron_music.score.dynamics import MARKS
from megatron_music.score.instruments import BASS, DRUMS, SOPRANO, TENOR
from megatron_music.score.key import signature, spelling
from megatron_music.score.music_file import read_music
from megatron_music.score.musicxml_writer import write_musicxml
from megatron_music.score.notes import DEFAULT_VELOCITY, UNTOLD, Piece, Score, Track
from megatron_music.score.quantize import canonical_track, quantize
from tests.music import pieces, track


def read_back(piece: Piece, folder: Path) -> Piece:
    path = folder / "a.musicxml"
    write_musicxml(piece, path)
    return quantize(read_music(path), piece.steps_per_quarter)


def test_voices_chords_ties_and_drums_come_back(tmp_path: Path) -> None:
    piece = Piece(
        4,
        2,
        (
            track(SOPRANO, (0, 5, 72), (5, 20, 74), (20, 32, 71)),
            track(TENOR, (4, 16, 55), (16, 32, 59)),
            track(0, (0, 8, 60), (0, 8, 64), (2, 3, 67), (4, 30, 48)),
            track(DRUMS, (0, 2, 36), (4, 6, 38), (4, 6, 42)),
        ),
    )
    assert read_back(piece, tmp_path) == piece


def test_more_voices_than_a_staff_has_come_back_too(tmp_path: Path) -> None:
    rows = [(start, start + 20, 40 + 5 * start) for start in range(8)]
    piece = Piece(4, 2, (track(0, *rows),))
    assert read_back(piece, tmp_path) == piece


def loud(one: Track, *velocity: int) -> Track:
    return replace(one, velocity=np.array(velocity, np.int64))


def test_dynamics_are_written_by_the_bar_and_velocities_come_back(tmp_path: Path) -> None:
    piano = track(0, (0, 4, 60), (0, 4, 64), (4, 20, 62), (20, 24, 67), (32, 40, 60), (48, 52, 65))
    kit = track(DRUMS, (0, 2, 36), (16, 18, 36))
    piece = Piece(
        4, 4, (loud(piano, 88, 100, 82, 90, 40, 40), loud(kit, 127, 1), track(SOPRANO, (0, 8, 72)))
    )
    again = read_back(piece, tmp_path)
    assert again == piece
    for one, other in zip(again.tracks, piece.tracks, strict=True):
        assert one.velocity.tolist() == other.velocity.tolist()
    score = converter.parse(tmp_path / "a.musicxml")
    marks = [
        [mark.value for mark in part.recurse().getElementsByClass("Dynamic")]
        for part in score.parts
    ]
    assert marks == [["mf", "pp"], ["ff", "pppp"], []]


def test_overlapping_notes_of_one_voice_keep_their_velocities(tmp_path: Path) -> None:
    rows = [(start, start + 20, 40 + 5 * start) for start in range(8)]
    piece = Piece(4, 2, (loud(track(0, *rows), *range(50, 58)),))
    [again] = read_back(piece, tmp_path).tracks
    assert again.velocity.tolist() == list(range(50, 58))


def test_marks_of_dynamics_are_read_as_velocities(tmp_path: Path) -> None:
    write_musicxml(
        Piece(4, 2, (track(0, (0, 8, 60), (8, 16, 62), (16, 32, 64)),)), tmp_path / "a.xml"
    )
    text = (tmp_path / "a.xml").read_text()
    mark = "<direction><direction-type><dynamics><{}/></dynamics></direction-type></direction>"
    head, first, second, third = text.split("<note>")
    marked = f"{head}<note>{first}{mark.format('f')}<note>{second}{mark.format('pp')}<note>{third}"
    (tmp_path / "marked.xml").write_text(marked)
    [one] = read_music(tmp_path / "marked.xml").tracks
    assert one.velocity.tolist() == [DEFAULT_VELOCITY, MARKS["f"], MARKS["pp"]]
    [plain] = read_music(tmp_path / "a.xml").tracks
    assert plain.velocity.tolist() == [UNTOLD] * 3


def test_every_instrument_comes_back(tmp_path: Path) -> None:
    tracks = tuple(track(program, (0, 4, 60)) for program in range(128))
    for begin in range(0, 128, 16):
        piece = Piece(4, 1, tracks[begin : begin + 16])
        assert read_back(piece, tmp_path) == piece


@settings(
    max_examples=6,
    phases=[Phase.generate],  # shrinking would parse hundreds of scores
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(pieces())
def test_any_piece_comes_back_note_for_note(tmp_path: Path, piece: Piece) -> None:
    tracks = tuple(
        canonical_track(one.instrument, one.onset % 64, one.onset % 64 + 7, one.pitch)
        for one in piece.tracks[:2]
    )
    whole = quantize(_as_score(Piece(piece.steps_per_quarter, 2, tracks)), piece.steps_per_quarter)
    assert read_back(whole, tmp_path) == whole


def _as_score(piece: Piece) -> Score:
    return Score(piece.steps_per_quarter, piece.tracks)


def test_notation_has_measures_metre_key_parts_and_tempo(tmp_path: Path) -> None:
    # A scale of A major, and its lowest note.
    scale = [(4 * i, 4 * i + 4, 69 + p) for i, p in enumerate((0, 2, 4, 5, 7, 9, 11, 12))]
    piece = Piece(4, 2, (track(SOPRANO, *scale), track(BASS, (0, 32, 45))))
    write_musicxml(piece, tmp_path / "a.musicxml", 90, "A song")
    score = converter.parse(tmp_path / "a.musicxml", forceSource=True, storePickle=False)
    assert [part.partName for part in score.parts] == ["SOPRANO", "BASS"]
    assert score.metadata.title == "A song"
    for part in score.parts:
        measures = part.getElementsByClass("Measure")
        assert [measure.duration.quarterLength for measure in measures] == [4, 4]
        assert measures[0].timeSignature.ratioString == "4/4"
        assert measures[0].keySignature.sharps == 3
    names = [note.nameWithOctave for note in score.parts[0].recurse().notes]
    assert names == ["A4", "B4", "C#5", "D5", "E5", "F#5", "G#5", "A5"]
    assert score.parts[0].recurse().getElementsByClass("MetronomeMark")[0].number == 90


@pytest.mark.parametrize(
    ("pitch", "sharps", "written"),
    [(60, 0, ("C", 0, 4)), (70, -2, ("B", -1, 4)), (70, 5, ("A", 1, 4)), (68, 0, ("G", 1, 4)),
     (59, -5, ("C", -1, 4)), (60, 6, ("B", 1, 3)), (0, 0, ("C", 0, -1)), (127, 0, ("G", 0, 9))],
)  # fmt: skip
def test_pitches_are_spelled_in_their_key(
    pitch: int, sharps: int, written: tuple[str, int, int]
) -> None:
    assert spelling(pitch, sharps) == written


def test_drums_alone_have_no_key() -> None:
    assert signature(Piece(4, 1, (track(DRUMS, (0, 2, 37)),))) == 0


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(WriteError):
        write_musicxml(Piece(4, 1, (track(0, (0, 2, 60)),)), tmp_path / "file" / "a.musicxml")

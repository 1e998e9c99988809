"""`encode` and `decode` on real files: a round trip, and one line for what is wrong."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from megatron_music.score.metre import parse_metre
from megatron_music.score.midi_writer import write_midi
from megatron_music.score.notes import Piece
from tests.cli.program import Program
from tests.music import BASS_LINE, bass_line, track
from tests.scores import TUNE


def test_the_articles_bar_goes_to_midi_and_back(program: Program, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(BASS_LINE + "\n")
    program("decode", "a.txt", "-o", "a.mid")
    assert program("encode", "a.mid", "--no-density").stdout == BASS_LINE + "\n"


def test_windows_are_lines(program: Program, tmp_path: Path) -> None:
    write_midi(bass_line(), tmp_path / "a.mid")
    program("encode", "a.mid", "--bars", "1", "-o", "a.txt")
    assert len((tmp_path / "a.txt").read_text().splitlines()) == 1
    program("decode", "a.txt", "-o", "b.mid", "--tempo", "60")
    assert program("encode", "b.mid", "--bars", "1").stdout == (tmp_path / "a.txt").read_text()


def test_notation_goes_the_same_way_as_midi(program: Program, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(BASS_LINE + "\n")
    program("decode", "a.txt", "-o", "a.musicxml", "--tempo", "60")
    assert program("encode", "a.musicxml", "--no-density").stdout == BASS_LINE + "\n"
    (tmp_path / "tunes.abc").write_text(TUNE + "\n" + TUNE.replace("X:1", "X:2"))
    one, other = program("encode", "tunes.abc").stdout.splitlines()
    assert one == other
    (tmp_path / "tunes.abc").write_text(TUNE + "\n" + TUNE.replace("X:1\n", "X:2\nM:0/4\n"))
    found = program("encode", "tunes.abc")
    assert (found.stdout, "tunes.abc (X:2, line 8)" in found.stderr) == (one + "\n", True)
    program("render", "a.musicxml", "--musicxml", "b.musicxml", "--wav", "b.wav")
    assert program("encode", "b.musicxml", "--no-density").stdout == BASS_LINE + "\n"
    assert (tmp_path / "b.wav").read_bytes().startswith(b"RIFF")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("PIECE_START TRACK_START INST=BASS NOTE_ON=61", "a.txt, line 1, token 4: NOTE_ON=61"),
        ("TRACK_START", "a.txt, line 1, token 1: expected PIECE_START"),
        ("PIECE_START HELLO", "line 1, token 2: 'HELLO' is not in the vocabulary"),
        (f"{BASS_LINE}\nPIECE_START BAR_START", "a.txt, line 2, token 2: BAR_START is not legal"),
        (f"\n\n{BASS_LINE[:-20]}", "a.txt, at its end: "),
        ("", "a.txt, at its end: expected PIECE_START"),
    ],
)
def test_a_text_that_is_not_a_piece_is_refused(
    program: Program, tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "a.txt").write_text(text)
    assert message in program.fails(1, "decode", "a.txt", "-o", "a.mid")
    assert not (tmp_path / "a.mid").exists()


def test_metres_are_tokens_where_they_are_asked_for(program: Program, tmp_path: Path) -> None:
    waltz = Piece(
        4, 2, (track(0, (0, 12, 60), (12, 28, 62)),), (parse_metre("3/4"), parse_metre("4/4"))
    )
    write_midi(waltz, tmp_path / "a.mid")
    told = program("encode", "a.mid", "--metre", "any", "--no-density", "-o", "a.txt")
    assert not told.stderr
    text = (tmp_path / "a.txt").read_text()
    assert text.startswith("PIECE_START METRE=3/4 TRACK_START")
    assert text.count("METRE=4/4 BAR_START") == 1
    program("decode", "a.txt", "-o", "b.mid")
    assert program("encode", "b.mid", "--metre", "any", "--no-density").stdout == text
    assert "--metre any keeps it" in program("encode", "a.mid").stderr


def test_velocities_and_tempi_are_tokens_where_they_are_asked_for(
    program: Program, tmp_path: Path
) -> None:
    loud = replace(track(0, (0, 4, 60), (4, 8, 62), (16, 20, 64)), velocity=np.array([90, 90, 20]))
    write_midi(Piece(4, 2, (loud,), (), (500_000, 1_000_000)), tmp_path / "a.mid")
    plain = program("encode", "a.mid", "--no-density").stdout
    told = program("encode", "a.mid", "--no-density", "--expressive", "-o", "a.txt")
    assert not told.stderr
    text = (tmp_path / "a.txt").read_text()
    assert text.startswith("PIECE_START METRE=4/4 TEMPO=120 TRACK_START")
    assert (text.count("VELOCITY=88"), text.count("VELOCITY=24")) == (1, 1)
    assert text.count("TEMPO=60 BAR_START") == 1
    assert " ".join(word for word in text.split() if word[:4] not in ("METR", "TEMP", "VELO")) == (
        plain.strip()
    )
    program("decode", "a.txt", "-o", "b.mid")
    assert program("encode", "b.mid", "--no-density", "--expressive").stdout == text
    program("decode", "a.txt", "-o", "b.musicxml")
    assert program("encode", "b.musicxml", "--no-density", "--expressive").stdout == text
    fine = program("encode", "a.mid", "--velocity", "32", "-o", "c.txt")
    assert "VELOCITY=90" in (tmp_path / "c.txt").read_text()
    assert not fine.stderr
    program("decode", "c.txt", "-o", "c.mid")

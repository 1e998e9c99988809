"""`render`: a MIDI file as a picture and as sound, from the command line."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pretty_midi
import pytest
from typer.testing import CliRunner

from megatron_music.cli.app import app
from megatron_music.score.instruments import BASS, SOPRANO
from megatron_music.score.midi_writer import write_midi
from megatron_music.score.notes import Piece, Track
from tests import warm
from tests.midi_bytes import midi_bytes

PNG, WAV = b"\x89PNG", b"RIFF"


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "megatron_music", "render", *map(str, arguments)]
    return warm.run(command)


@pytest.fixture
def song(tmp_path: Path) -> Path:
    def one(code: int, pitch: int) -> Track:
        return Track(code, np.array([0, 4]), np.array([4, 16]), np.array([pitch, pitch + 2]))

    path = tmp_path / "song.mid"
    write_midi(Piece(4, 1, (one(SOPRANO, 72), one(BASS, 48))), path, tempo_bpm=100)
    return path


def test_both_are_written_into_the_working_folder_and_replace_nothing(
    song: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    (here / "song.wav").write_bytes(b"a recording of mine")
    done = CliRunner().invoke(app, ["render", str(song)])
    assert done.exit_code == 0, done.stderr
    assert done.stdout.split() == ["song-2.wav", "song-2.png"]
    assert (here / "song.wav").read_bytes() == b"a recording of mine"
    assert (here / "song-2.png").read_bytes().startswith(PNG)
    assert (here / "song-2.wav").read_bytes().startswith(WAV)
    assert [path.name for path in song.parent.iterdir() if path.is_file()] == ["song.mid"]


def test_a_name_that_is_not_utf8_is_drawn_and_printed(song: Path) -> None:
    song = song.rename(os.fsdecode(os.fsencode(song.parent) + b"/caf\xe9.mid"))
    command = [sys.executable, "-m", "megatron_music", "render", song, "--png", "\udce9.png"]
    done = subprocess.run(command, capture_output=True, check=False, cwd=song.parent)
    assert (done.returncode, done.stdout) == (0, b"\xe9.png\n"), done.stderr


def test_a_file_that_can_be_encoded_can_be_rendered(tmp_path: Path) -> None:
    key_of_10_sharps = b"\x00\xff\x59\x02\x0a\x00"
    odd = midi_bytes(key_of_10_sharps + b"\x00\x90\x3c\xc8\x60\x3c\x00")
    (tmp_path / "odd.mid").write_bytes(odd)
    done = CliRunner().invoke(app, ["render", str(tmp_path / "odd.mid"), "-o", str(tmp_path)])
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "odd.png").read_bytes().startswith(PNG)
    assert (tmp_path / "odd.wav").read_bytes().startswith(WAV)


def test_only_what_was_asked_for_is_written(song: Path, tmp_path: Path) -> None:
    done = run(song, "--png", tmp_path / "deep" / "a.png")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "deep" / "a.png").read_bytes().startswith(PNG)
    assert not list(tmp_path.glob("**/*.wav"))


def test_a_metre_that_there_are_no_bars_of_is_pointed_out(tmp_path: Path) -> None:
    midi = pretty_midi.PrettyMIDI()
    midi.time_signature_changes.append(pretty_midi.TimeSignature(17, 16, 0))
    midi.instruments.append(pretty_midi.Instrument(0))
    midi.instruments[0].notes.append(pretty_midi.Note(90, 60, 0, 1))
    midi.write(str(tmp_path / "waltz.mid"))
    done = run(tmp_path / "waltz.mid", "--png", tmp_path / "waltz.png")
    assert done.returncode == 0
    assert "has bars of 17/16" in done.stderr

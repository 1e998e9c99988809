"""An album: every song as files that other programs open, its report, and a page of one file."""

import json
import re
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pretty_midi
import pytest

from megatron_music.generate.album import Formats, write_album, written
from megatron_music.generate.key import key_of
from megatron_music.generate.page import compressed
from megatron_music.generate.prompt import Prompt
from megatron_music.generate.report import Copies, Maker, song_report
from megatron_music.generate.request import Request
from megatron_music.generate.song import Song
from megatron_music.score.audio import render_audio
from megatron_music.score.instruments import DRUMS, SOPRANO
from megatron_music.score.midi import write_midi
from megatron_music.score.notes import Piece
from megatron_music.tokenizer.codec import encode
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary
from tests.music import track

MAKER = Maker("a" * 64, "b" * 64)
QUICK = Formats(wav=False)
PIECE = Piece(
    4,
    2,
    (
        track(SOPRANO, (0, 8, 72), (8, 16, 76), (16, 32, 79)),
        track(33, (0, 16, 36), (16, 32, 43)),
        track(DRUMS, (0, 1, 36), (16, 17, 38)),
    ),
)


def song(seed: int, piece: Piece = PIECE, new: list[list[bool]] | None = None) -> Song:
    """Make a song, of a prompt with as many tracks where bars are new."""
    tokens = tuple(encode(piece, Vocabulary(TokenizerSettings())).tolist())
    if new is None:
        return Song(seed, piece, tokens)
    return Song(seed, piece, tokens, tuple(range(len(new))), np.array(new))


def album(folder: Path, request: Request, formats: Formats = QUICK) -> list[Path]:
    return write_album([song(seed) for seed in request.seeds], folder, request, MAKER, formats)


def test_each_song_is_a_few_files_and_the_page_comes_last(tmp_path: Path) -> None:
    files = album(tmp_path, Request(2, seed=5), Formats())
    assert [file.name for file in files] == [
        *(f"song-5.{kind}" for kind in ("mid", "wav", "png")),
        *(f"song-6.{kind}" for kind in ("mid", "wav", "png")),
        *("song-5.json", "song-6.json", "index.html"),
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [*(file.name for file in files), "album.json"]
    )


def test_a_midi_file_opens_with_names_programs_and_tempo(tmp_path: Path) -> None:
    album(tmp_path, Request(1, seed=5, tempo_bpm=84.0))
    midi = pretty_midi.PrettyMIDI(str(tmp_path / "song-5.mid"))
    told = [(one.name, one.program, one.is_drum) for one in midi.instruments]
    assert told == [
        ("SOPRANO", 52, False),
        ("Electric Bass (finger)", 33, False),
        ("Drums", 0, True),
    ]
    assert midi.get_tempo_changes()[1].tolist() == pytest.approx([84.0], abs=1e-3)


def test_a_report_says_what_was_asked_and_what_came() -> None:
    request = Request(1, seed=5, temperature=0.8, density=("3",))
    report = song_report(song(5), request, MAKER, Copies(2, 3, 4))
    assert report["asked"]["temperature"] == 0.8
    assert report["asked"].keys().isdisjoint({"tempo_bpm", "bars", "instruments", "song_ids"})
    assert report["came"]["tempo_bpm"] == 100
    assert report["came"]["bars"] == 2
    assert report["came"]["notes"] == 7
    assert report["came"]["key"] == "C major"
    assert [one["instrument"] for one in report["came"]["tracks"]] == [
        "SOPRANO",
        "Electric Bass (finger)",
        "Drums",
    ]
    assert [one["highest"] for one in report["came"]["tracks"]] == ["G5", "G2", None]
    assert report["longest_run_shared_with_training"]["found"] == 2
    assert report["model"] == MAKER.model
    assert report["vocabulary"] == MAKER.vocabulary
    assert json.loads(json.dumps(report))["new_bars"] is None


def test_a_report_names_the_bars_that_are_new() -> None:
    made = song(5, new=[[False, False], [False, True], [True, True]])
    prompt = Prompt(PIECE, ("Lead", "", ""))
    report = song_report(made, Request(), MAKER, Copies(None), prompt)
    assert report["new_bars"] == [
        {"instrument": "SOPRANO", "name": "Lead", "bars": []},
        {"instrument": "Electric Bass (finger)", "name": "Electric Bass (finger)", "bars": [2]},
        {"instrument": "Drums", "name": "Drums", "bars": [1, 2]},
    ]


@pytest.mark.parametrize(("tonic", "name"), [(0, "A minor"), (2, "B minor"), (3, "C minor")])
def test_the_key_of_a_scale_is_found(tonic: int, name: str) -> None:
    scale = np.array([57, 59, 60, 62, 64, 65, 68, 69, 57, 57, 64]) + tonic
    rows = [(2 * i, 2 * i + 2, int(pitch)) for i, pitch in enumerate(scale)]
    assert key_of(Piece(4, 2, (track(0, *rows),))) == name


def test_drums_have_no_key() -> None:
    assert key_of(Piece(4, 1, (track(DRUMS, (0, 1, 36)),))) == ""


def test_what_was_not_checked_is_said_so() -> None:
    assert str(Copies(None, reason="no data")) == "not checked: no data"
    assert str(Copies(0, 0, 8)) == "none; one track alone none"
    assert str(Copies(1, 3, 8)) == "1 bar; one track alone 3 bars"
    assert str(Copies(2, 8, 8)) == ("2 bars; one track alone 8 bars, as long as a training window")


def test_the_page_loads_nothing_and_holds_everything(tmp_path: Path) -> None:
    album(tmp_path, Request(2, seed=5), Formats())
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert "http" not in re.sub(r'"data:[^"]*"', "", page)
    pictures = [one for one in sources if one.startswith("data:image/png")]
    sounds = [one for one in sources if one.startswith("data:audio/mpeg")]
    music = [one for one in sources if one.startswith("data:audio/midi")]
    assert len(pictures) == len(sounds) == len(music) == 2
    assert b64decode(music[0].partition(",")[2]) == (tmp_path / "song-5.mid").read_bytes()
    assert "C major" in page
    assert "not checked" in page


def test_the_page_shows_what_was_begun_from_but_does_not_count_it(tmp_path: Path) -> None:
    request = Request(1, seed=5, vary=0.5)
    maker = replace(MAKER, prompt=f"mine <b>.mid {'c' * 64}")
    new = [[False, True], [True, False], [False, False]]
    write_album([song(5, new=new)], tmp_path, request, maker, QUICK, prompt=PIECE)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<h1>1 piece of music</h1>" in page
    assert "The piece begun from" in page
    assert "mine &lt;b&gt;.mid." in page
    assert "new: SOPRANO 2; Electric Bass (finger) 1" in page
    assert (tmp_path / "prompt.mid").is_file()


def test_sound_in_the_page_is_a_tenth_of_the_file(tmp_path: Path) -> None:
    write_midi(PIECE, tmp_path / "a.mid")
    render_audio(tmp_path / "a.mid", tmp_path / "a.wav")
    assert 1000 < len(compressed(tmp_path / "a.wav")) < (tmp_path / "a.wav").stat().st_size / 8


def test_an_album_replaces_the_one_before_and_nothing_else(tmp_path: Path) -> None:
    album(tmp_path, Request(3, seed=5))
    (tmp_path / "song-6.mid").write_bytes(b"edited by hand")
    (tmp_path / "song-99.mid").write_bytes(b"not of that album")
    (tmp_path / "mine.txt").write_text("notes")
    album(tmp_path, Request(1, seed=20))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("album.json", "index.html", "mine.txt"),
        *("song-20.json", "song-20.mid", "song-20.png", "song-6.mid", "song-99.mid"),
    ]


def test_an_album_is_known_again_until_anything_of_it_changes(tmp_path: Path) -> None:
    request = Request(1, seed=5)
    files = album(tmp_path, request)
    assert written(tmp_path, request, MAKER, QUICK) == files
    assert written(tmp_path, replace(request, temperature=0.9), MAKER, QUICK) == []
    assert written(tmp_path, request, replace(MAKER, model="c" * 64), QUICK) == []
    assert written(tmp_path, request, MAKER, replace(QUICK, png=False)) == []
    (tmp_path / "song-5.mid").write_bytes(b"changed")
    assert written(tmp_path, request, MAKER, QUICK) == []


def test_songs_that_cannot_be_made_leave_an_album_alone(tmp_path: Path) -> None:
    files = album(tmp_path, Request(1, seed=5))
    with pytest.raises(RuntimeError, match="no song"):
        write_album(impossible(), tmp_path, Request(1, seed=6), MAKER, QUICK)
    assert all(file.is_file() for file in files)


def impossible() -> Iterator[Song]:
    """Fail when the first song is asked for, as a model may."""
    raise RuntimeError("no song")
    yield song(1)

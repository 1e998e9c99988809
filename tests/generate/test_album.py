"""An album: every song as files that other programs open, its report, and a page of one file."""

import json
import re
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pretty_midi
import pytest
import soundfile

from megatron_music.errors import Interrupted, UsageError
from megatron_music.generate import album as album_module
from megatron_music.generate.album import Formats, songs_to_compose, write_album
from megatron_music.generate.album_index import AlbumIndex
from megatron_music.generate.prompt import Prompt
from megatron_music.generate.song import Song
from megatron_music.generate.song_report import Copies, Provenance, song_report
from megatron_music.generate.song_request import Request
from megatron_music.score.instruments import DRUMS, SOPRANO
from megatron_music.score.music_file import read_music
from megatron_music.score.notes import Piece
from megatron_music.score.quantize import quantize
from megatron_music.tokenizer.codec import encode
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary
from tests.music import track

MAKER = Provenance("a" * 64, "b" * 64)
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
        *(f"song-5.{kind}" for kind in ("mid", "wav", "png", "json")),
        *(f"song-6.{kind}" for kind in ("mid", "wav", "png", "json")),
        "index.html",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [*(file.name for file in files), "album.json", ".album.lock"]
    )


def test_notation_of_a_song_is_its_music(tmp_path: Path) -> None:
    only = Formats(wav=False, png=False, page=False, musicxml=True)
    files = album(tmp_path, Request(1, seed=5), only)
    assert [file.name for file in files] == ["song-5.mid", "song-5.musicxml", "song-5.json"]
    assert quantize(read_music(files[1]), 4) == song(5).piece


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


def test_a_song_without_training_data_is_marked_as_not_checked() -> None:
    assert str(Copies(None, reason="no data")) == "not checked: no data"
    assert str(Copies(0, 0, 8)) == "none; one track alone none"
    assert str(Copies(1, 3, 8)) == "1 bar; one track alone 3 bars"
    assert str(Copies(2, 8, 8)) == ("2 bars; one track alone 8 bars, as long as a training window")


def page_data(folder: Path) -> list[dict[str, Any]]:
    """Return what the page holds of each song, in order."""
    page = (folder / "index.html").read_text(encoding="utf-8")
    return [json.loads(one) for one in re.findall(r'data-key="[^"]*">(.*?)</script>', page)]


def titles(folder: Path) -> list[str]:
    page = (folder / "index.html").read_text(encoding="utf-8")
    return re.findall(r"<h3>(.*?)</h3>", page)


def test_the_page_needs_no_network_and_holds_the_sound_of_each_track(tmp_path: Path) -> None:
    album(tmp_path, Request(1, seed=5), Formats())
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "http" not in re.sub(r">\{.*\}<", "", page)
    assert re.findall(r'(?:src|href)="([^"]*)"', page) == ["song-5.mid"]
    (song_5,) = page_data(tmp_path)
    names = [one["name"] for one in song_5["tracks"]]
    assert names == ["Soprano", "Electric Bass (finger)", "Drums"]
    sounds = [soundfile.info(BytesIO(b64decode(one["sound"]))) for one in song_5["tracks"]]
    assert {(one.format, one.channels) for one in sounds} == {("MP3", 2)}
    assert song_5["bars"] == pytest.approx([0, 2.4, 4.8], abs=0.01)
    assert "C major" in page
    assert "not checked" in page


def test_the_page_shows_the_next_commands_and_no_hashes(tmp_path: Path) -> None:
    request, model = Request(1, seed=5, bars=2), Path("run/hf")
    options = ["--bars", "2"]
    write_album([song(5)], tmp_path, request, MAKER, QUICK, model=model, more=options)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert MAKER.model[:12] not in page
    more = f"megatron-music sample run/hf -o {tmp_path}"
    assert f"<code>{more} --bars 2</code>" in page
    assert f"<code>{more} --prompt {tmp_path}/song-5.mid --bars 4</code>" in page


def test_the_page_marks_the_bars_that_are_new(tmp_path: Path) -> None:
    maker = replace(MAKER, prompt=f"mine <b>.mid {'c' * 64}")
    request = Request(1, seed=5, vary=0.5)
    new = [[False, False], [False, True], [False, False]]
    write_album([song(5, new=new)], tmp_path, request, maker, QUICK, prompt=PIECE)
    shown = dict(zip(titles(tmp_path), page_data(tmp_path), strict=True))
    assert [one["new"] for one in shown["seed 5"]["tracks"]] == [[], [2], []]
    assert [one["new"] for one in shown["the piece begun from"]["tracks"]] == [[], [], []]
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<h1>1 song</h1>" in page
    assert "mine &lt;b&gt;.mid" in page
    assert "new: Electric Bass (finger) 2" in page


def test_songs_are_added_and_nothing_is_replaced(tmp_path: Path) -> None:
    album(tmp_path, Request(2, seed=5))
    (tmp_path / "song-6.mid").write_bytes(b"edited by hand")
    (tmp_path / "song-20.mid").write_bytes(b"of another program")
    before = {path: path.read_bytes() for path in tmp_path.glob("*.mid")}
    files = album(tmp_path, Request(1, seed=20))
    assert [file.name for file in files if file.suffix == ".mid"] == ["song-20-2.mid"]
    assert {path: path.read_bytes() for path in before} == before
    assert titles(tmp_path) == ["seed 5", "seed 20"]  # what is not music any more is not shown


def test_a_song_of_another_request_under_the_same_seed_gets_another_name(tmp_path: Path) -> None:
    album(tmp_path, Request(1, seed=5))
    files = album(tmp_path, Request(1, seed=5, temperature=0.9))
    assert files[0].name == "song-5-2.mid"
    assert len(titles(tmp_path)) == 2


def test_a_song_that_is_there_is_not_composed_again(tmp_path: Path) -> None:
    request = Request(3, seed=5)
    assert songs_to_compose(tmp_path, request, MAKER, QUICK) == [request]
    album(tmp_path, Request(1, seed=6))
    around = [Request(1, seed=5), Request(1, seed=7)]
    assert songs_to_compose(tmp_path, request, MAKER, QUICK) == around
    assert songs_to_compose(tmp_path, Request(1, seed=6), MAKER, QUICK) == []
    other = replace(MAKER, model="c" * 64)
    assert songs_to_compose(tmp_path, Request(1, seed=6), other, QUICK) != []
    (tmp_path / "song-6.mid").write_bytes(b"changed")
    assert songs_to_compose(tmp_path, Request(1, seed=6), MAKER, QUICK) != []


def test_numbers_continue_after_the_highest_seed(tmp_path: Path) -> None:
    assert AlbumIndex(tmp_path).next_seed() == 7
    album(tmp_path, Request(2, seed=30))
    assert AlbumIndex(tmp_path).next_seed() == 32


def in_c_code() -> RuntimeError:
    """Return what an import of code in C may make of Ctrl-C."""
    fault = RuntimeError("cannot load a module")
    fault.__cause__ = KeyboardInterrupt()
    return fault


@pytest.mark.parametrize("why", [KeyboardInterrupt(), in_c_code()])
def test_ctrl_c_keeps_the_songs_that_are_finished(tmp_path: Path, why: BaseException) -> None:
    request = Request(3, seed=5)
    with pytest.raises(Interrupted, match="1 of 3 songs are finished and kept"):
        write_album(stopped(why, song(5)), tmp_path, request, MAKER, QUICK)
    assert titles(tmp_path) == ["seed 5"]
    assert songs_to_compose(tmp_path, request, MAKER, QUICK) == [Request(2, seed=6)]


def test_ctrl_c_while_songs_are_compared_keeps_them(tmp_path: Path) -> None:
    def compared(_: object) -> list[Copies]:
        raise KeyboardInterrupt

    songs, request = [song(5), song(6)], Request(2, seed=5)
    with pytest.raises(Interrupted, match="2 of 2 songs"):
        write_album(songs, tmp_path, request, MAKER, QUICK, copies=compared)
    assert titles(tmp_path) == ["seed 5", "seed 6"]
    assert songs_to_compose(tmp_path, request, MAKER, QUICK) == []


def test_the_best_of_many_are_completed_after_ctrl_c(tmp_path: Path) -> None:
    request = Request(8, seed=5, best=2)
    with pytest.raises(Interrupted, match="1 of 2 songs are finished and kept"):
        write_album(stopped(KeyboardInterrupt(), song(9)), tmp_path, request, MAKER, QUICK)
    assert songs_to_compose(tmp_path, request, MAKER, QUICK) == [request]
    shown: list[tuple[int, int]] = []

    def progress(done: int, total: int, note: str = "") -> None:  # noqa: ARG001
        shown.append((done, total))

    songs = [song(9), song(6)]  # the best, in their order, composed again
    files = write_album(songs, tmp_path, request, MAKER, QUICK, progress=progress)
    assert [file.name for file in files if file.suffix == ".mid"] == ["song-6.mid", "song-9.mid"]
    assert shown == [(1, 2), (2, 2)]
    assert songs_to_compose(tmp_path, request, MAKER, QUICK) == []


def test_ctrl_c_in_the_midst_of_a_song_leaves_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(album_module, "draw_piano_roll", interrupted)
    with pytest.raises(Interrupted, match="no song was finished"):
        album(tmp_path, Request(2, seed=5))
    assert not list(tmp_path.glob("song-*"))


def test_songs_that_a_kill_left_unfinished_are_cleared_away(tmp_path: Path) -> None:
    assert AlbumIndex(tmp_path).begin("song-9", {"seed": 9, "asked": {}}).stem == "song-9"
    (tmp_path / "song-9.mid").write_bytes(b"half a song")
    (tmp_path / "song-9.txt").write_text("a person's notes")
    album(tmp_path, Request(1, seed=5))
    assert not (tmp_path / "song-9.mid").exists()
    assert (tmp_path / "song-9.txt").exists()


def test_a_page_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<h1>My site</h1>")
    assert album(tmp_path, Request(1, seed=5))[-1].name == "index-2.html"
    assert album(tmp_path, Request(1, seed=6))[-1].name == "index-2.html"
    assert (tmp_path / "index.html").read_text() == "<h1>My site</h1>"


def test_favourites_are_copied_into_a_folder_of_their_own(tmp_path: Path) -> None:
    album(tmp_path, Request(2, seed=5))
    copies = AlbumIndex(tmp_path).keep(["6"])
    assert [file.name for file in copies] == ["song-6.mid", "song-6.png", "song-6.json"]
    assert {file.parent for file in copies} == {tmp_path / "kept"}
    with pytest.raises(UsageError, match="songs of this folder: song-5, song-6"):
        AlbumIndex(tmp_path).keep(["song-7"])


def test_songs_that_cannot_be_made_leave_a_folder_as_it_was(tmp_path: Path) -> None:
    files = album(tmp_path, Request(1, seed=5))
    with pytest.raises(RuntimeError, match="no song"):
        write_album(stopped(RuntimeError("no song")), tmp_path, Request(1, seed=6), MAKER, QUICK)
    assert all(file.is_file() for file in files)


def stopped(why: BaseException, *songs: Song) -> Iterator[Song]:
    """Give songs, then raise, as Ctrl-C or a model may."""
    yield from songs
    raise why

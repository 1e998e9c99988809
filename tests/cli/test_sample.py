"""`sample` from the command line: an album from an exported model, and how it says no."""

import json
import re
import shlex
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from megatron_music.cli.app import app
from megatron_music.data.indexed import write_index
from megatron_music.errors import UsageError
from megatron_music.evaluate.best import RealMusic, measures
from megatron_music.generate.prompt import read_prompt
from megatron_music.score.instruments import VOICES
from megatron_music.score.midi_reader import read_midi
from megatron_music.score.midi_writer import write_midi
from megatron_music.score.notes import Piece
from megatron_music.score.quantize import quantize
from megatron_music.tokenizer.codec import encode
from megatron_music.tokenizer.huggingface import save_tokenizer
from megatron_music.tokenizer.structure import INPUTS
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary
from tests.generate.conftest import CHORALE, untrained
from tests.midi_bytes import midi_bytes
from tests.music import bars_not_full, track

SETTINGS = TokenizerSettings(bars=2, ensemble=CHORALE)


def trained_on(run: Path, tokens: list[int]) -> Path:
    """Write a run with its data set of one document and an exported model that records both."""
    data, model = run.with_name("data"), untrained(run / "hf", SETTINGS)
    save_tokenizer(SETTINGS, data / "tokenizer")
    np.array(tokens, np.uint16).tofile(data / "train.bin")
    with (data / "train.idx").open("wb") as file:
        write_index(file, np.array([len(tokens)], np.int32), np.dtype(np.uint16))
    (run / "environment.json").write_text(json.dumps({"data": str(data)}))
    record = {"step": str(run / "checkpoints" / "step_1")}
    (model / "megatron_music.json").write_text(json.dumps(record))
    return model


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    """Run a command in this process: torch is loaded once for all."""
    done = CliRunner().invoke(app, arguments)
    if done.exception is not None:
        raise done.exception
    return done


def test_the_packages_own_model_composes_where_nothing_was_trained(here: Path) -> None:
    made = run("sample", "chorales", "-n", "1", "--bars", "1", "--no-wav", "--no-png")
    assert made.stdout.split() == ["music/song-7.mid", "music/song-7.json", "music/index.html"]
    untrained(here / "chorales", SETTINGS)  # a folder of that name is meant first
    mine = run("sample", "chorales", "-n", "1", "--bars", "1", "--no-wav", "--no-png", "-o", "mine")
    of = {"music": made, "mine": mine}
    models = {json.loads((here / name / "song-7.json").read_text())["model"] for name in of}
    assert len(models) == 2


def test_songs_are_made_once_and_a_copy_is_found(here: Path) -> None:
    model = trained_on(here / "run", [1, 2])
    wish = ("sample", str(model), "-o", "music", "-n", "2", "--bars", "2", "--no-wav")
    command = (*wish, "--seed", "7")
    made = run(*command)
    files = made.stdout.split()
    assert [Path(file).name for file in files] == [
        *("song-7.mid", "song-7.png", "song-7.json"),
        *("song-8.mid", "song-8.png", "song-8.json", "index.html"),
    ]
    assert all((here / file).is_file() for file in files)
    again = run(*command)
    assert again.stdout == made.stdout
    assert "already holds these songs" in again.stderr
    more = [Path(file).name for file in run(*wish).stdout.split()]
    assert more[::3] == ["song-9.mid", "song-10.mid", "index.html"]

    # The model "was trained on" song 7: that song is a copy, and says so.
    piece = quantize(read_midi(here / "music" / "song-7.mid"), 4)
    trained_on(here / "run", encode(piece, Vocabulary(SETTINGS)).tolist())
    run(*command[:3], "other", *command[4:])
    reports = [json.loads((here / "other" / f"song-{seed}.json").read_text()) for seed in (7, 8)]
    runs = [report["longest_run_shared_with_training"] for report in reports]
    assert [run["found"] for run in runs] == [2, 0]
    assert [run["in_a_track"] >= 2 for run in runs] == [True, False]

    beside = run(*command[:4], "--prompt", "music/song-7.mid", "--fill-bars", "2", "-n", "1")
    assert "music/song-11.mid" in beside.stdout.split()
    filled = run(
        *("sample", str(model), "-o", "filled", "-n", "1", "--no-wav", "--no-png"),
        *("--prompt", "music/song-7.mid", "--fill-bars", "2", "--fill-tracks", "BASS"),
    )
    assert "filled/prompt.mid" in filled.stdout.split()
    after = quantize(read_midi(here / "filled" / "song-7.mid"), 4)
    assert after.tracks[:3] == piece.tracks[:3]


def test_of_many_songs_the_best_are_written(here: Path) -> None:
    model = untrained(here / "hf", SETTINGS)
    chords = [Piece(4, 2, tuple(track(code, (0, 32, 48 + i)) for code in VOICES)) for i in range(9)]
    RealMusic(measures(chords, Vocabulary(SETTINGS))).save(model)
    command = ("sample", str(model), "-o", "music", "--no-wav", "--no-png", "--no-page")
    made = run(*command, "--best", "2", "--of", "9", "--bars", "2").stdout.split()
    songs = [Path(file).stem for file in made if file.endswith(".mid")]
    assert len(set(songs)) == 2
    assert set(songs) <= {f"song-{seed}" for seed in range(7, 16)}
    with pytest.raises(UsageError, match="leave out -n and --song-id"):
        run(*command, "--best", "2", "-n", "3")


def test_the_pages_command_for_more_songs_asks_for_the_same(here: Path) -> None:
    model = str(untrained(here / "my hf", SETTINGS))
    options = ("-n", "1", "--bars", "2", "--temperature", "0.9", "--no-full-bars", "--kar")
    run("sample", model, "-o", "music", "--seed", "5", *options, "--no-wav", "--instrument", "ALTO")
    page = (here / "music" / "index.html").read_text(encoding="utf-8")
    (command,) = re.findall(r"More like the newest: <code>(.*?)</code>", page)
    words = shlex.split(unescape(command))
    files = run(*words[1:]).stdout.split()
    assert [Path(file).name for file in files][:3] == ["song-6.mid", "song-6.kar", "song-6.png"]
    first, again = (
        json.loads((here / "music" / f"song-{seed}.json").read_text())["asked"] for seed in (5, 6)
    )
    assert again == first | {"seed": 6}


@pytest.mark.parametrize(("option", "asked"), [("--full-bars", True), ("--no-full-bars", False)])
def test_rests_before_the_barline_are_asked_for_and_recorded(
    here: Path, option: str, asked: bool
) -> None:
    model = str(untrained(here / "hf", SETTINGS))
    wish = ("-n", "4", "--temperature", "3", "--no-wav", "--no-png", "--no-page", option)
    run("sample", model, "-o", "music", *wish)
    rests = []
    for seed in range(7, 11):
        report = json.loads((here / "music" / f"song-{seed}.json").read_text())
        assert report["asked"]["full_bars"] is asked
        piece = quantize(read_midi(here / "music" / f"song-{seed}.mid"), 4)
        rests += [bars_not_full(one, piece) for one in piece.tracks]
    assert any(rests) is not asked


def test_a_tune_is_harmonised_and_the_report_knows_what_is_new(here: Path) -> None:
    model = untrained(here / "hf", SETTINGS, inputs=INPUTS)
    tune = Piece(4, 2, (track(0, (0, 8, 72), (8, 32, 74)),))
    write_midi(tune, here / "tune.mid")
    done = run(
        *("sample", str(model), "-o", "music", "-n", "1", "--no-wav", "--no-png", "--no-page"),
        *("--harmonise", "tune.mid", "--end"),
    )
    assert "keeping Acoustic Grand Piano, taken as SOPRANO" in done.stderr
    made = read_prompt(here / "music" / "song-7.mid", 4)
    assert made.names == ("Acoustic Grand Piano", "ALTO", "TENOR", "BASS")
    assert made.piece.tracks[0] == tune.tracks[0]
    report = json.loads((here / "music" / "song-7.json").read_text())
    assert [one["bars"] for one in report["new_bars"]] == [[], [1, 2], [1, 2], [1, 2]]
    assert (report["asked"]["voice"], report["asked"]["end"]) == ("", True)
    assert report["came"]["new"] == "ALTO 1-2; TENOR 1-2; BASS 1-2"
    assert not {"begin", "drop", "vary"} & set(report["asked"])


def test_strings_are_filled_by_a_model_of_voices_once_they_are_taken_as_such(here: Path) -> None:
    model = untrained(here / "hf", SETTINGS)
    strings = (40, 40, 41, 42)
    write_midi(
        Piece(4, 2, tuple(track(code, (0, 32, 60)) for code in strings)), here / "strings.mid"
    )
    wish = ("sample", str(model), "-o", "music", "-n", "1", "--no-wav", "--no-png", "--no-page")
    wish = (*wish, "--prompt", "strings.mid", "--fill-bars", "2")
    with pytest.raises(
        UsageError, match=r"never met .*Viola, Cello; .*--as SOPRANO,ALTO,TENOR,BASS"
    ):
        run(*wish)
    run(*wish, "--as", "SOPRANO,ALTO,TENOR,BASS")
    before = read_prompt(here / "strings.mid", 4)
    after = read_prompt(here / "music" / "song-7.mid", 4)
    assert after.names == before.names
    assert [one.instrument for one in after.piece.tracks] == list(strings)
    assert (here / "music" / "prompt.mid").read_bytes() == (here / "strings.mid").read_bytes()


def test_bars_of_another_metre_are_composed_where_yes_is_said(here: Path) -> None:
    model = untrained(here / "hf", SETTINGS)
    three_four = b"\x00\xff\x58\x04\x03\x02\x18\x08"
    name = b"\x00\xff\x03\x05TENOR"
    beats = name + b"".join(b"\x00\x90\x3c\x40\x60\x3c\x00" for _ in range(24))
    (here / "waltz.mid").write_bytes(midi_bytes(three_four, beats))
    wish = ("sample", str(model), "-o", "music", "-n", "1", "--no-wav", "--no-png", "--no-page")
    wish = (*wish, "--prompt", "waltz.mid", "--fill-bars", "2-3")
    run(*wish, "--yes")
    assert read_prompt(here / "music" / "song-7.mid", 4).bars is not None

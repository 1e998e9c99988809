"""The `data` commands, as a user runs them."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from megatron_music.data.sources.catalog import COLLECTIONS
from tests.cli.program import Program
from tests.data.collection import folder_of_songs, waltz

pytestmark = pytest.mark.slow
SHARES = ("--split", "50,25,25")
BUILD = ("data", "build", "music", "-o", "set", "--windows", "--workers", "1", *SHARES)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """A folder with twelve songs and two files that are left out, built as `set` in windows."""
    program = Program(tmp_path_factory.mktemp("data"))
    folder_of_songs(program.folder / "music")
    waltz(program.folder / "music" / "waltz.mid")
    (program.folder / "music" / "empty.mid").touch()
    built = program(*BUILD)
    (program.folder / "said").write_text(built.stdout + built.stderr)
    return program


def test_a_folder_becomes_a_verified_data_set(home: Program) -> None:
    said = (home.folder / "said").read_text()
    assert "12 of 14 pieces kept" in said
    assert "read music: 14/14 pieces" in said
    assert "1,024 tokens (tiny): holds all windows" in said
    assert "grid of 4 steps a quarter: 0.0% of" in said
    assert "set is sound: 14 files" in home("data", "verify", "set").stdout
    assert "up to date" in home(*BUILD).stderr


def test_what_is_chosen_reaches_the_data_set(program: Program) -> None:
    folder_of_songs(program.folder / "music")
    options = "--bars 2 --hop 1 --steps-per-quarter 12 --no-density --transpositions 3 --seed 5"
    more = "--windows --max-tracks 2 --no-shuffle --workers 1 --json"
    built = program("data", "build", "music", "-o", "set", *options.split(), *more.split(), *SHARES)
    assert json.loads(built.stdout)["settings"] == {
        "bars": 2, "hop": 1, "steps_per_quarter": 12, "density": False, "transpositions": 3,
        "seed": 5, "max_tracks": 2, "shuffle": False, "split": [50, 25, 25],
        "voices": False, "merge": True, "fill": True,
    }  # fmt: skip
    verified = json.loads(program("data", "verify", "set", "--json").stdout)
    assert verified["documents"] > 0


def test_what_is_left_out_is_named_with_its_reason(home: Program) -> None:
    said = (home.folder / "said").read_text()
    assert "left out: empty 1, metre 1 (data list-left-out names them)" in said
    listed = home("data", "list-left-out", "set")
    assert [line.split(": ")[:2] for line in listed.stdout.splitlines()] == [
        ["empty.mid", "empty"],
        ["waltz.mid", "metre"],
    ]
    assert "no files.jsonl in music" in home.fails(1, "data", "list-left-out", "music")


def test_labels_are_read_counted_and_refused_in_one_line(program: Program) -> None:
    (folder_of_songs(program.folder / "music" / "mine") / "empty.mid").touch()
    table = program.folder / "labels.csv"
    table.write_text("file,composer\nsong-03,Ann\ngone,Eve\n", encoding="utf-8")
    options = ("--attributes", "labels.csv", "--attributes-from", "folders=GENRE", *SHARES)
    built = program("data", "build", "music", "-o", "set", "--workers", "1", *options)
    assert (
        "labels: COMPOSER 1, GENRE 1, and UNKNOWN of each; 11 pieces without a row; "
        "1 row of pieces that are not here, the first 'gone'"
    ) in built.stdout
    assert "set is sound" in program("data", "verify", "set").stdout
    table.write_text("song-03.mid,Ann\n", encoding="utf-8")
    failed = program.fails(2, "data", "build", "music", "-o", "new", *options)
    assert "first line names the columns" in failed
    assert "takes folders" in program.fails(
        2, "data", "build", "music", "-o", "new", "--attributes-from", "names"
    )


def test_a_second_data_set_can_be_like_the_first(program: Program) -> None:
    folder_of_songs(program.folder / "music")
    folder_of_songs(program.folder / "more", 6)
    program("data", "build", "music", "-o", "first", "--bars", "2", "--workers", "1", *SHARES)
    built = program(
        "data", "build", "more", "-o", "second", "--like", "first", "--workers", "1", "--json"
    )
    second = json.loads(built.stdout)
    first = json.loads((program.folder / "first" / "manifest.json").read_text())
    for setting in ("density_edges", "bars", "steps_per_quarter"):
        assert second["tokenizer"][setting] == first["tokenizer"][setting]
    refused = program.fails(2, "data", "build", "more", "-o", "x", "--like", "first", "--bars", "4")
    assert "bars is 2 in first (got 4)" in refused


def test_whole_pieces_are_converted_to_windows(program: Program) -> None:
    folder_of_songs(program.folder / "music", 12)
    built = program("data", "build", "music", "-o", "set").stdout
    assert "sequence of a recipe, training windows of 8 bars:" in built
    assert "1,024 tokens (tiny): holds all windows" in built
    made = program("data", "convert", "set", "-o", "windows", "--bars", "2", "--seed", "5")
    assert "music: 12 of 12 pieces kept" in made.stdout
    assert "sequence of a recipe" in made.stdout
    assert "is sound" in program("data", "verify", "windows").stdout
    again = program("data", "convert", "set", "-o", "windows", "--bars", "2", "--seed", "5")
    assert "windows is up to date: nothing to do" in again.stderr


def test_the_list_shows_every_collection(program: Program) -> None:
    table = program("data", "list").stdout
    assert all(known.name in table for known in COLLECTIONS)
    listed = json.loads(program("data", "list", "--json").stdout)
    assert [entry["name"] for entry in listed] == [known.name for known in COLLECTIONS]
    assert all(entry["licence"] and entry["citation"] for entry in listed)


def test_ctrl_c_keeps_finished_shards_and_says_how_to_resume(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "megatron_music", "data", "build", "bach", "-o", "set"]
    with subprocess.Popen(
        [*command, "--workers", "1"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as started:
        while not list(tmp_path.glob("set/.build/*/shard-*[1-9]")):
            assert started.poll() is None
        started.send_signal(signal.SIGINT)
        _, said = started.communicate(timeout=60)
    assert started.returncode == 130
    assert "the same command resumes from what is saved" in said
    assert "Traceback" not in said
    assert not (tmp_path / "set/manifest.json").exists()
    assert list(tmp_path.glob("set/.build/*/shard-*[0-9]"))


def test_stats_shows_and_draws_what_a_data_set_consists_of(home: Program) -> None:
    shown = home("data", "stats", "set", "-o", "pictures")
    assert "Tracks by instrument" in shown.stdout
    assert "fit into 2048" in shown.stdout
    assert "stats.json and the pictures are in pictures" in shown.stderr
    assert len(list(home.folder.glob("pictures/*.png"))) == 6
    values = json.loads(home("data", "stats", "set", "--json").stdout)
    assert values == json.loads((home.folder / "pictures/stats.json").read_text())

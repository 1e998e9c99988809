"""The whole way once, on all of Bach's chorales: MIDI-like input to music that sounds."""

import json
from pathlib import Path

import numpy as np
import pretty_midi
import pytest
from transformers import AutoTokenizer

from megatron_music.data.indexed import IndexedReader
from megatron_music.errors import UsageError
from megatron_music.files import file_lock
from megatron_music.kernels import compile_kernels
from megatron_music.tokenizer.codec import to_text
from megatron_music.tokenizer.megatron import MmmtrackTokenizer
from megatron_music.tokenizer.vocabulary import load_vocabulary
from tests.cli.program import Program
from tests.data.collection import folder_of_songs

pytestmark = pytest.mark.slow

SMALL = [
    "model.num_layers=1",
    "model.hidden_size=32",
    "model.num_attention_heads=2",
    "train.train_iters=3",
    "train.global_batch_size=2",
    "train.micro_batch_size=2",
    "log.log_interval=1",
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """A folder with all chorales, of which windows are drawn in one key, as `bach`."""
    program = Program(tmp_path_factory.mktemp("journey"))
    program("data", "build", "bach", "-o", "bach", "--no-transpositions")
    return program


def test_every_chorale_is_accounted_for(home: Program) -> None:
    lines = (home.folder / "bach" / "files.jsonl").read_text().splitlines()
    outcomes = [json.loads(line) for line in lines]
    refused = [one for one in outcomes if one["outcome"] == "refused"]
    assert len(outcomes) == 371
    assert {one["reason"] for one in refused} == {"metre", "parts", "barlines", "duplicate"}
    assert len(outcomes) - len(refused) > 280
    assert "is sound" in home("data", "verify", "bach").stdout


def test_both_plugins_give_the_ids_that_are_stored_for_every_chorale(home: Program) -> None:
    folder = home.folder / "bach"
    vocabulary = load_vocabulary(folder / "tokenizer")
    megatron = MmmtrackTokenizer(vocabulary)
    hugging_face = AutoTokenizer.from_pretrained(folder / "tokenizer", trust_remote_code=False)
    documents = 0
    for split in ("train", "valid", "test"):
        reader = IndexedReader(folder / split)
        for index in range(len(reader)):
            stored = np.asarray(reader[index], np.int64)
            text = to_text(stored, vocabulary)
            assert megatron.tokenize(text) == stored.tolist()
            assert hugging_face(text).input_ids == stored.tolist()
            assert megatron.detokenize(stored.tolist()) == hugging_face.decode(stored)
        documents += len(reader)
    assert documents > 280


def test_a_model_is_trained_exported_and_composes_chorales(home: Program) -> None:
    compile_kernels()
    trained = home("train", "tiny", "--data", "bach", "--run", "run", *SMALL)
    assert "compiling" not in trained.stderr
    log = [json.loads(line) for line in (home.folder / "run" / "log.jsonl").open()]
    assert log[-1]["iteration"] == 3
    assert log[-1]["validation_loss"] < log[0]["validation_loss"]
    difference = home("export", "run", "-o", "run/hf").stdout.split()[-1]
    assert float(difference) < 1e-5
    wish = ("sample", "run/hf", "-o", "music", "-n", "2", "--bars", "8", "--seed", "3")
    files = [home.folder / line for line in home(*wish).stdout.split()]
    of_songs = [".mid", ".wav", ".png", ".json"] * 2
    assert [file.suffix for file in files] == [*of_songs, ".html"]
    for midi in (file for file in files if file.suffix == ".mid"):
        voices = pretty_midi.PrettyMIDI(str(midi)).instruments
        assert [voice.name for voice in voices] == ["SOPRANO", "ALTO", "TENOR", "BASS"]


def test_every_step_says_when_it_has_nothing_to_do(home: Program) -> None:
    before = snapshot(home.folder)
    wish = ("sample", "run/hf", "-o", "music", "-n", "2", "--bars", "8", "--seed", "3")
    for command in (
        ("data", "build", "bach", "-o", "bach", "--no-transpositions"),
        ("train", "tiny", "--data", "bach", "--run", "run", *SMALL),
        ("export", "run", "-o", "run/hf"),
        wish,
    ):
        said = home(*command).stderr
        done = ("nothing to do", "up to date", "has reached", "already holds")
        assert any(words in said for words in done), said
    assert snapshot(home.folder) == before


def test_a_refused_wish_and_a_damaged_song_are_noticed(home: Program) -> None:
    wish = ("sample", "run/hf", "-o", "music", "-n", "2", "--bars", "8", "--seed", "3")
    before = snapshot(home.folder)
    said = home.fails(2, "sample", "run/hf", "-o", "music", "--top-p", "1.7")
    assert "--top-p must be in (0, 1] (got 1.7)" in said
    assert snapshot(home.folder) == before
    (home.folder / "music" / "song-3.mid").write_bytes(b"no music")
    assert "already holds" not in home(*wish).stderr
    assert "already holds" in home(*wish).stderr
    assert (home.folder / "music" / "song-3.mid").read_bytes() == b"no music"


def test_a_run_stays_with_its_data_set_and_leaves_other_folders_alone(home: Program) -> None:
    folder_of_songs(home.folder / "songs")
    home("data", "build", "songs", "-o", "other", "--like", "bach", "--workers", "1")
    train = ("train", "tiny", "--data")
    assert "trained on other data" in home.fails(1, *train, "other", "--run", "run", *SMALL)
    assert "holds other files" in home.fails(2, *train, "bach", "--run", "music", *SMALL)


def test_two_trainings_do_not_share_a_run(home: Program) -> None:
    lock = home.folder / "run" / ".lock"
    with file_lock(lock, UsageError("busy")):
        longer = [*SMALL, "train.train_iters=5"]
        said = home.fails(1, "train", "tiny", "--data", "bach", "--run", "run", *longer)
    assert "another training is running" in said


def test_songs_are_added_next_to_the_model_without_an_output_folder(home: Program) -> None:
    files = home("compose", "run/hf", "-n", "1", "--bars", "2", "--no-png").stdout.split()
    made = ["song-7.mid", "song-7.wav", "song-7.json", "index.html"]
    assert files == [f"run/music/{name}" for name in made]
    copies = home("compose", "run/hf", "--keep", "7").stdout.split()
    assert copies == [f"run/music/kept/{name}" for name in made[:3]]


def snapshot(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}

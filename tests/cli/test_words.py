"""Words by the commands of docs/words.md: from a CSV to songs by artist, prefix and number."""

import re
import shlex
from pathlib import Path

import pytest

from tests.cli.program import Program
from tests.text.collection import write_songs
from tests.text.test_build_words import gpt2_tokenizer
from tests.train.conftest import read

torch = pytest.importorskip("torch")
pytest.importorskip("megatron.core")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

DOCS = Path(__file__).parents[2] / "docs" / "words.md"
SMALL = [
    "model.num_layers=2",
    "model.hidden_size=32",
    "model.num_attention_heads=4",
    "train.train_iters=6",
    "log.eval_interval=3",
    "log.save_interval=3",
    "log.log_interval=3",
    "train.precision=fp32",
]
HF = "runs/lyrics-tiny-text/hf"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """A folder in which a model of words has been built, trained a little, and exported."""
    program = Program(tmp_path_factory.mktemp("words"))
    write_songs(program.folder / "lyrics.csv")
    built = program("data", "build", "lyrics.csv", "-o", "data/lyrics", "--text")
    assert "lyrics.csv: 60 of 60 songs kept" in built.stdout
    assert "is sound" in program("data", "verify", "data/lyrics").stdout
    sampling = ["log.sample_interval=6", "train.optimizer=adam"]
    train = program("train", "tiny-text", "--data", "data/lyrics", *SMALL, *sampling)
    assert "wrote runs/lyrics-tiny-text/samples/step_6/song-7.txt" in train.stderr
    program("export", "runs/lyrics-tiny-text")
    return program


def commands() -> list[list[str]]:
    """Return the `sample` commands of the page."""
    blocks = re.findall(r"```\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    lines = [shlex.split(line) for block in blocks for line in block.splitlines()]
    return [words[1:] for words in lines if words[:3] == ["megatron-music", "sample", HF]]


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_the_samples_of_the_page_are_written(program: Program, command: list[str]) -> None:
    made = program(*command, "--max-tokens", "40").stdout
    files = re.findall(r"^(\S+song-\S+\.txt)$", made, re.MULTILINE)
    assert len(files) == (1 if "--song-id" in command else 4)
    texts = [(program.folder / file).read_text(encoding="utf-8") for file in files]
    for option in ("--artist", "--title"):
        if option in command:
            wanted = f"{option[2:]}: {command[command.index(option) + 1]}"
            assert all(wanted in text.splitlines() for text in texts)
    if "--prompt" in command:
        assert all(re.search(r"(\A|\n\n)Why", text) for text in texts)
    seeds = [] if "--song-id" in command else ["--seed", files[0].split("song-")[1][:-4]]
    again = program(*command, "--max-tokens", "40", *seeds)
    assert "already holds these songs" in again.stderr
    assert again.stdout == made


def test_the_report_tells_of_loss_variety_and_copies(program: Program) -> None:
    words = ("evaluate", HF, "--data", "data/lyrics", "-o", "report", "-n", "10")
    told = program(*words).stdout
    assert re.search(r"valid: \d\.\d{3} bits a character", told)
    assert "different runs of words, held-out" in told
    assert "copying: at most" in told
    assert "nothing to do" in program(*words).stderr


def test_options_of_music_are_one_clear_line(program: Program) -> None:
    told = program.fails(2, "sample", HF, "--bars", "8", "--instrument", "piano")
    assert "--bars, --instrument: for a model of music" in told


def test_a_recipe_of_music_does_not_learn_words(program: Program) -> None:
    told = program.fails(2, "train", "tiny", "--data", "data/lyrics")
    assert "use recipe tiny-text or gpt2-lyrics" in told


def test_commands_of_music_say_that_it_is_words(program: Program) -> None:
    assert "is of words and has no music" in program.fails(1, "data", "stats", "data/lyrics")


def test_bad_tables_are_one_clear_line(program: Program) -> None:
    (program.folder / "other.csv").write_text("who,what\nA,B\n")
    told = program.fails(1, "data", "build", "other.csv", "-o", "o", "--text")
    assert "it has who, what: name one with --text-column" in told
    assert "add --text" in program.fails(2, "data", "build", "lyrics.csv", "-o", "o")
    told = program.fails(2, "data", "build", "lyrics.csv", "-o", "o", "--text", "--bars", "4")
    assert "--bars: for music, and these are words" in told


def test_a_gpt2_folder_is_fine_tuned(program: Program) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = gpt2_tokenizer(program.folder / "gpt2")
    config = GPT2Config(vocab_size=300, n_positions=256, n_embd=32, n_layer=2, n_head=4)
    GPT2LMHeadModel(config).save_pretrained(folder)
    program("data", "build", "lyrics.csv", "-o", "data/g", "--text", "--like", "gpt2")
    train = ["train", "gpt2-lyrics", "--data", "data/g", "--from", "gpt2", *SMALL]
    more = ["model.seq_length=256", "train.global_batch_size=2", "log.sample_interval=0"]
    told = program(*train, *more).stderr
    assert f"begins with the weights of {folder}" in told
    log = read(program.folder / "runs" / "g-gpt2-lyrics")
    assert log[-1]["validation_loss"] < log[0]["validation_loss"]
    again = program(*train, *more, "train.train_iters=9").stderr
    assert "resumes after iteration 6" in again
    program("export", "runs/g-gpt2-lyrics")
    made = program("sample", "runs/g-gpt2-lyrics/hf", "--prompt", "Why do", "--max-tokens", "20")
    assert "Why do" in made.stdout

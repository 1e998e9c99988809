"""Words that are sung by the commands of docs/words.md: from karaoke files to composed ones."""

import json
import re
import shlex
from pathlib import Path

import mido
import numpy as np
import pytest

from megatron_music.score.midi_reader import parse_midi
from megatron_music.score.midi_writer import write_midi
from tests.cli.program import Program
from tests.music import WORDS, sung_song

torch = pytest.importorskip("torch")
pytest.importorskip("megatron.core")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

DOCS = Path(__file__).parents[2] / "docs" / "words.md"
SMALL = {
    "train": [
        "model.num_layers=1",
        "model.hidden_size=32",
        "model.num_attention_heads=4",
        "train.train_iters=3",
        "log.eval_interval=3",
        "log.save_interval=3",
        "log.sample_interval=0",
        "train.precision=fp32",
    ],
    "sample": [*("--seed", "7", "-n", "1", "--temperature", "2"), *("--no-wav", "--no-png")],
}
STAR = ["\\Twin", "kle, ", "twin", "kle, ", "lit", "tle ", "star "]
SUNG_TO = ("song.kar", "new-words/song-7.kar")


def commands() -> list[list[str]]:
    """Return the commands of the page on words that are sung."""
    page = DOCS.read_text(encoding="utf-8")
    part = page.partition("## Words that are sung")[2].partition("\n## ")[0]
    blocks = re.findall(r"```\n(.*?)```", part, re.DOTALL)
    return [shlex.split(line)[1:] for block in blocks for line in block.splitlines()]


def texts(path: Path) -> list[tuple[int, str]]:
    """Return the words of a karaoke file with their ticks, by another reader of MIDI."""
    file = mido.MidiFile(path, charset="utf-8")
    [words] = [chunk for chunk in file.tracks if chunk.name == "Words"]
    ticks = np.cumsum([message.time for message in words]).tolist()
    return [
        (tick, message.text)
        for tick, message in zip(ticks, words, strict=True)
        if message.type == "text" and not message.text.startswith("@")
    ]


def begins(path: Path) -> set[int]:
    """Return the ticks at which notes begin in a MIDI file, by another reader."""
    file = mido.MidiFile(path)
    return {
        tick
        for chunk in file.tracks
        for tick, message in zip(np.cumsum([one.time for one in chunk]), chunk, strict=True)
        if message.type == "note_on" and message.velocity
    }


def test_the_commands_of_the_page_lead_from_karaoke_to_karaoke(tmp_path: Path) -> None:
    program = Program(tmp_path)
    (tmp_path / "karaoke").mkdir()
    for number in range(1, 41):
        write_midi(sung_song(number, WORDS), tmp_path / "karaoke" / f"song-{number}.kar")
    write_midi(sung_song(1, WORDS), tmp_path / "song.kar")
    told = {
        " ".join(words[:2]): program(*words, *SMALL.get(words[0], [])).stdout
        for words in commands()
    }
    assert re.search(r"sung: [\d,]+ of [\d,]+ notes", told["data stats"])
    assert "<syllabic>begin</syllabic>" in (tmp_path / "song.musicxml").read_text()
    assert (tmp_path / "sung/song-7.kar").is_file()
    star = tmp_path / "star/song-7.kar"
    assert [text for _, text in texts(star)] == STAR
    assert {tick for tick, _ in texts(star)} <= begins(star), "each syllable begins with a note"
    song, again = (parse_midi((tmp_path / name).read_bytes(), name) for name in SUNG_TO)
    assert song.tracks == again.tracks
    assert "words" in json.loads((tmp_path / "new-words/song-7.json").read_text())["came"]

"""From karaoke files to a data set with words, and from a model to songs that are sung."""

from pathlib import Path
from typing import Any

import mido
import numpy as np
import pytest

from megatron_music.api import build
from megatron_music.data.indexed import IndexedReader
from megatron_music.data.records import left_out
from megatron_music.data.report.stats import statistics
from megatron_music.data.report.verify import verify
from megatron_music.generate.album import Formats, write_album
from megatron_music.generate.composer import Composer
from megatron_music.generate.midi_patch import write_song
from megatron_music.generate.prompt import read_prompt
from megatron_music.generate.song_report import Provenance
from megatron_music.generate.song_request import Request
from megatron_music.score.midi_writer import write_midi
from megatron_music.score.music_file import parse_sung, read_music
from megatron_music.score.notes import Track
from megatron_music.score.quantize import quantize
from megatron_music.score.words import split_mark
from megatron_music.tokenizer.codec import decode
from megatron_music.tokenizer.grammar import check
from megatron_music.tokenizer.structure import INPUTS
from megatron_music.tokenizer.vocabulary import TokenizerSettings, load_vocabulary
from tests.generate.conftest import untrained
from tests.music import WORDS, sung_song


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of karaoke files: songs, one with numbers for words, one with adverts."""
    folder = tmp_path_factory.mktemp("karaoke")
    for number in range(1, 31):
        write_midi(sung_song(number, WORDS), folder / f"song-{number}.kar")
    write_midi(sung_song(40, [f"{i} " for i in range(8)]), folder / "numbers.kar")
    write_midi(sung_song(41, [*["www.sing.com "] * 4, *WORDS[4:]]), folder / "adverts.kar")
    chosen = {"bars": 4, "lyrics": True, "fill": True, "transpositions": 2, "pieces": False}
    build(folder, folder / "set", **chosen)
    return folder / "set"


def test_a_data_set_holds_the_words_of_karaoke_files(data: Path) -> None:
    vocabulary = load_vocabulary(data / "tokenizer")
    assert vocabulary.has_lyrics
    assert "kle" in vocabulary.settings.syllable_pieces, "learned from the collection"
    assert verify(data).documents > 30
    reader = IndexedReader(data / "train")
    pieces = [decode(reader[i], vocabulary) for i in range(len(reader))]
    sung = {
        "".join(track.sung.tolist())
        for piece in pieces
        for track in piece.tracks
        if track.syllables is not None
    }
    assert "".join(WORDS * 2) in {text.replace("star ", "star\n") for text in sung}
    assert statistics(data).sung_notes > 14 * 25


def test_texts_that_are_not_words_are_left_out_with_the_reason(data: Path) -> None:
    told = {record["name"]: record["detail"] for record in left_out(data)}
    assert told["numbers.kar"] == "syllables left out: 16 numbers"
    assert told["adverts.kar"] == "syllables left out: 8 advert"


def test_without_the_option_the_data_set_is_as_it_was(tmp_path: Path) -> None:
    for name, words in (("sung", WORDS), ("silent", [""] * 8)):
        for number in range(1, 5):
            path = tmp_path / name / f"song-{number}.mid"
            path.parent.mkdir(exist_ok=True)
            write_midi(sung_song(number, words), path)
        build(tmp_path / name, tmp_path / f"{name}-set", bars=4)
    sung, silent = (IndexedReader(tmp_path / f"{name}-set/train") for name in ("sung", "silent"))
    assert sung.tokens.tolist() == silent.tokens.tolist()


def shown(path: Path) -> list[str]:
    """Return the words that another reader of MIDI finds in a file, without their ends."""
    return [
        message.text.strip("- \r\n")
        for chunk in mido.MidiFile(path, charset="utf-8").tracks
        for message in chunk
        if message.type == "lyrics"
    ]


@pytest.mark.parametrize("bars", [4, 6])
def test_a_model_writes_melody_and_words_that_players_read(tmp_path: Path, bars: int) -> None:
    settings = TokenizerSettings(bars=4, lyrics=True, fill=True)
    model = untrained(tmp_path / "hf", settings, seq_length=400, inputs=INPUTS)
    composer = Composer.load(model)
    request = Request(2, bars=bars, tracks=2, temperature=2.0)
    songs = list(composer.compose(request))
    formats = Formats(wav=False, png=False, page=False, musicxml=True)
    write_album(songs, tmp_path, request, Provenance("m", "v"), formats)
    assert any(song.piece.is_sung for song in songs)
    for song in songs:
        check(np.array(song.tokens), composer.vocabulary)
        expected = sorted("".join(track.sung.tolist()) for track in song.piece.tracks)
        stem = tmp_path / f"song-{song.seed}"
        sung = [one for track in song.piece.tracks for one in track.sung.tolist() if one]
        assert sorted(shown(Path(f"{stem}.mid"))) == sorted(split_mark(one)[0] for one in sung)
        notated = quantize(read_music(Path(f"{stem}.musicxml")), 4)
        assert sorted("".join(track.sung.tolist()) for track in notated.tracks) == expected


@pytest.fixture(scope="module")
def composer(tmp_path_factory: pytest.TempPathFactory) -> Composer:
    """A model that knows words and has learned nothing."""
    settings = TokenizerSettings(bars=4, lyrics=True, fill=True, syllable_pieces=("kle", "in"))
    folder = tmp_path_factory.mktemp("model")
    return Composer.load(untrained(folder, settings, seq_length=400, inputs=INPUTS))


@pytest.mark.parametrize("suffix", ["mid", "kar"])
@pytest.mark.parametrize(
    ("request_", "kept_bars"),
    [({"fill_bars": (2,), "fill_tracks": ("track 1",)}, (0, 2, 3)), ({"bars": 6}, (0, 1, 2, 3))],
)
def test_the_words_of_a_prompt_stay_and_new_bars_are_sung(
    composer: Composer,
    tmp_path: Path,
    suffix: str,
    request_: dict[str, Any],
    kept_bars: tuple[int, ...],
) -> None:
    write_midi(sung_song(3, WORDS), tmp_path / f"prompt.{suffix}")
    prompt = read_prompt(tmp_path / f"prompt.{suffix}", 4)
    words = [split_mark(one)[0] for one in WORDS * 2]
    assert texts(prompt.piece.tracks[0]) == words, "the model reads them"
    [song] = composer.compose(Request(1, temperature=2.0, seed=3, **request_), prompt)
    write_song(song, tmp_path / "song.mid", prompt)
    track = song.piece.tracks[0]
    bars = song.piece.bar_at(track.onset)
    of_old = np.isin(bars, kept_bars)
    assert texts(track.some(of_old)) == [words[i] for i in range(16) if i // 4 in kept_bars]
    assert any(track.sung[~of_old]), "new bars are sung"
    again = parse_sung((tmp_path / "song.mid").read_bytes(), "song.mid").score
    read = quantize(again, 4).tracks[0]
    assert [one for one in texts(read) if one] == [one for one in texts(track) if one]


def texts(track: Track) -> list[str]:
    """Return the syllables of a track without what ends after them."""
    return [split_mark(one)[0] for one in track.sung.tolist()]

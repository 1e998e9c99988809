"""Words to a given melody: all notes stay, and of the melody some get a syllable."""

from dataclasses import replace
from pathlib import Path

import mido
import numpy as np
import pytest

from megatron_music.errors import UsageError
from megatron_music.generate.album import Formats, write_album
from megatron_music.generate.composer import Composer
from megatron_music.generate.midi_patch import write_song
from megatron_music.generate.prompt import Prompt, read_prompt
from megatron_music.generate.song_report import Provenance
from megatron_music.generate.song_request import Request
from megatron_music.generate.words_to_melody import MelodyConstraint, sing_template
from megatron_music.score.midi_writer import write_midi
from megatron_music.score.notes import Piece
from megatron_music.score.words import split_mark
from megatron_music.tokenizer.codec import decode
from megatron_music.tokenizer.structure import INPUTS
from megatron_music.tokenizer.vocabulary import TokenizerSettings, vocabulary_of
from tests.generate.conftest import untrained
from tests.music import WORDS, sung_song, track, wander

STAR = "Twinkle, twinkle, little star,\nHow I wonder what you are!"


@pytest.fixture(scope="module")
def composer(tmp_path_factory: pytest.TempPathFactory) -> Composer:
    """A model that knows words, of no music."""
    settings = TokenizerSettings(bars=2, lyrics=True, fill=True, syllable_pieces=("in", "kle"))
    folder = tmp_path_factory.mktemp("model")
    return Composer.load(untrained(folder, settings, seq_length=400, inputs=INPUTS))


@pytest.fixture(scope="module")
def prompt(tmp_path_factory: pytest.TempPathFactory) -> Prompt:
    """A karaoke file of four bars, two windows of the model."""
    path = tmp_path_factory.mktemp("prompt") / "song.kar"
    write_midi(sung_song(3, WORDS), path)
    return read_prompt(path, 4)


def test_only_syllables_are_drawn_and_only_of_notes_that_are_open() -> None:
    vocabulary = vocabulary_of(TokenizerSettings(lyrics=True, bars=4))
    piece = sung_song(3, WORDS)
    silent = replace(piece, tracks=tuple(replace(one, syllables=None) for one in piece.tracks))
    template = sing_template(silent, 0, (0, 4, 2), vocabulary)
    assert sorted(template.open.values()) == list(range(8, 16)), "those of the new bars"
    constraint = MelodyConstraint(vocabulary, [template], len(template.tokens) + 30)
    tokens = wander(constraint, vocabulary, np.random.default_rng(1), template.given)
    assert len(template.tokens) < len(tokens) <= len(template.tokens) + 30
    sung = decode(tokens, vocabulary)
    assert sorted(sung.tracks, key=lambda one: one.instrument) == list(piece.tracks)


def test_a_melody_with_an_upbeat_is_sung_from_its_first_note() -> None:
    vocabulary = vocabulary_of(TokenizerSettings(lyrics=True, bars=2))
    notes = [(12, 16, 60), *((16 + 4 * i, 20 + 4 * i, 62 + i) for i in range(4))]
    template = sing_template(Piece(4, 2, (track(0, *notes),)), 0, (0, 2, 0), vocabulary)
    assert list(template.open.values()) == [0, 1, 2, 3, 4]
    assert template.given[-2:] == [vocabulary.time_delta + 12, vocabulary.note_on + 60]


def test_a_file_keeps_its_notes_and_gets_other_words(
    composer: Composer, prompt: Prompt, tmp_path: Path
) -> None:
    [song] = composer.compose(Request(sing=True, voice="track 1", temperature=2.0), prompt)
    track = song.piece.tracks[0]
    words = [split_mark(one)[0] for one in track.sung.tolist() if one]
    assert words
    write_song(song, tmp_path / "song.mid", prompt)
    file = mido.MidiFile(tmp_path / "song.mid", charset="utf-8")
    shown = [one.text.strip("- \r\n") for chunk in file.tracks for one in chunk if is_word(one)]
    assert shown == words
    assert read_prompt(tmp_path / "song.mid", 4).piece == prompt.piece


def is_word(message: mido.MetaMessage) -> bool:
    is_text = message.type in ("lyrics", "text")
    return is_text and not message.text.startswith("@")


def test_given_words_are_in_all_files_of_a_song(composer: Composer, tmp_path: Path) -> None:
    request = Request(1, words=STAR, instruments=("soprano", "bass"), temperature=2.0)
    [song] = composer.compose(request)
    assert "".join(song.piece.tracks[0].sung.tolist()) == f"{STAR}\n"
    assert song.piece.tracks[1].syllables is None
    formats = Formats(wav=False, png=False, page=False, musicxml=True, kar=True)
    write_album([song], tmp_path, request, Provenance("m", "v"), formats)
    assert (tmp_path / "song-7.kar").is_file()
    file = mido.MidiFile(tmp_path / "song-7.mid", charset="utf-8")
    shown = "".join(one.text for chunk in file.tracks for one in chunk if is_word(one))
    assert shown.replace(" \r", "\n").strip() == STAR


@pytest.mark.parametrize(
    "wrong",
    [
        {"words": STAR, "bars": 1},
        {"words": STAR, "sing": True},
        {"words": STAR, "language": "xx"},
        {"language": "en"},
        {"upbeat": 1},
        {"words": STAR, "upbeat": 5},
        {"words": STAR, "instruments": None},
        {"sing": True},
        {"sing": True, "bars": 4},
    ],
)
def test_what_cannot_be_sung_is_refused(composer: Composer, wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"words|language|sing|upbeat"):
        list(composer.compose(Request(**{"instruments": ("soprano", "bass"), **wrong})))  # type: ignore[arg-type]


def test_a_model_without_words_says_so(tmp_path: Path, prompt: Prompt) -> None:
    model = untrained(tmp_path, TokenizerSettings(bars=2), seq_length=200)
    composer = Composer.load(model)
    with pytest.raises(UsageError, match="without words"):
        list(composer.compose(Request(words=STAR)))
    with pytest.raises(UsageError, match="without words"):
        list(composer.compose(Request(sing=True, voice="track 1"), prompt))

"""Words in evaluation: their cost with and without the music, and stresses on strong beats."""

from dataclasses import replace

import numpy as np
import pytest

from megatron_music.evaluate.corpus import SplitWindows
from megatron_music.evaluate.heldout import read, summarize
from megatron_music.evaluate.sung_words import monotone, stress_counts, words_alone
from megatron_music.generate.composer import Composer
from megatron_music.progress import silent
from megatron_music.score.metre import TimeSignature
from megatron_music.score.notes import Piece
from megatron_music.tokenizer.codec import encode
from megatron_music.tokenizer.vocabulary import TokenizerSettings
from tests.generate.conftest import untrained
from tests.music import WORDS, sung_song, track

STRESSES = {"twinkle": "10", "little": "10", "alone": "01"}


@pytest.fixture(scope="module")
def composer(tmp_path_factory: pytest.TempPathFactory) -> Composer:
    """An untrained model that knows words."""
    settings = TokenizerSettings(bars=4, lyrics=True, syllable_pieces=("kle",))
    return Composer.load(untrained(tmp_path_factory.mktemp("sung"), settings, seq_length=400))


def test_nats_a_syllable_are_those_of_its_pieces_and_its_end(composer: Composer) -> None:
    vocabulary = composer.vocabulary
    tokens = encode(sung_song(3, WORDS), vocabulary)
    [reading] = read(composer.model, vocabulary, [tokens])
    sung = (reading.targets >= vocabulary.syllable) & (reading.targets < vocabulary.attribute)
    found = summarize([reading], np.zeros(1, np.int64), vocabulary).per_syllable
    assert found is not None
    assert found.value == pytest.approx(reading.nats[sung].sum() / 14)
    silent_song = encode(sung_song(3, [""] * 8), vocabulary)
    readings = read(composer.model, vocabulary, [silent_song])
    assert summarize(readings, np.zeros(1, np.int64), vocabulary).per_syllable is None


def test_words_alone_are_read_to_quarter_notes_on_one_pitch(composer: Composer) -> None:
    piece = sung_song(3, WORDS)
    alone = monotone(piece)
    [melody] = alone.tracks
    assert [one for one in melody.sung.tolist() if one] == [one for one in WORDS * 2 if one]
    assert len({*melody.pitch.tolist()}) == 1
    silent_song = encode(sung_song(3, [""] * 8), composer.vocabulary)
    tokens = (encode(piece, composer.vocabulary), silent_song)
    split = SplitWindows(tokens, np.arange(2), np.full((2, 2), -1, np.int32))
    found = words_alone(composer, split, silent)
    readings = read(composer.model, composer.vocabulary, [encode(alone, composer.vocabulary)])
    expected = summarize(readings, np.zeros(1, np.int64), composer.vocabulary).per_syllable
    assert found is not None
    assert expected is not None
    assert found.value == expected.value


@pytest.mark.parametrize(
    ("words", "metre", "expected"),
    [
        # "Twin" and "lit" begin halves of bars, "kle" and "tle" do not; "star" has one syllable.
        (["Twin", "kle ", "lit", "tle ", "star "], (4, 4), [2, 2, 0, 2, 2, 2]),
        (["a", "lone ", "star "], (4, 4), [0, 1, 1, 1, 1, 1]),
        (["Twin", "kle ", "", "lit", "tle "], (3, 4), [2, 2, 0, 2, 2, 2]),
        (["hoch", "zeit ", "Twin", "kle "], (4, 4), [1, 1, 0, 1, 1, 2]),
    ],
)
def test_stressed_syllables_on_strong_beats_are_counted(
    words: list[str], metre: tuple[int, int], expected: list[int]
) -> None:
    notes = track(0, *[(4 * i, 4 * i + 4, 60) for i in range(len(words))])
    melody = replace(notes, syllables=np.array(words, np.str_))
    piece = Piece(4, 2, (melody,), (TimeSignature(*metre),) * 2)
    assert stress_counts(piece, lambda word: STRESSES.get(word, "")).tolist() == expected

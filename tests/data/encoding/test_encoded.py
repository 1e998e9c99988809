"""Documents with hidden bars: each beside the whole one, and put back to it."""

from pathlib import Path

import numpy as np

from megatron_music.data.build import build
from megatron_music.data.indexed import IndexedReader
from megatron_music.data.report.verify import verify
from megatron_music.data.settings import BuildSettings
from megatron_music.tokenizer.hidden_bars import is_hidden, restore
from megatron_music.tokenizer.vocabulary import load_vocabulary
from tests.data.collection import songs, source_of

EVERYTHING = BuildSettings(fill=True, transpositions=3, split=(100, 0, 0))


def test_every_document_is_followed_by_itself_with_bars_hidden(tmp_path: Path) -> None:
    build(source_of(songs(6)), tmp_path, EVERYTHING)
    vocabulary = load_vocabulary(tmp_path / "tokenizer")
    assert vocabulary.settings.fill
    reader = IndexedReader(tmp_path / "train")
    assert len(reader) % 2 == 0
    choices = set()
    for index in range(0, len(reader), 2):
        whole, hidden = reader[index], reader[index + 1]
        assert is_hidden(hidden, vocabulary)
        assert not is_hidden(whole, vocabulary)
        assert np.array_equal(restore(hidden, vocabulary)[0], whole)
        choices.add(tuple(np.flatnonzero(hidden == vocabulary.ids["FILL_IN"]).tolist()))
    assert len(choices) > len(reader) // 4
    verify(tmp_path)

"""A data set of words: what its documents hold, on which side each song is, what is left out."""

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from megatron_music.data.indexed import IndexedReader
from megatron_music.data.manifest import read_manifest
from megatron_music.data.report.verify import verify
from megatron_music.errors import DataError, UsageError
from megatron_music.text.build_words import build_text
from megatron_music.text.songs import Columns, open_songs
from megatron_music.text.vocabularies import hash_of
from megatron_music.text.words_settings import TextBuildSettings
from megatron_music.tokenizer.text_vocabulary import (
    GPT2_END,
    TextVocabulary,
    load_text_vocabulary,
    with_bytes,
)
from tests.text.collection import verses, write_songs

pytest.importorskip("datasketch")
SPLITS = ("train", "valid", "test")


def build(path: Path, folder: Path, **settings: object) -> TextVocabulary:
    build_text(open_songs(path, Columns()), folder, TextBuildSettings(**settings))  # type: ignore[arg-type]
    return load_text_vocabulary(folder / "tokenizer")


def documents(folder: Path) -> dict[str, list[str]]:
    """Return the documents of each side as text with marks."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer" / "tokenizer.json"))
    return {
        split: [
            tokenizer.decode(tokens.tolist(), skip_special_tokens=False)
            for tokens in (IndexedReader(folder / split))
        ]
        for split in SPLITS
    }


def gpt2_tokenizer(folder: Path) -> Path:
    """Write a tokenizer as GPT-2's, learned from some songs."""
    folder.mkdir(exist_ok=True)
    tokenizer = with_bytes(Tokenizer(models.BPE()))
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=[GPT2_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator([verses("QUEEN", n) for n in range(20)], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.mark.parametrize("settings", [{}, {"vocabulary": 512}])
def test_a_song_is_a_document_with_its_artist_and_title(
    tmp_path: Path, settings: dict[str, int]
) -> None:
    build(write_songs(tmp_path / "a.csv"), tmp_path / "set", **settings)
    held = documents(tmp_path / "set")
    every = {document for side in held.values() for document in side}
    assert len(every) == 60
    assert f"<|song|><|artist|>QUEEN<|title|>Song 0<|words|>{verses('QUEEN', 0)}<|end|>" in every
    assert all(held.values())
    assert verify(tmp_path / "set").documents == 60


def test_the_same_songs_give_the_same_bytes_and_nothing_to_do(tmp_path: Path) -> None:
    songs = open_songs(write_songs(tmp_path / "a.csv"), Columns())
    for name in ("one", "two"):
        assert not build_text(songs, tmp_path / name).up_to_date
    one, two = (read_manifest(tmp_path / name) for name in ("one", "two"))
    assert one == two
    assert build_text(songs, tmp_path / "one").up_to_date
    with pytest.raises(UsageError, match="other songs or settings"):
        build_text(songs, tmp_path / "one", TextBuildSettings(longest_tokens=512))


def test_a_long_song_is_cut_at_the_ends_of_lines(tmp_path: Path) -> None:
    text = verses("QUEEN", 1, 40)
    (tmp_path / "a.csv").write_text(f'artist,lyrics\nQUEEN,"{text}"\n')
    build(tmp_path / "a.csv", tmp_path / "set", longest_tokens=256, split=(1, 0, 0))
    parts = documents(tmp_path / "set")["train"]
    assert len(parts) > 2
    header = "<|song|><|artist|>QUEEN"
    bodies = [part.removeprefix(header) for part in parts]
    assert bodies[0].startswith("<|words|>")
    assert all(body.startswith("<|cut|>") for body in bodies[1:])
    assert all(body.endswith("\n<|cut|>") for body in bodies[:-1])
    assert bodies[-1].endswith("<|end|>")
    assert "".join(body.split("|>", 1)[1].rpartition("<|")[0] for body in bodies) == text
    assert max(IndexedReader(tmp_path / "set" / "train").lengths) <= 256


def test_a_line_longer_than_a_document_is_cut_within(tmp_path: Path) -> None:
    text = "la " * 400
    (tmp_path / "a.csv").write_text(f"lyrics\n{text}\n")
    build(tmp_path / "a.csv", tmp_path / "set", longest_tokens=256, split=(1, 0, 0))
    parts = documents(tmp_path / "set")["train"]
    assert "".join(part.split("|>", 2)[2].rpartition("<|")[0] for part in parts) == text.strip()


def test_versions_of_a_song_are_on_one_side(tmp_path: Path) -> None:
    rows = ["title,lyrics"]
    for number in range(40):
        rows += [f'"One {number}","{verses("QUEEN", 100 * number + take)}"' for take in range(3)]
    (tmp_path / "a.csv").write_text("\n".join(rows))
    build(tmp_path / "a.csv", tmp_path / "set")
    held = documents(tmp_path / "set")
    titles = [{text.split("<|words|>")[0] for text in side} for side in held.values()]
    assert sum(map(len, titles)) == 40
    assert len(set.union(*titles)) == 40


def test_what_is_left_out_is_counted_and_named(tmp_path: Path) -> None:
    songs = write_songs(tmp_path / "a.csv", 10)
    with songs.open("a") as file:
        file.write(f'11,"x","Again","{verses("QUEEN", 0)}"\n12,"y","None",""\n')
    build(songs, tmp_path / "set")
    assert read_manifest(tmp_path / "set")["inputs"]["refused"] == {"duplicate": 1, "empty": 1}
    lines = (tmp_path / "set" / "files.jsonl").read_text().splitlines()
    assert json.loads(lines[10])["detail"] == "the words of row 1"


def test_text_of_a_mark_in_a_song_is_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('lyrics\n"la <|end|> la <|song|>"\n')
    for name, settings in (("set", {}), ("pairs", {"vocabulary": 600})):
        vocabulary = build(tmp_path / "a.csv", tmp_path / name, split=(1, 0, 0), **settings)
        (tokens,) = IndexedReader(tmp_path / name / "train")
        assert np.count_nonzero(tokens == vocabulary.piece_end) == 1
        assert vocabulary.decode(tokens.tolist()) == "la <|end|> la <|song|>"


def test_the_tokens_of_a_gpt2_folder_keep_their_ids(tmp_path: Path) -> None:
    folder = gpt2_tokenizer(tmp_path / "gpt2")
    songs = write_songs(tmp_path / "a.csv")
    own = build(songs, tmp_path / "set", like=folder, like_hash=hash_of(folder))
    theirs = Tokenizer.from_file(str(folder / "tokenizer.json"))
    text = verses("QUEEN", 0)
    assert own.encode([text])[0].tolist() == theirs.encode(text).ids
    assert own.piece_end == theirs.token_to_id(GPT2_END)
    assert own.extends(folder)
    assert not build(songs, tmp_path / "other", vocabulary=512).extends(folder)
    again = build(songs, tmp_path / "again", like=tmp_path / "set")
    assert again.hash == own.hash


def test_nothing_but_empty_songs_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('lyrics\n""\n"..."\n')
    with pytest.raises(DataError, match=r"nothing to train on: no song could be kept \(2 empty"):
        build(tmp_path / "a.csv", tmp_path / "set")
    assert not (tmp_path / "set" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"vocabulary": 100}, "--vocabulary must be 512"),
        ({"longest_tokens": 10}, "--longest must be"),
        ({"split": (0, 1, 1)}, "split must be three weights"),
        ({"vocabulary": 600, "like": Path("x")}, "give one"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        TextBuildSettings(**settings)  # type: ignore[arg-type]


def test_damage_is_found(tmp_path: Path) -> None:
    build(write_songs(tmp_path / "a.csv", 12), tmp_path / "set")
    path = tmp_path / "set" / "tokenizer" / "tokenizer.json"
    path.write_text(path.read_text().replace('"a":', '"ä":'))
    with pytest.raises(DataError, match="do not belong together"):
        load_text_vocabulary(tmp_path / "set" / "tokenizer")
    with pytest.raises(DataError, match="is not what was built"):
        verify(tmp_path / "set")

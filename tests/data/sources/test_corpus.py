"""The collections inside music21: what there is, its labels, and one piece of each kind."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from megatron_music.data.build import build
from megatron_music.data.indexed import IndexedReader
from megatron_music.data.records import Refusal
from megatron_music.data.settings import BuildSettings
from megatron_music.data.sources import corpus, score_cache
from megatron_music.data.sources.catalog import COLLECTIONS, collection_named
from megatron_music.data.sources.corpus import CorpusScore, list_corpus
from megatron_music.data.sources.open import folder_source, open_source
from megatron_music.data.sources.score_cache import CACHE, cached, cached_score
from megatron_music.errors import UsageError
from megatron_music.score.instruments import instrument_name
from megatron_music.score.notes import Score
from megatron_music.tokenizer.codec import decode
from megatron_music.tokenizer.vocabulary import load_vocabulary
from tests.data.collection import folder_of_songs
from tests.scores import KERN, TUNE, chorale_score, packed


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_collections_hold_as_many_pieces_as_the_catalogue_says() -> None:
    everything, labels = list_corpus(["scores"])
    assert len({item.name for item in everything}) == len(everything)
    assert {"BACH", "PALESTRINA", "MONTEVERDI", "HAYDN"} <= {row[0] for row in labels.rows.values()}
    assert {"JIG", "FOLK_SONG", "QUARTET", "MASS"} <= {row[1] for row in labels.rows.values()}
    sizes = {name: len(list_corpus([name])[0]) for name in corpus.NAMES[:-1]} | {
        "scores": len(everything)
    }
    assert sizes == {known.name: known.pieces for known in COLLECTIONS if known.name in sizes}
    for known in map(collection_named, corpus.NAMES):
        assert known is not None
        assert "do not pass it on" in known.licence
        assert known.embedded


def test_chorales_with_words_have_them_and_those_without_are_left_out() -> None:
    chorales = {item.name: item for item in list_corpus(["bach-sung"])[0]}
    soprano = chorales["001-bwv269"].read().tracks[0]
    assert "".join(soprano.sung[:10].tolist()) == "Aus meines Herzens Grunde\n"
    with pytest.raises(Refusal, match="no words"):
        chorales["006-bwv281"].read()
    settings = collection_named("bach-sung").preferred  # type: ignore[union-attr]
    assert settings.lyrics
    assert settings.pieces


def test_collections_can_be_joined_and_know_their_composers() -> None:
    assert not open_source("palestrina").labels, "all of one composer and genre"
    assert open_source("quartets").labels[0].families == ("COMPOSER", "GENRE")
    both = open_source("bach+palestrina")
    assert len(both.items) == 371 + 1318
    assert set(both.labels[0].rows.values()) == {("BACH", "CHORALE"), ("PALESTRINA", "MASS")}
    assert "John Miller" in both.licence
    with pytest.raises(UsageError, match="no collection and no folder"):
        open_source("bach+palestrino")


@pytest.mark.parametrize(
    ("collection", "name", "tracks", "composer"),
    [
        ("renaissance", "josquin/petiteCamusette.abc", 5, "COMPOSER=JOSQUIN"),  # parts of one song
        ("palestrina", "palestrina/Gloria_16_i.krn", 5, None),  # built in modern values
    ],
)
def test_one_piece_of_a_collection_is_built(
    tmp_path: Path, collection: str, name: str, tracks: int, composer: str | None
) -> None:
    whole = open_source(collection)
    one = [item for item in whole.items if item.name == name]
    source = dataclasses.replace(whole, items=one)
    settings = dataclasses.replace(source.preferred, split=(1, 0, 0))
    inputs = build(source, tmp_path / "set", settings).manifest["inputs"]
    assert (inputs["total"], inputs["kept"]) == (1, 1)
    vocabulary = load_vocabulary(tmp_path / "set" / "tokenizer")
    document, *_ = IndexedReader(tmp_path / "set" / "train")
    assert len(decode(np.array(document), vocabulary).tracks) == tracks
    assert composer is None or vocabulary.ids[composer] in document


@pytest.mark.parametrize(
    ("item", "voices", "metre"),
    [
        (CorpusScore("palestrina/Gloria_16_i.krn"),
         ["SOPRANO", "ALTO", "TENOR", "TENOR", "BASS"], (4, 4)),
        (CorpusScore("ryansMammoth/42dHighlandRegimentStrathspey.abc"), ["0"], (4, 4)),
        (CorpusScore("josquin/milleRegrets.abc", is_vocal=True, is_parts=True), None, (2, 2)),
    ],
)  # fmt: skip
def test_pieces_are_read_as_voices_in_modern_values(
    item: CorpusScore, voices: list[str] | None, metre: tuple[int, int]
) -> None:
    score = item.read()
    assert (score.metres[0].numerator, score.metres[0].denominator) == metre
    found = [instrument_name(track.instrument) for track in score.tracks]
    assert found == (voices or found)
    assert len(found) == (len(voices) if voices else 4)


def test_what_was_read_once_is_kept(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = cached_score(KERN.encode(), "a.krn")
    (kept,) = empty_cache.rglob("*.npz")
    monkeypatch.setattr(score_cache, "parse_score", None)  # nothing is parsed again
    again = cached_score(KERN.encode(), "b.krn")
    assert again == first
    monkeypatch.undo()
    monkeypatch.setenv(CACHE, str(empty_cache))
    kept.write_bytes(b"damaged")
    assert cached_score(KERN.encode(), "a.krn") == first


def test_a_chorale_that_was_read_once_is_kept_with_its_words(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chorale = {item.name: item for item in list_corpus(["bach-sung"])[0]}["001-bwv269"]
    first = chorale.read()
    assert list(empty_cache.rglob("*.npz"))
    monkeypatch.setattr(corpus, "chorale_score", None)  # nothing is parsed again
    again = chorale.read()
    assert again == first
    for one, other in zip(again.tracks, first.tracks, strict=True):
        assert one.sung.tolist() == other.sung.tolist()


def test_a_piece_that_was_refused_is_not_parsed_again() -> None:
    parsed = []

    def read() -> Score:
        parsed.append(1)
        raise Refusal("metre", "3/4, 4/4 metre")

    for _ in range(2):
        with pytest.raises(Refusal, match="3/4, 4/4 metre") as refused:
            cached(b"a chorale", "chorale .mxl", read)
        assert refused.value.reason == "metre"
    assert len(parsed) == 1


def test_where_nothing_can_be_kept_scores_are_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv(CACHE, str(tmp_path / "file"))
    assert cached_score(KERN.encode(), "a.krn").tracks


def test_a_folder_of_scores_and_midi_is_one_data_set(tmp_path: Path) -> None:
    music = folder_of_songs(tmp_path / "music", 3)
    (music / "a.musicxml").write_bytes(chorale_score())
    (music / "again.mxl").write_bytes(packed(chorale_score()))
    (music / "bad.xml").write_bytes(b"<svg/>")
    (music / "b.abc").write_text(f"{TUNE}\n{TUNE.replace('X:1', 'X:2')}", encoding="utf-8")
    settings = BuildSettings(split=(1, 0, 0))
    result = build(folder_source(music), tmp_path / "set", settings)
    inputs = result.manifest["inputs"]
    assert (inputs["total"], inputs["kept"]) == (8, 4)
    assert inputs["refused"] == {"duplicate": 1, "foreign": 1, "metre": 2}
    assert build(folder_source(music), tmp_path / "set", settings).up_to_date

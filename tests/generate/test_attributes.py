"""Songs of labels: composers and genres asked for, left open, blended."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from megatron_music.errors import UsageError
from megatron_music.generate.composer import Composer
from megatron_music.generate.session import Session
from megatron_music.generate.song_request import Request
from megatron_music.score.instruments import SOPRANO, instrument_name
from megatron_music.tokenizer.attributes import parse_blends
from megatron_music.tokenizer.structure import INPUTS
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary
from tests.generate.conftest import CHORALE, untrained
from tests.scores import chorale_score

WORDS = ("COMPOSER=UNKNOWN", "COMPOSER=BACH", "COMPOSER=J._S._BACH", "COMPOSER=PALESTRINA",
         "GENRE=UNKNOWN", "GENRE=MASS")  # fmt: skip
SETTINGS = TokenizerSettings(bars=2, ensemble=CHORALE, attributes=WORDS)
VOCABULARY = Vocabulary(SETTINGS)


@pytest.fixture(scope="module", params=[(), INPUTS], ids=["plain", "structural"])
def composer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Composer:
    """An untrained model of labelled chorales, to which its inputs matter."""
    folder: Path = tmp_path_factory.mktemp("labelled")
    return Composer.load(untrained(folder, SETTINGS, inputs=request.param, initializer_range=0.5))


def head(words: Sequence[str]) -> list[str]:
    ids = Request(attributes=tuple(words) or None).attribute_ids(VOCABULARY)
    assert ids is not None
    return [VOCABULARY.tokens[token] for token in ids]


def compose(composer: Composer, *words: str) -> list[tuple[int, ...]]:
    request = Request(4, seed=3, bars=2, attributes=words or None)
    return [song.tokens for song in composer.compose(request)]


def test_what_is_not_asked_for_is_unknown() -> None:
    assert head([]) == ["COMPOSER=UNKNOWN", "GENRE=UNKNOWN"]
    assert head(["genre=mass"]) == ["COMPOSER=UNKNOWN", "GENRE=MASS"]


def test_a_family_whose_pieces_all_have_labels_needs_no_unknown_one() -> None:
    settings = TokenizerSettings(bars=2, ensemble=CHORALE, attributes=("GENRE=MASS",))
    (blend,) = parse_blends(["GENRE=MASS"], Vocabulary(settings))
    assert blend.shares == (1.0,)


def test_a_label_is_found_however_it_is_spelled() -> None:
    assert head(["Composer=j. s. bach"])[0] == "COMPOSER=J._S._BACH"


def test_instruments_are_those_of_music_with_the_labels(tmp_path: Path) -> None:
    choir, labels = " ".join(CHORALE), ("COMPOSER=PALESTRINA GENRE=MASS", "", "COMPOSER=BACH")
    settings = TokenizerSettings(
        bars=2,
        attributes=WORDS,
        instrumentations=(choir, "0", "40 40 41 42"),
        instrumentation_tokens=(90, 20, 90),
        instrumentation_labels=labels,
    )
    bands = Composer.load(untrained(tmp_path, settings, seq_length=400))

    def played(*asked: str) -> set[str]:
        songs = bands.compose(Request(4, bars=1, attributes=asked))
        return {" ".join(instrument_name(t.instrument) for t in s.piece.tracks) for s in songs}

    assert played("COMPOSER=PALESTRINA", "GENRE=MASS") == {choir}
    assert played("COMPOSER=BACH") == {"40 40 41 42"}
    # No music has both labels: one of them is enough.
    assert played("COMPOSER=BACH", "GENRE=MASS") <= {choir, "40 40 41 42"}


def test_shares_of_a_blend_add_up_to_one() -> None:
    blend = parse_blends(["COMPOSER=BACH:1,PALESTRINA:3"], VOCABULARY)[0]
    assert blend.shares == (0.25, 0.75)
    assert VOCABULARY.tokens[blend.token] == "COMPOSER=PALESTRINA"
    assert parse_blends(["COMPOSER=BACH,PALESTRINA"], VOCABULARY)[0].shares == (0.5, 0.5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["COMPOSER=PALESTRINO"], "did you mean 'PALESTRINA'"),
        (["COMPOSR=BACH"], "did you mean 'COMPOSER'"),
        (["COMPOSER=BACH:0,PALESTRINA:1"], "above 0"),
        (["COMPOSER=BACH:x,PALESTRINA:1"], "above 0"),
        (["COMPOSER=BACH", "composer=PALESTRINA"], "asked for twice"),
        (["BACH"], "no attribute 'BACH'"),
        (["COMPOSER"], "needs a label, as in COMPOSER=BACH"),
        (["GENRE= "], "needs a label, as in GENRE=MASS"),
    ],
)
def test_what_a_model_does_not_know_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        head(words)


def test_labels_change_the_music(composer: Composer) -> None:
    songs = [compose(composer, *words) for words in ([], ["COMPOSER=BACH"], ["GENRE=MASS"])]
    assert len({tuple(song) for song in songs}) == 3


def test_a_blend_is_between_its_labels_and_leaves_the_model_as_it_was(composer: Composer) -> None:
    before = composer.model.transformer.wte.weight.detach().clone()
    bach, both = compose(composer, "COMPOSER=BACH"), compose(composer, "COMPOSER=BACH,PALESTRINA")
    assert both not in (bach, compose(composer, "COMPOSER=PALESTRINA"))
    nearly = compose(composer, "COMPOSER=BACH:1,PALESTRINA:1e-9")
    assert nearly == bach
    assert torch.equal(before, composer.model.transformer.wte.weight)
    assert compose(composer, "COMPOSER=BACH") == bach


def test_a_score_can_be_begun_from(composer: Composer, tmp_path: Path) -> None:
    (tmp_path / "a.musicxml").write_bytes(chorale_score())
    session = Session(composer).keep(tmp_path / "a.musicxml")
    (song,) = session.continue_piece(count=1, prompt_bars=2, bars=4, instruments=("ALTO", "TENOR"))
    assert song.piece.bars == 4
    kept = {track.instrument: track for track in song.piece.tracks}[SOPRANO]
    assert session.piece is not None
    assert kept.pitch[:8].tolist() == session.piece.tracks[0].pitch[:8].tolist()


def test_a_song_of_several_windows_has_its_labels_in_all_of_them(composer: Composer) -> None:
    request = Request(1, seed=3, bars=5, attributes=("COMPOSER=BACH",))
    song = next(iter(composer.compose(request)))
    assert song.piece.bars == 5

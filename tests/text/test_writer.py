"""Words from a model: what is asked for stands in them, and a number is a song."""

import pytest

from megatron_music.errors import UsageError
from megatron_music.text.vocabularies import of_byte_pairs, of_characters
from megatron_music.text.words_request import TextRequest
from megatron_music.tokenizer.text_vocabulary import TextSettings, TextVocabulary
from tests.text.collection import verses

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from collections import Counter  # noqa: E402

from transformers import GPT2Config, GPT2LMHeadModel  # noqa: E402

from megatron_music.text.writer import Writer  # noqa: E402

BOTH = TextSettings(has_artists=True, has_titles=True)


def writer_of(vocabulary: TextVocabulary, positions: int = 160) -> Writer:
    torch.manual_seed(0)
    shape = {"n_embd": 16, "n_layer": 1, "n_head": 2}
    config = GPT2Config(vocab_size=len(vocabulary), n_positions=positions, **shape)
    model = GPT2LMHeadModel(config)
    with torch.no_grad():  # some token is always likelier than the end
        model.transformer.wte.weight.mul_(20)[vocabulary.piece_end] = 0
    return Writer(model, vocabulary)


@pytest.fixture(scope="module")
def writer() -> Writer:
    """A model of characters that has learned nothing."""
    return writer_of(of_characters(Counter("abc QUENWhy\n"), BOTH))


def test_the_words_begin_with_the_prompt(writer: Writer) -> None:
    request = TextRequest(count=2, prompt="Why", artist="QUEEN", max_tokens=40)
    songs = list(writer.write(request))
    assert [song.text[:3] for song in songs] == ["Why", "Why"]
    assert {song.artist for song in songs} == {"QUEEN"}
    assert songs[0].text != songs[1].text
    assert all(len(song.tokens) <= 40 for song in songs)


def test_what_is_not_given_is_the_models_choice(writer: Writer) -> None:
    (song,) = writer.write(TextRequest(title="Why", seed=3))
    assert song.title == "Why"
    assert song.artist == next(writer.write(TextRequest(title="Why", seed=3))).artist


def test_no_mark_is_in_a_text(writer: Writer) -> None:
    for song in writer.write(TextRequest(count=4, temperature=1.5, top_p=1.0, min_p=0.0)):
        assert not set(song.tokens) & set(writer.vocabulary.unspoken)
        assert "<|" not in song.artist + song.title + song.text


@pytest.mark.parametrize("level", ["characters", "bytes"])
def test_a_song_longer_than_the_context_continues(level: str) -> None:
    texts = [verses("QUEEN", number) for number in range(20)]
    if level == "characters":
        vocabulary = of_characters(Counter("".join(texts)), TextSettings())
    else:
        vocabulary = of_byte_pairs(iter(texts), 512, TextSettings())
    writer = writer_of(vocabulary, positions=64)
    request = TextRequest(count=2, prompt="Why", max_tokens=150)
    longest = max(writer.write(request), key=lambda song: len(song.tokens))
    assert 64 < len(longest.tokens) <= 150
    assert longest.is_finished == (len(longest.tokens) < 150)


def test_a_number_is_the_same_song_alone_and_among_others(writer: Writer) -> None:
    request = {"max_tokens": 30, "temperature": 0.5}
    both = list(writer.write(TextRequest(count=2, song_ids=(5, 9), **request)))
    (alone,) = writer.write(TextRequest(song_ids=(9,), **request))
    assert both[1] == alone


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        ({"prompt": "Why Ω"}, "never met 'Ω'"),
        ({"prompt": "a" * 200}, "the prompt has 200 tokens"),
        ({"temperature": 0.0}, "temperature"),
        ({"max_tokens": 0}, "max tokens must be"),
    ],
)
def test_wishes_that_cannot_be_are_refused(
    writer: Writer, wish: dict[str, object], told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        list(writer.write(TextRequest(artist="QUEEN", title="Why", **{"max_tokens": 5, **wish})))  # type: ignore[arg-type]


def test_a_model_without_artists_takes_none() -> None:
    writer = writer_of(of_characters(Counter("abc"), TextSettings()))
    with pytest.raises(UsageError, match="learned no artists"):
        list(writer.write(TextRequest(artist="a")))

"""Every song is valid and as asked, whatever the weights; every seed gives its song again."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2LMHeadModel

from megatron_music.errors import CheckpointError, UsageError
from megatron_music.generate.composer import Composer
from megatron_music.generate.midi_patch import write_song
from megatron_music.generate.model_folder import model_identity
from megatron_music.generate.prompt import read_prompt
from megatron_music.generate.song_request import Request
from megatron_music.score.metre import TimeSignature
from megatron_music.score.midi_reader import read_midi
from megatron_music.score.midi_writer import write_midi
from megatron_music.score.notes import Piece
from megatron_music.score.quantize import quantize
from megatron_music.tokenizer.codec import decode, encode, piece_of
from megatron_music.tokenizer.grammar import check
from megatron_music.tokenizer.huggingface import save_tokenizer
from megatron_music.tokenizer.structure import INPUTS
from megatron_music.tokenizer.vocabulary import TokenizerSettings
from tests.generate.conftest import CHORALE, untrained
from tests.music import names, track


@pytest.mark.parametrize("temperature", [0.05, 1.0, 3.0, 100.0])
def test_untrained_weights_compose_valid_songs_as_asked(
    chorale_model: Path, temperature: float
) -> None:
    composer = Composer.load(chorale_model)
    songs = list(composer.compose(Request(6, bars=3, temperature=temperature)))
    assert len(songs) == 6
    for song in songs:
        check(np.array(song.tokens), composer.vocabulary)
        assert song.piece.bars == 3
        assert names(song.piece) == list(CHORALE)
        assert decode(encode(song.piece, composer.vocabulary), composer.vocabulary) == song.piece


@pytest.fixture(scope="module")
def band_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model whose data have two bands, one three times as often as the other."""
    settings = TokenizerSettings(
        bars=4,
        instrumentations=(*["0 33 DRUMS"] * 3, "25 40 48 DRUMS", "1 2 3 4 5 6 7"),
        instrumentation_tokens=(100, 110, 120, 130, 500),
    )
    return untrained(tmp_path_factory.mktemp("band"), settings, seq_length=400)


def test_a_band_is_one_of_those_in_the_data_as_often_as_they_are(band_model: Path) -> None:
    composer = Composer.load(band_model)
    songs = list(composer.compose(Request(32, bars=1)))
    bands = Counter(" ".join(names(song.piece)) for song in songs)
    assert set(bands) == {"0 33 DRUMS", "25 40 48 DRUMS"}
    assert bands["0 33 DRUMS"] > bands["25 40 48 DRUMS"]
    again = next(iter(composer.compose(Request(1, seed=20, bars=1))))
    assert again.piece == songs[13].piece


@pytest.mark.parametrize("tracks", [3, 4, 5])
def test_tracks_are_of_different_instruments(band_model: Path, tracks: int) -> None:
    for song in Composer.load(band_model).compose(Request(8, bars=1, tracks=tracks)):
        played = names(song.piece)
        assert len(set(played)) == len(played) == tracks


def test_without_a_wish_the_model_chooses_and_the_bars_are_those_of_training(
    open_model: Path,
) -> None:
    for song in Composer.load(open_model).compose(Request(3)):
        assert song.piece.bars == 4
        assert song.piece.tracks


def test_a_song_is_its_seeds_alone_or_in_any_batch(chorale_model: Path) -> None:
    composer = Composer.load(chorale_model)
    batch = list(composer.compose(Request(20, seed=5, bars=1, top_p=1.0)))
    assert [song.seed for song in batch] == list(range(5, 25))
    for index in (0, 7, 19):
        alone = next(composer.compose(Request(1, seed=5 + index, bars=1, top_p=1.0)))
        assert alone.tokens == batch[index].tokens
    assert len({song.tokens for song in batch}) == 20


@pytest.mark.parametrize(("top_k", "top_p"), [(1, 1.0), (0, 1e-6)])
def test_the_narrowest_choice_leaves_nothing_to_the_seed(
    chorale_model: Path, top_k: int, top_p: float
) -> None:
    request = Request(3, bars=1, top_k=top_k, top_p=top_p)
    songs = list(Composer.load(chorale_model).compose(request))
    assert len({song.tokens for song in songs}) == 1


def test_a_wish_that_the_context_cannot_hold_is_refused(chorale_model: Path) -> None:
    composer = Composer.load(chorale_model)
    with pytest.raises(UsageError, match=r"a bar of 40 track.* takes 362 tokens .* holds 160"):
        composer.plan(Request(instruments=("1",) * 40))


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"count": 0}, "`count` must be"),
        ({"temperature": 0.0}, "`temperature` must be in"),
        ({"temperature": float("nan")}, "`temperature` must be in"),
        ({"top_p": 1.7}, r"`top_p` must be in \(0, 1\] \(got 1.7\); use 1.0 to disable"),
        ({"top_k": -1}, "`top_k` must be"),
        ({"bars": 0}, "`bars` must be"),
        ({"seed": -1}, "`seed` must be"),
        ({"tempo_bpm": 0}, "`tempo_bpm` must be"),
        ({"instruments": ("TROMBNE",)}, "no instrument 'TROMBNE'; did you mean Trombone"),
        ({"metre": "99/128"}, "choose among"),
        *(({"dynamics": wrong}, "pp, p, mp, mf, f, ff") for wrong in ("loud", "0", "128")),
        ({"guidance": 11.0}, r"must be 0\.\.10"),
    ],
)
def test_a_wish_out_of_range_is_refused(wish: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Request(**wish)  # type: ignore[arg-type]


def configured(**changes: object) -> Callable[[Path], object]:
    """Return what changes the configuration of an exported folder."""

    def spoil(hf: Path) -> None:
        config = json.loads((hf / "config.json").read_text())
        (hf / "config.json").write_text(json.dumps(config | changes))

    return spoil


def without_model(hf: Path) -> None:
    """Leave of a run what stands around its exported model."""
    shutil.rmtree(hf)
    (hf / "hf").mkdir(parents=True)
    (hf / "hf" / "config.json").write_text("{}", encoding="utf-8")


def pickled(hf: Path) -> None:
    weights = load_file(hf / "model.safetensors")
    (hf / "model.safetensors").unlink()
    torch.save(weights, hf / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (shutil.rmtree, "no exported model"),
        (without_model, r"model is a run; .* .*model/hf: give that"),
        (lambda hf: (hf / "model.safetensors").write_bytes(b"no weights"), "cannot load"),
        (pickled, r"model\.safetensors: not there"),
        (lambda hf: save_tokenizer(TokenizerSettings(12), hf),
         "the model has 425 tokens, its vocabulary 457"),
        (configured(n_layer=10**6), "config.json has 1000000 layers, model.safetensors 1"),
        (configured(n_layer=0), "config.json has 0 layers"),
        (configured(n_positions=10**12), "weights of other sizes than config.json"),
        (configured(add_cross_attention=True), "see transformer.h.0.crossattention"),
        (configured(structural_inputs=["time", "smell"]), "no structural input 'smell'"),
        (configured(structural_inputs=["time"]), "structural inputs take 225 rows"),
        (configured(structural_inputs="time"), "expected a list of names"),
        (configured(seq_length=10**9), "seq_length=1000000000"),
        (configured(seq_length="160"), "seq_length='160'"),
        (configured(guidance="much"), "guidance='much'"),
        (configured(parallel_penalty=-1), "parallel_penalty=-1"),
        (configured(min_p=1.5), "min_p=1.5"),
    ],
)  # fmt: skip
def test_a_folder_that_is_not_a_sound_model_is_refused_in_one_line(
    hearing_model: Path, tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    hf = Path(shutil.copytree(hearing_model, tmp_path / "model"))
    spoil(hf)
    with pytest.raises(CheckpointError, match=message) as caught:
        Composer.load(hf)
    assert "\n" not in str(caught.value)


def sharded(model: Path, folder: Path) -> Path:
    """Copy an exported folder with its weights in several files, as large models have them."""
    hf = Path(shutil.copytree(model, folder / "hf"))
    (hf / "model.safetensors").unlink()
    GPT2LMHeadModel.from_pretrained(model).save_pretrained(hf, max_shard_size="20KB")
    assert len(list(hf.glob("*.safetensors"))) > 1
    return hf


def test_a_model_in_several_files_makes_the_same_songs_and_is_known_by_all_of_them(
    chorale_model: Path, tmp_path: Path
) -> None:
    hf, request = sharded(chorale_model, tmp_path), Request(1, bars=1)
    (song,) = Composer.load(hf).compose(request)
    (expected,) = Composer.load(chorale_model).compose(request)
    assert song == expected
    before = model_identity(hf)
    shard = max(hf.glob("*.safetensors"))
    weights = load_file(shard)
    save_file({name: value + 1 for name, value in weights.items()}, shard, {"format": "pt"})
    assert model_identity(hf) != before
    shard.unlink()
    with pytest.raises(CheckpointError, match=f"{shard.name}: not there"):
        Composer.load(hf)


@pytest.mark.parametrize(
    "index",
    [
        "",
        "[]",
        '{"weight_map": {}}',
        '{"weight_map": {"a": 3}}',
        '{"weight_map": {"a": "../other/model.safetensors"}}',
        '{"weight_map": {"a": "/etc/passwd"}}',
        '{"weight_map": {"a": "pytorch_model.bin"}}',
    ],
)
def test_an_index_that_names_no_weights_of_its_folder_is_refused(
    chorale_model: Path, tmp_path: Path, index: str
) -> None:
    hf = sharded(chorale_model, tmp_path)
    (hf / "model.safetensors.index.json").write_text(index)
    with pytest.raises(CheckpointError, match=r"index\.json is damaged") as caught:
        Composer.load(hf)
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_finite_are_an_error(chorale_model: Path, tmp_path: Path) -> None:
    hf = Path(shutil.copytree(chorale_model, tmp_path / "hf"))
    weights = load_file(hf / "model.safetensors")
    gone = {name: torch.full_like(value, torch.nan) for name, value in weights.items()}
    save_file(gone, hf / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match="outputs are not numbers"):
        list(Composer.load(hf).compose(Request(1, bars=1)))


@pytest.fixture(scope="module")
def metre_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model of music in three metres, with structural inputs."""
    settings = TokenizerSettings(bars=4, density=False, metres=("4/4", "3/4", "6/8"))
    return untrained(tmp_path_factory.mktemp("metre"), settings, inputs=INPUTS)


def test_a_song_is_in_the_metre_asked_for(metre_model: Path) -> None:
    composer = Composer.load(metre_model)
    for song in composer.compose(Request(3, bars=6, tracks=2, metre="6/8")):
        assert set(map(str, song.piece.metres)) == {"6/8"}
        assert song.piece.bars == 6


@pytest.mark.parametrize("model", ["metre_model", "expressive_model"])
def test_what_a_model_chose_is_written_and_read_back_to_the_same_tokens(
    request: pytest.FixtureRequest, model: str, tmp_path: Path
) -> None:
    composer = Composer.load(request.getfixturevalue(model))
    songs = list(composer.compose(Request(6, bars=4, tracks=2, temperature=3.0)))
    assert len({str(metre) for song in songs for metre in song.piece.metres}) > 1
    tempos = {tempo for song in songs for tempo in song.piece.tempos_us}
    assert len(tempos) > 4 or not composer.vocabulary.has_tempos
    for song in songs:
        write_song(song, tmp_path / "song.mid")
        again = piece_of(read_midi(tmp_path / "song.mid"), composer.vocabulary)
        check(np.array(song.tokens), composer.vocabulary)
        # A file tells its tracks' order by chunk, and no bars after the last note.
        assert again.metres == song.piece.metres[: again.bars]
        tokens = encode(replace(song.piece, bars=again.bars), composer.vocabulary)
        assert encode(again, composer.vocabulary).tolist() == tokens.tolist()


def test_a_piece_is_continued_in_its_own_metre(metre_model: Path, tmp_path: Path) -> None:
    composer = Composer.load(metre_model)
    waltz = Piece(4, 2, (track(0, (0, 12, 60), (12, 24, 62)),), (TimeSignature(3, 4),))
    write_midi(waltz, tmp_path / "waltz.mid")
    prompt = read_prompt(tmp_path / "waltz.mid", 4, known=composer.vocabulary.metres)
    assert prompt.piece.metres == waltz.metres
    [song] = composer.compose(Request(1, bars=5), prompt)
    assert list(map(str, song.piece.metres)) == ["3/4"] * 5
    write_song(song, tmp_path / "song.mid", prompt)
    again = piece_of(read_midi(tmp_path / "song.mid"), composer.vocabulary)
    assert {str(metre) for metre in again.metres} == {"3/4"}
    assert again.tracks[0] == song.piece.tracks[0]


def test_metres_and_dynamics_that_a_model_does_not_know_are_refused(
    chorale_model: Path, metre_model: Path
) -> None:
    with pytest.raises(UsageError, match="trained on 4/4 alone"):
        list(Composer.load(chorale_model).compose(Request(metre="3/4")))
    with pytest.raises(UsageError, match=r"no bars of 5/4.*it has 4/4, 3/4, 6/8"):
        list(Composer.load(metre_model).compose(Request(metre="5/4")))
    with pytest.raises(UsageError, match="without VELOCITY tokens; leave out `dynamics`"):
        list(Composer.load(chorale_model).compose(Request(dynamics="mf")))


@pytest.fixture(scope="module")
def expressive_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model of music with metres, velocities and tempi."""
    settings = TokenizerSettings(bars=4, metres=("4/4", "3/4"), velocity=8, tempo=True, fill=True)
    return untrained(tmp_path_factory.mktemp("expressive"), settings, inputs=INPUTS)


def test_a_song_is_as_fast_and_as_loud_as_asked_for(expressive_model: Path, tmp_path: Path) -> None:
    composer = Composer.load(expressive_model)
    request = Request(3, bars=6, tracks=2, tempo_bpm=90, dynamics="p", temperature=3.0)
    for song in composer.compose(request):
        check(np.array(song.tokens), composer.vocabulary)
        write_song(song, tmp_path / "song.mid", tempo_bpm=90)
        score = read_midi(tmp_path / "song.mid")
        assert score.tempo_bpm == pytest.approx(90, rel=1e-4)
        for one in score.tracks:
            assert set(one.velocity.tolist()) <= {40, 56, 72}


def test_a_prompt_keeps_its_velocities_and_its_tempo(
    expressive_model: Path, tmp_path: Path
) -> None:
    composer = Composer.load(expressive_model)
    kept = replace(track(0, (0, 16, 60), (16, 32, 62)), velocity=np.array([33, 99]))
    piece = Piece(4, 2, (kept, track(33, (0, 32, 40))), (), (750_000, 400_000))
    write_midi(piece, tmp_path / "prompt.mid")
    prompt = read_prompt(tmp_path / "prompt.mid", 4, known=composer.vocabulary.metres)
    wishes = (Request(1, bars=4, dynamics="ff"), Request(1, fill_bars=(2,), dynamics="ff"))
    for wish in wishes:
        [song] = composer.compose(wish, prompt)
        write_song(song, tmp_path / "song.mid", prompt)
        again = read_midi(tmp_path / "song.mid")
        assert [tempo.quarter_us for tempo in again.tempos] == [750_000, 400_000]
        new = song.new[0][song.piece.bar_at(song.piece.tracks[0].onset)]
        written = quantize(again, 4).tracks[0]
        assert set(written.velocity[new].tolist()) <= {104, 120}
        assert written.velocity[~new].tolist() == [33, 99][: (~new).sum()]

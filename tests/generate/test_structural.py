"""What composes with structural inputs is a plain GPT-2, given arguments that anyone can make."""

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from megatron_music.errors import UsageError
from megatron_music.generate.composer import Composer
from megatron_music.generate.sampler import Constraint, GrammarProcessor, TokenSampler
from megatron_music.generate.sampling_params import USUAL_MIN_P, Steering
from megatron_music.generate.session import Session
from megatron_music.generate.song import Song
from megatron_music.generate.song_request import Request
from megatron_music.generate.structural import SongReader, model_inputs
from megatron_music.score.notes import Piece
from megatron_music.tokenizer.codec import encode
from megatron_music.tokenizer.structure import INPUTS, PLACES, PlaceArray, position_rows
from megatron_music.tokenizer.structure_tracker import document_rows
from megatron_music.tokenizer.vocabulary import PITCHES, TokenizerSettings, load_vocabulary
from tests.generate.conftest import CHORALE, untrained
from tests.music import bars_not_full, track


class Drawn:
    """Each batch that a composer draws: its tokens and places, and the logits it chose from."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows: list[list[list[int]]] = []
        self.places: list[PlaceArray | None] = []
        self.scores: list[list[torch.Tensor]] = []
        draw, mask = TokenSampler.draw, GrammarProcessor.__call__

        def watched_draw(
            sampler: TokenSampler,
            constraint: Constraint,
            seeds: Sequence[int],
            stage: int = 0,
            places: PlaceArray | None = None,
            first_bar: int = 0,
        ) -> list[list[int]]:
            self.scores.append([])
            self.places.append(places)
            self.rows.append(draw(sampler, constraint, seeds, stage, places, first_bar))
            return self.rows[-1]

        def watched_mask(
            processor: GrammarProcessor, ids: torch.Tensor, scores: torch.Tensor
        ) -> torch.Tensor:
            self.scores[-1].append(scores.clone())
            return mask(processor, ids, scores)

        monkeypatch.setattr(TokenSampler, "draw", watched_draw)
        monkeypatch.setattr(GrammarProcessor, "__call__", watched_mask)

    def check(self, folder: Path) -> None:
        """Compare what songs were chosen from with what a plain model says of them, read whole."""
        plain = AutoModelForCausalLM.from_pretrained(folder).eval()
        vocabulary = load_vocabulary(folder)
        assert self.rows
        for rows, places, scores in zip(self.rows, self.places, self.scores, strict=True):
            for song, row in enumerate(rows):
                place = None if places is None else places[song]
                with torch.no_grad():
                    given = model_inputs(plain, vocabulary, torch.tensor([row[:-1]]), place)
                    wanted = plain(**given).logits[0]
                given_to_all = max(map(len, rows)) - len(scores)
                chosen_after = wanted[given_to_all - 1 :]
                had = torch.stack([step[song] for step in scores])[: len(chosen_after)]
                assert torch.allclose(had, chosen_after, atol=2e-4)


def piece() -> Piece:
    return Piece(
        4,
        6,
        (
            track(0, *[(step, step + 4, 60 + step % 7) for step in range(0, 96, 4)]),
            track(33, *[(step, step + 8, 40 + step % 5) for step in range(0, 96, 8)]),
            track(128, *[(step, step + 1, 36) for step in range(0, 96, 4)]),
        ),
    )


WAYS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "beyond the window": {"bars": 9, "begin": True, "end": True},
    "by number": {"song_ids": (5, 99), "bars": 2, "end": True},
    "no voices": {"instruments": ("piano", "DRUMS", "electric bass"), "bars": 6, "begin": True},
}
OF_A_PIECE: dict[str, dict[str, Any]] = {
    "continue": {"prompt_bars": 3, "bars": 9, "begin": True},
    "bars": {"fill_bars": (2, 5), "begin": True, "end": True},
    "tracks": {"fill_tracks": ("electric bass",), "end": True},
    "vary": {"vary": 0.3},
}


@pytest.mark.parametrize("way", WAYS)
def test_songs_from_nothing_are_chosen_from_what_a_plain_model_says(
    hearing_model: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    drawn = Drawn(monkeypatch)
    wish = WAYS[way] if "song_ids" in WAYS[way] else {"count": 2, **WAYS[way]}
    songs = list(Composer.load(hearing_model).compose(Request(**wish)))
    assert all(song.piece.bars == WAYS[way].get("bars", 4) for song in songs)
    drawn.check(hearing_model)


@pytest.mark.parametrize("way", OF_A_PIECE)
@pytest.mark.parametrize("model", ["hearing_model", "hearing_fill_model"])
def test_songs_from_a_piece_are_chosen_from_what_a_plain_model_says(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, model: str, way: str
) -> None:
    folder = request.getfixturevalue(model)
    drawn = Drawn(monkeypatch)
    composer = Composer.load(folder)
    list(composer.compose(Request(count=3, **OF_A_PIECE[way]), piece()))
    drawn.check(folder)


def test_the_example_in_the_guide_gives_what_songs_are_composed_from(hearing_model: Path) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "composing.md").read_text(encoding="utf-8")
    (example,) = (
        block
        for block in re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
        if "model_inputs" in block
    )
    names: dict[str, Any] = {}
    exec(example.replace("runs/bach-tiny/hf", str(hearing_model)), names)  # noqa: S102
    reader = SongReader(AutoModelForCausalLM.from_pretrained(hearing_model), names["vocabulary"])
    reader.begin(1, np.array([[0, 8]]))
    with torch.inference_mode():
        wanted = reader.read(names["ids"])
    assert torch.allclose(names["logits"][:, -1], wanted, atol=1e-5)
    assert not torch.allclose(names["model"](names["ids"]).logits[:, -1], wanted, atol=1e-1)


def test_a_plain_generate_of_bare_ids_takes_the_rows_of_the_index(hearing_model: Path) -> None:
    plain = AutoModelForCausalLM.from_pretrained(hearing_model).eval()
    vocabulary = load_vocabulary(hearing_model)
    start = torch.full((2, 1), vocabulary.piece_start)
    with torch.inference_mode():
        ids = plain.generate(start, do_sample=False, max_length=plain.config.seq_length)
        assert ids.shape[1] > 1
        positions = torch.arange(ids.shape[1])[None]
        assert torch.equal(plain(ids).logits, plain(ids, position_ids=positions).logits)


def test_the_arguments_of_a_model_without_inputs_are_its_own(chorale_model: Path) -> None:
    plain = AutoModelForCausalLM.from_pretrained(chorale_model).eval()
    ids = torch.arange(1, 40)[None]
    with torch.inference_mode():
        given = model_inputs(plain, load_vocabulary(chorale_model), ids)
        assert torch.allclose(plain(ids).logits, plain(**given).logits, atol=1e-6)


def test_the_arguments_are_sums_of_rows_of_the_position_table(hearing_model: Path) -> None:
    plain = AutoModelForCausalLM.from_pretrained(hearing_model).eval()
    vocabulary = load_vocabulary(hearing_model)
    (song,) = Session.load(hearing_model).compose(count=1, bars=4)
    tokens = np.array(song.tokens)
    rows = position_rows(INPUTS, 160, vocabulary)
    listed = document_rows(
        tokens, np.array([0, len(tokens)]), np.array([[2, 9]]), np.array([False]), rows, vocabulary
    )
    given = model_inputs(plain, vocabulary, torch.from_numpy(tokens)[None], (2, 9))
    table = plain.transformer.wpe.weight
    for place, (token, row) in enumerate(zip(tokens.tolist(), listed.tolist(), strict=True)):
        first, *others = [one for one in row if one != rows.total]
        wanted = plain.transformer.wte.weight[token] + sum(table[one] for one in others)
        assert torch.allclose(given["inputs_embeds"][0, place], wanted, atol=1e-5)
        assert given["position_ids"][0, place] == first
    assert (given["attention_mask"] == 1).all()


def test_guidance_makes_the_inputs_count_more_in_the_choice_of_pitches(
    hearing_model: Path,
) -> None:
    plain = AutoModelForCausalLM.from_pretrained(hearing_model).double().eval()
    vocabulary = load_vocabulary(hearing_model)
    songs = Session.load(hearing_model).compose(count=2, bars=4)
    length = min(len(song.tokens) for song in songs)
    ids = torch.tensor([song.tokens[:length] for song in songs])
    places = np.array([[0, 4], [-1, -1]])
    reader = SongReader(plain, vocabulary)
    reader.begin(2, places, Steering(guidance=0.5))
    with torch.inference_mode():
        had = torch.stack([reader.read(part) for part in ids.split(1, dim=1)], 1)
        informed = plain(**model_inputs(plain, vocabulary, ids, places)).logits
        bare = plain(ids).logits
    pitches = torch.from_numpy(vocabulary.kinds == vocabulary.kinds[vocabulary.note_on])
    assert torch.allclose(had[..., ~pitches], informed[..., ~pitches], atol=1e-9)
    shares = (1.5 * informed - 0.5 * bare)[..., pitches].softmax(-1)
    assert torch.allclose(had[..., pitches].softmax(-1), shares, atol=1e-9)
    # That a note begins stays as likely as it was.
    masses = [logits.softmax(-1)[..., pitches].sum(-1) for logits in (had, informed)]
    assert torch.allclose(*masses, atol=1e-9)


def test_a_folder_says_how_its_songs_are_steered(hearing_model: Path, tmp_path: Path) -> None:
    def composed(folder: Path, **wishes: float) -> list[tuple[int, ...]]:
        return [one.tokens for one in Session.load(folder).compose(count=3, bars=4, **wishes)]

    folder = Path(shutil.copytree(hearing_model, tmp_path / "hf"))
    config = json.loads((folder / "config.json").read_text())
    steered = {"guidance": 2.0, "parallel_penalty": 3.0, "min_p": 0.5}
    (folder / "config.json").write_text(json.dumps(config | steered))
    assert composed(folder) == composed(hearing_model, **steered)
    assert composed(folder) != composed(hearing_model)
    usual = {"guidance": 0.0, "parallel_penalty": 0.0, "min_p": USUAL_MIN_P}
    assert composed(folder, **usual) == composed(hearing_model)


def test_a_penalty_makes_parallels_rarer_by_its_exponential(hearing_model: Path) -> None:
    plain = AutoModelForCausalLM.from_pretrained(hearing_model).double().eval()
    vocabulary = load_vocabulary(hearing_model)
    piece = Piece(
        4, 4, (track(0, (0, 8, 67), (8, 16, 69)), track(33, (0, 8, 48), (8, 16, 50)))
    )  # a twelfth below, then in parallel
    ids = torch.from_numpy(encode(piece, vocabulary).astype(np.int64))[None]
    first = vocabulary.note_on
    ends = int(torch.nonzero(ids[0] == vocabulary.note_off + 48)[0])
    logits = {}
    for penalty in (0.0, 2.0):
        reader = SongReader(plain, vocabulary)
        reader.begin(1, None, Steering(parallel_penalty=penalty))
        with torch.inference_mode():
            logits[penalty] = reader.read(ids[:, : ends + 1])[0]
    had, wanted = logits[2.0], logits[0.0]
    pitches = slice(first, first + PITCHES)
    odds = had.log_softmax(-1) - wanted.log_softmax(-1)
    moved = odds[pitches] - odds[first]
    assert moved[50] == pytest.approx(-2.0, abs=1e-6)
    others = torch.arange(PITCHES) != 50
    assert torch.allclose(moved[others], moved.new_zeros(()), atol=1e-6)
    assert float(had.softmax(-1)[pitches].sum()) == pytest.approx(
        float(wanted.softmax(-1)[pitches].sum())
    )


def test_guidance_needs_inputs_to_be_guided_by(chorale_model: Path) -> None:
    with pytest.raises(UsageError, match="no structural inputs"):
        Session.load(chorale_model).compose(guidance=0.5)
    with pytest.raises(UsageError, match="which pitches move in parallel"):
        Session.load(chorale_model).compose(parallel_penalty=3.0)


@pytest.fixture(scope="module")
def framed_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows one thing: pieces begin with pitch 72, and end with pitch 60."""
    settings = TokenizerSettings(bars=4, ensemble=CHORALE)
    folder = untrained(tmp_path_factory.mktemp("framed"), settings, inputs=INPUTS)
    model = AutoModelForCausalLM.from_pretrained(folder)
    vocabulary = load_vocabulary(folder)
    rows = position_rows(INPUTS, 160, vocabulary)
    with torch.no_grad():
        words, table = model.transformer.wte.weight, model.transformer.wpe.weight
        # Notes held over would leave no room for one that begins: let each end soon.
        note_off = words[vocabulary.note_off].clone()
        words[vocabulary.note_off : vocabulary.note_off + 128] = note_off
        for first, pitch in ((rows.since_begin, 72), (rows.to_end, 60)):
            note_on = words[vocabulary.note_on + pitch].clone()
            table[first] = 100 * (note_on + note_off / 2)
            table[first + 1 : first + PLACES] -= 10 * note_on  # nowhere else by chance
        model.transformer.ln_f.weight *= 100
    model.save_pretrained(folder)
    return folder


def bars_with(songs: Sequence[Song], pitch: int) -> list[int]:
    """Return the bars (from 0) in which a pitch begins, in any voice of any song."""
    voices = [one for song in songs for one in song.piece.tracks]
    bars = [one.onset[one.pitch == pitch] // 16 for one in voices]
    return np.unique(np.concatenate(bars)).tolist()


@pytest.mark.parametrize(
    ("bars", "begin", "end"),
    [(2, False, False), (2, True, False), (2, False, True), (2, True, True), (7, True, True)],
)
def test_a_song_begins_and_ends_like_a_piece_when_asked(
    framed_model: Path, bars: int, begin: bool, end: bool
) -> None:
    songs = Session.load(framed_model).compose(count=2, bars=bars, begin=begin, end=end, min_p=0.0)
    assert bars_with(songs, 72) == ([0] if begin else [])
    assert bars_with(songs, 60) == ([bars - 1] if end else [])


def test_a_piece_of_ones_own_is_brought_to_its_end(framed_model: Path) -> None:
    session = Session.load(framed_model)
    session.keep(session.compose(count=1, bars=4)[0])
    assert bars_with(session.continue_piece(bars=7, end=True), 60) == [6]
    assert bars_with(session.fill(fill_bars=(1, 4), begin=True, end=True), 60) == [3]
    assert bars_with(session.fill(fill_bars=(1, 4), begin=True, end=True), 72) == [0]


@pytest.mark.parametrize(("full_bars", "rests"), [(None, True), (False, True), (True, False)])
def test_voices_may_rest_after_the_last_chord(
    hearing_model: Path, full_bars: bool | None, rests: bool
) -> None:
    session = Session.load(hearing_model)
    songs = session.compose(count=8, bars=2, temperature=3.0, end=True, full_bars=full_bars)
    found = [bars_not_full(one, song.piece) for song in songs for one in song.piece.tracks]
    assert any(found) is rests


@pytest.mark.parametrize("wish", ["begin", "end"])
def test_a_model_that_does_not_know_the_place_says_so(chorale_model: Path, wish: str) -> None:
    with pytest.raises(UsageError, match=f"does not know the place in a piece; leave out `{wish}`"):
        Session.load(chorale_model).compose(**{wish: True})

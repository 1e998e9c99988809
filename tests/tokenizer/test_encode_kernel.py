"""The compiled encoder writes, token for token, what the readable path writes."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_music.errors import UsageError
from megatron_music.score.bar_layout import lay_out_bars
from megatron_music.score.grid_kernel import NOT_SURE
from megatron_music.score.hashing import fingerprint, track_order
from megatron_music.score.instruments import ALTO, DRUMS
from megatron_music.score.metre import parse_metres
from megatron_music.score.midi_reader import parse_midi
from megatron_music.score.midi_writer import write_midi
from megatron_music.score.notes import Score, Track
from megatron_music.score.quantize import merge, placed_windows, quantize, windows
from megatron_music.tokenizer.batch_encoder import Batch, BatchEncoder
from megatron_music.tokenizer.batch_kernel import BARS, DOCUMENTS, TOKENS, WINDOWS
from megatron_music.tokenizer.codec import encode, note_rates, transpose
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary
from tests.midi_bytes import ONE_NOTE, midi_bytes
from tests.music import scores, track


@dataclass(frozen=True)
class Setup:
    """How music is to be encoded."""

    steps: int = 4
    density: bool = True
    bars: int = 4
    hop: int = 4
    merge: bool = False
    shuffle: bool = False
    seed: int = 0
    max_tracks: int | None = None
    shifts: range = range(1)
    metres: str = "4/4"
    velocity: int = 0
    tempo: bool = False

    def vocabulary(self) -> Vocabulary:
        return Vocabulary(
            TokenizerSettings(
                self.steps,
                self.density,
                metres=parse_metres(self.metres),
                velocity=self.velocity,
                tempo=self.tempo,
            )
        )

    def encoder(self, **changes: Any) -> BatchEncoder:
        names = ("merge", "shuffle", "seed", "max_tracks", "shifts")
        chosen = {name: getattr(self, name) for name in names} | changes
        return BatchEncoder(self.vocabulary(), self.bars, self.hop, **chosen)


@st.composite
def setups(draw: st.DrawFn) -> Setup:
    bars = draw(st.sampled_from([1, 2, 3, 4, 8, 16, 64]))
    return Setup(
        steps=draw(st.sampled_from([4, 12])),
        density=draw(st.booleans()),
        bars=bars,
        hop=draw(st.integers(1, bars)),
        merge=draw(st.booleans()),
        shuffle=draw(st.booleans()),
        seed=draw(st.sampled_from([0, 1, 2**63])),
        max_tracks=draw(st.sampled_from([None, 1, 2])),
        shifts=draw(st.sampled_from([range(1), range(-6, 6), range(-1, 1), range(-12, 12)])),
    )


def laid(score: Score, setup: Setup) -> tuple[Score, tuple[int, ...]]:
    """Lay a score out in the metres of a setup; without any, all of it is in 4/4."""
    metres = setup.vocabulary().metres
    return (score, (0,)) if setup.metres == "4/4" else lay_out_bars(score, setup.bars, metres)


def expected(score: Score, setup: Setup) -> tuple[list[list[int]], list[list[float]]]:
    """Go the readable path: the tokens and the rates of all documents."""
    vocabulary = setup.vocabulary()
    score, cuts = laid(score, setup)
    if not score.tracks:
        return [], []
    score = merge(score) if setup.merge else score
    music = fingerprint(quantize(score, 4))
    documents, rates = [], []
    cut = windows(quantize(score, setup.steps), setup.bars, setup.hop, cuts)
    for index, window in enumerate(cut):
        tracks = window.tracks
        if setup.shuffle:
            tracks = tuple(tracks[i] for i in track_order(setup.seed, music, index, len(tracks)))
        window = replace(window, tracks=tracks[: setup.max_tracks])  # noqa: PLW2901
        tokens = encode(window, vocabulary)
        for semitones in setup.shifts:
            moved = transpose(tokens, semitones, vocabulary)
            if moved is not None:
                documents.append(moved.tolist())
                rates.append(note_rates(window).tolist())
    return documents, rates


def documents_of(batch: Batch) -> list[list[int]]:
    return [tokens.tolist() for tokens, *_ in batch.documents.one_by_one()]


def check(score: Score, setup: Setup, batch: Batch | None = None) -> Batch:
    """Hold what was encoded to the readable path."""
    batch = batch or setup.encoder().encode_score(score)
    documents, rates = expected(score, setup)
    assert documents_of(batch) == documents
    assert batch.documents.tracks.tolist() == list(map(len, rates))
    assert batch.documents.rates.tolist() == [rate for of_document in rates for rate in of_document]
    kept, cuts = laid(score, setup)
    [row] = batch.pieces
    if not kept.tracks:
        assert row[BARS] == NOT_SURE
        return batch
    merged = merge(kept) if setup.merge else kept
    piece = quantize(merged, setup.steps)
    assert row[BARS] == piece.bars
    cut = placed_windows(piece, setup.bars, setup.hop, cuts)
    assert row[WINDOWS] == len(cut)
    if setup.shifts == range(1):
        assert batch.documents.first_bars.tolist() == [first for first, _ in cut]
    assert (row[DOCUMENTS], row[TOKENS]) == (len(documents), sum(map(len, documents)))
    assert batch.fingerprints == [fingerprint(quantize(kept, 4))]
    assert batch.instruments == [sorted(t.instrument for t in piece.tracks)]
    return batch


@settings(max_examples=300)
@given(scores(), setups())
def test_any_score_is_encoded_as_the_readable_path_does(score: Score, setup: Setup) -> None:
    check(score, setup)


@settings(max_examples=300)
@given(
    scores(metres=True, expressive=True),
    setups(),
    st.sampled_from(["any", "3/4", "4/4", "4/4,6/8,5/4"]),
    st.sampled_from([0, 8, 32]),
    st.booleans(),
)
def test_any_metres_velocities_and_tempi_are_encoded_as_the_readable_path_does(
    score: Score, setup: Setup, metres: str, velocity: int, tempo: bool
) -> None:
    score = score if metres != "4/4" else replace(score, metres=())
    check(score, replace(setup, metres=metres, velocity=velocity, tempo=tempo))


def song(seed: int, notes: int = 400) -> Score:
    """Make a band of six that plays anything."""
    rng = np.random.default_rng(seed)
    tracks = []
    for code in (0, 0, 33, ALTO, DRUMS, DRUMS):
        onset = np.sort(rng.integers(0, 480 * 4 * 20, notes))
        rows = (onset, onset + rng.integers(1, 2_000, notes), rng.integers(20, 110, notes))
        tracks.append(Track(code, *rows))
    return Score(480, tuple(tracks))


def test_many_files_are_what_each_is_alone(tmp_path: Path) -> None:
    setup = Setup(shuffle=True, merge=True)
    files = []
    for seed in range(5):
        write_midi(quantize(song(seed, 40), 4), tmp_path / "a.mid")
        files.append((tmp_path / "a.mid").read_bytes())
    files[2:2] = [b"no music", midi_bytes(ONE_NOTE)]
    together = setup.encoder().encode(files)
    alone = [setup.encoder().encode([raw]) for raw in files]
    assert documents_of(together) == [d for one in alone for d in documents_of(one)]
    assert together.fingerprints == [one.fingerprints[0] for one in alone]
    assert together.pieces.tolist() == [one.pieces[0].tolist() for one in alone]
    assert together.instruments == [one.instruments[0] for one in alone]
    assert (together.pieces[:, BARS] < 0).tolist() == [False, False, True] + [False] * 4


def test_an_encoder_does_not_remember_what_it_encoded() -> None:
    encoder = Setup(shuffle=True).encoder()
    first = documents_of(encoder.encode_score(song(1)))
    encoder.encode_score(song(2))
    assert documents_of(encoder.encode_score(song(1))) == first


def test_what_does_not_fit_gets_more_room() -> None:
    setup = Setup(bars=16, hop=1, shifts=range(-12, 12), merge=True)
    assert len(check(song(3), setup).documents.tokens) > 300_000


def test_keys_are_for_training_and_the_rest_stays_as_it_is() -> None:
    setup = Setup(shifts=range(-6, 6))
    word = int(fingerprint(quantize(song(4), 4))[:16], 16)
    for last, keys in ((word, 12), (word - 1, 1)):
        batch = setup.encoder(last_training=last).encode_score(song(4))
        assert batch.pieces[0, DOCUMENTS] == keys * batch.pieces[0, WINDOWS]


@pytest.mark.parametrize(
    "score",
    [
        Score(4, ()),
        Score(0, (track(0, (0, 4, 60)),)),
        Score(4, (track(133, (0, 4, 60)),)),
        Score(4, (track(-1, (0, 4, 60)),)),
        Score(4, (track(0, (0, 4, 128)),)),
        Score(4, (track(0, (-1, 4, 60)),)),
        Score(4, (track(0, (5, 4, 60)),)),
        Score(4, (track(0, (0, 2**40, 60)),)),
        Score(1, (track(0, (0, 16_000, 60)),)),
        Score(4, (track(0, (0, 4, 60)),) * 257),
        Score(4, (Track(0, *np.ones((3, 200_001), np.int64)),)),
    ],
)
def test_absurd_scores_are_left_to_the_readable_path(score: Score) -> None:
    batch = Setup().encoder().encode_score(score)
    assert batch.pieces[0, BARS] < 0
    assert (len(batch.documents.tokens), batch.fingerprints, batch.instruments) == (0, [""], [[]])


def test_the_largest_scores_are_encoded() -> None:
    crowd = np.full(200_000, 3, np.int64)
    pitches = np.arange(200_000) % 128
    check(Score(4, (Track(0, crowd, crowd + pitches, pitches),)), Setup())
    check(Score(4, (track(0, (0, 4, 60), (63_990, 63_999, 60)),)), Setup(steps=12, bars=64, hop=64))
    check(Score(4, (track(0, (0, 4, 60)),) * 256), Setup(shuffle=True))


def test_music_in_another_metre_is_left_to_the_readable_path() -> None:
    waltz = midi_bytes(b"\x00\xff\x58\x04\x03\x02\x18\x08" + ONE_NOTE)
    march = midi_bytes(b"\x00\xff\x58\x04\x04\x02\x18\x08" + ONE_NOTE)
    batch = Setup().encoder().encode([waltz, march])
    assert (batch.pieces[:, BARS] > 0).tolist() == [False, True]


@pytest.mark.parametrize(("bars", "hop"), [(0, 1), (65, 4), (4, 5), (4, 0)])
def test_windows_that_cannot_be_are_refused(bars: int, hop: int) -> None:
    with pytest.raises(UsageError, match="windows must have"):
        BatchEncoder(Vocabulary(TokenizerSettings()), bars, hop)


@settings(max_examples=200)
@given(st.binary(max_size=120))
def test_no_bytes_do_any_harm(noise: bytes) -> None:
    encoder = ENCODER
    for raw in (noise, midi_bytes(noise + ONE_NOTE), midi_bytes(ONE_NOTE + noise)):
        batch = encoder.encode([raw])
        if batch.pieces[0, BARS] > 0:
            check(parse_midi(raw, "noise"), Setup(shuffle=True), batch)


ENCODER = Setup(shuffle=True).encoder()

"""MIDI files are written as musicians expect, and read back as the same music."""

import os
from dataclasses import replace
from itertools import chain
from pathlib import Path

import mido
import numpy as np
import pretty_midi
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_music.errors import MidiError, WriteError
from megatron_music.score.bar_layout import lay_out_bars
from megatron_music.score.instruments import ALTO, BASS, DRUMS, SOPRANO, TENOR
from megatron_music.score.metre import METRES
from megatron_music.score.midi_reader import parse_midi, read_midi
from megatron_music.score.midi_writer import midi_bytes as score_bytes
from megatron_music.score.midi_writer import write_midi
from megatron_music.score.notes import Metre, Piece, Score, Track
from megatron_music.score.quantize import quantize
from megatron_music.tokenizer.codec import decode, encode, piece_of
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary
from tests.music import pieces, track


def by_instrument(tracks: tuple[Track, ...]) -> list[tuple[int, bytes]]:
    rows = ((t.instrument, np.stack((t.onset, t.end, t.pitch)).tobytes()) for t in tracks)
    return sorted(rows)


@settings(deadline=None, max_examples=60)
@given(pieces(), st.sampled_from([60.0, 93.0, 100.0, 120.0, 171.5]))
def test_writing_and_reading_gives_the_piece(
    tmp_path_factory: pytest.TempPathFactory, piece: Piece, tempo: float
) -> None:
    path = tmp_path_factory.mktemp("midi") / "piece.mid"
    write_midi(piece, path, tempo)
    score = read_midi(path)
    again = quantize(score, piece.steps_per_quarter)
    assert by_instrument(again.tracks) == by_instrument(piece.tracks)
    assert score.tempo_bpm == pytest.approx(tempo, rel=1e-5)


@settings(deadline=None, max_examples=40)
@given(pieces(metres=True))
def test_metres_are_written_and_read_back(
    tmp_path_factory: pytest.TempPathFactory, piece: Piece
) -> None:
    path = tmp_path_factory.mktemp("midi") / "piece.mid"
    write_midi(piece, path)
    again = quantize(lay_out_bars(read_midi(path), 1, METRES)[0], piece.steps_per_quarter)
    assert (again.bars, again.metres) == (piece.bars, piece.metres)
    assert by_instrument(again.tracks) == by_instrument(piece.tracks)


@settings(deadline=None, max_examples=60)
@given(pieces(metres=True, expressive=True), st.sampled_from([8, 32]))
def test_what_tokens_spell_is_written_and_read_back_as_the_same_tokens(
    tmp_path_factory: pytest.TempPathFactory, piece: Piece, levels: int
) -> None:
    metres = tuple(map(str, METRES))
    vocabulary = Vocabulary(
        TokenizerSettings(piece.steps_per_quarter, metres=metres, velocity=levels, tempo=True)
    )
    codes = (*range(len(piece.tracks) - 1), DRUMS)
    tracks = (replace(a, instrument=b) for a, b in zip(piece.tracks, codes, strict=True))
    tokens = encode(replace(piece, tracks=tuple(tracks)), vocabulary)
    path = tmp_path_factory.mktemp("midi") / "piece.mid"
    write_midi(decode(tokens, vocabulary), path)
    score = read_midi(path)
    score = replace(score, tracks=tuple(sorted(score.tracks, key=lambda one: one.instrument)))
    again = replace(piece_of(score, vocabulary), bars=piece.bars)
    assert encode(again, vocabulary).tolist() == tokens.tolist()


def test_a_sequencer_sees_names_programs_tempo_and_metre(tmp_path: Path) -> None:
    codes = (SOPRANO, ALTO, TENOR, BASS, 33, 40, 40, DRUMS, DRUMS)
    tracks = tuple(track(code, (0, 4, 60)) for code in codes)
    write_midi(Piece(4, 1, tracks), tmp_path / "a.mid", 90)
    midi = pretty_midi.PrettyMIDI(str(tmp_path / "a.mid"))
    assert [(i.name, i.program, i.is_drum) for i in midi.instruments] == [
        *((voice, 52, False) for voice in ("SOPRANO", "ALTO", "TENOR", "BASS")),
        ("Electric Bass (finger)", 33, False),
        ("Violin", 40, False),
        ("Violin 2", 40, False),
        ("Drums", 0, True),
        ("Drums 2", 0, True),
    ]
    assert midi.get_tempo_changes()[1] == pytest.approx([90], rel=1e-5)
    sign = midi.time_signature_changes[0]
    assert (sign.numerator, sign.denominator) == (4, 4)


def test_two_tracks_of_one_voice_are_both_that_voice(tmp_path: Path) -> None:
    write_midi(Piece(4, 1, (track(SOPRANO, (0, 4, 60)),) * 2), tmp_path / "a.mid")
    assert [one.instrument for one in read_midi(tmp_path / "a.mid").tracks] == [SOPRANO] * 2


def test_fifteen_tracks_and_the_drums_have_a_channel_each(tmp_path: Path) -> None:
    full = tuple(track(code, (0, 4, 60)) for code in (DRUMS, *range(15)))
    write_midi(Piece(4, 1, full), tmp_path / "a.mid")
    messages = chain(*mido.MidiFile(tmp_path / "a.mid").tracks)
    assert sorted(one.channel for one in messages if one.type == "program_change") == [*range(16)]


def test_what_is_no_file_can_be_neither_read_nor_written_to(tmp_path: Path) -> None:
    with pytest.raises(MidiError, match="cannot read"):
        read_midi(tmp_path / "none.mid")
    os.mkfifo(tmp_path / "a.mid")
    with pytest.raises(MidiError, match="is a folder or a device"):
        read_midi(tmp_path / "a.mid")
    with pytest.raises(WriteError, match="cannot write"):
        write_midi(Piece(4, 1, (track(0, (0, 4, 60)),)), tmp_path / "a.mid" / "b.mid")
    assert [path.name for path in tmp_path.iterdir()] == ["a.mid"]


def test_a_score_comes_back_from_its_midi_file() -> None:
    score = Score(
        10_080,
        (
            track(SOPRANO, (0, 10_080, 72), (10_080, 20_160, 72)),
            track(40, (0, 3_360, 60), (3_360, 6_720, 62)),
            track(40, (0, 40_320, 48)),
            track(DRUMS, (5_040, 10_080, 36)),
        ),
        (Metre(0, 3, 4), Metre(30_240, 4, 4)),
        90.0,
    )
    back = parse_midi(score_bytes(score), "a.mid")
    assert back.tracks == score.tracks
    assert back.metres == score.metres
    assert round(back.tempo_bpm, 3) == 90

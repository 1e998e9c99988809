"""MIDI files are read as they are, written as musicians expect, and refused in one line."""

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
from megatron_music.score.midi import parse_midi, read_midi, write_midi
from megatron_music.score.notes import Piece, Track
from megatron_music.score.quantize import quantize
from megatron_music.tokenizer.codec import decode, encode, piece_of
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary
from tests.midi_bytes import ONE_NOTE, midi_bytes
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


def test_a_note_on_of_velocity_0_ends_a_note(tmp_path: Path) -> None:
    path = tmp_path / "a.mid"
    path.write_bytes(midi_bytes(b"\x00\x90\x3c\x28\x60\x90\x3c\x00\x00\x90\x3c\x70\x60\x3c\x00"))
    [one] = read_midi(path).tracks
    assert one == track(0, (0, 96, 60), (96, 192, 60))
    assert one.velocity.tolist() == [0x28, 0x70]


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


def test_a_bass_guitar_called_bass_is_not_a_voice(tmp_path: Path) -> None:
    midi = pretty_midi.PrettyMIDI()
    bass = pretty_midi.Instrument(33, name="Bass")
    bass.notes.append(pretty_midi.Note(90, 40, 0.0, 1.0))
    midi.instruments.append(bass)
    midi.write(str(tmp_path / "band.mid"))
    assert [t.instrument for t in read_midi(tmp_path / "band.mid").tracks] == [33]


def test_what_is_no_file_can_be_neither_read_nor_written_to(tmp_path: Path) -> None:
    with pytest.raises(MidiError, match="cannot read"):
        read_midi(tmp_path / "none.mid")
    os.mkfifo(tmp_path / "a.mid")
    with pytest.raises(MidiError, match="is a folder or a device"):
        read_midi(tmp_path / "a.mid")
    with pytest.raises(WriteError, match="cannot write"):
        write_midi(Piece(4, 1, (track(0, (0, 4, 60)),)), tmp_path / "a.mid" / "b.mid")
    assert [path.name for path in tmp_path.iterdir()] == ["a.mid"]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80))
def test_no_bytes_make_the_reader_raise_anything_else(noise: bytes) -> None:
    for raw in (noise, midi_bytes(ONE_NOTE + noise)):
        try:
            parse_midi(raw, "noise")
        except MidiError:
            continue

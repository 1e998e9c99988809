"""Small collections of made-up music, and sources that misbehave on purpose."""

import os
import signal
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pretty_midi

from megatron_music.data.settings import BuildSettings
from megatron_music.data.sources.folder import MidiFile
from megatron_music.data.sources.open import Source
from megatron_music.score.instruments import DRUMS, VOICES
from megatron_music.score.midi_writer import write_midi
from megatron_music.score.notes import Piece, Score, Track

STEPS_PER_QUARTER = 4


def song(seed: int, shift: int = 0, bars: int = 6, drums: bool = True) -> Piece:
    """Make a piece of two melodic tracks and drums; `shift` moves the melodic ones."""
    random = np.random.default_rng(seed)
    steps = bars * 4 * STEPS_PER_QUARTER
    onset = np.arange(0, steps, 2, dtype=np.int64)
    codes = (0, 33, DRUMS) if drums else (0, 33)
    tracks = []
    for code in codes:
        chosen = onset[random.random(len(onset)) < random.uniform(0.2, 1.0)]
        chosen = chosen if len(chosen) else onset[:1]
        pitch = random.integers(40, 80, len(chosen)) + (0 if code == DRUMS else shift)
        tracks.append(Track(code, chosen, chosen + 2, pitch))
    return Piece(STEPS_PER_QUARTER, bars, tuple(tracks))


def as_score(piece: Piece) -> Score:
    """Return a piece as a source would give it, one tick a step."""
    return Score(piece.steps_per_quarter, piece.tracks)


def folder_of_songs(folder: Path, count: int = 12) -> Path:
    """Write songs as MIDI files into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        write_midi(song(seed), folder / f"song-{seed:02d}.mid")
    return folder


def waltz(path: Path) -> None:
    """Write a MIDI file in 3/4."""
    midi = pretty_midi.PrettyMIDI()
    midi.time_signature_changes.append(pretty_midi.TimeSignature(3, 4, 0))
    piano = pretty_midi.Instrument(0)
    piano.notes.append(pretty_midi.Note(90, 60, 0.0, 0.5))
    midi.instruments.append(piano)
    midi.write(str(path))


@dataclass(frozen=True)
class Song:
    """A made-up piece that notes each reading in a log, and may be deadly to read."""

    name: str
    seed: int
    shift: int = 0
    log: Path | None = None
    deadly: bool = False
    endless: bool = False

    def read(self) -> Score:
        """Return the piece, or end the process, or never return."""
        if self.log:
            with self.log.open("a") as log:
                log.write(f"{self.name}\n")
        if self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        while self.endless:
            time.sleep(60)
        return as_score(song(self.seed, self.shift))


@dataclass(frozen=True)
class DeadlyFile(MidiFile):
    """A MIDI file that ends the process that encodes it, with others or alone."""

    def raw(self) -> bytes:
        """End the process, unless the bytes are for their digest."""
        users = {frame.name for frame in traceback.extract_stack()}
        if users & {"encode_batch", "encode_item"}:
            os.kill(os.getpid(), signal.SIGKILL)
        return MidiFile.raw(self)


@dataclass(frozen=True)
class Choir:
    """A made-up chorale, all of whose pieces have the same four voices."""

    name: str
    seed: int

    def read(self) -> Score:
        """Return the piece, its voices in the order of the score."""
        random = np.random.default_rng(self.seed)
        onset = np.arange(0, 64, 4, dtype=np.int64)
        tracks = [Track(code, onset, onset + 4, random.integers(40, 80, 16)) for code in VOICES]
        return Score(STEPS_PER_QUARTER, tuple(tracks))


def source_of(items: list[Song] | list[Choir], settings: BuildSettings | None = None) -> Source:
    """Return a source of made-up pieces, two to a shard."""
    return Source(
        name="made-up",
        title="Made-up music",
        licence="none",
        citation="nobody",
        fingerprint=repr([(item.name, item.seed) for item in items]),
        items=items,
        items_per_shard=2,
        preferred=settings or BuildSettings(),
    )


def songs(count: int, log: Path | None = None) -> list[Song]:
    """Return made-up pieces."""
    return [Song(f"song-{seed:03d}", seed, log=log) for seed in range(count)]


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the contents of every file of a folder, by its name in it."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}

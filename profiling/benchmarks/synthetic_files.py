"""Collections of MIDI files for benchmarks: variants of real or made-up music, none a duplicate.

A variant has three in ten of its melodic notes moved by up to four semitones, all of them by one
interval, and the whole later by some bars: other music to the fingerprint of duplicates, and alike
in size, tracks and notes. Making ten thousand takes some six seconds.
"""

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import symusic

from megatron_music.data.sources.corpus import chorales
from megatron_music.errors import MusicError
from megatron_music.score.instruments import DRUMS
from megatron_music.score.midi_writer import write_midi
from megatron_music.score.notes import Piece, Score, Track
from megatron_music.score.quantize import quantize

FILES_PER_FOLDER = 1_000
MOVED_SHARE = 0.3


def midi_files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in {".mid", ".midi"})


def read_bases(folder: Path) -> list[symusic.Score]:
    """Read the files to be varied; those that cannot be read are left out."""
    bases = []
    for path in midi_files(folder):
        with suppress(RuntimeError, ValueError):
            bases.append(symusic.Score.from_midi(path.read_bytes()))
    return bases


def write_variants(bases: list[symusic.Score], folder: Path, count: int, seed: int = 1) -> None:
    """Write so many variants, a thousand to a folder: one of all would be slow to list."""
    random = np.random.default_rng(seed)
    for number in range(count):
        path = folder / f"{number // FILES_PER_FOLDER:04d}" / f"{number:07d}.mid"
        path.parent.mkdir(parents=True, exist_ok=True)
        score = bases[number % len(bases)].copy()
        interval = int(random.integers(-5, 7))
        # Where the metre changes, bars lie elsewhere once all is later.
        bars = 0 if len(score.time_signatures) > 1 else int(random.integers(0, 4))
        for track in score.tracks:
            notes = track.notes.numpy()
            if not track.is_drum:
                pitch = notes["pitch"].astype(np.int64) + interval
                moved = random.random(len(pitch)) < MOVED_SHARE
                pitch[moved] += random.integers(-4, 5, int(moved.sum()))
                notes["pitch"] = pitch.clip(0, 127).astype(notes["pitch"].dtype)
            later = np.asarray(bars * 4 * score.ticks_per_quarter, notes["time"].dtype)
            notes["time"] = notes["time"] + later
            track.notes = symusic.Note.from_numpy(**notes, ttype="tick")
        score.dump_midi(path)


def made_up(count: int = 24, seed: int = 7) -> dict[str, list[symusic.Score]]:
    """Return multi-track pieces of the size of those in Lakh, and some of the embedded chorales."""
    random = np.random.default_rng(seed)
    bands: list[Piece] = []
    for _ in range(count):
        bars, tracks = int(random.integers(70, 140)), []
        for index in range(9):
            onset = np.flatnonzero(random.random(bars * 16) < random.uniform(0.15, 0.45))
            pitch = random.integers(-12, 13, len(onset)) + int(random.integers(40, 72))
            code = int(random.integers(0, 96)) if index else DRUMS
            tracks.append(Track(code, onset, onset + random.integers(1, 7, len(onset)), pitch))
        bands.append(quantize(Score(4, tuple(tracks)), 4))
    choirs: list[Piece] = []
    for item in chorales():
        with suppress(MusicError):
            choirs.append(quantize(item.read(), 4))
        if len(choirs) == count:
            break
    found = {}
    for name, pieces in (("bands", bands), ("choirs", choirs)):
        with TemporaryDirectory() as folder:
            for number, piece in enumerate(pieces):
                write_midi(piece, Path(folder) / f"{number:03d}.mid")
            found[name] = read_bases(Path(folder))
    return found

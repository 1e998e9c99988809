"""Collections of MIDI files for benchmarks: variants of real or made-up music, none a duplicate.

A variant has three in ten of its melodic notes moved by up to four semitones, all of them by one
interval, and the whole later by some bars: other music to the fingerprint of duplicates, and alike
in size, tracks and notes. Making ten thousand takes some six seconds.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import symusic

from megatron_music.data.sources.corpus import chorales
from megatron_music.errors import MusicError
from megatron_music.score.instruments import DRUMS, VOICES, instrument_name
from megatron_music.score.notes import Score

TICKS_PER_QUARTER = 480
BAR_TICKS = 4 * TICKS_PER_QUARTER
FILES_PER_FOLDER = 1_000
MOVED_SHARE = 0.3


def midi_files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in {".mid", ".midi"})


def read_bases(folder: Path) -> list[symusic.Score]:
    """Read the files to be varied; those that cannot be read are left out."""
    bases = []
    for path in midi_files(folder):
        try:
            bases.append(symusic.Score.from_midi(path.read_bytes()))
        except (RuntimeError, ValueError):
            continue
    return bases


def write_variants(
    bases: Sequence[symusic.Score], folder: Path, count: int, seed: int = 1
) -> list[Path]:
    """Write so many variants, a thousand to a folder."""
    random = np.random.default_rng(seed)
    paths = []
    for number in range(count):
        path = folder / f"{number // FILES_PER_FOLDER:04d}" / f"{number:07d}.mid"
        path.parent.mkdir(parents=True, exist_ok=True)
        variant(bases[number % len(bases)], random).dump_midi(path)
        paths.append(path)
    return paths


def variant(base: symusic.Score, random: np.random.Generator) -> symusic.Score:
    score = base.copy()
    interval = int(random.integers(-5, 7))
    # Where the metre changes, bars lie elsewhere once all is later.
    bars = 0 if len(score.time_signatures) > 1 else int(random.integers(0, 4))
    later = bars * 4 * score.ticks_per_quarter
    for track in score.tracks:
        notes = track.notes.numpy()
        if not track.is_drum:
            pitch = notes["pitch"].astype(np.int64) + interval
            moved = random.random(len(pitch)) < MOVED_SHARE
            pitch[moved] += random.integers(-4, 5, int(moved.sum()))
            notes["pitch"] = pitch.clip(0, 127).astype(notes["pitch"].dtype)
        notes["time"] = notes["time"] + np.asarray(later, notes["time"].dtype)
        track.notes = symusic.Note.from_numpy(**notes, ttype="tick")
    return score


def bands(count: int = 24, seed: int = 7) -> list[symusic.Score]:
    """Make up multi-track pieces of the size of those in Lakh: nine tracks, a hundred bars."""
    random = np.random.default_rng(seed)
    return [_band(random) for _ in range(count)]


def _band(random: np.random.Generator) -> symusic.Score:
    score = symusic.Score(TICKS_PER_QUARTER)
    score.time_signatures.append(symusic.TimeSignature(0, 4, 4))
    score.tempos.append(symusic.Tempo(0, 120.0))
    bars = int(random.integers(70, 140))
    for index in range(9):
        track = symusic.Track(f"part {index}", int(random.integers(0, 96)), index == 0)
        steps = np.flatnonzero(random.random(bars * 16) < random.uniform(0.15, 0.45))
        moved = random.integers(-12, 13, len(steps)) + int(random.integers(40, 72))
        length = random.integers(1, 7, len(steps))
        track.notes = symusic.Note.from_numpy(
            time=(steps * BAR_TICKS // 16).astype(np.int32),
            duration=(length * BAR_TICKS // 16).astype(np.int32),
            pitch=moved.astype(np.int8),
            velocity=np.full(len(steps), 90, np.int8),
            ttype="tick",
        )
        score.tracks.append(track)
    return score


def choirs(count: int = 24) -> list[symusic.Score]:
    """Return the first of the embedded chorales that can be used, as MIDI would hold them."""
    return [_choir(score) for score, _ in zip(_chorales(), range(count), strict=False)]


def _chorales() -> Iterator[Score]:
    for item in chorales():
        try:
            yield item.read()
        except MusicError:
            continue


def _choir(chorale: Score) -> symusic.Score:
    score = symusic.Score(chorale.ticks_per_quarter)
    score.time_signatures.append(symusic.TimeSignature(0, 4, 4))
    for part in chorale.tracks:
        name = instrument_name(part.instrument) if part.instrument in VOICES else ""
        track = symusic.Track(name, 52, part.instrument == DRUMS)
        track.notes = symusic.Note.from_numpy(
            time=part.onset.astype(np.int32),
            duration=(part.end - part.onset).astype(np.int32),
            pitch=part.pitch.astype(np.int8),
            velocity=np.full(len(part), 90, np.int8),
            ttype="tick",
        )
        score.tracks.append(track)
    return score

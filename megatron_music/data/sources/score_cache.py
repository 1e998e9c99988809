"""Scores that music21 has read, kept as columns: it takes seconds a piece, these milliseconds.

One file a piece, in the user's cache, under the hash of its bytes; a file that cannot be read is
read from its source again, and where none can be written nothing is kept.
"""

import hashlib
import os
import zipfile
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from io import BytesIO
from pathlib import Path

import numpy as np

from megatron_music.errors import WriteError
from megatron_music.files import atomic_write
from megatron_music.score.notes import Metre, Score, Track
from megatron_music.score.score_file import parse_score
from megatron_music.score.words import without

CACHE = "MEGATRON_MUSIC_CACHE"
"""The environment variable that names the folder; else `megatron_music` in the user's cache."""

READER_VERSION = 3
"""Raised whenever the same file comes to give another score."""


def cache_folder() -> Path:
    """Return the folder that holds what was read."""
    named = os.environ.get(CACHE)
    if named:
        return Path(named) / "scores"
    users = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(users) / "megatron_music" / "scores"


def cached_score(raw: bytes, name: str, *, is_vocal: bool = False) -> Score:
    """Read a file of notation, or what was kept of it; raises ScoreError."""
    suffix = name.rpartition(".")[2].partition("#")[0].lower()
    return cached(raw, f"{suffix} {is_vocal}", lambda: parse_score(raw, name, is_vocal=is_vocal))


def cached(raw: bytes, how: str, read: Callable[[], Score]) -> Score:
    """Return what was kept of a file, else what `read` makes of its bytes; `how` names the way."""
    way = f"{READER_VERSION} {version('music21')} {how}"
    # Everything that decides the result is in the name: no entry is ever out of date.
    key = hashlib.sha256(way.encode() + b"\n" + raw).hexdigest()
    path = cache_folder() / key[:2] / f"{key}.npz"
    score = _load(path)
    if score is None:
        score = read()
        with suppress(WriteError):
            none = np.zeros((4, 0), np.int64)
            tracks = [
                np.stack((track.onset, track.end, track.pitch, track.velocity))
                for track in score.tracks
            ]
            metres = [
                (metre.onset_ticks, metre.numerator, metre.denominator) for metre in score.metres
            ]
            # In memory: an interrupted ZIP file would complain that its file was closed first.
            npz = BytesIO()
            np.savez_compressed(
                npz,
                head=np.array([score.ticks_per_quarter, score.tempo_bpm], np.float64),
                tracks=np.array(
                    [(track.instrument, len(track)) for track in score.tracks], np.int64
                ),
                notes=np.concatenate([none, *tracks], axis=1),
                words=np.concatenate([without(0), *(track.sung for track in score.tracks)]),
                metres=np.array(metres, np.int64).reshape(-1, 3),
            )
            with atomic_write(path) as temporary:
                temporary.write_bytes(npz.getvalue())
    return score


def _load(path: Path) -> Score | None:
    """Return the score that a file keeps; None where there is none or it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            head, tracks, notes, words, metres = (
                kept[name] for name in ("head", "tracks", "notes", "words", "metres")
            )
        edges = np.cumsum(tracks.reshape(-1, 2)[:, 1])[:-1]
        parts = np.split(notes, edges, axis=1) if len(tracks) else []
        sung = np.split(words, edges) if len(tracks) else []
        return Score(
            int(head[0]),
            tuple(
                Track(
                    int(code),
                    on,
                    end,
                    pitch,
                    velocity,
                    of_track if (of_track != "").any() else None,
                )
                for (code, _), (on, end, pitch, velocity), of_track in zip(
                    tracks.tolist(), parts, sung, strict=True
                )
            ),
            tuple(Metre(*row) for row in metres.tolist()),
            float(head[1]),
        )
    except (OSError, ValueError, LookupError, TypeError, EOFError, zipfile.BadZipFile):
        return None

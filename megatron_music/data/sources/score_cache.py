"""Cache the scores that music21 has read, and its refusals: reading takes seconds a piece.

The user's cache has a file for each piece, named by the hash of its bytes. If that file cannot be
read, the piece is read again; if it cannot be written, nothing is cached.
"""

import hashlib
import os
import zipfile
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from megatron_music.data.records import Refusal
from megatron_music.errors import WriteError
from megatron_music.files import atomic_write
from megatron_music.score.notation import parse_score
from megatron_music.score.notes import Metre, Score, Tempo, Track
from megatron_music.score.words import without

CACHE = "MEGATRON_MUSIC_CACHE"
"""The environment variable that names the folder; else `megatron_music` in the user's cache."""

READER_VERSION = 6
"""Raised whenever the same file comes to give another score, or another refusal."""


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
    """Return what was kept of a file, else what `read` makes of its bytes; `how` names the way.

    A Refusal is kept and raised again: it takes as long to find. Other errors are not kept, since
    their texts name the file.
    """
    way = f"{READER_VERSION} {version('music21')} {how}"
    # Everything that decides the result is in the name: no entry is ever out of date.
    key = hashlib.sha256(way.encode() + b"\n" + raw).hexdigest()
    path = cache_folder() / key[:2] / f"{key}.npz"
    kept = _load(path)
    if kept is None:
        try:
            kept = read()
        except Refusal as refusal:
            kept = refusal
        # In memory: an interrupted ZIP file would complain that its file was closed first.
        npz = BytesIO()
        np.savez_compressed(npz, **_columns(kept))
        with suppress(WriteError), atomic_write(path) as temporary:
            temporary.write_bytes(npz.getvalue())
    if isinstance(kept, Refusal):
        raise kept
    return kept


def _columns(of: Score | Refusal) -> dict[str, Any]:
    """Return what a file keeps of a score or a refusal."""
    if isinstance(of, Refusal):
        return {"refusal": np.array([of.reason, str(of)])}
    notes = [np.stack((track.onset, track.end, track.pitch, track.velocity)) for track in of.tracks]
    metres = [(metre.onset_ticks, metre.numerator, metre.denominator) for metre in of.metres]
    tempos = [(tempo.onset_ticks, tempo.quarter_us) for tempo in of.tempos]
    tracks = [(track.instrument, len(track)) for track in of.tracks]
    return {
        "head": np.array([of.ticks_per_quarter, of.tempo_bpm], np.float64),
        "tracks": np.array(tracks, np.int64),
        "notes": np.concatenate([np.zeros((4, 0), np.int64), *notes], axis=1),
        "words": np.concatenate([without(0), *(track.sung for track in of.tracks)]),
        "metres": np.array(metres, np.int64).reshape(-1, 3),
        "tempos": np.array(tempos, np.int64).reshape(-1, 2),
    }


def _load(path: Path) -> Score | Refusal | None:
    """Return the score or the refusal that a file keeps; None for no file or a damaged one."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            if "refusal" in kept:
                reason, detail = kept["refusal"].tolist()
                return Refusal(reason, detail)
            head, tracks, notes, words, metres, tempos = (
                kept[name] for name in ("head", "tracks", "notes", "words", "metres", "tempos")
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
            tempos=tuple(Tempo(*row) for row in tempos.tolist()),
        )
    except (OSError, ValueError, LookupError, TypeError, EOFError, zipfile.BadZipFile):
        return None

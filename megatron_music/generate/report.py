"""What came of a request: the figures of a song, beside what was asked."""

from dataclasses import asdict, dataclass, fields
from itertools import repeat
from typing import Any

import numpy as np

from megatron_music.generate.harmonise import with_voice
from megatron_music.generate.request import Request
from megatron_music.generate.song import Song
from megatron_music.score.instruments import DRUMS, instrument_name
from megatron_music.score.notes import Piece, Track
from megatron_music.score.pianoroll import pitch_name, track_labels

# How well each pitch class fits a key on C, as listeners judged (Krumhansl & Kessler 1982).
_MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
_MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
_KEYS = ("C", "D♭", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")


@dataclass(frozen=True)
class Maker:
    """What made the songs: hashes of the model and of its vocabulary, and the piece begun from."""

    model: str
    vocabulary: str
    prompt: str = ""
    """The name and sha256 of the MIDI file, "" for none."""


@dataclass(frozen=True)
class Copies:
    """The longest run of bars that a song shares with training music.

    `found` counts bars with all tracks together, `in_a_track` those of one track by itself; None:
    not checked, `reason` says why. A run longer than `at_most` bars, the windows of the training
    data, cannot be seen.
    """

    found: int | None
    in_a_track: int = 0
    at_most: int = 0
    reason: str = ""

    def __str__(self) -> str:
        if self.found is None:
            return f"not checked: {self.reason}"
        longest = max(self.found, self.in_a_track)
        more = ", as long as a training window" if 0 < self.at_most <= longest else ""
        return f"{_bars(self.found)}; one track alone {_bars(self.in_a_track)}{more}"


def _bars(count: int) -> str:
    return f"{count} bar{'s' * (count != 1)}" if count else "none"


def song_report(
    song: Song, request: Request, maker: Maker, copies: Copies, prompt: Piece | None = None
) -> dict[str, Any]:
    """Return what was asked and what came, as JSON can hold it.

    What was left open is not among what was asked. `new_bars` are, for each track, the bars (from
    1) that are not as in the piece begun from.
    """
    asked = {
        field.name: value
        for field in fields(request)
        if (value := getattr(request, field.name)) not in (None, ())
        and not (value is False and field.default is False)
    }
    if prompt is not None and request.voice is not None:
        prompt = with_voice(prompt, request.voice)
    played = {"tempo_bpm": request.tempo, "tokens": len(song.tokens)}
    return {
        "seed": song.seed,
        "asked": asked,
        "came": figures(song.piece) | played,
        "new_bars": None if prompt is None else _new_bars(song.piece, prompt),
        "longest_run_shared_with_training": asdict(copies),
        "model": maker.model,
        "vocabulary": maker.vocabulary,
        "prompt": maker.prompt,
    }


def figures(piece: Piece) -> dict[str, Any]:
    """Return bars, notes, key and tracks of a piece."""
    notes = sum(len(track) for track in piece.tracks)
    return {
        "bars": piece.bars,
        "notes": notes,
        "notes_per_bar": round(notes / piece.bars, 2),
        "key": key_of(piece),
        "tracks": list(map(_track, piece.tracks, track_labels(piece), repeat(piece.bars))),
    }


def _new_bars(piece: Piece, prompt: Piece) -> list[dict[str, Any]]:
    """Compare the n-th track of each instrument with that of the piece begun from."""
    old: dict[int, list[set[tuple[int, int, int]]]] = {}
    for track in prompt.tracks:
        old.setdefault(track.instrument, []).append(_notes(track))
    found = []
    for track in piece.tracks:
        before = old.get(track.instrument, [])
        changed = _notes(track) ^ (before.pop(0) if before else set())
        bars = {onset // piece.steps_per_bar + 1 for onset, _, _ in changed}
        new = sorted(bar for bar in bars if bar <= piece.bars)
        found.append({"instrument": instrument_name(track.instrument), "bars": new})
    return found


def _notes(track: Track) -> set[tuple[int, int, int]]:
    columns = (track.onset.tolist(), track.end.tolist(), track.pitch.tolist())
    return set(zip(*columns, strict=True))


def _track(track: Track, name: str, bars: int) -> dict[str, Any]:
    pitched = track.instrument != DRUMS
    return {
        "instrument": instrument_name(track.instrument),
        "name": name,
        "notes": len(track),
        "notes_per_bar": round(len(track) / bars, 2),
        "lowest": pitch_name(int(track.pitch.min())) if pitched else None,
        "highest": pitch_name(int(track.pitch.max())) if pitched else None,
    }


def key_of(piece: Piece) -> str:
    """Return the key whose profile correlates best with how long each pitch class sounds.

    The method of Krumhansl and Schmuckler; "" where no pitched note sounds, or all equally long.
    """
    sounding = np.zeros(12)
    for track in piece.tracks:
        if track.instrument != DRUMS:
            np.add.at(sounding, track.pitch % 12, track.end - track.onset)
    if not sounding.std():
        return ""
    profiles = [np.roll(mode, key) for mode in (_MAJOR, _MINOR) for key in range(12)]
    best = int(np.argmax([np.corrcoef(sounding, profile)[0, 1] for profile in profiles]))
    return f"{_KEYS[best % 12]} {'minor' if best >= 12 else 'major'}"

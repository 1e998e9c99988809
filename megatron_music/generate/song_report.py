"""Figures of a composed song, next to what was requested."""

from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from megatron_music.generate.prompt import Prompt
from megatron_music.generate.song import Song
from megatron_music.generate.song_key import key_of
from megatron_music.generate.song_request import Request
from megatron_music.score.general_midi import instrument_title
from megatron_music.score.instruments import DRUMS
from megatron_music.score.midi_columns import US_PER_MINUTE
from megatron_music.score.notes import Piece
from megatron_music.score.pianoroll import pitch_name, track_labels
from megatron_music.score.words import as_text


@dataclass(frozen=True)
class Provenance:
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
    data, cannot be seen; of whole pieces (0) any can.
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
    song: Song, request: Request, maker: Provenance, copies: Copies, prompt: Prompt | None = None
) -> dict[str, Any]:
    """Return the request and the figures of a song, as JSON can hold them.

    Options that were left open are not listed. `new_bars` are, for each track, the bars (from
    1, as the file counts them) that were composed.
    """
    asked = {
        field.name: value
        for field in fields(request)
        if (value := getattr(request, field.name)) not in (None, ())
        and not (value is False and field.default is False)
    }
    played = {"tempo_bpm": tempo_of(song, request, prompt), "tokens": len(song.tokens)}
    composed = None if prompt is None else new_bars(song, prompt)
    new = []
    for one in composed or []:
        bars = one["bars"]
        firsts = [bar for bar in bars if bar - 1 not in bars]
        lasts = [bar for bar in bars if bar + 1 not in bars]
        spans = [f"{a}-{b}" if a != b else f"{a}" for a, b in zip(firsts, lasts, strict=True)]
        new += [f"{one['name']} {', '.join(spans)}"] if spans else []
    return {
        "seed": song.seed,
        "asked": asked,
        "came": figures(song.piece) | played | {"new": "; ".join(new)},
        "new_bars": composed,
        "longest_run_shared_with_training": asdict(copies),
        "model": maker.model,
        "vocabulary": maker.vocabulary,
        "prompt": maker.prompt,
    }


def tempo_of(song: Song, request: Request, prompt: Prompt | None) -> float:
    """Return the tempo that a song begins at, in quarter notes a minute."""
    if request.tempo_bpm is None and prompt is not None and prompt.source is not None:
        return prompt.source.score.tempo_bpm
    if request.tempo_bpm is None and song.piece.tempos_us:
        return round(US_PER_MINUTE / song.piece.tempo_of(0), 2)
    return request.tempo


def figures(piece: Piece) -> dict[str, Any]:
    """Return bars, notes, key and tracks of a piece, and the words of those that sing."""
    notes = sum(len(track) for track in piece.tracks)
    tracks = []
    for track, name in zip(piece.tracks, track_labels(piece), strict=True):
        pitched = track.instrument != DRUMS
        tracks.append(
            {
                "instrument": instrument_title(track.instrument),
                "name": name,
                "notes": len(track),
                "notes_per_bar": round(len(track) / piece.bars, 2),
                "lowest": pitch_name(int(track.pitch.min())) if pitched else None,
                "highest": pitch_name(int(track.pitch.max())) if pitched else None,
            }
        )
    found = {
        "bars": piece.bars,
        "notes": notes,
        "notes_per_bar": round(notes / piece.bars, 2),
        "key": key_of(piece),
        "tracks": tracks,
    }
    sung = [as_text(track.syllables) for track in piece.tracks if track.syllables is not None]
    return found | {"words": sung} if sung else found


def new_bars(song: Song, prompt: Prompt) -> list[dict[str, Any]]:
    """Return the composed bars of each track, from 1."""
    found = []
    for track, source, row in zip(song.piece.tracks, song.sources, song.new, strict=True):
        bars = np.flatnonzero(row).tolist()
        if prompt.bars is not None:
            bars = sorted(set(map(prompt.bars.to_file, bars)))
        instrument = instrument_title(track.instrument)
        name = instrument if source is None else prompt.names[source] or instrument
        found.append({"instrument": instrument, "name": name, "bars": [bar + 1 for bar in bars]})
    return found

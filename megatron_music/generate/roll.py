"""A MIDI file as the page of a folder shows it: notes, barlines and new bars, all in seconds."""

import base64
import io
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from megatron_music.score.audio import SAMPLE_RATE_HZ, FloatArray, play_tracks
from megatron_music.score.barlines import bar_starts
from megatron_music.score.instruments import DRUMS
from megatron_music.score.midi_reader import read_file
from megatron_music.score.pianoroll import instrument_colours, instrument_label

LONGEST_TRACK_S = 1_200
"""Of all tracks together: beyond that they are not played one by one, to be muted, but as one."""

_COMPRESSION = 0.7
"""The compression level of libsndfile, 0 to 1."""


def roll_of(midi: Path, report: Mapping[str, Any], wav: Path) -> dict[str, Any]:
    """Return what the page draws and plays of a song; `report` is what its .json holds.

    With sound where there is a WAV file: each track as MP3, or the file's name for a long song.
    """
    file = read_file(midi)
    end_ticks = max(int(track.end.max()) for track in file.tracks)
    bars, _ = bar_starts(file.metres, end_ticks, file.ticks_per_quarter)
    end_s = float(file.seconds(np.array([end_ticks]))[0])
    named = report.get("came", {}).get("tracks", [])
    # A person may have edited the MIDI file since the report was written.
    if len(named) != len(file.tracks):
        named = [{"name": instrument_label(track.instrument)} for track in file.tracks]
    new = report.get("new_bars") or []
    if len(new) != len(file.tracks):
        together = sorted({bar for one in new for bar in one["bars"]})
        new = [{"bars": together}] * len(file.tracks)
    tracks = []
    colours = instrument_colours([track.instrument for track in file.tracks])
    for track, colour, name, of_track in zip(file.tracks, colours, named, new, strict=True):
        # Rounded to milliseconds: the page holds these numbers as text.
        begins, ends = file.seconds(track.onset).round(3), file.seconds(track.end).round(3)
        columns = (begins.tolist(), ends.tolist(), track.pitch.tolist())
        tracks.append(
            {
                "name": name["name"],
                "colour": colour,
                "drums": track.instrument == DRUMS,
                "notes": list(zip(*columns, strict=True)),
                "new": of_track["bars"],
                "sound": "",
            }
        )
    shown = {
        "bars": [round(second, 3) for second in file.seconds(np.array(bars)).tolist()],
        "seconds": round(max(end_s, float(file.seconds(np.array(bars[-1:]))[0])), 3),
        "tracks": tracks,
        "wav": "",
    }
    if wav.is_file() and end_s * len(tracks) > LONGEST_TRACK_S:
        shown["wav"] = wav.name
    elif wav.is_file():
        with ThreadPoolExecutor() as pool:  # the encoder runs without the interpreter's lock
            for drawn, packed in zip(tracks, pool.map(as_mp3, play_tracks(midi)), strict=True):
                drawn["sound"] = base64.b64encode(packed).decode()
    return shown


def compressed(wav: Path) -> bytes:
    """Return a WAV file of `score.audio` as MP3, a tenth of the size."""
    import soundfile

    samples, _ = soundfile.read(wav, dtype="float32")
    return as_mp3(samples)


def as_mp3(samples: FloatArray) -> bytes:
    """Return sound [samples, channels] as an MP3 file."""
    import soundfile

    packed = io.BytesIO()
    soundfile.write(packed, samples, SAMPLE_RATE_HZ, format="MP3", compression_level=_COMPRESSION)
    return packed.getvalue()

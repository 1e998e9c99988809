"""Songs as files: MIDI, sound and picture, with the request that made them."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from megatron_music.files import write_text
from megatron_music.generate.request import Request
from megatron_music.generate.song import Song
from megatron_music.progress import Progress, silent
from megatron_music.score.audio import render_audio
from megatron_music.score.midi import write_midi
from megatron_music.score.pianoroll import draw_piano_roll

ALBUM_FILE = "album.json"


@dataclass(frozen=True)
class Formats:
    """Which files each song is written as, beside its MIDI file."""

    wav: bool = True
    png: bool = True


def write_album(
    songs: Iterable[Song],
    folder: Path,
    request: Request,
    model: str,
    formats: Formats | None = None,
    progress: Progress = silent,
) -> list[Path]:
    """Write each song as `song-SEED.mid`, `.wav` and `.png`; return the files, songs in order.

    `album.json`, written last, holds the request and the model's identity: what `written`
    compares, hashes of the files included. Raises WriteError.
    """
    chosen = formats or Formats()
    files: list[Path] = []
    progress(0, request.count)
    for done, song in enumerate(songs, 1):
        (folder / ALBUM_FILE).unlink(missing_ok=True)
        files += _write_song(song, folder, request.tempo_bpm, chosen)
        progress(done, request.count)
    write_text(folder / ALBUM_FILE, json.dumps(_identity(request, model, chosen, files), indent=2))
    return files


def _write_song(song: Song, folder: Path, tempo_bpm: float, formats: Formats) -> list[Path]:
    midi = folder / f"song-{song.seed}.mid"
    write_midi(song.piece, midi, tempo_bpm)
    files = [midi]
    if formats.wav:
        files.append(midi.with_suffix(".wav"))
        render_audio(midi, files[-1])
    if formats.png:
        files.append(midi.with_suffix(".png"))
        draw_piano_roll(song.piece, files[-1], f"song {song.seed}")
    return files


def written(folder: Path, request: Request, model: str, formats: Formats) -> list[Path]:
    """Return the files of an album that this request and model have already made, else none."""
    try:
        album = json.loads((folder / ALBUM_FILE).read_text(encoding="utf-8"))
        files = [folder / name for name in album["files"]]
        same = album == json.loads(json.dumps(_identity(request, model, formats, files)))
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return files if same else []


def _identity(request: Request, model: str, formats: Formats, files: list[Path]) -> dict[str, Any]:
    return {
        "model": model,
        "request": asdict(request),
        "formats": asdict(formats),
        "files": {file.name: sha256(file.read_bytes()).hexdigest() for file in files},
    }

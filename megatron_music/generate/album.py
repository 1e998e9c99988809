"""Songs as files: MIDI, sound, picture and report of each, and a page to compare them."""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from megatron_music.files import complete, write_text
from megatron_music.generate.page import Card, write_page
from megatron_music.generate.prompt import Prompt
from megatron_music.generate.report import Copies, Maker, figures, song_report
from megatron_music.generate.request import Request
from megatron_music.generate.rewrite import write_song
from megatron_music.generate.song import BoolArray, Song
from megatron_music.progress import Progress, silent
from megatron_music.score.audio import render_audio
from megatron_music.score.midi import write_midi
from megatron_music.score.notes import Piece
from megatron_music.score.pianoroll import draw_piano_roll

ALBUM_FILE = "album.json"
PAGE_FILE = "index.html"
_OURS = re.compile(r"(song-\d+|prompt)\.(mid|wav|png|json)|index\.html")

CopyCheck = Callable[[Sequence[Song]], list[Copies]]
"""Holds songs against the training data."""


@dataclass(frozen=True)
class Formats:
    """Which files each song is written as, beside its MIDI file; `page` compares them."""

    wav: bool = True
    png: bool = True
    page: bool = True


def not_checked(songs: Sequence[Song]) -> list[Copies]:
    """Hold songs against nothing."""
    return [Copies(None, reason="no training data given")] * len(songs)


def write_album(
    songs: Iterable[Song],
    folder: Path,
    request: Request,
    maker: Maker,
    formats: Formats | None = None,
    *,
    prompt: Piece | Prompt | None = None,
    copies: CopyCheck = not_checked,
    progress: Progress = silent,
) -> list[Path]:
    """Write `song-SEED.mid`, `.wav`, `.png` and `.json` of each song, and `index.html`.

    Returns the files, songs in order. `album.json`, written last, holds the request and what made
    the songs: what `written` compares, hashes of the files included. The files of an album that
    was there before are removed, and no others. Raises WriteError.
    """
    chosen = formats or Formats()
    begun = None if prompt is None else Prompt.of(prompt)
    composed: list[Song] = []
    count = len(request.seeds)
    progress(0, count)
    for song in songs:
        if not composed:
            _clear(folder)
        base = folder / f"song-{song.seed}"
        write_song(song, base.with_suffix(".mid"), begun, request.tempo_bpm)
        _show(song.piece, base, _name(song, request), chosen, song.new)
        composed.append(song)
        progress(len(composed), count)
    stems = [f"song-{song.seed}" for song in composed]
    cards: list[Card] = []
    if begun is not None:
        _write_prompt(begun, folder / "prompt.mid")
        _show(begun.piece, folder / "prompt", "the piece begun from", chosen)
        cards.append(Card("The piece begun from", folder / "prompt", figures(begun.piece)))
    for song, stem, found in zip(composed, stems, copies(composed), strict=True):
        report = song_report(song, request, maker, found, begun)
        told = json.dumps(report, indent=2, ensure_ascii=False)
        write_text(folder / f"{stem}.json", told + "\n")
        cards.append(Card(_name(song, request), folder / stem, report["came"], found))
    stems += ["prompt"] * (begun is not None)
    if chosen.page:
        write_page(cards, folder / PAGE_FILE, request, maker)
    files = _files(folder, stems, chosen)
    write_text(folder / ALBUM_FILE, json.dumps(_identity(request, maker, chosen, files), indent=2))
    return files


def _name(song: Song, request: Request) -> str:
    return f"song {song.seed}" if request.song_ids else f"seed {song.seed}"


def _write_prompt(prompt: Prompt, path: Path) -> None:
    """Write what was begun from: a file as it is."""
    if prompt.source is None:
        write_midi(prompt.piece, path)
        return
    with complete(path) as temporary:
        temporary.write_bytes(prompt.source.raw)


def _show(
    piece: Piece, stem: Path, name: str, formats: Formats, new: BoolArray | None = None
) -> None:
    """Play and draw what `stem`.mid holds; `new` are the bars to mark [tracks, bars]."""
    if formats.wav:
        render_audio(stem.with_suffix(".mid"), stem.with_suffix(".wav"))
    if formats.png:
        draw_piano_roll(piece, stem.with_suffix(".png"), name, new)


def _files(folder: Path, stems: list[str], formats: Formats) -> list[Path]:
    kinds = ["mid", *["wav"] * formats.wav, *["png"] * formats.png]
    files = [folder / f"{stem}.{kind}" for stem in stems for kind in kinds]
    files += [folder / f"{stem}.json" for stem in stems if stem != "prompt"]
    return files + [folder / PAGE_FILE] * formats.page


def _clear(folder: Path) -> None:
    """Remove an earlier album: what it lists under names of ours, as it was written."""
    try:
        album = json.loads((folder / ALBUM_FILE).read_text(encoding="utf-8"))
        listed = dict(album["files"])
    except (OSError, ValueError, KeyError, TypeError):
        listed = {}
    (folder / ALBUM_FILE).unlink(missing_ok=True)
    for name, digest in listed.items():
        path = folder / name
        ours = _OURS.fullmatch(name) and path.is_file()
        if ours and sha256(path.read_bytes()).hexdigest() == digest:
            path.unlink()


def written(folder: Path, request: Request, maker: Maker, formats: Formats) -> list[Path]:
    """Return the files of an album that this request and model have already made, else none."""
    try:
        album = json.loads((folder / ALBUM_FILE).read_text(encoding="utf-8"))
        files = [folder / name for name in album["files"]]
        same = album == json.loads(json.dumps(_identity(request, maker, formats, files)))
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return files if same else []


def _identity(
    request: Request, maker: Maker, formats: Formats, files: list[Path]
) -> dict[str, Any]:
    return {
        "maker": asdict(maker),
        "request": asdict(request),
        "formats": asdict(formats),
        "files": {file.name: sha256(file.read_bytes()).hexdigest() for file in files},
    }

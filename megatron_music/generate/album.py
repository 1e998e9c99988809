"""Write songs as files: MIDI, sound, picture and report of each, and a page to compare them.

Songs are added to what a folder holds; nothing there is replaced.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from megatron_music.errors import Interrupted, WriteError, is_by_ctrl_c
from megatron_music.files import atomic_write, file_lock, write_text
from megatron_music.generate.album_index import AlbumIndex, Entry
from megatron_music.generate.midi_patch import file_tempo_bpm, write_song
from megatron_music.generate.page import PAGE_FILE, write_page
from megatron_music.generate.prompt import Prompt
from megatron_music.generate.song import BoolArray, Song
from megatron_music.generate.song_report import Copies, Provenance, figures, song_report
from megatron_music.generate.song_request import Request
from megatron_music.progress import Progress, silent
from megatron_music.score.audio import render_audio
from megatron_music.score.midi_writer import write_midi
from megatron_music.score.musicxml_writer import write_musicxml
from megatron_music.score.notes import Piece
from megatron_music.score.pianoroll import draw_piano_roll

CopyCheck = Callable[[Sequence[Song]], list[Copies]]
"""Return for each song what it shares with the training data."""

_LOCK_FILE = ".album.lock"
_OF_THE_BATCH = ("count", "seed", "song_ids")


@dataclass(frozen=True)
class Formats:
    """The files that each song gets in addition to its MIDI file; `page` compares the songs.

    `musicxml` is notation, as MuseScore opens it, `kar` for players of karaoke.
    """

    wav: bool = True
    png: bool = True
    page: bool = True
    musicxml: bool = False
    kar: bool = False

    @property
    def kinds(self) -> list[str]:
        """The files of a song."""
        chosen = {name: getattr(self, name) for name in ("kar", "wav", "png", "musicxml")}
        return ["mid", *(kind for kind, is_chosen in chosen.items() if is_chosen), "json"]


def not_checked(songs: Sequence[Song]) -> list[Copies]:
    """Return no comparison with training data."""
    return [Copies(None, reason="no training data given")] * len(songs)


def songs_to_compose(
    folder: Path, request: Request, maker: Provenance, formats: Formats
) -> list[Request]:
    """Return requests for the songs that the folder lacks: one for each run of seeds."""
    index = AlbumIndex(folder)
    lacking = [
        seed
        for seed in request.seeds
        if _existing(index, song_request(request, maker, seed), formats) is None
    ]
    if request.best is not None:  # the best are known only when all are composed
        return [request] * (request.count - len(lacking) < request.best)
    if request.song_ids:
        return [replace(request, count=len(lacking), song_ids=tuple(lacking))] * bool(lacking)
    gaps = [place for place, (a, b) in enumerate(pairwise(lacking), 1) if b != a + 1]
    edges = [0, *gaps, len(lacking)]
    return [
        replace(request, seed=lacking[first], count=last - first)
        for first, last in pairwise(edges)
        if last > first
    ]


def song_request(request: Request, maker: Provenance, seed: int) -> dict[str, Any]:
    """Return everything that determines a song, for JSON."""
    batch = () if request.best is not None else _OF_THE_BATCH
    asked = {name: value for name, value in asdict(request).items() if name not in batch}
    number = {"song_id": seed} if request.song_ids else {"seed": seed}
    wish: dict[str, Any] = json.loads(json.dumps({**number, "asked": asked, **asdict(maker)}))
    return wish


def write_album(
    songs: Iterable[Song],
    folder: Path,
    request: Request,
    maker: Provenance,
    formats: Formats | None = None,
    *,
    prompt: Piece | Prompt | None = None,
    copies: CopyCheck = not_checked,
    progress: Progress = silent,
    model: Path | None = None,
    more: Sequence[str] = (),
) -> list[Path]:
    """Add songs to a folder, `song-SEED.mid`, `.wav`, `.png` and `.json` each, and `index.html`.

    Where a name is taken, as by a song of another request, the next free one is used. Songs that
    are there as asked are not written again. Returns the files of the request, songs in order.
    The page's commands name the folder `model`; `more` are the options of the one for more songs
    like these. Raises WriteError, and Interrupted at
    Ctrl-C: the songs written by then are kept.
    """
    chosen = formats or Formats()
    busy = WriteError(f"another command is adding songs to {folder}; wait, or choose another -o")
    with file_lock(folder / _LOCK_FILE, busy):
        begun = None if prompt is None else Prompt.of(prompt)
        album = _Album(folder, request, maker, chosen, begun)
        stopped = False
        try:
            album.add(songs, progress)
            found = copies(album.written)
        except BaseException as fault:
            if not is_by_ctrl_c(fault):
                raise
            # Songs that are written stay. They are not compared: that takes as long as a song.
            stopped = True
            album.drop_unwritten()
            found = [Copies(None, reason="the command was interrupted")] * len(album.written)
        files = album.finish(found)
        if chosen.page:
            files.append(write_page(album.index, model, more))
    if stopped:
        songs_kept = f"{album.done} of {album.wanted} songs are finished and kept in {folder}"
        raise Interrupted(f"interrupted; {songs_kept if album.done else 'no song was finished'}")
    return files


class _Album:
    """A folder to which the songs of one request are added."""

    def __init__(
        self,
        folder: Path,
        request: Request,
        maker: Provenance,
        formats: Formats,
        prompt: Prompt | None,
    ) -> None:
        self.index = AlbumIndex(folder)
        # Under the lock, so unfinished files are those of a command that was killed.
        self.index.clean_up()
        self._request, self._maker, self._formats = request, maker, formats
        self._prompt = prompt
        self._begun: dict[int, Entry] = {}
        self.written: list[Song] = []
        # Progress counts the songs that are kept.
        self.wanted = request.best or request.count
        self.done = sum(self._entry(seed) is not None for seed in request.seeds)

    def add(self, songs: Iterable[Song], progress: Progress) -> None:
        """Write the music of songs as they come."""
        progress(self.done, self.wanted)
        for song in songs:
            # To find the best again all songs are composed again; some may be written already.
            if self._entry(song.seed) is not None:
                continue
            wish = song_request(self._request, self._maker, song.seed)
            entry = self.index.begin(f"song-{song.seed}", wish)
            title = f"{'song' if self._request.song_ids else 'seed'} {song.seed}"
            midi = self.index.path(entry, "mid")
            asked = self._request.tempo_bpm
            for path in (midi, *([midi.with_suffix(".kar")] * self._formats.kar)):
                write_song(song, path, self._prompt, asked)
            tempo_bpm = file_tempo_bpm(song.piece, self._prompt, asked)
            self._show(song.piece, entry, title, tempo_bpm, song.new)
            self._begun[song.seed] = entry
            self.written.append(song)
            self.done += 1
            progress(self.done, self.wanted)

    def drop_unwritten(self) -> None:
        """Forget the song that was being written when Ctrl-C came."""
        written = [self._begun[song.seed] for song in self.written]
        for entry in [one for one in self.index.entries if not one.files]:
            if entry not in written:
                self.index.drop(entry)

    def finish(self, copies: Sequence[Copies]) -> list[Path]:
        """Write the reports of the songs written; returns the files of the request."""
        entries = []
        if (prompt := self._prompt) is not None:
            wish = {"prompt": self._maker.prompt}
            entry = _existing(self.index, wish, self._formats)
            if entry is None:
                entry = self.index.begin("prompt", wish)
                for kind in ("mid", *(["kar"] * self._formats.kar)):
                    path = self.index.path(entry, kind)
                    if prompt.source is None:
                        write_midi(prompt.piece, path)
                    else:  # a user's file is copied as it is
                        with atomic_write(path) as temporary:
                            temporary.write_bytes(prompt.source.raw)
                tempo_bpm = None if prompt.source is None else file_tempo_bpm(prompt.piece, prompt)
                self._show(prompt.piece, entry, "the piece begun from", tempo_bpm)
                self._finish(entry, {"came": figures(prompt.piece)})
            entries.append(entry)
        for song, found in zip(self.written, copies, strict=True):
            report = song_report(song, self._request, self._maker, found, self._prompt)
            self._finish(self._begun[song.seed], report)
        entries += [entry for seed in self._request.seeds if (entry := self._entry(seed))]
        paths = [[self.index.path(e, kind) for e in entries] for kind in self._formats.kinds]
        return [path for of_song in zip(*paths, strict=True) for path in of_song]

    def _entry(self, seed: int) -> Entry | None:
        return _existing(self.index, song_request(self._request, self._maker, seed), self._formats)

    def _finish(self, entry: Entry, report: dict[str, Any]) -> None:
        text = json.dumps(report, indent=2, ensure_ascii=False)
        write_text(self.index.path(entry, "json"), text + "\n")
        kinds = self._formats.kinds
        self.index.finish(entry, [self.index.path(entry, kind) for kind in kinds])

    def _show(
        self,
        piece: Piece,
        entry: Entry,
        title: str,
        tempo_bpm: float | None,
        new: BoolArray | None = None,
    ) -> None:
        """Play and draw a MIDI file; `new` are the bars to mark [tracks, bars].

        `tempo_bpm` is that of the file, None for the tempi of the piece.
        """
        if self._formats.wav:
            render_audio(self.index.path(entry, "mid"), self.index.path(entry, "wav"))
        if self._formats.musicxml:
            write_musicxml(piece, self.index.path(entry, "musicxml"), tempo_bpm, title)
        if self._formats.png:
            draw_piano_roll(piece, self.index.path(entry, "png"), title, new)


def _existing(index: AlbumIndex, wish: dict[str, Any], formats: Formats) -> Entry | None:
    """Return the entry of a wish if it has all these files."""
    entry = index.find(wish)
    if entry is None or not all(f"{entry.stem}.{kind}" in entry.files for kind in formats.kinds):
        return None
    return entry


__all__ = ["PAGE_FILE", "Formats", "songs_to_compose", "write_album"]

"""Write songs as text files into a folder, with the request of each in its index."""

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from megatron_music.files import write_text
from megatron_music.generate.album_index import AlbumIndex, Entry
from megatron_music.text.request import TextRequest

if TYPE_CHECKING:
    from megatron_music.text.writer import WrittenSong

_KIND = "txt"


def missing(index: AlbumIndex, request: TextRequest, identity: str) -> TextRequest | None:
    """Return the request for those songs alone that the folder does not hold; None for none."""
    seeds = tuple(s for s in request.seeds if _entry(index, request, s, identity) is None)
    if not seeds:
        return None
    if request.song_ids:
        return replace(request, count=len(seeds), song_ids=seeds)
    # One run of seeds: `keep_song` leaves out those in between that are there.
    first, last = seeds[0], seeds[-1]
    return replace(request, seed=first, count=last - first + 1)


def keep_song(index: AlbumIndex, request: TextRequest, song: "WrittenSong", identity: str) -> None:
    """Write a song under a name that is free, unless the folder holds it."""
    if _entry(index, request, song.seed, identity) is not None:
        return
    entry = index.begin(f"song-{song.seed}", _wish(request, song.seed, identity))
    path = index.path(entry, _KIND)
    head = [f"{name}: {of}" for name, of in (("artist", song.artist), ("title", song.title)) if of]
    body = song.text if song.is_finished else f"{song.text} ..."
    write_text(path, "\n".join([*head, *([""] if head else []), body]) + "\n")
    index.finish(entry, [path])


def entry_text(index: AlbumIndex, request: TextRequest, seed: int, identity: str) -> str:
    """Return the name of a song's file and its text."""
    entry = _entry(index, request, seed, identity)
    if entry is None:
        return ""
    path = index.path(entry, _KIND)
    return f"{path}\n{path.read_text(encoding='utf-8')}"


def _entry(index: AlbumIndex, request: TextRequest, seed: int, identity: str) -> Entry | None:
    return index.find(_wish(request, seed, identity))


def _wish(request: TextRequest, seed: int, identity: str) -> dict[str, Any]:
    """Return the request of one song, for JSON."""
    wish = asdict(request)
    del wish["count"], wish["song_ids"]
    return {**wish, "seed": seed, "exact": request.exact, "model": identity}

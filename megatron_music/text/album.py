"""Write songs as text files of a folder; its ledger has the request of each."""

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from megatron_music.files import write_text
from megatron_music.generate.ledger import Entry, Ledger
from megatron_music.text.request import TextRequest

if TYPE_CHECKING:
    from megatron_music.text.writer import WrittenSong

_KIND = "txt"


def missing(ledger: Ledger, request: TextRequest, identity: str) -> TextRequest | None:
    """Return the request for those songs alone that the folder does not hold; None for none."""
    seeds = tuple(s for s in request.seeds if _entry(ledger, request, s, identity) is None)
    if not seeds:
        return None
    if request.song_ids:
        return replace(request, count=len(seeds), song_ids=seeds)
    first, last = seeds[0], seeds[-1]
    return replace(request, seed=first, count=last - first + 1)


def keep_song(ledger: Ledger, request: TextRequest, song: "WrittenSong", identity: str) -> None:
    """Write a song under a name that is free, unless the folder holds it."""
    if _entry(ledger, request, song.seed, identity) is not None:
        return
    entry = ledger.begin(f"song-{song.seed}", _wish(request, song.seed, identity))
    path = ledger.path(entry, _KIND)
    head = [f"{name}: {of}" for name, of in (("artist", song.artist), ("title", song.title)) if of]
    body = song.text if song.is_finished else f"{song.text} ..."
    write_text(path, "\n".join([*head, *([""] if head else []), body]) + "\n")
    ledger.finish(entry, [path])


def entry_text(ledger: Ledger, request: TextRequest, seed: int, identity: str) -> str:
    """Return the name of a song's file and its text."""
    entry = _entry(ledger, request, seed, identity)
    if entry is None:
        return ""
    path = ledger.path(entry, _KIND)
    return f"{path}\n{path.read_text(encoding='utf-8')}"


def _entry(ledger: Ledger, request: TextRequest, seed: int, identity: str) -> Entry | None:
    return ledger.find(_wish(request, seed, identity))


def _wish(request: TextRequest, seed: int, identity: str) -> dict[str, Any]:
    """Return the request of one song, for JSON."""
    wish = asdict(request)
    del wish["count"], wish["song_ids"]
    return {**wish, "seed": seed, "exact": request.exact, "model": identity}

"""The HTML page of a folder of songs: one file, to play and compare them, that works offline."""

import json
import re
import shlex
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from megatron_music.errors import MissingError, MusicError
from megatron_music.files import sha256_of, write_changed
from megatron_music.generate.album_index import AlbumIndex, Entry
from megatron_music.generate.roll import roll_of
from megatron_music.generate.song_report import Copies
from megatron_music.generate.song_request import Request

PAGE_FILE = "index.html"
TEMPLATE = Path(__file__).with_name("album.html.j2")
MOST_BYTES = 64 << 20
"""Older songs beyond this are left out of the page: browsers do not like larger ones."""

_MARK = "megatron-music page 2"
_DATA = re.compile(r'<script type="application/json" data-key="([^"]+)">(.*?)</script>', re.DOTALL)
_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "guidance", "parallel_penalty")
"""Options that come last; of these the temperature is always shown."""


def write_page(index: AlbumIndex, model: Path | None, more: Sequence[str] = ()) -> Path:
    """Write the page of the songs in a folder, the newest first; returns it.

    A page that another program wrote or changed under this name is left, and the next name is
    used. The commands on the page name `model`; that for more songs like the newest has the
    options `more`. Raises MissingError and WriteError.
    """
    try:
        from jinja2 import Environment
    except ImportError as fault:
        raise MissingError("the page needs jinja2; install it: pip install jinja2") from fault
    path = usual = index.folder / PAGE_FILE
    number = 1
    while path.exists() and _MARK not in path.read_text(encoding="utf-8", errors="replace")[:400]:
        number += 1
        path = usual.with_stem(f"{usual.stem}-{number}")
    command = ["megatron-music", "sample", str(model or "HFDIR"), "-o", str(index.folder)]
    batches: list[dict[str, Any]] = []
    songs: list[dict[str, Any]] = []
    left_bytes = MOST_BYTES
    # Songs that are on the page already are taken from it, not read from their files again.
    drawn = dict(_DATA.findall(path.read_text(encoding="utf-8"))) if path.is_file() else {}
    # The newest request first; its songs in the order in which they were written.
    for entries in reversed([list(of) for _, of in groupby(index.present(), key=_batch_of)]):
        cards = []
        for entry in entries:
            card = _card(index, entry, len(songs), drawn, command)
            if card is None or (left_bytes := left_bytes - len(card["data"])) < 0:
                continue
            cards.append(card)
            songs.append(card)
        if cards:
            batches.append({"about": _about(entries[-1].wish), "songs": cards})
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        mark=_MARK,
        batches=batches,
        songs=songs,
        composed=sum(not song["is_prompt"] for song in songs),
        left_out=len(index.present()) - len(songs),
        more=shlex.join([*command, *more]),
        keep=shlex.join(command),
        folder=index.folder.resolve().as_uri(),
    )
    write_changed(path, page + "\n")
    return path


def _batch_of(entry: Entry) -> str:
    # Songs that differ in their seeds alone are of one request.
    wish = {name: value for name, value in entry.wish.items() if name not in ("seed", "song_id")}
    return wish.get("prompt", "") if "asked" not in wish else json.dumps(wish, sort_keys=True)


def _card(
    index: AlbumIndex, entry: Entry, number: int, drawn: dict[str, str], command: list[str]
) -> dict[str, Any] | None:
    """Return what the page shows of a song; None where its files cannot be read any more."""
    midi, wav = index.path(entry, "mid"), index.path(entry, "wav")
    try:
        report = json.loads(index.path(entry, "json").read_text(encoding="utf-8"))
        # Drawing and compressing take seconds a song: what the page holds already is taken from it.
        key = f"{entry.stem} {sha256_of(midi)[:16]} {wav.is_file():d}"
        data = drawn.get(key) or json.dumps(roll_of(midi, report, wav), separators=(",", ":"))
        copies = report.get("longest_run_shared_with_training")
        copied = "" if copies is None else str(Copies(**copies))
        came = {"bars": report["came"]["bars"], "notes": report["came"]["notes"], **report["came"]}
        title = "the piece begun from"
        if "asked" in entry.wish:
            name = "seed" if "seed" in entry.wish else "song"
            title = f"{name} {entry.wish.get('seed', entry.wish.get('song_id'))}"
    except (OSError, ValueError, KeyError, TypeError, MusicError):
        return None
    return {
        "number": number,
        "stem": entry.stem,
        "title": title,
        "is_prompt": "asked" not in entry.wish,
        "midi": midi.name,
        "key": key,
        # JSON inside a <script> element: a title that holds "</script>" would end it.
        "data": data.replace("</", "<\\/"),
        "came": came,
        "copies": copied,
        "copied": -1 if copies is None or copies["found"] is None else copies["found"],
        "new": came.get("new", ""),
        "next": shlex.join([*command, "--prompt", str(midi), "--bars", str(2 * came["bars"])]),
    }


def _about(wish: dict[str, Any]) -> str:
    """Return the options of a request that are not the defaults, as text."""
    asked, default = wish.get("asked", {}), json.loads(json.dumps(vars(Request())))
    parts = [] if not wish.get("prompt") else [f"begun from {wish['prompt'].rpartition(' ')[0]}"]
    for name, value in asked.items():
        if name not in default or name in _SAMPLING or value == default[name]:
            continue
        if isinstance(value, list):
            text = ", ".join(map(str, value))
        elif value == "":  # a voice that is not named
            text = "the only one"
        else:
            text = f"{value:g}" if isinstance(value, float) else str(value)
        parts.append(f"{name.removesuffix('_bpm').replace('_', ' ')} {text}")
    parts += [
        f"{name.replace('_', '-')} {asked[name]:g}"
        for name in _SAMPLING
        if name in asked and (name == "temperature" or asked[name] != default[name])
    ]
    return ", ".join(parts)

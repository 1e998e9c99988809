"""The page of an album: one file to listen, look and compare, that loads nothing from elsewhere."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_music.errors import MissingError
from megatron_music.files import write_text
from megatron_music.generate.report import Copies, Maker
from megatron_music.generate.request import Request

TEMPLATE = Path(__file__).with_name("album.html.j2")
MOST_EMBEDDED_BYTES = 64 << 20
"""Beyond this the page points to the files beside it: browsers do not like larger ones."""

_UNSAID = ("count", "seed", "song_ids", "temperature", "top_k", "top_p", "min_p")


@dataclass(frozen=True)
class Card:
    """A song on the page: its files are `stem`.mid and so on, `came` the figures of its report.

    What was begun from has no `copies`: it is not the model's.
    """

    title: str
    stem: Path
    came: dict[str, Any]
    copies: Copies | None = None


@dataclass
class _Embedder:
    """Puts files into the page as long as there is room."""

    left_bytes: int = MOST_EMBEDDED_BYTES

    def link(self, path: Path, kind: str, content: bytes) -> str:
        if len(content) > self.left_bytes:
            return path.name
        self.left_bytes -= len(content)
        return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def write_page(cards: Sequence[Card], path: Path, request: Request, maker: Maker) -> None:
    """Write the page of songs whose files lie beside it; raises MissingError and WriteError."""
    try:
        from jinja2 import Environment
    except ImportError as fault:
        raise MissingError("the page needs jinja2; install it: pip install jinja2") from fault
    embedder = _Embedder()
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        songs=[_shown(card, embedder) for card in cards],
        made=sum(card.copies is not None for card in cards),
        wishes=_wishes(request),
        taste=_taste(request),
        maker=maker,
    )
    write_text(path, page + "\n")


def _shown(card: Card, embedder: _Embedder) -> dict[str, Any]:
    midi, wav, png = (card.stem.with_suffix(f".{kind}") for kind in ("mid", "wav", "png"))
    shown: dict[str, Any] = {
        "title": card.title,
        "midi": embedder.link(midi, "audio/midi", midi.read_bytes()),
        "midi_name": midi.name,
        "picture": embedder.link(png, "image/png", png.read_bytes()) if png.is_file() else "",
        "sound": embedder.link(wav, "audio/mpeg", compressed(wav)) if wav.is_file() else "",
    }
    found = None if card.copies is None else card.copies.found
    copies = "" if card.copies is None else str(card.copies)
    return shown | card.came | {"copies": copies, "copied": -1 if found is None else found}


def compressed(wav: Path) -> bytes:
    """Return a WAV file as MP3, a tenth of the size."""
    import soundfile

    samples, rate = soundfile.read(wav, dtype="float32")
    packed = io.BytesIO()
    soundfile.write(packed, samples, rate, format="MP3", subtype="MPEG_LAYER_III")
    return packed.getvalue()


def _wishes(request: Request) -> list[tuple[str, str]]:
    """Return what was asked beyond the defaults, as names and values."""
    default = Request()
    names = [name for name in vars(request) if name not in _UNSAID]
    return [
        (name.removesuffix("_bpm").replace("_", " "), _said(getattr(request, name)))
        for name in names
        if getattr(request, name) != getattr(default, name)
    ]


def _said(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    if value == "":  # a voice that is not named
        return "the only one"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _taste(request: Request) -> str:
    said = [f"temperature {request.temperature:g}"]
    said += [f"top-k {request.top_k}"] * bool(request.top_k)
    said += [f"top-p {request.top_p:g}"] * (request.top_p < 1)
    said += [f"min-p {request.min_p:g}"] * bool(request.min_p)
    return ", ".join(said)

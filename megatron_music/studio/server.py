"""Starting the studio: which models, on which address, until Ctrl-C."""

import asyncio
import json
import logging
import socket
from collections.abc import Callable, Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from megatron_music.errors import UsageError, WriteError
from megatron_music.files import check_writable, file_lock, read_small
from megatron_music.generate.model_folder import CARRIED, CONFIG, model_identity
from megatron_music.generate.song_key import Key
from megatron_music.generate.song_request import DYNAMICS
from megatron_music.score.general_midi import instrument_title
from megatron_music.score.instruments import INSTRUMENT_COUNT
from megatron_music.studio.app import AccessPolicy, create_app
from megatron_music.studio.service import Model, Studio
from megatron_music.tokenizer.vocabulary import DENSITY_LEVELS, load_vocabulary

HEADERS_S = 10.0
"""From the connection, or the first byte of a later request, to the end of its headers."""

BODY_S = 30.0
"""From the end of the headers to the end of the body."""

LARGEST_HEAD_BYTES = 64 << 10
"""Of a request's headers, with all that arrived in the same reads."""

_Protocol: Any = AutoHTTPProtocol


class BoundedProtocol(_Protocol):  # type: ignore[misc]
    """Uvicorn's protocol, which itself waits for headers and bodies without an end."""

    headers_s, body_s = HEADERS_S, BODY_S
    _deadline: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._close_in(self.headers_s)

    def data_received(self, data: bytes) -> None:
        """Take bytes; wait on where they do not complete the headers or the body of a request."""
        before = self.cycle
        super().data_received(data)
        cycle = self.cycle
        is_between = cycle is None or cycle.response_complete
        if cycle is not before or not (is_between or cycle.more_body):
            self._cancel()
        is_head = cycle is None or (cycle.response_complete and not cycle.more_body)
        self._head_bytes = self._head_bytes + len(data) if is_head else 0
        if self._head_bytes > LARGEST_HEAD_BYTES:
            self.transport.close()
        elif self._deadline is not None:
            return
        elif is_between:
            self._close_in(self.headers_s)
        elif cycle.more_body:
            self._close_in(self.body_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._cancel()
        super().connection_lost(exc)

    def _close_in(self, wait_s: float) -> None:
        self._deadline = self.loop.call_later(wait_s, self.transport.close)

    def _cancel(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


MOST_CONNECTIONS = 512
LOG = "studio.log"


def serve(
    folders: Sequence[Path],
    place: Path,
    host: str,
    port: int,
    token: str | None,
    say: Callable[[str], None],
) -> None:
    """Serve a studio until Ctrl-C; visitors have to carry the token, if there is one.

    Raises UsageError, CheckpointError and WriteError.
    """
    models = find_models(folders)
    check_writable(place)
    busy = UsageError(f"another studio works in {place}; give another --folder")
    with file_lock(place / "lock", busy), _listening(host, port) as listener:
        guard = AccessPolicy(token, any_host=token is not None)
        handler = logging.FileHandler(place / LOG)
        handler.setFormatter(_JsonLines())
        for name in ("megatron_music.studio", "uvicorn.error"):
            logger = logging.getLogger(name)
            logger.setLevel(logging.INFO)
            logger.addHandler(handler)
            logger.propagate = False
        requests = BufferedLog(place / LOG)
        app = create_app(Studio(models, place), guard, requests.write)
        query = "" if token is None else f"?token={token}"
        say(f"models: {', '.join(f'{one.name} ({one.folder})' for one in models)}")
        say(f"the studio is at http://{_shown(host, port)}/{query} (Ctrl-C ends it)")
        config = uvicorn.Config(
            app,
            http=BoundedProtocol,
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_keep_alive=10,
            timeout_graceful_shutdown=2,
        )
        try:
            uvicorn.Server(config).run(sockets=[listener])
        finally:
            requests.flush()


def find_models(folders: Sequence[Path]) -> list[Model]:
    """Return the models of `folders`, else of the newest export or the carried one.

    Raises CheckpointError.
    """
    exports = sorted(Path("runs").glob("*/hf/config.json"), key=lambda one: one.stat().st_mtime)
    newest = [one.parent for one in exports[-1:]]
    found = list(folders) or newest or [CARRIED]
    models: list[Model] = []
    for folder in found:
        name = folder.parent.name if folder.name == "hf" else folder.name
        taken, usual = {model.name for model in models}, name or "model"
        numbered = chain([usual], (f"{usual}-{number}" for number in count(2)))
        unique = next(one for one in numbered if one not in taken)
        identity, settings = model_identity(folder), load_vocabulary(folder).settings
        inputs = json.loads(read_small(folder / CONFIG)).get("structural_inputs") or ()
        # A model of one ensemble has no choice of instruments.
        every = [instrument_title(code) for code in range(INSTRUMENT_COUNT)]
        about = {
            "bars": settings.bars,
            "instruments": [] if settings.ensemble else every,
            "choices": list(settings.ensemble) or every,
            "attributes": list(settings.attributes),
            "metres": list(settings.metres),
            "dynamics": list(DYNAMICS) if settings.velocity else [],
            "tempo": settings.tempo,
            "densities": DENSITY_LEVELS,
            "key_names": [
                str(Key(tonic, mode)) for mode in ("major", "minor") for tonic in range(12)
            ],
            "knows_place": "place" in inputs,
        }
        models.append(Model(unique, folder.absolute(), identity[:16], about))
    return models


def _listening(host: str, port: int) -> socket.socket:
    """Return the socket to listen on; raises WriteError where another program has it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(1024)  # connections made before the server runs wait in the backlog
    except OSError as fault:
        listener.close()
        raise WriteError(
            f"cannot listen on {_shown(host, port)}: {fault.strerror}; choose another --port"
        ) from None
    return listener


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class BufferedLog:
    """A log that is written once a second: a write for each request costs too much."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: list[str] = []

    def write(self, line: str) -> None:
        """Take a line, in the running event loop."""
        if not self._lines:
            asyncio.get_running_loop().call_later(1.0, self.flush)
        self._lines.append(line)

    def flush(self) -> None:
        """Write the lines that wait."""
        if self._lines:
            with self._path.open("a", encoding="utf-8") as file:
                file.write("".join(self._lines))
            self._lines.clear()


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Return a record as a line of JSON."""
        line: dict[str, Any] = {"time_s": round(record.created, 3), "level": record.levelname}
        line["message"] = record.getMessage()
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line)

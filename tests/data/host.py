"""A real HTTP server on this machine that hands out one file, and fails as it is told to."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Host:
    """What the server hands out, what goes wrong at each request, and what it was asked."""

    raw: bytes
    ranges: bool = True
    headers: dict[str, str] = field(default_factory=dict)
    faults: list[int] = field(default_factory=list)
    """For each request in turn: a status of 400..599, or the bytes after which it breaks off."""

    asked: list[str] = field(default_factory=list)
    url: str = ""


@contextmanager
def hosting(raw: bytes) -> Iterator[Host]:
    """Serve bytes under `url` until the block ends."""
    host = Host(raw)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host.asked.append(self.headers.get("Range", ""))
            answer(self, host)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    host.url = f"http://127.0.0.1:{server.server_port}/music.tar.gz"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield host
    finally:
        server.shutdown()
        server.server_close()


def answer(request: BaseHTTPRequestHandler, host: Host) -> None:
    """Answer a request for all of the file or for what comes after a place."""
    fault = host.faults.pop(0) if host.faults else None
    if fault is not None and 400 <= fault < 600:
        request.send_error(fault)
        return
    start = 0
    wanted = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
    if wanted and host.ranges:
        start = int(wanted[1])
        if start >= len(host.raw):
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(host.raw)}")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        request.send_response(206)
        request.send_header("Content-Range", f"bytes {start}-{len(host.raw) - 1}/{len(host.raw)}")
    else:
        request.send_response(200)
    request.send_header("Content-Length", str(len(host.raw) - start))
    for name, value in host.headers.items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(host.raw[start:] if fault is None else host.raw[start : start + fault])

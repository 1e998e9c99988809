"""Clients that send their headers or bodies slowly are cut off; others are answered."""

import asyncio
import time
from typing import Any

import pytest

from megatron_music.studio import server
from megatron_music.studio.server import BoundedProtocol
from tests.studio.conftest import served

BOUND_S = 0.3
WHOLE = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def hello(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001 (as ASGI has it)
    """Answer any request that has come whole."""
    while (await receive()).get("more_body"):
        pass
    head = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
    await send(head)
    await send({"type": "http.response.body", "body": b"ok"})


def test_headers_without_an_end_close_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LARGEST_HEAD_BYTES", 1000)
    monkeypatch.setattr(BoundedProtocol, "headers_s", 300.0)
    head = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X%d: 1\r\n" % n for n in range(1000))
    got, took_s = asyncio.run(asyncio.wait_for(trickle(head), 60))
    assert b"200 OK" not in got
    assert took_s < 60


async def trickle(begin: bytes) -> tuple[bytes, float]:
    """Send some bytes, then one now and again; return what came, and when the end did."""
    async with served(hello) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        began_s = time.monotonic()
        writer.write(begin)
        answer = asyncio.create_task(reader.read())
        while not answer.done():
            writer.write(b"x")
            await asyncio.wait({answer}, timeout=0.05)
        took_s = time.monotonic() - began_s
        writer.close()
    try:
        return answer.result(), took_s
    except ConnectionError:
        return b"", took_s


@pytest.mark.parametrize(
    ("begin", "answers"),
    [
        (b"GET / HTTP/1.1\r\nX-Slow: ", 0),
        (WHOLE + b"GET / HTTP/1.1\r\nX: ", 1),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\n", 0),
    ],
)
def test_a_slow_request_ends_the_connection(
    begin: bytes, answers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BoundedProtocol, "headers_s", BOUND_S)
    monkeypatch.setattr(BoundedProtocol, "body_s", BOUND_S)
    got, took_s = asyncio.run(asyncio.wait_for(trickle(begin), 60))
    assert got.count(b"200 OK") == answers
    assert took_s >= BOUND_S * 0.9

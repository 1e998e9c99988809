"""Streams of events: an address may hold some open, and gets their places back."""

import asyncio
from pathlib import Path

from megatron_music.studio.app import create_app
from megatron_music.studio.server import find_models
from megatron_music.studio.service import Studio
from megatron_music.studio.visitors import MOST_STREAMS
from tests.studio.conftest import served

LONGEST_S = 60


async def follow(port: int, key: str) -> tuple[bytes, asyncio.StreamWriter]:
    """Ask for the events of a composition; return the beginning of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    path = f"/api/v1/compositions/{key}/events"
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    return head + await reader.read(1000), writer


async def hold_streams(studio: Studio) -> None:
    job = studio.compose(studio.first, {}, None)  # waits: the studio has not begun to work
    async with served(create_app(studio)) as port:
        held = [await follow(port, job.key) for _ in range(MOST_STREAMS)]
        assert all(begun.startswith(b"HTTP/1.1 200") for begun, _ in held)
        assert all(b"event: place" in begun for begun, _ in held)
        refused, last = await follow(port, job.key)
        assert refused.startswith(b"HTTP/1.1 429")
        assert b"retry-after" in refused
        assert str(MOST_STREAMS).encode() in refused.partition(b"detail")[2]
        held.pop()[1].close()
        again, writer = b"", last
        while not again.startswith(b"HTTP/1.1 200"):
            writer.close()
            again, writer = await follow(port, job.key)
        for one in (writer, *(writer for _, writer in held)):
            one.close()


def test_an_address_holds_some_streams_open_and_no_more(model: Path, tmp_path: Path) -> None:
    studio = Studio(find_models([model]), tmp_path)
    asyncio.run(asyncio.wait_for(hold_streams(studio), LONGEST_S))
    studio.database.close()

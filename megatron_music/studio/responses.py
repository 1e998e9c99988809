"""Answers that the API and the pages share: kept by caches, in parts, or streamed as events."""

import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from megatron_music.studio.response_cache import Answer
from megatron_music.studio.service import Model, Studio
from megatron_music.studio.visitors import OpenStreams, address_of

FOR_EVER = "public, max-age=31536000, immutable"


def cached(request: Request, content: bytes, media: str, policy: str) -> Response:
    """Return content with an ETag, nothing of it where the asker has it, or the range asked."""
    if request.app.state.guard.token is not None:
        policy = policy.replace("public", "private")
    etag = f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'
    headers = {"etag": etag, "cache-control": policy, "accept-ranges": "bytes"}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    span = _span(request.headers.get("range", ""), len(content))
    if span is None:
        return Response(content, media_type=media, headers=headers)
    first, last = span
    headers["content-range"] = f"bytes {first}-{last}/{len(content)}"
    return Response(content[first : last + 1], 206, headers, media)


def remembered(
    request: Request, studio: Studio, song: tuple[Model, int], body: bytes, media: str
) -> Response:
    """Return an answer about a song, and cache it until the votes on the song change."""
    response = cached(request, body, media, "no-cache")
    model, number = song
    plain = request.url.query in ("", f"model={model.name}")
    if plain and response.status_code == 200:
        answer = Answer(response, request.scope["route"].path, (model.key, number))
        studio.ready.keep(request.scope, answer)
    return response


def _span(asked: str, size: int) -> tuple[int, int] | None:
    """Return the first and last byte of a range; None for none, or one not understood."""
    unit, _, span = asked.partition("=")
    first, dash, last = span.partition("-")
    if unit != "bytes" or not dash or not first.isdecimal() or (last and not last.isdecimal()):
        return None
    begin, end = int(first), min(int(last) if last else size - 1, size - 1)
    return (begin, end) if begin <= end else None


class EventStream(StreamingResponse):
    """Server-sent events; raises HTTPException where an address holds too many streams open."""

    def __init__(self, request: Request, events: AsyncIterator[dict[str, Any]]) -> None:
        self._open: OpenStreams = request.app.state.streams
        self._address = address_of(request)
        if not self._open.take(self._address):
            raise HTTPException(
                429,
                f"{self._open.most} pages or programs at this address follow a composition; close "
                "one of them, then try again",
                {"retry-after": "5"},
            )

        async def lines() -> AsyncIterator[str]:
            """Give each event as its name and its fields in JSON."""
            async for event in events:
                fields = {name: value for name, value in event.items() if name != "event"}
                yield f"event: {event['event']}\ndata: {json.dumps(fields)}\n\n"

        headers = {"cache-control": "no-store"}
        super().__init__(lines(), media_type="text/event-stream", headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events to their end, or until the connection is closed."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._open.release(self._address)

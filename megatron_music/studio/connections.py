"""Connections with a time limit for headers and bodies: slow senders are disconnected."""

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

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

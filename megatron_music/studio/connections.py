"""Connections whose requests have to begin in time: who sends headers slowly is cut off."""

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

HEADERS_S = 10.0
"""From the connection, or the first byte of a later request, to the end of its headers."""

_Protocol: Any = AutoHTTPProtocol


class BoundedProtocol(_Protocol):  # type: ignore[misc]
    """Uvicorn's protocol, which itself waits for headers without an end."""

    headers_s = HEADERS_S
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._await_headers()

    def data_received(self, data: bytes) -> None:
        """Take bytes; wait on where they do not complete the headers of a request."""
        before = self.cycle
        super().data_received(data)
        is_between = before is None or before.response_complete
        if self.cycle is not before or not is_between:
            self._cancel()
        elif self._deadline is None:
            self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._cancel()
        super().connection_lost(exc)

    def _await_headers(self) -> None:
        self._deadline = self.loop.call_later(self.headers_s, self.transport.close)

    def _cancel(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

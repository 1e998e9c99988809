"""Visitors: signed cookies instead of accounts, rate limits, requests sent by other sites."""

import hmac
import secrets
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from cachetools import LRUCache
from fastapi.requests import HTTPConnection

VISITOR_COOKIE, TOKEN_COOKIE = "studio_visitor", "studio_token"
COOKIE_AGE_S = 400 * 86_400

_MOST_REMEMBERED = 10_000


def address_of(request: HTTPConnection) -> str:
    """Return the address that a request comes from, "" where there is none."""
    return request.client.host if request.client else ""


class Signer:
    """Signs visitors' names with the studio's secret."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def new_visitor(self) -> tuple[str, str]:
        """Return a new visitor and the cookie that names it."""
        visitor = secrets.token_urlsafe(12)
        return visitor, f"{visitor}.{self._signature(visitor)}"

    def visitor(self, cookie: str | None) -> str | None:
        """Return the visitor that a cookie names, None for a cookie that is not ours."""
        visitor, _, signature = (cookie or "").partition(".")
        good = visitor and hmac.compare_digest(
            signature.encode(), self._signature(visitor).encode()
        )
        return visitor if good else None

    def _signature(self, visitor: str) -> str:
        return hmac.digest(self._secret, visitor.encode(), "sha256").hex()[:32]


class Limit(NamedTuple):
    """So many requests of a kind at once, then one more every `refill_s` seconds."""

    burst: int
    refill_s: float


LIMITS: dict[str, Limit] = {
    "vote": Limit(60, 1.0),
    "compose": Limit(20, 3.0),
    "song": Limit(60, 1.0),
    "upload": Limit(20, 6.0),
    "render": Limit(120, 0.5),
}
"""What one visitor may ask for; an address may ask for ten times as much, for all behind it."""

_ADDRESS_SHARE = 10

MOST_STREAMS = 32
"""Streams of events that an address may hold open; each takes one of the server's connections."""


@dataclass
class Limiter:
    """Token buckets, by kind and by who asks."""

    limits: dict[str, Limit] = field(default_factory=lambda: LIMITS)
    _buckets: LRUCache[tuple[str, str], tuple[float, float]] = field(
        default_factory=lambda: LRUCache(_MOST_REMEMBERED)
    )

    def wait_s(self, kind: str, visitor: str, address: str) -> float:
        """Take a request of a visitor, and return 0, or the seconds to wait until it is taken."""
        limit = self.limits[kind]
        # Many people may share an address.
        wide = Limit(limit.burst * _ADDRESS_SHARE, limit.refill_s / _ADDRESS_SHARE)
        limits = {(kind, f"v {visitor}"): limit, (kind, f"a {address}"): wide}
        waits = [
            max(0.0, (1.0 - self._left(key, one)) * one.refill_s) for key, one in limits.items()
        ]
        if max(waits) == 0:
            for key, one in limits.items():
                self._buckets[key] = (self._left(key, one) - 1.0, time.monotonic())
        return max(waits)

    def _left(self, key: tuple[str, str], limit: Limit) -> float:
        left, then_s = self._buckets.get(key, (float(limit.burst), time.monotonic()))
        return min(limit.burst, left + (time.monotonic() - then_s) / limit.refill_s)


@dataclass
class OpenStreams:
    """Counts the streams of events that each address holds open."""

    most: int = MOST_STREAMS
    _open: Counter[str] = field(default_factory=Counter)

    def take(self, address: str) -> bool:
        """Count one more stream of an address; False where it has as many as it may."""
        if self._open[address] >= self.most:
            return False
        self._open[address] += 1
        return True

    def release(self, address: str) -> None:
        """Count one stream less."""
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]


def is_cross_site(request: HTTPConnection) -> bool:
    """Tell whether a request that changes something was sent by a page of another site.

    Browsers say where a request comes from; programs such as curl do not, and hold no cookie that
    another site could use.
    """
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return True
    origin = request.headers.get("origin")
    return origin is not None and origin.partition("://")[2] != request.headers.get("host")


@lru_cache(1024)
def is_local_name(host: str) -> bool:
    """Tell whether a Host header names this machine; another name may be DNS rebinding."""
    # Both parsers raise ValueError for what is no host.
    try:
        name = urlsplit(f"//{host}").hostname or ""
        is_named = name == "localhost" or name.endswith(".localhost")
        return is_named or ip_address(name).is_loopback
    except ValueError:
        return False

"""Answers kept in memory: a song's page and its JSON are sent again without the router."""

from typing import NamedTuple

from cachetools import LRUCache
from fastapi import Response
from starlette.types import Scope

MOST_READY_BYTES = 32 << 20

Song = tuple[str, int]
"""The key of its model, its number."""

_Asked = tuple[bytes | str, ...]


class Answer(NamedTuple):
    """An answer that shows a song, and the route that a request for it takes in the log."""

    response: Response
    route: str
    song: Song


class ReadyAnswers:
    """Answers by what is asked, the least used of which go first."""

    def __init__(self, most_bytes: int = MOST_READY_BYTES) -> None:
        self._answers: LRUCache[_Asked, Answer] = LRUCache(
            most_bytes, getsizeof=lambda one: len(one.response.body)
        )

    def find(self, scope: Scope) -> Answer | None:
        """Return the answer to a request, None where it has to be made."""
        asked = _asked(scope)
        return None if asked is None else self._answers.get(asked)

    def keep(self, scope: Scope, answer: Answer) -> None:
        """Keep the answer to a request until its song changes."""
        asked = _asked(scope)
        if asked is not None and len(answer.response.body) <= self._answers.maxsize:
            self._answers[asked] = answer

    def forget(self, song: Song) -> None:
        """Forget what shows a song."""
        for asked in [asked for asked, one in self._answers.items() if one.song == song]:
            del self._answers[asked]


def _asked(scope: Scope) -> _Asked | None:
    """Return what the answer to a request depends on, None where that is more than its address."""
    if scope["method"] != "GET":
        return None
    host = b""
    for name, value in scope["headers"]:
        # The answer to these is a part of the body, or none.
        if name in (b"if-none-match", b"range"):
            return None
        if name == b"host":
            host = value
    return scope["scheme"], host, scope["path"], scope["query_string"]

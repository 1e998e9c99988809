"""The studio over HTTP: pages for people, `/api/v1` for them and for programs."""

import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from megatron_music import __version__
from megatron_music.errors import MusicError
from megatron_music.studio import api, pages
from megatron_music.studio.jobs import JobFailedError, QueueFullError
from megatron_music.studio.service import Studio
from megatron_music.studio.visitors import (
    COOKIE_AGE_S,
    TOKEN_COOKIE,
    VISITOR_COOKIE,
    Limiter,
    OpenStreams,
    Signer,
    is_cross_site,
    is_local_name,
)

STATIC = Path(__file__).with_name("static")
SAFE = ("GET", "HEAD", "OPTIONS")
_OPEN_PATHS = ("/healthz",)

_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' data:; media-src 'self' blob:; style-src 'self'; "
        b"script-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)

_TOO_LARGE = f"at most {api.LARGEST_UPLOAD_BYTES >> 20} MiB are taken"

Log = Callable[[str], object]


@dataclass(frozen=True)
class AccessPolicy:
    """Who may ask: everybody on this machine, or who knows the shared token."""

    token: str | None = None
    any_host: bool = False
    """Answer under every name; else only under names of this machine."""

    def refusal(self, request: Request) -> Response | None:
        """Return the answer to a request that is not let in."""
        if not self.any_host and not is_local_name(request.headers.get("host", "")):
            return _problem(421, "this studio answers on 127.0.0.1 alone; see --host")
        if request.method not in SAFE and is_cross_site(request):
            return _problem(403, "a page of another site sent this")
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > api.LARGEST_UPLOAD_BYTES:
            return _problem(413, _TOO_LARGE)
        return None


def create_app(
    studio: Studio, guard: AccessPolicy | None = None, log: Log = lambda _line: None
) -> ASGIApp:
    """Return the application of a studio, which begins and ends with it.

    `log` takes a line for each request.
    """
    guard = guard or AccessPolicy()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        """Run the studio as long as the application."""
        studio.begin()
        yield
        await studio.close()

    app = FastAPI(
        title="megatron_music studio",
        version=__version__,
        lifespan=lifespan,
        redoc_url=None,
        docs_url=None,
        openapi_url="/api/v1/openapi.json",
    )
    app.state.studio = studio
    app.state.guard = guard
    app.state.limiter = Limiter()
    app.state.streams = OpenStreams()
    app.include_router(api.router)
    app.include_router(pages.router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    _answer_errors(app)
    return AccessMiddleware(app, guard, studio, log)


def _answer_errors(app: FastAPI) -> None:
    @app.exception_handler(MusicError)
    async def refused(_request: Request, fault: MusicError) -> Response:
        """Answer an error of the input."""
        return _problem(422, str(fault))

    @app.exception_handler(JobFailedError)
    async def failed(_request: Request, fault: JobFailedError) -> Response:
        """Answer a job that failed."""
        return _problem(422, str(fault))

    @app.exception_handler(QueueFullError)
    async def full(_request: Request, _fault: QueueFullError) -> Response:
        """Answer a full queue."""
        return _problem(503, "too many wait already; try again in some minutes", wait_s=60)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, fault: RequestValidationError) -> Response:
        """Answer values that the API does not take, by the first."""
        first = fault.errors()[0]
        place = ".".join(map(str, first["loc"][1:]))
        return _problem(422, f"{place}: {first['msg']}")


def _problem(status: int, detail: str, wait_s: float | None = None) -> Response:
    headers = {} if wait_s is None else {"retry-after": str(int(wait_s) + 1)}
    return JSONResponse({"detail": detail}, status, headers)


class AccessMiddleware:
    """Let in who may ask, know the visitor, add headers, and write a line of the log.

    Plain ASGI: Starlette's own base class for middleware doubles the time of an answer.
    """

    def __init__(self, app: ASGIApp, guard: AccessPolicy, studio: Studio, log: Log) -> None:
        self._app = app
        self._guard = guard
        self._signer = Signer(studio.database.secret())
        self._ready = studio.ready
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s = time.perf_counter()
        request = Request(scope)
        refused = self._guard.refusal(request) or _refuse_without_token(request, self._guard.token)
        ready = None if refused else self._ready.find(scope)
        if ready is not None:
            headers = [*ready.response.raw_headers, *_HEADERS]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": ready.response.body})
            self._log_request(scope, ready.route, 200, began_s)
            return
        cookie = self._visitor_cookie(request)
        status = 500

        async def send_more(message: Message) -> None:
            """Send a message, the head with our headers."""
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message["headers"], *_HEADERS]
                # A shared cache may keep an answer with an ETag: it must set no visitor's cookie.
                if not refused and all(name != b"etag" for name, _ in headers):
                    headers += cookie
                message["headers"] = headers
            await send(message)

        try:
            await (refused or self._app)(scope, _bounded(receive), send_more)
        finally:
            self._log_request(scope, getattr(scope.get("route"), "path", "none"), status, began_s)

    def _visitor_cookie(self, request: Request) -> list[tuple[bytes, bytes]]:
        """Find the visitor of a request; return the header that sets the cookie of a new one."""
        visitor = self._signer.visitor(request.cookies.get(VISITOR_COOKIE))
        request.state.is_new_visitor = visitor is None
        setting = []
        if visitor is None:
            visitor, cookie = self._signer.new_visitor()
            setting = [(b"set-cookie", _cookie(request, VISITOR_COOKIE, cookie).encode())]
        request.state.visitor = visitor
        return setting

    def _log_request(self, scope: Scope, route: str, status: int, began_s: float) -> None:
        """Log a request by the route it took: neither addresses nor what was sent are kept."""
        took_ms = 1000 * (time.perf_counter() - began_s)
        self._log(
            f'{{"time_s": {time.time():.3f}, "method": {json.dumps(scope["method"])}, '
            f'"route": {json.dumps(route)}, "status": {status}, "ms": {took_ms:.1f}}}\n'
        )


def _bounded(receive: Receive) -> Receive:
    """Return a way to receive a body that raises HTTPException beyond the largest upload."""
    taken_bytes = 0

    async def receive_bounded() -> Message:
        """Receive a part of the body."""
        nonlocal taken_bytes
        message = await receive()
        taken_bytes += len(message.get("body", b""))
        if taken_bytes > api.LARGEST_UPLOAD_BYTES:
            raise HTTPException(413, _TOO_LARGE)
        return message

    return receive_bounded


def _refuse_without_token(request: Request, token: str | None) -> Response | None:
    """Refuse a request without the shared token, if there is one; keep it in a cookie."""
    if token is None or request.url.path in _OPEN_PATHS:
        return None
    wanted, given = _digest(token), request.query_params.get("token")
    header = request.headers.get("authorization", "").removeprefix("Bearer ")
    if _digest(header) == wanted or request.cookies.get(TOKEN_COOKIE) == wanted:
        return None
    if given is not None and _digest(given) == wanted and request.method in SAFE:
        # The token leaves the address, so that it is not shared with a link.
        headers = {
            "location": request.url.path,
            "set-cookie": _cookie(request, TOKEN_COOKIE, wanted),
        }
        return Response(status_code=303, headers=headers)
    return PlainTextResponse("This studio is shared by a link that ends in ?token=...\n", 401)


def _digest(token: str) -> str:
    # The cookie holds a hash: who sees it does not learn the token.
    return hashlib.sha256(f"studio {token}".encode()).hexdigest()


def _cookie(request: Request, name: str, value: str) -> str:
    secure = "; Secure" if request.scope["scheme"] == "https" else ""
    return f"{name}={value}; HttpOnly; Max-Age={COOKIE_AGE_S}; Path=/; SameSite=lax{secure}"

"""The studio over HTTP: pages for people, `/api/v1` for them and for programs."""

import hashlib
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import MutableHeaders
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
    Signer,
    is_cross_site,
    is_local_name,
)

STATIC = Path(__file__).with_name("static")
SAFE = ("GET", "HEAD", "OPTIONS")
_OPEN_PATHS = ("/healthz",)

_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' data:; media-src 'self' blob:; "
    "style-src 'self'; script-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'self'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}

_log = logging.getLogger("megatron_music.studio.requests")


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
        return None


def create_app(studio: Studio, guard: AccessPolicy | None = None) -> FastAPI:
    """Return the application of a studio, which begins and ends with it."""
    guard = guard or AccessPolicy()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
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
    app.add_middleware(AccessMiddleware, guard=guard, signer=Signer(studio.database.secret()))
    app.state.limiter = Limiter()
    app.include_router(api.router)
    app.include_router(pages.router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    _answer_errors(app)
    return app


def _answer_errors(app: FastAPI) -> None:
    @app.exception_handler(MusicError)
    async def refused(_request: Request, fault: MusicError) -> Response:
        return _problem(422, str(fault))

    @app.exception_handler(JobFailedError)
    async def failed(_request: Request, fault: JobFailedError) -> Response:
        return _problem(422, str(fault))

    @app.exception_handler(QueueFullError)
    async def full(_request: Request, _fault: QueueFullError) -> Response:
        return _problem(503, "too many wait already; try again in some minutes", wait_s=60)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, fault: RequestValidationError) -> Response:
        first = fault.errors()[0]
        place = ".".join(map(str, first["loc"][1:]))
        return _problem(422, f"{place}: {first['msg']}")


def _problem(status: int, detail: str, wait_s: float | None = None) -> Response:
    headers = {} if wait_s is None else {"retry-after": str(int(wait_s) + 1)}
    return JSONResponse({"detail": detail}, status, headers)


class AccessMiddleware:
    """Let in who may ask, know the visitor, add headers, and write a line of the log.

    Plain ASGI: the wrapper of Starlette for functions takes as long as the rest of an answer.
    """

    def __init__(self, app: ASGIApp, guard: AccessPolicy, signer: Signer) -> None:
        self._app = app
        self._guard = guard
        self._signer = signer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s, status = time.perf_counter(), 0
        request = Request(scope)
        refused = self._guard.refusal(request) or _without_token(request, self._guard.token)
        visitor = self._signer.visitor(request.cookies.get(VISITOR_COOKIE))
        cookie = None if visitor else self._signer.new_cookie()
        request.state.visitor = visitor or self._signer.visitor(cookie)
        request.state.is_new_visitor = cookie is not None

        async def send_checked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if (
                    cookie is not None
                    and refused is None
                    and not request.url.path.startswith("/static/")
                ):
                    headers.append("set-cookie", _cookie(request, VISITOR_COOKIE, cookie))
            await send(message)

        await (refused or self._app)(scope, receive, send_checked)
        # Log a request by the route it took: neither addresses nor what was sent are kept
        route = request.scope.get("route")
        told = {
            "time_s": round(time.time(), 3),
            "method": request.method,
            "route": getattr(route, "path", "none"),
            "status": status,
            "ms": round(1000 * (time.perf_counter() - began_s), 1),
        }
        _log.info(json.dumps(told))


def _without_token(request: Request, token: str | None) -> Response | None:
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
    return hashlib.sha256(f"studio {token}".encode()).hexdigest()


def _cookie(request: Request, name: str, value: str) -> str:
    secure = "; Secure" if request.url.scheme == "https" else ""
    return f"{name}={value}; HttpOnly; Max-Age={COOKIE_AGE_S}; Path=/; SameSite=lax{secure}"

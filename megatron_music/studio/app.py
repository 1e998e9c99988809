"""The studio over HTTP: pages for people, `/api/v1` for them and for programs."""

import hashlib
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles

from megatron_music import __version__
from megatron_music.errors import MusicError
from megatron_music.studio import api, pages
from megatron_music.studio.jobs import FullError, JobFailedError
from megatron_music.studio.service import Studio
from megatron_music.studio.visitors import (
    COOKIE_AGE_S,
    TOKEN_COOKIE,
    VISITOR_COOKIE,
    Limiter,
    Signer,
    comes_from_elsewhere,
    is_local_name,
)

STATIC = Path(__file__).with_name("static")
SAFE = ("GET", "HEAD", "OPTIONS")
_PRIVATE_PATHS_OPEN = ("/healthz",)

_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' data:; media-src 'self' blob:; "
    "style-src 'self'; script-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'self'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_DOCS_POLICY = "default-src 'self' 'unsafe-inline' https://cdn.jsdelivr.net data:"

_log = logging.getLogger("megatron_music.studio.requests")

Next = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Guard:
    """Who may ask: everybody on this machine, or who knows the shared token."""

    token: str | None = None
    any_host: bool = False
    """Answer under every name; else only under names of this machine."""

    def refusal(self, request: Request) -> Response | None:
        """Return the answer to a request that is not let in."""
        if not self.any_host and not is_local_name(request.headers.get("host", "")):
            return _problem(421, "this studio answers on 127.0.0.1 alone; see --host")
        if request.method not in SAFE and comes_from_elsewhere(request):
            return _problem(403, "a page of another site sent this")
        return None


def create_app(studio: Studio, guard: Guard | None = None) -> FastAPI:
    """Return the application of a studio, which begins and ends with it."""
    guard = guard or Guard()

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
    app.state.signer = Signer(studio.database.secret())
    app.state.limiter = Limiter()
    app.include_router(api.router)
    app.include_router(pages.router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    _answer_errors(app)
    app.middleware("http")(_checked)
    return app


def _answer_errors(app: FastAPI) -> None:
    @app.exception_handler(MusicError)
    async def refused(_request: Request, fault: MusicError) -> Response:
        return _problem(422, str(fault))

    @app.exception_handler(JobFailedError)
    async def failed(_request: Request, fault: JobFailedError) -> Response:
        return _problem(422, str(fault))

    @app.exception_handler(FullError)
    async def full(_request: Request, _fault: FullError) -> Response:
        return _problem(503, "too many wait already; try again in some minutes", wait_s=60)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, fault: RequestValidationError) -> Response:
        first = fault.errors()[0]
        place = ".".join(map(str, first["loc"][1:]))
        return _problem(422, f"{place}: {first['msg']}")


def _problem(status: int, detail: str, wait_s: float | None = None) -> Response:
    headers = {} if wait_s is None else {"retry-after": str(int(wait_s) + 1)}
    return JSONResponse({"detail": detail}, status, headers)


async def _checked(request: Request, call_next: Next) -> Response:
    """Let in who may ask, know the visitor, add headers, and write a line of the log."""
    began_s = time.perf_counter()
    state = request.app.state
    response: Response | None = state.guard.refusal(request)
    given = request.query_params.get("token")
    if response is None:
        response = _without_token(request, given)
    if response is None:
        visitor = state.signer.visitor(request.cookies.get(VISITOR_COOKIE))
        cookie = None if visitor else state.signer.new_cookie()
        request.state.visitor = visitor or state.signer.visitor(cookie)
        request.state.is_new_visitor = cookie is not None
        response = await call_next(request)
        if cookie is not None and not request.url.path.startswith("/static/"):
            _set_cookie(response, request, VISITOR_COOKIE, cookie)
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    _log_line(request, response, began_s)
    return response


def _without_token(request: Request, given: str | None) -> Response | None:
    """Refuse a request without the shared token, if there is one; keep it in a cookie."""
    token = request.app.state.guard.token
    if token is None or request.url.path in _PRIVATE_PATHS_OPEN:
        return None
    wanted = _digest(token)
    header = request.headers.get("authorization", "").removeprefix("Bearer ")
    if _digest(header) == wanted or request.cookies.get(TOKEN_COOKIE) == wanted:
        return None
    if given is not None and _digest(given) == wanted and request.method in SAFE:
        # The token leaves the address, so that it is not shared with a link.
        response = Response(status_code=303, headers={"location": request.url.path})
        _set_cookie(response, request, TOKEN_COOKIE, wanted)
        return response
    return PlainTextResponse("This studio is shared by a link that ends in ?token=...\n", 401)


def _digest(token: str) -> str:
    return hashlib.sha256(f"studio {token}".encode()).hexdigest()


def _set_cookie(response: Response, request: Request, name: str, value: str) -> None:
    secure = request.url.scheme == "https"
    response.set_cookie(
        name, value, max_age=COOKIE_AGE_S, httponly=True, samesite="lax", secure=secure
    )


def _log_line(request: Request, response: Response, began_s: float) -> None:
    """Log a request by the route it took: neither addresses nor what was sent are kept."""
    route = request.scope.get("route")
    told = {
        "time_s": round(time.time(), 3),
        "method": request.method,
        "route": getattr(route, "path", "none"),
        "status": response.status_code,
        "ms": round(1000 * (time.perf_counter() - began_s), 1),
    }
    _log.info(json.dumps(told))

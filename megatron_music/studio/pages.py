"""The pages of the studio; each shows what the API gives, and scripts do the rest."""

from pathlib import Path
from typing import Any, cast

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader

from megatron_music.studio.api import (
    ModelName,
    Period,
    Service,
    check_number,
    model_named,
    project_info,
    song_facts,
)
from megatron_music.studio.responses import remembered
from megatron_music.studio.service import Model, Studio

router = APIRouter(include_in_schema=False)

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)


def _page(name: str, studio: Studio, model: Model, **values: Any) -> Response:
    return HTMLResponse(
        _rendered(name, studio, model, **values), headers={"cache-control": "no-cache"}
    )


def _rendered(name: str, studio: Studio, model: Model, **values: Any) -> bytes:
    page = _TEMPLATES.get_template(name).render(
        models=list(studio.models),
        model=model,
        is_first=model is studio.first,
        query="" if model is studio.first else f"?model={model.name}",
        **values,
    )
    return page.encode()


@router.get("/")
async def home(studio: Service, model: ModelName = None) -> Response:
    """Go to a song."""
    chosen = model_named(studio, model)
    query = "" if chosen is studio.first else f"?model={chosen.name}"
    path = f"/song/{studio.pick(chosen)}{query}"
    return RedirectResponse(path, 303, {"cache-control": "no-store"})


@router.get("/song/{number}")
async def song(number: int, request: Request, studio: Service, model: ModelName = None) -> Response:
    """Show a song; one that is not made yet is composed while the page is open."""
    chosen = model_named(studio, model)
    found = studio.song(chosen, check_number(number))
    if found is None:
        title = f"Song {number}"
        return _page("song.html", studio, chosen, number=number, song=None, title=title)
    values = {
        "number": number,
        "song": song_facts(studio, chosen, found),
        "title": found.title,
        "origin": f"{request.url.scheme}://{request.url.netloc}",
    }
    page = _rendered("song.html", studio, chosen, **values)
    return remembered(request, studio, (chosen, number), page, "text/html; charset=utf-8")


@router.get("/best")
async def best(studio: Service, period: Period = "ever", model: ModelName = None) -> Response:
    """Show the songs with the most votes."""
    chosen = model_named(studio, model)
    songs = studio.database.best(chosen.key, period)
    return _page("best.html", studio, chosen, songs=songs, period=period)


@router.get("/compose")
async def compose(studio: Service, model: ModelName = None) -> Response:
    """Show how to begin a piece: from nothing, from a file, from a song."""
    chosen = model_named(studio, model)
    return _page("compose.html", studio, chosen, about=chosen.about)


@router.get("/work/{key}")
async def work(key: str, studio: Service) -> Response:
    """Show a piece that a person works on."""
    project = project_info(studio, key)
    model = studio.models.get(project.model, studio.first)
    return _page(
        "work.html", studio, model, project=project.model_dump(mode="json"), about=model.about
    )


@router.get("/docs")
async def docs(request: Request, studio: Service) -> Response:
    """List what programs can ask for, from the OpenAPI description."""
    schema = cast(dict[str, Any], request.app.openapi())
    routes = [
        (method.upper(), path, route.get("tags", ["studio"])[0], route["description"])
        for path, methods in schema["paths"].items()
        for method, route in methods.items()
    ]
    return _page("docs.html", studio, studio.first, routes=routes)

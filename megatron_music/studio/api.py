"""`/api/v1`: songs by number, votes, compositions, versions of pieces."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from starlette.requests import ClientDisconnect

from megatron_music.errors import UsageError
from megatron_music.studio import schemas
from megatron_music.studio.database import StoredSong, Version
from megatron_music.studio.jobs import Job, JobFailedError, State
from megatron_music.studio.responses import FOR_EVER, EventStream, cached, remembered
from megatron_music.studio.service import LARGEST_NUMBER, Model, Studio
from megatron_music.studio.visitors import address_of
from megatron_music.studio.worker import as_request

API = "/api/v1"
LARGEST_UPLOAD_BYTES = 2 << 20
LONGEST_UPLOAD_S = 20.0

_KINDS = {
    "midi": ("audio/midi", "mid"),
    "audio": ("audio/mpeg", "mp3"),
    "wav": ("audio/wav", "wav"),
    "picture": ("image/png", "png"),
    "score": ("application/vnd.recordare.musicxml+xml", "musicxml"),
}
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {"model": schemas.Problem} for code in (401, 403, 404, 413, 421, 422, 429, 503)
}

router = APIRouter(responses=_PROBLEMS)

Period = Literal["day", "month", "ever"]
Kind = Literal["midi", "audio", "wav", "picture", "score"]
ModelName = Annotated[str | None, Query(max_length=100, description="None: the first.")]


async def studio_of(request: Request) -> Studio:
    """Return the studio that a request is for; FastAPI would call a plain function in a thread."""
    return cast(Studio, request.app.state.studio)


Service = Annotated[Studio, Depends(studio_of)]


def model_named(studio: Studio, name: str | None) -> Model:
    """Return a model by name, the first for None; raises HTTPException."""
    model = studio.first if name is None else studio.models.get(name)
    if model is None:
        raise HTTPException(404, f"no such model; there are {', '.join(studio.models)}")
    return model


def check_rate_limit(request: Request, kind: str) -> None:
    """Count a request against its visitor's limit; raises HTTPException beyond it."""
    address = address_of(request)
    state = request.state
    # Who sends no cookie is a new visitor each time: the address counts.
    visitor = f"new at {address}" if state.is_new_visitor else state.visitor
    wait_s = request.app.state.limiter.wait_s(kind, visitor, address)
    if wait_s:
        seconds = int(wait_s) + 1
        raise HTTPException(
            429, f"that is too fast; wait {seconds} s", {"retry-after": str(seconds)}
        )


def check_number(number: int) -> int:
    """Return a number that a song can have; raises HTTPException."""
    if not 0 <= number <= LARGEST_NUMBER:
        raise HTTPException(404, f"a song's number is 0 to {LARGEST_NUMBER}")
    return number


# Songs by number.


@router.get("/healthz", tags=["studio"])
async def healthz(studio: Service) -> dict[str, Any]:
    """Say that the studio works, and which models it offers."""
    return {
        "status": "ok",
        "models": list(studio.models),
        "pool": {
            model.name: len(studio.database.fresh(model.key)) for model in studio.models.values()
        },
        "is_idle": studio.is_idle,
    }


@router.get(f"{API}/models", tags=["studio"])
async def models(studio: Service) -> list[dict[str, Any]]:
    """List the models, and what each knows: bars, instruments, attributes."""
    return [{"name": model.name} | model.about for model in studio.models.values()]


# Paths with a fixed name come before `songs/{number}`, which would match them too.
@router.get(f"{API}/songs/next", tags=["songs"])
async def next_song(studio: Service, model: ModelName = None) -> schemas.Picked:
    """Pick a song to hear next: a new one, or one that people liked."""
    number = studio.pick(model_named(studio, model))
    return schemas.Picked(id=number, page=f"/song/{number}")


@router.get(f"{API}/songs/best", tags=["songs"])
async def best_songs(
    studio: Service, period: Period = "ever", model: ModelName = None
) -> list[schemas.SongLine]:
    """List the ten songs with the most votes."""
    found = studio.database.best(model_named(studio, model).key, period)
    return [
        schemas.SongLine(id=number, title=title, votes=votes, page=f"/song/{number}")
        for number, title, votes in found
    ]


@router.get(f"{API}/songs/{{number}}", tags=["songs"])
async def song(number: int, request: Request, studio: Service, model: ModelName = None) -> Response:
    """Return a song; one that is not made yet is composed first."""
    chosen = model_named(studio, model)
    found = await _song(request, studio, chosen, check_number(number))
    body = json.dumps(song_facts(studio, chosen, found)).encode()
    return remembered(request, studio, (chosen, number), body, "application/json")


async def _song(request: Request, studio: Studio, model: Model, number: int) -> StoredSong:
    found = studio.song(model, number)
    if found is None:
        check_rate_limit(request, "song")
        found = await studio.made_song(model, number)
    return found


def song_facts(studio: Studio, model: Model, found: StoredSong) -> dict[str, Any]:
    """Return a song as JSON."""
    return {
        "id": found.number,
        "model": model.name,
        "title": found.title,
        "votes": studio.votes(model, found.number),
        "facts": found.facts,
        "links": links(f"{API}/songs/{found.number}", f"/song/{found.number}", studio, model),
    }


def links(path: str, page: str, studio: Studio, model: Model) -> dict[str, str]:
    """Return where the files of a piece are."""
    query = "" if model is studio.first else f"?model={model.name}"
    return {"page": page + query} | {kind: f"{path}/{kind}{query}" for kind in _KINDS}


@router.get(f"{API}/songs/{{number}}/events", tags=["songs"])
async def song_events(
    number: int, request: Request, studio: Service, model: ModelName = None
) -> Response:
    """Stream the bars of a song while it is composed (server-sent events)."""
    chosen = model_named(studio, model)
    if studio.song(chosen, check_number(number)) is not None:

        async def done() -> AsyncIterator[dict[str, Any]]:
            """Say that the song is there already."""
            yield {"event": "done"}

        return EventStream(request, done())
    check_rate_limit(request, "song")
    job = studio.ask_for_song(chosen, number)
    # In a task of its own: the song is kept even if the listener leaves.
    keeping = asyncio.create_task(studio.made_song(chosen, number))
    # Its exception is fetched, so that asyncio does not log that nobody did.
    keeping.add_done_callback(lambda task: task.cancelled() or task.exception())
    return EventStream(request, _events(studio, job))


@router.get(f"{API}/songs/{{number}}/{{kind}}", tags=["songs"])
async def song_file(
    number: int, kind: Kind, request: Request, studio: Service, model: ModelName = None
) -> Response:
    """Return a song as a MIDI file, as sound or as a picture."""
    found = await _song(request, studio, model_named(studio, model), check_number(number))
    return await _file(request, studio, found.midi, kind, found.title, f"song-{number}")


@router.post(f"{API}/songs/{{number}}/votes", tags=["songs"])
async def vote(
    number: int, vote: schemas.Vote, request: Request, studio: Service, model: ModelName = None
) -> schemas.Votes:
    """Vote for a song, or against it; a visitor's newest vote counts."""
    check_rate_limit(request, "vote")
    chosen = model_named(studio, model)
    if studio.song(chosen, check_number(number)) is None:
        raise HTTPException(404, "nobody has heard this song yet; open its page first")
    total = studio.vote(chosen, number, request.state.visitor, vote.value)
    return schemas.Votes(votes=total, value=vote.value)


# Compositions.


@router.post(f"{API}/compositions", status_code=202, tags=["compositions"])
async def compose(
    wanted: schemas.CompositionRequest, request: Request, studio: Service
) -> schemas.Composition:
    """Compose what is asked for; the answer says where its events and its result are."""
    check_rate_limit(request, "compose")
    parent = None if wanted.version is None else version_of(studio, wanted.version)
    model = model_named(studio, wanted.model)
    wishes = wanted.wishes.model_dump(exclude_unset=True)
    if wishes.get("seed") is None:
        wishes["seed"] = secrets.randbelow(1_000_000_000)
    wishes["count"] = wanted.wishes.count
    # What no model could meet is refused now, before it waits in the line.
    asked = as_request(wishes)
    if parent is None:
        asked.refuse_without_piece()
    else:
        asked.refuse_with_piece()
        bars = parent.facts["bars"]
        if asked.fill_bars and max(asked.fill_bars) > bars:
            raise UsageError(
                f"`fill_bars`: the piece has bars 1 to {bars} (got {max(asked.fill_bars)})"
            )
    return _composition(studio, studio.compose(model, wishes, parent))


@router.get(f"{API}/compositions/{{key}}", tags=["compositions"])
async def composition(key: str, studio: Service) -> schemas.Composition:
    """Return how far a composition is, and the versions that came of it."""
    return _composition(studio, _job(studio, key))


@router.delete(f"{API}/compositions/{{key}}", tags=["compositions"])
async def cancel(key: str, studio: Service) -> schemas.Composition:
    """Cancel a composition."""
    job = _job(studio, key)
    studio.composing.cancel(job)
    return _composition(studio, job)


@router.get(f"{API}/compositions/{{key}}/events", tags=["compositions"])
async def composition_events(key: str, request: Request, studio: Service) -> Response:
    """Stream the place in the line, and bars as they are composed (server-sent events)."""
    return EventStream(request, _events(studio, _job(studio, key)))


def _job(studio: Studio, key: str) -> Job:
    job = studio.composing.job(key)
    if job is None or job.work["task"] != "compose":
        raise HTTPException(404, "no such composition; results are kept for some hours")
    return job


def _composition(studio: Studio, job: Job) -> schemas.Composition:
    before, estimate_s = studio.composing.place(job)
    versions = studio.composed(job) if job.state is State.DONE else []
    return schemas.Composition(
        key=job.key,
        state=job.state.value,
        before=before,
        estimate_s=round(estimate_s, 1),
        reason=job.reason,
        events=f"{API}/compositions/{job.key}/events",
        versions=[version_info(studio, one) for one in versions],
    )


async def _events(studio: Studio, job: Job) -> AsyncIterator[dict[str, Any]]:
    before, estimate_s = studio.composing.place(job)
    yield {"event": "place", "before": before, "estimate_s": round(estimate_s, 1)}
    following = job.follow()
    pending = asyncio.ensure_future(anext(following, None))
    try:
        while True:
            # Not `wait_for`, which cancels what it waits for, and would end the generator.
            done, _ = await asyncio.wait([pending], timeout=1.0)
            if done:
                event = pending.result()
                if event is None:
                    return
                yield event
                pending = asyncio.ensure_future(anext(following, None))
            elif job.state is State.WAITING:
                before, estimate_s = studio.composing.place(job)
                yield {"event": "place", "before": before, "estimate_s": round(estimate_s, 1)}
    finally:
        pending.cancel()


# Pieces that people work on.


@router.post(f"{API}/projects", status_code=201, tags=["projects"])
async def begin_project(
    request: Request, studio: Service, name: str = "my piece", model: ModelName = None
) -> schemas.Project:
    """Begin a project with a file: MIDI, or MusicXML or ABC if `name` ends so."""
    check_rate_limit(request, "upload")
    content = bytearray()
    try:
        async with asyncio.timeout(LONGEST_UPLOAD_S):
            async for part in request.stream():
                content += part
    except ClientDisconnect:
        raise HTTPException(400, "the connection ended before the file did") from None
    except TimeoutError:
        raise HTTPException(408, f"it took over {LONGEST_UPLOAD_S:.0f} s to send") from None
    if not content:
        raise UsageError("the body is empty; send a MIDI file, MusicXML or ABC")
    title = "".join(letter for letter in name if letter.isprintable())[:100]
    chosen = model_named(studio, model)
    first = await studio.begin_from_upload(chosen, bytes(content), title or "my piece")
    return project_info(studio, first.project)


@router.post(f"{API}/projects/from-song", status_code=201, tags=["projects"])
async def begin_project_from_song(
    wanted: schemas.FromSong, request: Request, studio: Service
) -> schemas.Project:
    """Begin a project with a song by number."""
    check_rate_limit(request, "upload")
    first = await studio.begin_from_song(model_named(studio, wanted.model), wanted.song)
    return project_info(studio, first.project)


@router.get(f"{API}/projects/{{key}}", tags=["projects"])
async def project(key: str, studio: Service) -> schemas.Project:
    """Return a piece with all of its kept versions."""
    return project_info(studio, key)


@router.put(f"{API}/projects/{{key}}/head", tags=["projects"])
async def set_head(key: str, head: schemas.Head, studio: Service) -> schemas.Project:
    """Go to a version: undo, redo, or keep one that was composed."""
    version = version_of(studio, head.version)
    if version.project != key:
        raise HTTPException(404, "no such version of this piece")
    studio.database.set_head(version)
    return project_info(studio, key)


@router.get(f"{API}/versions/{{key}}", tags=["projects"])
async def version(key: str, studio: Service) -> schemas.VersionInfo:
    """Return a version of a piece."""
    return version_info(studio, version_of(studio, key))


@router.get(f"{API}/versions/{{key}}/{{kind}}", tags=["projects"])
async def version_file(key: str, kind: Kind, request: Request, studio: Service) -> Response:
    """Return a version as a MIDI file, as sound or as a picture."""
    found = version_of(studio, key)
    return await _file(request, studio, found.midi, kind, found.title, "piece")


def version_of(studio: Studio, key: str) -> Version:
    """Return a version by its key; raises HTTPException."""
    found = studio.database.version(key)
    if found is None:
        raise HTTPException(404, "no such version; what was not kept is removed after a day")
    return found


def project_info(studio: Studio, key: str) -> schemas.Project:
    """Return a project as JSON; raises HTTPException."""
    found = studio.database.project(key)
    if found is None:
        raise HTTPException(404, "no such piece")
    model, head, versions = found
    infos = [version_info(studio, one) for one in versions]
    return schemas.Project(key=key, model=model, head=head, versions=infos)


def version_info(studio: Studio, one: Version) -> schemas.VersionInfo:
    """Return a version as JSON."""
    fields = {name: getattr(one, name) for name in ("key", "project", "parent", "title", "is_kept")}
    where = links(f"{API}/versions/{one.key}", f"/work/{one.project}", studio, studio.first)
    return schemas.VersionInfo(
        **fields, facts=one.facts, wishes=one.wishes, links=schemas.Links(**where)
    )


# What is sent.


async def _file(
    request: Request, studio: Studio, midi: bytes, kind: str, title: str, stem: str
) -> Response:
    media, suffix = _KINDS[kind]
    if kind == "midi":
        content = midi
    else:
        check_rate_limit(request, "render")
        try:
            content = await studio.rendered(midi, suffix, title)
        except JobFailedError as fault:
            raise UsageError(f"no {kind} of this piece: {fault}") from fault
    response = cached(request, content, media, FOR_EVER)
    shown = "inline" if kind in ("audio", "picture") else "attachment"
    response.headers["content-disposition"] = f'{shown}; filename="{stem}.{suffix}"'
    return response

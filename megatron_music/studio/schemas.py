"""What the API takes and gives, as OpenAPI describes it."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(max_length=100)]
Names = Annotated[list[Name], Field(max_length=64)]
Bar = Annotated[int, Field(ge=1, le=1000)]
Key = Annotated[str, Field(max_length=64)]

MOST_COUNT = 8
"""Variations of one request."""


class Links(BaseModel):
    """Where the files of a piece are."""

    page: str
    midi: str
    audio: str
    picture: str
    wav: str
    score: str


class Song(BaseModel):
    """A song by number."""

    id: int
    model: str
    title: str
    votes: int
    facts: dict[str, Any] = Field(
        description="Labels (composer, genre), key, metre, bars, tempo, tracks, notes in steps."
    )
    links: Links


class SongLine(BaseModel):
    """A song of a list."""

    id: int
    title: str
    votes: int
    page: str


class Picked(BaseModel):
    """A song to hear next."""

    id: int
    page: str


class Vote(BaseModel):
    """A vote; 0 takes it back."""

    model_config = ConfigDict(extra="forbid")
    value: Literal[-1, 0, 1]


class Votes(BaseModel):
    """The votes on a song, and the visitor's own."""

    votes: int
    value: int


class Wishes(BaseModel):
    """What can be asked of a model: the names and meanings of `Request` in Python."""

    model_config = ConfigDict(extra="forbid")
    count: int = Field(4, ge=1, le=MOST_COUNT)
    seed: int | None = Field(None, ge=0, le=2**62, description="None: by chance.")
    bars: int | None = Field(None, ge=1, le=64)
    instruments: Names | None = None
    temperature: float = Field(1.0, gt=0, le=100)
    top_k: int = Field(0, ge=0, le=1_000_000)
    top_p: float = Field(0.95, gt=0, le=1)
    min_p: float | None = Field(None, ge=0, le=1)
    tempo_bpm: float | None = Field(None, ge=10, le=400)
    tracks: int | None = Field(None, ge=1, le=16)
    density: Names = []
    attributes: Names | None = None
    prompt_bars: int | None = Field(None, ge=1, le=1000)
    drop: Names = []
    fill_bars: Annotated[list[Bar], Field(max_length=1000)] = []
    fill_tracks: Names = []
    vary: float | None = Field(None, gt=0, le=1)
    voice: Name | None = None
    begin: bool = False
    end: bool = False
    key: Name | None = None
    metre: Name | None = None
    dynamics: Name | None = None


class CompositionRequest(BaseModel):
    """A composition to be made, from nothing or from a version of a piece."""

    model_config = ConfigDict(extra="forbid")
    model: Name | None = Field(None, description="None: the first that the studio offers.")
    version: Key | None = Field(None, description="The version of a piece to begin from.")
    wishes: Wishes = Field(default_factory=lambda: Wishes.model_validate({}))


class VersionInfo(BaseModel):
    """A version of a piece."""

    key: str
    project: str
    parent: str | None
    title: str
    facts: dict[str, Any]
    wishes: dict[str, Any]
    is_kept: bool
    links: Links


class Composition(BaseModel):
    """How far a composition is, and what came of it."""

    key: str
    state: Literal["waiting", "running", "done", "failed", "cancelled"]
    before: int = Field(description="How many jobs come first.")
    estimate_s: float
    reason: str = ""
    events: str = Field(description="Where its events stream.")
    versions: list[VersionInfo] = []


class Project(BaseModel):
    """A piece with all of its kept versions; `head` is the one that is worked on."""

    key: str
    model: str
    head: str
    versions: list[VersionInfo]


class FromSong(BaseModel):
    """A project that begins with a song by number."""

    model_config = ConfigDict(extra="forbid")
    song: int = Field(ge=0, le=2**62)
    model: Name | None = None


class Head(BaseModel):
    """The version to work on from now on."""

    model_config = ConfigDict(extra="forbid")
    version: Key


class Problem(BaseModel):
    """Why a request was refused, in a sentence for people."""

    detail: str

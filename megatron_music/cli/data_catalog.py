"""`data list` and `data fetch`: the collections that have a name here."""

import dataclasses
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from megatron_music.cli import show
from megatron_music.cli.data_options import Json

if TYPE_CHECKING:
    from megatron_music.data.sources.catalog import Collection


def list_collections(as_json: Json = False) -> None:
    """List the collections that have a name here: licence, citation, how to get them, whether here.

    Example: `megatron-music data list`
    """
    from megatron_music.data.sources.catalog import COLLECTIONS
    from megatron_music.data.sources.fetch import found

    here = {known.name: found(known) for known in COLLECTIONS}
    if as_json:
        places = {name: str(place) if place else None for name, place in here.items()}
        rows = [{**dataclasses.asdict(known), "here": places[known.name]} for known in COLLECTIONS]
        print(json.dumps(rows, indent=2))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("name", no_wrap=True)
    table.add_column("pieces", justify="right", no_wrap=True)
    table.add_column("size", no_wrap=True)
    table.add_column("what it is, its licence, whom to cite, how to get it", overflow="fold")
    for known in COLLECTIONS:
        place = here[known.name]
        got = "nothing to do" if known.embedded else known.access
        about = (
            f"{known.title}\nLicence: {known.licence}\nCite: {known.citation}\n"
            f"From: {known.where}\n{f'Here: {place}' if place else f'To get it: {got}'}\n"
        )
        table.add_row(known.name, f"{known.pieces:,}", known.size, about)
    Console().print(table)


def fetch_collection(
    name: Annotated[str, typer.Argument(help="A collection: see `data list`.")],
    output: Annotated[
        Path | None, typer.Option("-o", help="A folder for it; else data/downloads/NAME.")
    ] = None,
) -> None:
    """Download a collection, or resume that, and check it; its licence is put next to it.

    The environment variable MEGATRON_MUSIC_DOWNLOADS names another folder than data/downloads.

    Example: `megatron-music data fetch lakh-clean`
    """
    from megatron_music.data.sources.catalog import COLLECTIONS, collection_named, nearest_names
    from megatron_music.errors import UsageError

    collection = collection_named(name)
    if collection is None:
        near = nearest_names(name)
        meant = f" (did you mean {' or '.join(near)}?)" if near else ""
        names = ", ".join(known.name for known in COLLECTIONS)
        raise UsageError(f"no collection {name!r}{meant}; there are {names}")
    place = _bring(collection, output)
    where = "" if output is None else f" --source {shlex.quote(str(place))}"
    print(place)
    show.log(f"build it: megatron-music data build {name}{where} -o data/{name}")


def ensure_fetched(name: str) -> None:
    """Fetch a collection that is not here, where it can be."""
    from megatron_music.data.sources.catalog import collection_named
    from megatron_music.data.sources.fetch import found

    collection = collection_named(name)
    if collection is not None and collection.download is not None and not found(collection):
        _bring(collection, None)


def _bring(collection: "Collection", output: Path | None) -> Path:
    from megatron_music.data.sources.fetch import fetch, notice

    if collection.download is not None:
        show.log(notice(collection).rstrip())  # the terms come before the music
    with show.progress(f"fetch {collection.name}", "MB") as progress:
        return fetch(collection, output, progress)

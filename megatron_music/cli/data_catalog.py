"""`data list`: the collections that have a name here."""

import dataclasses
import json
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def list_collections(as_json: Json = False) -> None:
    """List the collections that have a name here, with their licence and how to get them.

    Example: `megatron-music data list`
    """
    from megatron_music.data.catalog import COLLECTIONS

    if as_json:
        print(json.dumps([dataclasses.asdict(known) for known in COLLECTIONS], indent=2))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("name")
    table.add_column("pieces", justify="right")
    table.add_column("size", no_wrap=True)
    table.add_column("what it is, its licence, how to get it", overflow="fold")
    for known in COLLECTIONS:
        about = f"{known.title}\n{known.licence}\n{known.access}: {known.where}\n"
        table.add_row(known.name, f"{known.pieces:,}", known.size, about)
    Console().print(table)

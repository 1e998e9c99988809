"""`data verify`: what a data set holds, and whether it still does."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from megatron_music.cli import show

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def verify(
    folder: Annotated[Path, typer.Argument(help="The data set's folder.", metavar="DIR")],
    as_json: Json = False,
) -> None:
    """Check every hash of a data set and walk every document through the grammar.

    Example: `megatron-music data verify data/bach`
    """
    from megatron_music.data.verify import verify

    with show.progress("verify", "documents") as progress:
        verified = verify(folder, progress)
    if as_json:
        print(json.dumps(dataclasses.asdict(verified)))
    else:
        print(
            f"{folder} is sound: {verified.files} files, {verified.documents:,} documents, "
            f"{verified.tokens:,} tokens"
        )

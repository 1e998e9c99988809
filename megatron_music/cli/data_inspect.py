"""`data verify` and `data stats`: whether a data set is whole, and what is in it."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from megatron_music.cli import show
from megatron_music.cli.data_options import Json
from megatron_music.wording import counted, visible

if TYPE_CHECKING:
    from megatron_music.data.stats import Statistics


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
        counts = [counted(number, what[:-1]) for what, number in vars(verified).items()]
        print(f"{folder} is sound: {', '.join(counts)}")


def stats(
    folder: Annotated[Path, typer.Argument(help="The data set's folder.", metavar="DIR")],
    output: Annotated[
        Path | None, typer.Option("-o", help="Write stats.json and pictures here.", metavar="DIR")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what a data set consists of: lengths, instruments, pitches, densities, notes.

    Example: `megatron-music data stats data/bach -o stats`
    """
    from megatron_music.data.stats import as_json as to_json
    from megatron_music.data.stats import statistics
    from megatron_music.files import check_writable

    if output is not None:
        check_writable(output)
    with show.progress("count", "tokens") as progress:
        made = statistics(folder, progress)
    if output is not None:
        _write(made, output)
    print(json.dumps(to_json(made)) if as_json else visible(_text(made)))


def row(name: str, side: Mapping[str, int]) -> str:
    """Return a line with what is on one side of the split."""
    return (
        f"{name:>6}: {counted(side['tokens'], 'token', width=13)}, "
        f"{counted(side['documents'], 'document', width=9)}, "
        f"{counted(side['pieces'], 'piece', width=7)}"
    )


def _write(made: "Statistics", folder: Path) -> None:
    """Write the figures and the pictures into a folder."""
    from megatron_music.data.stats import as_json as to_json
    from megatron_music.data.stats_plots import pictures
    from megatron_music.files import complete, write_text

    for name, png in pictures(made).items():
        with complete(folder / f"{name}.png") as temporary:
            temporary.write_bytes(png)
    write_text(folder / "stats.json", json.dumps(to_json(made), indent=2) + "\n")
    show.say(f"stats.json and the pictures are in {folder}")


def _text(made: "Statistics") -> str:
    """Return the table of the sides and the histograms, as text."""
    from megatron_music.data.card import histograms
    from megatron_music.data.histograms import text_bars
    from megatron_music.data.stats import note_rows

    lines = [row(name, side) for name, side in made.manifest["splits"].items()]
    parts = histograms(made.contents, made.manifest["inputs"]["refused"]) | note_rows(made)
    return "\n".join([*lines, *(f"\n{title}\n{text_bars(rows)}" for title, rows in parts.items())])

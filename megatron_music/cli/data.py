"""`data`: collections of music as data sets."""

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from megatron_music.cli import data_catalog, data_inspect, show
from megatron_music.errors import UsageError
from megatron_music.wording import counted

if TYPE_CHECKING:
    from megatron_music.data.build import Result
    from megatron_music.data.sources import Source

app = typer.Typer(help="Make, check and list data sets.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]

Option = typer.Option

_WITHOUT = {"valid": ": give more pieces, or train with log.eval_interval=0"}


@app.command("build")
def build(
    source: Annotated[
        str,
        typer.Argument(
            help="A collection (see `data list`), or a folder, .tar(.gz) or .zip of MIDI files."
        ),
    ],
    output: Annotated[Path, Option("-o", help="The data set's folder.", metavar="DIR")],
    bars: Annotated[int | None, Option(help="Bars of a window.")] = None,
    hop: Annotated[int | None, Option(help="Bars from a window to the next; else --bars.")] = None,
    steps_per_quarter: Annotated[int | None, Option(help="4, or 12 to hold triplets.")] = None,
    density: Annotated[bool | None, Option(help="Density tokens, or none.")] = None,
    transpositions: Annotated[
        int | None, Option(help="Keys that training windows are written in; 12 for all.")
    ] = None,
    no_transpositions: Annotated[
        bool, Option("--no-transpositions", help="The same as --transpositions 1.")
    ] = False,
    merge: Annotated[
        bool | None, Option(help="Make the tracks of one instrument one, or not.")
    ] = None,
    voices: Annotated[
        bool | None, Option(help="Take four tracks as soprano, alto, tenor, bass, or not.")
    ] = None,
    fill: Annotated[
        bool | None, Option("--fill/--no-fill", help="Add documents with bars to fill in, or not.")
    ] = None,
    max_tracks: Annotated[int | None, Option(help="Most tracks of a window.")] = None,
    shuffle: Annotated[bool | None, Option(help="Shuffle the tracks, or not.")] = None,
    seed: Annotated[int | None, Option(help="The seed of the shuffling.")] = None,
    split: Annotated[str | None, Option(help="Weights of the sides, such as 90,5,5.")] = None,
    like: Annotated[
        Path | None,
        Option("--like", help="Tokens that mean the same as this data set's.", metavar="DIR"),
    ] = None,
    workers: Annotated[int | None, Option(help="Processes; else one a core.")] = None,
    backend: Annotated[
        Literal["local", "ray"], Option(help="Where the workers are: here, or on a Ray cluster.")
    ] = "local",
    place: Annotated[
        Path | None, Option("--source", help="Where the files of a collection lie.", metavar="PATH")
    ] = None,
    fetch: Annotated[
        bool, Option("--fetch", help="Download the collection if it is not here.")
    ] = False,
    force: Annotated[bool, Option("--force", help="Replace another data set.")] = False,
    as_json: Json = False,
) -> None:
    """Build a data set of a collection, or of a folder or an archive of MIDI files.

    What is not chosen is as the collection prefers. An interrupted build goes on where it was.

    Example: `megatron-music data build bach -o data/bach`

    To blend with it, or to go on with its model: `data build ~/midi -o data/mine --like data/bach`
    """
    if no_transpositions and transpositions is not None:
        raise UsageError("--transpositions and --no-transpositions exclude each other; give one")
    options = {
        "bars": bars,
        "hop": hop,
        "steps_per_quarter": steps_per_quarter,
        "density": density,
        "transpositions": 1 if no_transpositions else transpositions,
        "merge": merge,
        "voices": voices,
        "fill": fill,
        "max_tracks": max_tracks,
        "shuffle": shuffle,
        "seed": seed,
        "split": None if split is None else _weights(split),
    }
    chosen = {name: value for name, value in options.items() if value is not None}
    if fetch and place is None:
        data_catalog.bring(source)
    music = _open(source, place, output, workers, backend, force)
    result = _build(music, output, chosen, like, workers, backend, force)
    print(json.dumps(result.manifest, indent=2) if as_json else _summary(result.manifest))


def _open(
    source: str, place: Path | None, output: Path, workers: int | None, backend: str, force: bool
) -> "Source":
    """List the source; where it is large and to be built, workers start meanwhile."""
    from megatron_music.data.manifest import MANIFEST_FILE
    from megatron_music.data.sources import open_source
    from megatron_music.data.workers import start_workers

    new = force or not (output / MANIFEST_FILE).exists()
    return open_source(source, place, partial(start_workers, backend, workers) if new else None)


def _build(
    music: "Source",
    output: Path,
    chosen: dict[str, Any],
    other: Path | None,
    workers: int | None,
    backend: str,
    force: bool,
) -> "Result":
    from megatron_music.data.build import build
    from megatron_music.data.settings import choose, like

    settings = choose(music.preferred, like(other, chosen) if other else chosen)
    result = build(music, output, settings, workers, force, show.progress, backend)
    if result.up_to_date:
        show.say(f"{output} is up to date: nothing to do")
    return result


def _weights(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(
            f"--split takes three whole weights such as 90,5,5 (got {text!r})"
        ) from None


def _summary(manifest: dict[str, Any]) -> str:
    inputs = manifest["inputs"]
    refused = ", ".join(f"{reason} {count}" for reason, count in inputs["refused"].items())
    lines = [
        f"{manifest['source']['name']}: {inputs['kept']:,} of {counted(inputs['total'], 'piece')} "
        "kept" + (f"; left out: {refused}" if refused else "")
    ]
    for name, side in manifest["splits"].items():
        lines.append(data_inspect.row(name, side))
        if not side["documents"]:
            lines.append(f"        nothing for {name}{_WITHOUT.get(name, '')}")
    entropies = manifest["unigram_nats_per_token"].items()
    figures = ", ".join(f"{split} {nats:.2f}" for split, nats in entropies)
    lines.append(f"unigram entropy, nats a token: {figures}")
    return "\n".join(lines)


app.command("verify")(data_inspect.verify)
app.command("stats")(data_inspect.stats)
app.command("list")(data_catalog.list_collections)
app.command("fetch")(data_catalog.fetch_collection)

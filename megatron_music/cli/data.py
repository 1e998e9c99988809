"""`data`: collections of music as data sets."""

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from megatron_music.cli import data_catalog, data_inspect, data_text, show
from megatron_music.cli import data_options as option
from megatron_music.cli.options import command_of
from megatron_music.errors import UsageError
from megatron_music.formatting import counted, escape_controls

if TYPE_CHECKING:
    from megatron_music.data.sources.open import Source

app = typer.Typer(help="Make, check and list data sets.", no_args_is_help=True)

_WITHOUT = {"valid": ": give more pieces, or train with log.eval_interval=0"}


@app.command("build")
@command_of(option.BuildOptions)
def build(options: option.BuildOptions) -> None:
    """Build a data set of a collection, or of a folder or an archive of MIDI files.

    What is not chosen is as the collection prefers. An interrupted build resumes where it was.

    Example: `megatron-music data build bach -o data/bach`

    To blend with it, or to train its model on: `data build ~/midi -o data/mine --like data/bach`

    Of words: `megatron-music data build lyrics.csv -o data/lyrics --text`
    """
    chosen, words = options.settings(), options.words()
    others = {
        "attributes": options.attributes,
        "attributes_from": options.attributes_from,
        "workers": options.workers,
        "source": options.place,
    }
    if data_text.is_words(options.source, options.text, chosen | others, words):
        data_text.build(options, words, chosen.get("split"))
        return
    from megatron_music.data.build import build
    from megatron_music.data.settings import choose, like

    # Where --source names the files there is nothing to fetch.
    if options.fetch and options.place is None:
        data_catalog.ensure_fetched(options.source)
    folder = options.output or Path("data") / data_text.name_of(options.source)
    music = _open(options, folder)
    wanted = like(options.like, chosen) if options.like else chosen
    result = build(
        music,
        folder,
        choose(music.preferred, wanted),
        options.workers,
        options.force,
        show.progress,
        options.backend,
    )
    if result.up_to_date:
        show.log(f"{folder} is up to date: nothing to do")
    print(
        json.dumps(result.manifest, indent=2)
        if options.as_json
        else escape_controls(_summary(result.manifest))
    )


def _open(options: option.BuildOptions, output: Path) -> "Source":
    """List the source, with the labels that a person gives; raises UsageError.

    Where it is to be built, workers load meanwhile.
    """
    from megatron_music.data.manifest import MANIFEST_FILE
    from megatron_music.data.sources.labels import Labels, folder_labels, read_labels
    from megatron_music.data.sources.open import labelled, open_source
    from megatron_music.data.workers.local import start_workers
    from megatron_music.tokenizer.attributes import as_word

    workers = options.workers
    new = options.force or not (output / MANIFEST_FILE).exists()
    if new and options.backend == "local":
        from joblib import cpu_count

        if workers is not None and workers > cpu_count():
            show.log(
                f"{counted(workers, 'worker')} on {counted(cpu_count(), 'core')}: more memory, no "
                "more speed; without --workers there is one a core"
            )
    if new:
        # Before the source is listed, so that the workers load while this process walks its
        # folders.
        start_workers(options.backend, workers)
    music = open_source(options.source, options.place)
    if music.own:
        show.log(f"left out, as composed by this program: {', '.join(music.own)}")
    more: list[Labels] = []
    if options.attributes is not None:
        more.append(read_labels(options.attributes))
    if options.attributes_from is not None:
        place, _, family = options.attributes_from.partition("=")
        if place != "folders":
            raise UsageError(
                f"--attributes-from takes folders, or folders=GENRE (got "
                f"{options.attributes_from!r})"
            )
        more.append(folder_labels(as_word(family) if family else "FOLDER"))
    return labelled(music, *more)


def _summary(manifest: dict[str, Any]) -> str:
    inputs = manifest["inputs"]
    refused = ", ".join(f"{reason} {count}" for reason, count in inputs["refused"].items())
    lines = [
        f"{manifest['source']['name']}: {inputs['kept']:,} of {counted(inputs['total'], 'piece')} "
        "kept" + (f"; left out: {refused} (data list-left-out names them)" if refused else "")
    ]
    for name, split in manifest["splits"].items():
        lines.append(data_inspect.row(name, split))
        if not split["documents"]:
            lines.append(f"        nothing for {name}{_WITHOUT.get(name, '')}")
    if labels := manifest.get("labels"):
        words = manifest["tokenizer"]["attributes"]
        families = Counter(word.partition("=")[0] for word in words)
        # One of each family's labels is UNKNOWN.
        counts = ", ".join(f"{family} {count - 1}" for family, count in families.items())
        line = f"labels: {counts}, and UNKNOWN of each"
        if labels["without"]:
            line += f"; {counted(labels['without'], 'piece')} without a row"
        if labels.get("loose"):  # data sets of earlier versions do not tell
            line += f"; {counted(labels['loose'], 'piece')} in no folder"
        if labels["absent"]:
            line += (
                f"; {counted(labels['absent'], 'row')} of pieces that are not here, the first "
                f"{labels['first_absent']!r}"
            )
        if labels["new"]:
            line += f"; unknown to the other data set: {', '.join(labels['new'][:4])}"
        lines.append(line)
    lines += data_inspect.grid(manifest)
    lines += data_inspect.contexts(manifest)
    entropies = manifest["unigram_nats_per_token"].items()
    figures = ", ".join(f"{split} {nats:.2f}" for split, nats in entropies)
    lines.append(f"unigram entropy, nats a token: {figures}")
    return "\n".join(lines)


@app.command("convert")
def convert(
    folder: Annotated[Path, typer.Argument(help="A data set of whole pieces.", metavar="DIR")],
    output: Annotated[Path, typer.Option("-o", help="The data set of windows.", metavar="DIR")],
    bars: option.Bars = None,
    hop: option.Hop = None,
    transpositions: option.Transpositions = None,
    fill: option.Fill = None,
    max_tracks: option.MaxTracks = None,
    seed: option.Seed = None,
    force: option.Force = False,
    as_json: option.Json = False,
) -> None:
    """Write the windows of a data set of whole pieces, for stock Megatron-LM and others.

    What is not chosen is as the pieces were built. No music is read again.

    Example: `megatron-music data convert data/bach -o data/bach-4 --bars 4`
    """
    from megatron_music.data.convert import convert

    options = {
        "bars": bars,
        "hop": hop,
        "transpositions": transpositions,
        "fill": fill,
        "max_tracks": max_tracks,
        "seed": seed,
    }
    chosen = {name: value for name, value in options.items() if value is not None}
    result = convert(folder, output, chosen, force, show.progress)
    if result.up_to_date:
        show.log(f"{output} is up to date: nothing to do")
    print(
        json.dumps(result.manifest, indent=2)
        if as_json
        else escape_controls(_summary(result.manifest))
    )


app.command("verify")(data_inspect.verify)
app.command("stats")(data_inspect.stats)
app.command("list-left-out")(data_inspect.list_left_out)
app.command("list")(data_catalog.list_collections)
app.command("fetch")(data_catalog.fetch_collection)

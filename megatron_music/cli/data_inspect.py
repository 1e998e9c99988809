"""`data verify` and `data stats`: whether a data set is whole, and what is in it."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from megatron_music.cli import show
from megatron_music.cli.data_options import Json
from megatron_music.formatting import counted, escape_controls


def verify(
    folder: Annotated[Path, typer.Argument(help="The data set's folder.", metavar="DIR")],
    as_json: Json = False,
) -> None:
    """Check every hash of a data set and walk every document through the grammar.

    Example: `megatron-music data verify data/bach`
    """
    from megatron_music.data.report.verify import verify

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
    from megatron_music.data.counts import text_bars
    from megatron_music.data.report.card import histograms
    from megatron_music.data.report.stats import as_json as to_json
    from megatron_music.data.report.stats import note_rows, statistics
    from megatron_music.files import atomic_write, check_writable, write_text

    if output is not None:
        check_writable(output)
    with show.progress("count", "tokens") as progress:
        made = statistics(folder, progress)
    if output is not None:
        from megatron_music.data.report.plots import pictures

        for name, png in pictures(made).items():
            with atomic_write(output / f"{name}.png") as temporary:
                temporary.write_bytes(png)
        write_text(output / "stats.json", json.dumps(to_json(made), indent=2) + "\n")
        show.log(f"stats.json and the pictures are in {output}")
    if as_json:
        print(json.dumps(to_json(made)))
        return
    lines = [row(name, split) for name, split in made.manifest["splits"].items()]
    if made.sung_notes:
        notes = int(made.contents.pitches.sum())
        share = made.sung_notes / notes
        lines.append(f"sung: {made.sung_notes:,} of {counted(notes, 'note')} ({share:.1%})")
    parts = histograms(made.contents, made.manifest["inputs"]["refused"]) | note_rows(made)
    lines += [f"\n{title}\n{text_bars(rows)}" for title, rows in parts.items()]
    print(escape_controls("\n".join(lines)))


def list_left_out(
    folder: Annotated[Path, typer.Argument(help="The data set's folder.", metavar="DIR")],
    as_json: Json = False,
) -> None:
    """Name each piece that is left out of a data set, whole or in part, and why.

    Example: `megatron-music data list-left-out data/mine`
    """
    from megatron_music.data.records import REFUSED, left_out

    whole = part = 0
    for record in left_out(folder):
        refused = record["outcome"] == REFUSED
        whole, part = whole + refused, part + (not refused)
        if as_json:
            print(json.dumps(record))
        else:
            reason = record["reason"] if refused else "in part"
            print(escape_controls(f"{record['name']}: {reason}: {record['detail']}"))
    show.log(f"{counted(whole, 'piece')} left out, {counted(part, 'piece')} in part")


def row(name: str, split: Mapping[str, int]) -> str:
    """Return a line with what is on one split."""
    return (
        f"{name:>6}: {counted(split['tokens'], 'token', width=13)}, "
        f"{counted(split['documents'], 'document', width=9)}, "
        f"{counted(split['pieces'], 'piece', width=7)}"
    )


def grid(manifest: Mapping[str, Any]) -> list[str]:
    """Return the loss by the grid, whether a finer one helps, and the dynamics that are lost."""
    cost = manifest.get("grid")
    if cost is None:
        return []
    steps, notes = manifest["settings"]["steps_per_quarter"], cost["notes"]
    lines = [
        f"grid of {steps} steps a quarter: {cost['moved'] / notes:.1%} of "
        f"{counted(notes, 'note')} in {counted(cost['pieces'], 'piece')} begin off it and are "
        f"moved, by {cost['mean_move_quarters']:.3f} quarters on average"
    ]
    if cost["suggests_finer"]:
        lines.append(
            f"  --steps-per-quarter 12 moves {cost['moved_finer'] / notes:.1%}: it holds triplets "
            "and swing"
        )
    dynamic = cost.get("dynamic_pieces", 0)  # data sets of earlier versions have none
    # Only where most pieces have dynamics: VELOCITY tokens make all documents longer.
    if 2 * dynamic > cost["pieces"] and not manifest["settings"].get("velocity"):
        lines.append(
            f"dynamics in {dynamic} of {counted(cost['pieces'], 'piece')} are left out: --velocity "
            "8 keeps them, --expressive also tempo and all metres"
        )
    return lines


def contexts(manifest: Mapping[str, Any]) -> list[str]:
    """Return a line for each sequence length of a recipe: how many windows it shortens."""
    from megatron_music.config import recipes_by_length

    train = manifest["splits"]["train"]
    windows = manifest.get("windows", train)
    by_length = windows.get("longer_than")  # data sets of earlier versions have none
    if by_length is None:
        return []
    title = "sequence of a recipe, training windows"
    if windows is not train:
        title += f" of {counted(windows['bars'], 'bar')}"
        if windows["pieces"] < train["documents"]:
            title += f" in {windows['pieces']:,} of the documents"
    lines = [f"{title}:"]
    for tokens, recipes in recipes_by_length().items():
        longer = by_length[str(tokens)]
        held = f"  {tokens:,} tokens ({', '.join(recipes)}): "
        # Longer sequences hold all windows as well.
        if not longer["documents"]:
            return [*lines, held + "holds all windows"]
        lines.append(
            held + f"shortens {counted(longer['documents'], 'window')} "
            f"({longer['documents'] / windows['documents']:.1%}) with "
            f"{longer['tokens'] / windows['tokens']:.1%} of the tokens"
        )
    return [*lines, f"  model.seq_length={windows['document_tokens']['max']} holds all windows"]

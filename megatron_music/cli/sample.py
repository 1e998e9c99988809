"""`sample`: compose with an exported model."""

from pathlib import Path
from typing import Annotated

import typer

from megatron_music.cli import show


def sample(
    model: Annotated[Path, typer.Argument(help="A folder that export wrote.", metavar="HFDIR")],
    output: Annotated[Path, typer.Option("-o", help="The folder to write songs into.")],
    count: Annotated[int, typer.Option("-n", help="How many songs.")] = 4,
    seed: Annotated[int, typer.Option(help="The first song's seed; the next has the next.")] = 7,
    bars: Annotated[
        int | None, typer.Option(help="Bars of each song; else as in training.")
    ] = None,
    instrument: Annotated[
        list[str] | None,
        typer.Option(
            help="A program 0..127, DRUMS, SOPRANO, ALTO, TENOR or BASS; repeat for more."
        ),
    ] = None,
    temperature: Annotated[float, typer.Option(help="Above 1 bolder, below 1 safer.")] = 1.0,
    top_k: Annotated[int, typer.Option(help="Draw from the k likeliest tokens; 0: all.")] = 0,
    top_p: Annotated[float, typer.Option(help="Draw from the likeliest of this mass.")] = 0.95,
    tempo: Annotated[float, typer.Option(help="Quarter notes a minute.")] = 100.0,
    wav: Annotated[bool, typer.Option(help="Also write sound.")] = True,
    png: Annotated[bool, typer.Option(help="Also draw the piano roll.")] = True,
) -> None:
    """Compose songs: MIDI, sound and a picture of each.

    Example: `megatron-music sample runs/bach-tiny/hf -o music -n 2 --bars 8 --temperature 0.9`
    """
    from megatron_music.generate.album import Formats, write_album, written
    from megatron_music.generate.identity import model_identity
    from megatron_music.generate.request import Request
    from megatron_music.threads import wait_asleep

    instruments = tuple(instrument) if instrument else None
    request = Request(count, seed, bars, instruments, temperature, top_k, top_p, tempo)
    formats, identity = Formats(wav, png), model_identity(model)
    files = written(output, request, identity, formats)
    if files:
        show.say(f"{output} already holds these songs: nothing to do")
    else:
        wait_asleep()
        from megatron_music.generate.composer import Composer

        songs = Composer.load(model).compose(request)
        with show.progress("compose", "songs") as progress:
            files = write_album(songs, output, request, identity, formats, progress)
    for file in files:
        print(file)

"""`render`: a MIDI file as a picture and as sound."""

from pathlib import Path
from typing import Annotated

import typer

from megatron_music.cli import show
from megatron_music.errors import UsageError

PICTURE_STEPS_PER_QUARTER = 12
"""Fine enough for triplets and for performances off the grid."""


def render(
    file: Annotated[Path, typer.Argument(help="A MIDI file.", metavar="FILE.mid")],
    png: Annotated[
        Path | None, typer.Option("--png", help="Draw a piano roll here.", metavar="FILE")
    ] = None,
    wav: Annotated[
        Path | None, typer.Option("--wav", help="Play it into this file.", metavar="FILE")
    ] = None,
) -> None:
    """Draw a MIDI file as a piano roll and play it into a WAV file.

    With neither option both are written beside the input. Prints the names of what was written.

    Example: `megatron-music render song.mid --png song.png`
    """
    from megatron_music.files import keep_source
    from megatron_music.score.audio import render_audio
    from megatron_music.score.midi import read_midi
    from megatron_music.score.pianoroll import draw_piano_roll
    from megatron_music.score.quantize import quantize
    from megatron_music.wording import printable

    if png is None and wav is None:
        png, wav = file.with_suffix(".png"), file.with_suffix(".wav")
    if png == wav:
        raise UsageError(f"--png and --wav are one file ({png}); give two")
    keep_source(file, png, wav)
    score = read_midi(file)
    if wav is not None:
        show.say(f"played with {render_audio(file, wav)}")
        print(wav)
    if png is not None:
        if score.other_metres:
            show.say(f"note: {file} is not in 4/4 throughout; bar lines stand every four quarters")
        piece = quantize(score, PICTURE_STEPS_PER_QUARTER)
        draw_piano_roll(piece, png, title=printable(file.stem))
        print(png)

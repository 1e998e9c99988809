"""`encode` and `decode`: MIDI files as mmmtrack text and back."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from megatron_music.cli import show
from megatron_music.cli.data_options import (
    Expressive,
    Lyrics,
    Metre,
    Tempo,
    Velocity,
    token_settings,
)
from megatron_music.errors import UsageError

MidiIn = Annotated[
    Path, typer.Argument(help="A MIDI file, or .musicxml, .mxl, .abc, .krn.", metavar="FILE")
]
TextIn = Annotated[Path, typer.Argument(help="Text written by encode.", metavar="FILE.txt")]
Steps = Annotated[int, typer.Option(help="The grid: 4 or 12 steps a quarter note.")]
Density = Annotated[bool, typer.Option("--density/--no-density", help="A DENSITY token a track.")]


def encode(
    file: MidiIn,
    output: Annotated[Path | None, typer.Option("-o", help="Write here, not to stdout.")] = None,
    bars: Annotated[
        int | None, typer.Option(min=1, max=64, help="Cut into windows, one a line; else whole.")
    ] = None,
    hop: Annotated[
        int | None, typer.Option(min=1, help="Bars between windows; else --bars.")
    ] = None,
    steps_per_quarter: Steps = 4,
    density: Density = True,
    metre: Metre = None,
    velocity: Velocity = None,
    tempo: Tempo = None,
    lyrics: Lyrics = False,
    expressive: Expressive = False,
) -> None:
    """Write a MIDI file, or MusicXML, ABC or kern, as mmmtrack tokens, a line a piece.

    Example: `megatron-music encode song.mid --bars 4 --no-density -o song.txt`
    """
    from megatron_music.data.sources.item import MUSIC_SUFFIXES
    from megatron_music.files import refuse_overwriting, write_text
    from megatron_music.score.bar_layout import other_metres
    from megatron_music.score.music_file import read_all_music
    from megatron_music.score.quantize import windows
    from megatron_music.tokenizer.codec import encode as encode_piece
    from megatron_music.tokenizer.codec import piece_of, to_text
    from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary

    refuse_overwriting(file, output)
    if output is not None and output.name.lower().endswith(MUSIC_SUFFIXES):
        raise UsageError(f"{output} is a name of music, and text is written; give another")
    if hop is not None and not hop <= (bars or 0):
        raise UsageError(f"--hop {hop} needs --bars of {hop} or more; else music is left out")
    chosen = token_settings(metre, velocity, tempo, expressive) | {"lyrics": bool(lyrics)}
    vocabulary = Vocabulary(TokenizerSettings(steps_per_quarter, density, **chosen))
    scores = read_all_music(file, lambda fault: show.log(f"left out: {fault}"))
    found = [one for score in scores for one in other_metres(score, vocabulary.metres)]
    # One remark a file, however many metres it has.
    for other in found[:1]:
        show.log(
            f"note: {file} has bars of {other}; "
            + (
                "these are left out"
                if vocabulary.has_metres
                else "this lays all of it in bars of 4/4, where "
                "`data build` keeps stretches of 4/4 alone; --metre any keeps it"
            )
        )
    pieces = [piece_of(score, vocabulary) for score in scores]
    if bars is not None:
        pieces = [part for piece in pieces for part in windows(piece, bars, hop or bars)]
    lines = [to_text(encode_piece(part, vocabulary), vocabulary) for part in pieces]
    text = "\n".join(lines) + "\n"
    if output is None:
        sys.stdout.write(text)
    else:
        write_text(output, text)


def decode(
    file: TextIn,
    output: Annotated[
        Path | None,
        typer.Option("-o", help="A MIDI file to write, or .musicxml; else FILE.mid, here."),
    ] = None,
    tempo: Annotated[
        float | None,
        typer.Option(
            min=10, max=400, help="Quarter notes a minute; else as TEMPO tokens say, or 120."
        ),
    ] = None,
    steps_per_quarter: Steps = 4,
) -> None:
    """Write mmmtrack text as a MIDI file or as MusicXML; pieces follow each other.

    Example: `megatron-music decode song.txt -o song.mid --tempo 90`
    """
    from megatron_music.data.sources.item import MIDI_SUFFIXES
    from megatron_music.files import check_suffix, free_stem, refuse_overwriting
    from megatron_music.score.midi_writer import write_midi
    from megatron_music.score.musicxml_writer import WRITTEN_SUFFIXES, is_musicxml, write_musicxml
    from megatron_music.score.quantize import join
    from megatron_music.tokenizer.codec import read_pieces

    is_named = output is not None
    if output is None:
        stem = free_stem(Path(), "decoded" if str(file) == "-" else file.stem, ("mid",))
        output = stem.with_name(f"{stem.name}.mid")
    refuse_overwriting(file, output)
    write = write_musicxml if is_musicxml(output) else write_midi
    check_suffix(output, *MIDI_SUFFIXES, *WRITTEN_SUFFIXES)
    write(join(read_pieces(file, steps_per_quarter)), output, tempo)
    if not is_named:
        print(output)

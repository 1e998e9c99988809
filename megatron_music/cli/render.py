"""`render`: a piece as a picture, as sound and as notation."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from megatron_music.cli import show
from megatron_music.errors import UsageError

if TYPE_CHECKING:
    from megatron_music.score.notes import Piece, Score

PICTURE_STEPS_PER_QUARTER = 12
"""Fine enough for triplets and for performances off the grid."""


def render(
    file: Annotated[Path, typer.Argument(help="A MIDI or score file.", metavar="FILE")],
    png: Annotated[
        Path | None, typer.Option("--png", help="Draw a piano roll here.", metavar="FILE")
    ] = None,
    wav: Annotated[
        Path | None, typer.Option("--wav", help="Play it into this file.", metavar="FILE")
    ] = None,
    musicxml: Annotated[
        Path | None,
        typer.Option("--musicxml", help="Write notation here, for MuseScore.", metavar="FILE"),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", help="A folder for both; else the current one.", metavar="DIR"),
    ] = None,
) -> None:
    """Draw a MIDI file as a piano roll, play it into a WAV file, write it as notation.

    MusicXML, ABC and kern are read as well. Without options a picture and a sound file are written
    into the current folder, or the folder of -o, under new names. Prints the names of the files.

    Example: `megatron-music render ~/midi/song.mid -o pictures`
    """
    from megatron_music.files import check_suffix, free_stem, refuse_overwriting
    from megatron_music.formatting import printable
    from megatron_music.score.bar_layout import in_own_bars, other_metres
    from megatron_music.score.metre import METRES
    from megatron_music.score.music_file import read_music
    from megatron_music.score.musicxml_writer import WRITTEN_SUFFIXES, write_musicxml
    from megatron_music.score.pianoroll import draw_piano_roll
    from megatron_music.score.quantize import quantize

    if output is not None and (png or wav or musicxml):
        raise UsageError("-o names a folder, --png, --wav and --musicxml name files; give either")
    if not (png or wav or musicxml):
        stem = free_stem(output or Path(), file.stem, ("png", "wav"))
        png, wav = (stem.with_name(f"{stem.name}.{kind}") for kind in ("png", "wav"))
    outputs = [path for path in (png, wav, musicxml) if path is not None]
    if len(set(outputs)) < len(outputs):
        raise UsageError(f"two outputs are one file ({outputs[0]}); give each its own")
    refuse_overwriting(file, png, wav, musicxml)
    check_suffix(png, ".png")
    check_suffix(wav, ".wav")
    check_suffix(musicxml, *WRITTEN_SUFFIXES)
    score = read_music(file)
    if wav is not None:
        show.log(f"played with {_play(file, score, wav)}")
        print(wav)
    others = other_metres(score, METRES)
    if (png or musicxml) and others:
        show.log(f"note: {file} has bars of {others[0]}; bar lines are every four quarters")
    score = in_own_bars(score)
    if png is not None:
        piece = quantize(score, PICTURE_STEPS_PER_QUARTER)
        draw_piano_roll(piece, png, title=printable(file.stem))
        print(png)
    if musicxml is not None:
        write_musicxml(_notated(score), musicxml, title=printable(file.stem))
        print(musicxml)


def _play(file: Path, score: "Score", wav: Path) -> str:
    """Play a MIDI file as it is, other notation by a MIDI file of its notes."""
    from megatron_music.score.audio import render_audio
    from megatron_music.score.midi_writer import midi_bytes
    from megatron_music.score.notation import is_score

    if not is_score(file.name):
        return render_audio(file, wav)
    with tempfile.TemporaryDirectory() as folder:
        # The synthesizer plays MIDI files.
        midi = Path(folder) / "score.mid"
        midi.write_bytes(midi_bytes(score))
        return render_audio(midi, wav)


def _notated(score: "Score") -> "Piece":
    """Return a score on the coarsest grid that holds it: without triplets, sixteenths."""
    from megatron_music.score.quantize import quantize

    fine, coarse = quantize(score, PICTURE_STEPS_PER_QUARTER), quantize(score, 4)
    # Three steps of the fine grid are one of the coarse grid.
    times = [(track.onset % 3).any() or (track.end % 3).any() for track in fine.tracks]
    return fine if any(times) else coarse

"""The options of `sample`: a field each, as typer reads them; a field's name is its wish's."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

_BEGIN, _TASTE, _FILES = "From a piece of yours", "How boldly", "What is written"
_WORDS = "With a model of words"


@dataclass(frozen=True)
class SampleOptions:
    """What a user asks of `sample`. Fields that `Request` has go to it as they are, unless None."""

    model: Annotated[Path, Argument(help="A folder that export wrote.", metavar="HFDIR")]
    output: Annotated[
        Path | None,
        Option(
            "-o",
            help="The folder to add songs to; else `music` beside the model.",
            metavar="DIR",
        ),
    ] = None
    keep: Annotated[
        list[str] | None,
        Option(
            help="Copy this song of the folder into its `kept/`, and compose nothing; repeat.",
            metavar="SONG",
        ),
    ] = None
    data: Annotated[
        Path | None,
        Option(
            help="The training data to look for copies in; else what the run records.",
            metavar="DIR",
        ),
    ] = None
    count: Annotated[int | None, Option("-n", "--number", help="How many songs; else 4.")] = None
    best: Annotated[
        int | None, Option(help="Keep so many of --of songs, ranked by the model's critic.")
    ] = None
    of: Annotated[
        int | None, Option(help="Compose so many for --best; else 32, or twice --best.")
    ] = None
    seed: Annotated[
        int | None, Option(help="The first song's; else 7, or the one after those there.")
    ] = None
    song_ids: Annotated[
        list[int] | None,
        Option(
            "--song-id",
            help="Compose the song of this number, on any machine; repeat for more.",
            metavar="NUMBER",
        ),
    ] = None
    bars: Annotated[int | None, Option(help="Bars of each song; else as in training.")] = None
    instruments: Annotated[
        list[str] | None,
        Option(
            "--instrument",
            help="A name such as piano or 'acoustic bass', its General MIDI number 1..128, DRUMS, "
            "SOPRANO, ALTO, TENOR or BASS; repeat for more.",
            metavar="NAME",
        ),
    ] = None
    tracks: Annotated[
        int | None, Option(help="How many, of any instruments, without --prompt.")
    ] = None
    density: Annotated[
        list[str] | None,
        Option("--density", help="0 (sparse) to 9, or NAME=0..9; repeat.", metavar="LEVEL"),
    ] = None
    attributes: Annotated[
        list[str] | None,
        Option(
            "--attribute",
            help="A label that the data have: GENRE=JAZZ, or COMPOSER=BACH:0.5,HAYDN:0.5; repeat.",
            metavar="LABEL",
        ),
    ] = None
    full_bars: Annotated[
        bool, Option(help="Let the four voices sing up to each barline, as in chorales.")
    ] = True
    begin: Annotated[
        bool, Option("--begin", help="Begin like a piece, where the model knows the place in it.")
    ] = False
    end: Annotated[
        bool,
        Option("--end", help="Close with a cadence, where the model knows the place in a piece."),
    ] = False
    key: Annotated[
        str | None,
        Option(
            help="As in 'C major' or 'F# minor', best effort: new notes outside its scale are not "
            "begun (minor: natural, and the leading note), the tonic is favoured; nothing is "
            "transposed. Refused where "
            "what is kept of a prompt is in another key, unless --yes.",
            metavar="KEY",
        ),
    ] = None
    metre: Annotated[
        str | None,
        Option(
            help="As in 3/4, where the data have metres; else the model's choice. A prompt keeps "
            "its own.",
            metavar="N/D",
        ),
    ] = None
    tempo_bpm: Annotated[
        float | None,
        Option(
            "--tempo",
            help="Quarter notes a minute, throughout; else the model's choice where the data have "
            "tempi, 100 where not, or as the prompt says.",
        ),
    ] = None
    dynamics: Annotated[
        str | None,
        Option(
            help="How loud new notes are, where the data have velocities: pp, p, mp, mf, f, ff "
            "(single notes a step louder or softer), or a velocity of 1 to 127.",
            metavar="DYNAMICS",
        ),
    ] = None
    temperature: Annotated[
        float, Option(help="Above 1 bolder, below 1 safer.", rich_help_panel=_TASTE)
    ] = 1.0
    top_k: Annotated[
        int,
        Option(help="Draw from the k likeliest tokens of a kind; 0: all.", rich_help_panel=_TASTE),
    ] = 0
    top_p: Annotated[
        float,
        Option(help="Draw from the likeliest of a kind of this mass.", rich_help_panel=_TASTE),
    ] = 0.95
    min_p: Annotated[
        float,
        Option(
            help="Leave out what is below this share of the likeliest of its kind; 0: nothing.",
            rich_help_panel=_TASTE,
        ),
    ] = 0.1
    guidance: Annotated[
        float | None,
        Option(
            help="How much more than trained the structural inputs count in the choice of pitches; "
            "0: no more. Else what the model's folder says.",
            rich_help_panel=_TASTE,
        ),
    ] = None
    prompt: Annotated[
        str | None,
        Option(
            help="A MIDI or score file to begin from; all but what is composed stays as it is. "
            "For a model of words, the words that each song begins with.",
            metavar="FILE",
            rich_help_panel=_BEGIN,
        ),
    ] = None
    prompt_bars: Annotated[
        int | None,
        Option(
            help="Keep its first bars; else all, and --bars says how long.", rich_help_panel=_BEGIN
        ),
    ] = None
    drop: Annotated[
        list[str] | None,
        Option(
            help="Leave out this track, by its name or instrument; repeat.",
            metavar="NAME",
            rich_help_panel=_BEGIN,
        ),
    ] = None
    fill_bars: Annotated[
        str | None,
        Option(
            help="Compose these bars anew, as in 4-6,9.", metavar="BARS", rich_help_panel=_BEGIN
        ),
    ] = None
    fill_tracks: Annotated[
        list[str] | None,
        Option(
            help="Compose these tracks anew, by name or instrument; repeat.",
            metavar="NAME",
            rich_help_panel=_BEGIN,
        ),
    ] = None
    vary: Annotated[
        float | None, Option(help="Compose this share of its bars anew.", rich_help_panel=_BEGIN)
    ] = None
    harmonise: Annotated[
        Path | None,
        Option(
            help="A MIDI file of which one voice is kept; the others are composed around it.",
            metavar="FILE",
            rich_help_panel=_BEGIN,
        ),
    ] = None
    voice: Annotated[
        str | None,
        Option(
            help="The track to keep, if there are several; Lead=SOPRANO takes it as the soprano.",
            metavar="NAME",
            rich_help_panel=_BEGIN,
        ),
    ] = None
    roles: Annotated[
        list[str] | None,
        Option(
            "--as",
            help="Take its tracks as what the model knows: SOPRANO,ALTO,TENOR,BASS in order, or "
            "Lead=SOPRANO. Its file keeps its own instruments.",
            metavar="NAMES",
            rich_help_panel=_BEGIN,
        ),
    ] = None
    artist: Annotated[
        str | None, Option(help="Whose words they are like.", rich_help_panel=_WORDS)
    ] = None
    title: Annotated[
        str | None, Option(help="What the song is called.", rich_help_panel=_WORDS)
    ] = None
    max_tokens: Annotated[
        int | None,
        Option(help="Most tokens of a song's words; else 1024.", rich_help_panel=_WORDS),
    ] = None
    yes: Annotated[
        bool,
        Option(
            "--yes",
            help="Do what would be asked: instruments the model never met, another metre or key.",
            rich_help_panel=_BEGIN,
        ),
    ] = False

    wav: Annotated[bool, Option(help="Also write sound.", rich_help_panel=_FILES)] = True
    png: Annotated[bool, Option(help="Also draw the piano roll.", rich_help_panel=_FILES)] = True
    page: Annotated[bool, Option(help="Also write index.html.", rich_help_panel=_FILES)] = True
    musicxml: Annotated[
        bool,
        Option("--musicxml", help="Also write notation, for MuseScore.", rich_help_panel=_FILES),
    ] = False

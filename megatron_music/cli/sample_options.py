"""The options of `sample`, one field each, for typer; fields of `Request` have the same names."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, get_type_hints

from typer import Argument, Option

_BEGIN, _SAMPLING, _FILES = "Begin from a piece", "Sampling", "Output files"
_WORDS = "For a model of words"

USUAL_SONGS, FEWEST_SONGS = 32, 8
"""The number of songs that --best chooses among: unless --of says another, and at least."""


@dataclass(frozen=True)
class SampleOptions:
    """The options of `sample`. Fields that `Request` has as well are passed on, unless None."""

    model: Annotated[
        Path,
        Argument(
            help="A folder that export wrote, or `chorales`: the package's own model.",
            metavar="HFDIR",
        ),
    ]
    output: Annotated[
        Path | None,
        Option(
            "-o",
            help="The folder to add songs to; else `music` next to the model.",
            metavar="DIR",
        ),
    ] = None
    keep: Annotated[
        list[str] | None,
        Option(
            help="Copy this song of the folder into its `kept/` and compose nothing; repeatable.",
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
    count: Annotated[int | None, Option("-n", "--number", help="Number of songs; else 4.")] = None
    best: Annotated[
        int | None, Option(help="Number of songs to keep of --of, ranked by the model's critic.")
    ] = None
    of: Annotated[
        int | None,
        Option(
            help=f"Number of songs to compose for --best, {FEWEST_SONGS} or more; "
            f"else {USUAL_SONGS}, or twice --best."
        ),
    ] = None
    seed: Annotated[
        int | None, Option(help="Seed of the first song; else 7, or the next that is free.")
    ] = None
    song_ids: Annotated[
        list[int] | None,
        Option(
            "--song-id",
            help="Compose the song of this number, the same on any machine; repeatable.",
            metavar="NUMBER",
        ),
    ] = None
    bars: Annotated[int | None, Option(help="Bars of each song; else as in training.")] = None
    instruments: Annotated[
        list[str] | None,
        Option(
            "--instrument",
            help="A name such as piano or 'acoustic bass', its General MIDI number 1..128, DRUMS, "
            "SOPRANO, ALTO, TENOR or BASS; repeatable.",
            metavar="NAME",
        ),
    ] = None
    tracks: Annotated[
        int | None, Option(help="Number of tracks, of any instruments; not with --prompt.")
    ] = None
    density: Annotated[
        list[str] | None,
        Option("--density", help="0 (sparse) to 9, or NAME=0..9; repeatable.", metavar="LEVEL"),
    ] = None
    attributes: Annotated[
        list[str] | None,
        Option(
            "--attribute",
            help="A label of the training data: GENRE=JAZZ, or COMPOSER=BACH:0.5,HAYDN:0.5; "
            "repeatable.",
            metavar="LABEL",
        ),
    ] = None
    full_bars: Annotated[
        bool | None,
        Option(
            "--full-bars/--no-full-bars",
            help="Have the four voices sing up to each barline, as in chorales.",
            show_default="unless --end is given",
        ),
    ] = None
    begin: Annotated[
        bool, Option("--begin", help="Begin like a piece, if the model knows places in a piece.")
    ] = False
    end: Annotated[
        bool,
        Option("--end", help="Close like a piece, if the model knows places in a piece."),
    ] = False
    words: Annotated[
        str | None,
        Option(
            help="Compose a melody to these words, every syllable a note or more; a hyphen divides "
            "a word where you say. For a model of data with --lyrics.",
            metavar="TEXT",
        ),
    ] = None
    words_file: Annotated[
        Path | None,
        Option(help="The same of a file, a line of words to some bars.", metavar="FILE.txt"),
    ] = None
    language: Annotated[
        str | None, Option(help="Of --words, for its syllables: en, de, it, ...; else en.")
    ] = None
    upbeat: Annotated[
        int | None,
        Option(
            help="Of --words: syllables of each line before its first barline, as the A of "
            "'Amazing grace'; else 0."
        ),
    ] = None
    key: Annotated[
        str | None,
        Option(
            help="For example 'C major' or 'F# minor'. Best effort: new notes are in its scale "
            "(minor: natural, and the leading note) and the tonic is favoured; nothing is "
            "transposed. Refused if the kept part of a prompt is in another key, unless --yes.",
            metavar="KEY",
        ),
    ] = None
    metre: Annotated[
        str | None,
        Option(
            help="For example 3/4, if the training data have metres; else the model's choice. A "
            "prompt keeps its metres.",
            metavar="N/D",
        ),
    ] = None
    tempo_bpm: Annotated[
        float | None,
        Option(
            "--tempo",
            help="Quarter notes a minute, for the whole song; else that of the prompt, or the "
            "model's choice if the training data have tempi, or 100.",
        ),
    ] = None
    dynamics: Annotated[
        str | None,
        Option(
            help="Loudness of new notes, if the training data have velocities: pp, p, mp, mf, f, "
            "ff (single notes a step louder or softer), or a velocity of 1 to 127.",
            metavar="DYNAMICS",
        ),
    ] = None
    temperature: Annotated[
        float,
        Option(help="Above 1 more surprising, below 1 safer.", rich_help_panel=_SAMPLING),
    ] = 1.0
    top_k: Annotated[
        int,
        Option(
            help="Draw from the k likeliest tokens of a kind; 0: all.", rich_help_panel=_SAMPLING
        ),
    ] = 0
    top_p: Annotated[
        float,
        Option(
            help="Draw from the likeliest tokens of a kind that have this probability together.",
            rich_help_panel=_SAMPLING,
        ),
    ] = 0.95
    min_p: Annotated[
        float | None,
        Option(
            help="Leave out tokens with less than this share of the probability of the likeliest "
            "of their kind; 0: none. Else the value in the model's folder.",
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    guidance: Annotated[
        float | None,
        Option(
            help="How much more structural inputs count in the choice of pitches than in training; "
            "0: no more. Else the value in the model's folder.",
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    parallel_penalty: Annotated[
        float | None,
        Option(
            help="Nats taken from a pitch that would move in parallel fifths or octaves with "
            "another voice; 0: as the model likes. Else the value in the model's folder.",
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    prompt: Annotated[
        str | None,
        Option(
            help="A MIDI or score file to begin from; it is changed only where music is composed. "
            "For a model of words, the words that each song begins with.",
            metavar="FILE",
            rich_help_panel=_BEGIN,
        ),
    ] = None
    prompt_bars: Annotated[
        int | None,
        Option(
            help="Number of its bars to keep, from the first; else all. --bars is the length of "
            "the song.",
            rich_help_panel=_BEGIN,
        ),
    ] = None
    drop: Annotated[
        list[str] | None,
        Option(
            help="Leave out this track, by its name or instrument; repeatable.",
            metavar="NAME",
            rich_help_panel=_BEGIN,
        ),
    ] = None
    fill_bars: Annotated[
        str | None,
        Option(
            help="Compose these bars anew, for example 4-6,9.",
            metavar="BARS",
            rich_help_panel=_BEGIN,
        ),
    ] = None
    fill_tracks: Annotated[
        list[str] | None,
        Option(
            help="Compose these tracks anew, by name or instrument; repeatable.",
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
            help="A MIDI file; one voice of it is kept, the others are composed around it.",
            metavar="FILE",
            rich_help_panel=_BEGIN,
        ),
    ] = None
    voice: Annotated[
        str | None,
        Option(
            help="The track to keep or to sing, if there are several; Lead=SOPRANO: as the "
            "soprano.",
            metavar="NAME",
            rich_help_panel=_BEGIN,
        ),
    ] = None
    sing: Annotated[
        bool,
        Option(
            "--sing",
            help="Keep all its notes and compose words to its melody, --voice where it has several "
            "tracks; for a model of data with --lyrics.",
            rich_help_panel=_BEGIN,
        ),
    ] = False
    roles: Annotated[
        list[str] | None,
        Option(
            "--as",
            help="The instruments that its tracks have for the model: SOPRANO,ALTO,TENOR,BASS in "
            "order, or Lead=SOPRANO. The file keeps its instruments.",
            metavar="NAMES",
            rich_help_panel=_BEGIN,
        ),
    ] = None
    artist: Annotated[
        str | None, Option(help="The artist whose words to imitate.", rich_help_panel=_WORDS)
    ] = None
    title: Annotated[str | None, Option(help="The title of the song.", rich_help_panel=_WORDS)] = (
        None
    )
    max_tokens: Annotated[
        int | None,
        Option(help="At most this many tokens of words; else 1024.", rich_help_panel=_WORDS),
    ] = None
    yes: Annotated[
        bool,
        Option(
            "--yes",
            help="Answer yes to all questions: about instruments the model never met, another "
            "metre or key.",
            rich_help_panel=_BEGIN,
        ),
    ] = False

    wav: Annotated[bool, Option(help="Also write a sound file.", rich_help_panel=_FILES)] = True
    png: Annotated[bool, Option(help="Also draw the piano roll.", rich_help_panel=_FILES)] = True
    page: Annotated[bool, Option(help="Also write index.html.", rich_help_panel=_FILES)] = True
    musicxml: Annotated[
        bool,
        Option("--musicxml", help="Also write notation, for MuseScore.", rich_help_panel=_FILES),
    ] = False
    kar: Annotated[
        bool,
        Option("--kar", help="Also write .kar, for karaoke players.", rich_help_panel=_FILES),
    ] = False


_ONCE = ("model", "output", "keep", "seed", "song_ids")
"""Options that say which folder and which songs; the others are the same for more songs."""


def option_names() -> dict[str, str]:
    """Return what a person writes for each field, such as "--tempo"."""
    names: dict[str, str] = {}
    for name, hint in get_type_hints(SampleOptions, include_extras=True).items():
        option = hint.__metadata__[0]
        # Inside Annotated typer takes the first name for the option's default.
        declared = (option.default, *(option.param_decls or ()))
        long = [one for one in declared if isinstance(one, str) and one.startswith("--")]
        names[name] = long[0].split("/")[0] if long else f"--{name.replace('_', '-')}"
    return names


def words_for_more(options: SampleOptions) -> list[str]:
    """Return the options to give again, as words of a command, for more songs of this kind."""
    names, words = option_names(), []
    for of in fields(options):
        value, name = getattr(options, of.name), names[of.name]
        if of.name in _ONCE or value == of.default:
            continue
        if isinstance(value, bool):
            words.append(name if value else f"--no-{name.removeprefix('--')}")
            continue
        for one in value if isinstance(value, list) else [value]:
            words += [name, str(one)]
    return words

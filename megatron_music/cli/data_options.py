"""The options of `data`, most of them of `build`, as typer reads them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from typer import Argument, Option

from megatron_music.errors import UsageError

EXPRESSIVE_LEVELS = 8
"""Of velocity: as many as dynamics have in notation, which few examples teach."""

Music = Annotated[
    str,
    Argument(
        help="A collection (see `data list`), or a folder, .tar(.gz) or .zip of music; with "
        "--text a .csv, .jsonl or folder of .txt."
    ),
]
Output = Annotated[
    Path | None, Option("-o", help="The data set's folder; else data/NAME.", metavar="DIR")
]

Bars = Annotated[int | None, Option(help="Bars of a window.")]
Pieces = Annotated[
    bool | None,
    Option(
        "--pieces/--windows",
        help="Store whole pieces: training draws windows of them; or windows, once for each key.",
    ),
]
Hop = Annotated[int | None, Option(help="Bars from a window to the next; else --bars.")]
StepsPerQuarter = Annotated[int | None, Option(help="4, or 12 to hold triplets.")]
Metre = Annotated[
    str | None,
    Option(
        help="any: keep the music in any metre, with METRE tokens; or a choice, as 3/4,4/4.",
        metavar="METRES",
    ),
]
Velocity = Annotated[
    int | None,
    Option(help="VELOCITY tokens where notes get louder or softer, in 8 or 32 levels; 0: none."),
]
Tempo = Annotated[
    bool | None, Option("--tempo/--no-tempo", help="TEMPO tokens, or none: 26 to 280 in 32 steps.")
]
Lyrics = Annotated[
    bool | None,
    Option("--lyrics/--no-lyrics", help="SYLLABLE tokens: the words that notes are sung to."),
]
SyllablePieces = Annotated[
    int | None,
    Option(
        help="With --lyrics: pieces of words, such as `sch` or `ing`, that get a token of their "
        "own, the most frequent of the collection; 0: letters alone. Else 512."
    ),
]
Expressive = Annotated[
    bool, Option("--expressive", help="The same as --metre any --velocity 8 --tempo.")
]
Density = Annotated[bool | None, Option(help="Density tokens, or none.")]
Transpositions = Annotated[
    int | None, Option(help="Keys that training windows are written in; 12 for all.")
]
NoTranspositions = Annotated[
    bool, Option("--no-transpositions", help="The same as --transpositions 1.")
]
Merge = Annotated[bool | None, Option(help="Make the tracks of one instrument one, or not.")]
Voices = Annotated[
    bool | None, Option(help="Take four tracks as soprano, alto, tenor, bass, or not.")
]
Fill = Annotated[
    bool | None, Option("--fill/--no-fill", help="Add documents with bars to fill in, or not.")
]
MaxTracks = Annotated[int | None, Option(help="Most tracks of a window.")]
Shuffle = Annotated[bool | None, Option(help="Shuffle the tracks, or not.")]
Seed = Annotated[int | None, Option(help="The seed of the shuffling.")]
Split = Annotated[str | None, Option(help="Weights of the splits, such as 90,5,5.")]
Like = Annotated[
    Path | None,
    Option(
        "--like",
        help="Tokens that mean the same as this data set's; of words also as a GPT-2 folder's.",
        metavar="DIR",
    ),
]

Attributes = Annotated[
    Path | None,
    Option(
        "--attributes",
        help="A CSV of labels: file or folder, then columns such as composer, genre.",
        metavar="FILE.csv",
    ),
]
AttributesFrom = Annotated[
    str | None,
    Option(
        "--attributes-from",
        help="Label pieces by their first folder: folders, or folders=GENRE.",
        metavar="folders",
    ),
]


def token_settings(
    metre: str | None, velocity: int | None, tempo: bool | None, expressive: bool
) -> dict[str, Any]:
    """Return the settings for tokens of metre, velocity and tempo, those that the user chose.

    Raises UsageError for a metre without tokens.
    """
    from megatron_music.score.metre import ANY, parse_metres

    if expressive:
        metre = ANY if metre is None else metre
        velocity = EXPRESSIVE_LEVELS if velocity is None else velocity
        tempo = True if tempo is None else tempo
    chosen = {
        "metres": None if metre is None else parse_metres(metre),
        "velocity": velocity,
        "tempo": tempo,
    }
    return {name: value for name, value in chosen.items() if value is not None}


_WORDS = "Words without music"
Text = Annotated[
    bool,
    Option("--text", help="Build of songs' words instead of music.", rich_help_panel=_WORDS),
]
TextColumn = Annotated[
    str | None,
    Option(help="The column of the words; else lyrics, text, ...", rich_help_panel=_WORDS),
]
TitleColumn = Annotated[
    str | None,
    Option(help="The column of the title; else title, song, ...", rich_help_panel=_WORDS),
]
ArtistColumn = Annotated[
    str | None,
    Option(help="The column of the artist; else artist, singer, ...", rich_help_panel=_WORDS),
]
VocabularySize = Annotated[
    int | None,
    Option(
        "--vocabulary",
        help="The number of byte pairs; without it tokens are characters.",
        metavar="TOKENS",
        rich_help_panel=_WORDS,
    ),
]
Longest = Annotated[
    int | None,
    Option(
        help="Cut longer songs at a line's end; else 1024.",
        metavar="TOKENS",
        rich_help_panel=_WORDS,
    ),
]

Workers = Annotated[int | None, Option(help="Processes; else one a core.")]
Backend = Annotated[
    Literal["local", "ray"], Option(help="Where the workers are: here, or on a Ray cluster.")
]
Place = Annotated[
    Path | None, Option("--source", help="Where the files of a collection are.", metavar="PATH")
]
Quality = Annotated[
    bool | None,
    Option(
        "--quality/--no-quality",
        help="Leave out music that teaches nothing (no key, no rhythm, off the grid) and near "
        "duplicates, or keep all.",
    ),
]
Fetch = Annotated[bool, Option("--fetch", help="Download the collection if it is not here.")]
Force = Annotated[bool, Option("--force", help="Replace another data set.")]
Json = Annotated[bool, Option("--json", help="Print JSON for machines.")]

_SETTINGS = (
    "pieces", "bars", "hop", "steps_per_quarter", "density", "transpositions", "merge", "voices",
    "fill", "lyrics", "syllable_pieces", "max_tracks", "shuffle", "quality", "seed",
)  # fmt: skip
"""The options that are passed on as settings of a data set of music."""


@dataclass(frozen=True)
class BuildOptions:
    """What a user asks of `data build`, in the order of its help; None leaves a choice open."""

    source: Music
    output: Output = None
    pieces: Pieces = None
    bars: Bars = None
    hop: Hop = None
    steps_per_quarter: StepsPerQuarter = None
    metre: Metre = None
    velocity: Velocity = None
    tempo: Tempo = None
    lyrics: Lyrics = None
    syllable_pieces: SyllablePieces = None
    expressive: Expressive = False
    density: Density = None
    transpositions: Transpositions = None
    no_transpositions: NoTranspositions = False
    merge: Merge = None
    voices: Voices = None
    fill: Fill = None
    max_tracks: MaxTracks = None
    shuffle: Shuffle = None
    quality: Quality = None
    seed: Seed = None
    split: Split = None
    like: Like = None
    attributes: Attributes = None
    attributes_from: AttributesFrom = None
    text: Text = False
    text_column: TextColumn = None
    title_column: TitleColumn = None
    artist_column: ArtistColumn = None
    vocabulary: VocabularySize = None
    longest: Longest = None
    workers: Workers = None
    backend: Backend = "local"
    place: Place = None
    fetch: Fetch = False
    force: Force = False
    as_json: Json = False

    def settings(self) -> dict[str, Any]:
        """Return the settings that a person chose; raises UsageError."""
        chosen = {name: getattr(self, name) for name in _SETTINGS}
        if self.no_transpositions:
            if self.transpositions is not None:
                raise UsageError(
                    "--transpositions and --no-transpositions exclude each other; give one"
                )
            chosen["transpositions"] = 1
        if self.split is not None:
            try:
                chosen["split"] = tuple(int(part) for part in self.split.split(","))
            except ValueError:
                raise UsageError(
                    f"--split takes three whole weights such as 90,5,5 (got {self.split!r})"
                ) from None
        chosen |= token_settings(self.metre, self.velocity, self.tempo, self.expressive)
        return {name: value for name, value in chosen.items() if value is not None}

    def words(self) -> dict[str, Any]:
        """Return the options of words, by their names; None where a person chose nothing."""
        names = ("text_column", "title_column", "artist_column", "vocabulary", "longest")
        return {name: getattr(self, name) for name in names}

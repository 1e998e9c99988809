"""Known collections of MIDI music: what they are, where they are and how to use them."""

import difflib
from dataclasses import dataclass, field, replace

from megatron_music.data.settings import BuildSettings
from megatron_music.score.metre import ANY, parse_metres


@dataclass(frozen=True)
class Download:
    """The archive at `url`, with its size and sha256.

    Some hosts pack the archive again for each request, so that it has no fixed hash. Then the files
    in its folder `within` are checked one by one against the table `hashes` in this folder.
    """

    url: str
    file: str
    size_bytes: int = 0
    sha256: str | None = None
    within: str = ""
    hashes: str = ""


@dataclass(frozen=True)
class Collection:
    """A collection of music that has a name here.

    `embedded` collections come with the dependencies, those with a `download` can be fetched, and
    `access` says how to get the others. `where` is a page about it. `is_text` collections are words
    without music.
    """

    name: str
    title: str
    pieces: int
    size: str
    licence: str
    citation: str
    where: str
    access: str
    embedded: bool = False
    download: Download | None = None
    preferred: BuildSettings = field(default_factory=BuildSettings)
    is_text: bool = False


def _scores(name: str, title: str, pieces: int, licence: str, citation: str) -> Collection:
    """Return a collection of scores that music21 brings along."""
    return Collection(
        name=name,
        title=title,
        pieces=pieces,
        size="in music21",
        licence=licence,
        citation=citation,
        where=_INSIDE,
        access="nothing to do",
        embedded=True,
        preferred=_SCORES,
    )


_CHORALES = BuildSettings(bars=8, hop=4, transpositions=12, pieces=True)
_JS_FAKES_COMMIT = "68b476d5b265e579d87c74a68f2160f26007fa56"
_LAKH = "http://hog.ee.columbia.edu/craffel/lmd"
_LAKH_CITATION = (
    "C. Raffel, Learning-Based Methods for Comparing Sequences, with Applications to "
    "Audio-to-MIDI Alignment and Matching, PhD thesis, Columbia University, 2016"
)

_SCORES = BuildSettings(
    bars=8, hop=4, transpositions=12, merge=False, metres=parse_metres(ANY), pieces=True
)
"""Much of it is in other metres than 4/4, and in twelve keys it would be 150 million tokens."""

_MUSIC21 = "M. S. Cuthbert and C. Ariza, music21, ISMIR 2010"
_INSIDE = "inside the Python package music21"
_IN_MUSIC21 = "use it from music21, do not pass it on"

COLLECTIONS = (
    Collection(
        name="bach",
        title="Four-part chorales by J. S. Bach, Riemenschneider's 371",
        pieces=371,
        size="in music21",
        licence="the music is in the public domain; the encodings have mixed terms: use them "
        "from music21, do not pass them on",
        citation="M. S. Cuthbert and C. Ariza, music21: A Toolkit for Computer-Aided Musicology, "
        "ISMIR 2010",
        where="inside the Python package music21",
        access="nothing to do",
        embedded=True,
        preferred=_CHORALES,
    ),
    Collection(
        name="bach-sung",
        title="Bach's chorales with their German words; those without any are left out",
        pieces=371,
        size="in music21",
        licence="music and words are in the public domain; the encodings have mixed terms: "
        f"{_IN_MUSIC21}",
        citation=_MUSIC21,
        where=_INSIDE,
        access="nothing to do",
        embedded=True,
        preferred=replace(_CHORALES, lyrics=True),
    ),
    _scores(
        "palestrina",
        "Masses by Palestrina: 1,318 movements in four to six voices, note values halved",
        1_318,
        "copyright 2000 John Miller, rights to derivative electronic formats reserved; "
        f"{_IN_MUSIC21}",
        f"J. Miller's edition of Le Opere Complete, converted by B. Aarden; {_MUSIC21}",
    ),
    _scores(
        "folk",
        "Tunes: Essen's folk songs, O'Neill's, Ryan's Mammoth and Aird's dances, one voice",
        12_681,
        "Essen: its legal status is unclear, for non-commercial use and distribution in music21; "
        f"the others state none; {_IN_MUSIC21}",
        "H. Schaffrath and E. Dahlig-Turek, Essen folksong collection, in ABC by S. Shlien; "
        f"{_MUSIC21}",
    ),
    _scores(
        "renaissance",
        "Monteverdi's madrigals, songs by Josquin, music of the Trecento",
        160,
        "Josquin: GPL 2 or later, L. Conrad; Monteverdi and Trecento state none: music21 has them "
        f"by permission of the encoders, some not for commercial use; {_IN_MUSIC21}",
        _MUSIC21,
    ),
    _scores(
        "quartets",
        "String quartets by Haydn, Mozart and Beethoven",
        46,
        "the files state none: music21 has them by permission of the encoders, some not for "
        f"commercial use; {_IN_MUSIC21}",
        _MUSIC21,
    ),
    _scores(
        "scores",
        "All of music21's above, Bach's chorales included, with COMPOSER and GENRE tokens",
        14_576,
        f"those of bach, palestrina, folk, renaissance and quartets; {_IN_MUSIC21}",
        f"that of each of them; {_MUSIC21}",
    ),
    Collection(
        name="hymns",
        title="Words: verses of German hymns as sung in Bach's chorales, without the music",
        pieces=524,
        size="in music21",
        licence="the words are in the public domain (16th to 18th century); the encodings have "
        f"mixed terms: {_IN_MUSIC21}",
        citation=_MUSIC21,
        where=_INSIDE,
        access="nothing to do",
        embedded=True,
        is_text=True,
    ),
    Collection(
        name="js-fakes",
        title="JS Fake Chorales: 500 four-part chorales composed by a model",
        pieces=500,
        size="2 MB",
        licence="CC BY 4.0",
        citation="O. Peracha, JS Fake Chorales: a Synthetic Dataset of Polyphonic Music with "
        "Human Annotation, 2021 (arXiv 2107.10388)",
        where="https://github.com/omarperacha/js-fakes",
        access="megatron-music data fetch js-fakes",
        download=Download(
            url=f"https://github.com/omarperacha/js-fakes/archive/{_JS_FAKES_COMMIT}.tar.gz",
            file="js-fakes.tar.gz",
            within="midi",
            hashes="js-fakes.sha256",
        ),
        preferred=replace(_CHORALES, voices=True),
    ),
    Collection(
        name="lakh",
        title="Lakh MIDI, LMD-full",
        pieces=176_581,
        size="1.77 GB",
        licence="CC BY 4.0",
        citation=_LAKH_CITATION,
        where="https://colinraffel.com/projects/lmd/",
        access="megatron-music data fetch lakh",
        download=Download(
            url=f"{_LAKH}/lmd_full.tar.gz",
            file="lmd_full.tar.gz",
            size_bytes=1_768_163_879,
            sha256="6fcfe2ac49ca08f3f214cec86ab138d4fc4dabcd7f27f491a838dae6db45a12b",
        ),
    ),
    Collection(
        name="lakh-clean",
        title="Lakh MIDI, the clean subset: files named by artist and title",
        pieces=17_256,
        size="234 MB",
        licence="CC BY 4.0",
        citation=_LAKH_CITATION,
        where="https://colinraffel.com/projects/lmd/",
        access="megatron-music data fetch lakh-clean",
        download=Download(
            url=f"{_LAKH}/clean_midi.tar.gz",
            file="clean_midi.tar.gz",
            size_bytes=234_283_029,
            sha256="de1bb64cbc0cf35545a05b5c3e786aa6890cfa144edffc4b827ff41bf8c33dc5",
        ),
    ),
    Collection(
        name="metamidi",
        title="MetaMIDI",
        pieces=436_631,
        size="many GB",
        licence="for research, on request; neither the files nor their tokens may be passed on",
        citation="J. Ens and P. Pasquier, Building the MetaMIDI Dataset: Linking Symbolic and "
        "Audio Musical Data, ISMIR 2021",
        where="https://zenodo.org/record/5142664",
        access="it is handed out on request: ask for access on https://zenodo.org/record/5142664, "
        "saying who you are and what research it is for; download its archive of MIDI files; then "
        "give the path: make pretrain DATASET=metamidi SOURCE=PATH, or "
        "megatron-music data build metamidi --source PATH -o DIR",
    ),
)


def collection_named(name: str) -> Collection | None:
    """Return the collection of this name, if there is one."""
    return next((known for known in COLLECTIONS if known.name == name.lower()), None)


def nearest_names(name: str) -> list[str]:
    """Return names of collections similar to `name`, the most similar first."""
    names = [known.name for known in COLLECTIONS]
    return difflib.get_close_matches(name.lower(), names, n=2, cutoff=0.5)

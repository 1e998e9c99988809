"""Known collections of MIDI music: what they are, where they are and how to use them."""

import difflib
from dataclasses import dataclass, field

from megatron_music.data.settings import BuildSettings


@dataclass(frozen=True)
class Collection:
    """A collection of music that has a name here.

    `embedded` collections come with the dependencies; the others are downloaded from `where` and
    built from their folder. `sha256` is that of the archive, where it is known.
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
    sha256: str | None = None
    preferred: BuildSettings = field(default_factory=BuildSettings)


_CHORALES = BuildSettings(bars=8, hop=4, transpositions=12)

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
        name="js-fakes",
        title="JS Fake Chorales: 500 four-part chorales composed by a model",
        pieces=500,
        size="2 MB",
        licence="CC BY 4.0",
        citation="O. Peracha, JS Fake Chorales: a Synthetic Dataset of Polyphonic Music with "
        "Human Annotation, 2021 (arXiv 2107.10388)",
        where="https://github.com/omarperacha/js-fakes "
        "(commit 68b476d5b265e579d87c74a68f2160f26007fa56)",
        access="clone the repository and give its folder `midi`",
    ),
    Collection(
        name="lakh",
        title="Lakh MIDI, LMD-full",
        pieces=176_581,
        size="1.77 GB",
        licence="CC BY 4.0",
        citation="C. Raffel, Learning-Based Methods for Comparing Sequences, with Applications to "
        "Audio-to-MIDI Alignment and Matching, PhD thesis, Columbia University, 2016",
        where="http://hog.ee.columbia.edu/craffel/lmd/lmd_full.tar.gz",
        access="download the archive, unpack it and give its folder",
        sha256="6fcfe2ac49ca08f3f214cec86ab138d4fc4dabcd7f27f491a838dae6db45a12b",
    ),
    Collection(
        name="lakh-clean",
        title="Lakh MIDI, the clean subset: files named by artist and title",
        pieces=17_256,
        size="234 MB",
        licence="CC BY 4.0",
        citation="C. Raffel, Learning-Based Methods for Comparing Sequences, with Applications to "
        "Audio-to-MIDI Alignment and Matching, PhD thesis, Columbia University, 2016",
        where="http://hog.ee.columbia.edu/craffel/lmd/clean_midi.tar.gz",
        access="download the archive, unpack it and give its folder",
        sha256="de1bb64cbc0cf35545a05b5c3e786aa6890cfa144edffc4b827ff41bf8c33dc5",
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
        access="ask for access on that page, download, unpack and give the folder",
    ),
)


def collection_named(name: str) -> Collection | None:
    """Return the collection of this name, if there is one."""
    return next((known for known in COLLECTIONS if known.name == name.lower()), None)


def nearest_names(name: str) -> list[str]:
    """Return the names that someone who wrote `name` may have meant, the likeliest first."""
    names = [known.name for known in COLLECTIONS]
    return difflib.get_close_matches(name.lower(), names, n=2, cutoff=0.5)

"""The collections inside the music21 package: their files, composers and genres.

Pieces are read from the installed package, whose terms apply. Nothing is downloaded, and this
repository holds none of them.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from megatron_music.data.records import Refusal
from megatron_music.data.sources.item import FileItem, Item
from megatron_music.data.sources.labels import Labels
from megatron_music.data.sources.score_cache import cached, cached_score
from megatron_music.errors import MissingError
from megatron_music.score.abc_tunes import split_tunes
from megatron_music.score.instruments import VOICES
from megatron_music.score.metre import METRES, SIXTEENTHS, parse_metre
from megatron_music.score.music21_stream import as_track, halved, ticks_of_notes
from megatron_music.score.notes import Metre, Score
from megatron_music.score.repeats import TICKS_PER_QUARTER, ticks
from megatron_music.tokenizer.attributes import UNKNOWN, as_word

FAMILIES = ("COMPOSER", "GENRE")

_DANCES = ("HORNPIPE", "STRATHSPEY", "WALTZ", "MARCH", "CLOG", "JIG", "REEL", "AIR")
_CREATOR = re.compile(rb"type=\"composer\">([^<]*)<")
_HEAD_BYTES = 16_384


@dataclass(frozen=True, slots=True)
class CorpusScore(FileItem):
    """A piece of music21's corpus, by its file there; a tune of one is counted from 1.

    Where `is_parts` the tunes of an ABC file are the parts of one piece. Note values of old music
    are halved, as modern editions print them.
    """

    file: str
    tune: int = 0
    is_vocal: bool = False
    is_parts: bool = False

    @property
    def name(self) -> str:  # type: ignore[override]
        """The file within the corpus, followed by the number of the tune."""
        return f"{self.file}#{self.tune}" if self.tune else self.file

    @property
    def is_one_piece(self) -> bool:
        """True: the tunes of this ABC file have been separated."""
        return True

    def raw(self) -> bytes:
        """Return the bytes of the file or the tune; raises Refusal."""
        try:
            raw = (corpus_folder() / self.file).read_bytes()
        except OSError as fault:
            raise Refusal("unreadable", fault.strerror or str(fault)) from None
        return split_tunes(raw)[self.tune - 1] if self.tune else raw

    def parse(self, raw: bytes) -> Score:
        """Return the piece, or what was kept of it; raises ScoreError."""
        if not self.is_parts:
            return halved(cached_score(raw, self.name, is_vocal=self.is_vocal))
        parts = [cached_score(tune, self.file, is_vocal=self.is_vocal) for tune in split_tunes(raw)]
        tracks = tuple(track for part in parts for track in part.tracks)
        return halved(Score(parts[0].ticks_per_quarter, tracks, parts[0].metres))


Label = tuple[str, str]
"""A composer and a genre."""


@dataclass(frozen=True)
class _Part:
    """Files of the corpus: a pattern of paths, and the composer and genre of what is in them."""

    pattern: str
    label: Callable[[Path, bytes], Label]
    is_vocal: bool = False
    is_parts: bool = False
    left_out: str = "$."


def _always(composer: str, genre: str) -> Callable[[Path, bytes], Label]:
    return lambda _path, _raw: (composer, genre)


def _dance(path: Path, raw: bytes) -> Label:
    """Tell a dance by the tune's rhythm field, or by the name of its file."""
    field = re.search(rb"^R:\s*(.*)$", raw, re.MULTILINE)
    text = f"{field[1].decode('latin-1') if field else ''} {path.stem}".upper()
    return "TRADITIONAL", next((dance for dance in _DANCES if dance in text), "DANCE")


def _credited(path: Path, _raw: bytes) -> Label:
    """Tell a composer of the Trecento by what the score says."""
    with path.open("rb") as file:
        found = _CREATOR.search(file.read(_HEAD_BYTES))
    name = re.sub(r"\(.*\)", "", found[1].decode("utf-8", "replace")) if found else ""
    return UNKNOWN if name.lower().startswith("anonym") else as_word(name), "TRECENTO"


_QUARTET = "QUARTET"
_PARTS: dict[str, tuple[_Part, ...]] = {
    "palestrina": (_Part("palestrina/*.krn", _always("PALESTRINA", "MASS")),),
    "folk": (
        # The last four are tests of the encoders.
        _Part("essenFolksong/*.abc", _always("TRADITIONAL", "FOLK_SONG"), left_out="^(test|vari)"),
        _Part("oneills1850/*.abc", _dance),
        _Part("ryansMammoth/*.abc", _dance),
        _Part("airdsAirs/*.abc", _dance),
    ),
    "renaissance": (
        _Part("monteverdi/*.mxl", _always("MONTEVERDI", "MADRIGAL"), is_vocal=True),
        _Part("josquin/*.abc", _always("JOSQUIN", "CHANSON"), is_vocal=True, is_parts=True),
        _Part("trecento/*.*", _credited, is_vocal=True, left_out=r".*\.(txt|pdf)$"),
    ),
    "quartets": (
        _Part("beethoven/**/*.mxl", _always("BEETHOVEN", _QUARTET)),
        _Part("haydn/**/*.mxl", _always("HAYDN", _QUARTET)),
        # k545 is a sonata for the piano.
        _Part("mozart/k[!5]*/*.mxl", _always("MOZART", _QUARTET)),
    ),
}
_PARTS["scores"] = tuple(part for parts in _PARTS.values() for part in parts)

NAMES = tuple(_PARTS)
"""Of collections, `bach` aside."""


@lru_cache(maxsize=1)
def corpus_folder() -> Path:
    """Return the folder of the corpus, without importing music21, which takes a second."""
    spec = find_spec("music21")
    if spec is None or not spec.submodule_search_locations:
        raise MissingError("music21 is not installed; install it: pip install music21")
    return Path(spec.submodule_search_locations[0]) / "corpus"


def list_corpus(names: Sequence[str]) -> tuple[Sequence[Item], Labels]:
    """Return the pieces of collections, and the composer and genre of each.

    ABC files are opened for their tunes.
    """
    rows: dict[str, Label] = {}
    items: list[Item] = []
    for name in names:
        if name in _CHORALES:
            for chorale in chorales(_CHORALES[name]):
                rows[chorale.name] = ("BACH", "CHORALE")
                items.append(chorale)
        for part in _PARTS.get(name, ()):
            for item, label in _of_part(part):
                rows[item.name] = label
                items.append(item)
    return items, Labels(FAMILIES, rows)


def _of_part(part: _Part) -> Iterator[tuple[CorpusScore, Label]]:
    folder = corpus_folder()
    for path in sorted(folder.glob(part.pattern)):
        if re.match(part.left_out, path.name):
            continue
        file = path.relative_to(folder).as_posix()
        if path.suffix == ".abc" and not part.is_parts:
            tunes = split_tunes(path.read_bytes())
            for number, tune in enumerate(tunes, 1):
                place = number if len(tunes) > 1 else 0
                yield CorpusScore(file, place, part.is_vocal), part.label(path, tune)
        else:
            item = CorpusScore(file, 0, part.is_vocal, part.is_parts)
            yield item, part.label(path, b"")


CHORALES_PER_SHARD = 8


@dataclass(frozen=True)
class Chorale:
    """One of the 371 chorales: its number in Riemenschneider's edition and music21's work name.

    The edition has some works twice, so that some numbers are the same music.
    """

    number: int
    work: str

    @property
    def name(self) -> str:
        """Number and work, such as `001-bwv269`."""
        return f"{self.number:03d}-{self.work.rpartition('/')[2]}"

    @property
    def path(self) -> Path:
        """The file of the work."""
        from music21 import corpus

        found = corpus.getWork(self.work)
        paths = [Path(path) for path in found] if isinstance(found, list) else [Path(found)]
        name = self.work.rpartition("/")[2]
        # music21 takes bwv248.35-3c for bwv248.35-3 and Kern before MusicXML.
        return min(
            paths,
            key=lambda path: (path.name != name + path.suffix, path.suffix != ".mxl", path.name),
        )

    def read(self) -> Score:
        """Read the chorale; raises Refusal unless it has four parts in one metre."""
        path = self.path

        def parsed() -> Score:
            from music21 import converter

            # Straight from the file: looking for a pickle and writing one take longer than parsing.
            return chorale_score(converter.parse(path, forceSource=True, storePickle=False))

        return cached(path.read_bytes(), f"chorale {path.suffix}", parsed)


class SungChorale(Chorale):
    """A chorale with its words."""

    def read(self) -> Score:
        """Read the chorale; raises Refusal where nothing is sung, too."""
        score = super().read()
        if all(track.syllables is None for track in score.tracks):
            raise Refusal("words", "the encoding has no words")
        return score


def chorales(kind: type[Chorale] = Chorale) -> list[Chorale]:
    """Return the 371 chorales in Riemenschneider's order."""
    from music21 import corpus

    works = corpus.chorales.Iterator(returnType="filename")
    return [kind(number, str(work)) for number, work in enumerate(works, 1)]


_CHORALES = {"bach": Chorale, "bach-sung": SungChorale, "scores": Chorale}
"""The collections with Bach's chorales."""


def corpus_fingerprint() -> str:
    """Name the encodings: they come with music21 and change only with it."""
    import music21

    return f"music21 {music21.__version__}"


def chorale_score(stream: Any) -> Score:
    """Return a chorale of music21 as a score of four voices; raises Refusal for another."""
    parts = [list(part.getElementsByClass("Measure")) for part in stream.parts]
    signs = (
        sign.ratioString
        for measures in parts
        for measure in measures
        for sign in measure.getElementsByClass("TimeSignature")
    )
    metres = sorted(set(signs))
    if len(metres) != 1 or metres[0] not in map(str, METRES):
        raise Refusal(
            "metre", f"{', '.join(metres) or 'no'} metre; only one throughout is modelled"
        )
    metre = parse_metre(metres[0])
    if len(parts) != len(VOICES):
        raise Refusal("parts", f"{len(parts)} parts; a chorale has {len(VOICES)}")
    bar = metre.sixteenths * TICKS_PER_QUARTER // SIXTEENTHS
    # Silence fills a pick-up bar from the left.
    pad = -ticks(parts[0][0].duration.quarterLength) % bar
    for measure in parts[0]:
        # A bar may be split by a repeat, but a whole one must begin on a barline.
        whole = ticks(measure.duration.quarterLength) == bar
        if whole and (ticks(measure.offset) + pad) % bar:
            raise Refusal(
                "barlines", f"measure {measure.number} does not begin on a barline of {metre}"
            )
    tracks = (
        as_track(instrument, [note.moved(pad) for note in ticks_of_notes(part)])
        for instrument, part in zip(VOICES, parts, strict=True)
    )
    return Score(TICKS_PER_QUARTER, tuple(tracks), (Metre(0, *metre),))

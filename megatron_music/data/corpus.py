"""Collections inside the music21 package: which files they are, by whom, of which genre.

Nothing is downloaded and nothing of it is kept in this repository: pieces are read from the
installed package, so their terms are those that it states.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from megatron_music.data import chorales
from megatron_music.data.items import FileItem, Item
from megatron_music.data.labels import Labels
from megatron_music.data.refusal import Refusal
from megatron_music.data.score_cache import cached_score
from megatron_music.errors import MissingError
from megatron_music.score.notes import Score
from megatron_music.score.score_file import split_tunes
from megatron_music.score.score_stream import halved
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
        """The file within the corpus, with the number of the tune behind it."""
        return f"{self.file}#{self.tune}" if self.tune else self.file

    @property
    def is_one_piece(self) -> bool:
        """Whether the tunes of an ABC file are one piece: here they have been told apart."""
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
        if name in ("bach", "scores"):
            for chorale in chorales.chorales():
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

"""Bach's chorales out of the music21 package."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_music.data.refusal import Refusal
from megatron_music.score.instruments import VOICES
from megatron_music.score.metre import METRES, SIXTEENTHS, TimeSignature, parse_metre
from megatron_music.score.notes import Metre, Score
from megatron_music.score.score_stream import (
    TICKS_PER_QUARTER,
    as_track,
    ticks,
    ticks_of_notes,
)

CHORALES_PER_SHARD = 8


@dataclass(frozen=True)
class Chorale:
    """One of the 371 chorales: its number in Riemenschneider's edition and music21's work name.

    Some works stand in the edition twice, so that some numbers are the same music.
    """

    number: int
    work: str

    @property
    def name(self) -> str:
        """Number and work, such as `001-bwv269`."""
        return f"{self.number:03d}-{self.work.rpartition('/')[2]}"

    def read(self) -> Score:
        """Read the chorale; raises Refusal unless it has four parts in one metre."""
        from music21 import converter

        # Straight from the file: looking for a pickle and writing one take longer than parsing.
        return _score(converter.parse(_path(self.work), forceSource=True, storePickle=False))


def chorales() -> list[Chorale]:
    """Return the 371 chorales in Riemenschneider's order."""
    from music21 import corpus

    works = corpus.chorales.Iterator(returnType="filename")
    return [Chorale(number, str(work)) for number, work in enumerate(works, 1)]


def fingerprint() -> str:
    """Name the encodings: they come with music21 and change only with it."""
    import music21

    return f"music21 {music21.__version__}"


def _path(work: str) -> Path:
    """Find a work's file; music21 takes bwv248.35-3c for bwv248.35-3 and Kern before MusicXML."""
    from music21 import corpus

    found = corpus.getWork(work)
    paths = [Path(path) for path in found] if isinstance(found, list) else [Path(found)]
    name = work.rpartition("/")[2]
    return min(
        paths, key=lambda path: (path.name != name + path.suffix, path.suffix != ".mxl", path.name)
    )


def _score(stream: Any) -> Score:
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
    pad = _pad_ticks(parts[0], metre)
    tracks = (
        as_track(
            instrument,
            [note.moved(pad) for note in ticks_of_notes(part)],
        )
        for instrument, part in zip(VOICES, parts, strict=True)
    )
    return Score(TICKS_PER_QUARTER, tuple(tracks), (Metre(0, *metre),))


def _pad_ticks(measures: list[Any], metre: TimeSignature) -> int:
    """Return the silence that fills a pick-up bar from the left.

    A bar may be split by a repeat, but a whole one must begin on a barline.
    """
    bar = metre.sixteenths * TICKS_PER_QUARTER // SIXTEENTHS
    pad = -ticks(measures[0].duration.quarterLength) % bar
    for measure in measures:
        whole = ticks(measure.duration.quarterLength) == bar
        if whole and (ticks(measure.offset) + pad) % bar:
            raise Refusal(
                "barlines", f"measure {measure.number} does not begin on a barline of {metre}"
            )
    return pad

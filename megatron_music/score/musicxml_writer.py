"""Pieces as MusicXML: what notation programs open, with barlines, voices, key, metre, dynamics.

Reading it back and quantizing gives the piece again. The notes of a track become chords in up to
four voices, the chords are cut at barlines and into written values, and each cut is tied on.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

import numpy as np

from megatron_music.errors import UsageError
from megatron_music.files import atomic_write
from megatron_music.score.dynamics import MARKS, mark_of
from megatron_music.score.instruments import DRUMS, TENOR, general_midi_program
from megatron_music.score.key import signature, spelling
from megatron_music.score.midi_columns import US_PER_MINUTE
from megatron_music.score.midi_writer import track_names
from megatron_music.score.notes import UNTOLD, Piece, Track
from megatron_music.score.words import LINE_END, VERSE_END, split_mark

MUSICXML_SUFFIX = ".musicxml"
WRITTEN_SUFFIXES = (MUSICXML_SUFFIX, ".xml")

_MOST_VOICES = 4
"""Of a staff, in MuseScore and others."""

_ENDS = {LINE_END: "end-line", VERSE_END: "end-paragraph"}
_TYPES = ("whole", "half", "quarter", "eighth", "16th", "32nd", "64th")
_MIDDLE_C = 60
_TREBLE_CLEF = {"sign": "G", "line": 2}
_BASS_CLEF = {"sign": "F", "line": 4}
_CLEFS = {
    DRUMS: {"sign": "percussion"},
    TENOR: {**_TREBLE_CLEF, "clef-octave-change": -1},  # sung an octave lower than written
}
"""Of other instruments the clef is that of their range."""

_KICKS, _HATS = (35, 36), range(42, 60)
_KICK = {"display-step": "F", "display-octave": 4}
_HAT = {"display-step": "G", "display-octave": 5}
_DRUM = {"display-step": "C", "display-octave": 5}
_REST = -1
"""In place of a pitch."""

_PITCHED_CHANNELS = (*range(1, 10), *range(11, 17))
_DRUM_CHANNEL = 10
_FORTE = 90
"""The velocity that MusicXML counts as 100 %."""

_Content = Mapping[str, object]
"""What an element holds: texts, or contents of further elements, by their tags."""


class _Chord(NamedTuple):
    """Pitches and their velocities from one step to another; a rest has none.

    `before` and `after` are the pitches that are tied on. `mark` is a change of dynamics that
    begins here. `lyric` and `value` are what is written of words and note values; the value is
    empty until the chord is cut into written ones, and that of a rest that fills its bar.
    """

    first: int
    last: int
    pitches: tuple[int, ...] = ()
    velocities: tuple[int, ...] = ()
    before: frozenset[int] = frozenset()
    after: frozenset[int] = frozenset()
    lyric: _Content = MappingProxyType({})
    mark: str = ""
    value: _Content = MappingProxyType({})

    def cut(self, first: int, last: int, value: _Content) -> "_Chord":
        """Return the chord from one step to another, tied to what is cut off."""
        begins = first == self.first
        return _Chord(
            first,
            last,
            self.pitches,
            self.velocities,
            before=self.before if begins else frozenset(self.pitches),
            after=self.after if last == self.last else frozenset(self.pitches),
            lyric=self.lyric if begins else {},
            mark=self.mark if begins else "",
            value=value,
        )


def is_musicxml(path: Path) -> bool:
    """Tell whether a path to write has a name for MusicXML; raises UsageError for .mxl."""
    suffix = path.suffix.lower()
    if suffix == ".mxl":
        raise UsageError(f"{path}: compressed MusicXML is read, not written; name it .musicxml")
    return suffix in WRITTEN_SUFFIXES


def write_musicxml(
    piece: Piece, path: Path, tempo_bpm: float | None = None, title: str = ""
) -> None:
    """Write a piece as uncompressed MusicXML 4.0; raises WriteError.

    Without `tempo_bpm` it has its own tempi.
    """
    root = Element("score-partwise", version="4.0")
    if title:
        _add(root, "work", {"work-title": title})
    listed = SubElement(root, "part-list")
    sharps = signature(piece)
    # A score has one tempo, which is written into its first part.
    tempi = {0: tempo_bpm or US_PER_MINUTE / piece.tempo_of(0)}
    for bar in range(1, piece.bars):
        if tempo_bpm is None and piece.tempo_of(bar) != piece.tempo_of(bar - 1):
            tempi[bar] = US_PER_MINUTE / piece.tempo_of(bar)
    for number, (track, name) in enumerate(zip(piece.tracks, track_names(piece), strict=True), 1):
        part = SubElement(listed, "score-part", id=f"P{number}")
        _add(part, "part-name", name)
        # Notes of drums name their sound by its id, for on the staff several look the same.
        is_drums = track.instrument == DRUMS
        pitches = sorted(set(track.pitch.tolist())) if is_drums else []
        drums = {pitch: f"P{number}-I{pitch + 1}" for pitch in pitches}
        channel = _PITCHED_CHANNELS[(number - 1) % len(_PITCHED_CHANNELS)]
        sounds = drums or {None: f"P{number}-I1"}
        for pitch, sound in sounds.items():
            called = f"Drum {pitch}" if is_drums else name
            _add(part, "score-instrument", {"instrument-name": called}, id=sound)
        # The format wants all instruments of a part before their MIDI settings.
        for pitch, sound in sounds.items():
            midi = {
                "midi-channel": _DRUM_CHANNEL if is_drums else channel,
                "midi-program": general_midi_program(track.instrument) + 1,
                "midi-unpitched": None if pitch is None else pitch + 1,
            }
            _add(part, "midi-instrument", midi, id=sound)
        music = SubElement(root, "part", id=f"P{number}")
        _write_part(music, track, piece, drums, sharps, tempi if number == 1 else {})
    indent(root, " ")
    with atomic_write(path) as temporary:
        ElementTree(root).write(temporary, encoding="UTF-8", xml_declaration=True)


def _add(parent: Element, tag: str, content: object, **attributes: str) -> Element:
    """Add an element that holds a text, or further elements, and return it."""
    element = SubElement(parent, tag, attributes)
    if isinstance(content, Mapping):
        _fill(element, content)
    else:
        element.text = str(content)
    return element


def _fill(parent: Element, contents: _Content) -> None:
    """Add elements by their tags; those of None are left out."""
    for tag, content in contents.items():
        if content is not None:
            _add(parent, tag, content)


def _write_part(
    part: Element,
    track: Track,
    piece: Piece,
    drums: Mapping[int, str],
    sharps: int,
    tempi: Mapping[int, float],
) -> None:
    """Write the measures of a track; `drums` are the sounds of its pitches, if it is of drums.

    `tempi` are in quarters a minute, by the bars that they begin in.
    """
    starts = piece.bar_starts.tolist()
    values = _values(piece.steps_per_quarter)
    voices = [_bars(chords, starts, values) for chords in _voices(track, starts)]
    by_range = _TREBLE_CLEF if track.pitch.mean() >= _MIDDLE_C else _BASS_CLEF
    clef = _CLEFS.get(track.instrument, by_range)
    for bar in range(piece.bars):
        measure = SubElement(part, "measure", number=str(bar + 1))
        metre = piece.metre_of(bar)
        time = {"time": {"beats": metre.numerator, "beat-type": metre.denominator}}
        if bar == 0:
            key = None if drums else {"fifths": sharps}
            attributes = {"divisions": piece.steps_per_quarter, "key": key, **time, "clef": clef}
            _add(measure, "attributes", attributes)
        elif metre != piece.metre_of(bar - 1):
            _add(measure, "attributes", time)
        if bar in tempi:
            bpm = f"{tempi[bar]:g}"
            metronome = {"metronome": {"beat-unit": "quarter", "per-minute": bpm}}
            above = _add(measure, "direction", {"direction-type": metronome}, placement="above")
            SubElement(above, "sound", tempo=bpm)
        for voice, bars in enumerate(voices, 1):
            if voice > 1 and not any(chord.pitches for chord in bars[bar]):
                continue
            if voice > 1:
                # The voices of a measure are written one after another, each from its beginning.
                _add(measure, "backup", {"duration": starts[bar + 1] - starts[bar]})
            for chord in bars[bar]:
                _write_chord(measure, chord, voice, drums, sharps)
        if bar == piece.bars - 1:
            _add(measure, "barline", {"bar-style": "light-heavy"}, location="right")


def _values(steps_per_quarter: int) -> dict[int, _Content]:
    """Return the note values of a grid by their steps, the longest first; plain before triplets."""
    found: dict[int, _Content] = {}
    triplet = {"actual-notes": 3, "normal-notes": 2}
    for numerator, denominator, more in (
        (1, 1, {}),
        (3, 2, {"dot": ""}),
        (2, 3, {"time-modification": triplet}),
    ):
        for place, name in enumerate(_TYPES):
            steps, odd = divmod(4 * steps_per_quarter * numerator, denominator * 2**place)
            if steps and not odd:
                found.setdefault(steps, {"type": name, **more})
    return dict(sorted(found.items(), reverse=True))


def _voices(track: Track, starts: Sequence[int]) -> list[list[_Chord]]:
    """Spread the notes of a track over voices: chords begin and end together, none overlap.

    Where a staff has too few voices, it is one of tied chords.
    """
    columns = (track.onset, track.end, track.pitch, track.velocity)
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    groups: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for onset, end, pitch, velocity in rows:
        groups[onset, end].append((pitch, velocity))
    voices: list[list[_Chord]] = []
    # Of chords that begin together the highest comes first: it is the upper voice's.
    for (onset, end), notes in sorted(groups.items(), key=lambda of: (of[0][0], -max(of[1])[0])):
        free = next((voice for voice in voices if voice[-1].last <= onset), None)
        if free is None:
            voices.append(free := [])
        pitches, velocities = zip(*sorted(notes), strict=True)
        free.append(_Chord(onset, end, pitches, velocities))
    if len(voices) > _MOST_VOICES:
        voices = [[]]
        for first, last in pairwise(sorted({*track.onset.tolist(), *track.end.tolist()})):
            sounding = sorted((row for row in rows if row[0] <= first < row[1]), key=itemgetter(2))
            if sounding:
                _, _, pitches, velocities = zip(*sounding, strict=True)
                before = frozenset(pitch for onset, _, pitch, _ in sounding if onset < first)
                after = frozenset(pitch for _, end, pitch, _ in sounding if end > last)
                voices[0].append(_Chord(first, last, pitches, velocities, before, after))
    # Words and marks are written once, with the first voice that begins with them.
    lyrics, marks = _lyrics(track), _marks(track, starts)
    return [
        [
            chord._replace(lyric=lyrics.pop(chord.first, {}), mark=marks.pop(chord.first, ""))
            for chord in voice
        ]
        for voice in voices
    ]


def _lyrics(track: Track) -> dict[int, dict[str, str]]:
    """Return what the elements of a track's words hold, by the steps at which they are sung."""
    found = {}
    inside = False
    for onset, one in zip(track.onset.tolist(), track.sung.tolist(), strict=True):
        if one:
            text, mark = split_mark(one)
            names = ("end", "middle") if inside else ("single", "begin")
            found[onset] = {"syllabic": names[not mark], "text": text}
            if mark in _ENDS:
                found[onset][_ENDS[mark]] = ""
            inside = not mark
    return found


def _marks(track: Track, starts: Sequence[int]) -> dict[int, str]:
    """Return the dynamics of a track by the steps where they are written.

    A mark is at the first note of each bar whose notes are on average on another level than those
    of the last; each note has its own velocity as well.
    """
    known = np.flatnonzero(track.velocity != UNTOLD)
    bars = np.searchsorted(starts, track.onset[known], side="right")
    marks, last = {}, ""
    for bar in np.unique(bars):
        notes = known[bars == bar]
        mark = mark_of(round(float(track.velocity[notes].mean())))
        if mark != last:
            marks[int(track.onset[notes].min())] = last = mark
    return marks


def _bars(
    chords: Sequence[_Chord], starts: Sequence[int], values: Mapping[int, _Content]
) -> list[list[_Chord]]:
    """Fill a voice with rests, and cut it at the barlines and into written values."""
    nothing_before, nothing_after = _Chord(0, 0), _Chord(starts[-1], starts[-1])
    gaps = pairwise([nothing_before, *chords, nothing_after])
    rests = [_Chord(one.last, two.first) for one, two in gaps if one.last < two.first]
    bars: list[list[_Chord]] = [[] for _ in starts[1:]]
    for chord in sorted([*chords, *rests], key=lambda one: one.first):
        for bar in range(bisect_right(starts, chord.first) - 1, bisect_left(starts, chord.last)):
            at, end = max(chord.first, starts[bar]), min(chord.last, starts[bar + 1])
            if not chord.pitches and end - at == starts[bar + 1] - starts[bar]:
                bars[bar].append(chord.cut(at, end, {}))
                continue
            while at < end:
                # Greedy: a grid has the value of one step, so there is always one that fits.
                steps = next(steps for steps in values if steps <= end - at)
                bars[bar].append(chord.cut(at, at + steps, values[steps]))
                at += steps
    return bars


def _write_chord(
    measure: Element, chord: _Chord, voice: int, drums: Mapping[int, str], sharps: int
) -> None:
    """Write a chord or a rest of one written value."""
    if chord.mark:
        dynamics = {"direction-type": {"dynamics": {chord.mark: ""}}}
        below = _add(measure, "direction", dynamics, placement="below")
        SubElement(below, "sound", dynamics=_percent(MARKS[chord.mark]))
    for place, pitch in enumerate(chord.pitches or (_REST,)):
        note = SubElement(measure, "note")
        if place:
            SubElement(note, "chord")
        if pitch == _REST:
            SubElement(note, "rest", {} if chord.value else {"measure": "yes"})
        elif pitch in drums:
            _add(note, "unpitched", _KICK if pitch in _KICKS else _HAT if pitch in _HATS else _DRUM)
        else:
            letter, alter, octave = spelling(pitch, sharps)
            _add(note, "pitch", {"step": letter, "alter": alter or None, "octave": octave})
        if pitch != _REST and chord.velocities[place] != UNTOLD:
            note.set("dynamics", _percent(chord.velocities[place]))
        # The format has one order: length, ties as they sound, drum, voice, value, ties as written.
        _add(note, "duration", chord.last - chord.first)
        ties = ["stop"] * (pitch in chord.before) + ["start"] * (pitch in chord.after)
        note.extend(Element("tie", type=tie) for tie in ties)
        if pitch in drums:
            SubElement(note, "instrument", id=drums[pitch])
        _fill(note, {"voice": voice, **chord.value})
        if ties:
            SubElement(note, "notations").extend(Element("tied", type=tie) for tie in ties)
        if chord.lyric and not place:
            _add(note, "lyric", chord.lyric, number="1")


def _percent(velocity: int) -> str:
    """Return a velocity as MusicXML counts it: in hundredths of a forte's, which is 90."""
    return f"{100 * velocity / _FORTE:.2f}"

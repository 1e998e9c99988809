"""Pieces as MusicXML: what notation programs open, with barlines, voices, key, metre, dynamics.

Reading it back and quantizing gives the piece again. Notes that overlap are spread over up to four
voices of a staff; where that is too few, all sound in one voice of tied chords.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

import numpy as np

from megatron_music.errors import UsageError
from megatron_music.files import atomic_write
from megatron_music.score.dynamics import MARKS, mark_of
from megatron_music.score.instruments import DRUMS, TENOR, general_midi_program
from megatron_music.score.key import signature, spelling
from megatron_music.score.metre import TimeSignature
from megatron_music.score.midi_columns import US_PER_MINUTE
from megatron_music.score.midi_writer import track_names
from megatron_music.score.notes import UNTOLD, Piece, Track
from megatron_music.score.words import LINE_END, VERSE_END, split_mark

MUSICXML_SUFFIX = ".musicxml"
WRITTEN_SUFFIXES = (MUSICXML_SUFFIX, ".xml")

_ENDS = {LINE_END: "end-line", VERSE_END: "end-paragraph"}

_MOST_VOICES = 4
"""Of a staff, in MuseScore and others."""

_WHOLE_QUARTERS = 4
_TYPES = ("whole", "half", "quarter", "eighth", "16th", "32nd", "64th")
_MIDDLE_C = 60
_KICKS, _HATS = (35, 36), range(42, 60)
_PITCHED_CHANNELS = (*range(1, 10), *range(11, 17))
_DRUM_CHANNEL = 10
_FORTE = 90
"""The velocity that MusicXML counts as 100 %."""


class _Lyric(NamedTuple):
    """A syllable as it is written, and the element that says what ends after it."""

    text: str
    syllabic: str
    end: str | None


class _Chord(NamedTuple):
    """Pitches from one step of a bar to another; `before` and `after` are those tied on.

    `velocities` are those of the pitches, or none. `mark` is a change of dynamics that begins here.
    """

    first: int
    last: int
    pitches: tuple[int, ...]
    before: frozenset[int] = frozenset()
    after: frozenset[int] = frozenset()
    lyric: _Lyric | None = None
    velocities: tuple[int, ...] = ()
    mark: str = ""


class _Value(NamedTuple):
    """A written note value: its steps, name, dots, and whether three take the time of two."""

    steps: int
    name: str
    dots: int
    is_triplet: bool


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
        SubElement(SubElement(root, "work"), "work-title").text = title
    listed = SubElement(root, "part-list")
    for number, (track, name) in enumerate(zip(piece.tracks, track_names(piece), strict=True)):
        part = SubElement(listed, "score-part", id=f"P{number + 1}")
        SubElement(part, "part-name").text = name
        is_drums = track.instrument == DRUMS
        # Notes of drums name their sound by its id, for on the staff several look the same.
        sounds = sorted(set(track.pitch.tolist())) if is_drums else [None]
        for pitch in sounds:
            sound = SubElement(part, "score-instrument", id=_sound_id(number, pitch))
            SubElement(sound, "instrument-name").text = f"Drum {pitch}" if is_drums else name
        channel = _PITCHED_CHANNELS[number % len(_PITCHED_CHANNELS)]
        # The format wants all instruments of a part before their MIDI settings.
        for pitch in sounds:
            midi = SubElement(part, "midi-instrument", id=_sound_id(number, pitch))
            SubElement(midi, "midi-channel").text = str(_DRUM_CHANNEL if is_drums else channel)
            SubElement(midi, "midi-program").text = str(general_midi_program(track.instrument) + 1)
            if pitch is not None:
                SubElement(midi, "midi-unpitched").text = str(pitch + 1)
    sharps = signature(piece)
    for number, track in enumerate(piece.tracks):
        part = SubElement(root, "part", id=f"P{number + 1}")
        _write_part(part, number, track, piece, sharps, tempo_bpm)
    indent(root, " ")
    with atomic_write(path) as temporary:
        ElementTree(root).write(temporary, encoding="UTF-8", xml_declaration=True)


def _sound_id(number: int, pitch: int | None) -> str:
    return f"P{number + 1}-I{1 if pitch is None else pitch + 1}"


def _write_part(
    part: Element, number: int, track: Track, piece: Piece, sharps: int, tempo_bpm: float | None
) -> None:
    values = _values(piece.steps_per_quarter)
    starts = piece.bar_starts.tolist()
    voices = [_by_bar(chords, starts) for chords in _voices(track, starts)]
    for bar in range(piece.bars):
        steps = starts[bar + 1] - starts[bar]
        measure = SubElement(part, "measure", number=str(bar + 1))
        if bar and piece.metre_of(bar) != piece.metre_of(bar - 1):
            _write_time(SubElement(measure, "attributes"), piece.metre_of(bar))
        if bar == 0:
            _write_attributes(measure, track, piece, sharps)
        # A score has one tempo, which is written into its first part; a given one only once.
        changes = tempo_bpm is None and piece.tempo_of(bar) != piece.tempo_of(bar - 1)
        if number == 0 and (bar == 0 or changes):
            quarters = tempo_bpm or US_PER_MINUTE / piece.tempo_of(bar)
            direction = SubElement(measure, "direction", placement="above")
            metronome = SubElement(SubElement(direction, "direction-type"), "metronome")
            SubElement(metronome, "beat-unit").text = "quarter"
            SubElement(metronome, "per-minute").text = f"{quarters:g}"
            SubElement(direction, "sound", tempo=f"{quarters:g}")
        for voice, bars in enumerate(voices, 1):
            if voice > 1 and not bars[bar]:
                continue
            if voice > 1:
                # The voices of a measure are written one after another, each from its beginning.
                SubElement(SubElement(measure, "backup"), "duration").text = str(steps)
            for chord in _with_rests(bars[bar], steps):
                _write_chord(measure, chord, voice, track, number, sharps, values, steps)
        if bar == piece.bars - 1:
            line = SubElement(measure, "barline", location="right")
            SubElement(line, "bar-style").text = "light-heavy"


def _write_attributes(measure: Element, track: Track, piece: Piece, sharps: int) -> None:
    attributes = SubElement(measure, "attributes")
    SubElement(attributes, "divisions").text = str(piece.steps_per_quarter)
    is_drums = track.instrument == DRUMS
    if not is_drums:
        SubElement(SubElement(attributes, "key"), "fifths").text = str(sharps)
    _write_time(attributes, piece.metre_of(0))
    clef = SubElement(attributes, "clef")
    if is_drums:
        SubElement(clef, "sign").text = "percussion"
        return
    # Tenors read a treble clef and sing an octave lower than it is written.
    is_high = track.instrument == TENOR or track.pitch.mean() >= _MIDDLE_C
    SubElement(clef, "sign").text = "G" if is_high else "F"
    SubElement(clef, "line").text = "2" if is_high else "4"
    if track.instrument == TENOR:
        SubElement(clef, "clef-octave-change").text = "-1"


def _write_time(attributes: Element, metre: TimeSignature) -> None:
    time = SubElement(attributes, "time")
    SubElement(time, "beats").text = str(metre.numerator)
    SubElement(time, "beat-type").text = str(metre.denominator)


def _voices(track: Track, starts: Sequence[int]) -> list[list[_Chord]]:
    """Spread the notes of a track over voices: chords begin and end together, none overlap."""
    lyrics, marks = _lyrics(track), _marks(track, starts)
    groups: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for onset, end, pitch, velocity in _rows(track):
        groups[onset, end].append((pitch, velocity))
    voices: list[list[_Chord]] = []
    # Of chords that begin together the highest comes first: it is the upper voice's.
    for (onset, end), notes in sorted(
        groups.items(), key=lambda item: (item[0][0], -max(item[1])[0])
    ):
        free = next((voice for voice in voices if voice[-1].last <= onset), None)
        if free is None:
            voices.append(free := [])
        pitches, velocities = zip(*sorted(notes), strict=True)
        chord = _Chord(
            onset,
            end,
            pitches,
            lyric=lyrics.pop(onset, None),
            velocities=velocities,
            mark=marks.pop(onset, ""),
        )
        free.append(chord)
    return voices if len(voices) <= _MOST_VOICES else [_tied(track, starts)]


def _rows(track: Track) -> list[tuple[int, int, int, int]]:
    """Return onset, end, pitch and velocity of each note."""
    columns = (track.onset, track.end, track.pitch, track.velocity)
    return list(zip(*(column.tolist() for column in columns), strict=True))


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


def _lyrics(track: Track) -> dict[int, _Lyric]:
    """Return the words of a track by the steps at which they are sung."""
    found = {}
    inside = False
    for onset, one in zip(track.onset.tolist(), track.sung.tolist(), strict=True):
        if one:
            text, mark = split_mark(one)
            names = ("end", "middle") if inside else ("single", "begin")
            found[onset] = _Lyric(text, names[not mark], _ENDS.get(mark))
            inside = not mark
    return found


def _tied(track: Track, starts: Sequence[int]) -> list[_Chord]:
    """Return all notes as one voice: a chord from each begin or end to the next, tied on."""
    moments = sorted({*track.onset.tolist(), *track.end.tolist()})
    rows = _rows(track)
    lyrics, marks = _lyrics(track), _marks(track, starts)
    chords = []
    for first, last in pairwise(moments):
        sounding = sorted((row for row in rows if row[0] <= first < row[1]), key=lambda row: row[2])
        if sounding:
            chords.append(
                _Chord(
                    first,
                    last,
                    tuple(pitch for _, _, pitch, _ in sounding),
                    frozenset(pitch for onset, _, pitch, _ in sounding if onset < first),
                    frozenset(pitch for _, end, pitch, _ in sounding if end > last),
                    lyrics.get(first),
                    tuple(velocity for *_, velocity in sounding),
                    marks.get(first, ""),
                )
            )
    return chords


def _by_bar(chords: Iterable[_Chord], starts: list[int]) -> dict[int, list[_Chord]]:
    """Cut chords at the barlines; steps count from the beginning of each bar."""
    bars: dict[int, list[_Chord]] = defaultdict(list)
    for chord in chords:
        for bar in range(bisect_right(starts, chord.first) - 1, bisect_left(starts, chord.last)):
            first, last = max(chord.first, starts[bar]), min(chord.last, starts[bar + 1])
            all_pitches = frozenset(chord.pitches)
            bars[bar].append(
                _Chord(
                    first - starts[bar],
                    last - starts[bar],
                    chord.pitches,
                    all_pitches if first > chord.first else chord.before,
                    all_pitches if last < chord.last else chord.after,
                    chord.lyric if first == chord.first else None,
                    chord.velocities,
                    chord.mark if first == chord.first else "",
                )
            )
    return bars


def _with_rests(chords: Iterable[_Chord], steps: int) -> Iterator[_Chord]:
    at = 0
    for chord in chords:
        if chord.first > at:
            yield _Chord(at, chord.first, ())
        yield chord
        at = chord.last
    if at < steps:
        yield _Chord(at, steps, ())


def _write_chord(
    measure: Element,
    chord: _Chord,
    voice: int,
    track: Track,
    number: int,
    sharps: int,
    values: tuple[_Value, ...],
    steps: int,
) -> None:
    """Write a chord or a rest as note values that follow each other, notes tied."""
    if not chord.pitches and chord.last - chord.first == steps:
        rest = SubElement(measure, "note")
        SubElement(rest, "rest", measure="yes")
        SubElement(rest, "duration").text = str(steps)
        SubElement(rest, "voice").text = str(voice)
        return
    if chord.mark:
        direction = SubElement(measure, "direction", placement="below")
        dynamics = SubElement(SubElement(direction, "direction-type"), "dynamics")
        SubElement(dynamics, chord.mark)
        SubElement(direction, "sound", dynamics=_percent(MARKS[chord.mark]))
    parts = _split(chord.last - chord.first, values)
    for place, value in enumerate(parts):
        begins, ends = place == 0, place == len(parts) - 1
        for index, pitch in enumerate(chord.pitches or (None,)):
            note = SubElement(measure, "note")
            if index:
                SubElement(note, "chord")
            ties: list[str] = []
            if pitch is None:
                SubElement(note, "rest")
            else:
                _write_pitch(note, pitch, track, sharps)
                if chord.velocities[index] != UNTOLD:
                    note.set("dynamics", _percent(chord.velocities[index]))
                ties += ["stop"] * (not begins or pitch in chord.before)
                ties += ["start"] * (not ends or pitch in chord.after)
            _write_value(note, value, ties, voice)
            if track.instrument == DRUMS and pitch is not None:
                # The format wants the sound of a drum after the ties.
                after = next(i for i, child in enumerate(note) if child.tag == "voice")
                note.insert(after, Element("instrument", id=_sound_id(number, pitch)))
            if chord.lyric is not None and begins and not index:
                _write_lyric(note, chord.lyric)


def _percent(velocity: int) -> str:
    """Return a velocity as MusicXML counts it: in hundredths of a forte's, which is 90."""
    return f"{100 * velocity / _FORTE:.2f}"


def _write_lyric(note: Element, lyric: _Lyric) -> None:
    written = SubElement(note, "lyric", number="1")
    SubElement(written, "syllabic").text = lyric.syllabic
    SubElement(written, "text").text = lyric.text
    if lyric.end is not None:
        SubElement(written, lyric.end)


def _write_pitch(note: Element, pitch: int, track: Track, sharps: int) -> None:
    if track.instrument == DRUMS:
        unpitched = SubElement(note, "unpitched")
        step, octave = ("F", 4) if pitch in _KICKS else ("G", 5) if pitch in _HATS else ("C", 5)
        SubElement(unpitched, "display-step").text = step
        SubElement(unpitched, "display-octave").text = str(octave)
        return
    letter, alter, octave = spelling(pitch, sharps)
    written = SubElement(note, "pitch")
    SubElement(written, "step").text = letter
    if alter:
        SubElement(written, "alter").text = str(alter)
    SubElement(written, "octave").text = str(octave)


def _write_value(note: Element, value: _Value, ties: list[str], voice: int) -> None:
    SubElement(note, "duration").text = str(value.steps)
    for tie in ties:
        SubElement(note, "tie", type=tie)
    SubElement(note, "voice").text = str(voice)
    SubElement(note, "type").text = value.name
    for _ in range(value.dots):
        SubElement(note, "dot")
    if value.is_triplet:
        change = SubElement(note, "time-modification")
        SubElement(change, "actual-notes").text = "3"
        SubElement(change, "normal-notes").text = "2"
    if ties:
        notations = SubElement(note, "notations")
        for tie in ties:
            SubElement(notations, "tied", type=tie)


def _values(steps_per_quarter: int) -> tuple[_Value, ...]:
    """Return the note values of a grid, the longest first; plain ones before triplets."""
    found: dict[int, _Value] = {}
    for is_triplet in (False, True):
        for place, name in enumerate(_TYPES):
            for dots in (0, 1):
                # In twelfths of a step, so that all are whole.
                length = 12 * steps_per_quarter * _WHOLE_QUARTERS * (3 if dots else 2) // 2
                length = length * (2 if is_triplet else 3) // 3 // 2**place
                if length % 12 == 0 and length and not (is_triplet and dots):
                    found.setdefault(length // 12, _Value(length // 12, name, dots, is_triplet))
    return tuple(found[steps] for steps in sorted(found, reverse=True))


def _split(steps: int, values: tuple[_Value, ...]) -> list[_Value]:
    """Return note values that add up to `steps`."""
    parts: list[_Value] = []
    while steps:
        # Greedy: a grid has the value of one step, so there is always one that fits.
        parts.append(next(one for one in values if one.steps <= steps))
        steps -= parts[-1].steps
    return parts

"""Streams of music21 to scores: notes in ticks, instruments by parts' names, repeats played."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from megatron_music.errors import ScoreError
from megatron_music.score.dynamics import MARKS, velocity_at
from megatron_music.score.general_midi import PROGRAMS
from megatron_music.score.instruments import ALTO, BASS, CHOIR_PROGRAM, DRUMS, SOPRANO, TENOR
from megatron_music.score.midi_columns import DRUM_CHANNEL, US_PER_MINUTE
from megatron_music.score.notes import (
    DEFAULT_QUARTER_US,
    DEFAULT_VELOCITY,
    UNTOLD,
    Metre,
    Score,
    Tempo,
    Track,
)
from megatron_music.score.quantize import joined as as_one
from megatron_music.score.repeats import (
    MOST_MEASURES,
    TICKS_PER_QUARTER,
    place_measures,
    played_tempos,
    playing_order,
    read_measures,
    ticks,
)
from megatron_music.score.tempo import FASTEST_BPM, SLOWEST_BPM
from megatron_music.score.words import LINE_END, VERSE_END, WORD_END, stronger, syllable

USUAL_BPM = US_PER_MINUTE / DEFAULT_QUARTER_US
"""The tempo of MIDI and of notation that names none."""

WRITTEN_MARKS = {"\ue000": LINE_END, "\ue001": VERSE_END}
"""Characters put into texts for the ends of lines and verses, which music21 leaves out."""

_NO_MARKS = str.maketrans(dict.fromkeys(WRITTEN_MARKS, ""))

_NAMES_OF_VOICES = {
    SOPRANO: "soprano|sopran|cantus|canto|superius|discantus|descant|treble|triplum|dessus",
    ALTO: "alto|alt|altus|contralto|haute-contre|countertenor|mezzo-?soprano",
    TENOR: "tenor|tenore|contratenor|taille|motetus",
    BASS: "bass|bassus|basso|basse|baritone|bariton|baritono|contrabassus",
}
_NUMBER = r"(\s*[\d.]+|\s+[ivx]+|\s*\([^)]*\))*\.?"
_VOICES = {
    re.compile(rf"({names}){_NUMBER}", re.IGNORECASE): code
    for code, names in _NAMES_OF_VOICES.items()
}
_OTHER_VOICES = re.compile(
    rf"(quintus|quinto|sextus|sesto|septimus|settimo|octavus|ottavo|vagans|choir|chorus|coro|voice|"
    rf"vocals?|singer){_NUMBER}",
    re.IGNORECASE,
)
_CENTRES = {SOPRANO: 71, ALTO: 65, TENOR: 59, BASS: 52}
"""Mean pitches of the voices of Bach's chorales."""

_PIANO = 0
_CHOIRS = (_PIANO, CHOIR_PROGRAM, CHOIR_PROGRAM + 1, CHOIR_PROGRAM + 2)
"""Sounds that notation programs give to voices."""

_TITLES = {title.lower(): program for program, title in enumerate(PROGRAMS)}


class Note(NamedTuple):
    """As its source writes it: times in ticks, and whether a tie leads into it.

    The syllable is that of the first verse, which all notes of a chord have; a line ends with a
    fermata, too. The velocity is UNTOLD where neither the note nor a mark of dynamics tells it.
    """

    onset: int
    end: int
    pitch: int
    is_tied: bool
    syllable: str = ""
    ends_line: bool = False
    velocity: int = UNTOLD

    def moved(self, ticks: int) -> "Note":
        """Return the note, `ticks` later."""
        return self._replace(onset=self.onset + ticks, end=self.end + ticks)


def as_score(stream: Any, *, is_vocal: bool = False) -> Score:
    """Return the notes of a stream, its repeats played; raises ScoreError.

    Whole measures begin on barlines: a pick-up ends on one, after an incomplete measure silence
    fills the bar. Grace notes and chord symbols are left out.
    """
    given = list(getattr(stream, "parts", ())) or [stream]
    # Parts without barlines get measures, if they have notes; parts without both are left out.
    measured = (
        part if part.hasMeasures() or not part.recurse().notes else part.makeMeasures()
        for part in given
    )
    parts = [part for part in measured if part.hasMeasures()]
    if not parts:
        raise ScoreError("holds no notes; there is nothing to encode", "silent")
    if any(one.transposition for part in parts for one in part.getInstruments()):
        for part in parts:
            part.toSoundingPitch(inPlace=True)
    notes = [ticks_of_notes(part.getElementsByClass("Measure")) for part in parts]
    reference = max(parts, key=lambda part: len(part.getElementsByClass("Measure")))
    tempo_bpm, written_tempos = _tempos(stream)
    # All that is read of the parts comes before `playing_order`, which empties the measures.
    instruments = [
        instrument_of(part, [note.pitch for note in of_part], is_vocal=is_vocal)
        for part, of_part in zip(parts, notes, strict=True)
    ]
    streams = list(reference.getElementsByClass("Measure"))
    measures = read_measures(streams, parts)
    played = playing_order(reference, streams)
    if len(played) > MOST_MEASURES:
        raise ScoreError(
            f"has {len(played)} measures with its repeats; the limit is {MOST_MEASURES}", "large"
        )
    starts, metres = place_measures(measures, played)
    firsts = np.array([measure.first_ticks for measure in measures])
    tracks = []
    for code, of_part in zip(instruments, notes, strict=True):
        # The notes of a part as often and where they are played.
        owners = np.searchsorted(firsts, [note.onset for note in of_part], side="right") - 1
        of_measure: dict[int, list[Note]] = defaultdict(list)
        for note, owner in zip(of_part, owners.tolist(), strict=True):
            of_measure[max(owner, 0)].append(note)
        moved = [
            note.moved(start - measures[number].first_ticks)
            for number, start in zip(played, starts, strict=True)
            for note in of_measure[number]
        ]
        tracks.append(as_track(code, sorted(moved)))
    return Score(
        TICKS_PER_QUARTER,
        _with_staves_joined(tracks, parts),
        tuple(metres),
        tempo_bpm,
        tempos=played_tempos(written_tempos, measures, played, starts),
    )


def ticks_of_notes(measures: Iterable[Any]) -> list[Note]:
    """Return the notes of a part's measures that last, in order."""
    notes: list[Note] = []
    marks: list[tuple[int, int]] = []
    for measure in measures:
        start = ticks(measure.offset)
        for stream, first in [
            (measure, start),
            *((voice, start + ticks(voice.offset)) for voice in measure.voices),
        ]:
            for element in stream.notes:
                if "Harmony" in element.classes:  # a chord symbol: read, not sung
                    continue
                onset = first + ticks(element.offset)
                end = onset + ticks(element.duration.quarterLength)
                text, ends_line = syllable_of(element), ends_with_fermata(element)
                for pitch, tie, velocity in _sounds(element):
                    is_tied = tie is not None and tie.type in ("stop", "continue")
                    notes.append(Note(onset, end, pitch, is_tied, text, ends_line, velocity))
            marks += [
                (first + ticks(mark.offset), MARKS[mark.value])
                for mark in stream.getElementsByClass("Dynamic")
                if mark.value in MARKS  # no accents as sfz: they do not hold on
            ]
    marks.sort()
    if marks:
        # A note is as loud as the last mark says; before the first, as if there were none.
        notes = [
            note._replace(velocity=velocity_at(note.onset, marks) or DEFAULT_VELOCITY)
            if note.velocity == UNTOLD
            else note
            for note in notes
        ]
    return sorted(note for note in notes if note.onset < note.end)


def _sounds(element: Any) -> Iterator[tuple[int, Any, int]]:
    """Give the pitches of a note, chord or stroke, with their ties and velocities."""
    stated = element.volume.velocity if element.hasVolumeInformation() else None
    velocity = UNTOLD if stated is None else max(1, stated)
    if "ChordBase" in element.classes:
        for one in element.notes:
            for pitch, tie, own in _sounds(one):
                yield pitch, tie or element.tie, own or velocity
    elif "Unpitched" in element.classes:
        drum = getattr(element.storedInstrument, "percMapPitch", None)
        if drum is not None:
            yield int(drum), element.tie, velocity
    else:
        yield int(element.pitch.midi), element.tie, velocity


def syllable_of(element: Any) -> str:
    """Return the first verse's syllable of a note or chord of music21."""
    lyrics = sorted(element.lyrics, key=lambda lyric: lyric.number)
    if not lyrics or not lyrics[0].text:
        return ""
    written, text = lyrics[0], lyrics[0].text
    mark = next((WRITTEN_MARKS[end] for end in WRITTEN_MARKS if end in text), WORD_END)
    goes_on = written.syllabic in ("begin", "middle")
    return syllable(text.translate(_NO_MARKS), "" if goes_on else mark)


def ends_with_fermata(element: Any) -> bool:
    """Tell whether a note or chord of music21 has a fermata, as at the ends of lines in hymns."""
    return any("Fermata" in one.classes for one in element.expressions)


def _tempos(stream: Any) -> tuple[float, list[Tempo]]:
    """Return the tempo that a stream begins at, and all that are written in it, by their ticks."""
    written: dict[int, float] = {}
    for mark in stream.recurse().getElementsByClass("MetronomeMark"):
        bpm = mark.getQuarterBPM()
        if bpm and SLOWEST_BPM <= bpm <= FASTEST_BPM:
            # Of the marks of several parts at one place the first counts.
            written.setdefault(ticks(mark.getOffsetInHierarchy(stream)), float(bpm))
    # A mark of the first bar counts from the beginning. Before a later one nothing is told.
    if written and min(written) >= 4 * TICKS_PER_QUARTER:
        written = {0: USUAL_BPM} | written
    first = next(iter(written.values()), USUAL_BPM)
    return first, [Tempo(at, round(US_PER_MINUTE / written[at])) for at in sorted(written)]


def instrument_of(part: Any, pitches: Sequence[int], *, is_vocal: bool) -> int:
    """Return the code of a part of music21's; with `is_vocal` an unknown part is a voice."""
    instrument = part.getInstrument(returnDefault=False)
    written = [part.partName, getattr(instrument, "instrumentName", None)]
    names = [str(name).strip() for name in written if name]
    # music21 makes a piano of each kind of piano, and drums of an agogo by their names.
    titled = next((_TITLES[name.lower()] for name in names if name.lower() in _TITLES), None)
    if instrument is not None and (
        instrument.midiChannel == DRUM_CHANNEL
        or (titled is None and getattr(instrument, "percMapPitch", None) is not None)
    ):
        return DRUMS
    program = None if instrument is None else instrument.midiProgram
    if program is None or program in _CHOIRS:
        for name in names:
            for pattern, code in _VOICES.items():
                if pattern.fullmatch(name):
                    return code
            if _OTHER_VOICES.fullmatch(name):
                return nearest_voice(pitches)
    if is_vocal:
        return nearest_voice(pitches)
    if titled is not None:
        return titled
    if program is None:
        program = next((found for name in names if (found := _program(name)) is not None), _PIANO)
    return int(program)


def nearest_voice(pitches: Sequence[int]) -> int:
    """Return the voice that sings in a part's range."""
    mean = sum(pitches) / max(1, len(pitches))
    return min(_CENTRES, key=lambda code: abs(_CENTRES[code] - mean))


def _program(name: str) -> int | None:
    """Return the General MIDI program of an instrument that music21 knows by this name."""
    from music21 import exceptions21, instrument

    try:
        program = instrument.fromString(name).midiProgram
    except (exceptions21.Music21Exception, ValueError):
        return None
    return None if program is None else int(program)


def as_track(instrument: int, notes: list[Note]) -> Track:
    """Make a track of notes, those of one tie as one."""
    whole: list[list[int]] = []
    last_of_pitch: dict[int, list[int]] = defaultdict(lambda: [0, -1, 0, UNTOLD])
    sung: list[str] = []
    latest = 0  # the syllable whose line a fermata ends
    for onset, end, pitch, tied, text, ends_line, velocity in notes:
        last = last_of_pitch[pitch]
        if tied and last[1] == onset:
            last[1] = end
        else:
            whole.append([onset, end, pitch, velocity])
            last_of_pitch[pitch] = whole[-1]
            sung.append(text)
            latest = len(sung) - 1 if text else latest
        if ends_line and sung[latest].endswith(WORD_END):
            sung[latest] = stronger(sung[latest], LINE_END)
    columns = np.array(whole, np.int64).reshape(-1, 4).T
    if columns[3].any():  # either all notes of a track have velocities, or none
        columns[3][columns[3] == UNTOLD] = DEFAULT_VELOCITY
    syllables = np.array(sung, np.str_) if any(sung) else None
    return Track(instrument, columns[0], columns[1], columns[2], columns[3], syllables)


def _with_staves_joined(tracks: Sequence[Track], parts: Sequence[Any]) -> tuple[Track, ...]:
    """Join the staves of one part, such as the hands of a piano; leave out silent tracks."""
    joined: dict[object, list[Track]] = {}
    for place, (track, part) in enumerate(zip(tracks, parts, strict=True)):
        staff = str(part.id).partition("-Staff")
        is_staff = bool(staff[1]) and "PartStaff" in part.classes
        joined.setdefault(staff[0] if is_staff else place, []).append(track)
    return tuple(
        as_one(group[0].instrument, group) for group in joined.values() if any(map(len, group))
    )


def halved(score: Score) -> Score:
    """Return a score whose note values are half as long, as modern editions of old music print it.

    Only where its beats are minims or longer and a bar has more than four quarters: 4/2 becomes
    4/4, 3/1 becomes 6/4, and what is in 4/4 stays.
    """
    long_bars = [
        metre.denominator <= 2 and 4 * metre.numerator > 4 * metre.denominator
        for metre in score.metres
    ]
    if not any(long_bars):
        return score
    tracks = tuple(
        replace(track, onset=track.onset // 2, end=track.end // 2) for track in score.tracks
    )
    metres = tuple(
        Metre(
            metre.onset_ticks // 2,
            metre.numerator * (2 if metre.denominator == 1 else 1),
            4 if metre.denominator <= 2 else 2 * metre.denominator,
        )
        for metre in score.metres
    )
    tempos = tuple(replace(tempo, onset_ticks=tempo.onset_ticks // 2) for tempo in score.tempos)
    return replace(score, tracks=tracks, metres=metres, tempos=tempos)

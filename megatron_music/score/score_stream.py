"""Streams of music21 to scores: notes in ticks, barlines on a grid, repeats played."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from megatron_music.errors import ScoreError
from megatron_music.score.dynamics import MARKS, velocity_at
from megatron_music.score.metre import check_metre
from megatron_music.score.midi_columns import US_PER_MINUTE
from megatron_music.score.notes import (
    DEFAULT_QUARTER_US,
    DEFAULT_VELOCITY,
    UNTOLD,
    Metre,
    Score,
    Tempo,
    Track,
)
from megatron_music.score.part_names import instrument_of
from megatron_music.score.quantize import joined as as_one
from megatron_music.score.tempo import FASTEST_BPM, SLOWEST_BPM, tempos_at
from megatron_music.score.words import LINE_END, VERSE_END, WORD_END, stronger, syllable

TICKS_PER_QUARTER = 10_080
"""Holds 128ths, triplets, quintuplets and septuplets exactly."""

USUAL_BPM = US_PER_MINUTE / DEFAULT_QUARTER_US
"""The tempo of MIDI and of notation that names none."""

WRITTEN_MARKS = {"\ue000": LINE_END, "\ue001": VERSE_END}
"""Characters put into texts for the ends of lines and verses, which music21 leaves out."""

_NO_MARKS = str.maketrans(dict.fromkeys(WRITTEN_MARKS, ""))

MOST_MEASURES = 8_000
"""With repeats played: more is damage."""


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


class _Measure(NamedTuple):
    """A measure as it is written: where it begins, how long it and a bar of its metre are."""

    first_ticks: int
    length_ticks: int
    bar_ticks: int
    metre: tuple[int, int]


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
    # All that is read of the parts comes before `_order`, which empties the measures.
    instruments = [
        instrument_of(part, [note.pitch for note in of_part], is_vocal=is_vocal)
        for part, of_part in zip(parts, notes, strict=True)
    ]
    streams = list(reference.getElementsByClass("Measure"))
    measures = _measures(streams, parts)
    played = _order(reference, streams)
    if len(played) > MOST_MEASURES:
        raise ScoreError(
            f"has {len(played)} measures with its repeats; the limit is {MOST_MEASURES}", "large"
        )
    starts, metres = _on_barlines(measures, played)
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
        tempos=_played_tempos(written_tempos, measures, played, starts),
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
                if "Harmony" not in element.classes:  # a chord symbol: read, not sung
                    notes += _notes_of(element, first + ticks(element.offset))
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


def _notes_of(element: Any, onset: int) -> Iterator[Note]:
    """Give the notes of a note, chord or stroke."""
    end = onset + ticks(element.duration.quarterLength)
    text, ends_line = syllable_of(element), ends_with_fermata(element)
    for pitch, tie, velocity in _sounds(element):
        is_tied = tie is not None and tie.type in ("stop", "continue")
        yield Note(onset, end, pitch, is_tied, text, ends_line, velocity)


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
    """Return the syllable of a note or chord of music21's: that of the first verse."""
    lyrics = sorted(element.lyrics, key=lambda lyric: lyric.number)
    if not lyrics or not lyrics[0].text:
        return ""
    written, text = lyrics[0], lyrics[0].text
    mark = next((WRITTEN_MARKS[end] for end in WRITTEN_MARKS if end in text), WORD_END)
    goes_on = written.syllabic in ("begin", "middle")
    return syllable(text.translate(_NO_MARKS), "" if goes_on else mark)


def ends_with_fermata(element: Any) -> bool:
    """Tell whether a note or chord of music21's is held: so the lines of hymns end."""
    return any("Fermata" in one.classes for one in element.expressions)


def as_track(instrument: int, notes: list[Note]) -> Track:
    """Make a track of notes, those of one tie as one."""
    whole: list[list[int]] = []
    last_of_pitch: dict[int, list[int]] = defaultdict(lambda: [0, -1, 0, UNTOLD])
    sung: list[str] = []
    latest = 0  # of the syllables, the one that a fermata ends the line of
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


def _measures(streams: Sequence[Any], parts: Sequence[Any]) -> tuple[_Measure, ...]:
    signs = {
        ticks(measure.offset): sign
        for part in reversed(parts)
        for measure in part.getElementsByClass("Measure")
        for sign in measure.getElementsByClass("TimeSignature")
    }
    firsts = [ticks(measure.offset) for measure in streams]
    last = streams[-1]
    ends = [*firsts[1:], firsts[-1] + ticks(last.duration.quarterLength)]
    metre, made = None, []
    for first, end in zip(firsts, ends, strict=True):
        metre = signs.get(first, metre)
        if metre is None:
            raise ScoreError("has no time signature; write one", "metre")
        names = (int(metre.numerator), int(metre.denominator))
        check_metre(*names)
        bar = names[0] * 4 * TICKS_PER_QUARTER // names[1]
        made.append(_Measure(first, end - first, bar, names))
    return tuple(made)


def _order(part: Any, streams: Sequence[Any]) -> tuple[int, ...]:
    """Return the measures in the order they are played; as written where repeats make no sense."""
    from music21 import bar, repeat

    marks = ("Repeat", "RepeatExpression")
    if not any(
        any(isinstance(line, bar.Repeat) for line in (measure.leftBarline, measure.rightBarline))
        or any(measure.getElementsByClass(marks))
        for measure in streams
    ):
        return tuple(range(len(streams)))
    for number, measure in enumerate(streams):
        measure.number, measure.numberSuffix = number, None  # else numbers may repeat
        measure.removeByClass(("GeneralNote", "Voice"))  # the expander copies what it repeats
    _begin_repeats(part, streams)
    try:
        return tuple(repeat.Expander(part).measureMap())
    except (repeat.ExpanderException, KeyError):
        return tuple(range(len(streams)))


def _begin_repeats(part: Any, streams: Sequence[Any]) -> None:
    """Write where a repeat begins that only has an end: after the one before, and its endings.

    Music21 plays from the beginning of the piece again.
    """
    from music21 import bar, spanner

    places = {id(measure): place for place, measure in enumerate(streams)}
    last_of_ending: dict[int, int] = {}
    for bracket in part.recurse().getElementsByClass(spanner.RepeatBracket):
        spanned = [places[id(one)] for one in bracket.getSpannedElements() if id(one) in places]
        last_of_ending |= dict.fromkeys(spanned, max(spanned, default=0))
    begin, is_open, place = 0, True, 0  # the first repeat may begin with the piece
    while place < len(streams):
        measure = streams[place]
        left, right = measure.leftBarline, measure.rightBarline
        is_open |= isinstance(left, bar.Repeat) and left.direction == "start"
        if isinstance(right, bar.Repeat) and right.direction == "end":
            if not is_open:
                streams[begin].leftBarline = bar.Repeat(direction="start")
            if place in last_of_ending:
                # Further endings of the same repeat follow the first.
                while place + 1 in last_of_ending:
                    place = last_of_ending[place + 1]
            begin, is_open = place + 1, False
        place += 1


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


def _played_tempos(
    written: Sequence[Tempo],
    measures: Sequence[_Measure],
    played: Sequence[int],
    starts: Sequence[int],
) -> tuple[Tempo, ...]:
    """Return the changes of tempo as they are played; none where there is one tempo.

    A repeated measure has the tempo that is written where it begins.
    """
    if len({tempo.quarter_us for tempo in written}) < 2:
        return ()
    firsts = [measures[number].first_ticks for number in played]
    at_first = tempos_at(np.array(firsts, np.int64), written)
    found: list[Tempo] = []
    for number, start, first, quarter_us in zip(played, starts, firsts, at_first, strict=True):
        inside = range(first + 1, first + measures[number].length_ticks)
        changes = [tempo for tempo in written if tempo.onset_ticks in inside]
        for at, us in [
            (first, quarter_us),
            *((one.onset_ticks, one.quarter_us) for one in changes),
        ]:
            if not found or found[-1].quarter_us != us:
                found.append(Tempo(start + at - first, us))
    return tuple(found)


def _on_barlines(
    measures: Sequence[_Measure], played: Sequence[int]
) -> tuple[list[int], list[Metre]]:
    """Return the tick at which each played measure begins, and the metres.

    Incomplete measures follow each other until a bar is full. Where a whole measure
    comes before it is full, silence is put in: before a pick-up (at the beginning, or less than
    half a bar), after an incomplete measure.
    """
    starts: list[int] = []
    metres: list[Metre] = []
    at = base = run = 0  # `run` is the first measure since a barline, `base` where the metre began
    bar, names = measures[played[0]].bar_ticks, None
    for number in played:
        measure = measures[number]
        is_new = measure.metre != names
        filled = (at - base) % bar
        if filled and (is_new or measure.length_ticks >= measure.bar_ticks):
            if run == 0 or 2 * filled < bar:
                starts[run:] = [start + bar - filled for start in starts[run:]]
            at += bar - filled
            filled = 0
        if is_new:
            names, bar, base = measure.metre, measure.bar_ticks, at
            metres.append(Metre(at, *names))
        if not filled:
            run = len(starts)
        starts.append(at)
        at += measure.length_ticks
    return starts, metres


def ticks(quarters: float | Fraction) -> int:
    """Return quarter notes in ticks."""
    return round(quarters * TICKS_PER_QUARTER)

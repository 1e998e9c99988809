"""The measures of a score in the order they are played, each at its place among whole bars."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from megatron_music.errors import ScoreError
from megatron_music.score.metre import check_metre
from megatron_music.score.notes import Metre, Tempo
from megatron_music.score.tempo import tempos_at

TICKS_PER_QUARTER = 10_080
"""Holds 128ths, triplets, quintuplets and septuplets exactly."""

MOST_MEASURES = 8_000
"""With repeats played: more is damage."""


def ticks(quarters: float | Fraction) -> int:
    """Return quarter notes in ticks."""
    return round(quarters * TICKS_PER_QUARTER)


class Measure(NamedTuple):
    """A measure as it is written: where it begins, how long it and a bar of its metre are."""

    first_ticks: int
    length_ticks: int
    bar_ticks: int
    metre: tuple[int, int]


def read_measures(streams: Sequence[Any], parts: Sequence[Any]) -> tuple[Measure, ...]:
    """Return the measures as they are written; raises ScoreError without a time signature."""
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
        made.append(Measure(first, end - first, bar, names))
    return tuple(made)


def playing_order(part: Any, streams: Sequence[Any]) -> tuple[int, ...]:
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


def place_measures(
    measures: Sequence[Measure], played: Sequence[int]
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


def played_tempos(
    written: Sequence[Tempo],
    measures: Sequence[Measure],
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

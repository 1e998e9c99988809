"""Tracks of one instrument made one; scores onto the grid; pieces cut into windows of bars."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from megatron_music.errors import MidiError
from megatron_music.score.instruments import VOICES
from megatron_music.score.metre import COMMON_TIME, SIXTEENTHS
from megatron_music.score.midi_columns import US_PER_MINUTE
from megatron_music.score.notes import UNTOLD, IntArray, Piece, Score, Track
from megatron_music.score.tempo import tempos_at
from megatron_music.score.words import StrArray

_COLUMNS = ("onset", "end", "pitch", "velocity")


def merge(score: Score) -> Score:
    """Gather the notes of each instrument in one track, at the place of its first.

    Sequencers split instruments over tracks (the hands of a piano, the sounds of a drum kit), 43
    of 100 files do. Where two tracks hold the same note, quantizing leaves one of them.
    """
    parts: dict[int, list[Track]] = {}
    for track in score.tracks:
        parts.setdefault(track.instrument, []).append(track)
    tracks = tuple(joined(code, tracks) for code, tracks in parts.items())
    return replace(score, tracks=tracks)


def joined(code: int, tracks: Sequence[Track]) -> Track:
    """Return the notes of some tracks as those of one, in no order."""
    onset, end, pitch, velocity = (
        np.concatenate([getattr(track, name) for track in tracks]) for name in _COLUMNS
    )
    sung = any(track.syllables is not None for track in tracks)
    syllables = np.concatenate([track.sung for track in tracks]) if sung else None
    return Track(code, onset, end, pitch, velocity, syllables)


def as_chorale(score: Score) -> Score | None:
    """Take four tracks as soprano, alto, tenor and bass; return None where there are not four."""
    if len(score.tracks) != len(VOICES):
        return None
    named = zip(score.tracks, VOICES, strict=True)
    return replace(score, tracks=tuple(replace(track, instrument=code) for track, code in named))


def quantize(score: Score, steps_per_quarter: int) -> Piece:
    """Snap every onset and end to the nearest step (halves up) and make the result canonical.

    A note lasts a step at least. Of notes of one pitch and onset the longest stays, as loud as the
    loudest; one that runs into the next of its pitch ends there. A bar has the tempo that holds a
    thirty-second note after its beginning. Raises MidiError if the score has no notes.
    """
    quarter = score.ticks_per_quarter
    tracks = []
    for track in score.tracks:
        onset = nearest_step(track.onset, quarter, steps_per_quarter)
        end_steps = np.maximum(nearest_step(track.end, quarter, steps_per_quarter), onset + 1)
        snapped = canonical_track(
            track.instrument, onset, end_steps, track.pitch, track.velocity, track.syllables
        )
        if len(snapped):
            tracks.append(snapped)
    if not tracks:
        raise MidiError("no notes in this score; there is nothing to encode", "silent")
    end = max(int(track.end.max()) for track in tracks)
    # The bars that the score is laid out in, and after them as many as its last as the notes need.
    known = Piece(steps_per_quarter, len(score.bars), (), score.bars)
    last = score.bars[-1] if score.bars else COMMON_TIME
    further = max(0, -(-(end - known.steps) // last.steps(steps_per_quarter)))
    bars = int(known.bar_at(np.array([end - 1]))[0]) + 1 if not further else known.bars + further
    piece = Piece(steps_per_quarter, bars, tuple(tracks), score.bars)
    tempos = [round(US_PER_MINUTE / score.tempo_bpm)]
    if score.tempos:
        sixteenths = piece.bar_starts[:-1] * SIXTEENTHS // steps_per_quarter
        begins = (2 * sixteenths * quarter + SIXTEENTHS) // (2 * SIXTEENTHS)
        # A thirty-second note later: a tempo that is set just after the barline counts.
        tempos = tempos_at(begins + quarter // 8, score.tempos)
    return replace(piece, tempos_us=tuple(tempos))


def nearest_step(ticks: IntArray, ticks_per_quarter: int, steps_per_quarter: int) -> IntArray:
    """Return the nearest step, halves up."""
    # In integers: floats would put some notes on other steps on other machines.
    return (2 * ticks * steps_per_quarter + ticks_per_quarter) // (2 * ticks_per_quarter)


def canonical_track(
    instrument: int,
    onset: IntArray,
    end: IntArray,
    pitch: IntArray,
    velocity: IntArray | None = None,
    syllables: StrArray | None = None,
) -> Track:
    """Sort notes by onset, then pitch, and leave no two of one pitch overlapping; in steps.

    Of notes that begin together the highest has the words.
    """
    velocity = np.full(len(onset), UNTOLD, np.int64) if velocity is None else velocity
    given = onset
    # By pitch, then onset, the longest first: so the first of equal ones is the one to keep.
    by_pitch = np.lexsort((-end, onset, pitch))
    onset, end, pitch = onset[by_pitch], end[by_pitch], pitch[by_pitch]
    velocity = velocity[by_pitch]
    if len(onset) > 1:
        same_pitch = pitch[1:] == pitch[:-1]
        first = np.concatenate(([True], ~(same_pitch & (onset[1:] == onset[:-1]))))
        onset, end, pitch = onset[first], end[first], pitch[first]
        velocity = np.maximum.reduceat(velocity, np.flatnonzero(first))
        follows = pitch[1:] == pitch[:-1]
        end[:-1] = np.where(follows, np.minimum(end[:-1], onset[1:]), end[:-1])
    order = np.lexsort((pitch, onset))
    made = Track(instrument, onset[order], end[order], pitch[order], velocity[order])
    return made if syllables is None else _sung(made, given, syllables)


def _sung(track: Track, onset: IntArray, syllables: StrArray) -> Track:
    """Return a canonical track with the syllables that begin at these steps.

    Of several at one step the last stays.
    """
    given = zip(onset.tolist(), syllables.tolist(), strict=True)
    words = {step: one for step, one in given if one}
    if not words:
        return track
    last = np.append(track.onset[1:] != track.onset[:-1], True)
    sung = np.array(
        [
            words.get(step, "") if is_last else ""
            for step, is_last in zip(track.onset.tolist(), last.tolist(), strict=True)
        ],
        np.str_,
    )
    return replace(track, syllables=sung)


def windows(piece: Piece, bars: int, hop: int, cuts: tuple[int, ...] = (0,)) -> list[Piece]:
    """Cut a piece into windows of `bars` bars, one every `hop` bars, the last maybe shorter.

    A note belongs to the window it begins in and ends with it at the latest. Tracks silent in a
    window are left out of it, and so are windows without a note. With `hop == bars` the windows
    laid end to end are the piece, but for notes cut at their edges. `cuts` are the bars at which
    the stretches of the piece begin (see `bar_layout.lay_out_bars`): no window reaches over one.
    """
    return [window for _, window in placed_windows(piece, bars, hop, cuts)]


def placed_windows(
    piece: Piece, bars: int, hop: int, cuts: tuple[int, ...] = (0,)
) -> list[tuple[int, Piece]]:
    """Cut a piece as `windows` does; return each window with its first bar in the piece."""
    # A stretch may begin years after the last note.
    edges = [min(cut, piece.bars) for cut in (*cuts, piece.bars)]
    spans = [
        (start, min(start + bars, stop))
        for first, stop in pairwise(edges)
        for start in window_starts(first, stop, bars, hop)
    ]
    placed = []
    for first, last in spans:
        begin, stop = piece.bar_starts[[first, last]].tolist()
        tracks = []
        for track in piece.tracks:
            # Onsets are sorted, so the notes of a window are in one slice.
            low, high = np.searchsorted(track.onset, (begin, stop))
            end = np.minimum(track.end[low:high], stop) - begin
            if high > low:
                tracks.append(track.some(slice(low, high), track.onset[low:high] - begin, end))
        if tracks:
            metres, tempos_us = piece.metres[first:last], piece.tempos_us[first:last]
            window = Piece(piece.steps_per_quarter, last - first, tuple(tracks), metres, tempos_us)
            placed.append((first, window))
    return placed


def window_starts(first: int, stop: int, bars: int, hop: int) -> range:
    """Return where windows begin: the first to reach the end of the stretch is the last."""
    return range(first, max(first + 1, stop - bars + hop) if first < stop else first, hop)


def join(pieces: list[Piece]) -> Piece:
    """Lay pieces end to end; the n-th track of an instrument continues as its n-th."""
    parts: dict[tuple[int, int], list[Track]] = {}
    start = 0
    for piece in pieces:
        seen: Counter[int] = Counter()
        for track in piece.tracks:
            shifted = replace(track, onset=track.onset + start, end=track.end + start)
            parts.setdefault((track.instrument, seen[track.instrument]), []).append(shifted)
            seen[track.instrument] += 1
        start += piece.steps
    tracks = tuple(
        canonical_track(code, one.onset, one.end, one.pitch, one.velocity, one.syllables)
        for (code, _), of_track in parts.items()
        for one in [joined(code, of_track)]
    )
    metres = tuple(piece.metre_of(bar) for piece in pieces for bar in range(piece.bars))
    tempos_us = tuple(piece.tempo_of(bar) for piece in pieces for bar in range(piece.bars))
    have_tempos = any(piece.tempos_us for piece in pieces)
    steps = pieces[0].steps_per_quarter
    return Piece(steps, len(metres), tracks, metres, tempos_us if have_tempos else ())

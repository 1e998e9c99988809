"""Measures of a piece: figures and histograms, pure functions of Pieces, numpy only.

Nothing here changes when a whole piece is transposed: held-out music is in its own keys,
training music and what is composed from it in any. Drums have no pitch: they count as notes and
onsets alone.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from megatron_music.evaluate.bootstrap import FloatArray
from megatron_music.score.instruments import DRUMS
from megatron_music.score.key import PITCH_CLASSES, likeliest_key
from megatron_music.score.metre import COMMON_TIME
from megatron_music.score.notes import IntArray, Piece, Track
from megatron_music.score.words import split_mark

MAJOR_SCALE = frozenset((0, 2, 4, 5, 7, 9, 11))
MINOR_SCALE = frozenset((0, 2, 3, 5, 7, 8, 10, 11))
"""Natural minor and the leading note."""

# An octave each way; wider steps count as one.
WIDEST_INTERVAL = 12
LARGEST_SPACING = 48


def notes_per_bar(piece: Piece) -> float:
    """Return the notes a bar, of all tracks together."""
    return sum(map(len, piece.tracks)) / piece.bars


def polyphony(piece: Piece) -> float:
    """Return the mean number of pitched notes that sound, over the steps in which one does."""
    sounding = _roll(piece).sum(0)
    return float(sounding[sounding > 0].mean()) if sounding.any() else 0.0


def rests(piece: Piece) -> float:
    """Return the share of the time in which a pitched track is silent, averaged over them."""
    sounding = _sounding(piece)
    return 1.0 - float(sounding.mean()) if sounding.size else 0.0


def silent_ends(piece: Piece) -> float:
    """Return the share of bars of pitched tracks in whose last step the track is silent.

    A model that cannot count ends its bars early, and what is left of them is silence.
    """
    ends = _sounding(piece)[:, piece.bar_starts[1:] - 1]
    return 1.0 - float(ends.mean()) if ends.size else 0.0


def pitch_range(piece: Piece) -> float:
    """Return the semitones from the lowest to the highest pitched note."""
    pitches = np.concatenate([_no_ints(), *(track.pitch for track in _pitched(piece))])
    return float(np.ptp(pitches)) if len(pitches) else 0.0


def note_length(piece: Piece) -> float:
    """Return the mean length of the pitched notes, in quarters."""
    lengths = _lengths(piece)
    return float(lengths.mean()) / piece.steps_per_quarter if len(lengths) else 0.0


def melodic_interval(piece: Piece) -> float:
    """Return the mean step of the upper line of each pitched track, in semitones, unsigned."""
    moves = _melodic_intervals(piece)
    return float(np.abs(moves).mean()) if len(moves) else 0.0


def in_key(piece: Piece) -> float:
    """Return the share of the sounding time that is in the scale of the piece's likeliest key."""
    sounding = _pitch_classes(piece)
    if not sounding.any():
        return 0.0
    tonic, is_major = likeliest_key(sounding)
    scale = MAJOR_SCALE if is_major else MINOR_SCALE
    return float(sum(sounding[(tonic + degree) % PITCH_CLASSES] for degree in scale))


def minor_seconds(piece: Piece) -> float:
    """Return the share of minor seconds and major sevenths among the intervals that sound at once.

    Voices that do not listen to one another sing them about one time in eight.
    """
    return float(harmony_histogram(piece)[1])


def groove_similarity(piece: Piece) -> float:
    """Return the similarity of the rhythms of two bars, averaged over all pairs of bars.

    Of the steps of a bar, the share in which both bars have an onset or neither has; in steps that
    a shorter bar lacks it has none. Source: Wu and Yang, "The Jazz Transformer on the Front Line",
    ISMIR 2020.
    """
    if piece.bars < 2:
        return 1.0
    bars = np.zeros((piece.bars, int(np.diff(piece.bar_starts).max())), np.bool_)
    onsets = _onsets(piece)
    bars[piece.bar_at(onsets), _steps_in_bar(piece, onsets)] = True
    first, second = np.triu_indices(piece.bars, 1)
    return float((bars[first] == bars[second]).mean())


def sung_notes(piece: Piece) -> float:
    """Return the share of the notes that have a syllable."""
    notes = sum(map(len, piece.tracks))
    return sum(int((track.sung != "").sum()) for track in piece.tracks) / max(notes, 1)


def syllables_per_word(piece: Piece) -> float:
    """Return the syllables a word, 0 where no word ends."""
    syllables = [one for track in piece.tracks for one in track.sung.tolist() if one]
    words = sum(bool(split_mark(one)[1]) for one in syllables)
    return len(syllables) / words if words else 0.0


def pitch_class_histogram(piece: Piece) -> FloatArray:
    """Return the shares [12] of the sounding time by semitones above the likeliest tonic."""
    sounding = _pitch_classes(piece)
    if not sounding.any():
        return sounding
    return np.roll(sounding, -likeliest_key(sounding)[0])


def onset_histogram(piece: Piece) -> FloatArray:
    """Return the shares [steps of a 4/4 bar] of the onsets by their step in the bar.

    Those in a longer bar's further steps count in the last.
    """
    steps = COMMON_TIME.steps(piece.steps_per_quarter)
    return _shares(np.minimum(_steps_in_bar(piece, _onsets(piece)), steps - 1), steps)


def length_histogram(piece: Piece) -> FloatArray:
    """Return the shares [steps of a 4/4 bar] of the pitched notes that last 1, 2, ... steps.

    Notes longer than a 4/4 bar count as one long.
    """
    steps = COMMON_TIME.steps(piece.steps_per_quarter)
    return _shares(np.minimum(_lengths(piece), steps) - 1, steps)


def interval_histogram(piece: Piece) -> FloatArray:
    """Return the shares [25] of the steps of each track's upper line, -12 to +12 semitones."""
    moves = np.clip(_melodic_intervals(piece), -WIDEST_INTERVAL, WIDEST_INTERVAL)
    return _shares(moves + WIDEST_INTERVAL, 2 * WIDEST_INTERVAL + 1)


def harmony_histogram(piece: Piece) -> FloatArray:
    """Return the shares [7] of the intervals that sound at once, by interval class.

    Class 0 is octaves, 1 minor seconds and major sevenths, up to 6, the tritone; every two
    pitches that sound together count in each step.
    """
    roll = _roll(piece) > 0
    together = np.zeros(7)
    for spacing in range(1, LARGEST_SPACING + 1):
        semitones = spacing % PITCH_CLASSES
        together[min(semitones, PITCH_CLASSES - semitones)] += (
            roll[:-spacing] & roll[spacing:]
        ).sum()
    return _normalised(together)


FIGURES: dict[str, Callable[[Piece], float]] = {
    "notes a bar": notes_per_bar,
    "polyphony": polyphony,
    "share of rests": rests,
    "bars that end silent": silent_ends,
    "pitch range, semitones": pitch_range,
    "note length, quarters": note_length,
    "melodic step, semitones": melodic_interval,
    "share in key": in_key,
    "minor seconds among intervals": minor_seconds,
    "groove similarity": groove_similarity,
}

SUNG_FIGURES: dict[str, Callable[[Piece], float]] = {
    "share of notes with a syllable": sung_notes,
    "syllables a word": syllables_per_word,
}
"""Of music with words."""

HISTOGRAMS: dict[str, Callable[[Piece], FloatArray]] = {
    "pitch classes above the tonic": pitch_class_histogram,
    "onset in the bar": onset_histogram,
    "note length": length_histogram,
    "melodic interval": interval_histogram,
    "harmonic interval class": harmony_histogram,
}


def _pitched(piece: Piece) -> list[Track]:
    return [track for track in piece.tracks if track.instrument != DRUMS]


def _no_ints() -> IntArray:
    return np.zeros(0, np.int64)


def _steps_in_bar(piece: Piece, steps: IntArray) -> IntArray:
    in_bar: IntArray = steps - piece.bar_starts[piece.bar_at(steps)]
    return in_bar


def _roll(piece: Piece) -> IntArray:
    """Return how many notes sound, [128 pitches, steps]."""
    changes = np.zeros((128, piece.steps + 1), np.int64)
    for track in _pitched(piece):
        # Not `changes[...] += 1`, which would count notes of one pitch and step once.
        np.add.at(changes, (track.pitch, track.onset), 1)
        np.add.at(changes, (track.pitch, track.end), -1)
    sounding: IntArray = changes.cumsum(1)[:, :-1]
    return sounding


def _sounding(piece: Piece) -> npt.NDArray[np.bool_]:
    """Mark the steps in which each pitched track sounds, [tracks, steps]."""
    rolls = [_roll(replace(piece, tracks=(track,))).any(0) for track in _pitched(piece)]
    # The shape is given for pieces of drums alone, which have no rows.
    return np.array(rolls, np.bool_).reshape(len(rolls), piece.steps)


def _pitch_classes(piece: Piece) -> FloatArray:
    by_pitch = _roll(piece).sum(1).astype(np.float64)
    time = np.bincount(np.arange(128) % PITCH_CLASSES, by_pitch, PITCH_CLASSES).astype(np.float64)
    return _normalised(time)


def _onsets(piece: Piece) -> IntArray:
    return np.concatenate([_no_ints(), *(track.onset for track in piece.tracks)])


def _lengths(piece: Piece) -> IntArray:
    return np.concatenate([_no_ints(), *(track.end - track.onset for track in _pitched(piece))])


def _melodic_intervals(piece: Piece) -> IntArray:
    """Return the steps of each track's upper line: the highest pitch of each moment it strikes."""
    steps = [_no_ints()]
    for track in _pitched(piece):
        # Notes are sorted by onset, then pitch: the last of each onset is the highest.
        last = np.append(track.onset[1:] != track.onset[:-1], len(track) > 0)[: len(track)]
        steps.append(np.diff(track.pitch[last]))
    return np.concatenate(steps)


def _shares(places: IntArray, count: int) -> FloatArray:
    return _normalised(np.bincount(places, minlength=count).astype(np.float64))


def _normalised(counts: FloatArray) -> FloatArray:
    """Return shares that add up to 1, or zeros if the sum is 0."""
    shares: FloatArray = counts / max(counts.sum(), 1)
    return shares

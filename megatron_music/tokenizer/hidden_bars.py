"""Hidden bars: a piece with some bars moved to its end, as in MMM (arXiv 2008.06048).

    hidden = PIECE_START attribute* track+ (FILL_START content FILL_END)+ PIECE_END

In the tracks the token FILL_IN stands for a whole hidden bar; its content, what stood between
BAR_START and BAR_END, follows the last track, in the order in which the bars were met. Ends of
notes that cross a barline stay where they are, so that putting the bars back gives the same tokens.
"""

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from megatron_music.errors import TokenError, UsageError
from megatron_music.score.hashing import WORD, Words, scramble
from megatron_music.score.notes import IntArray
from megatron_music.tokenizer.vocabulary import TokenArray, Vocabulary

MOST_HIDDEN = 0.75
"""The largest share of a window's bars, as in MMM: the rest is the context of the hidden ones."""


def hide(
    tokens: TokenArray, bars_by_track: Sequence[Collection[int]], vocabulary: Vocabulary
) -> TokenArray:
    """Return the tokens of a piece with bars hidden, uint16.

    `bars_by_track[t]` are the bars of the t-th track to hide, counted from 0. Transpose before:
    a hidden bar no longer says which instrument plays it. Raises UsageError for a bar that is
    not there.
    """
    starts = np.flatnonzero(tokens == vocabulary.bar_start)
    ends = np.flatnonzero(tokens == vocabulary.bar_end)
    # The track of each bar, and the first bar of each track among all bars of the piece.
    track = np.cumsum(tokens == vocabulary.track_start)[starts] - 1
    first = np.searchsorted(track, np.arange(len(bars_by_track) + 1))
    hidden = np.zeros(len(starts), np.bool_)
    for index, bars in enumerate(bars_by_track):
        count = int(first[index + 1] - first[index])
        for bar in bars:
            if not 0 <= bar < count:
                raise UsageError(
                    f"track {index} has no bar {bar} to hide; it has {count}, counted from 0"
                )
            hidden[first[index] + bar] = True
    shown: list[TokenArray] = []
    contents: list[TokenArray] = []
    done = 0
    hole, opening, closing = (
        np.array([vocabulary.ids[name]], np.uint16)
        for name in ("FILL_IN", "FILL_START", "FILL_END")
    )
    for start, end in zip(starts[hidden].tolist(), ends[hidden].tolist(), strict=True):
        shown += [tokens[done:start], hole]
        contents += [opening, tokens[start + 1 : end], closing]
        done = end + 1
    return np.concatenate([*shown, tokens[done:-1], *contents, tokens[-1:]]).astype(np.uint16)


def is_hidden(tokens: npt.NDArray[np.integer], vocabulary: Vocabulary) -> bool:
    """Tell whether tokens are a document with hidden bars."""
    marks = [vocabulary.ids[name] for name in ("FILL_IN", "FILL_START", "FILL_END")]
    return bool(np.isin(tokens, marks).any())


def restore(
    tokens: npt.NDArray[np.integer], vocabulary: Vocabulary
) -> tuple[npt.NDArray[np.integer], IntArray]:
    """Put hidden bars back; return the piece's tokens and where each of them stood.

    The inverse of `hide`. Raises TokenError where holes and contents do not match; what the bars
    hold is for the grammar to judge.
    """
    ids = vocabulary.ids
    holes = np.flatnonzero(tokens == ids["FILL_IN"])
    starts = np.flatnonzero(tokens == ids["FILL_START"])
    ends = np.flatnonzero(tokens == ids["FILL_END"])
    _check_contents(holes, starts, ends)
    tracks_end = int(starts[0]) if len(starts) else len(tokens)
    places: list[IntArray] = []
    done = 0
    for hole, start, end in zip(holes.tolist(), starts.tolist(), ends.tolist(), strict=True):
        places += [np.arange(done, hole), np.arange(start, end + 1)]
        done = hole + 1
    places.append(np.arange(done, tracks_end))
    if len(ends):
        places.append(np.arange(int(ends[-1]) + 1, len(tokens)))
    order = np.concatenate(places)
    whole = tokens[order]
    whole = np.where(whole == ids["FILL_START"], vocabulary.bar_start, whole)
    return np.where(whole == ids["FILL_END"], vocabulary.bar_end, whole), order


def _check_contents(holes: IntArray, starts: IntArray, ends: IntArray) -> None:
    """Refuse contents that are not one after another after the tracks, one for each hole."""
    if len(starts) != len(holes) or len(ends) != len(starts):
        raise TokenError(
            f"{len(holes)} FILL_IN, {len(starts)} FILL_START and {len(ends)} FILL_END; "
            "expected as many of each",
            min(int(marks[0]) for marks in (holes, starts, ends) if len(marks)),
        )
    if not len(starts):
        return
    if holes[-1] > starts[0]:
        raise TokenError("FILL_IN after FILL_START; expected it in a track", int(holes[-1]))
    apart = np.flatnonzero(starts[1:] != ends[:-1] + 1)
    if len(apart):
        place = int(min(starts[1:][apart[0]], ends[:-1][apart[0]] + 1))
        raise TokenError("expected FILL_START right after FILL_END", place)
    if ends[0] < starts[0]:
        raise TokenError("FILL_END before FILL_START", int(ends[0]))


def choose_bars(seed: int, music: str, window: int, tracks: int, bars: int) -> list[list[int]]:
    """Return which bars of each track to hide: by seed, fingerprint and window alone.

    A third of the windows hide bars here and there, a third a stretch of bars in all tracks (both
    up to three quarters), a third one track whole; never nothing, and all only of a single bar.
    """
    numbers: Words = np.arange(3 + tracks * bars, dtype=np.uint64)
    words = [int(word) for word in scramble(hiding_seed(seed, music, window) + numbers)]
    choice, size, place, *keys = words
    # A stretch of a single bar, or one track whole of a single one, would hide everything.
    ways = ["scattered", *["stretch"] * (bars > 1), *["track"] * (tracks > 1)]
    way = ways[choice % len(ways)]
    if way == "scattered":
        count = 1 + size % max(1, int(MOST_HIDDEN * tracks * bars))
        order = sorted(range(tracks * bars), key=keys.__getitem__)
        cells = {divmod(cell, bars) for cell in order[:count]}
    elif way == "stretch":
        count = 1 + size % max(1, int(MOST_HIDDEN * bars))
        first = place % (bars - count + 1)
        cells = {(track, bar) for track in range(tracks) for bar in range(first, first + count)}
    else:
        cells = {(place % tracks, bar) for bar in range(bars)}
    return [[bar for bar in range(bars) if (track, bar) in cells] for track in range(tracks)]


def hiding_seed(seed: int, music: str, window: int) -> np.uint64:
    """Return the word that the choice of bars to hide follows from; `music` is a fingerprint."""
    state = scramble(np.array([seed & WORD], np.uint64)) ^ np.uint64(int(music[:16], 16))
    state = scramble(state ^ np.uint64(0xF111))
    word: np.uint64 = scramble(state + np.uint64(window))[0]
    return word

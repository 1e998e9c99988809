"""Of music that changes its metre, the stretches in 4/4 stay."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatron_music.score.bar_layout import lay_out_bars
from megatron_music.score.metre import METRES, TimeSignature
from megatron_music.score.notes import Metre, Score, Track

QUARTER = 8
BAR = 4 * QUARTER
Notes = list[tuple[int, ...]]
Changes = list[tuple[int, int, int]]


def score(notes: list[tuple[int, int]], *metres: tuple[int, int, int]) -> Score:
    """Return a score of one track from onsets and ends in ticks; its pitches count up."""
    onset, end = np.array(notes, np.int64).reshape(-1, 2).T
    track = Track(0, onset, end, np.arange(len(onset), dtype=np.int64))
    return Score(QUARTER, (track,), tuple(Metre(*metre) for metre in metres))


def notes_of(score: Score) -> list[tuple[int, int, int]]:
    [track] = score.tracks
    columns = (track.pitch, track.onset, track.end)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def test_music_in_common_time_throughout_stays_as_it_is() -> None:
    whole = score([(0, 8), (5, 9)], (0, 4, 4), (7, 4, 4))
    assert lay_out_bars(whole, 4) == (whole, (0,))
    unsigned = score([(0, 8)])
    assert lay_out_bars(unsigned, 4) == (unsigned, (0,))


WALTZ = 3 * QUARTER
AFTER = 2 * BAR + 2 * WALTZ


@pytest.mark.parametrize(
    ("notes", "changes", "shortest", "left", "cuts"),
    [
        # What is in another metre is left out, and the rest moves up.
        ([(0, 8), (2 * BAR, 2 * BAR + 8), (AFTER + 4, AFTER + 8)],
         [(0, 4, 4), (2 * BAR, 3, 4), (AFTER, 4, 4)], 1,
         [(0, 0, 8), (2, 2 * BAR + 4, 2 * BAR + 8)], (0, 2)),
        # A stretch that breaks off in a bar takes the whole of it.
        ([(BAR, BAR + 4), (BAR + 7 * QUARTER, BAR + 8 * QUARTER)],
         [(BAR + QUARTER, 6, 4), (BAR + 7 * QUARTER, 4, 4)], 1,
         [(0, BAR, BAR + 4), (1, 2 * BAR, 2 * BAR + QUARTER)], (0, 2)),
        # A note ends with its stretch; one just before the change belongs to the next metre.
        ([(BAR - 8, BAR + 8)], [(BAR, 3, 4)], 1, [(0, BAR - 8, BAR)], (0,)),
        ([(BAR - 2, BAR + 8), (BAR - 1, BAR + 8)], [(BAR, 3, 4)], 1, [(0, BAR - 2, BAR)], (0,)),
        # Short stretches are left out.
        ([(0, 4), (5 * BAR, 5 * BAR + 4), (8 * BAR, 8 * BAR + 4)],
         [(0, 4, 4), (2 * BAR, 3, 4), (5 * BAR, 4, 4)], 3,
         [(1, 0, 4), (2, 3 * BAR, 3 * BAR + 4)], (0,)),
    ],
)  # fmt: skip
def test_the_stretches_in_common_time_stay(
    notes: Notes, changes: Changes, shortest: int, left: Notes, cuts: tuple[int, ...]
) -> None:
    kept, cut = lay_out_bars(score(notes, *changes), shortest)
    assert (notes_of(kept), cut, kept.metres) == (left, cuts, ())


@pytest.mark.parametrize("changes", [[(0, 3, 4)], [(0, 4, 4), (0, 6, 8)], [(0, 0, 4)]])
def test_nothing_is_left_of_music_in_another_metre(changes: Changes) -> None:
    kept, cuts = lay_out_bars(score([(0, 8), (BAR, 2 * BAR)], *changes), 1)
    assert (kept.tracks, cuts) == ((), ())
    kept, _ = lay_out_bars(score([(0, 8)]), 1, (TimeSignature(3, 4),))
    assert kept.tracks == (), "music without a signature is in common time"


@given(
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 40)), min_size=1, max_size=20),
    st.lists(st.tuples(st.integers(0, 200), st.sampled_from([(4, 4), (3, 4), (7, 8)])), max_size=6),
    st.integers(1, 3),
)
def test_every_note_that_is_kept_keeps_its_place_in_a_bar(
    notes: list[tuple[int, int]], changes: list[tuple[int, tuple[int, int]]], shortest: int
) -> None:
    metres = [(tick, *metre) for tick, metre in sorted(changes, key=lambda change: change[0])]
    whole = score([(onset, onset + length) for onset, length in sorted(notes)], *metres)
    kept, cuts = lay_out_bars(whole, shortest)
    assert cuts == tuple(sorted(set(cuts)))
    onsets = dict(enumerate(whole.tracks[0].onset.tolist()))
    starts = [0, *(tick for tick, *metre in metres if metre == [4, 4])]
    for pitch, onset, end in notes_of(kept) if kept.tracks else []:
        assert any((onsets[pitch] - start - onset) % BAR == 0 for start in starts)
        assert onset <= end


ODD = 31 * QUARTER // 4


@pytest.mark.parametrize(
    ("notes", "changes", "bars", "left", "cuts"),
    [
        ([(0, 8), (2 * BAR + 8, 2 * BAR + 12), (AFTER, AFTER + 4)],
         [(0, 4, 4), (2 * BAR, 3, 4), (AFTER, 6, 8)], "4/4 4/4 3/4 3/4 6/8",
         [(0, 0, 8), (1, 2 * BAR + 8, 2 * BAR + 12), (2, AFTER, AFTER + 4)], (0,)),
        # A bar that breaks off is one of a shorter metre.
        ([(0, 8), (8, 16), (32, 40)], [(0, 3, 4), (8, 4, 4)], "1/4 4/4",
         [(0, 0, 8), (1, 8, 16), (2, 32, 40)], (0,)),
        # A bar of no metre is filled up by a rest, and no window reaches over.
        ([(0, 8), (ODD, ODD + 8)], [(0, 4, 2), (ODD, 3, 4)], "4/2 3/4",
         [(0, 0, 8), (1, 8 * QUARTER, 8 * QUARTER + 8)], (0, 1)),
        # Metres that there are no bars of are left out.
        ([(0, 4), (BAR, BAR + 4), (4 * BAR, 4 * BAR + 4)],
         [(0, 3, 4), (3 * QUARTER, 17, 16), (4 * BAR, 6, 8)], "3/4 6/8",
         [(0, 0, 4), (2, 24, 28)], (0, 1)),
    ],
)  # fmt: skip
def test_in_any_metre_each_bar_has_its_own_length(
    notes: Notes, changes: Changes, bars: str, left: Notes, cuts: tuple[int, ...]
) -> None:
    kept, cut = lay_out_bars(score(notes, *changes), 1, METRES)
    assert (" ".join(map(str, kept.bars)), cut, notes_of(kept)) == (bars, cuts, left)

"""The critic tells what differs, cannot tell what does not, and ranks accordingly."""

from pathlib import Path

import numpy as np
import pytest

from megatron_music.errors import InputError
from megatron_music.evaluate.critic import (
    CRITIC_FILE,
    Critic,
    area_under_curve,
    cross_validated,
    features,
    train,
)
from megatron_music.score.notes import Piece
from tests.music import track


def melody(seed: int, leap: int) -> Piece:
    """Two bars of quarters, moving by up to `leap` semitones."""
    moves = np.random.default_rng(seed).integers(-leap, leap + 1, 8)
    pitches = np.clip(60 + np.cumsum(moves), 0, 127).tolist()
    return Piece(4, 2, (track(0, *((4 * i, 4 * i + 4, p) for i, p in enumerate(pitches))),))


def sets(leap: int, first_seed: int, count: int = 40) -> np.ndarray:
    return features([melody(first_seed + i, leap) for i in range(count)])


def test_the_area_under_the_curve_counts_pairs() -> None:
    first, second = np.array([0.9, 0.5, 0.2]), np.array([0.5, 0.1])
    # Of six pairs the first wins (.9, both), (.5, .1), (.2, .1), and one is even: 4.5 of 6.
    estimate = area_under_curve(first, second, np.arange(3), np.arange(2))
    assert estimate.value == pytest.approx(4.5 / 6)
    assert estimate.low <= estimate.value <= estimate.high


def test_a_critic_separates_steps_from_leaps() -> None:
    estimate = cross_validated(sets(2, 0), sets(9, 500), np.arange(40), np.arange(40))
    assert estimate.low > 0.95


def test_music_of_one_source_cannot_be_separated() -> None:
    groups = np.arange(60)
    areas = [
        cross_validated(sets(3, 100 * seed, 60), sets(3, 5000 + 100 * seed, 60), groups, groups)
        for seed in range(4)
    ]
    assert np.mean([area.value for area in areas]) == pytest.approx(0.5, abs=0.08)


def test_windows_of_one_piece_do_not_teach_the_critic_their_own_answers() -> None:
    # Each piece ten times over: without groups the critic would know every one of them.
    first, second = (np.repeat(sets(3, seed, 10), 10, axis=0) for seed in (0, 500))
    groups = np.repeat(np.arange(10), 10)
    estimate = cross_validated(first, second, groups, groups)
    assert estimate.high - estimate.low > 0.2
    assert estimate.value < 0.95


def test_a_saved_critic_ranks_as_before(tmp_path: Path) -> None:
    critic = train(sets(2, 0), sets(9, 500), steps_per_quarter=4, bars=2)
    critic.save(tmp_path)
    loaded = Critic.load(tmp_path / CRITIC_FILE)
    calm, wild = melody(1000, 2), melody(1000, 9)
    assert loaded.score(calm) == critic.score(calm) > 0.5 > loaded.score(wild)


def test_music_of_another_kind_is_recognised() -> None:
    critic = train(sets(2, 0), sets(9, 500), steps_per_quarter=4, bars=2)
    assert not any(critic.is_out_of_domain(melody(1000, leap)) for leap in (2, 9))
    chords = [(onset, onset + 1, pitch) for onset in range(0, 32, 3) for pitch in (36, 37, 61, 90)]
    assert critic.is_out_of_domain(Piece(4, 2, (track(0, *chords), track(33, *chords))))


def test_a_long_piece_is_the_mean_of_its_windows() -> None:
    critic = train(sets(2, 0), sets(9, 500), steps_per_quarter=4, bars=2)
    parts = [melody(7, 2), melody(8, 9)]
    columns = [(p.tracks[0].onset + 32 * i, p.tracks[0].pitch) for i, p in enumerate(parts)]
    onset, pitch = (np.concatenate(column) for column in zip(*columns, strict=True))
    rows = zip(onset.tolist(), (onset + 4).tolist(), pitch.tolist(), strict=True)
    both = Piece(4, 4, (track(0, *rows),))
    assert critic.score(both) == pytest.approx(np.mean([critic.score(part) for part in parts]))


SHORT = '{"bars": 2, "steps_per_quarter": 4, "means": [0], "scales": [1], "weights": [1]'


@pytest.mark.parametrize("text", ["", "[]", '{"bars": 2}', SHORT + ', "intercept": 0}'])
def test_a_damaged_critic_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(InputError, match=r"c\.json is .*critic\.json"):
        Critic.load(tmp_path / "c.json")
    with pytest.raises(InputError, match=r"cannot read .*: No such file or directory; give the"):
        Critic.load(tmp_path / "none.json")

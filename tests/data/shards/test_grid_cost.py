"""What the grid costs: notes off it are counted, and triplets ask for the finer one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from megatron_music.data.records import KEPT, REFUSED, FileRecord, Refusal, line
from megatron_music.data.shards.grid_cost import GridCost, grid_cost
from megatron_music.score.notes import Score, Track

QUARTER = 480


class Tune:
    """A file whose notes begin at these places in a quarter note, in ticks."""

    def __init__(self, name: str, *places: int) -> None:
        self.name, self._places = f"{name}.mid", places

    def raw(self) -> bytes:
        return b""

    def read(self) -> Score:
        if not self._places:
            raise Refusal("empty", "no bytes")
        onset = np.add.outer(np.arange(32) * QUARTER, np.array(self._places)).ravel()
        pitch = np.full(len(onset), 60)
        return Score(QUARTER, (Track(0, onset, onset + 40, pitch),))


def cost(folder: Path, *tunes: Tune, steps: int = 4, outcome: str = KEPT) -> GridCost | None:
    outcomes = folder / "files.jsonl"
    outcomes.write_bytes(b"".join(line(FileRecord(tune.name, outcome)) for tune in tunes))
    return grid_cost(tunes, outcomes, steps, 4)


def test_music_on_the_grid_is_not_moved(tmp_path: Path) -> None:
    found = cost(tmp_path, Tune("even", 0, 120, 240, 360))
    assert found == GridCost(1, 128, 0, 0, 0.0)
    assert not found.suggests_finer


def test_all_pieces_are_examined_where_most_files_are_left_out(tmp_path: Path) -> None:
    tunes = [Tune(f"{number}", *([] if number % 300 else [0])) for number in range(1_200)]
    outcomes = tmp_path / "files.jsonl"
    outcomes.write_bytes(
        b"".join(
            line(FileRecord(tune.name, REFUSED if number % 300 else KEPT))
            for number, tune in enumerate(tunes)
        )
    )
    found = grid_cost(tunes, outcomes, 4, 4)
    assert found is not None
    assert found.pieces == 4


def test_triplets_ask_for_twelve_steps(tmp_path: Path) -> None:
    found = cost(tmp_path, Tune("even", 0, 240), Tune("triplets", 0, 160, 320))
    assert found is not None
    assert found.suggests_finer
    assert (found.pieces, found.notes, found.moved, found.moved_finer) == (2, 160, 64, 0)
    assert found.mean_move_quarters == pytest.approx(1 / 12, abs=1e-4)
    finer = cost(tmp_path, Tune("triplets", 0, 160, 320), steps=12)
    assert finer is not None
    assert not finer.suggests_finer


def test_a_free_performance_is_not_promised_a_cure(tmp_path: Path) -> None:
    places = tuple(range(0, QUARTER, 7))
    found = cost(tmp_path, Tune("free", *places))
    assert found is not None
    assert found.moved > 0.5 * found.notes
    assert not found.suggests_finer


def test_pieces_that_are_now_louder_now_softer_are_counted(tmp_path: Path) -> None:
    class Loud(Tune):
        def read(self) -> Score:
            [one] = super().read().tracks
            swell = np.arange(len(one)) * 127 // len(one)
            return Score(QUARTER, (replace(one, velocity=swell + 1),))

    found = cost(tmp_path, Tune("even", 0), Loud("loud", 0), Loud("louder", 0, 240))
    assert found is not None
    assert (found.pieces, found.dynamic_pieces) == (3, 2)


def test_what_was_left_out_or_is_gone_is_not_looked_at(tmp_path: Path) -> None:
    assert cost(tmp_path, Tune("refused", 0), outcome=REFUSED) is None
    assert cost(tmp_path, Tune("gone")) is None
    assert cost(tmp_path) is None

"""Files encoded together become what each becomes alone, by the readable path."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pretty_midi
import pytest

from megatron_music.data.records import REFUSED
from megatron_music.data.settings import BuildSettings
from megatron_music.data.shards.encode_midi import encode_batch
from megatron_music.data.shards.encode_piece import encode_item
from megatron_music.data.sources.folder import MidiFile
from megatron_music.data.sources.item import LARGEST_FILE_BYTES, Item
from megatron_music.score.metre import parse_metres
from megatron_music.score.midi_columns import MOST_TRACKS
from megatron_music.tokenizer.vocabulary import Vocabulary
from tests.data.collection import folder_of_songs, songs, waltz
from tests.midi_bytes import ONE_NOTE, midi_bytes


def files_of(folder: Path) -> list[Item]:
    return [MidiFile(str(path), path.name) for path in sorted(folder.iterdir())]


def check(items: list[Item], settings: BuildSettings) -> list[int]:
    """Hold what is encoded together to the readable path; return the positions of it."""
    vocabulary = Vocabulary(settings.tokenizer())
    positions = []
    for position, encoded in encode_batch(items, settings):
        expected = encode_item(items[position], settings, vocabulary)
        assert encoded.record == expected.record
        for column, wanted in zip(encoded.documents, expected.documents, strict=True):
            assert np.array_equal(column, wanted)
            assert column.dtype == wanted.dtype
        assert np.array_equal(encoded.window_rates, expected.window_rates)
        positions.append(position)
    return positions


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"steps_per_quarter": 12, "bars": 8, "hop": 3},
        {"transpositions": 12, "split": (1, 1, 1), "density": False},
        {"shuffle": False, "max_tracks": 2},
        {"seed": 5, "bars": 2, "hop": 1, "transpositions": 11},
        {"merge": False},
        {"pieces": True, "transpositions": 12, "fill": True, "max_tracks": 1},
    ],
)
def test_songs_become_what_each_becomes_alone(tmp_path: Path, chosen: dict[str, Any]) -> None:
    items = files_of(folder_of_songs(tmp_path / "songs", 8))
    assert check(items, BuildSettings(**chosen)) == list(range(8))


def written(path: Path, sizes: list[int], metres: list[tuple[int, int, int]]) -> None:
    """Write tracks of the piano with so many notes, and metres with the seconds they hold from."""
    random = np.random.default_rng(sum(sizes))
    midi = pretty_midi.PrettyMIDI(initial_tempo=120)
    midi.time_signature_changes += [pretty_midi.TimeSignature(*metre) for metre in metres]
    for size in sizes:
        piano = pretty_midi.Instrument(0)
        for onset, length in zip(
            random.uniform(0, 24, size), random.uniform(0.1, 3, size), strict=True
        ):
            note = pretty_midi.Note(90, int(random.integers(30, 90)), onset, onset + length)
            piano.notes.append(note)
        midi.instruments.append(piano)
    midi.write(str(path))


METRES = {
    "4/4 first": [(4, 4, 0), (3, 4, 9)],
    "4/4 last": [(3, 4, 0), (4, 4, 7.5)],
    "4/4 twice": [(4, 4, 0), (7, 8, 8.25), (4, 4, 13), (4, 4, 15), (5, 4, 22.1)],
    "too short": [(4, 4, 0), (3, 4, 1), (4, 4, 3), (3, 4, 5)],
    "late": [(6, 8, 12)],
}


@pytest.mark.parametrize("metres", METRES.values(), ids=METRES)
@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"bars": 3, "hop": 1, "steps_per_quarter": 12},
        {"bars": 1},
        {"metres": parse_metres("any")},
        {"metres": ("3/4", "5/4"), "bars": 2, "steps_per_quarter": 12},
    ],
)
def test_stretches_in_common_time_become_what_they_become_alone(
    tmp_path: Path, metres: list[tuple[int, int, int]], chosen: dict[str, Any]
) -> None:
    for i, sizes in enumerate([[60], [40, 3, 1], [2, 30]]):
        written(tmp_path / f"{i}.mid", sizes, metres)
    assert check(files_of(tmp_path), BuildSettings(**chosen)) == [0, 1, 2]


def test_four_tracks_become_the_voices_of_a_chorale(tmp_path: Path) -> None:
    written(tmp_path / "a.mid", [9, 8, 7, 6], [])
    written(tmp_path / "b.mid", [9, 8, 7], [])
    items, chosen = files_of(tmp_path), BuildSettings(voices=True)
    assert check(items, chosen) == [0]
    outcomes = [encode_item(item, chosen, Vocabulary(chosen.tokenizer())).record for item in items]
    assert outcomes[0].instruments == ("SOPRANO", "ALTO", "TENOR", "BASS")
    assert (outcomes[1].reason, outcomes[1].detail) == ("parts", "3 tracks; a chorale has 4")


def test_what_is_not_certain_is_left_to_the_readable_path(tmp_path: Path) -> None:
    waltz(tmp_path / "a.mid")
    (tmp_path / "b.mid").write_bytes(b"no music")
    (tmp_path / "c.mid").write_bytes(midi_bytes(*[ONE_NOTE] * (MOST_TRACKS + 1)))
    (tmp_path / "d.mid").write_bytes(midi_bytes(ONE_NOTE))
    with (tmp_path / "e.mid").open("wb") as large:
        large.truncate(LARGEST_FILE_BYTES + 1)
    (tmp_path / "f.mid").mkdir()
    os.mkfifo(tmp_path / "g.mid")
    items = [*files_of(tmp_path), MidiFile(str(tmp_path / "gone.mid"), "gone.mid")]
    assert check(items, BuildSettings()) == [0, 3]
    vocabulary = Vocabulary(BuildSettings().tokenizer())
    left = [encode_item(items[i], BuildSettings(), vocabulary).record for i in (1, 4, 5, 6, 7)]
    assert {outcome.outcome for outcome in left} == {REFUSED}
    assert [outcome.reason for outcome in left] == ["foreign", "large"] + ["unreadable"] * 3


def test_items_that_are_not_files_are_left_to_the_readable_path() -> None:
    assert check(list(songs(3)), BuildSettings()) == []

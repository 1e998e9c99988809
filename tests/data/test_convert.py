"""Whole pieces become, byte for byte, the windows that a build makes of the same music."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from megatron_music.data.build import build
from megatron_music.data.convert import convert
from megatron_music.data.report.verify import verify
from megatron_music.data.settings import BuildSettings
from megatron_music.data.sources.open import Source, open_source
from megatron_music.errors import DataError, UsageError
from megatron_music.score.midi_writer import write_midi
from tests.data.collection import Song, files_of, folder_of_songs, songs, source_of, waltz
from tests.music import WORDS, sung_song

HALVES = BuildSettings(split=(50, 25, 25))
RICH = dataclasses.replace(
    HALVES, bars=4, hop=2, transpositions=12, fill=True, max_tracks=2, seed=7
)


def music(folder: Path, settings: BuildSettings) -> Source:
    """Return made-up songs: files with words where the settings ask for words."""
    if not settings.lyrics:
        return source_of([*songs(12), Song("again", 3, shift=4)])
    folder.mkdir()
    for number in range(1, 13):
        write_midi(sung_song(number, WORDS), folder / f"{number}.kar")
    return open_source(str(folder))


def both(
    tmp_path: Path, settings: BuildSettings, **chosen: Any
) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Return the files of a build of windows, and of pieces that were converted."""
    source = music(tmp_path / "music", settings)
    build(source, tmp_path / "built", dataclasses.replace(settings, **chosen))
    build(source, tmp_path / "pieces", dataclasses.replace(settings, pieces=True))
    made = convert(tmp_path / "pieces", tmp_path / "made", chosen)
    assert not made.up_to_date
    return files_of(tmp_path / "built"), files_of(tmp_path / "made")


@pytest.mark.parametrize(
    ("settings", "chosen"),
    [
        (HALVES, {}),
        (HALVES, {"bars": 2}),
        (HALVES, {"bars": 16}),
        (RICH, {}),
        (dataclasses.replace(RICH, steps_per_quarter=12, density=False), {"fill": False}),
        (dataclasses.replace(HALVES, metres=("4/4", "3/4")), {"transpositions": 3, "hop": 1}),
        (dataclasses.replace(HALVES, lyrics=True, syllable_pieces=8), {"bars": 2}),
    ],
)
def test_the_folder_is_that_of_a_build(
    tmp_path: Path, settings: BuildSettings, chosen: dict[str, Any]
) -> None:
    built, made = both(tmp_path, settings, **chosen)
    assert made.keys() == built.keys()
    assert [name for name in built if built[name] != made[name]] == []


def test_what_was_left_out_and_labels_go_along(tmp_path: Path) -> None:
    from megatron_music.data.sources.labels import folder_labels
    from megatron_music.data.sources.open import labelled

    folder_of_songs(tmp_path / "music/a", 9)
    folder_of_songs(tmp_path / "music/b", 2)
    waltz(tmp_path / "music/a/waltz.mid")
    source = labelled(open_source(str(tmp_path / "music")), folder_labels("PLACE"))
    build(source, tmp_path / "built", HALVES)
    build(source, tmp_path / "pieces", dataclasses.replace(HALVES, pieces=True))
    convert(tmp_path / "pieces", tmp_path / "made", {})
    assert verify(tmp_path / "made").documents > 9
    built, made = files_of(tmp_path / "built"), files_of(tmp_path / "made")
    assert [name for name in built if built[name] != made.get(name)] == []


def test_a_second_time_there_is_nothing_to_do(tmp_path: Path) -> None:
    both(tmp_path, HALVES)
    assert convert(tmp_path / "pieces", tmp_path / "made", {}).up_to_date
    with pytest.raises(UsageError, match="made holds a data set of bars 4"):
        convert(tmp_path / "pieces", tmp_path / "made", {"bars": 2})


@pytest.mark.parametrize("target", ["pieces", "."])
def test_the_pieces_are_never_replaced_by_their_windows(tmp_path: Path, target: str) -> None:
    build(source_of(songs(6)), tmp_path / "pieces", dataclasses.replace(HALVES, pieces=True))
    before = files_of(tmp_path / "pieces")
    with pytest.raises(UsageError, match="another folder"):
        convert(tmp_path / "pieces", tmp_path / target, {}, force=True)
    assert files_of(tmp_path / "pieces") == before


def test_a_data_set_that_cannot_be_converted_is_refused(tmp_path: Path) -> None:
    build(source_of(songs(8)), tmp_path / "built", HALVES)
    with pytest.raises(UsageError, match="holds windows of 4 bars, not whole pieces"):
        convert(tmp_path / "built", tmp_path / "made", {})
    with pytest.raises(DataError, match="no manifest"):
        convert(tmp_path, tmp_path / "made", {})
    pieces = tmp_path / "pieces"
    build(source_of(songs(8)), pieces, dataclasses.replace(HALVES, pieces=True))
    lines = (pieces / "files.jsonl").read_text()
    (pieces / "files.jsonl").write_text(lines + lines)
    with pytest.raises(DataError, match="names more pieces"):
        convert(pieces, tmp_path / "made", {})
    (pieces / "files.jsonl").write_text("{}\n[]\n")
    with pytest.raises(DataError, match=r"files.jsonl is damaged"):
        convert(pieces, tmp_path / "made", {})
    manifest = json.loads((pieces / "manifest.json").read_text())
    manifest["settings"]["colour"] = "red"
    (pieces / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="settings are damaged"):
        convert(pieces, tmp_path / "made", {})

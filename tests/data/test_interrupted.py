"""Nothing that happens on the way to a data set shows in its bytes or under its name."""

import dataclasses
import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from megatron_music.data import build_steps as builder_module
from megatron_music.data.build import build
from megatron_music.data.settings import BuildSettings
from megatron_music.data.sources.open import folder_source
from megatron_music.errors import DataError, UsageError, WriteError
from megatron_music.files import file_lock
from megatron_music.progress import Progress
from megatron_music.score.midi_writer import write_midi
from tests.data.collection import files_of, folder_of_songs, song, songs, source_of

HALVES = BuildSettings(split=(50, 25, 25))


@pytest.mark.slow
def test_one_two_and_three_workers_write_the_same_bytes(tmp_path: Path) -> None:
    settings = dataclasses.replace(HALVES, transpositions=3)
    for workers in (1, 2, 3):
        build(source_of(songs(20)), tmp_path / str(workers), settings, workers)
    assert files_of(tmp_path / "1") == files_of(tmp_path / "2") == files_of(tmp_path / "3")


def test_the_same_music_elsewhere_gives_the_same_bytes(tmp_path: Path) -> None:
    for place in ("here", "there"):
        folder = folder_of_songs(tmp_path / place / "music", 6)
        (folder / "bad.mid").write_bytes(b"no midi")
        build(folder_source(folder), tmp_path / f"set-{place}", HALVES)
    assert files_of(tmp_path / "set-here") == files_of(tmp_path / "set-there")


def die_at(stage: str, count: int, folder: Path, log: Path) -> None:
    """Build, and kill the own process at a step of reading, writing or publishing."""
    steps: Counter[str] = Counter()

    def step(name: str) -> None:
        steps[name] += 1
        if steps[name] == count and name == stage:
            os.kill(os.getpid(), signal.SIGKILL)

    @contextmanager
    def stages(title: str, _: str) -> Iterator[Progress]:
        yield lambda *_: step(title.partition(" ")[0])

    sync = os.fsync
    os.fsync = lambda file: (step("publish"), sync(file))[1]
    build(source_of(songs(12, log)), folder, HALVES, stage=stages)


@pytest.mark.slow
def test_a_build_killed_at_every_step_ends_with_the_same_bytes(tmp_path: Path) -> None:
    log, folder = tmp_path / "log", tmp_path / "set"
    deaths = [("read", 2), ("read", 3), ("read", 2), ("write", 3), ("publish", 1), ("publish", 7)]
    for stage, count in deaths:
        spawn = multiprocessing.get_context("spawn")
        child = spawn.Process(target=die_at, args=(stage, count, folder, log))
        child.start()
        child.join()
        assert child.exitcode == -signal.SIGKILL, (stage, count)
        assert not (folder / "manifest.json").exists()
    build(source_of(songs(12, log)), folder, HALVES)
    build(source_of(songs(12)), tmp_path / "whole", HALVES)
    assert files_of(folder) == files_of(tmp_path / "whole")
    # What was finished has not been read again.
    assert log.read_text().split() == [item.name for item in songs(12)]


def test_a_second_build_finds_nothing_to_do(tmp_path: Path) -> None:
    log = tmp_path / "log"
    first = build(source_of(songs(8, log)), tmp_path / "set", HALVES)
    log.unlink()
    second = build(source_of(songs(8, log)), tmp_path / "set", HALVES)
    assert second.up_to_date
    assert second.manifest == first.manifest
    assert not log.exists()
    assert not (tmp_path / "set/.build").exists()


def test_a_source_written_to_is_read_to_see_whether_it_changed(tmp_path: Path) -> None:
    folder, made = folder_of_songs(tmp_path / "music", 6), tmp_path / "set"
    build(folder_source(folder), made, HALVES)
    before, dated = files_of(made), (made / "manifest.json").stat().st_mtime_ns
    assert dated == folder_source(folder).changed_ns
    time.sleep(0.02)  # the kernel's clock ticks every few milliseconds
    raw = bytearray((folder / "song-00.mid").read_bytes())
    (folder / "song-00.mid").write_bytes(raw)
    assert build(folder_source(folder), made, HALVES).up_to_date
    assert (made / "manifest.json").stat().st_mtime_ns > dated  # the next time, nothing is read
    assert files_of(made) == before
    time.sleep(0.02)
    raw[-6] ^= 1
    (folder / "song-00.mid").write_bytes(raw)
    with pytest.raises(UsageError, match="the same with other contents"):
        build(folder_source(folder), made, HALVES)


def test_shards_of_files_that_changed_meanwhile_are_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of_songs(tmp_path / "music", 6)
    with monkeypatch.context() as patched:
        patched.setattr(builder_module, "publish", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            build(folder_source(folder), tmp_path / "set", HALVES)
    write_midi(song(77), folder / "song-03.mid")
    build(folder_source(folder), tmp_path / "set", HALVES)
    build(folder_source(folder), tmp_path / "whole", HALVES)
    assert files_of(tmp_path / "set") == files_of(tmp_path / "whole")


def test_a_lost_file_is_made_again(tmp_path: Path) -> None:
    build(source_of(songs(8)), tmp_path / "set", HALVES)
    before = files_of(tmp_path / "set")
    (tmp_path / "set/valid.bin").unlink()
    assert not build(source_of(songs(8)), tmp_path / "set", HALVES).up_to_date
    assert files_of(tmp_path / "set") == before


def test_other_settings_or_music_need_force(tmp_path: Path) -> None:
    build(source_of(songs(8)), tmp_path / "set", HALVES)
    before = files_of(tmp_path / "set")
    other = dataclasses.replace(HALVES, bars=2)
    with pytest.raises(UsageError, match=r"bars 4 \(asked: 2\).*--force"):
        build(source_of(songs(8)), tmp_path / "set", other)
    with pytest.raises(UsageError, match="another source"):
        build(source_of(songs(9)), tmp_path / "set", HALVES)
    pieces = dataclasses.replace(HALVES, pieces=True)
    with pytest.raises(UsageError, match=r"set of stored windows \(asked: whole pieces\); "):
        build(source_of(songs(8)), tmp_path / "set", pieces)
    assert files_of(tmp_path / "set") == before
    build(source_of(songs(8)), tmp_path / "set", other, force=True)
    build(source_of(songs(8)), tmp_path / "new", other)
    assert files_of(tmp_path / "set") == files_of(tmp_path / "new")


@pytest.mark.parametrize(
    ("name", "text"), [("README.md", b"mine"), ("manifest.json", b'{"name": "my site"}')]
)
def test_a_folder_of_other_things_is_left_alone(tmp_path: Path, name: str, text: bytes) -> None:
    (tmp_path / name).write_bytes(text)
    with pytest.raises(UsageError, match="holds other things; give a new folder"):
        build(source_of(songs(2)), tmp_path, force=True)
    with pytest.raises(UsageError, match="is a file"):
        build(source_of(songs(2)), tmp_path / name)
    assert files_of(tmp_path) == {name: text}


def test_two_builds_do_not_share_a_folder(tmp_path: Path) -> None:
    with (
        file_lock(tmp_path / "set" / ".build" / "lock", DataError("taken")),
        pytest.raises(DataError, match="another build is running"),
    ):
        build(source_of(songs(2)), tmp_path / "set")


@pytest.mark.parametrize("step", ["indexed.write_index", "shards.write.read_documents"])
def test_a_disk_that_fills_leaves_nothing_under_a_final_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    folder = tmp_path / "set"
    with monkeypatch.context() as patched:
        patched.setattr(f"megatron_music.data.{step}", full)
        with pytest.raises(WriteError, match=r"No space left on device.*make room"):
            build(source_of(songs(8)), folder, HALVES)
    assert [path.name for path in folder.iterdir()] == [".build"]
    with monkeypatch.context() as patched:
        patched.setattr("megatron_music.data.shards.shard_file.np.ascontiguousarray", full)
        with pytest.raises(WriteError, match="No space left on device"):
            build(source_of(songs(9)), folder, HALVES)
    build(source_of(songs(8)), folder, HALVES)
    assert not (folder / ".build").exists()


def test_a_place_that_cannot_be_written_is_one_error() -> None:
    with pytest.raises(WriteError, match="cannot write the data set /proc/none"):
        build(source_of(songs(2)), Path("/proc/none"))


def test_what_was_on_a_disk_that_went_away_is_read_anew(tmp_path: Path) -> None:
    folder = tmp_path / "music"
    folder_of_songs(folder, 6)
    source = folder_source(folder)
    folder.rename(tmp_path / "away")
    with pytest.raises(DataError, match=r"no piece .*6 unreadable"):
        build(source, tmp_path / "set")
    (tmp_path / "away").rename(folder)
    assert build(source, tmp_path / "set").manifest["inputs"]["kept"] == 6

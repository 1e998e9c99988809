"""Files appear under their final name only when they are complete."""

import os
from pathlib import Path

import pytest

from megatron_music.errors import UsageError, WriteError
from megatron_music.files import (
    atomic_write,
    build_hint,
    check_writable,
    file_lock,
    refuse_overwriting,
    write_text,
)


def test_the_final_name_appears_at_the_end_alone(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.txt"
    with atomic_write(target) as temporary:
        temporary.write_text("half")
        assert temporary.suffix == target.suffix
        assert not target.exists()
    assert target.read_text() == "half"
    assert [path.name for path in target.parent.iterdir()] == ["a.txt"]


def test_a_device_is_written_and_stays_one() -> None:
    controller, terminal = os.openpty()
    device = Path(os.ttyname(terminal))
    with atomic_write(device) as place:
        place.write_text("notes")
    assert device.is_char_device()
    assert os.read(controller, 5) == b"notes"
    os.close(controller)
    os.close(terminal)


def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    def stop_midway() -> None:
        with atomic_write(target) as temporary:
            temporary.write_text("new")
            raise ValueError("midway")

    target = tmp_path / "a.txt"
    write_text(target, "old")
    with pytest.raises(ValueError, match="midway"):
        stop_midway()
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    def run_out_of_room() -> None:
        with atomic_write(tmp_path / "a.txt") as temporary:
            temporary.write_text("some of it")
            with Path("/dev/full").open("w") as full:
                full.write("more")

    with pytest.raises(WriteError, match="No space left") as caught:
        run_out_of_room()
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_output_may_not_be_its_own_source(tmp_path: Path) -> None:
    source = tmp_path / "a.mid"
    source.write_bytes(b"music")
    (tmp_path / "link.mid").symlink_to(source)
    refuse_overwriting(source, None, tmp_path / "b.mid")
    for output in (source, tmp_path / "link.mid", tmp_path / "." / "a.mid"):
        with pytest.raises(UsageError, match="is the input itself"):
            refuse_overwriting(source, output)


def test_a_lock_keeps_others_out_until_it_is_given_back(tmp_path: Path) -> None:
    def enter() -> None:
        with file_lock(tmp_path / "new" / "lock", UsageError("busy")):
            pass

    held = file_lock(tmp_path / "new" / "lock", UsageError("free"))
    with held, pytest.raises(UsageError, match="busy"):
        enter()
    enter()


def test_a_place_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "deep")
    (tmp_path / "a.txt").touch()
    (tmp_path / "away").symlink_to(tmp_path / "gone")
    for write in (check_writable, lambda place: write_text(place / "b.txt", "music")):
        with pytest.raises(
            WriteError, match=r"the link .*away points to .*gone, which is not there"
        ):
            write(tmp_path / "away" / "new")
    (tmp_path / "away").unlink()
    with pytest.raises(WriteError, match=r"cannot write into .*a.txt/b: Not a directory"):
        check_writable(tmp_path / "a.txt" / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_music_files_are_to_be_built_from_and_not_into(tmp_path: Path) -> None:
    assert build_hint(tmp_path / "new").endswith(f"data build SOURCE -o {tmp_path}/new")
    (tmp_path / "song.mid").touch()
    name = tmp_path.name
    words = f"data build {tmp_path} -o data/{name}, and give data/{name}"
    assert build_hint(tmp_path).endswith(words)

"""Files appear under their final name only when they are complete."""

from pathlib import Path

import pytest

from megatron_music.errors import WriteError
from megatron_music.files import complete, write_text


def test_the_final_name_appears_at_the_end_alone(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.txt"
    with complete(target) as temporary:
        temporary.write_text("half")
        assert temporary.suffix == target.suffix
        assert not target.exists()
    assert target.read_text() == "half"
    assert [path.name for path in target.parent.iterdir()] == ["a.txt"]


def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    def stop_midway() -> None:
        with complete(target) as temporary:
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
        with complete(tmp_path / "a.txt") as temporary:
            temporary.write_text("some of it")
            with Path("/dev/full").open("w") as full:
                full.write("more")

    with pytest.raises(WriteError, match="No space left") as caught:
        run_out_of_room()
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []

"""What stands in a line of progress."""

import sys

import pytest

from megatron_music.cli.show import duration, log, progress, progress_line


@pytest.mark.parametrize(
    ("done", "total", "fresh", "elapsed_s", "said"),
    [
        (0, 4, 0, 0.0, "read: 0/4 files (0%)"),
        (1_000, 4_000, 1_000, 2.0, "read: 1,000/4,000 files (25%), 500 files/s, 6 s left"),
        (4_000, 4_000, 4_000, 0.4, "read: 4,000/4,000 files (100%)"),
        (1, 4, 1, 30.0, "read: 1/4 files (25%), 30 s each, 1 min 30 s left"),
        (4, 4, 2, 2.0, "read: 4/4 files (100%), 1.0 files/s, took 2 s"),
    ],
)
def test_a_line_has_a_rate_and_the_time_left(
    done: int, total: int, fresh: int, elapsed_s: float, said: str
) -> None:
    assert progress_line("read", "files", done, total, fresh, elapsed_s) == said


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (61, "1 min 01 s"), (7_500, "2 h 05 min")]
)
def test_lengths_of_time_are_short(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_a_remark_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    log("no folder \x1b[2J")
    assert capsys.readouterr().err == "no folder \\x1b[2J\n"


def test_on_a_terminal_a_remark_has_its_own_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress("read", "files") as update:
        update(0, 2)
        update(2, 2)
        log("and now the rest")
    lines = capsys.readouterr().err.replace("\r\x1b[2K", "|")
    assert lines == "|read: 0/2 files (0%)|read: 2/2 files (100%)\nand now the rest\n"

"""The page of songs before and after is made of two folders of songs."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megatron_music.score.instruments import VOICES
from megatron_music.score.midi_writer import write_midi
from megatron_music.score.notes import Piece, Track

SCRIPT = Path(__file__).parents[1] / "docs" / "before_after.py"


@pytest.fixture(scope="module")
def program() -> Any:
    spec = importlib.util.spec_from_file_location("before_after", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def chorale(seed: int) -> Piece:
    """Make eight bars of four voices in eighths, as dense a picture as a chorale's."""
    random = np.random.default_rng(seed)
    onset = np.arange(0, 128, 2, dtype=np.int64)
    lines = [Track(code, onset, onset + 2, random.integers(low, low + 12, 64))
             for code, low in zip(VOICES, (64, 57, 50, 40), strict=True)]  # fmt: skip
    return Piece(4, 8, tuple(lines))


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    for side, seeds in (("before", (7, 8, 10)), ("after", (8, 9, 10))):
        (tmp_path / side).mkdir()
        for seed in seeds:
            write_midi(chorale(seed), tmp_path / side / f"song-{seed}.mid")
    (tmp_path / "after" / "prompt.mid").write_bytes(b"")
    return [tmp_path / "before", tmp_path / "after"]


def test_songs_of_one_seed_stand_side_by_side(
    program: Any, folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "page"
    about = tmp_path / "about.md"
    about.write_text("The first model hears nothing.\n", encoding="utf-8")
    program.main([*map(str, folders), "-o", str(output), "-n", "2", "--about", str(about)])
    text = (output / "README.md").read_text(encoding="utf-8")
    assert text.index("The first model hears nothing.") < text.index("Seed 8")
    names = [f"song-{seed}-{side}.png" for seed in (8, 10) for side in ("before", "after")]
    assert {path.name for path in output.iterdir()} == {"README.md", *names}
    for name in names:
        assert f"]({name})" in text
        assert (output / name).read_bytes().startswith(b"\x89PNG")
    assert text.count(", crossed ") == 4  # of each song
    size_bytes = sum(path.stat().st_size for path in output.iterdir())
    assert f"2 pairs, {size_bytes:,} bytes" in capsys.readouterr().out
    assert 5 * size_bytes < program.MOST_BYTES  # ten pairs as dense as these have room


def test_too_few_songs_in_common_are_one_line(
    program: Any, folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        program.main([*map(str, folders), "-o", str(tmp_path / "page")])
    assert stopped.value.code == 1
    assert "share 2 songs by name, 10 are asked for" in capsys.readouterr().err

"""The benchmarks compare like with like, and their arithmetic is that of a person."""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import psutil
import pytest

from megatron_music.data.build import build
from megatron_music.data.settings import BuildSettings
from megatron_music.data.sources import folder_source
from megatron_music.score.midi import read_midi, write_midi
from megatron_music.score.quantize import quantize
from megatron_music.score.quantize import windows as cut
from megatron_music.tokenizer.codec import encode, to_text
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary
from tests.data.collection import song

BENCHMARKS = Path(__file__).parents[2] / "profiling" / "benchmarks"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import modules of the benchmarks, which are programs and no package."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)

    def load(name: str) -> ModuleType:
        return import_module(name)

    yield load
    for name in set(sys.modules) - before:
        if str(BENCHMARKS) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_variants_are_other_music_of_the_same_size(module: Any, tmp_path: Path) -> None:
    made_up = module("made_up")
    bases = made_up.bands(2)
    paths = made_up.write_variants(bases, tmp_path / "files", 12)
    sizes = [path.stat().st_size for path in paths]
    assert max(sizes[::2]) < 1.1 * min(sizes[::2])
    manifest = build(folder_source(tmp_path / "files"), tmp_path / "set", BuildSettings()).manifest
    assert manifest["inputs"] == {"total": 12, "kept": 12, "refused": {}}


def test_the_plain_encoder_writes_the_tokens_that_ours_does(module: Any, tmp_path: Path) -> None:
    path = tmp_path / "song.mid"
    write_midi(song(3, bars=8), path)
    vocabulary = Vocabulary(TokenizerSettings(density=False))
    ours = [encode(window, vocabulary) for window in cut(quantize(read_midi(path), 4), 4, 4)]
    theirs = module("timed_pretty_midi").windows(path)
    assert [tracks(to_text(tokens, vocabulary)) for tokens in ours] == list(map(tracks, theirs))


def tracks(text: str) -> list[str]:
    """Split a document into its tracks, in an order of their own, without densities."""
    words = " ".join(word for word in text.split() if not word.startswith("DENSITY"))
    return sorted(words.removeprefix("PIECE_START ").removesuffix(" PIECE_END").split("TRACK_END"))


def test_any_beginning_of_an_order_is_spread_over_the_whole(module: Any) -> None:
    order = module("spread").spread(range(100))
    assert sorted(order) == list(range(100))
    for count in (5, 10, 30):
        gaps = np.diff(sorted(order[:count]))
        assert gaps.max() <= 4 * 100 / count


def test_rates_and_ratios_are_those_of_the_figures(module: Any) -> None:
    tables, machine = module("tables"), module("machine")
    many = {"files": 1000, "wall_s": 4.0, "tokens": 30_000_000, "verify_s": 0.6,
            "worker_peak_bytes": 0, "peak_bytes": 200e6}  # fmt: skip
    made = tables.Collection(
        "songs",
        7,
        load={"files": 100, "cpu_s": 0.1, "bytes": 4e6},
        build={"files": 100, "cpu_s": 0.2, "kept": 80, "tokens": 8000},
        program={"files": 100, "cpu_s": 1.0},
        peers={"slow": {"files": 10, "cpu_s": 2.0}, "absent": {"missing": "not installed"}},
        by_workers={1: many, 2: many | {"wall_s": 2.0}},
        by_size=[many | {"worker_peak_bytes": 250e6}],
    )
    page = tables.markdown([made], machine.Machine("box", "a box"), 0.2, [])
    assert "| **the whole build** | 100 | 500 | 0.50 |  |" in page
    assert "| slow | 10 | 5 | 0.0050 | 100 times as fast |" in page
    assert "| absent | not installed |" in page
    assert "| 2 | 1,000 | 2.00 | 500 | 2.00 |" in page
    assert "| 1,000 | 250 | 200 |" in page
    assert "30.0 M tokens at 50.0 M tokens/s" in page
    assert "shared machine" not in page


def test_an_estimate_names_what_limits(module: Any) -> None:
    row = module("extrapolate")._disk_row
    assert row(200, 40_000, 10, 5) == "| 200 | 200 | 205 | the disk |"
    assert row(1000, 40_000, 100, 5) == "| 1,000 | 40 | 105 | the cores |"
    assert row(1000, 40_000, 10, 500) == "| 1,000 | 40 | 540 | the main process |"


def test_several_workers_are_compared_with_one_round_by_round(module: Any) -> None:
    extrapolate = module("extrapolate")
    rounds = [
        extrapolate.Turn(*({"wall_s": s} for s in walls[:2]), [{"wall_s": s} for s in walls[2:]])
        for walls in [(10.0, 5.0, 3.0, 4.0), (9.0, 6.0, 4.5, 2.0)]
    ]
    section = extrapolate.against_one(rounds, 2)
    assert "## 2 workers against one" in section
    assert "| 1 | 10.00 | 5.00 | 4.00 | 2.00 | 2.50 |" in section
    assert "| 2 | 9.00 | 6.00 | 4.50 | 1.50 | 2.00 |" in section
    assert "| the fastest | 9.00 | 5.00 | 4.00 | 1.80 | 2.25 |" in section
    assert "| the median |  |  |  | 1.75 | 2.25 |" in section


def test_the_benchmark_of_scale_writes_its_page(
    module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scale = module("scale")
    monkeypatch.setattr(scale, "DISK_MB", 1)
    monkeypatch.setattr(sys, "argv", ["scale.py", "--count", "20", "--rounds", "2", "-o", "made"])
    monkeypatch.chdir(tmp_path)
    scale.main()
    assert {path.name for path in Path("made").iterdir()} == {"scale.csv", "scale.md", "scale.png"}
    page = Path("made/scale.md").read_text(encoding="utf-8")
    assert "# 20 files with 2 workers" in page
    assert "| round | one, s | 2, s | apart, s | 2: times as fast | apart |" in page


@pytest.mark.skipif(sys.platform != "linux", reason="MADV_DONTNEED frees at once on Linux alone")
def test_every_other_page_of_what_was_touched_is_free_again(module: Any) -> None:
    process, size_bytes = psutil.Process(), 64 << 20
    before = process.memory_info().rss
    with module("touched").touched_memory(size_bytes):
        assert process.memory_info().rss - before == pytest.approx(size_bytes, rel=0.2)

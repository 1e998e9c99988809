"""The benchmarks compare like with like, and their arithmetic is that of a person."""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from megatron_music.data.build import build
from megatron_music.data.settings import BuildSettings
from megatron_music.data.sources.open import folder_source
from megatron_music.score.midi_reader import read_midi
from megatron_music.score.midi_writer import write_midi
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
    synthetic = module("synthetic_files")
    bases = synthetic.made_up(2)["bands"]
    synthetic.write_variants(bases, tmp_path / "files", 12)
    sizes = [path.stat().st_size for path in synthetic.midi_files(tmp_path)]
    assert max(sizes[::2]) < 1.1 * min(sizes[::2])
    manifest = build(folder_source(tmp_path / "files"), tmp_path / "set", BuildSettings()).manifest
    assert manifest["inputs"] == {"total": 12, "kept": 12, "refused": {}}


def test_the_plain_encoder_writes_the_tokens_that_ours_does(module: Any, tmp_path: Path) -> None:
    path = tmp_path / "song.mid"
    write_midi(song(3, bars=8), path)
    vocabulary = Vocabulary(TokenizerSettings(density=False))
    ours = [encode(window, vocabulary) for window in cut(quantize(read_midi(path), 4), 4, 4)]
    theirs = module("build").windows(path)
    assert [tracks(to_text(tokens, vocabulary)) for tokens in ours] == list(map(tracks, theirs))


def tracks(text: str) -> list[str]:
    """Split a document into its tracks, in an order of their own, without densities."""
    words = " ".join(word for word in text.split() if not word.startswith("DENSITY"))
    return sorted(words.removeprefix("PIECE_START ").removesuffix(" PIECE_END").split("TRACK_END"))


def test_any_beginning_of_an_order_is_spread_over_the_whole(module: Any, tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / f"{number}.mid").touch()
    order = [int(path.stem) for path in module("build").evenly(str(tmp_path), "1e9")]
    assert sorted(order) == list(range(100))
    places = sorted(str(number) for number in range(100))  # as the folder lists them
    for count in (5, 10, 30):
        gaps = np.diff(sorted(places.index(str(number)) for number in order[:count]))
        assert gaps.max() <= 4 * 100 / count


def test_rates_and_ratios_are_those_of_the_figures(module: Any) -> None:
    alone = {"workers": 1, "files": 1000, "wall_s": 4.0, "tokens": 30_000_000, "verify_s": 0.6,
             "worker_peak_bytes": 0, "peak_bytes": 200e6}  # fmt: skip
    both = alone | {"workers": 2, "wall_s": 2.0, "worker_peak_bytes": 250e6}
    costs = {
        "load": {"files": 100, "cpu_s": 0.1, "bytes": 4e6},
        "build": {"files": 100, "cpu_s": 0.2, "kept": 80, "tokens": 8000},
        "pieces": {"files": 100, "cpu_s": 0.125},
        "miditok": {"missing": "not installed"},
        "pretty_midi": {"files": 10, "cpu_s": 2.0},
    }
    page = module("build").section("songs", 7, costs, [alone, both])
    assert "| **the whole build** | 100 | 500 | 0.5 |  |" in page
    assert "| **the whole build, of pieces** | 100 | 800 | 0.8 |  |" in page
    assert "| pretty_midi, plain Python | 10 | 5 | 0.005 | 100 times as fast |" in page
    assert "| MidiTok MMM, Megatron's writer | not installed |" in page
    assert "| 2 | 1,000 | 2.00 | 500 | 2.00 | 250 | 200 |" in page
    assert "30.0 M tokens at 50.0 M tokens/s" in page

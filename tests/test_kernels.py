"""Kernels compiled ahead of time are those that the commands call, for the same types."""

from pathlib import Path

import pytest

from megatron_music.data.build import build
from megatron_music.data.report.stats import statistics
from megatron_music.data.report.verify import verify
from megatron_music.data.settings import BuildSettings
from megatron_music.data.sources.open import open_source
from megatron_music.generate.composer import Composer
from megatron_music.generate.song_request import Request
from megatron_music.kernels import compile_kernels
from megatron_music.score.jit import count_compiled
from megatron_music.tokenizer.structure import INPUTS
from megatron_music.tokenizer.vocabulary import TokenizerSettings
from tests.data.collection import folder_of_songs, song
from tests.generate.conftest import untrained


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    """Compile what is not on disk yet."""
    compile_kernels()


def test_a_second_time_nothing_is_left_to_compile() -> None:
    told: list[tuple[int, int]] = []
    assert compile_kernels(lambda done, total, _="": told.append((done, total))) == 0
    assert told[0][0] == 0
    assert told[-1][0] == told[-1][1]


def test_building_verifying_and_counting_find_their_kernels(tmp_path: Path) -> None:
    source = open_source(str(folder_of_songs(tmp_path / "midi")))

    def work() -> None:
        build(source, tmp_path / "set", BuildSettings(split=(50, 25, 25)), workers=1)
        verify(tmp_path / "set")
        statistics(tmp_path / "set")

    assert count_compiled(work) == 0


@pytest.mark.parametrize("fill", [False, True])
def test_composing_finds_its_kernels(tmp_path: Path, fill: bool) -> None:
    model = untrained(tmp_path, TokenizerSettings(bars=4, fill=fill), inputs=INPUTS)
    composer = Composer.load(model)
    request = Request(1, bars=2, fill_bars=(2,)) if fill else Request(1, bars=2)
    prompt = song(1, bars=2) if fill else None
    assert count_compiled(lambda: list(composer.compose(request, prompt))) == 0

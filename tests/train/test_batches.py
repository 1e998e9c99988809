"""Batches of a blend: its shares, whatever the sizes of its folders."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("megatron.core")

from megatron_music.config import Recipe, load_recipe  # noqa: E402
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary  # noqa: E402
from megatron_music.train import engine as engines  # noqa: E402
from megatron_music.train.batches import Batches, build_batches  # noqa: E402
from megatron_music.train.blend import parse_blend  # noqa: E402
from megatron_music.train.engine import Engine  # noqa: E402
from megatron_music.train.job import prepare  # noqa: E402
from tests.train.conftest import SMALL, write_data  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")

HIGH = Vocabulary(TokenizerSettings()).ids["NOTE_ON=88"]
"""Notes of the one data set lie below this, notes of the other from here on."""


def recipe(*overrides: str) -> Recipe:
    return load_recipe("tiny", [*SMALL, "train.train_iters=25", *overrides])


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with engines.start(recipe(), on_cpu=True) as started:
        yield started


@pytest.fixture(scope="module")
def low(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets") / "low"
    return write_data(folder, {"train": 200, "valid": 30}, 40, 60)


@pytest.fixture(scope="module")
def high(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets") / "high"
    return write_data(folder, {"train": 50, "valid": 30}, 88, 100)


def batches_of(words: list[str], run: Path, engine: Engine, *overrides: str) -> Batches:
    return build_batches(prepare(recipe(*overrides), parse_blend(words), run), engine)


def are_high(samples: Any) -> list[bool]:
    """Tell of each sample from which of the two data sets it is."""
    notes = [sample["tokens"][sample["tokens"] < HIGH + 40] for sample in samples]
    return [bool((tokens >= HIGH).any()) for tokens in notes]


def training(batches: Batches) -> list[Any]:
    return [micro for iteration in range(1, 26) for micro in batches.training(iteration)]


def test_samples_follow_the_weights(engine: Engine, low: Path, high: Path, tmp_path: Path) -> None:
    batches = batches_of([f"{low}:1", f"{high}:3"], tmp_path, engine)
    found = are_high(training(batches))
    assert sum(found) == 75
    assert 7 <= sum(found[:10]) <= 8, "the shares hold from the beginning"
    evaluated = are_high([micro for batch in batches.validation() for micro in batch])
    assert sum(evaluated) == pytest.approx(0.75 * len(evaluated), abs=1)


def test_without_weights_samples_follow_the_sizes(
    engine: Engine, low: Path, high: Path, tmp_path: Path
) -> None:
    batches = batches_of([str(low), str(high)], tmp_path, engine)
    assert sum(are_high(training(batches))) == 20


def test_no_window_is_evaluated_twice(
    engine: Engine, low: Path, high: Path, tmp_path: Path
) -> None:
    batches = batches_of([f"{low}:1", f"{high}:3"], tmp_path, engine, "log.eval_iters=1000")
    windows = [micro["tokens"] for batch in batches.validation() for micro in batch]
    assert len({window.numpy().tobytes() for window in windows}) == len(windows)
    assert len(windows) >= 28  # of the one with the larger share there are no more


def test_a_folder_given_twice_is_the_folder(engine: Engine, low: Path, tmp_path: Path) -> None:
    once = training(batches_of([str(low)], tmp_path / "once", engine))
    twice = training(batches_of([f"{low}:1", f"{low}:1"], tmp_path / "twice", engine))
    for one, same in zip(once, twice, strict=True):
        assert torch.equal(one["tokens"], same["tokens"])


def test_many_small_folders_last_as_long_as_they_are_asked_for(
    engine: Engine, tmp_path: Path
) -> None:
    words = []
    for name, share in (("a", 0.9), *((name, 0.02) for name in "bcdef")):
        write_data(tmp_path / name, {"train": 3, "valid": 3})
        words.append(f"{tmp_path / name}:{share}")
    batches = batches_of(words, tmp_path / "run", engine, "train.train_iters=2")
    assert len(list(batches.training(2))) == 4
    assert len(list(batches.validation())) == 1

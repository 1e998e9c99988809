"""Training of days is refused with its time and what takes an hour, unless asked for."""

from pathlib import Path

import pytest

from megatron_music.cli.estimate import refuse_long_run
from megatron_music.config import load_recipe
from megatron_music.costs import estimate
from megatron_music.errors import UsageError
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary
from megatron_music.train.blend import parse_blend
from megatron_music.train.request import TrainingRequest
from megatron_music.train.run_dir import RunDir


def request(recipe: str, folder: Path) -> TrainingRequest:
    vocabulary = Vocabulary(TokenizerSettings())
    return TrainingRequest(
        load_recipe(recipe), parse_blend([str(folder)]), RunDir(folder), vocabulary
    )


@pytest.fixture(autouse=True)
def slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a GPU that trains at 50 GFLOP/s."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(estimate, "cpu_flops_per_s", lambda: 50e9)


def test_what_takes_minutes_is_not_asked_about(tmp_path: Path) -> None:
    refuse_long_run(request("tiny", tmp_path), "tiny")


def test_what_takes_months_is_refused_with_what_takes_an_hour(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        refuse_long_run(request("article", tmp_path), "article")
    told = str(caught.value)
    assert "training article to 50,000 iterations would take about 23" in told
    assert "days on this machine" in told
    assert "train tiny train.train_iters=" in told
    assert "train.train_iters=9 here" in told
    assert "--yes" in told

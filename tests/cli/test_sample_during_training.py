"""Composing with a model in training: the same files as a later export would give, or a note."""

import shutil
from pathlib import Path

import pytest

from megatron_music.cli import sample_during_training
from megatron_music.config import load_recipe
from megatron_music.train.request import SampleContext, prepare
from tests.train.conftest import SMALL, write_data

pytest.importorskip("torch")
pytest.importorskip("megatron.core")

FILES = ["song-7.mid", "song-7.png", "song-7.wav"]


@pytest.fixture(scope="module")
def moment(tmp_path_factory: pytest.TempPathFactory) -> SampleContext:
    """Train three iterations; return the moment after them, with the weights still in memory."""
    from megatron_music.train.trainer import train

    folder = tmp_path_factory.mktemp("listening")
    data = write_data(folder / "set", {"train": 60, "valid": 20})
    changes = ["train.train_iters=3", "log.sample_interval=3", "log.eval_interval=0"]
    recipe = load_recipe("tiny", [*SMALL, "model.seq_length=512", *changes])
    heard: list[SampleContext] = []
    train(prepare(recipe, data, folder / "run"), lambda _: None, heard.append)
    return heard[0]


def files(moment: SampleContext) -> list[str]:
    return sorted(path.name for path in moment.samples.iterdir())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_weights_in_memory_and_in_the_checkpoint_compose_the_same(
    moment: SampleContext, capsys: pytest.CaptureFixture[str]
) -> None:
    from dataclasses import replace

    sample_during_training.write_samples(moment)
    assert files(moment) == FILES
    midi = (moment.samples / "song-7.mid").read_bytes()
    shutil.rmtree(moment.samples)
    sample_during_training.write_samples(
        replace(moment, weights=None)
    )  # as after training with TP=2
    assert files(moment) == FILES
    assert (moment.samples / "song-7.mid").read_bytes() == midi
    assert capsys.readouterr().err.count("composed 4 bars") == 2


def test_what_goes_wrong_is_a_note_and_leaves_nothing(
    tmp_path: Path, moment: SampleContext, capsys: pytest.CaptureFixture[str]
) -> None:
    from dataclasses import replace

    samples = tmp_path / "samples" / "step_3"
    sample_during_training.write_samples(replace(moment, weights={}, samples=samples))
    assert "note: nothing composed at iteration 3" in capsys.readouterr().err
    assert list((tmp_path / "samples").iterdir()) == []

"""What a run does when its loss leaves the ground, and when it is time to listen to it."""

from pathlib import Path
from typing import Any

import pytest

from megatron_music.config import load_recipe
from megatron_music.errors import TrainingError
from megatron_music.train import backends
from megatron_music.train.request import SampleContext, prepare
from tests.train.conftest import SMALL, losses, read

pytest.importorskip("torch")
pytest.importorskip("megatron.core")

SHORT = ["train.train_iters=12", "log.save_interval=4", "log.eval_interval=0"]
WILD = ["train.lr=3", "train.clip_grad=0", "train.lr_warmup_iters=10"]

pytestmark = pytest.mark.filterwarnings("ignore")


def go(data: Path, run: Path, *overrides: str, listen: Any = None) -> None:

    from megatron_music.train import trainer

    recipe = load_recipe("tiny", [*SMALL, *SHORT, *overrides])
    trainer.train(prepare(recipe, data, run), lambda _: None, listen)


def latest(run: Path) -> str:
    return (run / "checkpoints" / "latest").resolve().name


def test_a_spike_stops_with_the_weights_kept_and_the_last_good_ones_leading(
    data: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=r"stayed more than train.loss_spike_nats=0.5") as fault:
        go(data, tmp_path, *WILD, "train.loss_spike_nats=0.5")
    last = max(losses(tmp_path)) + 1
    assert last < 12
    assert (tmp_path / "checkpoints" / f"spike_{last}" / "meta.json").is_file()
    assert latest(tmp_path) == "step_4"
    assert f"(the weights are in {tmp_path / 'checkpoints' / f'spike_{last}'})" in str(fault.value)
    assert "resumes from step_4: give it a lower train.lr" in str(fault.value)


def test_a_spike_before_the_first_checkpoint_leaves_none_to_resume(
    data: Path, tmp_path: Path
) -> None:
    never = "log.save_interval=0"
    with pytest.raises(TrainingError, match="the same command starts again"):
        go(data, tmp_path, *WILD, "train.loss_spike_nats=0.5", never)
    assert prepare(load_recipe("tiny", [*SMALL, *SHORT]), data, tmp_path).start is None


def test_a_loss_that_is_not_finite_stops_and_saves_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    from megatron_music.train import trainer

    means = iter([3.0, 2.9, 2.8, 2.7, float("nan")])
    monkeypatch.setattr(trainer, "mean_loss", lambda *_: next(means))
    with pytest.raises(TrainingError, match=r"the loss became nan at iteration 5; .* from step_4"):
        go(data, tmp_path)
    assert latest(tmp_path) == "step_4"
    assert not (tmp_path / "checkpoints" / "step_5").exists()


@pytest.mark.slow
@pytest.mark.parametrize("distributed", ["true", "false"])
def test_fp16_finds_its_loss_scale_and_takes_it_along(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, distributed: str
) -> None:
    everything = ("bf16", "fp16", "fp32")  # what no CPU is asked to do otherwise
    monkeypatch.setattr(backends.Device, "precisions", property(lambda _: everything))
    half = [
        "train.precision=fp16",
        f"train.initial_loss_scale={2.0**32}",
        "train.lr_warmup_iters=0",
        f"parallel.use_distributed_optimizer={distributed}",
    ]
    go(data, tmp_path, *half, "train.train_iters=24")
    first = read(tmp_path)
    skipped = [entry["iteration"] for entry in first if entry["grad_norm"] is None]
    searched = next(i for i, entry in enumerate(first) if entry["grad_norm"] is not None)
    assert 3 < searched < 20
    # The search ends at the first power of two that fits, so less than a factor of two above the
    # largest gradient. Here it is 2^19: an element of 0.083 of the embedding (43,360 of fp16's
    # 65,504). It grows to 0.115 and 0.166 as the model learns, past 2^-3 at iteration 17, which
    # halves the scale once more; twice that growth would be a fault.
    assert skipped[:searched] == list(range(1, searched + 1))
    assert len(skipped) - searched <= 1
    go(data, tmp_path, *half, "train.train_iters=30")
    second = read(tmp_path)[len(first) :]
    assert all(entry["grad_norm"] is not None for entry in second)
    assert second[-1]["lm_loss"] < first[0]["lm_loss"] - 0.5


def test_it_is_listened_to_when_due_with_all_the_weights_and_a_checkpoint(
    data: Path, tmp_path: Path
) -> None:
    heard: list[SampleContext] = []
    go(data, tmp_path, "log.sample_interval=5", listen=heard.append)
    assert [moment.iteration for moment in heard] == [5, 10]
    for moment in heard:
        assert moment.samples == tmp_path / "samples" / f"step_{moment.iteration}"
        assert moment.weights is not None
        assert moment.weights["embedding.word_embeddings.weight"].shape == (512, 64)
    assert (heard[-1].step / "meta.json").is_file()


def test_listening_changes_no_digit_of_a_run(data: Path, tmp_path: Path) -> None:
    import torch

    def disturb(_: SampleContext) -> None:
        torch.manual_seed(0)
        torch.rand(100)

    dropout = ["model.hidden_dropout=0.1", "model.attention_dropout=0.1"]
    go(data, tmp_path / "silent", *dropout)
    go(data, tmp_path / "heard", *dropout, "log.sample_interval=3", listen=disturb)
    assert losses(tmp_path / "heard") == losses(tmp_path / "silent")

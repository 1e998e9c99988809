"""What torchrun tells its processes: needed in full, and no matter to a command of one process."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from megatron_music.cli.app import app
from megatron_music.errors import LayoutError, TrainingError, UsageError
from megatron_music.train.launcher import VARIABLES, LaunchedProcess, launched_process
from megatron_music.train.pretrain import explain
from tests.cli.program import Program

POD = {"RANK": "3", "WORLD_SIZE": "8", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}
"""What the operator of a training job sets in its pods, which have one GPU each."""

Set = pytest.MonkeyPatch


@pytest.fixture(autouse=True)
def alone(monkeypatch: Set) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def set_all(monkeypatch: Set, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_a_process_without_a_rank_is_alone_under_any_scheduler(monkeypatch: Set) -> None:
    set_all(monkeypatch, {"WORLD_SIZE": "4", "LOCAL_RANK": "2"})
    assert launched_process() == LaunchedProcess(0, 1, None, 1)


def test_a_rank_and_its_place_are_read(monkeypatch: Set) -> None:
    set_all(monkeypatch, POD)
    assert launched_process() == LaunchedProcess(3, 8, None, 1)
    set_all(monkeypatch, {"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"})
    assert launched_process() == LaunchedProcess(3, 8, 1, 2)


@pytest.mark.parametrize(
    ("left_out", "named"),
    [
        (("WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"), "WORLD_SIZE, MASTER_ADDR, MASTER_PORT are"),
        (("MASTER_PORT",), "MASTER_PORT is not set"),
    ],
)
def test_half_of_the_variables_are_refused_by_naming_the_others(
    left_out: tuple[str, ...], named: str, monkeypatch: Set
) -> None:
    set_all(monkeypatch, {name: value for name, value in POD.items() if name not in left_out})
    with pytest.raises(UsageError, match=f"RANK=3 says .* {named}"):
        launched_process()


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("RANK", "abc", "RANK must be a number"),
        ("LOCAL_RANK", "-1", "LOCAL_RANK must be a number"),
        ("MASTER_PORT", "tcp://10.0.0.1:80", "MASTER_PORT must be a number"),
        ("WORLD_SIZE", "3", "RANK=3 must be below WORLD_SIZE=3"),
    ],
)
def test_values_that_cannot_be_are_refused(
    name: str, value: str, told: str, monkeypatch: Set
) -> None:
    set_all(monkeypatch, POD | {name: value})
    with pytest.raises(UsageError, match=told):
        launched_process()


def test_train_names_in_one_line_what_is_missing(tmp_path: Path) -> None:
    program = Program(tmp_path)
    line = program.fails(2, "train", "tiny", "--data", "data", RANK="0", WORLD_SIZE="1")
    assert "MASTER_ADDR, MASTER_PORT are not set" in line


@pytest.mark.parametrize("words", [["data", "show", "x"], ["train", "tiny", "--estimate"]])
def test_commands_of_one_process_ignore_a_launcher(words: list[str], monkeypatch: Set) -> None:
    set_all(monkeypatch, {"RANK": "1", "WORLD_SIZE": "8"})
    CliRunner().invoke(app, words)
    assert not set(VARIABLES) & set(os.environ)


def test_ranks_that_wait_for_each_other_in_vain_say_where(monkeypatch: Set) -> None:
    dist = pytest.importorskip("torch.distributed")
    set_all(monkeypatch, POD)
    fault = explain(dist.DistStoreError("Timed out waiting for clients. 1/8 clients joined."))
    assert isinstance(fault, TrainingError)
    assert "8 processes of this run did not meet at 10.0.0.1:29500 (Timed out" in str(fault)


def test_several_gpus_need_a_local_rank(monkeypatch: Set) -> None:
    torch = pytest.importorskip("torch")
    context = pytest.importorskip("megatron_music.train.distributed")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(context, "refuse_without_code", lambda _: None)
    set_all(monkeypatch, POD)
    assert context.this_device() == torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    with pytest.raises(LayoutError, match="LOCAL_RANK is not set, and this process could use 8"):
        context.this_device()

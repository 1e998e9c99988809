"""Figures reach TensorBoard and Weights & Biases, once each, and in the same run after a resume."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from megatron_music.config import Recipe, load_recipe
from megatron_music.errors import MissingError
from megatron_music.train import loggers
from megatron_music.train.run_dir import RunDir

ENTRY = {"iteration": 3, "lm_loss": 2.5, "grad_norm": None, "validation_loss": 2.25}


def recipe(*overrides: str) -> Recipe:
    return load_recipe("tiny", ["log.tensorboard=false", *overrides])


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    (tmp_path / "run").mkdir()
    return RunDir(tmp_path / "run")


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Stand in for wandb; returns what it was told."""
    told: list[dict[str, Any]] = []
    module: Any = ModuleType("wandb")
    module.__spec__ = SimpleNamespace(name="wandb")
    module.init = lambda **given: (
        told.append(given)
        or SimpleNamespace(
            log=lambda figures, step: told.append({"step": step, **figures}),
            finish=lambda: told.append({"finished": True}),
        )
    )
    monkeypatch.setitem(sys.modules, "wandb", module)
    return told


def test_tensorboard_shows_each_figure_and_takes_back_what_was_lost(run: RunDir) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    asked = recipe("log.tensorboard=true")
    for start, loss in ((0, 9.0), (2, 2.5)):  # killed after 3, resumed from 2
        with loggers.open_loggers(run, asked, start) as (show,):
            show(ENTRY | {"lm_loss": loss})
    events = EventAccumulator(str(run.tensorboard))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("lm_loss")] == [(3, 2.5)]
    assert events.Scalars("validation_loss")[-1].value == 2.25
    assert "grad_norm" not in events.Tags()["scalars"]


def test_phases_of_a_profiled_run_are_figures_of_their_own(run: RunDir) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with loggers.open_loggers(run, recipe("log.tensorboard=true"), 0) as (show,):
        show(ENTRY | {"phases_s": {"forward": 0.25, "optimizer": 0.5}})
    events = EventAccumulator(str(run.tensorboard))
    events.Reload()
    assert events.Scalars("phases_s/forward")[0].value == 0.25
    assert events.Scalars("phases_s/optimizer")[0].value == 0.5


def test_wandb_gets_the_recipe_and_the_figures(run: RunDir, wandb: list[dict[str, Any]]) -> None:
    asked = recipe("log.wandb_project=music")
    with loggers.open_loggers(run, asked, 0) as (show,):
        show(ENTRY)
    opened, shown, ended = wandb
    assert (opened["project"], opened["name"]) == ("music", "run")
    assert opened["config"] == asked.model_dump()
    assert shown == {"step": 3, "lm_loss": 2.5, "validation_loss": 2.25}
    assert ended == {"finished": True}


def test_a_resumed_run_is_the_same_run_in_wandb(run: RunDir, wandb: list[dict[str, Any]]) -> None:
    for _ in range(2):
        with loggers.open_loggers(run, recipe("log.wandb_project=music"), 0):
            pass
    first, _, second, _ = wandb
    assert first["id"] == second["id"]
    assert second["resume"] == "allow"


def test_wandb_that_is_asked_for_and_absent_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loggers, "find_spec", lambda _: None)
    with pytest.raises(MissingError, match=r"log\.wandb_project=music needs wandb.*pip install"):
        loggers.check_loggers(recipe("log.wandb_project=music"))


def test_tensorboard_that_is_absent_is_done_without(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loggers, "find_spec", lambda _: None)
    with loggers.open_loggers(run, recipe("log.tensorboard=true"), 0) as opened:
        assert opened == []

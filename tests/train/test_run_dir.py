"""The run folder: checkpoints whole or absent, links that follow, a log that agrees."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from megatron_music.errors import CheckpointError, WriteError
from megatron_music.tokenizer.vocabulary import (
    TokenizerSettings,
    load_vocabulary,
    save_settings,
    vocabulary_of,
)
from megatron_music.train.run_dir import (
    CheckpointMeta,
    RunDir,
    clean,
    commit_checkpoint,
    lowest_validation_loss,
    read_log,
    read_meta,
    rewind_log,
    write_tokenizer,
)


def meta(iteration: int, validation_loss: float | None = None) -> CheckpointMeta:
    return CheckpointMeta(iteration, {}, "hash", validation_loss, 1, {})


def save(run: RunDir, iteration: int, validation_loss: float | None = None) -> None:
    with commit_checkpoint(run, meta(iteration, validation_loss)) as folder:
        (folder / "weights").write_text(str(iteration))


def names(run: RunDir) -> list[str]:
    return sorted(path.name for path in run.checkpoints.iterdir())


def target(run: RunDir, link: str) -> str:
    return (run.checkpoints / link).resolve().name


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path / "run")


def test_a_checkpoint_appears_whole_and_becomes_the_latest(run: RunDir) -> None:
    assert (run.latest(), run.steps(), lowest_validation_loss(run, 10)) == (None, [], None)
    with commit_checkpoint(run, meta(5)) as folder:
        assert not run.step(5).exists()
        (folder / "weights").write_text("5")
    assert run.latest() == run.step(5).resolve()
    assert read_meta(run.step(5)) == meta(5)
    (run.step(5) / "stale").touch()
    save(run, 5)
    assert not (run.step(5) / "stale").exists(), "saving an iteration again replaces it"


def test_the_last_two_and_the_best_are_kept(run: RunDir) -> None:
    for iteration, loss in ((1, 3.0), (2, 2.0), (3, None), (4, 2.5), (5, 2.7)):
        save(run, iteration, loss)
    assert names(run) == ["best", "latest", "step_2", "step_4", "step_5"]
    assert (target(run, "best"), target(run, "latest")) == ("step_2", "step_5")
    assert lowest_validation_loss(run, 5) == 2.0


def test_neither_a_save_that_fails_nor_a_kill_leaves_a_trace(run: RunDir) -> None:
    save(run, 1)
    with (
        pytest.raises(WriteError, match=r"cannot write .*step_2: No space left"),
        commit_checkpoint(run, meta(2)),
    ):
        raise OSError(28, "No space left on device")
    assert names(run) == ["latest", "step_1"]
    run.partial(2).mkdir()
    clean(run)
    assert names(run) == ["latest", "step_1"]


def test_a_latest_that_points_nowhere_gives_way_to_the_newest_whole_one(run: RunDir) -> None:
    save(run, 1)
    (run.checkpoints / "latest").unlink()
    (run.checkpoints / "latest").symlink_to("step_9")
    run.step(7).mkdir()  # not whole: no meta.json
    assert run.latest() == run.step(1)


def test_a_damaged_meta_file_is_a_checkpoint_error(run: RunDir) -> None:
    save(run, 1)
    (run.step(1) / "meta.json").write_text("{")
    with pytest.raises(CheckpointError, match="not a sound checkpoint"):
        read_meta(run.step(1))


def test_the_log_is_rewound_to_the_checkpoint_with_every_digit(run: RunDir) -> None:
    run.path.mkdir()
    loss = 5.365965366363525
    lines = [json.dumps({"iteration": i, "lm_loss": loss}) for i in range(4)]
    run.log.write_text("\n".join(lines) + '\n{"iteration": 4, "lm_l')
    assert [entry["iteration"] for entry in read_log(run)] == [0, 1, 2, 3]
    rewind_log(run, 2)
    assert run.log.read_text() == "\n".join(lines[:3]) + "\n"
    rewind_log(run, None)
    assert run.log.read_text() == ""


def test_a_run_gets_a_tokenizer_of_its_own_in_the_place_of_what_is_there(
    tmp_path: Path, run: RunDir
) -> None:
    """Also in the place of a link into the data set, which stays as it is."""
    settings = TokenizerSettings()
    save_settings(settings, tmp_path / "set")
    run.path.mkdir()
    run.tokenizer.symlink_to(tmp_path / "set")
    write_tokenizer(vocabulary_of(replace(settings, fill=True)), run)
    assert load_vocabulary(run.tokenizer).settings == replace(settings, fill=True)
    assert {path.name for path in run.tokenizer.iterdir()} == {
        "mmmtrack.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert load_vocabulary(tmp_path / "set").settings == settings

"""Checkpoints are data: what they pickle is not run, whoever wrote it."""

import os
import pickle
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
checkpoint = pytest.importorskip("torch.distributed.checkpoint")

from megatron_music.train.safe_unpickle import restricted_unpickling, without_pickles  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.sprung),)


@pytest.fixture
def step(tmp_path: Path) -> Path:
    """Write a checkpoint as torch does."""
    state = {"weight": torch.arange(6.0).view(2, 3), "extra": {"words": ("a", 1)}}
    checkpoint.save(state, checkpoint_id=tmp_path / "step", no_dist=True)
    return tmp_path / "step"


def load(step: Path) -> dict[str, Any]:
    state = {"weight": torch.zeros(2, 3), "extra": {"words": ("", 0)}}
    with restricted_unpickling(step):
        checkpoint.load(state, checkpoint_id=step, no_dist=True)
    return state


def test_what_torch_wrote_is_read(step: Path) -> None:
    assert torch.equal(load(step)["weight"], torch.arange(6.0).view(2, 3))


@pytest.mark.parametrize("name", [".metadata", "__0.metadata"])
def test_metadata_that_would_run_something_is_refused(step: Path, name: str) -> None:
    sprung = step.parent / "sprung"
    (step / name).write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(pickle.UnpicklingError, match=r"names posix.mkdir, which is not part"):
        load(step)
    assert not sprung.exists()


@pytest.mark.parametrize("name", ["os.system", "FileSystemReader", "pickle.loads"])
def test_of_torchs_modules_only_records_may_be_named(step: Path, name: str) -> None:
    (step / ".metadata").write_bytes(
        f"ctorch.distributed.checkpoint.filesystem\n{name}\n.".encode()
    )
    with pytest.raises(pickle.UnpicklingError, match="not part of a checkpoint"):
        load(step)


class _EarlyPickler(pickle.Pickler):
    """Writes enums as Python 3.11.0 to 3.11.3 do."""

    def reducer_override(self, value: Any) -> Any:
        return (getattr, (type(value), value.name)) if isinstance(value, Enum) else NotImplemented


def test_enums_as_early_pythons_3_11_pickle_them_are_read(step: Path) -> None:
    metadata = pickle.loads((step / ".metadata").read_bytes())  # noqa: S301
    with (step / ".metadata").open("wb") as file:
        _EarlyPickler(file).dump(metadata)
    assert b"getattr" in (step / ".metadata").read_bytes()
    assert torch.equal(load(step)["weight"], torch.arange(6.0).view(2, 3))


@pytest.mark.parametrize(
    "owner_and_name",
    [
        "metadata\n_MEM_FORMAT_ENCODING\nVmro",
        "metadata\n_MEM_FORMAT_ENCODING\nV__class__",
        "metadata\n_MEM_FORMAT_ENCODING\nVNO_MEMBER",
        "metadata\nTensorProperties\nV__init__",
    ],
)
def test_getattr_gives_members_of_enums_alone(step: Path, owner_and_name: str) -> None:
    call = f"cbuiltins\ngetattr\n(ctorch.distributed.checkpoint.{owner_and_name}\ntR."
    (step / ".metadata").write_bytes(call.encode())
    with pytest.raises(pickle.UnpicklingError, match="not a member of an enum"):
        load(step)


@pytest.mark.parametrize("asked", [None, "1"])
def test_objects_in_the_block_are_loaded_as_weights_alone(
    step: Path, tmp_path: Path, asked: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if asked is not None:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", asked)
    torch.save(Trap(tmp_path / "sprung"), tmp_path / "object.pt")
    with restricted_unpickling(step), pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "object.pt", weights_only=False)
    assert not (tmp_path / "sprung").exists()
    assert os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD") == asked
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


def test_pickled_extra_states_are_left_out() -> None:
    pickled, empty = torch.ones(8, dtype=torch.uint8), torch.empty(0, dtype=torch.uint8)
    weight = torch.ones(2)
    state = {"a.weight": weight, "a._extra_state": pickled, "b._extra_state": empty}
    assert without_pickles(state) == {
        "a.weight": weight,
        "a._extra_state": None,
        "b._extra_state": empty,
    }

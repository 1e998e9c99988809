"""Whether torch can use the GPUs that a driver lists: over a table of machines not at hand."""

import re

import pytest

from megatron_music.errors import MissingError
from megatron_music.nvidia import Driver, InstalledGpu
from megatron_music.train.torch_build import TorchBuild, gpu_problem, has_code_for

PYPI = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120")
"""What torch 2.13's CUDA 13 build has code for."""

V100 = InstalledGpu(0, "Tesla V100-SXM3-32GB", capability=(7, 0))
H100 = InstalledGpu(1, "NVIDIA H100 80GB HBM3", capability=(9, 0))
OLD, NEW = Driver((H100,), "535.183.01", (12, 2)), Driver((H100,), "580.95.05", (13, 0))
CPU_BUILD = TorchBuild("2.13.0+cpu", None)
CUDA_BUILD = TorchBuild("2.13.0", "13.0", PYPI)
BLIND = TorchBuild("2.13.0", "13.0", PYPI, "The NVIDIA driver on your system is too old")


@pytest.mark.parametrize(
    ("capability", "architectures", "expected"),
    [
        ((7, 0), PYPI, False),
        ((7, 5), PYPI, True),
        ((8, 9), PYPI, True),  # runs the code of sm_80 and sm_86
        ((10, 3), PYPI, True),
        ((12, 1), PYPI, True),
        ((13, 0), PYPI, True),  # compiles what compute_120 stands for
        ((13, 0), ("sm_120",), False),
        ((8, 0), ("sm_86",), False),
        ((9, 0), ("sm_90a",), True),
        ((10, 0), ("sm_90a",), False),
        ((10, 3), ("sm_100f",), True),
        ((7, 0), ("sm_70", "sm_80"), True),
        ((7, 0), (), True),  # a build that does not tell
    ],
)
def test_a_build_runs_on_its_own_generations(
    capability: tuple[int, int], architectures: tuple[str, ...], expected: bool
) -> None:
    assert has_code_for(capability, architectures) is expected


@pytest.mark.parametrize(
    ("build", "driver", "told"),
    [
        (CPU_BUILD, NEW, r"torch 2.13.0\+cpu is for CPUs alone, .* 1 x NVIDIA H100 80GB HBM3; "),
        (
            BLIND,
            OLD,
            "needs a driver for CUDA 13, and driver 535.183.01 of .* is for CUDA 12.2; update",
        ),
        (BLIND, NEW, r"cannot use .* with driver 580.95.05 \(The NVIDIA driver .*\); see whether"),
        (
            CUDA_BUILD,
            Driver((V100, H100), "580.95.05", (13, 0)),
            r"no code for Tesla V100-SXM3-32GB \(sm_70\), only for sm_75, .*BASE=volta for V100",
        ),
    ],
)
def test_a_gpu_that_torch_cannot_use_is_named_with_a_cure(
    build: TorchBuild, driver: Driver, told: str
) -> None:
    reason = gpu_problem(build, driver)
    assert re.search(told, reason)
    assert "\n" not in reason
    assert "CUDA_VISIBLE_DEVICES= to use the CPU" in reason


@pytest.mark.parametrize(
    ("build", "driver"),
    [
        (CUDA_BUILD, NEW),
        (CUDA_BUILD, OLD),  # torch can: forward compatibility packages are installed
        (CPU_BUILD, Driver()),
        (CPU_BUILD, Driver((InstalledGpu(0, is_lost=True),))),
        (BLIND, Driver(problem="NVML does not start")),
    ],
)
def test_a_usable_gpu_or_none_needs_no_remark(build: TorchBuild, driver: Driver) -> None:
    assert gpu_problem(build, driver) == ""


def test_training_refuses_a_gpu_that_torch_has_no_code_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A V100 with a torch whose CUDA build begins with Turing: it sees the GPU all the same."""
    torch = pytest.importorskip("torch")
    context = pytest.importorskip("megatron_music.train.distributed")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch._C, "_cuda_getArchFlags", lambda: " ".join(PYPI), raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: V100.name)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 0))
    with pytest.raises(MissingError, match=r"no code for Tesla V100-SXM3-32GB \(sm_70\)"):
        context.this_device()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    assert context.this_device() == torch.device("cuda", 0)

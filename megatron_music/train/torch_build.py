"""Whether torch can use this machine's GPUs, and why not: its build against driver and GPUs.

As a program (`python -m megatron_music.train.torch_build`) it prints the build as JSON, for those
who must not load torch.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from megatron_music.errors import MissingError
from megatron_music.nvidia import Driver, InstalledGpu, are_gpus_hidden, read_driver

if TYPE_CHECKING:
    import torch

CURE = (
    "use the container (make container, with BASE=volta for V100) or another build of torch, or "
    "set CUDA_VISIBLE_DEVICES= to use the CPU"
)

_ARCHITECTURE = re.compile(r"(sm|compute)_(\d+)(\d)([af]?)$")


@dataclass(frozen=True)
class TorchBuild:
    """What torch was built for; `problem` is its own reason for using no GPU, "" where it can."""

    version: str
    cuda: str | None
    architectures: tuple[str, ...] = ()
    """As in `sm_90`; `compute_120` is code that later GPUs can compile."""
    problem: str = ""


def read_torch_build() -> TorchBuild:
    """Load torch and read what it was built for, and whether it can use a GPU here."""
    import torch

    if torch.version.cuda is None:
        return TorchBuild(torch.__version__, None)
    flags = torch._C._cuda_getArchFlags() or ""  # noqa: SLF001 - get_arch_list is empty without a GPU
    problem = ""
    if not torch.cuda.is_available():
        try:
            torch.cuda.init()  # type: ignore[no-untyped-call]
            problem = "it finds no GPU"
        except (RuntimeError, AssertionError) as fault:
            problem = " ".join(str(fault).split())[:200]
    return TorchBuild(torch.__version__, torch.version.cuda, tuple(flags.split()), problem)


def has_code_for(capability: tuple[int, int], architectures: Iterable[str]) -> bool:
    """Tell whether one of a build's architectures runs on a GPU of this compute capability.

    Machine code runs on its own generation from its own minor version on, with an `a` on exactly
    its own; `compute` code is compiled on any later GPU. An empty list gives no information.
    """
    listed = tuple(architectures)
    for match in filter(None, map(_ARCHITECTURE.match, listed)):
        kind, version, suffix = match[1], (int(match[2]), int(match[3])), match[4]
        if suffix == "a":
            runs = capability == version
        elif kind == "compute" and not suffix:
            runs = capability >= version
        else:
            runs = capability[0] == version[0] and capability[1] >= version[1]
        if runs:
            return True
    return not listed


def gpu_problem(build: TorchBuild, driver: Driver) -> str:
    """Return in a line why torch cannot use the GPUs that the driver lists, "" if it can."""
    gpus = driver.usable_gpus
    if not gpus:
        return ""
    named = f"{len(gpus)} x {gpus[0].name or 'an NVIDIA GPU'}"
    if build.cuda is None:
        return f"torch {build.version} is for CPUs alone, and this machine has {named}; {CURE}"
    wanted = int(build.cuda.split(".")[0])
    if build.problem and driver.cuda is not None and driver.cuda[0] < wanted:
        return (
            f"torch {build.version} needs a driver for CUDA {wanted}, and driver {driver.version} "
            f"of {named} is for CUDA {driver.cuda[0]}.{driver.cuda[1]}; update the driver, {CURE}"
        )
    if lack := next(filter(None, (no_code_problem(build, gpu) for gpu in gpus)), ""):
        return lack
    if build.problem:
        return (
            f"torch {build.version} cannot use {named} with driver {driver.version} "
            f"({build.problem}); see whether nvidia-smi works, {CURE}"
        )
    return ""


def no_code_problem(build: TorchBuild, gpu: InstalledGpu) -> str:
    """Return in a line that a build has no code for a GPU, "" if it has."""
    if gpu.capability is None or has_code_for(gpu.capability, build.architectures):
        return ""
    major, minor = gpu.capability
    return (
        f"torch {build.version} has no code for {gpu.name or 'this GPU'} (sm_{major}{minor}), only "
        f"for {', '.join(build.architectures)}; {CURE}"
    )


def refuse_unused_gpus() -> None:
    """Raise MissingError where torch uses no GPU though this machine has one that is not hidden."""
    if are_gpus_hidden():
        return
    driver = read_driver()
    if driver.usable_gpus and (reason := gpu_problem(read_torch_build(), driver)):
        raise MissingError(reason)


def driver_problem() -> str:
    """Return in a line why a driver that is installed cannot be asked, "" if it can."""
    return "" if are_gpus_hidden() else read_driver().problem


def refuse_without_code(device: "torch.device") -> None:
    """Raise MissingError where torch sees a GPU that it has no code for."""
    import torch

    build = read_torch_build()
    if not build.architectures:
        return
    name, capability = torch.cuda.get_device_name(device), torch.cuda.get_device_capability(device)
    gpu = InstalledGpu(device.index or 0, name, capability=capability)
    if reason := no_code_problem(build, gpu):
        raise MissingError(reason)


if __name__ == "__main__":
    print(json.dumps(asdict(read_torch_build())))

"""The NVIDIA driver and GPUs of this machine, by NVML: the only place that opens it.

`nvml` gives the library itself, `read_driver` what it says of the machine, which never raises.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from megatron_music.errors import MissingError, NoDriverError


@dataclass(frozen=True)
class InstalledGpu:
    """A GPU as the driver lists it; None where the driver has no answer."""

    index: int
    name: str | None = None
    uuid: str | None = None
    memory_bytes: int | None = None
    capability: tuple[int, int] | None = None
    """Of CUDA."""
    is_lost: bool = False
    """It fell off the bus or needs a reset."""


@dataclass(frozen=True)
class Driver:
    """The driver of this machine; `problem` says why it cannot be asked, "" where it can.

    A machine without a driver has no GPUs and no problem.
    """

    gpus: tuple[InstalledGpu, ...] = ()
    version: str | None = None
    cuda: tuple[int, int] | None = None
    """The newest CUDA that the driver is for."""
    problem: str = ""

    @property
    def usable_gpus(self) -> tuple[InstalledGpu, ...]:
        """The GPUs that are not lost."""
        return tuple(gpu for gpu in self.gpus if not gpu.is_lost)


@contextmanager
def nvml() -> Iterator[ModuleType]:
    """Open NVML and close it again.

    Raises NoDriverError where there is none, MissingError where it does not start or stops
    answering.
    """
    module = _module()
    try:
        module.nvmlInit()
    except module.NVMLError_LibraryNotFound as fault:
        raise NoDriverError(
            "there is no NVIDIA driver here (libnvidia-ml.so.1 is missing); on a machine with a "
            "GPU install the driver, in a container start it with --gpus all"
        ) from fault
    except module.NVMLError as fault:
        raise MissingError(
            f"NVML does not start ({fault}); see whether nvidia-smi works; after an update of the "
            "driver restart the machine"
        ) from fault
    try:
        yield module
    except module.NVMLError as fault:
        raise MissingError(
            f"NVML stopped answering ({fault}); see whether nvidia-smi works"
        ) from fault
    finally:
        with suppress(module.NVMLError):
            module.nvmlShutdown()


def read_driver() -> Driver:
    """Read what the driver says of itself and of each GPU."""
    try:
        with nvml() as module:
            cuda = ask(module, "nvmlSystemGetCudaDriverVersion")
            return Driver(
                tuple(_read(module, index) for index in range(module.nvmlDeviceGetCount())),
                ask(module, "nvmlSystemGetDriverVersion"),
                # NVML writes 12.4 as 12040.
                None if cuda is None else (cuda // 1000, cuda % 1000 // 10),
            )
    except NoDriverError:
        return Driver()
    except MissingError as fault:
        return Driver(problem=str(fault))


def are_gpus_hidden() -> bool:
    """Tell whether CUDA_VISIBLE_DEVICES says that no GPU is to be used."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible is not None and visible.strip() in ("", "-1", "none", "void", "NoDevFiles")


def ask(module: ModuleType, query: str, *arguments: Any) -> Any:
    """Return NVML's answer, None where it has none; raises NVMLError for a lost GPU alone."""
    try:
        return getattr(module, query)(*arguments)
    except module.NVMLError as fault:
        # All other errors mean that this GPU or driver does not know the question.
        if fault.value in (module.NVML_ERROR_GPU_IS_LOST, module.NVML_ERROR_RESET_REQUIRED):
            raise
        return None


def _read(module: ModuleType, index: int) -> InstalledGpu:
    try:
        handle = module.nvmlDeviceGetHandleByIndex(index)
        memory = ask(module, "nvmlDeviceGetMemoryInfo", handle)
        capability = ask(module, "nvmlDeviceGetCudaComputeCapability", handle)
        return InstalledGpu(
            index,
            ask(module, "nvmlDeviceGetName", handle),
            ask(module, "nvmlDeviceGetUUID", handle),
            None if memory is None else int(memory.total),
            None if capability is None else (int(capability[0]), int(capability[1])),
        )
    except module.NVMLError:
        return InstalledGpu(index, is_lost=True)


def _module() -> ModuleType:
    try:
        import pynvml
    except ImportError as fault:
        raise MissingError(
            "nvidia-ml-py is missing; install it: pip install nvidia-ml-py"
        ) from fault
    return pynvml  # type: ignore[no-any-return]

"""What this machine has of all that the project can use, and a fix for what it lacks.

Nothing heavy is imported to find out: versions come from installed metadata, GPUs from NVML.
"""

import os
import platform
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from ctypes.util import find_library
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Literal

import psutil
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from megatron_music.train import choices

Status = Literal["ok", "optional", "needed"]

OURSELVES = "megatron-music"
GIB = 1 << 30
LEAST_FREE_GIB = 2
"""Of disk: a data set, a run with its checkpoints and an exported model of the small recipes."""


@dataclass(frozen=True)
class Finding:
    """One thing looked for: `status` is ok, or how badly it is missed; `fix` says what to do."""

    name: str
    found: str
    status: Status = "ok"
    fix: str = ""


def examine() -> list[Finding]:
    """Look at this machine; the findings stand in the order of their weight."""
    gpus = find_gpus()
    return [
        _python(),
        _hardware(),
        _disk(Path.cwd()),
        *map(_needed_package, ("symusic", "music21", "pretty_midi")),
        _torch(has_gpu=bool(gpus)),
        *map(_needed_package, ("megatron-core", "transformers")),
        _gpus(gpus),
        _module("transformer_engine", "transformer-engine"),
        _apex(),
        _kernels(),
        _soundfont(),
        _fluidsynth(),
        _program("Nsight Systems", ("nsys",), "install nsight-systems to profile kernels"),
        _program("containers", ("docker", "podman", "buildah"), "install one to use images"),
        _program("SLURM", ("sbatch",), "only clusters need it"),
    ]


def is_ready(findings: Iterable[Finding]) -> bool:
    """Tell whether everything needed is there."""
    return all(finding.status != "needed" for finding in findings)


def find_gpus() -> list[str]:
    """Name each NVIDIA GPU with its memory, as the driver tells; none without a driver."""
    with _nvml() as nvml:
        if nvml is None:
            return []
        return [
            _describe_gpu(nvml.nvmlDeviceGetHandleByIndex(index))
            for index in range(nvml.nvmlDeviceGetCount())
        ]


@contextmanager
def _nvml() -> Iterator[ModuleType | None]:
    """Give NVML, opened; None where there is no library, no driver or no permission."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # each kind of absence has its own; all mean that no GPU can be used
        yield None
        return
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def _describe_gpu(handle: object) -> str:
    import pynvml

    name = pynvml.nvmlDeviceGetName(handle)
    try:
        return f"{name}, {pynvml.nvmlDeviceGetMemoryInfo(handle).total / GIB:.0f} GiB"
    except pynvml.NVMLError:  # GPUs that share the machine's memory do not tell
        return str(name)


def _gpus(names: list[str]) -> Finding:
    if not names:
        return Finding("GPU", "none", "optional", "the CPU trains small models")
    kinds = dict.fromkeys(names)
    return Finding("GPU", "; ".join(f"{names.count(kind)} x {kind}" for kind in kinds))


def _python() -> Finding:
    found, wanted = platform.python_version(), _python_for(OURSELVES)
    if Version(found) in SpecifierSet(wanted):
        return Finding("Python", found)
    return Finding("Python", found, "needed", f"use Python {wanted}")


def _hardware() -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = psutil.virtual_memory()
    return Finding(
        "machine",
        f"{cores} cores, {memory.total / GIB:.0f} GiB of memory "
        f"({memory.available / GIB:.0f} free), {platform.system()} {platform.machine()}",
    )


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free / GIB
    found = f"{free:.0f} GiB free here"
    if free >= LEAST_FREE_GIB:
        return Finding("disk", found)
    return Finding("disk", found, "needed", f"make room: {LEAST_FREE_GIB} GiB at least")


def _python_for(package: str) -> str:
    """Return the Python versions that an installed package is for."""
    return str(metadata.metadata(package).json.get("requires_python", ""))


def _requirement(package: str) -> Requirement:
    """Return what our own metadata asks of a package."""
    asked = map(Requirement, metadata.requires(OURSELVES) or [])
    return next((one for one in asked if one.name == package), Requirement(package))


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _needed_package(package: str) -> Finding:
    """Look for a package; a pre-release such as a container's 2.6.0a0 counts as its release."""
    wanted, version = _requirement(package).specifier, _version(package)
    fix = f"pip install '{package}{wanted}', or make setup"
    if version is None:
        return Finding(package, "not installed", "needed", fix)
    if Version(version).base_version not in wanted:
        return Finding(package, f"{version}, not {wanted}", "needed", fix)
    python = _python_for(package)
    if Version(platform.python_version()) not in SpecifierSet(python):
        return Finding(package, f"{version}, for Python {python}", "needed", fix)
    return Finding(package, version)


def _torch(has_gpu: bool) -> Finding:
    finding = _needed_package("torch")
    if finding.status != "ok":
        return finding
    cuda = _torch_cuda()
    found = f"{finding.found}, " + (f"CUDA {cuda}" if cuda else "CPU only")
    if has_gpu and not cuda:
        return Finding("torch", found, "optional", "install torch's CUDA build to use the GPU")
    return Finding("torch", found)


def _torch_cuda() -> str | None:
    """Read the CUDA version that torch was built with from its version file, unimported."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    match = re.search(r"^cuda\b[^=]*= *'([^']+)'", text, re.MULTILINE)
    return match[1] if match else None


def _module(name: str, package: str) -> Finding:
    if find_spec(name) is None:
        return Finding(name, "not installed", "optional", "comes with NVIDIA's PyTorch image")
    return Finding(name, _version(package) or "present")


def _apex() -> Finding:
    """Look for NVIDIA's Apex by its parts: the package index has another project of that name."""
    spec = find_spec("apex")
    folders = [Path(folder) for folder in (spec and spec.submodule_search_locations) or []]
    if find_spec("amp_C") or any((folder / "multi_tensor_apply").is_dir() for folder in folders):
        return Finding("apex", _version("apex") or "present")
    if spec is not None:
        return Finding("apex", "not NVIDIA's", "optional", "pip uninstall apex")
    return Finding("apex", "not installed", "optional", "Megatron does without")


def _kernels() -> Finding:
    """Say what training would choose here: kernels and the precisions there are, best first."""
    device = _first_gpu() or choices.cpu()
    kernels = choices.choose_kernels("auto", device, choices.installed())
    return Finding("kernels", f"{kernels.text}; {', '.join(device.precisions)}")


def _first_gpu() -> choices.Device | None:
    with _nvml() as nvml:
        if nvml is None:
            return None
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(0)
            major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
            return choices.gpu(str(nvml.nvmlDeviceGetName(handle)), (int(major), int(minor)))
        except Exception:  # a GPU that cannot be asked is one that is not chosen for
            return None


def _soundfont() -> Finding:
    spec = find_spec("pretty_midi")
    font = Path(spec.origin).with_name("TimGM6mb.sf2") if spec and spec.origin else None
    if font and font.is_file():
        return Finding("SoundFont", f"{font.name}, {font.stat().st_size / 1e6:.0f} MB")
    return Finding("SoundFont", "none", "optional", "reinstall pretty_midi, whose wheel has one")


def _fluidsynth() -> Finding:
    library = find_library("fluidsynth")
    if library:
        return Finding("libfluidsynth", library)
    return Finding(
        "libfluidsynth",
        "none: audio is sine waves",
        "optional",
        "apt-get install libfluidsynth3 (brew install fluid-synth)",
    )


def _program(name: str, programs: tuple[str, ...], fix: str) -> Finding:
    found = [program for program in programs if shutil.which(program)]
    if found:
        return Finding(name, ", ".join(found))
    return Finding(name, "none", "optional", fix)

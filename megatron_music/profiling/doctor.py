"""Check this machine for all that the project can use, with a fix for what is missing.

Nothing heavy is imported to find out: versions come from installed metadata, GPUs from NVML.
"""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import psutil
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from megatron_music.nvidia import Driver, are_gpus_hidden, read_driver
from megatron_music.score.audio import PLAYER, SAMPLE_RATE_HZ
from megatron_music.train import backends, torch_build
from megatron_music.train.torch_build import TorchBuild, gpu_problem

Status = Literal["ok", "optional", "needed"]

OURSELVES = "megatron-music"
GIB = 1 << 30
LEAST_FREE_GIB = 2
"""Disk space for a data set, a run with its checkpoints and an exported model, small recipes."""


@dataclass(frozen=True)
class Finding:
    """One check: `status` is ok, or how much the thing is needed; `fix` says what to do."""

    name: str
    found: str
    status: Status = "ok"
    fix: str = ""


def examine() -> list[Finding]:
    """Examine this machine; return the findings, the most important first."""
    driver = read_driver()
    notation = _needed_package("music21")
    if notation.status != "ok":
        fix = f"only for the chorales of data build bach: {notation.fix}"
        notation = replace(notation, status="optional", fix=fix)
    # The synthesizer, and the SoundFont in pretty_midi's wheel.
    lacks = [name for name in ("midirenderer", "pretty_midi") if not find_spec(name)]
    sound = Finding("sound", f"{PLAYER}; stereo, {SAMPLE_RATE_HZ // 1000} kHz")
    if lacks:
        sound = Finding("sound", "none", "optional", f"pip install {' '.join(lacks)}")
    return [
        *_machine(),
        *map(_needed_package, ("numba", "pretty_midi")),
        notation,
        _torch(driver),
        *map(_needed_package, ("megatron-core", "transformers")),
        _gpus(driver),
        *_nvidia_packages(),
        _kernels(driver),
        sound,
        _program("Nsight Systems", ("nsys",), "install nsight-systems to profile kernels"),
        _program("containers", ("docker", "podman", "buildah"), "install one to use images"),
        _program("SLURM", ("sbatch",), "only clusters need it"),
    ]


def is_ready(findings: Iterable[Finding]) -> bool:
    """Tell whether everything needed is there."""
    return all(finding.status != "needed" for finding in findings)


def _gpus(driver: Driver) -> Finding:
    if driver.problem:
        found, _, fix = driver.problem.partition("; ")
        return Finding("GPU", found, "optional", fix)
    if not driver.gpus:
        return Finding("GPU", "none", "optional", "the CPU trains small models")
    kinds: Counter[str] = Counter()
    for gpu in driver.gpus:
        name = "a GPU that is lost" if gpu.is_lost else gpu.name or "a GPU without a name"
        memory = (
            f", {gpu.memory_bytes / GIB:.0f} GiB" if gpu.memory_bytes and not gpu.is_lost else ""
        )
        kinds[name + memory] += 1
    found = "; ".join(f"{count} x {kind}" for kind, count in kinds.items())
    if are_gpus_hidden():
        found += " (hidden by CUDA_VISIBLE_DEVICES)"
    lost = [str(gpu.index) for gpu in driver.gpus if gpu.is_lost]
    if lost:
        fix = f"GPU {', '.join(lost)} fell off the bus or needs a reset: restart the machine"
        return Finding("GPU", found, "optional", fix)
    return Finding("GPU", found)


def _machine() -> Iterator[Finding]:
    """Look at Python, cores and memory, and the room in the working folder."""
    python, wanted = platform.python_version(), _python_for(OURSELVES)
    if Version(python) in SpecifierSet(wanted):
        yield Finding("Python", python)
    else:
        yield Finding("Python", python, "needed", f"use Python {wanted}")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = psutil.virtual_memory()
    yield Finding(
        "machine",
        f"{cores} cores, {memory.total / GIB:.0f} GiB of memory "
        f"({memory.available / GIB:.0f} free), {platform.system()} {platform.machine()}",
    )
    free = shutil.disk_usage(Path.cwd()).free / GIB
    found = f"{free:.0f} GiB free here"
    if free >= LEAST_FREE_GIB:
        yield Finding("disk", found)
    else:
        yield Finding("disk", found, "needed", f"make room: {LEAST_FREE_GIB} GiB at least")


def _python_for(package: str) -> str:
    """Return the Python versions that an installed package is for."""
    return str(metadata.metadata(package).json.get("requires_python", ""))


def installed_version(package: str) -> str | None:
    """Return the version of an installed package, None for one that is missing."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _needed_package(package: str) -> Finding:
    """Look for a package; a pre-release such as a container's 2.6.0a0 counts as its release."""
    asked = map(Requirement, metadata.requires(OURSELVES) or [])
    wanted, version = (
        next((one for one in asked if one.name == package), Requirement(package)).specifier,
        installed_version(package),
    )
    fix = f"pip install '{package}{wanted}', or make setup"
    if version is None:
        return Finding(package, "not installed", "needed", fix)
    # Containers carry pre-releases such as 2.6.0a0+..., which pip counts as older than 2.6.0.
    if Version(version).base_version not in wanted:
        return Finding(package, f"{version}, not {wanted}", "needed", fix)
    python = _python_for(package)
    if Version(platform.python_version()) not in SpecifierSet(python):
        return Finding(package, f"{version}, for Python {python}", "needed", fix)
    return Finding(package, version)


def _torch(driver: Driver) -> Finding:
    finding = _needed_package("torch")
    if finding.status != "ok":
        return finding
    cuda = torch_cuda_version()
    build, found = TorchBuild(finding.found, cuda), f"{finding.found}, CUDA {cuda}"
    if cuda is None:
        found = f"{finding.found}, CPU only"
    elif driver.usable_gpus and not are_gpus_hidden():
        # In its own process: loading torch takes seconds, and a broken CUDA may end the process.
        command = [sys.executable, "-m", torch_build.__name__]
        asked = subprocess.run(command, capture_output=True, text=True, check=False)
        try:
            build = TorchBuild(**json.loads(asked.stdout))
        except (ValueError, TypeError):
            last = (asked.stderr.strip().splitlines() or ["it does not start"])[-1]
            build = replace(build, problem=last)
    reason = "" if are_gpus_hidden() else gpu_problem(build, driver)
    if not reason:
        return Finding("torch", found)
    problem, _, fix = reason.partition("; ")
    return Finding("torch", problem.removeprefix("torch "), "needed", fix)


def torch_cuda_version() -> str | None:
    """Read the CUDA version that torch was built with from its version file, unimported."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    # The metadata of the wheel does not say it, and importing torch takes seconds.
    text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    match = re.search(r"^cuda\b[^=]*= *'([^']+)'", text, re.MULTILINE)
    return match[1] if match else None


def _nvidia_packages() -> Iterator[Finding]:
    """Look for what only NVIDIA's image has.

    Apex is known by its parts: the package index has another project of that name.
    """
    name, found = "transformer_engine", "not installed"
    if find_spec(name) is None:
        yield Finding(name, found, "optional", "comes with NVIDIA's PyTorch image")
    else:
        yield Finding(name, installed_version("transformer-engine") or "present")
    spec = find_spec("apex")
    folders = [Path(folder) for folder in (spec and spec.submodule_search_locations) or []]
    if find_spec("amp_C") or any((folder / "multi_tensor_apply").is_dir() for folder in folders):
        yield Finding("apex", installed_version("apex") or "present")
    elif spec is not None:
        yield Finding("apex", "not NVIDIA's", "optional", "pip uninstall apex")
    else:
        yield Finding("apex", found, "optional", "Megatron does without")


def _kernels(driver: Driver) -> Finding:
    """Return what training would choose here: kernels, and precisions, the best first."""
    gpus = () if are_gpus_hidden() else driver.usable_gpus
    first = next((gpu for gpu in gpus if gpu.capability), None)
    device = backends.cpu()
    if first is not None and first.capability is not None:
        device = backends.gpu(first.name or "this GPU", first.capability)
    kernels = backends.choose_kernels("auto", device, backends.installed())
    return Finding("kernels", f"{kernels.text}; {', '.join(device.precisions)}")


def _program(name: str, programs: tuple[str, ...], fix: str) -> Finding:
    found = [program for program in programs if shutil.which(program)]
    if found:
        return Finding(name, ", ".join(found))
    return Finding(name, "none", "optional", fix)

"""`doctor`: what a machine has, what it lacks, and what to do about it."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import types
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from megatron_music.cli.main import app
from megatron_music.profiling import doctor
from megatron_music.profiling.doctor import Finding, examine, find_gpus, is_ready


def finding(name: str) -> Finding:
    return next(one for one in examine() if one.name == name)


@pytest.fixture
def pretend_version(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str | None], None]:
    """Let one package seem to be installed in another version, or not at all."""
    real = doctor._version

    def pretend(package: str, version: str | None) -> None:
        monkeypatch.setattr(
            doctor, "_version", lambda name: version if name == package else real(name)
        )

    return pretend


def test_a_machine_that_was_set_up_is_ready_and_the_table_names_everything() -> None:
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0, result.output
    for name in ("Python", "torch", "megatron-core", "GPU", "SoundFont", "SLURM"):
        assert name in result.output


def test_json_carries_the_same_findings() -> None:
    result = CliRunner().invoke(app, ["doctor", "--json"])
    report = json.loads(result.output)
    assert report["ready"] is True
    assert [row["name"] for row in report["findings"]] == [one.name for one in examine()]
    assert {row["status"] for row in report["findings"]} <= {"ok", "optional", "needed"}


def test_whatever_is_not_ok_says_what_to_do() -> None:
    assert all(one.fix for one in examine() if one.status != "ok")


@pytest.mark.parametrize(
    ("package", "version"),
    [
        ("symusic", "0.5.9"),
        ("symusic", None),
        ("megatron-core", "0.15.0"),
        ("megatron-core", "0.20.1"),
        ("torch", "2.5.1+cu124"),
    ],
)
def test_a_needed_package_that_is_absent_or_of_another_version_fails_the_check(
    package: str, version: str | None, pretend_version: Callable[[str, str | None], None]
) -> None:
    pretend_version(package, version)
    assert finding(package).status == "needed"
    assert package in finding(package).fix
    assert CliRunner().invoke(app, ["doctor"]).exit_code == 1


def test_a_containers_pre_release_of_torch_counts_as_its_release(
    pretend_version: Callable[[str, str | None], None],
) -> None:
    pretend_version("torch", "2.6.0a0+df5bbc09d1.nv24.12")
    assert finding("torch").status == "ok"


def test_a_megatron_core_for_another_python_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_python_for", lambda _: ">=3.99")
    assert "for Python >=3.99" in finding("megatron-core").found
    assert finding("megatron-core").status == "needed"


def test_a_full_disk_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = types.SimpleNamespace(free=doctor.GIB)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage)
    assert finding("disk").status == "needed"
    assert not is_ready(examine())


@pytest.mark.parametrize(
    ("inside", "expected"), [("multi_tensor_apply", "present"), ("forms", "not NVIDIA's")]
)
def test_only_nvidias_apex_counts(
    inside: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "apex" / inside).mkdir(parents=True)
    (tmp_path / "apex" / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert finding("apex").found == expected


def pretend_nvml(monkeypatch: pytest.MonkeyPatch, names: list[str]) -> None:
    """Put a driver in place that knows these GPUs; the second does not tell its memory."""
    nvml = types.ModuleType("pynvml")

    class NVMLError(Exception):
        pass

    def memory(index: int) -> types.SimpleNamespace:
        if index == 1:
            raise NVMLError("not supported")
        return types.SimpleNamespace(total=32 * doctor.GIB)

    functions = {
        "NVMLError": NVMLError,
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: len(names),
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetName": lambda index: names[index],
        "nvmlDeviceGetMemoryInfo": memory,
    }
    for name, function in functions.items():
        setattr(nvml, name, function)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)


def test_gpus_are_named_with_the_memory_they_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_nvml(monkeypatch, ["Tesla V100-SXM3-32GB", "NVIDIA GB10"])
    assert find_gpus() == ["Tesla V100-SXM3-32GB, 32 GiB", "NVIDIA GB10"]


@pytest.mark.parametrize(
    ("name", "capability", "told"),
    [
        ("Tesla V100-SXM3-32GB", (7, 0), "generation before Transformer Engine.*; fp16, fp32"),
        ("NVIDIA H200", (9, 0), "; bf16, fp16, fp32"),
    ],
)
def test_the_kernels_that_training_would_choose_are_named(
    name: str, capability: tuple[int, int], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_nvml(monkeypatch, [name])
    nvml = sys.modules["pynvml"]
    monkeypatch.setattr(
        nvml, "nvmlDeviceGetCudaComputeCapability", lambda _: capability, raising=False
    )
    assert re.search(told, finding("kernels").found)


def test_without_a_gpu_the_kernels_are_the_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "attention by blocks" in finding("kernels").found
    assert finding("kernels").found.endswith("fp32")


def test_a_gpu_beside_a_torch_for_cpus_is_pointed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_nvml(monkeypatch, ["NVIDIA H200"])
    monkeypatch.setattr(doctor, "_torch_cuda", lambda: None)
    assert "CUDA build" in finding("torch").fix
    monkeypatch.setattr(doctor, "_torch_cuda", lambda: "13.0")
    assert finding("torch").status == "ok"


def test_without_the_nvml_module_there_are_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert find_gpus() == []
    assert finding("GPU").status == "optional"


def test_torchs_cuda_version_is_read_from_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text, expected in [
        ("cuda: Optional[str] = '13.0'\n", "13.0"),
        ("cuda: Optional[str] = None\ngit_version = '12'\n", None),
    ]:
        (tmp_path / "version.py").write_text(text)
        spec = ModuleSpec("torch", None, origin=str(tmp_path / "__init__.py"))
        monkeypatch.setattr(doctor, "find_spec", lambda _, spec=spec: spec)
        assert doctor._torch_cuda() == expected


def test_tools_are_found_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: name if name == "buildah" else None)
    assert finding("containers").found == "buildah"
    assert finding("Nsight Systems").status == "optional"


def test_looking_imports_nothing_heavy() -> None:
    script = (
        "import sys; from megatron_music.profiling.doctor import examine; examine();"
        "print([m for m in ('torch', 'megatron', 'transformers', 'music21') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
    assert importlib.util.find_spec("torch") is not None

"""`doctor`: what a machine has, what it lacks, and what to do about it."""

import importlib.util
import json
import re
import shutil
import sys
import types
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from megatron_music.cli.app import app
from megatron_music.nvidia import Driver
from megatron_music.profiling import doctor
from megatron_music.profiling.doctor import Finding, examine, is_ready
from tests.cli.program import Program
from tests.code import run_code
from tests.profiling.conftest import compiled


def finding(name: str) -> Finding:
    return next(one for one in examine() if one.name == name)


@pytest.fixture
def pretend_version(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str | None], None]:
    """Let one package seem to be installed in another version, or not at all."""
    real = doctor.installed_version

    def pretend(package: str, version: str | None) -> None:
        monkeypatch.setattr(
            doctor, "installed_version", lambda name: version if name == package else real(name)
        )

    return pretend


def test_a_machine_that_was_set_up_is_ready_and_the_table_names_everything() -> None:
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0, result.output
    for name in ("Python", "torch", "megatron-core", "GPU", "sound", "SLURM"):
        assert name in result.output


def test_json_carries_the_same_findings() -> None:
    result = CliRunner().invoke(app, ["doctor", "--json"])
    report = json.loads(result.output)
    assert report["ready"] is True
    assert [row["name"] for row in report["findings"]] == [one.name for one in examine()]
    assert {row["status"] for row in report["findings"]} <= {"ok", "optional", "needed"}


def test_every_problem_says_what_to_do() -> None:
    assert all(one.fix for one in examine() if one.status != "ok")


@pytest.mark.parametrize(
    ("package", "version"),
    [
        ("numba", "0.60.0"),
        ("numba", None),
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


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a machine with two GPUs."""
    return compiled(tmp_path_factory.mktemp("driver"))


def rows(program: Program, **environment: str) -> dict[str, dict[str, str]]:
    """Return what `doctor` shows on a machine, whose torch may be unfit for its GPUs."""
    done = program.run("doctor", "--json", **environment)
    assert done.returncode in (0, 1), done.stderr
    return {row["name"]: row for row in json.loads(done.stdout)["findings"]}


@pytest.mark.parametrize(
    ("machine", "found", "to_do"),
    [
        ({}, "2 x Tesla V100-SXM3-32GB, 32 GiB", ""),
        ({"STUB_UNSUPPORTED": "GetMemoryInfo"}, "2 x Tesla V100-SXM3-32GB", ""),
        ({"STUB_UNSUPPORTED": "GetName"}, "2 x a GPU without a name, 32 GiB", ""),
        (
            {"STUB_LOST": "0"},
            "1 x a GPU that is lost; 1 x Tesla V100-SXM3-32GB, 32 GiB",
            "GPU 0 fell off the bus",
        ),
        ({"STUB_INIT": "18"}, "NVML does not start (RM has detected", "whether nvidia-smi works"),
    ],
)
def test_gpus_are_named_as_far_as_the_driver_tells(
    machine: dict[str, str], found: str, to_do: str, program: Program, driver: dict[str, str]
) -> None:
    row = rows(program, **driver, **machine)["GPU"]
    assert row["found"].startswith(found)
    assert to_do in row["fix"]
    assert row["status"] == ("optional" if to_do else "ok")


@pytest.mark.parametrize(
    ("name", "capability", "told"),
    [
        ("Tesla V100-SXM3-32GB", "70", "generation before Transformer Engine.*; fp16, fp32"),
        ("NVIDIA H200", "90", "; bf16, fp16, fp32"),
    ],
)
def test_the_kernels_that_training_would_choose_are_named(
    name: str, capability: str, told: str, program: Program, driver: dict[str, str]
) -> None:
    machine = driver | {"STUB_NAME": name, "STUB_CAPABILITY": capability}
    assert re.search(told, rows(program, **machine)["kernels"]["found"])


def test_without_a_gpu_the_kernels_are_the_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "read_driver", Driver)
    assert "attention by blocks" in finding("kernels").found
    assert finding("kernels").found.endswith("fp32")
    assert finding("GPU").status == "optional"


def test_gpus_that_torch_cannot_use_are_not_ready(program: Program, driver: dict[str, str]) -> None:
    """Here is no real GPU: torch, whatever it was built for, cannot use those of the stub."""
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("needs a machine whose torch sees no GPU, and here is one")
    row = rows(program, **driver)["torch"]
    assert row["status"] == "needed"
    assert "2 x Tesla V100-SXM3-32GB" in row["found"]
    assert "make container" in row["fix"]
    assert rows(program, **driver, CUDA_VISIBLE_DEVICES="")["torch"]["status"] == "ok"


def test_a_missing_nvml_module_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert finding("GPU").found == "nvidia-ml-py is missing"
    assert finding("GPU").status == "optional"


def test_without_music21_a_machine_is_fit(
    pretend_version: Callable[[str, str | None], None],
) -> None:
    pretend_version("music21", None)
    assert finding("music21").status == "optional"
    assert "only for the chorales" in finding("music21").fix


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
        assert doctor.torch_cuda_version() == expected


def test_tools_are_found_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: name if name == "buildah" else None)
    assert finding("containers").found == "buildah"
    assert finding("Nsight Systems").status == "optional"


def test_looking_imports_nothing_heavy() -> None:
    script = (
        "import sys; from megatron_music.profiling.doctor import examine; examine();"
        "print([m for m in ('torch', 'megatron', 'transformers', 'music21') if m in sys.modules])"
    )
    assert run_code(script).stdout == "[]\n"
    assert importlib.util.find_spec("torch") is not None

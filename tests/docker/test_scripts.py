"""`make container`, `RUNTIME=docker`: the exact commands, or what is said where they cannot be."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launch.scripts import (
    ROOT,
    make,
    path_with,
    path_without,
    program,
    refusal,
    run,
    with_gpus,
)


def without_engines(folder: Path) -> str:
    """Return a PATH with the tools that the scripts need and no container engine."""
    return path_without("docker podman buildah nvidia-smi", folder)


@pytest.fixture
def engine(tmp_path: Path) -> str:
    """A PATH whose docker answers, has every image, and knows the NVIDIA runtime."""
    program(tmp_path, "docker", 'case "$1" in info) echo "{\\"nvidia\\":{}}";; esac; exit 0')
    return path_with(tmp_path)


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    command = [hadolint, ROOT / "docker" / "Dockerfile"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("base", "release", "megatron"),
    [("current", "26.06", "0.19.2"), ("newest", "26.09", "0.19.2"), ("volta", "24.12", "0.16.1")],
)
def test_each_base_is_built_with_the_megatron_that_fits_it(
    base: str, release: str, megatron: str
) -> None:
    done = run("docker/build.sh", BASE=base, ENGINE="docker", DRY_RUN="1")
    words = shlex.split(done.stdout)
    assert words[:2] == ["docker", "build"]
    assert f"BASE_IMAGE=nvcr.io/nvidia/pytorch:{release}-py3" in words
    assert f"MEGATRON_CORE={megatron}" in words
    assert f"megatron_music:{base}" in words
    assert ("TRANSFORMERS=5.14.0" in words) == (base == "volta")


def test_a_pinned_build_starts_from_the_digest() -> None:
    settings = {"ENGINE": "docker", "DRY_RUN": "1", "PINNED": "1"}
    done = run("docker/build.sh", BASE="current", **settings)
    found = re.search(r"BASE_IMAGE=nvcr\.io/nvidia/pytorch@sha256:([0-9a-f]+) ", done.stdout)
    assert found is not None
    assert len(found[1]) == 64
    assert "no digest for BASE=volta" in refusal(run("docker/build.sh", BASE="volta", **settings))


@pytest.mark.parametrize("name", ["podman", "buildah"])
def test_a_health_check_needs_the_format_that_knows_it(name: str) -> None:
    done = run("docker/build.sh", ENGINE=name, DRY_RUN="1")
    assert shlex.split(done.stdout)[:4] == [name, "build", "--format", "docker"]


def test_a_base_that_is_not_known_is_refused() -> None:
    assert "BASE must be one of current newest volta (got 'ampere')" in refusal(
        run("docker/build.sh", BASE="ampere")
    )


def test_without_an_engine_the_way_on_is_named(tmp_path: Path) -> None:
    path = without_engines(tmp_path / "bin")
    for script in ("docker/build.sh", "docker/run.sh"):
        message = refusal(run(script, PATH=path))
        assert "no docker, podman or buildah on this machine" in message
        assert "make pretrain RUNTIME=local" in message


def test_an_engine_that_does_not_answer_is_named(tmp_path: Path) -> None:
    path = without_engines(tmp_path / "bin")
    program(tmp_path / "engine", "docker", "exit 1")
    message = refusal(run("docker/build.sh", PATH=f"{tmp_path / 'engine'}{os.pathsep}{path}"))
    assert "docker is installed but does not answer" in message


def test_without_an_image_the_way_to_one_is_named(tmp_path: Path) -> None:
    program(tmp_path, "docker", 'case "$1" in image) exit 1;; esac')
    message = refusal(run("docker/run.sh", "shell", PATH=path_with(tmp_path), BASE="volta"))
    assert "no image megatron_music:volta; build it with: make container BASE=volta" in message


def test_gpus_that_the_engine_cannot_reach_are_named(tmp_path: Path) -> None:
    program(tmp_path, "docker", "exit 0")
    message = refusal(run("docker/run.sh", "shell", PATH=with_gpus(tmp_path, 2)))
    assert "install nvidia-container-toolkit" in message


def test_the_container_gets_nvidias_options_and_the_callers_uid(
    engine: str, tmp_path: Path
) -> None:
    with_gpus(tmp_path, 8)
    done = run("docker/run.sh", "pretrain", "tiny", PATH=engine, DRY_RUN="1", RUN_AS="1234:1234")
    text = done.stdout
    assert "--gpus all" in text
    assert "--ipc=host --ulimit memlock=-1 --ulimit stack=67108864" in text
    assert "--user 1234:1234" in text
    for folder in ("data", "runs"):
        assert f"--volume {ROOT}/{folder}:/workspace/{folder}" in text
    assert text.split()[-3:] == ["megatron_music:current", "pretrain", "tiny"]
    assert "--network" not in text
    assert "--publish" not in text


def test_without_gpus_none_are_asked_for(engine: str) -> None:
    assert "--gpus" not in run("docker/run.sh", "shell", PATH=engine, DRY_RUN="1").stdout


def test_podman_reaches_gpus_by_their_standard_names(tmp_path: Path) -> None:
    path = with_gpus(tmp_path, 1)
    done = run("docker/run.sh", "shell", PATH=path, ENGINE="podman", DRY_RUN="1")
    assert "--device nvidia.com/gpu=all" in done.stdout
    assert ("--userns keep-id" in done.stdout) == (os.geteuid() != 0)  # root has no such namespace


def test_music_elsewhere_is_mounted_for_reading(engine: str, tmp_path: Path) -> None:
    here = "pyproject.toml"  # any file that is named without a folder
    settings = {"DATASET": str(tmp_path), "SOURCE": here, "RECIPE": "article"}
    done = run("docker/run.sh", "shell", PATH=engine, DRY_RUN="1", **settings)
    assert f"--volume {tmp_path}:{tmp_path}:ro" in done.stdout
    assert f"--volume {ROOT}/{here}:/workspace/{here}:ro" in done.stdout
    assert "article" not in done.stdout


def test_one_node_of_several_is_reached_by_the_others(engine: str) -> None:
    node = {"NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "10.0.0.1"}
    done = run("docker/run.sh", "pretrain", "tiny", PATH=engine, DRY_RUN="1", **node)
    assert "--network host" in done.stdout
    assert {f"--env {name}" in done.stdout for name in node} == {True}


def test_jupyter_in_a_container_keeps_to_this_machines_loopback(
    engine: str, tmp_path: Path
) -> None:
    home = {"HOME": str(tmp_path), "PORT": "9001"}
    text = run("docker/run.sh", "jupyter", PATH=engine, DRY_RUN="1", **home).stdout
    assert "--network host" in text
    assert "--publish" not in text
    assert f"--volume {tmp_path}/.local/state/megatron_music:/token" in text
    assert "JUPYTER_TOKEN_FILE=/token/jupyter-9001.token" in text


def test_the_studio_in_a_container_is_on_this_machines_loopback_and_keeps_votes(
    engine: str,
) -> None:
    text = run("docker/run.sh", "studio", "--port", "9000", PATH=engine, DRY_RUN="1").stdout
    assert "--network host" in text
    assert f"--volume {ROOT}/studio:/workspace/studio" in text
    assert text.split()[-3:] == ["studio", "--port", "9000"]


@pytest.mark.parametrize("runtime", ["local", "docker"])
def test_the_studio_takes_a_port_as_jupyter_does(engine: str, runtime: str) -> None:
    plan = make("-n", "studio", f"RUNTIME={runtime}", "PORT=9000", PATH=engine).stdout
    assert re.search(r" studio\)? \\\n\s*--port 9000", plan)


def test_make_shows_the_exact_commands_of_a_container(engine: str, tmp_path: Path) -> None:
    with_gpus(tmp_path, 8)
    plan = make("-n", "pretrain", "RUNTIME=docker", "TP=2", PATH=engine).stdout
    assert 'echo "runtime: docker (as asked)"' in plan
    train = next(" ".join(x.split()) for x in plan.splitlines() if " pretrain article " in x)
    assert "NPROC=8 TP=2 PP=1 docker run --rm --init" in train
    assert "--gpus all" in train
    assert "megatron_music:current pretrain article --data data/bach" in train
    assert "pip install" not in plan


def test_auto_takes_the_container_where_image_and_gpus_are(engine: str, tmp_path: Path) -> None:
    with_gpus(tmp_path, 8)
    plan = make("-n", "pretrain", PATH=engine).stdout
    assert 'echo "runtime: docker (megatron_music:current)"' in plan


def test_auto_says_why_it_takes_the_environment(tmp_path: Path) -> None:
    program(tmp_path, "docker", 'case "$1" in image) exit 1;; esac')
    plan = make("-n", "pretrain", PATH=with_gpus(tmp_path, 8)).stdout
    assert 'echo "runtime: local (no image megatron_music:current; build it with' in plan
    assert "NPROC=8 TP=1 PP=1 launch/pretrain.sh" in plan

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


NODE = {"NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "10.0.0.1"}
ELSEWHERE = {"DATASET": "{tmp}", "SOURCE": "pyproject.toml", "RECIPE": "article"}


@pytest.mark.parametrize(
    ("gpus", "command", "settings", "shown", "hidden"),
    [
        # NVIDIA's options and the caller's uid; without GPUs none are asked for
        (8, "pretrain tiny", {"RUN_AS": "1234:1234"},
         ["--gpus all", "--ipc=host --ulimit memlock=-1 --ulimit stack=67108864",
          "--user 1234:1234", "--volume {root}/data:/workspace/data",
          "--volume {root}/runs:/workspace/runs", "megatron_music:current pretrain tiny"],
         ["--network", "--publish"]),
        (0, "shell", {}, [], ["--gpus"]),
        # music elsewhere is mounted for reading, also a file that is named without a folder
        (0, "shell", ELSEWHERE, ["--volume {tmp}:{tmp}:ro",
          "--volume {root}/pyproject.toml:/workspace/pyproject.toml:ro"], ["article"]),
        # one node of several is reached by the others; servers keep to this machine's loopback
        (0, "pretrain tiny", NODE, ["--network host", *(f"--env {name}" for name in NODE)], []),
        (0, "jupyter", {"HOME": "{tmp}", "PORT": "9001"},
         ["--network host", "--volume {tmp}/.local/state/megatron_music:/token",
          "JUPYTER_TOKEN_FILE=/token/jupyter-9001.token"], ["--publish"]),
        (0, "studio --port 9000", {},
         ["--network host", "--volume {root}/studio:/workspace/studio", "studio --port 9000"], []),
    ],
)  # fmt: skip
def test_a_container_gets_what_its_command_needs(
    engine: str, tmp_path: Path, gpus: int, command: str, settings: dict[str, str],
    shown: list[str], hidden: list[str],
) -> None:  # fmt: skip
    if gpus:
        with_gpus(tmp_path, gpus)
    given = {name: value.format(tmp=tmp_path) for name, value in settings.items()}
    text = run("docker/run.sh", *command.split(), PATH=engine, DRY_RUN="1", **given).stdout
    assert text
    assert [part for part in shown if part.format(tmp=tmp_path, root=ROOT) not in text] == []
    assert [part for part in hidden if part in text] == []


def test_podman_reaches_gpus_by_their_standard_names(tmp_path: Path) -> None:
    path = with_gpus(tmp_path, 1)
    done = run("docker/run.sh", "shell", PATH=path, ENGINE="podman", DRY_RUN="1")
    assert "--device nvidia.com/gpu=all" in done.stdout
    assert ("--userns keep-id" in done.stdout) == (os.geteuid() != 0)  # root has no such namespace


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

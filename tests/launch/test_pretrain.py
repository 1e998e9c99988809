"""launch/pretrain.sh: the layout it starts, and those it refuses."""

import shlex
import socket
from pathlib import Path

import pytest

from tests.launch.scripts import make, program, refusal, run, with_gpus
from tests.profiling.conftest import compiled

SCRIPT = "launch/pretrain.sh"
TORCHRUN = "megatron_music.train.torchrun"
TRAIN = ("tiny", "--data", "data/my set")


def plan(*arguments: str, **settings: str) -> tuple[dict[str, str], list[str]]:
    """Return the environment and the command that the script would start."""
    done = run(SCRIPT, *arguments, DRY_RUN="1", **settings)
    assert done.returncode == 0, done.stderr
    words = shlex.split(done.stdout)
    first = next(index for index, word in enumerate(words) if "=" not in word)
    return dict(word.split("=", 1) for word in words[:first]), words[first:]


@pytest.mark.parametrize(
    ("gpus", "settings", "processes"),
    [
        (8, {}, 8),
        (8, {"CUDA_VISIBLE_DEVICES": "0,3"}, 2),
        (8, {"CUDA_VISIBLE_DEVICES": ""}, 1),
        (0, {}, 1),
        (0, {"CUDA_VISIBLE_DEVICES": "0", "NPROC": "2"}, 2),
    ],
)
def test_every_gpu_that_is_seen_gets_a_process_and_one_needs_no_torchrun(
    tmp_path: Path, gpus: int, settings: dict[str, str], processes: int
) -> None:
    given, command = plan(*TRAIN, PATH=with_gpus(tmp_path, gpus), **settings)
    several = ["-m", TORCHRUN, "--nproc-per-node", str(processes), "--standalone"]
    expected = several if processes > 1 else ["-m", "megatron_music", "train", "tiny"]
    assert command[1 : 1 + len(expected)] == expected
    assert "data/my set" in command
    assert "CUDA_DEVICE_MAX_CONNECTIONS" not in given, "only for tensor parallelism"


def test_the_layout_reaches_the_training_and_what_the_user_writes_comes_last() -> None:
    mine = "parallel.sequence_parallel=true"
    settings, command = plan(*TRAIN, mine, NPROC="8", TP="4", PP="2")
    assert settings["CUDA_DEVICE_MAX_CONNECTIONS"] == "1"
    layout = ["parallel.tensor_model_parallel_size=4", "parallel.pipeline_model_parallel_size=2"]
    assert [word for word in command if word.startswith("parallel.")] == [*layout, mine]


def test_what_is_set_already_stays() -> None:
    given = {"NCCL_DEBUG": "INFO", "OMP_NUM_THREADS": "3", "CUDA_DEVICE_MAX_CONNECTIONS": "32"}
    settings, _ = plan(*TRAIN, NPROC="2", TP="2", **given)
    assert given.items() <= settings.items()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_node_of_several_finds_the_first_by_its_interface(host: str) -> None:
    node = {"NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": host, "MASTER_PORT": "29511"}
    settings, command = plan(*TRAIN, NPROC="4", **node)
    assert settings["GLOO_SOCKET_IFNAME"] == "lo"
    assert settings["NCCL_SOCKET_IFNAME"] == "=lo"
    text = " ".join(command)
    assert f"--nnodes 2 --node-rank 1 --master-addr {host} --master-port 29511" in text
    assert "--standalone" not in command


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"NPROC": "abc"}, "must be whole numbers from 1 (got 'abc')"),
        ({"NPROC": "3", "TP": "2"}, "cannot hold TP=2 x PP=1; use a multiple of 2"),
        ({"NNODES": "3", "PP": "2", "MASTER_ADDR": "a"}, "3 processes (NPROC=1 on NNODES=3)"),
        ({"NNODES": "2"}, "NNODES=2 needs MASTER_ADDR"),
        ({"NPROC": "9" * 20}, "must be whole numbers from 1"),
        ({"MASTER_PORT": "abc"}, "MASTER_PORT must be from 1 to 65535 (got 'abc')"),
        (
            {"MUSIC_PYTHON": "/no/python"},
            "/no/python cannot train; make an environment: make setup",
        ),
        ({"NODE_RANK": "08"}, "NODE_RANK must be from 0 to 0 (got '08')"),
        ({"NNODES": "2", "MASTER_ADDR": "a", "NODE_RANK": "2"}, "NODE_RANK must be from 0 to 1"),
    ],
)
def test_a_layout_that_cannot_work_is_refused(settings: dict[str, str], message: str) -> None:
    done = run(SCRIPT, *TRAIN, **settings)
    assert done.returncode == 2
    assert message in refusal(done)


def test_more_processes_than_gpus_are_refused(tmp_path: Path) -> None:
    done = run(SCRIPT, *TRAIN, NPROC="9", PATH=with_gpus(tmp_path, 8))
    assert "this machine has 8; use NPROC=8" in refusal(done)


def test_without_a_recipe_one_line_says_how() -> None:
    assert "give a recipe and a data set" in refusal(run(SCRIPT))


@pytest.mark.slow
def test_gpus_that_torch_cannot_use_are_refused(tmp_path: Path, data: Path) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("needs a machine whose torch sees no GPU, and here is one")
    machine = compiled(tmp_path) | {"STUB_GPUS": "1", "PATH": with_gpus(tmp_path / "bin", 1)}
    words = ["tiny", "--data", str(data), "--run", str(tmp_path / "run")]
    line = refusal(run(SCRIPT, *words, timeout_s=300, **machine))
    assert f"torch {torch.__version__}" in line
    assert "1 x Tesla V100-SXM3-32GB" in line
    assert "make container" in line


def test_gpus_that_are_hidden_do_not_count_for_make_either(tmp_path: Path) -> None:
    for visible, recipe, processes in [("0,1", "article", 2), ("", "tiny", 1)]:
        settings = {"PATH": with_gpus(tmp_path, 8), "CUDA_VISIBLE_DEVICES": visible}
        told = make("help", "CPUS=1", **settings).stdout
        assert f"RECIPE={recipe} NPROC={processes}" in told


def test_a_port_that_is_taken_is_refused_before_anything_waits_for_it() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        node = {"NNODES": "2", "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        assert f"port {port} is taken on this machine" in refusal(run(SCRIPT, *TRAIN, **node))


def test_an_address_that_is_none_is_refused_before_anything_waits_for_it() -> None:
    node = {"NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "node-0.invalid"}
    assert "MASTER_ADDR=node-0.invalid has no address here" in refusal(run(SCRIPT, *TRAIN, **node))


def test_what_another_launcher_left_does_not_reach_the_training(tmp_path: Path) -> None:
    program(
        tmp_path,
        "python",
        'case "$1" in -m) env | grep -E "RANK|WORLD_SIZE|PET_" || echo none;; esac',
    )
    left = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "PET_NNODES": "8"}
    done = run(SCRIPT, *TRAIN, MUSIC_PYTHON=str(tmp_path / "python"), **left)
    assert done.stdout == "none\n"

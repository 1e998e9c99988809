"""Two nodes with addresses of their own: network namespaces, joined by a cable that is none."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launch.scripts import ROOT, environment
from tests.train.conftest import SMALL, execute, launch, losses

SCRIPT = ROOT / "launch" / "pretrain.sh"
IP = shutil.which("ip", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") or "ip"
ADDRESSES = ("10.77.0.1", "10.77.0.2")
LONGEST_S = 240

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def ip(*arguments: str) -> None:
    """Run `ip`; skip the test where this machine does not let us."""
    done = subprocess.run([IP, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no network namespaces here: ip {' '.join(arguments)}: {done.stderr.strip()}")


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[str]]:
    """Two namespaces that see each other and nothing else."""
    if shutil.which(IP) is None:
        pytest.skip("no `ip` on this machine: install iproute2")
    names = [f"music{os.getpid()}-{number}" for number in range(2)]
    cable = [f"mu{os.getpid() % 100000}-{number}" for number in range(2)]
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", cable[0], "type", "veth", "peer", "name", cable[1])
        for name, end, address in zip(names, cable, ADDRESSES, strict=True):
            ip("link", "set", end, "netns", name)
            ip("-n", name, "address", "add", f"{address}/24", "dev", end)
            ip("-n", name, "link", "set", end, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield names
    finally:
        for name in names:
            subprocess.run([IP, "netns", "delete", name], capture_output=True, check=False)


def start(
    nodes: list[str], number: int, run: Path, data: Path, *wishes: str
) -> subprocess.Popen[str]:
    """Start one node of two."""
    settings = {
        "CUDA_VISIBLE_DEVICES": "",
        "NNODES": "2",
        "NODE_RANK": str(number),
        "MASTER_ADDR": ADDRESSES[0],
    }
    arguments = ["tiny", "--data", str(data), "--run", str(run), *SMALL, *wishes]
    with run.with_name(f"{run.name}-{number}.txt").open("w") as printed:
        return subprocess.Popen(
            [IP, "netns", "exec", nodes[number], str(SCRIPT), *arguments],
            env=environment(**settings, OMP_NUM_THREADS="1"),
            stdout=printed,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )


def unplug(node: str) -> None:
    """Kill every process of a node at once."""
    done = subprocess.run([IP, "netns", "pids", node], capture_output=True, text=True, check=True)
    for pid in done.stdout.split():
        os.kill(int(pid), signal.SIGKILL)


def test_two_nodes_reach_the_losses_of_two_processes_on_one(
    nodes: list[str], data: Path, tmp_path: Path
) -> None:
    wishes = ("train.train_iters=6", "log.eval_interval=0")
    both = [start(nodes, number, tmp_path / "nodes", data, *wishes) for number in range(2)]
    for number, node in enumerate(both):
        assert node.wait(LONGEST_S) == 0, (tmp_path / f"nodes-{number}.txt").read_text()
    words = ["train", "tiny", "--data", str(data), "--run", str(tmp_path / "one"), *SMALL, *wishes]
    one = execute(*launch(2, *words, on_cpu=True), CUDA_VISIBLE_DEVICES="")
    assert one.returncode == 0, one.stderr
    assert "2 x CPU (TP=1 PP=1 DP=2)" in (tmp_path / "nodes-0.txt").read_text()
    assert losses(tmp_path / "nodes") == losses(tmp_path / "one")


def test_a_node_that_dies_ends_the_run_with_a_message_and_it_resumes(
    nodes: list[str], data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    wishes = ("train.train_iters=400", "log.eval_interval=0", "log.save_interval=10")
    first, second = (start(nodes, number, run, data, *wishes) for number in range(2))
    end = time.monotonic() + LONGEST_S
    while not (run / "checkpoints" / "latest").exists():
        assert first.poll() is None, (tmp_path / "run-0.txt").read_text()
        assert time.monotonic() < end
        time.sleep(0.1)
    unplug(nodes[1])
    second.wait(LONGEST_S)
    assert first.wait(LONGEST_S) != 0
    said = (tmp_path / "run-0.txt").read_text()
    reached = max(losses(run))
    assert reached < 400
    assert "error:" in said, said[-2000:]
    wishes = (f"train.train_iters={reached + 20}", *wishes[1:])
    both = [start(nodes, number, run, data, *wishes) for number in range(2)]
    for node in both:
        assert node.wait(LONGEST_S) == 0, (tmp_path / "run-0.txt").read_text()
    assert "resumes after iteration" in (tmp_path / "run-0.txt").read_text()
    assert list(losses(run)) == list(range(1, reached + 21))

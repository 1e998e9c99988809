"""launch/pretrain.sbatch under a real SLURM: two nodes, both this machine, on the CPU.

`make test-slurm` installs what it needs and runs this: two minutes, so `make test` leaves it out.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.data.collection import folder_of_songs
from tests.launch.lab import free_port
from tests.launch.scripts import (
    ROOT,
    environment,
    make,
    path_with,
    path_without,
    program,
    refusal,
    run,
)
from tests.train.conftest import losses, read

SEARCH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
PROGRAMS = ("slurmctld", "slurmd", "sbatch")
MISSING = [name for name in PROGRAMS if not shutil.which(name, path=SEARCH)]

needs_slurm = [
    pytest.mark.slow,
    pytest.mark.timeout(420),
    pytest.mark.skipif("TEST_SLURM" not in os.environ, reason="make test-slurm runs it"),
    pytest.mark.skipif(bool(MISSING), reason=f"no {', '.join(MISSING)}: make test-slurm"),
    pytest.mark.skipif(os.geteuid() != 0, reason="slurmd wants root"),
]

NODES = ("alpha", "beta")

CONFIGURATION = """
ClusterName=here
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller}
AuthType=auth/none
AuthInfo=cred_expire=6
CredType=cred/none
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
KillWait=30
SlurmdParameters=config_overrides
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""

SMALL = (
    "train.global_batch_size=2 train.micro_batch_size=1 model.num_layers=1 model.hidden_size=32 "
    "model.num_attention_heads=2 model.seq_length=128 log.log_interval=1 log.eval_interval=0 "
    "log.save_interval=100000 train.train_iters={}"
)


@dataclass(frozen=True)
class Cluster:
    """A SLURM of two nodes, with a data set's source in its folder."""

    folder: Path
    settings: dict[str, str]

    def __call__(self, *command: str, **settings: str) -> str:
        """Run one of SLURM's programs; return what it printed."""
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment(**self.settings, **settings),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def submit(self, run: str, iterations: int, *options: str) -> str:
        """Queue the batch script on both nodes; return the job's number."""
        output = f"--output={self.folder / run}.log"
        said = self(
            *("sbatch", "--nodes=2", output, *options, "launch/pretrain.sbatch"),
            RECIPE="tiny",
            DATASET=str(self.folder / "songs"),
            DATA=str(self.folder / "data"),
            RUN=str(self.folder / run),
            ARGS=SMALL.format(iterations),
            N="1",
            BARS="2",
        )
        return said.split()[-1]

    def state(self, job: str) -> str:
        """Return a job's state, as in RUNNING."""
        shown = self("scontrol", "show", "job", job)
        return re.search(r"JobState=(\w+)", shown)[1]  # type: ignore[index]

    def said(self, run: str) -> str:
        """Return what a job printed so far."""
        file = self.folder / f"{run}.log"
        return file.read_text() if file.exists() else ""

    def wait(self, job: str, run: str, *, until: str, longest_s: float = 180) -> None:
        """Return when a job prints `until`; fails where it ends before."""
        end = time.monotonic() + longest_s
        while until not in self.said(run):
            assert self.state(job) not in ("FAILED", "CANCELLED", "TIMEOUT"), self.said(run)[-3000:]
            assert time.monotonic() < end, self.said(run)[-3000:]
            time.sleep(0.2)

    def finish(self, job: str, run: str, longest_s: float = 180) -> None:
        """Return when a job has completed."""
        end = time.monotonic() + longest_s
        while (state := self.state(job)) != "COMPLETED":
            assert state not in ("FAILED", "CANCELLED", "TIMEOUT"), self.said(run)[-3000:]
            assert time.monotonic() < end, (state, self.said(run)[-3000:])
            time.sleep(0.2)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A controller and two nodes, all on this machine."""
    folder = tmp_path_factory.mktemp("slurm")
    nodes = "".join(
        f"NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={free_port()} CPUs=2\n"
        for name in NODES
    )
    configuration = folder / "slurm.conf"
    text = CONFIGURATION.format(folder=folder, controller=free_port())
    configuration.write_text(text.replace("PartitionName", nodes + "PartitionName"))
    (folder / "state").mkdir()
    folder_of_songs(folder / "songs", 16)
    settings = {"SLURM_CONF": str(configuration), "OMP_NUM_THREADS": "1", "PATH": SEARCH}
    settings["MUSIC_PYTHON"] = sys.executable
    one = Cluster(folder, settings)
    commands = [["slurmctld", "-D"], *(["slurmd", "-D", "-N", name] for name in NODES)]
    daemons = [
        subprocess.Popen(
            [shutil.which(command[0], path=SEARCH) or "", *command[1:]],
            env=environment(**settings),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for command in commands
    ]
    try:
        end = time.monotonic() + 30
        while one("sinfo", "--noheader", "--states=idle", "--format=%D").strip() != "2":
            assert time.monotonic() < end, (folder / "slurmctld.log").read_text()
            time.sleep(0.2)
        yield one
    finally:
        one("scancel", "--user=root")
        for _ in range(300):
            if not one("squeue", "--noheader"):
                break
            time.sleep(0.1)
        for daemon in daemons:
            daemon.kill()
            daemon.wait()


class TestUnderSlurm:
    """What a cluster's user meets."""

    pytestmark = needs_slurm

    def test_two_nodes_walk_the_whole_way(self, cluster: Cluster) -> None:
        job = cluster.submit("plain", 4)
        cluster.finish(job, "plain")
        said = cluster.said("plain")
        assert "start 0: tiny" in said
        assert "2 x CPU (TP=1 PP=1 DP=2)" in said
        assert re.search(r"CPU_IDs=0-1\b", cluster("scontrol", "show", "job", "--details", job))
        assert read(cluster.folder / "plain")[-1]["iteration"] == 4
        assert list((cluster.folder / "plain" / "music").glob("*.mid"))

    def test_a_requeued_job_resumes(self, cluster: Cluster) -> None:
        job = cluster.submit("again", 500)
        cluster.wait(job, "again", until=" 20/500 |")
        cluster("scontrol", "requeue", job)
        cluster.wait(job, "again", until="500/500 |")
        cluster("scancel", job)
        said = cluster.said("again")
        assert "start 1: tiny" in said
        assert re.search(r"resumes after iteration [2-9]\d", said)
        log = losses(cluster.folder / "again")
        assert list(log) == list(range(1, 501))

    def test_out_of_time_a_job_saves_and_queues_itself_again(self, cluster: Cluster) -> None:
        job = cluster.submit("late", 400)
        cluster.wait(job, "late", until=" 20/400 |")
        cluster("scancel", "--batch", "--signal=USR1", job)  # what --signal=B:USR1@120 sends
        cluster.wait(job, "late", until="400/400 |")
        cluster("scancel", job)
        assert "start 1: tiny" in cluster.said("late")
        assert "out of time: back into the queue" in cluster.said("late")
        assert list(losses(cluster.folder / "late")) == list(range(1, 401))

    def test_a_part_of_a_node_can_be_asked_for(self, cluster: Cluster) -> None:
        part = ("--hold", "--nodes=1", "--oversubscribe", "--cpus-per-task=1", "--mem=100M")
        for options, shared, memory in ((("--hold",), "NO", "0"), (part, "YES", "100M")):
            job = cluster.submit("held", 4, *options)
            shown = cluster("scontrol", "show", "job", job)
            cluster("scancel", job)
            assert f"OverSubscribe={shared} " in shown
            assert f"MinMemoryNode={memory} " in shown

    def test_a_training_that_fails_fails_the_job(self, cluster: Cluster) -> None:
        job = cluster.submit("wrong", 4, "--export=ALL,TP=2,NPROC=1,PP=3")
        end = time.monotonic() + 60
        while cluster.state(job) != "FAILED":
            assert time.monotonic() < end, cluster.said("wrong")
            time.sleep(0.2)
        assert "cannot hold TP=2 x PP=3; use a multiple of 6" in cluster.said("wrong")


def test_make_submits_the_layout(tmp_path: Path) -> None:
    shows = 'env | grep -E "^(NPROC|TP|RECIPE|DATASET|ARGS|CONTAINER)=" | sort; echo "$@"'
    program(tmp_path, "sbatch", shows)
    wish = ("RUNTIME=slurm", "NODES=2", "TP=4", "DATASET=lakh", "ARGS=train.lr=1e-3 train.seed=2")
    inside = {"CONTAINER": "/images/music.sqsh"}
    said = make("pretrain", *wish, **inside, PATH=path_with(tmp_path)).stdout.splitlines()
    assert said[-7:] == [
        "ARGS=train.lr=1e-3 train.seed=2",
        "CONTAINER=/images/music.sqsh",
        "DATASET=lakh",
        "NPROC=8",
        "RECIPE=article",
        "TP=4",
        "--nodes=2 --gpus-per-node=8 launch/pretrain.sbatch",
    ]


@pytest.mark.parametrize("asked", ["--gres=gpu:v100:8 -p gpu", "--gpus=16"])
def test_a_site_can_ask_for_its_gpus_in_its_own_way(tmp_path: Path, asked: str) -> None:
    program(tmp_path, "sbatch", 'echo "$@"')
    wish = ("RUNTIME=slurm", f"SBATCH={asked}")
    said = make("pretrain", *wish, CONTAINER="x", PATH=path_with(tmp_path)).stdout.splitlines()
    assert said[-1] == f"--nodes=1 {asked} launch/pretrain.sbatch"


def test_what_slurm_refuses_is_one_line(tmp_path: Path) -> None:
    refuses = "echo 'sbatch: error: first' >&2; echo 'sbatch: error: no such partition' >&2; exit 1"
    program(tmp_path, "sbatch", refuses)
    done = make("pretrain", "RUNTIME=slurm", CONTAINER="x", PATH=path_with(tmp_path))
    assert "SLURM did not take the job: sbatch: error: no such partition" in refusal(done)
    assert "error: first" not in done.stderr


def test_without_slurm_one_line_says_so_before_anything_is_done(tmp_path: Path) -> None:
    done = make("pretrain", "RUNTIME=slurm", PATH=path_without("sbatch", tmp_path))
    assert "no sbatch here" in refusal(done)
    assert "make pretrain RUNTIME=local" in done.stderr


def test_the_job_outside_of_slurm_says_how_to_submit_it() -> None:
    assert "submit it: make pretrain RUNTIME=slurm" in refusal(run("launch/pretrain.sbatch"))


def test_a_job_without_an_environment_says_how_to_make_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [ROOT / "launch" / "pretrain.sbatch"],
        cwd=tmp_path,
        env=environment(SLURM_JOB_ID="7"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "make setup RUNTIME=slurm" in refusal(done)


def test_make_refuses_a_layout_that_no_cluster_can_hold() -> None:
    done = make("pretrain", "RUNTIME=slurm", "NODES=3", "NPROC=8", "TP=5")
    assert "24 processes (NPROC=8 on NNODES=3) cannot hold TP=5" in refusal(done)


def test_in_a_container_each_step_is_run_by_pyxis(tmp_path: Path) -> None:
    """A recorded srun: pyxis and enroot are not to be had here."""
    record = tmp_path / "calls.jsonl"
    program(tmp_path, "srun", f'printf "%s\\n" "$*" >> {record}')
    program(
        tmp_path,
        "scontrol",
        'case "$*" in *hostnames*) printf "n1\\nn2\\n";; *) echo "NodeAddr=10.0.0.1 X=1";; esac',
    )
    job = {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_NODELIST": "n[1-2]"}
    (tmp_path / "music.sqsh").touch()
    (tmp_path / "songs.zip").touch()
    done = subprocess.run(
        [ROOT / "launch" / "pretrain.sbatch"],
        cwd=tmp_path,
        env=environment(
            **job,
            CONTAINER="music.sqsh",
            HOME=str(tmp_path),
            PATH=path_with(tmp_path),
            SOURCE="songs.zip",
        ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    data, train, export, music = record.read_text().splitlines()
    for step in (data, train, export, music):
        assert f"--container-image={tmp_path}/music.sqsh" in step  # else one of a registry
        assert f"--container-mounts={tmp_path}/data:/workspace/data,{tmp_path}/runs:" in step
        assert "/opt/megatron_music/docker/entrypoint.sh" in step
        assert f",{tmp_path}/songs.zip:/workspace/songs.zip:ro" in step
        assert "--cpu-bind=none" in step
    assert "--nodes=1 --ntasks=1" in data
    assert "data build songs.zip -o data/songs.zip --fetch" in data
    assert "--nodes=2 --ntasks=2 --ntasks-per-node=1" in train
    assert (
        "entrypoint.sh pretrain article --data data/songs.zip --run-dir runs/songs.zip-article"
        in train
    )
    assert json.dumps(export.split()[-4:]) == json.dumps(
        ["export", "runs/songs.zip-article", "-o", "runs/songs.zip-article/hf"]
    )
    assert "sample" in music

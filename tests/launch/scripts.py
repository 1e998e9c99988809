"""Run the scripts of `launch/` and `docker/` as a user does, on a machine made for the test."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

UNSET = (
    *("NPROC", "TP", "PP", "NNODES", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT", "RUNTIME", "BASE"),
    *("DATASET", "RECIPE", "SWEEP", "PORT", "ENGINE", "IMAGE", "DRY_RUN", "OMP_NUM_THREADS"),
    *("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_MAX_CONNECTIONS", "NCCL_DEBUG", "NCCL_SOCKET_IFNAME"),
    *("GLOO_SOCKET_IFNAME", "JUPYTER_TOKEN_FILE", "MAKEFLAGS", "MAKELEVEL", "MFLAGS"),
    *("MAKEOVERRIDES", "SOURCE", "SBATCH", "CONTAINER", "NODES", "SLURM_JOB_ID"),
)
"""Variables that change what the scripts do; a test sets those that it means."""


def environment(**settings: str) -> dict[str, str]:
    """Return this process's environment without what would change the scripts, plus `settings`."""
    kept = {name: value for name, value in os.environ.items() if name not in UNSET}
    return kept | {"MUSIC_PYTHON": sys.executable} | settings


def run(
    script: str, *arguments: str, timeout_s: float = 60, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run a script of the checkout to its end."""
    return subprocess.run(
        [str(ROOT / script), *arguments],
        cwd=ROOT,
        env=environment(**settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
        stdin=subprocess.DEVNULL,
    )


def make(*arguments: str, folder: Path = ROOT, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run make in the checkout, or another folder, to its end."""
    program = shutil.which("make") or "make"
    return subprocess.run(
        [program, "--no-print-directory", *arguments],
        cwd=folder,
        env=environment(**settings),
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line with which a script refused to go on."""
    assert done.returncode != 0, done.stdout
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, done.stderr
    return lines[0]


def program(folder: Path, name: str, body: str) -> None:
    """Put a shell program into a folder that goes first on the path."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


def path_with(folder: Path) -> str:
    """Return a PATH on which the programs of `folder` come first."""
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def path_without(name: str, folder: Path) -> str:
    """Return a PATH with the machine's programs but those called `name`, linked into a folder."""
    folder.mkdir(exist_ok=True)
    for place in ("/usr/bin", "/bin", "/usr/sbin"):
        for file in Path(place).iterdir():
            if file.name not in name.split() and not (folder / file.name).exists():
                (folder / file.name).symlink_to(file)
    return str(folder)


def with_gpus(folder: Path, count: int) -> str:
    """Return a PATH on which nvidia-smi lists so many GPUs."""
    lines = "".join(
        f"echo 'GPU {i}: Tesla V100-SXM3-32GB (UUID: GPU-0{i})'\n" for i in range(count)
    )
    program(folder, "nvidia-smi", lines)
    return path_with(folder)

"""A stand-in for NVIDIA's PyTorch image: Debian, this environment's torch, and its traps.

Like the real one it has a torch whose version pip does not count as `torch>=2.6.0`, a constraint
file that pip obeys, an entry point that prints, and a user `ubuntu` of uid 1000. Unlike it, it has
no GPU library, Debian's Python 3.11, and torch's CPU build.
"""

import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from tests.launch.scripts import ROOT

TORCH = "2.6.0a0+df5bbc09d1.nv24.12"
"""The form of NVIDIA's versions: a pre-release of 2.6.0 to pip."""

DEBIAN = ROOT / "build" / "stand-in" / "debian.tar"
"""Kept between runs: `make clean` removes it."""

PACKAGES = "dist-packages"
ENTRYPOINT = "opt/nvidia/nvidia_entrypoint.sh"
BANNER = "== NVIDIA's entry point =="


def tool(name: str, *arguments: str, environment: dict[str, str] | None = None) -> str:
    """Run a program to its end; return what it printed."""
    program = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") or name
    done = subprocess.run(
        [program, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def storage(folder: Path) -> dict[str, str]:
    """Return the environment in which buildah keeps everything in a folder, without a daemon.

    Layers lie over one another where the kernel can (overlay), else each is a full copy (vfs).
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "storage.conf"
    environment = os.environ | {"CONTAINERS_STORAGE_CONF": str(file)}
    for driver in ("overlay", "vfs"):
        lines = ("[storage]", f'driver = "{driver}"')
        places = (f'{name}root = "{folder}/{driver}-{name}"' for name in ("graph", "run"))
        file.write_text("\n".join([*lines, *places, ""]))
        try:
            container = tool("buildah", "from", "scratch", environment=environment)
            tool("buildah", "mount", container, environment=environment)
            tool("buildah", "rm", container, environment=environment)
        except AssertionError:
            continue
        break
    return environment | {"BUILDAH_ISOLATION": "chroot"}


def debian() -> Path:
    """Return a minimal Debian with Python and pip, fetched once."""
    if not DEBIAN.is_file():
        DEBIAN.parent.mkdir(parents=True, exist_ok=True)
        partial = DEBIAN.with_name("partial.tar")
        wanted = "python3,python3-pip,ca-certificates"
        tool("mmdebstrap", "--variant=apt", f"--include={wanted}", "bookworm", str(partial))
        partial.rename(DEBIAN)
    return DEBIAN


def build(name: str, environment: dict[str, str]) -> None:
    """Build the stand-in under the name `name`."""

    def buildah(*arguments: str) -> str:
        return tool("buildah", *arguments, environment=environment)

    container = buildah("from", "scratch")
    root = Path(buildah("mount", container))
    tool("tar", "--extract", "--numeric-owner", f"--file={debian()}", f"--directory={root}")
    tool("chroot", str(root), "/usr/sbin/useradd", "-m", "-u", "1000", "ubuntu")
    versions = copy_torch(root / "usr" / "local" / "lib" / "python3.11" / PACKAGES)
    add_traps(root, versions)
    buildah("umount", container)
    settings = ("--env", "PIP_CONSTRAINT=/etc/pip/constraint.txt", "--entrypoint")
    buildah("config", *settings, f'["/{ENTRYPOINT}"]', container)
    buildah("commit", "--quiet", "--rm", container, name)


def add_traps(root: Path, versions: dict[str, str]) -> None:
    """Add the constraint file and the entry point; let pip install as root, as NVIDIA's does."""
    (root / "etc" / "pip").mkdir(parents=True)
    lines = "".join(f"{name}=={version}\n" for name, version in versions.items())
    (root / "etc" / "pip" / "constraint.txt").write_text(lines)
    for marker in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
        marker.unlink()
    entrypoint = root / ENTRYPOINT
    entrypoint.parent.mkdir(parents=True)
    entrypoint.write_text(f'#!/bin/bash\necho "{BANNER}"\nexec "$@"\n')
    entrypoint.chmod(0o755)


def copy_torch(target: Path) -> dict[str, str]:
    """Copy this environment's torch and what it needs, torch under NVIDIA's kind of version."""
    versions = {}
    for name in closure("torch", "numpy"):
        one = metadata.distribution(name)
        versions[name] = TORCH if name == "torch" else one.version
        for file in one.files or []:
            if ".." not in file.parts and file.parts[:2] not in (
                ("torch", "include"),
                ("torch", "test"),
            ):
                source, copy = Path(str(one.locate_file(file))), target / file
                if source.is_file():
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(source, copy)
    rename_torch(target, metadata.version("torch"))
    return versions


def rename_torch(target: Path, version: str) -> None:
    """Give the copied torch the version TORCH, to pip and to itself."""
    (info,) = target.glob("torch-*.dist-info")
    renamed = info.rename(target / f"torch-{TORCH}.dist-info")
    for name, text in (("METADATA", "Version: {}"), ("RECORD", "torch-{}.dist")):
        content = (renamed / name).read_text()
        assert text.format(version) in content
        (renamed / name).write_text(content.replace(text.format(version), text.format(TORCH)))
    code = target / "torch" / "version.py"
    code.write_text(code.read_text().replace(version, TORCH))


def closure(*names: str) -> list[str]:
    """Return these distributions and all that they need, of those that are installed."""
    found: list[str] = []
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        try:
            needed = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        if name in found:
            continue
        found.append(name)
        asked = map(Requirement, needed)
        plain = (one for one in asked if not one.marker or one.marker.evaluate({"extra": ""}))
        waiting += [one.name for one in plain]
    return found


def network_options(folder: Path) -> str:
    """Return build options with which pip inside trusts and asks the hosts that it does here."""
    told = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    )
    settings = dict(line.split("=", 1) for line in told.stdout.splitlines() if "=" in line)
    chosen = {key.split(".")[-1]: value.strip("'") for key, value in settings.items()}
    lines = [
        f"{key} = {value}"
        for key, value in chosen.items()
        if key in ("cert", "index-url", "proxy", "timeout", "trusted-host") and value
    ]
    (folder / "pip.conf").write_text("\n".join(["[global]", *lines, ""]))
    mounts = [f"{folder}/pip.conf:/etc/pip.conf:ro"]
    if certificate := chosen.get("cert"):
        mounts.append(f"{certificate}:{certificate}:ro")
    return " ".join(f"--volume {mount}" for mount in mounts)

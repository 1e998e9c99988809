"""Keep what the base image brings: run while the image is built (see the Dockerfile).

    base.py snapshot                      every installed distribution and its version, as JSON
    base.py constraints BASE.json FOLDER [TRANSFORMERS]
                                          what pip is held to, from that and our pins
    base.py requirements PYPROJECT        what to install, without what the base has to bring
    base.py prove BASE.json               say what changed; exit 1 where it must not have

Standard library only: the base has nothing of ours yet.
"""

import importlib
import json
import os
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

KEPT = re.compile(
    r"(torch|torchvision|torchaudio|torchao|torch-tensorrt|tensorrt.*|pytorch-triton|triton|apex"
    r"|transformer-engine.*|flash-attn.*|nvidia-.*|cuda-.*|cupy.*|numpy)$"
)
"""NVIDIA's builds, and numpy, which they were compiled against."""

OURS = re.compile(r"nvidia-ml-py$")
"""Not a part of CUDA in spite of its name: it only reads the driver's figures."""

FROM_BASE = ("torch", "megatron-core")
"""The base has torch; megatron-core is installed by itself, without dependencies."""

WITH_TRANSFORMERS = ("transformers", "tokenizers", "huggingface-hub")
"""Pins that give way where a base needs other transformers."""

SMOKE = (
    "torch",
    "numpy",
    "megatron.core",
    "megatron_music.train.distributed",
    "megatron_music.studio.server",
    "transformers",
)


def canonical(name: str) -> str:
    """Return a distribution's name as the package index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed() -> dict[str, str]:
    """Return the version of every distribution that is installed."""
    return {canonical(one.metadata["Name"]): one.version for one in metadata.distributions()}


def is_kept(name: str) -> bool:
    """Tell whether pip must leave a distribution of the base alone."""
    return bool(KEPT.match(name)) and not OURS.match(name)


def pins(lines: list[str]) -> dict[str, str]:
    """Return the versions that a constraint file's lines give, by name."""
    found = (re.match(r"([\w.-]+)==([^\s;#]+)", line) for line in lines)
    return {canonical(match[1]): match[2] for match in found if match}


def held(base: dict[str, str], folder: Path, transformers: str = "") -> list[str]:
    """Return constraints: the base's own builds as they are, and our pins for what it lacks.

    Names that the image's own constraint file speaks of are left to it. Our pins are those of this
    Python version, or else of the nearest; `transformers` is another version than the pinned one.
    """
    version = "py{}{}.txt".format(*sys.version_info[:2])
    file = folder / version if (folder / version).is_file() else max(folder.glob("py*.txt"))
    theirs = {
        canonical(name)
        for path in os.environ.get("PIP_CONSTRAINT", "").split()
        for name in re.findall(r"^[\w.-]+", Path(path).read_text(encoding="utf-8"), re.MULTILINE)
    }
    kept = [f"{name}=={version}" for name, version in base.items() if is_kept(name)]
    ours = pins(file.read_text(encoding="utf-8").splitlines())
    if transformers:
        ours = {name: ours[name] for name in ours if name not in WITH_TRANSFORMERS}
        ours["transformers"] = transformers
    free = [f"{name}=={ours[name]}" for name in ours if name not in {*base, *theirs, *FROM_BASE}]
    return sorted(kept) + free


def requirements(pyproject: Path) -> list[str]:
    """Return what training, notebooks and the studio need, besides what the base has."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["train"], *extras["notebooks"], *extras["studio"]]
    name = re.compile(r"[\w.-]+")
    return [one for one in wanted if canonical(name.match(one)[0]) not in FROM_BASE]  # type: ignore[index]


def changed(base: dict[str, str], now: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Return what of the base is another version now, or gone: name to (before, after)."""
    return {
        name: (before, now.get(name, "gone"))
        for name, before in base.items()
        if now.get(name) != before
    }


def prove(base: dict[str, str]) -> list[str]:
    """Print what stayed and what changed; return what must not have."""
    now = installed()
    moved = changed(base, now)
    for name in sorted(name for name in base if is_kept(name)):
        print(f"{name}: {base[name]} before, {now.get(name, 'gone')} after")
    for name, (before, after) in moved.items():
        if not is_kept(name):
            print(f"updated: {name} {before} -> {after}")
    for module in SMOKE:
        importlib.import_module(module)
    print("imported:", ", ".join(SMOKE))
    make_model()
    return [
        f"{name} {before} -> {after}" for name, (before, after) in moved.items() if is_kept(name)
    ]


def make_model() -> None:
    """Make a GPT-2: transformers can be imported, yet refuse a torch that is too old for it."""
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"vocab_size": 8, "n_positions": 8, "n_embd": 8, "n_layer": 1, "n_head": 1}
    GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0))


def main(task: str, *paths: str) -> None:
    """Do one of the tasks above."""
    files = [Path(path) for path in paths]
    if task == "snapshot":
        print(json.dumps(installed(), indent=1))
    elif task == "constraints":
        base = json.loads(files[0].read_text())
        print("\n".join(held(base, files[1], transformers=paths[2] if len(paths) > 2 else "")))
    elif task == "requirements":
        print("\n".join(requirements(files[0])))
    elif task == "prove":
        replaced = prove(json.loads(files[0].read_text()))
        if replaced:
            sys.exit(f"error: the base's own builds were replaced: {'; '.join(replaced)}")


if __name__ == "__main__":
    main(*sys.argv[1:])

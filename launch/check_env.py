"""Say in one line what a Python environment lacks for this project, or nothing; install nothing.

python3 launch/check_env.py

For `make PYTHON_ENV=...`. Until the packages are found to be there, Python's own library has to do.
"""

import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DONE_WITHOUT = {"music21"}
"""Dependencies of one collection alone."""


def missing_packages() -> list[str]:
    """Return the requirements, as pyproject.toml words them, that are not installed at all."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["train"]]
    names = {requirement: re.split(r"[^\w.-]", requirement)[0] for requirement in wanted}
    return [
        requirement
        for requirement, name in names.items()
        if name not in DONE_WITHOUT and not is_installed(name)
    ]


def is_installed(name: str) -> bool:
    """Tell whether a distribution is installed, in whatever version."""
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def unfit() -> list[str]:
    """Return what `doctor` finds to be of a wrong version or unfit for this machine's GPUs."""
    from megatron_music.profiling.doctor import examine

    return [
        f"{finding.name} {finding.found} ({finding.fix})"
        for finding in examine()
        if finding.status == "needed"
    ]


def main() -> int:
    """Print the line, if any; return the exit code."""
    sys.path.insert(0, str(ROOT))
    problem = ""
    if missing := missing_packages():
        quoted = " ".join(f"'{requirement}'" for requirement in missing)
        problem = f"lacks {', '.join(missing)}; install: {sys.executable} -m pip install {quoted}"
    elif not is_installed("megatron-music"):
        install = "-m pip install --no-deps --no-build-isolation -e"
        problem = f"does not know this checkout; register it: {sys.executable} {install} {ROOT}"
    elif found := unfit():
        problem = f"does not fit: {'; '.join(found)}"
    if problem:
        print(f"error: the environment of {sys.executable} {problem}", file=sys.stderr)
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())

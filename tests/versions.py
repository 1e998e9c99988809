"""Walk the whole way on every pair of Python and megatron-core that the docs name.

    make test-versions                       # all of them
    make test-versions ARGS='3.12 debian'    # some, by name

Each has an environment of its own in build/versions/NAME, made once; those that differ from another
in megatron-core alone lie over its environment. The tests of WALK run in it:
training in all layouts, resuming, export, composing, Hugging Face's Trainer, a sweep; what one
process trained is compared with the losses of the first pair. A row of the table in
docs/versions.md is printed for each, and kept in build/versions/results.md.
"""

import json
import math
import os
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.train.conftest import losses

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "versions"
PINNED, BASE, OVER = "pins", "base", "over"

TOLERANCE = 1e-4
"""Nats a token between versions of torch and megatron-core, after a few iterations."""

TOKENS = ("tests/tokenizer/test_huggingface.py",)
LAYOUTS = ("tests/train/test_parallel.py", "tests/export")
WALK = (
    *TOKENS,
    *LAYOUTS,
    "tests/train/test_resume.py",
    "tests/train/test_golden.py",
    "tests/train/test_safe_unpickle.py",
    "tests/huggingface",
    "tests/test_journey.py",
    "tests/profiling/test_sweep.py::test_a_real_sweep_on_this_machine",
)


@dataclass(frozen=True)
class Pair:
    """A Python and a megatron-core; how they are installed, and what is run.

    `pins` is what `make setup` does. `base` is what docker/base.py does in an image that has
    torch: our pins for all else, and megatron-core without its dependencies. `over` lays another
    megatron-core over the environment of the pair UNDER.
    """

    name: str
    python: str
    """The version, up to the figure that counts."""
    core: str
    install: str = PINNED
    tests: tuple[str, ...] = WALK


PAIRS = (
    Pair("3.11", "3.11", "0.16.1"),
    Pair("debian", "3.11.2", "0.16.1"),
    Pair("3.12", "3.12", "0.19.2", BASE),
    Pair("0.17", "3.12", "0.17.1", OVER, (*TOKENS, *LAYOUTS)),
    Pair("0.18", "3.12", "0.18.2", OVER, (*TOKENS, *LAYOUTS)),
)
UNDER = next(pair for pair in PAIRS if pair.install == BASE)


def version_of(python: Path) -> str:
    """Return an interpreter's version, "" where it does not start or has no venv."""
    code = "import ensurepip, platform, venv; print(platform.python_version())"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def find_python(wanted: str) -> Path | None:
    """Return an interpreter of a version: from the path, or of pyenv's."""
    minor = ".".join(wanted.split(".")[:2])
    places = [Path(place) for place in os.environ["PATH"].split(os.pathsep) if place]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for place in (*places, *sorted(pyenv.glob(f"{minor}.*/bin"))):
        python = place / f"python{minor}"
        if python.is_file() and f"{version_of(python)}.".startswith(f"{wanted}."):
            return python
    return None


def environment(pair: Pair) -> Path:
    """Return the interpreter of a pair's environment, made where it is not there yet."""
    folder = FOLDER / pair.name
    python = folder / "bin" / "python"
    if (folder / "ready").is_file():
        return python
    found = find_python(pair.python)
    if found is None:
        sys.exit(f"error: no Python {pair.python} with venv on the path; install one")
    print(f"{pair.name}: making {folder.relative_to(ROOT)} of {found}", flush=True)
    run(found, "-m", "venv", "--clear", folder)
    pins = ROOT / "constraints" / f"py{''.join(pair.python.split('.')[:2])}.txt"
    if pair.install == PINNED:
        pip(python, "-c", pins, "-e", f"{ROOT}[train,dev]")
    elif pair.install == BASE:
        install_as_in_the_image(python, folder, pins, pair.core)
    else:
        lie_over(python, environment(UNDER))
        pip(python, "--no-deps", f"megatron-core=={pair.core}")
    (folder / "ready").touch()
    return python


def install_as_in_the_image(python: Path, folder: Path, pins: Path, core: str) -> None:
    """Install as docker/Dockerfile does, and what the tests need besides."""
    base = ROOT / "docker" / "base.py"
    torch = next(line for line in pins.read_text().splitlines() if line.startswith("torch=="))
    pip(python, torch)

    def written(name: str, *arguments: str | Path) -> Path:
        (folder / name).write_text(run(python, base, *arguments))
        return folder / name

    snapshot = written("base.json", "snapshot")
    held = written("constraints.txt", "constraints", snapshot, ROOT / "constraints")
    wanted = written("requirements.txt", "requirements", ROOT / "pyproject.toml")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pip(python, "-c", held, "-r", wanted, *project["optional-dependencies"]["dev"])
    pip(python, "--no-deps", f"megatron-core=={core}")
    pip(python, "--no-deps", "-e", ROOT)
    run(python, base, "prove", snapshot)


def lie_over(python: Path, under: Path) -> None:
    """Let an environment see the project and the packages of another, after its own."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own, seen = (run(each, "-c", code).strip() for each in (python, under))
    (Path(own) / "over.pth").write_text(f"{ROOT}\n{seen}\n", encoding="utf-8")


def pip(python: Path, *arguments: str | Path) -> None:
    """Install with pip; TORCH_INDEX is where torch's CPU build is, where there is such a place."""
    index = os.environ.get("TORCH_INDEX")
    extra = ["--extra-index-url", index] if index else []
    options = ["--quiet", "--disable-pip-version-check", "--no-compile", *extra]
    run(python, "-m", "pip", "install", *options, *arguments)


def run(*command: str | Path) -> str:
    """Run a command to its end and return what it printed; end with its last lines if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        sys.exit(f"error: {command[1:4]} failed:\n{done.stderr[-2000:]}")
    return done.stdout


VERSIONS = """
import json, platform
from importlib.metadata import version
names = ("megatron-core", "torch", "transformers")
print(json.dumps([platform.python_version(), *map(version, names)]))
"""


def walk(pair: Pair) -> bool:
    """Run a pair's tests, print its row; tell whether none failed and the losses agree."""
    python = environment(pair)
    report, place = FOLDER / f"{pair.name}.xml", FOLDER / f"{pair.name}-runs"
    report.unlink(missing_ok=True)
    asked = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    options = [f"--junitxml={report}", f"--basetemp={place}"]
    done = subprocess.run(
        [python, "-m", "pytest", *options, *pair.tests],
        cwd=ROOT,
        env=os.environ | asked,
        check=False,
    )
    difference = largest_difference(place, FOLDER / f"{PAIRS[0].name}-runs")
    told = "not compared" if difference is None else f"{difference:.0e} nats"
    versions = json.loads(run(python, "-W", "ignore", "-c", VERSIONS).splitlines()[-1])
    cells = (*versions, f"{datetime.now(UTC):%Y-%m-%d}", counts(report), told)
    row = f"| {' | '.join(cells)} |"
    print(row, flush=True)
    with (FOLDER / "results.md").open("a", encoding="utf-8") as file:
        file.write(row + "\n")
    return done.returncode == 0 and (difference or 0.0) <= TOLERANCE


def largest_difference(place: Path, reference: Path) -> float | None:
    """Return how far the losses of the run `one` in two pairs' folders differ, None without one."""
    logs = [next(folder.glob("runs*/one/log.jsonl"), None) for folder in (place, reference)]
    if None in logs:
        return None
    found, expected = (losses(log.parent) for log in logs if log is not None)
    if found.keys() != expected.keys():
        return math.inf
    return max(abs(found[iteration] - expected[iteration]) for iteration in expected)


def counts(report: Path) -> str:
    """Return how many tests passed, failed and were skipped, by pytest's own report."""
    if not report.is_file():
        return "no report: pytest did not end"
    suites = list(ET.parse(report).getroot().iter("testsuite"))  # noqa: S314

    def total(*names: str) -> int:
        return sum(int(suite.get(name, 0)) for suite in suites for name in names)

    failed, skipped = total("failures", "errors"), total("skipped")
    return f"{total('tests') - failed - skipped} passed, {failed} failed, {skipped} skipped"


def main(*names: str) -> int:
    """Walk the pairs of these names, or all; return the exit code."""
    known = {pair.name: pair for pair in PAIRS}
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"error: no {', '.join(unknown)}; known: {', '.join(known)}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    failed = [name for name in names or known if not walk(known[name])]
    if failed:
        print(f"error: failed on {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""The Makefile and the README: what they promise is there."""

import os
import re
import shlex
import shutil
import sys
import venv
from pathlib import Path
from typing import Any

import pytest
import typer

from megatron_music.cli.app import app
from tests.launch import scripts
from tests.launch.scripts import with_gpus

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", *(str(path.relative_to(ROOT)) for path in ROOT.glob("*/*.md"))]


def make(*arguments: str, folder: Path = ROOT, path: str | None = None) -> str:
    """Run make as a person would, outside the make that may be running this test."""
    settings = {} if path is None else {"PATH": path}
    done = scripts.make(*arguments, folder=folder, **settings)
    return done.stdout + done.stderr


def targets() -> set[str]:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(" ".join(re.findall(r"^\.PHONY: (.+)$", text, re.MULTILINE)).split())


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what set-up looks at, where nothing was set up yet."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    for name in ("constraints", "launch"):
        shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path


def installed(checkout: Path) -> Path:
    """Leave what an installation leaves behind: all packages are there."""
    venv_folder = checkout / ".venv"
    venv_folder.mkdir()
    for name in ("core", "ready"):  # in this order
        (venv_folder / name).touch()
    return venv_folder / "ready"


def test_plain_make_lists_every_target_with_a_line() -> None:
    listed = dict(re.findall(r"^ +make (\S+) +(\S.*)$", make(), re.MULTILINE))
    assert set(listed) == targets() - {"clock", "image", "layout", "port", "request"}


def test_pretrain_walks_the_whole_way_in_order() -> None:
    plan = make("-n", "pretrain", "RECIPE=tiny", "NPROC=1")
    steps = [
        "megatron-music data build bach -o data/bach",
        "launch/pretrain.sh tiny --data data/bach --run-dir runs/bach-tiny",
        "megatron-music export runs/bach-tiny -o runs/bach-tiny/hf",
        "megatron-music sample runs/bach-tiny/hf -o runs/bach-tiny/music "
        """$(grep -qs '"place"' runs/bach-tiny/hf/config.json && echo --begin --end) """
        "--bars 8 --seed 7 --best 4 --of 32",
    ]
    places = [plan.find(step) for step in steps]
    assert -1 not in places
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("asked", "step"),
    [
        ("DATASET=lakh", "data build lakh -o data/lakh --fetch"),
        (
            "DATASET=metamidi SOURCE=/x/y.tar",
            "data build metamidi -o data/metamidi --source /x/y.tar",
        ),
        ("SOURCE=/x/music/", "data build /x/music/ -o data/music --fetch"),
        ("ARGS=--fill", "data build bach -o data/bach --fetch --fill"),
        ("SOURCE=.", f"data build {ROOT} -o data/{ROOT.name} --fetch"),
    ],
)
def test_music_is_fetched_unless_source_is_given(asked: str, step: str) -> None:
    assert f"megatron-music {step}\n" in make("-n", "data", *asked.split())


@pytest.mark.parametrize(
    ("asked", "started"),
    [
        # Without GPUs the recipe is long enough for the music, and small batches take two cores.
        ("DATASET=scores CPUS=8", "NPROC=2 TP=1 PP=1 launch/pretrain.sh tiny --data data/scores "),
        ("DATASET=bach+palestrina CPUS=1", "NPROC=1 TP=1 PP=1 launch/pretrain.sh tiny --data "),
        ("DATASET=bach+mine CPUS=8", "NPROC=1 TP=1 PP=1 launch/pretrain.sh tiny-band --data "),
        ("DATASET=lakh", "launch/pretrain.sh tiny-band --data data/lakh "),
        ("NPROC=4 TP=2 ARGS=train.lr=1e-3", "NPROC=4 TP=2 PP=1 launch/pretrain.sh tiny "),
        ("ARGS=train.lr=1e-3", "--run-dir runs/bach-tiny train.lr=1e-3"),
        ("GPUS=8", "NPROC=8 TP=1 PP=1 launch/pretrain.sh article --data data/bach"),
    ],
)
def test_the_launcher_gets_what_suits_the_music_and_the_machine(asked: str, started: str) -> None:
    machine = () if "GPUS" in asked else ("GPUS=0",)
    assert started in make("-n", "pretrain", *machine, *asked.split())


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (["NPROC=3", "TP=2"], "use a multiple of 2"),
        (["RUNTIME=vm"], "must be auto, local, docker or slurm (got 'vm')"),
    ],
)
def test_a_layout_that_cannot_work_is_refused_before_anything(
    layout: list[str], message: str
) -> None:
    done = scripts.make("layout", *layout)
    assert done.returncode == 2
    assert message in done.stderr


def test_a_request_is_checked_before_data_are_built() -> None:
    plan = make("-n", "pretrain", "RECIPE=article")
    assert (
        0 <= plan.index("--estimate") < plan.index("sample build/none") < plan.index("data build")
    )


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("PP=2 RECIPE=tiny", "does not divide model.num_layers=1 (it divides model.num_layers=2)"),
        ("RECIPE=tyni", "did you mean 'tiny'?"),
        ("NPROC=1 ARGS=train.lr=-1", "train.lr: input should be greater than 0"),
        ("NPROC=2 RECIPE=tiny ARGS=train.global_batch_size=1", "is not a multiple of"),
        ("N=0", "--best must be 1..32 (got 0)"),
        ("N=0 DATASET=hymns", "-n must be"),
        ("BARS=0", "--bars must be"),
        ("N=40", "--of 40 or more"),
        ("SEED=x", "--seed: it takes a whole number (got 'x')"),
    ],
)
def test_what_cannot_be_is_refused(asked: str, message: str) -> None:
    done = scripts.make("request", f"PYTHON_ENV={sys.prefix}", "GPUS=0", *asked.split())
    assert message in scripts.refusal(done)


def test_a_usual_request_is_not_refused() -> None:
    for asked in ("DATASET=bach", "DATASET=hymns", "DATASET=lakh N=3 OF=", "PP=2 ARGS=--depth=2"):
        assert make("request", f"PYTHON_ENV={sys.prefix}", "GPUS=0", "CPUS=2", *asked.split()) == ""


def test_a_data_set_given_as_a_folder_gets_its_own_names() -> None:
    plan = make("-n", "pretrain", "DATASET=/music/jazz", "RECIPE=tiny")
    assert "data build /music/jazz -o data/jazz" in plan
    assert "--run-dir runs/jazz-tiny" in plan
    plan = make("-n", "pretrain", "DATASET=My Music", "RECIPE=tiny")
    assert "data build 'My Music' -o 'data/My Music' --fetch" in plan
    assert "export 'runs/My Music-tiny' -o 'runs/My Music-tiny'/hf" in plan


def test_the_sweep_fits_the_machine(tmp_path: Path) -> None:
    def sweep(gpus: int) -> str:
        return make("-n", "profile", path=with_gpus(tmp_path / str(gpus), gpus))

    assert "profile sweep profiling/sweeps/cpu.yaml --budget 4m" in sweep(0)
    assert "profile sweep profiling/sweeps/single-gpu.yaml --budget 2h" in sweep(1)
    assert "profile sweep profiling/sweeps/article-table2.yaml --budget 2h" in sweep(8)
    assert "sweep my.yaml --budget 9m" in make("-n", "profile", "SWEEP=my.yaml", "BUDGET=9m")


def test_without_gpus_torch_comes_without_cuda_unless_wheels_are_configured(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    index = "--extra-index-url https://download.pytorch.org/whl/cpu"
    assert index in make("-n", "setup", folder=checkout)
    for_nodes_with_gpus = make("-n", "setup", "RUNTIME=slurm", folder=checkout)
    assert "--extra-index-url" not in for_nodes_with_gpus
    assert "--extra-index-url /mirror" in make(
        "-n", "setup", "TORCH_INDEX=/mirror", folder=checkout
    )
    on_gpus = with_gpus(checkout / "bin", 1)
    assert "--extra-index-url" not in make("-n", "setup", folder=checkout, path=on_gpus)
    monkeypatch.setenv("PIP_FIND_LINKS", "/wheels")
    assert "--extra-index-url" not in make("-n", "setup", folder=checkout)


def test_set_up_is_due_again_only_when_what_it_depends_on_changed(checkout: Path) -> None:
    assert "pip install" in make("-n", "setup", folder=checkout)
    later = installed(checkout).stat().st_mtime_ns + 10**9
    assert "pip install" not in make("-n", "setup", folder=checkout)
    os.utime(checkout / "pyproject.toml", ns=(later, later))
    assert "pip install" in make("-n", "setup", folder=checkout)


def test_kernels_are_compiled_at_set_up_and_again_when_one_changes(checkout: Path) -> None:
    kernel = checkout / "megatron_music" / "score" / "any_kernel.py"
    kernel.parent.mkdir(parents=True)
    kernel.touch()
    assert "megatron-music compile" in make("-n", "setup", folder=checkout)
    stamp = checkout / "build" / "compiled"
    stamp.parent.mkdir()
    stamp.touch()
    installed(checkout)
    later = stamp.stat().st_mtime_ns + 10**9
    assert "megatron-music compile" not in make("-n", "setup", folder=checkout)
    os.utime(kernel, ns=(later, later))
    assert "megatron-music compile" in make("-n", "setup", folder=checkout)


def test_an_environment_that_is_there_is_used_as_it_is() -> None:
    plan = make("-n", "pretrain", f"PYTHON_ENV={sys.prefix}/", "RECIPE=tiny", "NPROC=1")
    assert "pip install" not in plan
    assert f"{sys.prefix}/bin/python3 launch/check_env.py" in plan
    assert f"{sys.prefix}/bin/python3 -m megatron_music data build bach" in plan
    assert "runtime: local" in plan
    active = make(
        "-n", "sample", "PYTHON_ENV=active", path=f"{sys.prefix}/bin:{os.environ['PATH']}"
    )
    assert f"{sys.prefix}/bin/python3 -m megatron_music sample" in active


def test_an_environment_that_lacks_nothing_is_silent() -> None:
    assert make("checked-python-env", f"PYTHON_ENV={sys.prefix}") == ""


def test_what_an_environment_lacks_is_one_line_and_nothing_is_installed(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bare = tmp_path_factory.mktemp("bare")
    venv.create(bare, with_pip=False, symlinks=True)
    told = make("data", f"PYTHON_ENV={bare}", folder=checkout).splitlines()
    assert told[0].startswith(f"error: the environment of {bare}/bin/python3 lacks ")
    assert "jinja2>=3.1" in told[0]
    assert "torch>=2.6" in told[0]
    assert "music21" not in told[0]
    assert len([line for line in told if not line.startswith("make:")]) == 1
    assert not (checkout / ".venv").exists()


def test_a_folder_that_is_not_an_environment_is_refused(checkout: Path) -> None:
    told = make("data", "PYTHON_ENV=/no/where", folder=checkout)
    assert "error: PYTHON_ENV=/no/where has no bin/python3; give the folder" in told


def test_an_interrupted_set_up_is_not_taken_for_done(checkout: Path) -> None:
    python = checkout / "python"
    python.write_text(
        '#!/bin/sh\ncase "$*" in *print*) echo constraints/py311.txt;; *venv*) mkdir -p .venv/bin; '
        "ln -sf $PWD/python .venv/bin/python;; *install*) echo 'no space left' >&2; exit 3;; esac\n"
    )
    python.chmod(0o755)
    told = make("setup", f"PYTHON={python}", folder=checkout)
    assert "no space left" in told
    assert "Error" in told
    assert not (checkout / ".venv" / "ready").exists()
    assert "venv --clear" in make("-n", "setup", f"PYTHON={python}", folder=checkout)


def test_without_a_suitable_python_one_line_says_so(checkout: Path) -> None:
    told = make("setup", "PYTHON=python9.9", folder=checkout)
    assert "install Python 3.11" in told
    assert not (checkout / ".venv").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_checkout_of_somebody_else_is_refused_before_anything(checkout: Path) -> None:
    checkout.chmod(0o555)
    for target in ("setup", "layout"):
        assert "is not yours to write in; clone one of your own" in make(target, folder=checkout)


def test_clean_leaves_data_and_runs(checkout: Path) -> None:
    for name in ("data", "runs", ".venv", "build", "megatron_music/__pycache__"):
        (checkout / name).mkdir(parents=True)
    told = make("clean", folder=checkout)
    left = {path.name for path in checkout.iterdir()}
    assert {"data", "runs"} <= left
    assert not {".venv", "build"} & left
    assert not (checkout / "megatron_music" / "__pycache__").exists()
    assert "data/ and runs/ were left alone" in told


def test_the_pins_name_releases_that_any_machine_can_get() -> None:
    for file in (ROOT / "constraints").glob("py*.txt"):
        pins = [line for line in file.read_text().splitlines() if not line.startswith("#")]
        assert pins
        for pin in pins:
            assert re.fullmatch(r"[\w.-]+==[\w.]+", pin), pin
            assert not pin.startswith(("nvidia-cu", "nvidia-nccl", "cuda-", "triton"))


def test_the_readme_fits_a_screen_and_names_only_targets_that_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.count("\n") < 150
    named = set(re.findall(r"\bmake ([a-z-]+)", text))
    assert {"pretrain", "test"} <= named <= targets()


def test_the_readmes_commands_exist_with_the_options_it_gives_them() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"^megatron-music (.+?)(?: +#.*)?$", text, re.MULTILINE)
    assert len(lines) >= 5
    for line in lines:
        command: Any = typer.main.get_command(app)
        words = shlex.split(line)
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= known


@pytest.mark.parametrize("page", PAGES)
def test_links_into_the_repository_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    missing = [link for link in links if not (ROOT / page).parent.joinpath(link).exists()]
    assert missing == []

"""The program as a whole: quick to start, light to import, one line for an error."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import warm
from tests.code import run_code


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return warm.run([sys.executable, "-m", "megatron_music", *arguments])


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = set(run_code("import sys, megatron_music; print(*sys.modules)").stdout.split())
    assert not {"numpy", "numba", "matplotlib", "music21", "torch", "typer"} & loaded


def test_importing_the_command_line_loads_neither_torch_nor_megatron() -> None:
    code = "import sys, megatron_music.cli.app, megatron_music.cli.main; print(*sys.modules)"
    assert not {"torch", "megatron", "transformers", "music21"} & set(run_code(code).stdout.split())


@pytest.mark.parametrize(
    "command",
    ["doctor", "data", "encode", "decode", "train", "export", "sample", "render"],
)
def test_every_command_has_help_with_an_example(command: str) -> None:
    done = run(command, "--help")
    assert done.returncode == 0
    if command != "data":
        assert f"megatron-music {command}" in " ".join(done.stdout.split())


def test_the_version_is_printed() -> None:
    from megatron_music import __version__

    assert run("--version").stdout == f"megatron-music {__version__}\n"


def test_an_error_is_one_line_and_with_debug_its_traceback_too() -> None:
    plain, debug = run("render", "none.mid"), run("--debug", "render", "none.mid")
    assert plain.returncode == debug.returncode == 1
    assert plain.stderr.count("\n") == 1
    assert "Traceback" in debug.stderr
    assert debug.stderr.endswith(plain.stderr)


@pytest.mark.parametrize(
    ("words", "named"),
    [(["data", "build", "", "-o", "set"], "'build'"), (["render", "a.mid", "--png="], "'--png='")],
)
def test_an_empty_argument_is_refused_in_one_line(words: list[str], named: str) -> None:
    done = run(*words)
    assert done.returncode == 2
    assert re.fullmatch(rf"error: an empty argument \(.*{named}\); .* leave it out\n", done.stderr)


def test_ctrl_c_while_the_program_is_loaded_is_one_line() -> None:
    script = (
        "import sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'typer': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupt()); sys.argv[1:] = ['render']\n"
        "from megatron_music.cli.main import run; run()"
    )
    done = run_code(script)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


IN_A_DESTRUCTOR = """
import os, signal, typer
from megatron_music.cli import show
from megatron_music.cli.main import run
class Group:
    def __del__(self): os.kill(os.getpid(), signal.SIGINT)
app = typer.Typer()
@app.command()
def compose(songs: int) -> None:
    group = Group()
    del group
    print("a song")
    with show.progress("compose", "songs") as progress:
        for song in range(songs):
            progress(song, songs)
            print("too many")
run(app)
"""

IN_C_CODE = """
import typer
from megatron_music.cli.main import run
app = typer.Typer()
@app.command()
def compose(songs: int) -> None:
    try: raise KeyboardInterrupt
    except KeyboardInterrupt as fault: raise RuntimeError("cannot load a module") from fault
run(app)
"""


@pytest.mark.parametrize("songs", ["0", "1"])
def test_ctrl_c_in_a_destructor_ends_the_program(songs: str) -> None:
    done = run_code(IN_A_DESTRUCTOR, songs)
    assert (done.returncode, done.stdout, done.stderr) == (130, "a song\n", "interrupted\n")


def test_ctrl_c_that_code_in_c_replaces_by_its_own_error_ends_the_program() -> None:
    done = run_code(IN_C_CODE, "1")
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


FAILED_AFTER_CTRL_C = """
import typer
from megatron_music.cli.main import run
from megatron_music.errors import WriteError
app = typer.Typer()
@app.command()
def compose() -> None:
    try: raise KeyboardInterrupt
    except KeyboardInterrupt: raise WriteError("cannot write song.mid")
run(app)
"""


def test_an_error_while_the_program_ends_by_ctrl_c_is_reported() -> None:
    done = run_code(FAILED_AFTER_CTRL_C)
    assert (done.returncode, done.stderr) == (130, "error: cannot write song.mid\n")


def test_an_unexpected_error_is_one_line_and_a_file_with_its_traceback(
    tmp_path: Path,
) -> None:
    script = (
        "import typer; from megatron_music.cli.main import run; app = typer.Typer()\n"
        "@app.command()\ndef fail() -> None: raise LookupError('a\\nb')\n"
        "run(app)"
    )
    done = run_code(script, TMPDIR=str(tmp_path))
    [file] = tmp_path.iterdir()
    assert done.returncode == 1
    assert re.fullmatch(rf"error: this is a fault of the program.*{file}.*\n", done.stderr)
    assert "LookupError" not in done.stderr
    assert file.read_text(encoding="utf-8").startswith("Traceback")

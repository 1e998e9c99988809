"""launch/jupyter.sh: JupyterLab for this machine alone, and nobody without the token."""

import getpass
import re
import socket
import stat
import urllib.request
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.launch.lab import Lab, free_port, listening, run_cell, status
from tests.launch.scripts import make, path_with, program, refusal, run

SCRIPT = "launch/jupyter.sh"
slow = pytest.mark.slow


@slow
def test_nothing_listens_on_a_public_address(lab: Lab) -> None:
    addresses = listening(lab.process)
    assert addresses == {("127.0.0.1", lab.port)}
    for host in {socket.gethostbyname(socket.gethostname()), "[::1]"} - {"127.0.0.1"}:
        assert status(lab.port, "/api", host=host) == 0


@slow
def test_without_the_token_nothing_is_shown(lab: Lab) -> None:
    assert status(lab.port, "/api/contents") == 403
    assert status(lab.port, "/api/contents", token="0" * 48) == 403
    assert status(lab.port, "/api/contents", token=lab.token) == 200


@slow
def test_the_token_is_in_a_file_that_only_the_user_can_read(lab: Lab) -> None:
    assert stat.S_IMODE(lab.token_file.stat().st_mode) == 0o600
    assert re.fullmatch("[0-9a-f]{48}", lab.token)
    for one in [psutil.Process(lab.process.pid), *psutil.Process(lab.process.pid).children(True)]:
        with suppress(psutil.NoSuchProcess, FileNotFoundError):  # a child that ended meanwhile
            assert lab.token not in " ".join([*one.cmdline(), *one.environ().values()])


@slow
def test_a_notebooks_cell_runs_and_sees_no_token(lab: Lab) -> None:
    code = "import megatron_music, os; print(megatron_music.__name__, 'TOKEN' in str(os.environ))"
    assert run_cell(lab.port, lab.token, code) == "megatron_music False"


@slow
def test_no_page_asks_to_fetch_news(lab: Lab) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{lab.port}/lab?token={lab.token}") as page:
        settings = page.read().decode()
    disabled = re.search(r'"disabledExtensions": (\[[^]]*\])', settings)
    assert disabled is not None
    assert "@jupyterlab/apputils-extension:announcements" in disabled[1]


@slow
def test_the_link_is_printed_and_the_way_from_elsewhere(lab: Lab) -> None:
    printed = lab.printed.read_text()
    assert f"http://127.0.0.1:{lab.port}/lab?token={lab.token}" in printed
    assert f"make tunnel HOST={getpass.getuser()}@" in printed


@slow
def test_a_port_that_is_taken_is_refused(lab: Lab, tmp_path: Path) -> None:
    done = run(SCRIPT, HOME=str(tmp_path), PORT=str(lab.port))
    assert f"port {lab.port} is taken; give another" in refusal(done)


@pytest.mark.parametrize(
    ("name", "content", "mode", "message"),
    [
        ("token", "s" * 48, 0o644, "others can read it; remove it, or: chmod 600"),
        ("token", "", 0o600, "is empty"),
        ("link", "s" * 48, 0o600, "it is a link or somebody else's"),
        ("token/below", "s" * 48, 0o600, "token/below"),  # cannot be written
    ],
)
def test_a_token_that_is_none_is_refused(
    tmp_path: Path, name: str, content: str, mode: int, message: str
) -> None:
    pytest.importorskip("jupyterlab")
    token = tmp_path / "token"
    token.write_text(content)
    token.chmod(mode)
    (tmp_path / "link").symlink_to(token)
    done = run(SCRIPT, JUPYTER_TOKEN_FILE=str(tmp_path / name), PORT=str(free_port()))
    assert message in refusal(done)
    assert "sss" not in done.stdout + done.stderr


def test_without_jupyterlab_one_line_says_how_to_get_it(tmp_path: Path) -> None:
    program(tmp_path, "python", "exit 1")
    done = run(SCRIPT, MUSIC_PYTHON=str(tmp_path / "python"), HOME=str(tmp_path))
    assert "has no JupyterLab; start with: make jupyter" in refusal(done)


@pytest.mark.parametrize("port", ["0", "eighty", "65536"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    assert f"must be from 1 to 65535 (got '{port}')" in refusal(run(SCRIPT, PORT=port))


def test_make_refuses_a_port_before_anything_is_installed(tmp_path: Path) -> None:
    done = make("jupyter", "PORT=99999", "VENV=" + str(tmp_path / "none"))
    assert "must be from 1 to 65535 (got '99999')" in refusal(done)
    assert "set-up" not in done.stdout


def test_make_jupyter_starts_it_on_the_port_asked_for() -> None:
    plan = make("-n", "jupyter", "RUNTIME=local", "PORT=9001").stdout
    assert re.search(r"PORT=9001 .*launch/jupyter\.sh$", plan, re.MULTILINE)


def test_a_dry_run_shows_the_command_with_the_tokens_file_and_not_the_token(tmp_path: Path) -> None:
    done = run(SCRIPT, DRY_RUN="1", PORT="9001", HOME=str(tmp_path), PATH=path_with(tmp_path))
    assert "--ServerApp.ip=127.0.0.1 --ServerApp.port=9001" in done.stdout
    assert f"JUPYTER_TOKEN_FILE={tmp_path}/.local/state" in done.stdout
    assert not (tmp_path / ".local").exists()

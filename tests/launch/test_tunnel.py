"""launch/tunnel.sh: a JupyterLab elsewhere, reached through a real sshd on this machine."""

import getpass
import json
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.launch.lab import Lab, free_port, listening, run_cell, started, status, wait_for
from tests.launch.scripts import ROOT, refusal, run

SCRIPT = "launch/tunnel.sh"
SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin:/usr/bin")


@dataclass(frozen=True)
class Far:
    """A machine elsewhere: what to type to get there."""

    host: str
    options: list[str]


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    """An sshd on 127.0.0.1 that knows one key."""
    if SSHD is None or shutil.which("ssh") is None:
        pytest.skip("no sshd on this machine: tests/install.sh sshd")
    folder, port = tmp_path_factory.mktemp("sshd"), free_port()
    for name in ("host", "user"):
        key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(key, check=True)
    (folder / "config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/user.pub\nStrictModes no\nPasswordAuthentication no\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    server = subprocess.Popen(
        [SSHD, "-D", "-e", "-f", str(folder / "config")], stderr=subprocess.DEVNULL
    )
    while server.poll() is None and ("127.0.0.1", port) not in listening(server):
        time.sleep(0.05)
    known = ["-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={folder}/known"]
    try:
        yield Far(
            f"{getpass.getuser()}@127.0.0.1",
            ["-p", str(port), "-i", str(folder / "user"), "-o", "LogLevel=ERROR", *known],
        )
    finally:
        server.terminate()
        server.wait(10)


@pytest.mark.slow
def test_the_far_jupyterlab_is_reached_by_the_link_that_is_printed(
    far: Far, lab: Lab, tmp_path: Path
) -> None:
    near, printed = free_port(), tmp_path / "printed.txt"
    command = [str(ROOT / SCRIPT), far.host, *far.options]
    settings = {"PORT": str(lab.port), "LOCAL_PORT": str(near)}
    with started(command, printed, JUPYTER_TOKEN_FILE=str(lab.token_file), **settings) as process:
        wait_for(near, process, printed)
        while "token=" not in printed.read_text():
            time.sleep(0.1)
        assert f"http://127.0.0.1:{near}/lab?token={lab.token}" in printed.read_text()
        assert listening(process) == {("127.0.0.1", near)}
        assert status(near, "/api/contents") == 403
        assert run_cell(near, lab.token, "print(6 * 7)") == "42"
    assert status(near, "/api") == 0


@pytest.mark.slow
def test_the_far_studio_plays_and_takes_votes_through_the_tunnel(far: Far, tmp_path: Path) -> None:
    distant, near, printed = free_port(), free_port(), tmp_path / "printed.txt"
    studio = [sys.executable, "-m", "megatron_music", "studio", "--port", str(distant)]
    studio += ["--folder", str(tmp_path), str(ROOT / "megatron_music" / "studio" / "chorales")]
    command = [str(ROOT / SCRIPT), far.host, *far.options]
    settings = {"WHAT": "studio", "PORT": str(distant), "LOCAL_PORT": str(near)}
    with started(studio, tmp_path / "studio.txt") as server:
        wait_for(distant, server, tmp_path / "studio.txt", "/healthz")
        with started(command, printed, **settings) as process:
            wait_for(near, process, printed, "/healthz")
            while "Open " not in printed.read_text():
                time.sleep(0.1)
            assert f"Open http://127.0.0.1:{near}/\n" in printed.read_text()
            assert status(near, "/song/1") == 200
            page = f"http://127.0.0.1:{near}"
            vote = urllib.request.Request(  # noqa: S310
                f"{page}/api/v1/songs/1/votes",
                b'{"value": 1}',
                {"content-type": "application/json", "origin": page},
            )
            with urllib.request.urlopen(vote) as answer:  # noqa: S310
                assert json.load(answer)["votes"] == 1


@pytest.mark.slow
def test_a_host_where_no_jupyterlab_was_started_is_named(far: Far) -> None:
    done = run(SCRIPT, far.host, *far.options, PORT="9", LOCAL_PORT=str(free_port()))
    message = refusal(done)
    assert "jupyter-9.token" in message
    assert "start it there: make jupyter PORT=9" in message


@pytest.mark.slow
def test_a_host_that_refuses_the_login_is_named(far: Far) -> None:
    nobody = ["-p", far.options[1], "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"]
    nobody += ["-o", "UserKnownHostsFile=/dev/null", "-o", "IdentityFile=/dev/null"]
    done = run(SCRIPT, far.host, *nobody, "-o", "IdentitiesOnly=yes", LOCAL_PORT=str(free_port()))
    assert f"no tunnel to {far.host}" in refusal(done)


@pytest.mark.slow
def test_a_port_that_is_taken_here_is_refused(lab: Lab) -> None:
    done = run(SCRIPT, "user@dgx", LOCAL_PORT=str(lab.port))
    assert f"port {lab.port} is taken on this machine" in refusal(done)


@pytest.mark.parametrize("arguments", [(), ("-N",)])
def test_without_a_host_one_line_says_how(arguments: tuple[str, ...]) -> None:
    assert "make tunnel HOST=user@dgx" in refusal(run(SCRIPT, *arguments))


def test_a_dry_run_shows_the_command() -> None:
    done = run(SCRIPT, "user@dgx", "-J", "gate", DRY_RUN="1", PORT="8890", LOCAL_PORT="9000")
    words = shlex.split(done.stdout)
    assert words[:4] == ["ssh", "-N", "-L", "127.0.0.1:9000:127.0.0.1:8890"]
    assert words[-3:] == ["-J", "gate", "user@dgx"]

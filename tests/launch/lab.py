"""A real JupyterLab for tests, and the little of its protocol that they speak."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.launch.scripts import ROOT, environment

LONGEST_S = 60.0


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Lab:
    """Where a JupyterLab answers: `port` here, its token's file, what it printed."""

    port: int
    token_file: Path
    process: subprocess.Popen[bytes]
    printed: Path

    @property
    def token(self) -> str:
        """Return the token, as a user who owns the file can."""
        return self.token_file.read_text().strip()


@contextmanager
def started(
    command: list[str], printed: Path, **settings: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a script in the background, with its output in a file; end it and all it started."""
    with printed.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(**settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def wait_for(
    port: int, process: subprocess.Popen[bytes], printed: Path, path: str = "/api"
) -> None:
    """Return when a JupyterLab, or what has `path`, answers at 127.0.0.1:port."""
    end = time.monotonic() + LONGEST_S
    while time.monotonic() < end:
        assert process.poll() is None, printed.read_text()
        if status(port, path) == 200:
            return
        time.sleep(0.1)
    raise AssertionError(printed.read_text())


def status(port: int, path: str, token: str = "", host: str = "127.0.0.1") -> int:
    """Return the HTTP status of a page; 0 where nothing listens."""
    headers = {"Authorization": f"token {token}"} if token else {}
    request = urllib.request.Request(f"http://{host}:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def listening(process: subprocess.Popen[bytes]) -> set[tuple[str, int]]:
    """Return every address on which a process or one of its children listens."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    connections = []
    for member in family:
        with suppress(psutil.NoSuchProcess):  # a child that has ended meanwhile
            connections += member.net_connections("inet")
    return {(one.laddr.ip, one.laddr.port) for one in connections if one.status == "LISTEN"}


def run_cell(port: int, token: str, code: str) -> str:
    """Run code in a new kernel, as a notebook's page does, and return what it printed."""
    from websocket import create_connection

    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/kernels",
        method="POST",
        headers={"Authorization": f"token {token}"},
    )
    with urllib.request.urlopen(request, timeout=LONGEST_S) as answer:  # noqa: S310
        kernel = json.load(answer)["id"]
    address = f"ws://127.0.0.1:{port}/api/kernels/{kernel}/channels?token={token}"
    channel = create_connection(address, timeout=LONGEST_S)
    channel.send(json.dumps(_execute(code)))
    while True:
        message = json.loads(channel.recv())
        if message["msg_type"] == "stream" and message["content"]["name"] == "stdout":
            channel.close()
            return str(message["content"]["text"]).strip()
        assert message["msg_type"] != "error", message["content"]


def _execute(code: str) -> dict[str, Any]:
    header = {
        "msg_id": uuid.uuid4().hex,
        "msg_type": "execute_request",
        "session": uuid.uuid4().hex,
        "username": "",
        "version": "5.3",
    }
    content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
    return {
        "header": header,
        "parent_header": {},
        "metadata": {},
        "content": content,
        "channel": "shell",
    }

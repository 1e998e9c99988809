"""Start this project's programs from a process that has already loaded torch and Megatron.

Loading them takes seven seconds of a core, and the tests start programs some hundreds of times.
Here a server loads them once for all tests of a session and forks: each program still runs in a
process of its own, with its own arguments, environment, folder and output. What only a new
interpreter shows (what is imported, what the dynamic linker finds) is started as a user does it.
"""

import atexit
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, Any

ADDRESS = "TEST_WARM_ADDRESS"
"""The environment variable with the server's socket; all workers of pytest share one server."""

LOADED = (
    "megatron_music.cli.app",
    "megatron_music.cli.main",
    "megatron_music.train.trainer",
    "megatron_music.export.parity",
    "megatron_music.export.weights",
    "megatron_music.generate.composer",
    "megatron_music.evaluate.report",
    "transformers.models.gpt2.modeling_gpt2",
    "matplotlib.figure",
)
READ_AT_START = ("LD_", "PYTHON", "OMP_", "GOMP_", "MKL_", "NUMBA_", "MALLOC_", "LC_", "LANG")
"""Beginnings of names of variables that a process reads while it starts."""

LONGEST_S = 300.0
_LARGEST_BYTES = 1 << 20

Environment = Mapping[str, str]


@contextmanager
def server() -> Iterator[None]:
    """Start the server, and name it in this process's environment; end it at the end."""
    with tempfile.TemporaryDirectory(prefix="warm-") as folder:
        address = str(Path(folder) / "socket")
        command = [sys.executable, "-W", "ignore", "-m", "tests.warm", address]
        settings = os.environ | {"OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, env=settings, cwd=Path(__file__).parents[1])
        os.environ[ADDRESS] = address
        try:
            yield
        finally:
            os.environ.pop(ADDRESS, None)
            process.kill()
            process.wait()


@dataclass
class Process:
    """A program that the server started; used as `subprocess.Popen` is."""

    pid: int
    link: socket.socket
    returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, or None while the program runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float = LONGEST_S) -> int:
        """Wait for the program's end; raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            if not select.select([self.link], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("a program", timeout)
            self.returncode = int(self.link.recv(_LARGEST_BYTES) or b"-1")
            self.link.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal to the program."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End the program at once."""
        self.send_signal(signal.SIGKILL)


def start(
    words: Sequence[str], folder: Path, environment: Environment, output: tuple[IO[Any], IO[Any]]
) -> Process:
    """Start `python WORDS` in a session of its own, as the server forks it."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    end = time.monotonic() + LONGEST_S
    while True:
        try:
            link.connect(os.environ[ADDRESS])
            break
        except (FileNotFoundError, ConnectionRefusedError):  # the server is starting
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
    request = json.dumps([list(words), str(folder), dict(environment)]).encode()
    with Path(os.devnull).open("rb") as nothing:
        files = [nothing.fileno(), *(file.fileno() for file in output)]
        socket.send_fds(link, [request], files)
    return Process(int(link.recv(_LARGEST_BYTES)), link)


def is_warm(command: Sequence[str], environment: Environment) -> bool:
    """Tell whether a command can be forked: Python, with no other start than the server's."""
    same = all(
        os.environ.get(name) == environment.get(name)
        for name in os.environ.keys() | environment.keys()
        if name.startswith(READ_AT_START) and name != "OMP_NUM_THREADS"
    )
    threads = environment.get("OMP_NUM_THREADS", "1") == "1"
    return command[0] == sys.executable and same and threads and ADDRESS in os.environ


def run(
    command: Sequence[str],
    folder: Path | None = None,
    environment: Environment | None = None,
    timeout_s: float = LONGEST_S,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and return what came of it, by the server where that can be."""
    folder, environment = folder or Path.cwd(), environment or os.environ
    if not is_warm(command, environment):
        return subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        processes = [
            start(words, folder, settings, (out, err))
            for words, settings in _ranks(command[1:], environment)
        ]
        code = _end(processes, timeout_s)
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(command, code, out.read(), err.read())


def _ranks(
    words: Sequence[str], environment: Environment
) -> list[tuple[Sequence[str], dict[str, str]]]:
    """Return the arguments and environment of each process: torchrun's, where it is asked for."""
    if list(words[:3]) != ["-m", "torch.distributed.run", "--standalone"]:
        return [(words, dict(environment))]
    count, rest = int(words[4]), words[5:]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shared |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    return [
        (rest, dict(environment) | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(count)
    ]


def _end(processes: list[Process], timeout_s: float) -> int:
    """Wait for all; when one fails, end the others. Return the first code that is not 0."""
    end, code = time.monotonic() + timeout_s, 0
    running = list(processes)
    try:
        while running:
            links = [one.link for one in running]
            if not select.select(links, [], [], max(0.0, end - time.monotonic()))[0]:
                raise subprocess.TimeoutExpired("programs", timeout_s)
            for one in [one for one in running if one.poll() is not None]:
                running.remove(one)
                if one.returncode and not code:
                    code = one.returncode
                    for other in running:
                        other.kill()
    finally:
        for one in running:
            one.kill()
    return code


@cache
def _load() -> None:
    """Load what is slow to load, once, when the first test asks for a program."""
    for name in LOADED:
        with suppress(ImportError):  # of an environment without the extra `train`
            import_module(name)
    gc.collect()
    gc.freeze()  # a collection would copy the pages of all these into every process


class Server:
    """Forks a process for each request, and tells its end to who asked."""

    def __init__(self, address: str) -> None:
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(address)
        self.listener.listen(64)
        self.asked: dict[int, socket.socket] = {}
        self.woken, self.bell = socket.socketpair()
        self.bell.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.bell.fileno())

    def serve(self) -> tuple[list[str], str, dict[str, str]]:
        """Answer requests; return in each process that is forked, with what it is to run."""
        parent = os.getppid()
        while os.getppid() == parent:
            ready = select.select([self.listener, self.woken], [], [], 1.0)[0]
            if self.woken in ready:
                self.woken.recv(4096)
            self._reap()
            if self.listener in ready:
                link, _ = self.listener.accept()
                text, files, _, _ = socket.recv_fds(link, _LARGEST_BYTES, 3)
                _load()
                if (pid := os.fork()) == 0:
                    self._leave(link, files)
                    return json.loads(text)  # type: ignore[no-any-return]
                for file in files:
                    os.close(file)
                self.asked[pid] = link
                with suppress(OSError):  # who asked has ended meanwhile
                    link.send(str(pid).encode())
        sys.exit()

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while (done := os.waitpid(-1, os.WNOHANG))[0]:
                link = self.asked.pop(done[0])
                with suppress(OSError):  # nobody waits any more
                    link.send(str(os.waitstatus_to_exitcode(done[1])).encode())
                link.close()

    def _leave(self, link: socket.socket, files: list[int]) -> None:
        """Make a process of its own of what was forked."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for one in (link, self.listener, self.woken, self.bell, *self.asked.values()):
            one.close()
        os.setsid()
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)


def become(words: list[str], folder: str, environment: dict[str, str]) -> None:
    """Do what `python WORDS` does in a folder and an environment."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # it may have been looked up
    sys.orig_argv = [sys.executable, *words]
    if words[0] == "-c":
        sys.argv, sys.path[0] = [words[0], *words[2:]], folder
        exec(words[1], {"__name__": "__main__"})  # noqa: S102 (what Python's -c does)
    elif words[0] == "-m":
        sys.argv, sys.path[0] = words[1:], folder
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = words, str(Path(words[0]).parent)
        runpy.run_path(words[0], run_name="__main__")


def _code_of(leaving: SystemExit) -> int:
    if isinstance(leaving.code, str):
        print(leaving.code, file=sys.stderr)
        return 1
    return leaving.code or 0


def main() -> None:
    """Serve; in each process that is forked, run what was asked for."""
    request, code = Server(sys.argv[1]).serve(), 0
    try:
        become(*request)
    except SystemExit as leaving:
        code = _code_of(leaving)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # without taking down what was loaded, piece by piece


if __name__ == "__main__":
    main()

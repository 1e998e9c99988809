"""How fast the studio answers: 50 requests at once, the first bar of a new song, a long line.

    make bench-studio
    python profiling/benchmarks/studio.py HFDIR

Starts the real program on a folder of its own, asks it with `wrk` (Debian's package) and httpx, and
prints a table. Beside it stands a bare server that sends the same bytes from memory, with the same
uvicorn, httptools and uvloop: what this machine gives a program that does nothing else.
"""

import argparse
import asyncio
import multiprocessing
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import psutil
import uvicorn

from megatron_music.formatting import markdown_table

SECONDS, CONNECTIONS = 6, 50
LINE, VISITORS = 200, 10
PORT, BARE_PORT = 18_013, 18_014
ADDRESS, BARE = f"http://127.0.0.1:{PORT}", f"http://127.0.0.1:{BARE_PORT}"
API = f"{ADDRESS}/api/v1"

PERCENTILE = """
done = function(summary, latency, requests)
  io.write(string.format("95 in 100: %.1f ms\\n", latency:percentile(95) / 1000))
end
"""


@contextmanager
def started(models: list[Path], folder: Path) -> Iterator[tuple[psutil.Popen, float]]:
    """Start a studio; give it and the seconds until its first song could be heard."""
    command = [sys.executable, "-m", "megatron_music", "studio", *map(str, models)]
    command += ["--port", str(PORT), "--folder", str(folder / "studio")]
    began_s = time.monotonic()
    server = psutil.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        with httpx.Client(timeout=120) as client:
            while not answers(f"{ADDRESS}/healthz"):
                if server.poll() is not None:
                    sys.exit(f"the studio did not start: {server.stderr.read()}")
                time.sleep(0.1)
            song = client.get(f"{API}/songs/next").json()["id"]
            client.get(f"{API}/songs/{song}").raise_for_status()
            client.get(f"{API}/songs/{song}/audio").raise_for_status()
        yield server, time.monotonic() - began_s
    finally:
        server.terminate()
        server.wait()


def answers(address: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(address).is_success
    return False


@contextmanager
def bare_server(paths: list[str]) -> Iterator[None]:
    """Serve from memory what the studio answers to some paths."""
    known = {}
    for path in paths:
        got = httpx.get(ADDRESS + path)
        head = [pair for pair in got.headers.raw if pair[0] not in (b"date", b"server")]
        known[path] = head, got.content
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=serve_bare, args=(known,), daemon=True)
    process.start()
    try:
        while process.is_alive() and not answers(BARE + paths[0]):
            time.sleep(0.1)
        yield
    finally:
        process.kill()
        process.join()


def serve_bare(known: dict[str, tuple[list[tuple[bytes, bytes]], bytes]]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001 (as ASGI has it)
        headers, body = known[scope["path"]]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    of_the_studio = {"http": "httptools", "loop": "uvloop", "access_log": False}
    quiet = {"lifespan": "off", "log_level": "warning", "server_header": False}
    uvicorn.run(app, port=BARE_PORT, **of_the_studio, **quiet)


def load(address: str, folder: Path) -> tuple[float, str]:
    """Ask by many connections at once; return the answers a second, and a text of them."""
    script = folder / "percentile.lua"
    script.write_text(PERCENTILE)
    done = subprocess.run(
        ["/usr/bin/wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-s", script, address],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    slowest, found = re.search(r"95 in 100: (\S+)", done), re.search(r"sec:\s+(\S+)", done)
    if "Non-2xx" in done or slowest is None or found is None:
        sys.exit(f"wrk was not answered as it should be:\n{done}")
    return float(found[1]), f"p95 {slowest[1]} ms, {float(found[1]):,.0f} requests/s"


def new_song(client: httpx.Client, number: int) -> tuple[float, float]:
    """Return the seconds until the first bar of a new song, and until its end."""
    began_s, first_s = time.monotonic(), 0.0
    with client.stream("GET", f"{API}/songs/{number}/events") as events:
        for line in events.iter_lines():
            if line == "event: bar" and not first_s:
                first_s = time.monotonic() - began_s
    return first_s, time.monotonic() - began_s


async def long_line() -> str:
    """Ask for many new pieces at once, as ten visitors; tell how many came, in how many s."""
    began_s, done = time.monotonic(), 0
    wishes = {"wishes": {"bars": 1, "count": 1}}
    async with AsyncExitStack() as stack:
        limits = httpx.Limits(max_connections=LINE)
        clients = [httpx.AsyncClient(timeout=300, limits=limits) for _ in range(VISITORS)]
        visitors = [await stack.enter_async_context(client) for client in clients]
        for one in visitors:
            await one.get(f"{ADDRESS}/best")  # gives it the cookie of a visitor
        asked = [
            one.post(f"{API}/compositions", json=wishes) for one in visitors * (LINE // VISITORS)
        ]
        for answer in await asyncio.gather(*asked):
            state, address = "waiting", f"{API}/compositions/{answer.json()['key']}"
            while state in ("waiting", "running"):
                await asyncio.sleep(0.05)
                state = (await visitors[0].get(address)).json()["state"]
            done += state == "done"
    return f"{done} done in {time.monotonic() - began_s:.0f} s"


def memory_mib(server: psutil.Popen) -> float:
    """Return the memory of the studio with all of its processes."""
    processes = (server, *server.children(recursive=True))
    return sum(one.memory_info().rss for one in processes) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", type=Path)
    models = parser.parse_args().models
    with (
        TemporaryDirectory() as temporary,
        started(models, folder := Path(temporary)) as (server, start_s),
        httpx.Client(timeout=300) as client,
    ):
        rows = [("start to the first song with its sound", f"{start_s:.1f} s")]
        number = client.get(f"{API}/songs/next").json()["id"]
        client.get(f"{API}/songs/{number}").raise_for_status()
        songs = [new_song(client, 700_000_000 + one) for one in range(5)]
        for name, seconds in zip(("first bar", "8 bars"), zip(*songs, strict=True), strict=True):
            rows.append((f"new song: {name}", f"{median(seconds):.2f} s"))
        while not client.get(f"{ADDRESS}/healthz").json()["is_idle"]:
            time.sleep(1)
        paths = {"page": f"/song/{number}", "JSON": f"/api/v1/songs/{number}"}
        with bare_server(list(paths.values())):
            for name, path in paths.items():
                bare, bare_told = load(BARE + path, folder)
                rate, told = load(ADDRESS + path, folder)
                rows += [
                    (f"song by number, {name}, {CONNECTIONS} at once", told),
                    ("the same bytes from a bare server", bare_told),
                    ("the studio's share of its rate", f"{rate / bare:.2f}"),
                ]
        before_mib = memory_mib(server)
        rows.append((f"{LINE} requests to compose a bar at once", asyncio.run(long_line())))
        memory = f"{before_mib:.0f} and {memory_mib(server):.0f} MiB"
        rows.append(("memory before and after", memory))
    print(markdown_table(("", ""), rows))


if __name__ == "__main__":
    main()

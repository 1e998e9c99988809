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
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import httpx
import psutil
import uvicorn

SECONDS = 6
CONNECTIONS = 50
LINE, VISITORS = 200, 10
PORT, BARE_PORT = 18_013, 18_014
ADDRESS, BARE = f"http://127.0.0.1:{PORT}", f"http://127.0.0.1:{BARE_PORT}"
API = f"{ADDRESS}/api/v1"


@contextmanager
def started(models: list[Path], folder: Path) -> Iterator[tuple[subprocess.Popen[str], float]]:
    """Start a studio; give it and the seconds until its first song could be heard."""
    command = [sys.executable, "-m", "megatron_music", "studio", *map(str, models)]
    command += ["--port", str(PORT), "--folder", str(folder / "studio")]
    began_s = time.monotonic()
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        with httpx.Client(timeout=120) as client:
            _wait_for(client, server)
            song = client.get(f"{API}/songs/next").json()["id"]
            client.get(f"{API}/songs/{song}").raise_for_status()
            client.get(f"{API}/songs/{song}/audio").raise_for_status()
            yield server, time.monotonic() - began_s
    finally:
        server.terminate()
        server.wait()


def _wait_for(client: httpx.Client, server: subprocess.Popen[str]) -> None:
    while server.poll() is None:
        with suppress(httpx.TransportError):
            client.get(f"{ADDRESS}/healthz").raise_for_status()
            return
        time.sleep(0.1)
    sys.exit("the studio did not start: " + (server.stderr.read() if server.stderr else ""))


PERCENTILE = """
done = function(summary, latency, requests)
  io.write(string.format("95 in 100: %.1f ms\\n", latency:percentile(95) / 1000))
end
"""


class Load(NamedTuple):
    """What `wrk` found of an address."""

    slowest_ms: float
    """The 95th percentile."""

    rate: float
    """Answers a second."""


def wrk(address: str, folder: Path) -> Load:
    """Ask an address by many connections at once."""
    script = folder / "percentile.lua"
    script.write_text(PERCENTILE)
    done = subprocess.run(
        ["/usr/bin/wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-s", script, address],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    slowest = re.search(r"95 in 100: (\S+)", done)
    rate = re.search(r"Requests/sec:\s+(\S+)", done)
    if "Non-2xx" in done or slowest is None or rate is None:
        sys.exit(f"wrk was not answered as it should be:\n{done}")
    return Load(float(slowest[1]), float(rate[1]))


@contextmanager
def bare_server(paths: list[str]) -> Iterator[None]:
    """Serve from memory what the studio answers to some paths."""
    answers = {}
    for path in paths:
        got = httpx.get(ADDRESS + path)
        head = [pair for pair in got.headers.raw if pair[0] not in (b"date", b"server")]
        answers[path] = head, got.content
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=_serve_bare, args=(answers,), daemon=True)
    process.start()
    try:
        with httpx.Client() as client:
            for _ in range(300):
                with suppress(httpx.TransportError):
                    client.get(BARE + paths[0])
                    break
                time.sleep(0.1)
        yield
    finally:
        process.kill()
        process.join()


def _serve_bare(answers: dict[str, tuple[list[tuple[bytes, bytes]], bytes]]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001 (as ASGI has it)
        headers, body = answers[scope["path"]]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    uvicorn.run(
        app,
        port=BARE_PORT,
        http="httptools",
        loop="uvloop",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
    )


def loads(number: int, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield rows on a song that is asked for by number, of the studio and of the bare server."""
    paths = {"page": f"/song/{number}", "JSON": f"/api/v1/songs/{number}"}
    with bare_server(list(paths.values())):
        for name, path in paths.items():
            bare, studio = wrk(BARE + path, folder), wrk(ADDRESS + path, folder)
            yield f"song by number, {name}, {CONNECTIONS} at once", _told(studio)
            yield "the same bytes from a bare server", _told(bare)
            yield "the studio's share of its rate", f"{studio.rate / bare.rate:.2f}"


def _told(load: Load) -> str:
    return f"p95 {load.slowest_ms:.1f} ms, {load.rate:,.0f} requests/s"


def new_song(client: httpx.Client, number: int) -> tuple[float, float]:
    """Return the seconds until the first bar of a new song, and until its end."""
    began_s, first_s = time.monotonic(), 0.0
    with client.stream("GET", f"{API}/songs/{number}/events") as events:
        for line in events.iter_lines():
            if line == "event: bar" and not first_s:
                first_s = time.monotonic() - began_s
    return first_s, time.monotonic() - began_s


async def long_line() -> tuple[int, float]:
    """Ask for many new pieces at once, as ten visitors; return how many came, in how many s."""
    began_s = time.monotonic()
    wishes = {"wishes": {"bars": 1, "count": 1}}
    async with AsyncExitStack() as stack:
        limits = httpx.Limits(max_connections=LINE)
        visitors = [
            await stack.enter_async_context(httpx.AsyncClient(timeout=300, limits=limits))
            for _ in range(VISITORS)
        ]
        for one in visitors:
            await one.get(f"{ADDRESS}/best")
        asked = [
            one.post(f"{API}/compositions", json=wishes)
            for one in visitors
            for _ in range(LINE // VISITORS)
        ]
        keys = [answer.json()["key"] for answer in await asyncio.gather(*asked)]
        states = [await _last_state(visitors[0], key) for key in keys]
    return states.count("done"), time.monotonic() - began_s


async def _last_state(client: httpx.AsyncClient, key: str) -> str:
    while True:
        state: str = (await client.get(f"{API}/compositions/{key}")).json()["state"]
        if state not in ("waiting", "running"):
            return state
        await asyncio.sleep(0.2)


def memory_mib(server: subprocess.Popen[str]) -> float:
    """Return the memory of the studio with all of its processes."""
    parent = psutil.Process(server.pid)
    return sum(one.memory_info().rss for one in (parent, *parent.children(recursive=True))) / (
        1 << 20
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
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
        rows.append(("new song: first bar", f"{statistics.median(one[0] for one in songs):.2f} s"))
        rows.append(("new song: 8 bars", f"{statistics.median(one[1] for one in songs):.2f} s"))
        while not client.get(f"{ADDRESS}/healthz").json()["is_idle"]:
            time.sleep(1)
        rows += loads(number, folder)
        before = memory_mib(server)
        done, took_s = asyncio.run(long_line())
        rows.append((f"{LINE} requests to compose a bar at once", f"{done} done in {took_s:.0f} s"))
        rows.append(("memory before and after", f"{before:.0f} and {memory_mib(server):.0f} MiB"))
    print("| | |\n|---|---|")
    for name, told in rows:
        print(f"| {name} | {told} |")


if __name__ == "__main__":
    main()

"""How fast the studio answers: 50 requests at once, the first bar of a new song, a long line.

    make bench-studio
    python profiling/benchmarks/studio.py HFDIR

Starts the real program on a folder of its own, asks it with `wrk` (Debian's package) and httpx, and
prints a table.
"""

import argparse
import asyncio
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import psutil

SECONDS = 10
CONNECTIONS = 50
LINE, VISITORS = 200, 10
PORT = 18_013
ADDRESS = f"http://127.0.0.1:{PORT}"
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


def wrk(path: str, folder: Path) -> tuple[str, float]:
    """Return the 95th percentile of a path's answers and how many come a second."""
    script = folder / "percentile.lua"
    script.write_text(PERCENTILE)
    done = subprocess.run(
        ["/usr/bin/wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-s", script, ADDRESS + path],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    slowest = re.search(r"95 in 100: (.*)", done)
    rate = re.search(r"Requests/sec:\s+(\S+)", done)
    if "Non-2xx" in done or slowest is None or rate is None:
        sys.exit(f"wrk was not answered as it should be:\n{done}")
    return slowest[1], float(rate[1])


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
        while any(pool < 24 for pool in client.get(f"{ADDRESS}/healthz").json()["pool"].values()):
            time.sleep(1)
        for name, path in (("page", f"/song/{number}"), ("JSON", f"/api/v1/songs/{number}")):
            slowest, rate = wrk(path, folder)
            told = f"p95 {slowest}, {rate:,.0f} requests/s"
            rows.append((f"song by number, {name}, {CONNECTIONS} at once", told))
        before = memory_mib(server)
        done, took_s = asyncio.run(long_line())
        rows.append((f"{LINE} requests to compose a bar at once", f"{done} done in {took_s:.0f} s"))
        rows.append(("memory before and after", f"{before:.0f} and {memory_mib(server):.0f} MiB"))
    print("| | |\n|---|---|")
    for name, told in rows:
        print(f"| {name} | {told} |")


if __name__ == "__main__":
    main()

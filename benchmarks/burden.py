"""Cost for all users of a client's half-sent requests, and of a user's server that makes Traefik log.

python -m benchmarks.burden              a minute on two cores
python -m benchmarks.burden --report     the table again, from the results on disk

A real hub with Redis and Traefik, each with its defaults. Meanwhile the hub is asked for its health, at the public
address, ten times a second.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import resource
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final

import aiohttp
import psutil

from benchmarks.results import Results, Row, describe_machine
from benchmarks.study import Study
from benchmarks.tables import markdown
from benchmarks.tools import own_versions
from benchmarks.workload import ROOT
from kvproxy.testing.hub import HubProcess
from kvproxy.testing.servers import RedisServer, free_port

DOCUMENT: Final = ROOT / "docs" / "explanation" / "security.md"
RESULTS: Final = ROOT / "benchmarks" / "results" / "burden"
HALVES: Final = 5_000  # connections with half of a head each
SECONDS: Final = 15.0
CLIENTS: Final = 8  # that ask the loud server, each as fast as it is answered
EACH: Final = 0.1  # seconds between two looks
#: Names in the loud server's certificate, each as long as a name may be. Traefik, which expects another one, logs
#: all of them.
NAMES: Final = 90
KINDS: Final = {
    "nothing": "nothing",
    "half": f"{HALVES:,} half-sent requests",
    "loud": f"a server whose every answer is an error of {NAMES * 252 / 1000:.0f} kB in Traefik's log",
}
#: Metrics: the head of their column, and how a value is shown.
COLUMNS: Final[dict[str, tuple[str, Callable[[float], str]]]] = {
    "health_s": ("hub's health, median", lambda value: f"{value * 1000:.0f} ms"),
    "worst_s": ("worst", lambda value: f"{value * 1000:.0f} ms"),
    "failed": ("failed", lambda value: f"{value:.0f}"),
    "traefik_b": ("Traefik's memory", lambda value: f"{value / 1e6:.0f} MB"),
    "traefik_files": ("its file descriptors", lambda value: f"{value:,.0f}"),
    "hub_b": ("hub's memory", lambda value: f"{value / 1e6:.0f} MB"),
    "requests": ("requests to it", lambda value: f"{value:,.0f}"),
    "hub_log_b": ("hub's log", lambda value: f"{value / 1000:.0f} kB"),
    "traefik_log_b": ("Traefik's log at its largest", lambda value: f"{value / 1e6:.1f} MB"),
}


@contextlib.contextmanager
def a_hub() -> Iterator[tuple[HubProcess, int]]:
    """A hub with one route more, and the port that this route leads to."""
    with tempfile.TemporaryDirectory(prefix="kvproxy-burden-") as directory, RedisServer() as redis:
        port = free_port()
        settings = {
            "TraefikRedisProxy.redis_url": redis.url,
            "Proxy.extra_routes": {"/loud/": f"https://localhost:{port}"},
        }
        with HubProcess(Path(directory), settings) as hub:
            yield hub, port


def traefik_of(hub: HubProcess) -> psutil.Process:
    """The Traefik that a hub has started."""
    return next(process for process in hub.family() if "--configfile" in " ".join(process.cmdline()))


class Watched:
    """Observations of a hub and its Traefik for some seconds."""

    def __init__(self, hub: HubProcess) -> None:
        self._hub, self._processes = hub, {"traefik": traefik_of(hub), "hub": psutil.Process(hub.pid)}
        self._log = hub.static_config_file.with_name("traefik.toml.log")
        self.seen: dict[str, float] = {"failed": 0.0, "traefik_log_b": 0.0, "requests": 0.0}
        self.waited: list[float] = []

    async def watch(self) -> None:
        """Ask for the hub's health, and look how large everything is."""
        before, end = self._hub.log.stat().st_size, time.monotonic() + SECONDS
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
            while time.monotonic() < end:
                begin = time.perf_counter()
                try:
                    async with session.get(f"{self._hub.url}/hub/health") as answer:
                        self.seen["failed"] += answer.status != 200
                except (aiohttp.ClientError, asyncio.TimeoutError):
                    self.seen["failed"] += 1
                self.waited.append(time.perf_counter() - begin)
                self._look()
                await asyncio.sleep(EACH)
        self.seen["hub_log_b"] = self._hub.log.stat().st_size - before
        self.seen["worst_s"] = max(self.waited)

    def _look(self) -> None:
        found = {f"{name}_b": float(process.memory_info().rss) for name, process in self._processes.items()}
        found["traefik_files"] = self._processes["traefik"].num_fds()
        found["traefik_log_b"] = self._log.stat().st_size
        self.seen |= {name: max(value, self.seen.get(name, 0.0)) for name, value in found.items()}

    def rows(self, kind: str) -> list[Row]:
        """All that was seen."""
        each = [Row(kind, 0, "burden", 0, sample, "health_s", value) for sample, value in enumerate(self.waited)]
        return each + [Row(kind, 0, "burden", 0, 0, metric, value) for metric, value in self.seen.items()]


async def nothing(hub: HubProcess, port: int, watched: Watched) -> None:
    """Only look."""
    await watched.watch()


async def half(hub: HubProcess, port: int, watched: Watched) -> None:
    """Open connections, send half of a head on each, and hold them."""
    with contextlib.ExitStack() as stack:
        for _ in range(HALVES):
            held = stack.enter_context(socket.create_connection(("127.0.0.1", hub.port)))
            held.sendall(b"GET / HTTP/1.1\r\nHost: half")
        await watched.watch()


async def loud(hub: HubProcess, port: int, watched: Watched) -> None:
    """Ask for a server that has a certificate with many names, none of which is the one that Traefik asks for."""
    import trustme

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    label = "a" * 62
    names = [f"{number:02}{label[2:]}.{'.'.join([label] * 3)}" for number in range(NAMES)]
    trustme.CA().issue_cert(*names).configure_cert(context)
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", port, ssl=context)
    async with server, aiohttp.ClientSession() as session:

        async def ask() -> None:
            while True:
                async with session.get(f"{hub.url}/loud/") as answer:
                    await answer.read()
                watched.seen["requests"] += 1

        asking = [asyncio.create_task(ask()) for _ in range(CLIENTS)]
        try:
            await watched.watch()
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)


BURDENS: Final[dict[str, Callable[[HubProcess, int, Watched], Awaitable[None]]]] = {
    "nothing": nothing,
    "half": half,
    "loud": loud,
}


async def measure(options: argparse.Namespace) -> Results:
    """Run everything, each on a hub of its own."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    results = Results(machine=describe_machine(own_versions({"redis"})))
    for kind, burden in BURDENS.items():
        print(kind, flush=True)
        with a_hub() as (hub, port):
            watched = Watched(hub)
            await burden(hub, port, watched)
            results.rows += watched.rows(kind)
    return results


def table(results: Results) -> str:
    """One column a burden, one line a metric."""
    kinds = results.contestants()
    rows = []
    for metric, (name, shown) in COLUMNS.items():
        values = [results.median(kind, 0, "burden", metric) for kind in kinds]
        rows.append([name, *("" if value is None else shown(value) for value in values)])
    return markdown(["", *(KINDS[kind] for kind in kinds)], rows)


def conditions(results: Results) -> str:
    """How long it took."""
    return f"{SECONDS:.0f} s each"


STUDY = Study("burden", __doc__.splitlines()[0], DOCUMENT, RESULTS, measure, table, conditions)
write_document = STUDY.write_document

if __name__ == "__main__":
    sys.exit(STUDY.main())

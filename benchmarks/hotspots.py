"""Where kvproxy's time goes: the steps of an add, and what its Python does when much comes at once.

    python -m benchmarks.hotspots [--sizes 1000,5000] [--noisy] [--lines 25]

Prints tables; nothing is written to the documentation.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import cProfile
import io
import pstats
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from benchmarks.contestants import Contestant, Floor, Kvproxy
from benchmarks.tables import markdown
from benchmarks.worker import Bench
from benchmarks.workload import Place
from kvproxy.testing.servers import EchoServer, RedisServer, free_port
from kvproxy.testing.servers.redis import TRAEFIK_RIGHTS

_ADDS = 10
_CALLS = ("apply", "revision", "router", "service", "table")


@dataclass
class Spans:
    """When calls of the store and of Traefik's API began and ended, in seconds."""

    calls: list[tuple[str, float, float]] = field(default_factory=list)

    def watch(self, owner: Any, name: str) -> None:
        """Note every call of a method from now on."""
        method = getattr(owner, name)

        async def noted(*arguments: Any) -> Any:
            begin = time.perf_counter()
            try:
                return await method(*arguments)
            finally:
                self.calls.append((name, begin, time.perf_counter()))

        setattr(owner, name, noted)

    def steps(self, begin: float, end: float) -> dict[str, float]:
        """One add in its steps, ms: before the write, the write, until Traefik has loaded it, looking at the route."""
        (_, written_from, written), *_ = [call for call in self.calls if call[0] == "apply"]
        looks = [call for call in self.calls if call[0] in {"router", "service", "table"}]
        loaded = looks[0][1] if looks else end
        moments = {"before the write": begin, "write": written_from, "until loaded": written, "look": loaded}
        times = dict(zip(moments, [*list(moments.values())[1:], end], strict=True))
        steps = {name: 1000 * (times[name] - since) for name, since in moments.items()}
        polls = sum(1 for call in self.calls if call[0] == "revision")
        return {**steps, "total": 1000 * (end - begin), "polls": float(polls)}


@contextlib.contextmanager
def place(noisy: bool) -> Iterator[Place]:
    """Servers for one contestant."""
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        server = enter(RedisServer(acl=[f"traefik on >secret {TRAEFIK_RIGHTS}"]))
        public, api = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        directory = enter(tempfile.TemporaryDirectory(prefix="kvproxy-hotspots-"))
        hub, user = enter(EchoServer("hub")).url, enter(EchoServer("user")).url
        login = ("" if noisy else "traefik", "secret")
        yield Place(directory, "redis", server.url, server.pid, *login, public, api, hub, user)


@contextlib.asynccontextmanager
async def started(kind: type[Contestant], at: Place, size: int) -> AsyncIterator[Bench]:
    """A contestant over that many routes, at rest."""
    contestant = kind(at)
    async with aiohttp.ClientSession() as session:
        bench = Bench(contestant, session)
        await bench.fill(size)
        try:
            await bench.start(size)
            await bench.settle()
            yield bench
        finally:
            await contestant.stop()


async def steps_of_add(at: Place, size: int) -> dict[str, float]:
    """Medians of the steps of single adds."""
    found: list[dict[str, float]] = []
    async with started(Kvproxy, at, size) as bench:
        spans, proxy = Spans(), bench.contestant.proxy
        for owner in (proxy._store, proxy._traefik):
            for name in _CALLS:
                if hasattr(owner, name):
                    spans.watch(owner, name)
        for route in bench.invite(_ADDS):
            spans.calls.clear()
            begin = time.perf_counter()
            await bench.contestant.add(route)
            found.append(spans.steps(begin, time.perf_counter()))
            await bench.settle()
    return {name: statistics.median(steps[name] for steps in found) for name in found[0]}


async def floor(at: Place, size: int) -> float:
    """Median of the floor, ms."""
    async with started(Floor, at, size) as bench:
        bench.samples = []
        await bench.add(_ADDS)
    return 1000 * statistics.median(sample["returned_s"] for sample in bench.samples)


async def profile(title: str, lines: int, work: Callable[[], Awaitable[object]]) -> None:
    """Print where the Python of this process spends its CPU during some work."""
    profiler, begin = cProfile.Profile(time.process_time), time.perf_counter()
    profiler.enable()
    await work()
    profiler.disable()
    text = io.StringIO()
    pstats.Stats(profiler, stream=text).sort_stats("tottime").print_stats(lines).sort_stats("cumtime").print_stats(
        "kvproxy", lines
    )
    print(f"\n== {title}: {time.perf_counter() - begin:.3f} s by the clock, profiler included\n{text.getvalue()}")


async def profile_adds(at: Place, size: int, count: int, lines: int) -> None:
    """Profile adds at the same time."""
    async with started(Kvproxy, at, size) as bench:
        routes = bench.invite(count)
        await profile(f"{count} adds at once at {size} routes", lines, lambda: bench.contestant.add_many(routes))


async def profile_start(at: Place, size: int, lines: int) -> None:
    """Profile a start over a full store."""
    contestant = Kvproxy(at)
    await contestant.fill(at.residents(size))
    try:
        await profile(f"start over {size} routes", lines, contestant.start)
        await profile(f"get_all_routes at {size} routes", lines, contestant.get_all)
    finally:
        await contestant.stop()


async def fill_by_adding(at: Place, size: int, chunk: int) -> None:
    """Time how long it takes until a whole table has been added, in gathers of ``chunk``."""
    async with started(Kvproxy, at, 0) as bench:
        begin = time.perf_counter()
        for first in range(0, size, chunk):
            await bench.contestant.add_many([at.user_route(number) for number in range(first, first + chunk)])
        seconds = time.perf_counter() - begin
    print(f"\n{size} routes added in gathers of {chunk}: {seconds:.2f} s")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hotspots", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", default="1000,5000", help="comma-separated numbers of routes")
    parser.add_argument("--noisy", action="store_true", help="let Traefik switch keyspace notifications on")
    parser.add_argument("--lines", type=int, default=25, help="lines of each profile")
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",")]
    rows = []
    for size in sizes:
        with place(options.noisy) as at:
            steps = asyncio.run(steps_of_add(at, size))
        with place(options.noisy) as at:
            steps["floor"] = asyncio.run(floor(at, size))
        rows.append([f"{size:,}", *(f"{value:.2f}" for value in steps.values())])
    print("One add, ms, medians:\n\n" + markdown(["routes", *steps], rows))
    for size, count in ((100, 50), (0, 1000)):
        with place(options.noisy) as at:
            asyncio.run(profile_adds(at, size, count, options.lines))
    with place(options.noisy) as at:
        asyncio.run(profile_start(at, sizes[-1], options.lines))
    if not options.noisy:
        with place(options.noisy) as at:
            asyncio.run(fill_by_adding(at, sizes[-1], 500))


if __name__ == "__main__":
    main()

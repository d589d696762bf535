"""Cost of an added route with one tier of routes and with two: writes the table of docs/explanation/two-tiers.md.

python -m benchmarks.tiers --chp PATH   less than half an hour on two cores
python -m benchmarks.tiers --report     the table again, from the results on disk

At each size, one and two tiers are measured on a plain Redis each, and after them the others: configurable-http-proxy
if it is there; jupyterhub-traefik-proxy with ``--peer-python``; with ``--before`` an earlier build of kvproxy, whose
Traefik has a user of its own in Redis, as that kept it quiet.

Routes are added in a stream, one after another. The CPU is that of all Traefiks, until all routes are settled and the
Traefiks are at rest. The stream's routes are removed again before memory and requests are measured.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import psutil

from benchmarks import load
from benchmarks.figures import beside
from benchmarks.places import place_for, plain
from benchmarks.programs import Tool, find_tool
from benchmarks.results import Results, Row, describe_machine
from benchmarks.rivals import Chp
from benchmarks.servers import Backend
from benchmarks.stores import PASSWORD, NoStore, running
from benchmarks.study import Study, until_at_rest
from benchmarks.tables import markdown
from benchmarks.tools import chp_versions, own_versions, package_versions
from benchmarks.worker import cpu_seconds
from benchmarks.worker_process import Worker
from benchmarks.workload import FIRST_GUEST, ROOT, Place, Route
from kvproxy.testing.servers import RedisServer, free_port
from kvproxy_redis import TraefikRedisProxy

DOCUMENT = ROOT / "docs" / "explanation" / "two-tiers.md"
RESULTS = ROOT / "benchmarks" / "results" / "tiers"
TIERS = ("one", "two")
CHP = "configurable-http-proxy"
PEER, BEFORE = "jupyterhub-traefik-proxy", "an earlier build"
SIZES = (10, 100, 1000, 5000, 10000)
#: Routes in the stream. At the largest sizes one tier is measured with fewer: each costs seconds of CPU.
STREAM = {
    "one": {10: 256, 100: 256, 1000: 64, 5000: 16, 10000: 8},
    "two": dict.fromkeys(SIZES, 512),
    CHP: dict.fromkeys(SIZES, 512),
    PEER: {10: 16, 100: 16, 1000: 16, 5000: 8, 10000: 4},
    BEFORE: {10: 256, 100: 256, 1000: 64, 5000: 16, 10000: 8},
}
#: Hot routes to which requests are sent: so few that they are not moved meanwhile. Their users' numbers begin here.
HOT = 16
_FIRST_HOT = FIRST_GUEST + 1000
_CONNECTIONS = 16  # kept alive
_WARM_UP, _SECONDS, _TURNS = 2, 3, 3  # of requests that are not measured, and that are, some times
_LONGEST = 300  # seconds that anything may take
_FILLING = 1200  # seconds in which others have all settled routes


@dataclass(frozen=True)
class Measured:
    """A contestant with all settled routes, at one size.

    name, size: for the results. add: adds a route. cpu: seconds that its processes have used. rest: waits until they
    have nothing to do.
    """

    name: str
    size: int
    add: Callable[[Route], Awaitable[None]]
    cpu: Callable[[], float]
    rest: Callable[[], Awaitable[None]]

    def row(self, operation: str, metric: str, value: float, note: str = "", sample: int = 0) -> Row:
        """One value."""
        return Row(self.name, self.size, operation, 0, sample, metric, value, note)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this study."""
    parser.add_argument("--sizes", type=int, nargs="+", choices=SIZES, default=SIZES, help="numbers of settled routes")
    parser.add_argument("--chp", default=shutil.which(CHP) or "", help=f"path of {CHP}; default: the one in PATH")
    parser.add_argument("--peer-python", default="", help=f"Python of an environment with {PEER}")
    parser.add_argument("--before", type=Path, help="checkout of an earlier build, such as a git worktree")


def versions(options: argparse.Namespace) -> dict[str, str]:
    """Versions of all that takes part; says so if configurable-http-proxy does not."""
    found, why = own_versions({"redis"}), "it is not in PATH, and there is no --chp"
    if options.peer_python:
        found |= package_versions(options.peer_python, [PEER])
    if options.before:
        command = ["git", "-C", str(options.before), "rev-parse", "--short=7", "HEAD"]
        found[BEFORE] = subprocess.check_output(command, text=True).strip()
    if options.chp:
        try:
            return found | chp_versions(options.chp)
        except (OSError, subprocess.CalledProcessError) as error:
            why = str(error)
    print(f"{CHP} is left out: {why}.", flush=True)
    return found


async def measure(options: argparse.Namespace) -> Results:
    """Run everything."""
    wrk, nginx = find_tool("wrk", "usr/bin/wrk"), find_tool("nginx", "usr/sbin/nginx")
    results = Results(machine=describe_machine(versions(options)))
    others = [name for name in (CHP, PEER, BEFORE) if name in results.machine["versions"]]
    with Backend(nginx) as backend, tempfile.TemporaryDirectory(prefix="kvproxy-tiers-") as directory:
        for size in options.sizes:
            for name in (*TIERS, *others):
                place = place_for("", NoStore(), directory, backend, wrk, chp=options.chp)
                async with contextlib.AsyncExitStack() as stack:
                    if name in TIERS:
                        results.rows += await _of_tiers(stack, place, name, size)
                    elif name == CHP:
                        results.rows += await _of_chp(stack, place, size)
                    else:
                        results.rows += await _of_worker(stack, backend, wrk, options, name, size)
    return results


async def _of_tiers(stack: contextlib.AsyncExitStack, place: Place, tiers: str, size: int) -> list[Row]:
    redis = stack.enter_context(RedisServer())
    urls = {name: f"http://127.0.0.1:{free_port()}" for name in ("hot_traefik_url", "hot_traefik_api_url")}
    traits = {"route_tiers": tiers, "check_route_timeout": _LONGEST, "store_timeout": _LONGEST, **urls}
    proxy = await plain(stack, redis.url, **traits)
    place = replace(place, public_url=proxy.public_url.rstrip("/"))

    async def add(route: Route) -> None:
        await proxy.add_route(route.routespec, route.target, dict(route.data))

    measured = Measured(tiers, size, add, partial(_cpu, proxy), partial(_rest, proxy))
    await asyncio.gather(*(add(place.user_route(number)) for number in range(size)))
    rows = await _stream(measured, place)
    await asyncio.gather(*(proxy.delete_route(route.routespec) for route in _guests(measured, place)))
    await measured.rest()
    memory = [psutil.Process(pid).memory_full_info() for pid in proxy._session.traefik_pids]
    rows.append(measured.row("rest", "pss_b", sum(found.pss for found in memory)))
    # The program itself is in memory once for both.
    rows += [measured.row("rest", "second_uss_b", second.uss) for second in memory[1:]]
    rows += await _requests(measured, place, "settled", size)
    if (moving := proxy._session.tiers) is not None:
        for number in range(HOT):
            await add(place.user_route(_FIRST_HOT + number))
        # Not measured.rest(), which has them moved.
        await until_at_rest(measured.cpu, _LONGEST)
        asked = await _requests(measured, place, "hot", HOT, _FIRST_HOT)
        stayed = len(moving.hot) == HOT
        rows += asked if stayed else [measured.row("hot", "error", 0.0, "moved meanwhile")]
    return rows


async def _of_chp(stack: contextlib.AsyncExitStack, place: Place, size: int) -> list[Row]:
    chp = Chp(place)
    stack.push_async_callback(chp.stop)
    await chp.fill([place.user_route(number) for number in range(size)])
    await chp.start()
    assert chp.process is not None
    cpu = partial(cpu_seconds, chp.process.pid)
    return await _stream(Measured(CHP, size, chp.add, cpu, partial(until_at_rest, cpu, _LONGEST)), place)


async def _of_worker(
    stack: contextlib.AsyncExitStack, backend: Backend, wrk: Tool, options: argparse.Namespace, name: str, size: int
) -> list[Row]:
    """One that cannot be imported here: it runs in a process of its own, on a Redis of its own."""
    directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="kvproxy-tiers-"))
    store = stack.enter_context(running("redis", Path(directory), PASSWORD))
    if name == PEER:
        place = place_for("redis", store, directory, backend, wrk)
        worker, opening = Worker("peer", place, options.peer_python), ("fill", "start")
    else:
        place = place_for("redis", store, directory, backend, wrk, login=("traefik", PASSWORD))
        worker, opening = Worker("kvproxy-tcp", place, sys.executable, options.before.absolute()), ("open",)
    stack.callback(worker.close)

    async def ask(operation: str, limit: float, **request: object) -> None:
        _, error = await asyncio.to_thread(worker.ask, operation, {"op": operation, **request}, limit)
        if error:
            raise ValueError(error)

    async def add(route: Route) -> None:
        await ask("put", _LONGEST, routespec=route.routespec, target=route.target, data=dict(route.data))

    try:
        for operation in opening:
            await ask(operation, _FILLING, count=size)
        measured = Measured(name, size, add, worker.cpu, partial(until_at_rest, worker.cpu, _LONGEST))
        return await _stream(measured, place)
    except ValueError as error:
        print(f"{name}, {size}: {error}", flush=True)
        return [Row(name, size, "stream", 0, 0, "error", 0.0, str(error))]


def _guests(measured: Measured, place: Place) -> list[Route]:
    """The routes of the stream."""
    return [place.user_route(FIRST_GUEST + number) for number in range(STREAM[measured.name][measured.size])]


async def _stream(measured: Measured, place: Place) -> list[Row]:
    """Add routes one after another: seconds of each, and CPU seconds a route with all that follows."""
    await measured.rest()
    routes, cpu, took = _guests(measured, place), measured.cpu(), []
    for route in routes:
        begin = time.perf_counter()
        await measured.add(route)
        took.append(time.perf_counter() - begin)
    await measured.rest()
    used = (measured.cpu() - cpu) / len(routes)
    middle, slow = statistics.median(took), statistics.quantiles(took, n=20)[-1]
    print(f"{measured.name}, {measured.size}: {middle:.4f} s, 95 % {slow:.4f} s, {used:.4f} s of CPU", flush=True)
    found = {"add_s": middle, "add_p95_s": slow, "proxy_cpu_s" if measured.name == CHP else "traefik_cpu_s": used}
    return [measured.row("stream", metric, value) for metric, value in found.items()]


async def _requests(measured: Measured, place: Place, kind: str, users: int, first: int = 0) -> list[Row]:
    """CPU seconds of a request to these users' servers. Raises ValueError if one was not answered by its server."""
    ask, rows = partial(load.requests, place, "small", users, _CONNECTIONS, first=first), []
    await ask(seconds=_WARM_UP)
    for turn in range(_TURNS):
        cpu = measured.cpu()
        found = load.as_sample(await ask(seconds=_SECONDS), measured.cpu() - cpu)
        if found["failed"]:
            raise ValueError(f"{found['failed']:.0f} of {found['requests']:.0f} requests failed")
        rows.append(measured.row(kind, "request_cpu_s", found["cpu_s"], sample=turn))
    return rows


def _cpu(proxy: TraefikRedisProxy) -> float:
    return sum(map(cpu_seconds, proxy._session.traefik_pids))


async def _rest(proxy: TraefikRedisProxy) -> None:
    """Have all routes settled, and wait until the Traefiks have nothing to do."""
    if (tiers := proxy._session.tiers) is not None:
        await tiers.settle(_LONGEST)
    await until_at_rest(partial(_cpu, proxy), _LONGEST)


@dataclass(frozen=True)
class Line:
    """A row of the table, with ratios to a value of one tier.

    title: its first cell. found, compared: contestant, operation and metric of its values, and of those of one tier.
    scale, unit: of what is shown.
    """

    title: str
    found: tuple[str, str, str]
    compared: tuple[str, str, str]
    scale: float = 1000
    unit: str = "ms"

    def cell(self, results: Results, size: int) -> str:
        """The ratio, and behind it what was measured; or why there is nothing."""
        (name, operation, metric), (other, of, what) = self.found, self.compared
        value, first = results.median(name, size, operation, metric), results.median(other, size, of, what)
        return beside(value, first, self.scale, self.unit) or results.error(name, size, operation)


def _lines() -> list[Line]:
    times = [
        Line(f"{title}: {what}", (name, "stream", metric), ("one", "stream", metric))
        for metric, what in (("add_s", "one route, median"), ("add_p95_s", "one route, 95 %"))
        for name, title in (("one", "`one`"), ("two", "`two`"), (CHP, CHP), (PEER, PEER), (BEFORE, BEFORE))
    ]
    cpu, memory, request = ("one", "stream", "traefik_cpu_s"), ("one", "rest", "pss_b"), "request_cpu_s"
    settled = ("one", "settled", request)
    return [
        *times,
        *(Line(f"`{name}`: CPU of all Traefiks a route", (name, *cpu[1:]), cpu) for name in TIERS),
        Line(f"{CHP}: CPU a route", (CHP, "stream", "proxy_cpu_s"), cpu),
        *(Line(f"{name}: CPU of its Traefik a route", (name, *cpu[1:]), cpu) for name in (PEER, BEFORE)),
        *(Line(f"`{name}`: memory of all Traefiks", (name, *memory[1:]), memory, 2**-20, "MiB") for name in TIERS),
        Line("`two`: memory that the second Traefik adds", ("two", "rest", "second_uss_b"), memory, 2**-20, "MiB"),
        *(
            Line(
                f"`{name}`: CPU of all Traefiks a request to a {kind} route", (name, kind, request), settled, 1e6, "µs"
            )
            for name, kind in (("one", "settled"), ("two", "settled"), ("two", "hot"))
        ),
    ]


def table(results: Results) -> str:
    """Ratios to one tier, and behind them what was measured as context; rows without a value are left out."""
    sizes = results.sizes()
    rows = [[line.title, *(line.cell(results, size) for size in sizes)] for line in _lines()]
    return markdown(["", *(f"{size} routes" for size in sizes)], [row for row in rows if any(row[1:])])


def conditions(results: Results) -> str:
    """The stream that was measured."""
    streams = (f"{STREAM[name][size]}" for name in results.contestants() for size in results.sizes())
    found = [f"a Redis without settings; routes in the streams: {', '.join(streams)}"]
    told = results.machine.get("versions", {})
    if PEER in told:
        found.append(f"{PEER} {told[PEER]}")
    if BEFORE in told:
        found.append(f"{BEFORE}: {told[BEFORE]}, its Traefik with a user of its own in Redis")
    return "; ".join(found)


STUDY = Study("tiers", __doc__.splitlines()[0], DOCUMENT, RESULTS, measure, table, conditions, add_options)
write_document = STUDY.write_document

if __name__ == "__main__":
    sys.exit(STUDY.main())

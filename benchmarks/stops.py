"""CPU that starts and stops of servers cost Traefik, for several values of ``delete_grace``: prints a table.

python -m benchmarks.stops                                    some minutes on two cores
python -m benchmarks.stops --size 1000 --servers 16           a minute

Servers start one after another, and all routes are settled. Then they stop, one every ``--pause`` seconds. The CPU is
that of all Traefiks until the last deletion is in the store and they are at rest. All values of ``delete_grace`` are
measured on the same Redis, one after another; the first is what the others are compared with.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks.figures import beside
from benchmarks.places import plain
from benchmarks.study import until_at_rest
from benchmarks.tables import markdown
from benchmarks.worker import cpu_seconds
from kvproxy.testing.servers import RedisServer, find_traefik, free_port
from kvproxy_redis import TraefikRedisProxy

GRACES = (0.0, 1.0, 2.0, 5.0, 10.0)
_LONGEST = 300  # seconds that anything may take


@dataclass(frozen=True)
class Plan:
    """size: routes that stay. servers: that start and stop. pause: seconds between stops. tiers: ``route_tiers``."""

    size: int
    servers: int
    pause: float
    tiers: str


@dataclass(frozen=True)
class Cost:
    """CPU seconds of all Traefiks: of all starts, and of all stops. commits: of the stops."""

    starts: float
    stops: float
    commits: int


async def measure(plan: Plan, graces: Sequence[float]) -> dict[float, Cost]:
    """The cost for each value of ``delete_grace``."""
    found = {}
    with RedisServer() as redis:
        async with _proxy(plan, redis.url, 0.0) as proxy:
            await asyncio.gather(*(_add(proxy, f"/user/settled-{n}/", n) for n in range(plan.size)))
        for grace in graces:
            async with _proxy(plan, redis.url, grace) as proxy:
                found[grace] = await _cost(proxy, plan)
            print(f"delete_grace {grace:g}: {found[grace]}", file=sys.stderr, flush=True)
    return found


@contextlib.asynccontextmanager
async def _proxy(plan: Plan, redis_url: str, grace: float) -> AsyncIterator[TraefikRedisProxy]:
    async with contextlib.AsyncExitStack() as stack:
        urls = {name: f"http://127.0.0.1:{free_port()}" for name in ("hot_traefik_url", "hot_traefik_api_url")}
        limits = {"check_route_timeout": _LONGEST, "store_timeout": _LONGEST}
        proxy = await plain(stack, redis_url, route_tiers=plan.tiers, delete_grace=grace, **limits, **urls)
        await _add(proxy, "/", 0)
        await _rest(proxy)
        yield proxy


async def _add(proxy: TraefikRedisProxy, routespec: str, number: int) -> None:
    # A port each, as servers have it.
    await proxy.add_route(routespec, f"http://127.0.0.1:{1 + number}", {})


async def _cost(proxy: TraefikRedisProxy, plan: Plan) -> Cost:
    specs = [f"/user/new-{n}/" for n in range(plan.servers)]
    begin = _cpu(proxy)
    for number, spec in enumerate(specs, plan.size):
        await _add(proxy, spec, number)
    await _rest(proxy)
    started, revisions = _cpu(proxy), {proxy._session.reconciler.revision}
    for spec in specs:
        await proxy.delete_route(spec)
        await asyncio.sleep(plan.pause)
        revisions.add(proxy._session.reconciler.revision)
    await _rest(proxy)
    revisions.add(proxy._session.reconciler.revision)
    return Cost(started - begin, _cpu(proxy) - started, len(revisions) - 1)


def _cpu(proxy: TraefikRedisProxy) -> float:
    return sum(map(cpu_seconds, proxy._session.traefik_pids))


async def _rest(proxy: TraefikRedisProxy) -> None:
    """Have all routes settled and all deletions written, and wait until the Traefiks have nothing to do."""
    if (tiers := proxy._session.tiers) is not None:
        await tiers.settle(_LONGEST)
    while proxy._session.reconciler.waiting:
        await asyncio.sleep(0.1)
    await until_at_rest(partial(_cpu, proxy), _LONGEST)


def table(plan: Plan, costs: dict[float, Cost]) -> str:
    """A row for each value of ``delete_grace``, in ratios to the first one."""
    first = next(iter(costs.values()))
    rows = [
        [
            f"{grace:g} s",
            beside(cost.starts / plan.servers, first.starts / plan.servers, 1000, "ms"),
            beside(cost.stops / plan.servers, first.stops / plan.servers, 1000, "ms"),
            str(cost.commits),
        ]
        for grace, cost in costs.items()
    ]
    return markdown(["`delete_grace`", "CPU a start", "CPU a stop", "commits of the stops"], rows)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stops", description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=5000, help="routes that stay")
    parser.add_argument("--servers", type=int, default=64, help="servers that start and stop")
    parser.add_argument("--pause", type=float, default=0.5, help="seconds between two stops")
    parser.add_argument("--tiers", choices=["one", "two"], default="two")
    parser.add_argument("--grace", type=float, nargs="+", default=GRACES, help="values of delete_grace")
    given = parser.parse_args(arguments)
    plan = Plan(given.size, given.servers, given.pause, given.tiers)
    find_traefik()
    print(f"{plan}\n\n{table(plan, asyncio.run(measure(plan, given.grace)))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

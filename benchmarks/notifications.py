"""Cost of Redis' keyspace notifications to Traefik when many routes are added at once: writes docs/notifications.md.

python -m benchmarks.notifications              half an hour on two cores
python -m benchmarks.notifications --report     the table again, from the results on disk

Two kvproxies with a plain Redis and a Traefik of their own, which may run CONFIG and switches notifications on: one
leaves them as they are, the other switches them off again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import time
from functools import partial

from benchmarks.figures import beside
from benchmarks.places import plain
from benchmarks.results import Results, Row, describe_machine
from benchmarks.study import Study, until_at_rest
from benchmarks.tables import markdown
from benchmarks.tools import own_versions
from benchmarks.worker import cpu_seconds
from benchmarks.workload import ROOT
from kvproxy.testing.servers import RedisServer
from kvproxy_redis import TraefikRedisProxy

DOCUMENT = ROOT / "docs" / "notifications.md"
RESULTS = ROOT / "benchmarks" / "results" / "notifications"
#: The first is what the other is compared with.
WISHES = ("auto", "keep")
SIZES = (1, 100, 300, 1000)
_LONGEST = 1800.0  # seconds after which it is not waited for; the CPU is then that until there


async def measure(options: argparse.Namespace) -> Results:
    """Run everything."""
    results = Results(machine=describe_machine(own_versions({"redis"})))
    for wish in WISHES:
        async with contextlib.AsyncExitStack() as stack:
            redis = stack.enter_context(RedisServer())
            traits = {"redis_notifications": wish, "check_route_timeout": int(_LONGEST)}
            proxy = await plain(stack, redis.url, **traits)
            for size in SIZES:
                results.rows += await _measure(proxy, wish, size)
    return results


async def _measure(proxy: TraefikRedisProxy, wish: str, size: int) -> list[Row]:
    """Add the given number at once: seconds until all are served, and until Traefik is at rest with its CPU."""
    assert proxy.traefik_pid is not None
    await _rest(proxy.traefik_pid)
    cpu, begin = cpu_seconds(proxy.traefik_pid), time.perf_counter()
    await asyncio.gather(*(proxy.add_route(f"/user/{wish}{size}-{n}/", "http://127.0.0.1:1", {}) for n in range(size)))
    served = time.perf_counter() - begin
    rested = await _rest(proxy.traefik_pid)
    used = cpu_seconds(proxy.traefik_pid) - cpu
    print(f"{wish}, {size}: {served:.2f} s, {used:.2f} s of CPU", flush=True)
    return [
        Row(wish, size, "at-once", 0, 0, "served_s", served),
        Row(wish, size, "at-once", 0, 0, "traefik_cpu_s", used),
        Row(wish, size, "at-once", 0, 0, "rested", float(rested)),
    ]


async def _rest(pid: int) -> bool:
    return await until_at_rest(partial(cpu_seconds, pid), _LONGEST)


def table(results: Results) -> str:
    """Ratios to the quiet one, and behind them what was measured as context."""
    rows = []
    for wish in results.contestants():
        for metric, title in (("served_s", "until all are served"), ("traefik_cpu_s", "CPU of Traefik")):
            cells = [_cell(results, wish, size, metric) for size in results.sizes()]
            rows.append([f"`{wish}`: {title}", *cells])
    return markdown(["", *(f"{size} at once" if size > 1 else "one route" for size in results.sizes())], rows)


def _cell(results: Results, wish: str, size: int, metric: str) -> str:
    first = results.median(results.contestants()[0], size, "at-once", metric)
    cell = beside(results.median(wish, size, "at-once", metric), first, 1000, "ms")
    busy = metric == "traefik_cpu_s" and not results.median(wish, size, "at-once", "rested")
    return f"more than {cell}" if busy else cell


def conditions(results: Results) -> str:
    """The Redis that was measured."""
    return (
        f"a Redis without settings, {sum(results.sizes())} routes at the end; a Traefik that is not at rest after "
        f"{_LONGEST:.0f} s is not waited for"
    )


STUDY = Study("notifications", __doc__.splitlines()[0], DOCUMENT, RESULTS, measure, table, conditions)
write_document = STUDY.write_document

if __name__ == "__main__":
    sys.exit(STUDY.main())

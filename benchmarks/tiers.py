"""Cost of an added route with one tier of routes and with two: writes the table of docs/explanation/two-tiers.md.

python -m benchmarks.tiers              a quarter of an hour on two cores
python -m benchmarks.tiers --report     the table again, from the results on disk

At each size, both stand beside each other on a plain Redis each. Routes are added in a stream, one after another. The
CPU is that of all Traefiks, until all routes are settled and the Traefiks are at rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
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
from kvproxy.testing.servers import RedisServer, free_port
from kvproxy_redis import TraefikRedisProxy

DOCUMENT = ROOT / "docs" / "explanation" / "two-tiers.md"
RESULTS = ROOT / "benchmarks" / "results" / "tiers"
#: The first is what the other is compared with.
TIERS = ("one", "two")
SIZES = (10, 100, 1000, 5000, 10000)
#: Routes in the stream. At the largest sizes one tier is measured with fewer: each costs seconds of CPU.
STREAM = {"one": {10: 256, 100: 256, 1000: 64, 5000: 16, 10000: 8}, "two": dict.fromkeys(SIZES, 512)}
_LONGEST = 300  # seconds that anything may take


async def measure() -> Results:
    """Run everything."""
    results = Results(machine=describe_machine(own_versions({"redis"})))
    for size in SIZES:
        for tiers in TIERS:
            async with contextlib.AsyncExitStack() as stack:
                redis = stack.enter_context(RedisServer())
                urls = {name: f"http://127.0.0.1:{free_port()}" for name in ("hot_traefik_url", "hot_traefik_api_url")}
                traits = {"route_tiers": tiers, "check_route_timeout": _LONGEST, "store_timeout": _LONGEST, **urls}
                proxy = await plain(stack, redis.url, **traits)
                await asyncio.gather(*(_add(proxy, f"/user/settled-{n}/") for n in range(size)))
                results.rows += await _stream(proxy, tiers, size)
    return results


async def _add(proxy: TraefikRedisProxy, routespec: str) -> float:
    begin = time.perf_counter()
    await proxy.add_route(routespec, "http://127.0.0.1:1", {})
    return time.perf_counter() - begin


async def _stream(proxy: TraefikRedisProxy, tiers: str, size: int) -> list[Row]:
    """Add routes one after another: seconds of each, and CPU seconds a route with all that follows."""
    await _rest(proxy)
    count, cpu = STREAM[tiers][size], _cpu(proxy)
    took = [await _add(proxy, f"/user/new-{n}/") for n in range(count)]
    await _rest(proxy)
    used = (_cpu(proxy) - cpu) / count
    slow = statistics.quantiles(took, n=20)[-1]
    print(f"{tiers}, {size}: {statistics.median(took):.4f} s, 95 % {slow:.4f} s, {used:.4f} s of CPU", flush=True)
    found = {"add_s": statistics.median(took), "add_p95_s": slow, "traefik_cpu_s": used}
    return [Row(tiers, size, "stream", 0, 0, metric, value) for metric, value in found.items()]


def _cpu(proxy: TraefikRedisProxy) -> float:
    return sum(map(cpu_seconds, proxy._session.traefik_pids))


async def _rest(proxy: TraefikRedisProxy) -> None:
    """Have all routes settled, and wait until the Traefiks have nothing to do."""
    if (tiers := proxy._session.tiers) is not None:
        await tiers.settle(_LONGEST)
    await until_at_rest(partial(_cpu, proxy), _LONGEST)


def table(results: Results) -> str:
    """Ratios to one tier, and behind them what was measured as context."""
    metrics = {
        "add_s": "one route, median",
        "add_p95_s": "one route, 95 %",
        "traefik_cpu_s": "CPU of all Traefiks a route",
    }
    rows = [
        [f"`{tiers}`: {title}", *(_cell(results, tiers, size, metric) for size in results.sizes())]
        for metric, title in metrics.items()
        for tiers in results.contestants()
    ]
    return markdown(["", *(f"{size} routes" for size in results.sizes())], rows)


def _cell(results: Results, tiers: str, size: int, metric: str) -> str:
    first = results.median(results.contestants()[0], size, "stream", metric)
    return beside(results.median(tiers, size, "stream", metric), first, 1000, "ms")


def conditions(results: Results) -> str:
    """The stream that was measured."""
    streams = (f"{STREAM[tiers][size]}" for tiers in TIERS for size in results.sizes())
    return f"a Redis without settings; routes in the streams: {', '.join(streams)}"


STUDY = Study("tiers", __doc__.splitlines()[0], DOCUMENT, RESULTS, measure, table, conditions)
write_document = STUDY.write_document

if __name__ == "__main__":
    sys.exit(STUDY.main())

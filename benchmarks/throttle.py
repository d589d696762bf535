"""What Traefik's ``providersThrottleDuration`` does to new routes: measure, print the table, write docs/throttle.md.

python -m benchmarks.throttle              five minutes on two cores
python -m benchmarks.throttle --report     the table again, from the raw results on disk

One kvproxy with a Redis and a Traefik of its own for each duration, all living through the same minutes; no Redis
notifies of keys, so that one commit is one event.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import sys
import time
from dataclasses import dataclass, field

from benchmarks.figures import beside
from benchmarks.places import plain
from benchmarks.results import Results, Row, describe_machine
from benchmarks.study import Study
from benchmarks.tables import markdown
from benchmarks.tools import own_versions
from benchmarks.worker import cpu_seconds
from benchmarks.workload import ROOT
from kvproxy.testing.servers import RedisServer
from kvproxy.testing.servers.redis import TRAEFIK_RIGHTS
from kvproxy_redis import TraefikRedisProxy

DOCUMENT = ROOT / "docs" / "throttle.md"
RESULTS = ROOT / "benchmarks" / "results" / "throttle"
#: The first is what the others are compared with; the last is Traefik's own default.
DURATIONS = ("0s", "100ms", "2s")
ROUTES = 500
ROUNDS = 8
SEVERAL = 50  # routes added at once, or one after another
NEXT = 3  # routes added each as soon as the one before is served
BETWEEN = 0.02  # seconds between two of a stream
#: Seconds without a change, after which no Traefik waits for anything any more: it may have taken over something twice.
PAUSE = 5.0
#: Operations: what stands above their column.
OPERATIONS = {
    "alone": "one, after a pause",
    "next": "one, right after another",
    "storm": f"{SEVERAL} at once",
    "stream": f"{SEVERAL} within a second, each",
}


@dataclass
class Subject:
    """One duration's proxy, and what has been measured with it."""

    duration: str
    proxy: TraefikRedisProxy
    rows: list[Row] = field(default_factory=list)
    guests: list[str] = field(default_factory=list)
    number: int = 0

    async def fill(self) -> None:
        """The routes that are there from the beginning."""
        await asyncio.gather(*(self.proxy.add_route(f"/user/u{n}/", "http://127.0.0.1:1", {}) for n in range(ROUTES)))

    async def clear(self) -> None:
        """Remove what was added."""
        await asyncio.gather(*map(self.proxy.delete_route, self.guests))
        self.guests.clear()

    async def one_by_one(self, number: int) -> None:
        """One route, and some more, each as soon as the one before is served."""
        await self.measure("alone", number, 1)
        for _ in range(NEXT):
            await self.measure("next", number, 1)

    async def storm(self, number: int) -> None:
        """Many at once."""
        await self.measure("storm", number, SEVERAL)

    async def stream(self, number: int) -> None:
        """Many, but not quite at once."""
        await self.measure("stream", number, SEVERAL, BETWEEN)

    async def measure(self, operation: str, number: int, count: int, between: float = 0.0) -> None:
        """Add so many routes: seconds until all are served or, of a stream, until each is; CPU seconds of Traefik."""
        assert self.proxy.traefik_pid is not None
        cpu, begin = cpu_seconds(self.proxy.traefik_pid), time.perf_counter()
        each = await asyncio.gather(*(self.add(index * between) for index in range(count)))
        times = each if between else [time.perf_counter() - begin]
        used = cpu_seconds(self.proxy.traefik_pid) - cpu
        place = (self.duration, ROUTES, operation, number)
        self.rows += [Row(*place, sample, "served_s", value) for sample, value in enumerate(times)]
        self.rows.append(Row(*place, 0, "traefik_cpu_s", used))

    async def add(self, delay: float) -> float:
        """Add one route after a while; seconds until it is served."""
        self.number += 1
        self.guests.append(f"/user/guest{self.number}/")
        routespec = self.guests[-1]
        await asyncio.sleep(delay)
        begin = time.perf_counter()
        await self.proxy.add_route(routespec, "http://127.0.0.1:1", {})
        return time.perf_counter() - begin


async def measure() -> Results:
    """Run everything."""
    results = Results(machine=describe_machine(own_versions({"redis"})))
    async with contextlib.AsyncExitStack() as stack:
        subjects = []
        for duration in DURATIONS:
            password = secrets.token_hex(16)
            redis = stack.enter_context(RedisServer(acl=[f"traefik on >{password} {TRAEFIK_RIGHTS}"]))
            proxy = await plain(
                stack,
                redis.url,
                redis_traefik_username="traefik",
                redis_traefik_password=password,
                traefik_providers_throttle_duration=duration,
            )
            subjects.append(Subject(duration, proxy))
            await subjects[-1].fill()
        for number in range(ROUNDS):
            print(f"round {number + 1} of {ROUNDS}", flush=True)
            # Nobody is always first.
            turn = number % len(subjects)
            for do in (Subject.one_by_one, Subject.storm, Subject.stream):
                await asyncio.gather(*(subject.clear() for subject in subjects))
                await asyncio.sleep(PAUSE)
                for subject in subjects[turn:] + subjects[:turn]:
                    await do(subject, number)
        results.rows = [row for subject in subjects for row in subject.rows]
    return results


def table(results: Results) -> str:
    """Ratios to the first duration, and behind them the medians as context."""
    rows = []
    for duration in results.contestants():
        cells = [cell(results, duration, operation, "served_s") for operation in OPERATIONS]
        rows.append([f"`{duration}`", *cells, cell(results, duration, "stream", "traefik_cpu_s")])
    return markdown(["", *OPERATIONS.values(), f"CPU of Traefik, {OPERATIONS['stream'].partition(',')[0]}"], rows)


def cell(results: Results, duration: str, operation: str, metric: str) -> str:
    """``2.1 x (25 ms)``."""
    (routes,) = results.sizes()
    value = results.median(duration, routes, operation, metric)
    first = results.median(results.contestants()[0], routes, operation, metric)
    return beside(value, first, 1000, "ms")


def conditions(results: Results) -> str:
    """How many routes there were."""
    (routes,) = results.sizes()
    return f"{routes} routes"


STUDY = Study("throttle", __doc__.splitlines()[0], DOCUMENT, RESULTS, measure, table, conditions)
write_document = STUDY.write_document

if __name__ == "__main__":
    sys.exit(STUDY.main())

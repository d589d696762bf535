"""Where the CPU goes: profile Traefik by Go's own profiler, measure the hub's Python, write docs/profile.md.

python -m benchmarks.profile             three numbers of routes; about three minutes
python -m benchmarks.profile --quick     half a minute, to see that it works; leaves the documentation alone
python -m benchmarks.profile --report    the tables again, from the raw results on disk

Go (`go tool pprof`) reads the profiles.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import pprof
from benchmarks.bare import Stand, standing
from benchmarks.document import machine_line, write_places
from benchmarks.edits import edits
from benchmarks.figures import figure
from benchmarks.programs import find_tool
from benchmarks.results import Results, Row, describe_machine
from benchmarks.servers import Backend
from benchmarks.tables import markdown
from benchmarks.tools import Tools, versions
from benchmarks.workload import ROOT, Sample
from kvproxy.routing.entry import Layout

DOCUMENT = ROOT / "docs" / "profile.md"
RESULTS = ROOT / "benchmarks" / "results" / "profile"
_PROGRAMS = ("traefik", "redis-server", "valkey-server", "nginx", "wrk", "python")
_FUNCTIONS = 25  # of one profile that are kept
_SHOWN = 12  # rows of a table of functions
_CONNECTIONS = 16
#: What the hub's Python is asked for: metric, what stands above its column, factor.
_PYTHON = (
    ("python_cpu_s", "CPU ms", 1000),
    ("calls", "calls of Python functions", 1),
    ("peak_b", "KiB allocated at once", 2**-10),
    ("operations", "keys written", 1),
    ("written_b", "bytes written", 1),
    ("held_b", "KiB kept of each route", 2**-10),
)


@dataclass(frozen=True)
class ProfilePlan:
    """sizes: numbers of users' routes. seconds: that a profile covers, for each of them."""

    sizes: tuple[int, ...] = (1000, 5000, 10000)
    seconds: tuple[int, ...] = (10, 15, 30)


QUICK = ProfilePlan((100, 500), (2, 2))


@dataclass
class Profiling:
    """One run of a plan."""

    plan: ProfilePlan
    tools: Tools
    results: Results = field(default_factory=Results)

    async def run(self) -> None:
        """Measure everything."""
        pprof.find_go()
        self.results.machine = describe_machine(versions(self.tools, ["kvproxy-quiet"]))
        with Backend(self.tools.nginx) as backend:
            for size, seconds in zip(self.plan.sizes, self.plan.seconds, strict=True):
                async with standing(size, backend, self.tools.wrk, Layout(), debug=True) as stand:
                    await self._adds(stand, size, seconds)
                    await self._requests(stand, size, seconds)
                    self._note("python", size, "edit", await edits(stand.place, size))

    async def _adds(self, stand: Stand, size: int, seconds: int) -> None:
        """Routes that come one after another, each as soon as the one before is served."""
        count = 0
        async with self._profiled("adds", stand, size, seconds) as profile:
            while not profile.done():
                (route,) = stand.invite(1)
                await stand.contestant.add(route)
                await stand.until_served(route, "user")
                count += 1
        self._note("adds", size, "work", [{"count": count}])

    async def _requests(self, stand: Stand, size: int, seconds: int) -> None:
        async with self._profiled("requests", stand, size, seconds):
            await stand.requests("small", size, _CONNECTIONS, seconds)
        self._note("requests", size, "work", [{"count": stand.samples[-1]["requests"]}])

    @contextlib.asynccontextmanager
    async def _profiled(self, name: str, stand: Stand, size: int, seconds: int) -> AsyncIterator[asyncio.Task[bytes]]:
        """Profile Traefik meanwhile; the task ends when the time is over."""
        await stand.settle()
        profile = asyncio.create_task(_fetch(stand, seconds))
        try:
            yield profile
        except BaseException:
            profile.cancel()
            raise
        file = Path(stand.place.directory, f"{name}.pb.gz")
        file.write_bytes(await profile)
        samples = pprof.read(file)
        busy = sum(sample.milliseconds for sample in samples) / 1000
        self._note(name, size, "profile", [{"seconds": seconds, "cpu_s": busy}])
        for part, share in pprof.parts(samples).items():
            self._note(name, size, part, [{"part": share}])
        for function, share in pprof.functions(samples, _FUNCTIONS).items():
            self._note(name, size, function, [{"function": share}])
        print(f"{size:6} routes  {name}: {busy:.2f} s of CPU in {seconds} s", flush=True)

    def _note(self, name: str, size: int, operation: str, samples: Iterable[Sample]) -> None:
        self.results.rows += [
            Row(name, size, operation, 0, index, metric, value)
            for index, sample in enumerate(samples)
            for metric, value in sample.items()
        ]


async def _fetch(stand: Stand, seconds: int) -> bytes:
    url = f"{stand.place.api_url}/debug/pprof/profile?seconds={seconds}"
    async with stand.session.get(url) as response:
        response.raise_for_status()
        return await response.read()


def shares(results: Results, name: str, metric: str, most: int) -> str:
    """A table of shares by size: parts or functions, the largest of any size first, so many at most."""
    found: dict[str, dict[int, float]] = {}
    for row in results.rows:
        if (row.contestant, row.metric) == (name, metric):
            found.setdefault(row.operation, {})[row.routes] = row.value
    ordered = sorted(found, key=lambda operation: -max(found[operation].values()))[:most]
    sizes = results.sizes()
    shown = {
        operation: [f"{figure(100 * share)} %" if (share := found[operation].get(size)) else "" for size in sizes]
        for operation in ordered
    }
    rows = [[f"`{name}`" if metric == "function" else name, *cells] for name, cells in shown.items()]
    return markdown(["", *(f"{size:,} routes" for size in sizes)], rows)


def work(results: Results, name: str) -> str:
    """What was done during the profiles, and what CPU it took, one line a size."""
    lines = []
    for size in results.sizes():
        count, seconds, cpu = (
            results.median(name, size, operation, metric) or 0
            for operation, metric in (("work", "count"), ("profile", "seconds"), ("profile", "cpu_s"))
        )
        lines.append(f"{count:,.0f} in {seconds:.0f} s at {size:,} routes, {figure(cpu)} s of CPU")
    return "; ".join(lines) + "."


def python(results: Results) -> str:
    """A table of the hub's Python by size; medians."""
    rows = []
    for size in results.sizes():
        medians = [(results.median("python", size, "edit", metric), scale) for metric, _, scale in _PYTHON]
        rows.append([f"{size:,}", *("" if value is None else figure(value * scale) for value, scale in medians)])
    return markdown(["routes", *(head for _, head, _ in _PYTHON)], rows)


def sections(results: Results) -> dict[str, str]:
    """Everything that is made from the results, by the names of the places in the document."""
    found = {}
    for name in ("adds", "requests"):
        found[f"{name}-work"] = work(results, name)
        found[f"{name}-parts"] = shares(results, name, "part", len(pprof.PARTS) + 1)
        found[f"{name}-functions"] = shares(results, name, "function", _SHOWN)
    return {**found, "python": python(results), "machine": machine_line(results, _PROGRAMS)}


def write_document(results: Results, document: Path = DOCUMENT) -> None:
    """Put everything into its place."""
    write_places(document, sections(results))


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=summary)
    parser.add_argument("--quick", action="store_true", help="short profiles at small sizes; writes to --output only")
    parser.add_argument("--output", type=Path, help="directory for raw results; the documentation is left alone then")
    parser.add_argument("--report", action="store_true", help="measure nothing; report on the results on disk")
    options = parser.parse_args(arguments)
    place = options.output or (Path(tempfile.mkdtemp(prefix="bench-")) if options.quick else RESULTS)
    if not options.report:
        tools = Tools(find_tool("wrk", "usr/bin/wrk"), find_tool("nginx", "usr/sbin/nginx"))
        profiling = Profiling(QUICK if options.quick else ProfilePlan(), tools)
        asyncio.run(profiling.run())
        profiling.results.save(place)
    results = Results.load(place)
    for name, text in sections(results).items():
        print(f"\n{name}\n\n{text}")
    if place == RESULTS:
        write_document(results)
    else:
        print(f"Raw results are in {place}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

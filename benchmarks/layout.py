"""What layouts of the routes cost Traefik: measure, print the tables, write docs/layouts.md and its plots.

python -m benchmarks.layout              all layouts at all sizes; a quarter of an hour on two idle cores
python -m benchmarks.layout --quick      two minutes, to see that it works; leaves the documentation alone
python -m benchmarks.layout --report     the tables again, from the raw results on disk

Each layout has a Redis and a Traefik of its own, all over the same routes, and they live through the same minutes: in
each round one after the other is asked for all users' servers by wrk and then given one route more, which is removed
again. No Redis notifies of keys, so that one change is one reload.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.bare import Stand, standing
from benchmarks.layout_report import RESULTS, print_report, write_document, write_layout_plots
from benchmarks.programs import Tool, find_tool
from benchmarks.results import Results, Row, describe_machine
from benchmarks.servers import Backend
from benchmarks.tools import Tools, versions
from benchmarks.workload import Sample
from kvproxy.routing.entry import Layout
from kvproxy.routing.group import Limits

#: Most children of one parent that are tried beside the flat table.
MOST = (16, 32, 64, 128)
#: Values of Go's GOGC that are tried, with kvproxy's own layout.
GARBAGE = (100, 200, 300, 400)
#: What part of the most children the least are; of users with numbers, this and kvproxy's own make the same tree.
_LEAST = 8
_CONNECTIONS = 16


@dataclass(frozen=True)
class LayoutPlan:
    """How much is measured.

    sizes: numbers of users' routes. rounds: up to which of them -> rounds; there are most of them where layouts differ
    least. seconds: that one measurement of requests lasts, whole ones. collector_size: number of users' routes at which
    GOGC is varied.
    """

    sizes: tuple[int, ...] = (64, 96, 128, 192, 256, 1000, 5000)
    rounds: tuple[tuple[int, int], ...] = ((500, 12), (10_000, 7))
    seconds: int = 1
    collector_size: int = 5000

    def effort(self, size: int) -> int:
        """Rounds at a size."""
        return next((rounds for most, rounds in self.rounds if size <= most), self.rounds[-1][1])


QUICK = LayoutPlan(sizes=(64, 256, 1000), rounds=((10_000, 3),), collector_size=1000)


@dataclass(frozen=True)
class Variant:
    """One of those that are compared at a size: its name in the results, layout, and environment of its Traefik."""

    name: str
    layout: Layout
    environment: dict[str, str] = field(default_factory=dict)


def layouts() -> list[Variant]:
    """The flat table, and trees whose parents have at most so many children, kvproxy's own among them."""
    own = Limits()
    limits = [own if most == own.most else Limits(most, most // _LEAST) for most in MOST]
    trees = [Variant(str(each.most), Layout(kind="tree", limits=each)) for each in limits]
    return [Variant("flat", Layout(kind="flat")), *trees]


def collectors() -> list[Variant]:
    """kvproxy's own layout under several settings of Go's garbage collector."""
    return [Variant(f"gogc-{percent}", Layout(kind="tree"), {"GOGC": str(percent)}) for percent in GARBAGE]


class Measurement:
    """One run of a plan; ``results`` grows as it goes, and is saved in ``place`` after each size."""

    def __init__(self, plan: LayoutPlan, tools: Tools, place: Path):
        self.plan, self.tools, self.place = plan, tools, place
        self.results = Results(machine=describe_machine(versions(tools, ["kvproxy-quiet"])))

    async def run(self) -> None:
        """Measure everything."""
        with Backend(self.tools.nginx) as backend:
            for size in self.plan.sizes:
                await self._compare(layouts(), size, backend)
            await self._compare(collectors(), self.plan.collector_size, backend)

    async def _compare(self, variants: Iterable[Variant], size: int, backend: Backend) -> None:
        async with contextlib.AsyncExitStack() as stack:
            stands: list[tuple[str, Stand]] = []
            for variant in variants:
                stand = await stack.enter_async_context(
                    standing(size, backend, self.tools.wrk, variant.layout, variant.environment)
                )
                groups, looks = stand.contestant.groups, stand.contestant.looks
                if groups or variant.layout.kind == "flat":
                    stands.append((variant.name, stand))
                    self._note(variant.name, size, "table", 0, {"groups": groups, "looks": looks})
                    # Not measured: connections are opened and what is cached comes into its caches.
                    await stand.requests("small", size, _CONNECTIONS, 1)
            for number in range(self.plan.effort(size)):
                await self._round(stands, size, number)
        self.results.save(self.place)

    async def _round(self, stands: list[tuple[str, Stand]], size: int, number: int) -> None:
        # Nobody is always first, or always behind the same neighbour.
        turn = number % len(stands)
        for name, stand in stands[turn:] + stands[:turn]:
            await stand.requests("small", size, _CONNECTIONS, self.plan.seconds)
            self._take(name, size, "requests", number, stand)
            await stand.measure(stand.invite(1))
            self._take(name, size, "reload", number, stand)
            await stand.delete()
            await stand.memory()
            self._take(name, size, "memory", number, stand)

    def _take(self, name: str, size: int, operation: str, number: int, stand: Stand) -> None:
        """Note what a stand has measured last, and tell the most of it."""
        sample = stand.samples[-1]
        self._note(name, size, operation, number, sample)
        shown = " ".join(f"{metric} {value:.4g}" for metric, value in sample.items() if "cpu" in metric)
        print(f"{size:6} routes  round {number + 1}  {name:10}{operation:10}{shown}", flush=True)

    def _note(self, name: str, size: int, operation: str, number: int, sample: Sample) -> None:
        place = (name, size, operation, number, 0)
        self.results.rows += [Row(*place, metric, value) for metric, value in sample.items()]


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.layout", description=summary)
    parser.add_argument("--quick", action="store_true", help="few rounds at small sizes; writes to --output only")
    parser.add_argument("--sizes", help="comma-separated numbers of routes")
    parser.add_argument("--output", type=Path, help="directory for raw results; the documentation is left alone then")
    parser.add_argument("--report", action="store_true", help="measure nothing; report on the results on disk")
    options = parser.parse_args(arguments)
    place = options.output or (Path(tempfile.mkdtemp(prefix="bench-")) if options.quick else RESULTS)
    if not options.report:
        chosen = {"sizes": tuple(map(int, options.sizes.split(",")))} if options.sizes else {}
        plan = LayoutPlan(**{**vars(QUICK if options.quick else LayoutPlan()), **chosen})
        asyncio.run(Measurement(plan, Tools(*_programs()), place).run())
    # Also after a measurement, so that both make the same from the same digits.
    results = Results.load(place)
    print_report(results)
    if place == RESULTS:
        write_document(results)
        write_layout_plots(results)
    else:
        print(f"Raw results are in {place}.")
    return 0


def _programs() -> tuple[Tool, Tool]:
    return find_tool("wrk", "usr/bin/wrk"), find_tool("nginx", "usr/sbin/nginx")


if __name__ == "__main__":
    sys.exit(main())

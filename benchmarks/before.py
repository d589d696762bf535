"""CPU that a request costs Traefik, beside an earlier build or with two tiers beside one, in one run.

python -m benchmarks.before --before DIR             DIR is a checkout of the earlier build, such as a git worktree
python -m benchmarks.before --before DIR --edits     what routes cost: add, many at once, get_all, restart, memory
python -m benchmarks.before --tiers                  two tiers beside one, of this build

Both builds stand beside each other at each size, over the same servers, each with its defaults and the hub's pages, and
are asked for requests at the same time: whatever the machine does meanwhile, it does to both. Edits of routes are
measured by turns. With DIR = the present checkout, it tells how far apart two measurements of the same are.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import figure
from benchmarks.places import place_for
from benchmarks.plan import Plan
from benchmarks.programs import Tool, find_tool
from benchmarks.servers import Backend
from benchmarks.stores import PASSWORD, running
from benchmarks.worker_process import Worker
from benchmarks.workload import ROOT

_ENTRANT, _TWO = "kvproxy-pages", "kvproxy-two"


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns the exit status, 1 if a ratio is above the one that is allowed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.before", description=__doc__.splitlines()[0])
    compared = parser.add_mutually_exclusive_group(required=True)
    compared.add_argument("--before", type=Path, help="checkout of the earlier build")
    compared.add_argument("--tiers", action="store_true", help="two tiers beside one")
    parser.add_argument("--edits", action="store_true", help="edits of routes instead of requests")
    parser.add_argument("--sizes", default="10,5000", help="comma-separated numbers of routes")
    parser.add_argument("--turns", type=int, default=150, help="measurements at each size")
    parser.add_argument("--most", type=float, default=1.03, help="the ratio that is allowed")
    options = parser.parse_args(arguments)
    wrk, nginx = find_tool("wrk", "usr/bin/wrk"), find_tool("nginx", "usr/sbin/nginx")
    if options.tiers:
        # A user of Traefik's own could not read the second tier.
        login, seats = ("", ""), {"one tier": (_ENTRANT, ROOT), "two tiers": (_TWO, ROOT)}
    else:
        seats = {"before": (_ENTRANT, options.before.absolute()), "now": (_ENTRANT, ROOT)}
        login = "traefik", PASSWORD
    worst = 0.0
    titles = [*seats, "ratio (median of the turns)", "95 % interval of it"]
    print(f"| routes | {' | '.join(titles)} |")
    print("|---|---|---|---|---|")
    with Backend(nginx) as backend:
        for size in map(int, options.sizes.split(",")):
            with contextlib.ExitStack() as stack:
                workers = {
                    name: stack.enter_context(_seat(entrant, login, root, backend, wrk))
                    for name, (entrant, root) in seats.items()
                }
                if options.edits:
                    worst = max(worst, _print_edits(workers, size, options.turns))
                    continue
                found = _measure(workers, size, options.turns)
            worst = max(worst, _print_row(size, _REQUEST, *found.values()))
    return int(worst > options.most)


def median_interval(values: list[float]) -> tuple[float, float, float]:
    """The median between the bounds of its 95 % confidence interval, by order statistics; at least six values."""
    ordered, reach = sorted(values), 0.98 * math.sqrt(len(values))
    low, high = math.floor(len(values) / 2 - reach), math.ceil(len(values) / 2 + reach)
    return ordered[max(low, 0)], statistics.median(values), ordered[min(high, len(values) - 1)]


@dataclass(frozen=True)
class Figure:
    """A row. title: of it. operation, metric: of its samples. scale, unit: of what is shown."""

    title: str
    operation: str
    metric: str
    scale: float = 1000
    unit: str = "ms"

    def shown(self, values: Sequence[float]) -> str:
        """The median of the turns."""
        return f"{figure(self.scale * statistics.median(values))} {self.unit}"


_REQUEST = Figure("CPU of a request", "growing", "cpu_s", 1e6, "µs")
_FIGURES = (
    Figure("add_route", "add", "returned_s"),
    Figure("add_route: Python's CPU", "add", "python_cpu_s"),
    Figure("add_route: Traefik's CPU", "add", "proxy_cpu_s"),
    Figure(f"{Plan.few} added at once", "storm", "returned_s"),
    Figure("delete_route", "delete", "returned_s"),
    Figure("get_all_routes", "get_all", "returned_s"),
    Figure("restart, until served", "restart", "served_s"),
    Figure("memory of Python", "memory", "python_rss_b", 2**-20, "MiB"),
    Figure("memory of Traefik", "memory", "proxy_rss_b", 2**-20, "MiB"),
    Figure("memory of Redis", "memory", "store_rss_b", 2**-20, "MiB"),
)


def _print_row(size: int, one: Figure, before: list[float], now: list[float]) -> float:
    """Print a row about the values of each turn; returns its ratio."""
    low, middle, high = median_interval([new / old for old, new in zip(before, now, strict=True)])
    values = f"{one.shown(before)} | {one.shown(now)} | {middle:.3f} | {low:.3f} to {high:.3f}"
    print(f"| {size}, {one.title} | {values} |", flush=True)
    return middle


def _print_edits(workers: dict[str, Worker], size: int, turns: int) -> float:
    """Print a row for each figure; returns the greatest ratio."""
    plan, worst = Plan(), 0.0
    for worker in workers.values():
        _ask(worker, "open", {"op": "open", "count": size}, plan)
    steps: list[tuple[str, dict[str, object]]] = [
        ("memory", {"op": "memory"}),
        ("add", {"op": "add", "count": 4}),
        ("delete", {"op": "delete"}),
        ("storm", {"op": "storm", "count": plan.few}),
        ("clear", {"op": "clear"}),
        ("get_all", {"op": "get_all"}),
        ("restart", {"op": "restart", "count": size}),
        ("settle", {"op": "settle"}),
    ]
    found: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for turn in range(turns):
        for label, request in steps:
            for name in sorted(workers, reverse=bool(turn % 2)):
                samples = _ask(workers[name], label, request, plan)
                for one in _FIGURES:
                    if one.operation == label:
                        middle = statistics.median(sample[one.metric] for sample in samples)
                        found[name, label, one.metric].append(middle)
    for one in _FIGURES:
        before, now = (found[name, one.operation, one.metric] for name in workers)
        worst = max(worst, _print_row(size, one, before, now))
    return worst


def _measure(workers: dict[str, Worker], size: int, turns: int) -> dict[str, list[float]]:
    """CPU seconds a request, turn by turn."""
    plan = Plan()
    for worker in workers.values():
        for label, request in [("fill", {"op": "fill", "count": size}), *plan.opening(size), plan.warm_up(size)]:
            _ask(worker, label, request, plan)
    found: dict[str, list[float]] = {name: [] for name in workers}
    with ThreadPoolExecutor() as pool:
        for _ in range(turns):
            asked = {name: pool.submit(_ask, worker, *plan.growing(size), plan) for name, worker in workers.items()}
            for name, answer in asked.items():
                found[name].append(answer.result()[0]["cpu_s"])
    return found


def _ask(worker: Worker, label: str, request: dict[str, object], plan: Plan) -> list[dict[str, float]]:
    samples, error = worker.ask(label, dict(request), plan.limit_of(label))
    if error:
        raise SystemExit(f"{worker.name}: {label}: {error}")
    return samples


@contextlib.contextmanager
def _seat(entrant: str, login: tuple[str, str], root: Path, backend: Backend, wrk: Tool) -> Iterator[Worker]:
    """A build's worker, on a Redis of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="kvproxy-before-") as directory,
        running("redis", Path(directory), PASSWORD, socket=True) as store,
    ):
        place = place_for("redis", store, directory, backend, wrk, login=login)
        worker = Worker(entrant, place, sys.executable, root)
        try:
            yield worker
        finally:
            worker.close()


if __name__ == "__main__":
    sys.exit(main())

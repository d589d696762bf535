"""CPU that a request costs Traefik, beside an earlier build or with two tiers beside one, in one run.

python -m benchmarks.before --before DIR     DIR is a checkout of the earlier build, such as a git worktree
python -m benchmarks.before --tiers          two tiers beside one, of this build

Both builds stand beside each other at each size, over the same servers, each with its defaults and the hub's pages, and
are asked at the same time: whatever the machine does meanwhile, it does to both. With DIR = the present checkout, it
tells how far apart two measurements of the same are.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import statistics
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.places import place_for
from benchmarks.plan import Plan
from benchmarks.programs import Tool, find_tool
from benchmarks.servers import Backend
from benchmarks.stores import running
from benchmarks.worker_process import Worker
from benchmarks.workload import ROOT

_ENTRANT, _TWO = "kvproxy-pages", "kvproxy-two"
_PASSWORD = "of-a-benchmark"  # of stores on the loopback interface, for minutes


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns the exit status, 1 if a ratio is above the one that is allowed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.before", description=__doc__.splitlines()[0])
    compared = parser.add_mutually_exclusive_group(required=True)
    compared.add_argument("--before", type=Path, help="checkout of the earlier build")
    compared.add_argument("--tiers", action="store_true", help="two tiers beside one")
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
        login = "traefik", _PASSWORD
    worst = 0.0
    titles = [*(f"{name}, µs a request" for name in seats), "ratio (median of the turns)", "95 % interval of it"]
    print(f"| routes | {' | '.join(titles)} |")
    print("|---|---|---|---|---|")
    with Backend(nginx) as backend:
        for size in map(int, options.sizes.split(",")):
            with contextlib.ExitStack() as stack:
                workers = {
                    name: stack.enter_context(_seat(entrant, login, root, backend, wrk))
                    for name, (entrant, root) in seats.items()
                }
                found = _measure(workers, size, options.turns)
            low, middle, high = median_interval([now / before for before, now in zip(*found.values(), strict=True)])
            shown = [f"{statistics.median(values) * 1e6:.1f}" for values in found.values()]
            print(f"| {size} | {shown[0]} | {shown[1]} | {middle:.3f} | {low:.3f} to {high:.3f} |", flush=True)
            worst = max(worst, middle)
    return int(worst > options.most)


def median_interval(values: list[float]) -> tuple[float, float, float]:
    """The median between the bounds of its 95 % confidence interval, by order statistics; at least six values."""
    ordered, reach = sorted(values), 0.98 * math.sqrt(len(values))
    low, high = math.floor(len(values) / 2 - reach), math.ceil(len(values) / 2 + reach)
    return ordered[max(low, 0)], statistics.median(values), ordered[min(high, len(values) - 1)]


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
        running("redis", Path(directory), _PASSWORD, socket=True) as store,
    ):
        place = place_for("redis", store, directory, backend, wrk, login=login)
        worker = Worker(entrant, place, sys.executable, root)
        try:
            yield worker
        finally:
            worker.close()


if __name__ == "__main__":
    sys.exit(main())

"""Cost of an added route beside other applications' keys in the same Redis database: the table in docs/how-to/redis.md.

python -m benchmarks.foreign_keys              two minutes on two cores
python -m benchmarks.foreign_keys --report     the table again, from the results on disk
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from typing import Final

from benchmarks.places import plain
from benchmarks.results import Results, Row, describe_machine
from benchmarks.study import Study
from benchmarks.tables import markdown
from benchmarks.tools import own_versions
from benchmarks.worker import cpu_seconds
from benchmarks.workload import ROOT
from kvproxy.testing.servers import RedisServer

DOCUMENT: Final = ROOT / "docs" / "how-to" / "redis.md"
RESULTS: Final = ROOT / "benchmarks" / "results" / "foreign_keys"
KIND: Final = "kvproxy"
#: Keys of others, and how many routes are added one after another beside them.
SIZES: Final = (0, 10_000, 100_000, 300_000)
ADDED: Final = 7
#: Keys that one command of Redis' own scripting language makes.
_BATCH: Final = 10_000
_MAKE: Final = "for n = ARGV[1], ARGV[2] do redis.call('SET', 'application:' .. n, 'x') end"


async def measure(options: argparse.Namespace) -> Results:
    """Add routes beside more and more keys."""
    results = Results(machine=describe_machine(own_versions({"redis"})))
    async with contextlib.AsyncExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        proxy = await plain(stack, redis.url, check_route_timeout=120)
        assert proxy.traefik_pid is not None
        there = 0
        for size in SIZES:
            for first in range(there, size, _BATCH):
                redis.command("EVAL", _MAKE, "0", str(first), str(first + _BATCH - 1))
            there = size
            for sample in range(ADDED):
                cpu, begin = cpu_seconds(proxy.traefik_pid), time.perf_counter()
                await proxy.add_route(f"/user/beside-{size}-{sample}/", "http://127.0.0.1:1", {})
                served, used = time.perf_counter() - begin, cpu_seconds(proxy.traefik_pid) - cpu
                results.rows.append(Row(KIND, size, "add", 0, sample, "served_s", served))
                results.rows.append(Row(KIND, size, "add", 0, sample, "traefik_cpu_s", used))
            print(f"{size:,}: {results.median(KIND, size, 'add', 'served_s'):.3f} s", flush=True)
    return results


def table(results: Results) -> str:
    """One line per number of keys."""
    rows = []
    for size in results.sizes():
        served, cpu = (results.median(KIND, size, "add", metric) for metric in ("served_s", "traefik_cpu_s"))
        rows.append([f"{size:,}", f"{(served or 0) * 1000:,.0f} ms", f"{(cpu or 0) * 1000:,.0f} ms"])
    return markdown(["Keys of others", "a new server's route is served after", "CPU of Traefik for it"], rows)


def conditions(results: Results) -> str:
    """The number of samples."""
    return f"medians of {ADDED} added routes"


STUDY = Study("foreign_keys", __doc__.splitlines()[0], DOCUMENT, RESULTS, measure, table, conditions)
write_document = STUDY.write_document

if __name__ == "__main__":
    sys.exit(STUDY.main())

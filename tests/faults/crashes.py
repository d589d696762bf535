"""The hub's own Traefik is killed again and again: for how long do users notice it?

python -m tests.faults.crashes              ten times; four minutes; writes it to docs/faults.md
python -m tests.faults.crashes --times 2    the same in short, printed only
python -m tests.faults.crashes --report     the sentence again, from the results on disk
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.document import write_places
from benchmarks.results import Results, Row, describe_machine
from benchmarks.tools import own_versions
from benchmarks.workload import ROOT
from tests.faults.load import Load
from tests.faults.report import DOCUMENT
from tests.faults.site import Site
from tests.faults.stores import STORES

RESULTS = ROOT / "tests" / "faults" / "results" / "crashes"
TIMES = 10
_ROUTES = 500
_WORKS = 20.0  # seconds for which Traefik works before it is killed


async def measure(times: int) -> Results:
    """Kill it the given number of times; a row for each with the seconds for which requests failed."""
    results = Results(machine=describe_machine(own_versions({"redis"})))
    with tempfile.TemporaryDirectory(prefix="kvproxy-crashes-") as directory:
        store = STORES["redis"][1](Path(directory))
        async with Site.open(store, Path(directory), routes=_ROUTES, managed=True) as site:
            for number in range(times):
                await asyncio.sleep(_WORKS)
                seconds = await crash(site)
                results.rows.append(Row("redis", _ROUTES, "traefik-killed", number, 0, "out_s", seconds))
                print(f"{number + 1}: {seconds:.2f} s", flush=True)
    return results


async def crash(site: Site) -> float:
    """Seconds from the signal to the end of the last request that failed."""
    async with Load(site.port, dict(site.table)) as load:
        await load.a_round()
        begin, pid = time.monotonic(), await site.traefik_pid()
        psutil.Process(pid).kill()
        while await site.hub.call("traefik") in {pid, None}:
            await asyncio.sleep(0.05)
        await site.until_served()
        await load.a_round()
    return load.tally.failures[-1][1] - begin if load.tally.failures else 0.0


def story(results: Results) -> str:
    """The result as a sentence."""
    seconds = results.series("redis", _ROUTES, "traefik-killed", "out_s")
    if seconds is None:
        raise LookupError("Nothing was measured.")
    return (
        f"Killed {seconds.count} times, each {_WORKS:.0f} s after it had begun to work, with {_ROUTES} routes "
        f"in Redis: requests failed for {seconds.least:.2f} to {seconds.most:.2f} s each time."
    )


def write_document(results: Results, document: Path = DOCUMENT) -> None:
    """Put it into its place."""
    write_places(document, {"crashes": story(results)})


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.crashes", description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=TIMES, help="how often; the documentation needs ten")
    parser.add_argument("--report", action="store_true", help="report on the results on disk")
    options = parser.parse_args(arguments)
    if options.report:
        results = Results.load(RESULTS)
    else:
        results = asyncio.run(measure(options.times))
        if options.times >= TIMES:
            results.save(RESULTS)
    print(story(results))
    if options.report or options.times >= TIMES:
        write_document(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())

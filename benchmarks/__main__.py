"""Measure, print the table, and write the raw results and the documentation's tables.

python -m benchmarks --peer-python PATH [--chp PATH]      everything; half an hour on two cores
python -m benchmarks --quick …                            a few calls, to see that it works; writes to --output only
python -m benchmarks --report                             the tables again, from the raw results on disk
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.contestants import CONTESTANTS
from benchmarks.driver import ROOT, Driver, Plan, Tools, versions
from benchmarks.report import DOCUMENT, print_report, write_document
from benchmarks.results import Results, describe_machine

RESULTS = ROOT / "benchmarks" / "results"
QUICK = Plan(sizes=(10, 100), adds=(4, 4, 4), rounds=2, storm_sizes=(100,), lookups=5, limit=60)


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0 also where a requirement is missed, as a busy machine alone can do that."""
    options = parse(arguments)
    if options.report:
        results = Results.load(options.output or RESULTS)
    else:
        results = measure(options)
        results.save(options.output or (Path(tempfile.mkdtemp(prefix="bench-")) if options.quick else RESULTS))
    print_report(results)
    if not options.quick and options.output is None:
        write_document(results)
        print(f"The tables in {DOCUMENT.relative_to(ROOT)} are made from this.")
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", default="", help="interpreter that has jupyterhub-traefik-proxy")
    parser.add_argument("--chp", default="", help="path of configurable-http-proxy")
    parser.add_argument("--contestants", help=f"comma-separated, of {', '.join(CONTESTANTS)}; default: all there are")
    parser.add_argument("--sizes", help="comma-separated numbers of routes")
    parser.add_argument("--output", type=Path, help="directory for raw results; the documentation is left alone then")
    parser.add_argument("--quick", action="store_true", help="few calls at small sizes")
    parser.add_argument("--report", action="store_true", help="measure nothing; report on the results on disk")
    return parser.parse_args(arguments)


def measure(options: argparse.Namespace) -> Results:
    """Run the plan."""
    tools = Tools(options.peer_python, options.chp)
    plan = QUICK if options.quick else Plan()
    if options.sizes:
        sizes = tuple(map(int, options.sizes.split(",")))
        plan = Plan(**{**vars(plan), "sizes": sizes})
    names = options.contestants.split(",") if options.contestants else available(tools)
    machine = describe_machine(versions(tools, names))
    with tempfile.TemporaryDirectory(prefix="kvproxy-bench-") as directory:
        results = Driver(plan, names, tools, Path(directory)).run()
    results.machine = machine
    return results


def available(tools: Tools) -> list[str]:
    """All contestants whose programs are there."""
    missing = {"peer": not tools.peer_python, "chp": not tools.chp}
    return [name for name in CONTESTANTS if not missing.get(name)]


if __name__ == "__main__":
    sys.exit(main())

"""Measure, print the table, and write the results and the documentation's tables.

python -m benchmarks --peer-python PATH [--chp PATH]      everything; more than an hour on two cores
python -m benchmarks --requests …                         only requests, put in the place of those on disk
python -m benchmarks --growth …                           only how requests grow with the routes, likewise
python -m benchmarks --quick …                            a few calls, to see that it works; writes to --output only
python -m benchmarks --report                             the tables again, from the results on disk
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.driver import Driver
from benchmarks.plan import QUICK, Plan, is_of_requests
from benchmarks.plots import write_plots
from benchmarks.programs import find_tool
from benchmarks.report import DOCUMENT, RESULTS, print_report, write_document
from benchmarks.results import Results, describe_machine
from benchmarks.roster import ROSTER
from benchmarks.tools import Tools, versions
from benchmarks.workload import ROOT
from kvproxy.testing.servers import ServerError
from kvproxy.testing.servers.consul import find_consul
from kvproxy.testing.servers.etcd import find_etcd

PLOTS = ROOT / "docs" / "benchmarks"


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0 also where a requirement is missed, as a busy machine alone can do that."""
    options = parse(arguments)
    place = options.output or (Path(tempfile.mkdtemp(prefix="bench-")) if options.quick else RESULTS)
    if not options.report:
        measure(options, place)
    # Also after a measurement, so that both make the same from the same digits.
    results = Results.load(place)
    print_report(results)
    public = not options.quick and options.output is None
    write_plots(results, PLOTS if public else place)
    if public:
        write_document(results)
        print(f"The tables and plots in {DOCUMENT.relative_to(ROOT)} are made from this.")
    else:
        print(f"Results and plots are in {place}.")
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", default="", help="interpreter that has jupyterhub-traefik-proxy")
    parser.add_argument("--chp", default="", help="path of configurable-http-proxy")
    parser.add_argument("--contestants", help=f"comma-separated, of {', '.join(ROSTER)}; default: all there are")
    parser.add_argument("--sizes", help="comma-separated numbers of routes")
    parser.add_argument("--output", type=Path, help="directory for the results; the documentation is left alone then")
    parser.add_argument("--quick", action="store_true", help="few calls at small sizes")
    parser.add_argument("--requests", action="store_true", help="measure requests only; the rest stays as it was")
    parser.add_argument("--growth", action="store_true", help="measure only how requests grow with the routes")
    parser.add_argument("--report", action="store_true", help="measure nothing; report on the results on disk")
    return parser.parse_args(arguments)


def measure(options: argparse.Namespace, place: Path) -> None:
    """Run the plan; what is measured so far is in ``place`` after each size."""
    wrk, nginx = find_tool("wrk", "usr/bin/wrk"), find_tool("nginx", "usr/sbin/nginx")
    tools = Tools(wrk, nginx, options.peer_python, options.chp)
    plan = QUICK if options.quick else Plan()
    if options.sizes:
        sizes = tuple(map(int, options.sizes.split(",")))
        plan = replace(plan, sizes=sizes)
    names = options.contestants.split(",") if options.contestants else available(tools)
    results = Results(machine=describe_machine(versions(tools, names)))
    if options.growth:
        plan = replace(plan, sizes=())
    if options.requests or options.growth:
        results.kept = {
            (contestant, routes, operation): metrics
            for (contestant, routes, operation), metrics in Results.load(place).kept.items()
            if (routes not in plan.sizes or not is_of_requests(operation)) and operation != "growth"
        }
    with tempfile.TemporaryDirectory(prefix="kvproxy-bench-") as directory:
        editing = not options.requests
        Driver(plan, names, tools, Path(directory), lambda found: found.save(place), results, editing).run()


def available(tools: Tools) -> list[str]:
    """All contestants whose programs are there; says who is left out, and why."""
    missing = {"peer": "" if tools.peer_python else "no --peer-python", "chp": "" if tools.chp else "no --chp"}
    for kind, find in (("etcd", find_etcd), ("consul", find_consul)):
        try:
            find()
        except ServerError as error:
            missing |= {name: str(error) for name, entrant in ROSTER.items() if entrant.store == kind}
    for name, why in missing.items():
        if why:
            print(f"{ROSTER[name].label} is left out: {why}")
    return [name for name in ROSTER if not missing.get(name)]


if __name__ == "__main__":
    sys.exit(main())

"""Let every fault happen to every store, print the tables, and write the results and docs/faults.md.

python -m tests.faults                                       everything; half an hour
python -m tests.faults --stores redis --faults hub-killed    some of it, printed only
python -m tests.faults --add --stores redis-tiers            some of it, put in the place of those on disk
python -m tests.faults --report                              the tables again, from the results on disk
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from benchmarks.results import Results, describe_machine
from benchmarks.tools import own_versions
from benchmarks.workload import ROOT
from tests.faults.catalogue import FAULTS
from tests.faults.cell import Scale, applies, run
from tests.faults.report import DOCUMENT, RESULTS, sections, write_document
from tests.faults.stores import STORES


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 1 if a cell is not as it should be."""
    options = parse(arguments)
    stores, faults = _chosen(options.stores, STORES), _chosen(options.faults, FAULTS)
    whole = stores == [*STORES] and faults == [*FAULTS]
    if options.report:
        results = Results.load(RESULTS)
    else:
        place = RESULTS if whole or options.add else Path(tempfile.mkdtemp(prefix="kvproxy-faults-"))
        results = Results(machine=describe_machine(own_versions({store.partition("-")[0] for store in stores})))
        if options.add:
            results = Results.load(RESULTS)
            results.kept = {one: of for one, of in results.kept.items() if one[0] not in stores or one[2] not in faults}
        asyncio.run(measure(stores, faults, Scale(options.routes), place, results))
        print(f"Raw results are in {place}.")
        results = Results.load(place)
    made = sections(results)
    print("\n\n".join(made.values()))
    if whole or options.add:
        write_document(results)
        print(f"\nThe tables in {DOCUMENT.relative_to(ROOT)} are made from this.")
    return int(any("error" in metrics for metrics in results.summary().values()))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.splitlines()[0])
    parser.add_argument("--stores", default="", help=f"comma-separated, of {', '.join(STORES)}; default: all")
    parser.add_argument("--faults", default="", help=f"comma-separated, of {', '.join(FAULTS)}; default: all")
    parser.add_argument("--routes", type=int, default=Scale().routes, help="how many routes there are")
    parser.add_argument("--add", action="store_true", help="keep the results on disk of all else, and write the page")
    parser.add_argument("--report", action="store_true", help="let nothing happen; report on the results on disk")
    return parser.parse_args(arguments)


def _chosen(names: str, of: dict[str, object]) -> list[str]:
    chosen = names.split(",") if names else [*of]
    if unknown := set(chosen) - set(of):
        raise SystemExit(f"There is no {', '.join(sorted(unknown))}; choose of {', '.join(of)}.")
    return chosen


async def measure(stores: list[str], faults: list[str], scale: Scale, place: Path, results: Results) -> None:
    """One cell after the other, added to these results; what there is so far is on disk after each."""
    for store in stores:
        for fault in faults:
            if applies(store, fault):
                with tempfile.TemporaryDirectory(prefix="kvproxy-faults-") as directory:
                    outcome = await run(store, fault, scale, Path(directory))
                results.rows += outcome.rows(store, fault, scale.routes)
                results.save(place)
                print(f"{store:12} {fault:15} {outcome.problem or 'as it should be'}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

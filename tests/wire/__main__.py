"""The full form: runs the cases through both proxies at once, keeps the recording and writes the page.

Exits with 1 if anything differs in another way than is expected; then the page says what is expected all the same.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path

from kvproxy.process.launch import find_traefik, traefik_version

from . import recording
from .case import Case, differences, judge
from .cases import CASES
from .contestants import chp, kvproxy
from .expected import of
from .page import page
from .running import Views, run

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "wire.md"


def main(arguments: list[str] | None = None) -> int:
    """Run what the arguments say; the exit status."""
    parser = argparse.ArgumentParser(prog="nox -s wire --", description=__doc__)
    parser.add_argument("--chp", default="", help="path of configurable-http-proxy; without it, its recording is used")
    parser.add_argument("--short", action="store_true", help="leave out the cases that take minutes")
    parser.add_argument(
        "--page", action="store_true", help="run nothing, write the page from recording and expectations"
    )
    parser.add_argument("--verbose", action="store_true", help="print all that was seen")
    parser.add_argument("--cases", nargs="+", metavar="NAME", help="run these only")
    options = parser.parse_args(arguments)
    if options.page:
        return write_page()
    cases = [
        case for case in CASES if not (options.short and case.full) and case.name in (options.cases or [case.name])
    ]
    with tempfile.TemporaryDirectory(prefix="kvproxy-wire-") as directory:
        there, here = asyncio.run(both(options.chp, cases, Path(directory)))
    if options.chp:
        kept = recording.read() if recording.FILE.exists() and (options.short or options.cases) else {}
        recording.write(recording.merge(kept, there), versions(options.chp))
    write_page()
    return report(cases, there, here, verbose=options.verbose)


async def both(program: str, cases: list[Case], directory: Path) -> tuple[Views, Views]:
    """Observations behind configurable-http-proxy, or recorded ones, and behind kvproxy."""
    folders = [directory / "there", directory / "here"]
    for folder in folders:
        folder.mkdir()
    ours = run(kvproxy, cases, folders[1])
    if not program:
        return recording.read(), await ours
    there, here = await asyncio.gather(run(chp(program), cases, folders[0]), ours)
    return there, here


def report(cases: list[Case], there: Views, here: Views, *, verbose: bool) -> int:
    """Print what was seen otherwise than expected; 1 if there is any."""
    failed = 0
    for case in cases:
        for setup in (setup.name for setup in case.setups):
            left, right = there[setup][case.name], here[setup][case.name]
            complaints = judge(of(case.name), left, right)
            failed += bool(complaints)
            if complaints or verbose:
                print(f"{case.name} ({setup}): {'FAILED' if complaints else of(case.name).verdict}")
            if verbose:
                print(f"    there: {left}\n    here but for what is the same: {differences(left, right)}")
            for complaint in complaints:
                print(f"    {complaint}")
    print(f"{len(cases)} cases, {failed} not as expected.")
    return int(bool(failed))


def write_page() -> int:
    """Write the page; 0."""
    PAGE.write_text(page(recording.read(), recording.versions()), encoding="utf-8")
    return 0


def versions(program: str) -> dict[str, str]:
    """Of what the recording is made with."""
    found = {}
    for name, command in {"configurable-http-proxy": [program, "--version"], "node": ["node", "--version"]}.items():
        found[name] = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return {**found, "traefik": ".".join(map(str, traefik_version(find_traefik())))}


if __name__ == "__main__":
    sys.exit(main())

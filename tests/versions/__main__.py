"""Run the conformance kits and lifecycle tests on each version that can be had, and write the table of them.

python -m tests.versions                       everything; more than an hour
python -m tests.versions Redis "Traefik 3.6"   parts, or versions by their beginning
python -m tests.versions --page                the table again, from the results on disk
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from xml.etree import ElementTree

from kvproxy.testing.servers.programs import ServerError
from tests.versions.catalogue import TESTS, VERSIONS, Version
from tests.versions.results import PAGE, Result, load, save, write_page

ROOT = Path(__file__).parents[2]
#: Seconds for one version.
_LIMIT = 1800


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 1 if a test has failed on any version."""
    parser = argparse.ArgumentParser(prog="python -m tests.versions", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("versions", nargs="*", help="parts, or beginnings of versions; default: all")
    parser.add_argument("--page", action="store_true", help="run nothing; write the table from the results on disk")
    options = parser.parse_args(arguments)
    results = load()
    for version in [] if options.page else VERSIONS:
        if options.versions and not version.key.startswith(tuple(options.versions)):
            continue
        print(f"{version.key} …", flush=True)
        try:
            results[version.key] = run(version)
        except ServerError as error:
            print(f"{version.key}: {error}", flush=True)
            continue
        print(f"{version.key}: {results[version.key]}", flush=True)
        save(results)
    write_page(results)
    print(f"The table in {PAGE.relative_to(ROOT)} is made from the results.")
    return int(any(result.failed for result in results.values()))


def run(version: Version) -> Result:
    """Fetch a version and run its tests.

    Raises:
        ServerError: if it cannot be had here, or the tests did not come to an end.
    """
    with tempfile.TemporaryDirectory(prefix="kvproxy-versions-") as name:
        folder, report = Path(name, "program"), Path(name, "report.xml")
        folder.mkdir()
        environment = {**os.environ, **version.obtain(folder)}
        exact = exact_version(version, environment)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
        try:
            subprocess.run(
                [*command, *TESTS[version.part].arguments()], cwd=ROOT, env=environment, timeout=_LIMIT, check=False
            )
        except subprocess.TimeoutExpired:
            raise ServerError(f"The tests did not end within {_LIMIT} seconds.") from None
        if not report.exists():
            raise ServerError("pytest wrote no report.")
        passed, expected, failed = outcomes(report)
    return Result(version.part, exact, version.source, passed, expected, failed, time.strftime("%Y-%m-%d"))


def exact_version(version: Version, environment: dict[str, str]) -> str:
    """The version that the program itself names; the catalogue's if it names none."""
    commands = {
        "Redis": [environment.get("KVPROXY_REDIS_SERVER", ""), "--version"],
        "Valkey": [environment.get("KVPROXY_REDIS_SERVER", ""), "--version"],
        "etcd": [environment.get("KVPROXY_ETCD", ""), "--version"],
        "Consul": [environment.get("KVPROXY_CONSUL", ""), "version"],
        "Traefik": ["traefik", "version"],
        "JupyterHub": [sys.executable, "-m", "jupyterhub", "--version"],
    }
    try:
        command = commands[version.part]
        said = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServerError(f"It cannot be run here: {error}") from None
    found = re.search(r"\d+\.\d+(?:\.\d+)+", said.stdout)
    if said.returncode or found is None:
        raise ServerError(f"It cannot be run here: {(said.stderr.strip().splitlines() or ['no version'])[-1]}")
    return found[0]


def outcomes(report: Path) -> tuple[int, int, list[str]]:
    """Passed tests, expected failures, and the names of those that failed, in a report of pytest's."""
    passed, expected, failed = 0, 0, []
    for case in ElementTree.parse(report).iter("testcase"):
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"}:
            failed.append(str(case.get("name")))
        elif "skipped" in kinds:
            expected += 1
        else:
            passed += 1
    return passed, expected, sorted(set(failed))


if __name__ == "__main__":
    sys.exit(main())

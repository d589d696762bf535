"""The table of versions claims what the build server's jobs run, and nothing more."""

from __future__ import annotations

import re

import yaml

from tests.versions.catalogue import VERSIONS
from tests.versions.results import Result, load, put_into, table

from .blocks import ROOT

PAGE = ROOT / "docs" / "reference" / "versions.md"


def claimed() -> dict[str, list[tuple[str, str]]]:
    """Versions and how each is known, by part."""
    found: dict[str, list[tuple[str, str]]] = {}
    part = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("| ") and line.count(" | ") == 2 and not line.startswith("| part"):
            name, version, known = (cell.strip() for cell in line.strip("|").split(" | "))
            part = name or part
            found.setdefault(part, []).append((version, known))
    return found


def every_change(part: str) -> set[str]:
    """The versions of a part that are tested at every change."""
    versions = [version for version, known in claimed()[part] if known.startswith("every change")]
    return {one for version in versions for one in version.split(", ")}


def test_pythons_and_jupyterhubs_are_those_of_the_build_server() -> None:
    """Of its matrix, which the job for everything completes."""
    jobs = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())["jobs"]
    matrix = jobs["matrix"]["strategy"]["matrix"]
    assert every_change("Python") == set(matrix["python"])
    assert every_change("JupyterHub") == set(matrix["hub"])


def test_etcds_are_those_of_its_tests() -> None:
    """By the parameter of each."""
    tested = set(re.findall(r"\"(\d\.\d)\"", (ROOT / "tests/e2e/test_etcd.py").read_text(encoding="utf-8")))
    assert every_change("etcd") == tested


def test_weekly_sessions_are_those_of_the_build_server() -> None:
    """And each row has an answer."""
    jobs = yaml.safe_load((ROOT / ".github/workflows/weekly.yml").read_text())["jobs"]
    rows = [row for each in claimed().values() for row in each]
    named = {name for _, known in rows if known.startswith("weekly") for name in re.findall(r"`(\w+)`", known)}
    assert named
    assert named <= set(jobs["session"]["strategy"]["matrix"]["session"])
    assert all(known for _, known in rows)


def test_the_table_of_runs_is_that_of_the_results() -> None:
    """Nothing in it is typed, and each version is one of the catalogue's."""
    results, page = load(), PAGE.read_text(encoding="utf-8")
    assert results
    assert put_into(page, table(results.values())) == page
    assert results.keys() <= {version.key for version in VERSIONS}


def test_versions_are_in_order_and_failures_are_named() -> None:
    """As numbers, not as text; each test once."""
    runs = [
        Result("Traefik", "3.10.0", "a", 2),
        Result("Traefik", "3.9.1", "a", 1, failed=["test_x[1]", "test_x[2]"], day="2026-11-29"),
    ]
    assert table(runs).splitlines()[2:] == [
        "| Traefik | 3.9.1 | a | 1 | `test_x` | 2026-11-29 |",
        "| | 3.10.0 | a | 2 | none | |",
    ]

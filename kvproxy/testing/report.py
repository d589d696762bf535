"""The conformance kits' report: what each backend passes, for machines, and as a table for people.

As a pytest plugin it writes the report::

    pytest -p kvproxy.testing.report --conformance-report report.json tests

As a program it puts a table made from one or several reports into a page, between two comments::

    python -m kvproxy.testing.report docs/backends.md report.json …
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest

from kvproxy.testing.conformance.suite import EXTENDED, Kit, kits_of, subject_of

#: subject -> level -> outcome -> names of tests
Report: TypeAlias = dict[str, dict[str, dict[str, list[str]]]]

#: Name of the property that says what a test is about.
_PLACE: Final = "kvproxy-conformance"
_BEGIN, _END = "<!-- conformance -->", "<!-- /conformance -->"
_LEVELS: Final = {
    "StoreConformance": "store",
    "StoreServerConformance": "store",
    "StoreCredentialsConformance": "store",
    "TraefikConformance": "routes through Traefik",
    "TraefikServerConformance": "routes through Traefik",
    "BackendConformance": "plugin and settings",
}
COLUMNS: Final = ("store", "store, extended", "routes through Traefik", "plugin and settings")


def level_of(kit: str, test: str) -> str:
    """The column in which a test of a kit is counted."""
    level = _LEVELS.get(kit, kit)
    return f"{level}, extended" if level == "store" and any(name in test for name in EXTENDED) else level


class Reporter:
    """Collects outcomes of the kits' tests and writes them as JSON at the end of the session.

    Args:
        path: where to write.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._report: Report = {}

    def pytest_collection_modifyitems(self, items: Iterable[pytest.Item]) -> None:
        """Note on the kits' tests what they are about; pytest-xdist brings it from its workers, as part of reports."""
        for item in items:
            cls = getattr(item, "cls", None)
            if cls is not None and issubclass(cls, Kit) and (kits := kits_of(cls)):
                item.user_properties.append((_PLACE, (subject_of(cls), level_of(kits[0], item.name), item.name)))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note an outcome: of the call, or of what came before it if that failed."""
        place: Any = dict(report.user_properties).get(_PLACE)
        if place is None or (report.when != "call" and report.passed):
            return
        subject, level, name = place
        outcome = "expected failure" if hasattr(report, "wasxfail") and not report.passed else report.outcome
        outcomes = self._report.setdefault(subject, {}).setdefault(level, {})
        outcomes.setdefault(outcome, []).append(name)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the report, of all workers if there are any; the names in order."""
        if hasattr(session.config, "workerinput"):
            return
        for levels in self._report.values():
            for outcomes in levels.values():
                for names in outcomes.values():
                    names.sort()
        self._path.write_text(json.dumps(self._report, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--conformance-report", metavar="FILE", default=None, help="write what the kits found as JSON")


def pytest_configure(config: pytest.Config) -> None:
    if path := config.getoption("--conformance-report"):
        config.pluginmanager.register(Reporter(Path(path).absolute()), "kvproxy-conformance-report")


def merge(reports: Iterable[Mapping[str, Any]]) -> Report:
    """Several reports as one; a subject that stands in several has its levels side by side."""
    merged: Report = {}
    for report in reports:
        for subject, levels in report.items():
            merged.setdefault(subject, {}).update(levels)
    return merged


def table(report: Report) -> str:
    """A report as a Markdown table: passed tests of all, and the names of those that are known to fail."""
    lines = ["| backend | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for subject in sorted(report, key=str.lower):
        lines.append(f"| {subject} | " + " | ".join(_cell(report[subject].get(c, {})) for c in COLUMNS) + " |")
    return "\n".join(lines)


def _cell(outcomes: Mapping[str, list[str]]) -> str:
    if not outcomes:
        return "–"
    passed = len(outcomes.get("passed", []))
    known = outcomes.get("expected failure", [])
    count = f"{passed} of {sum(map(len, outcomes.values()))}"
    return count + (f" (known: {', '.join(f'`{name}`' for name in known)})" if known else "")


def put_into(page: str, text: str) -> str:
    """A page with the table between its two comments.

    Raises:
        ValueError: if the page has not got them.
    """
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"the page has no {_BEGIN} … {_END}")
    return f"{before}{_BEGIN}\n{text}\n{_END}{after}"


def main(page: str, *reports: str) -> None:
    """Put the table of these reports into a page."""
    made = table(merge(json.loads(Path(report).read_text()) for report in reports))
    Path(page).write_text(put_into(Path(page).read_text(), made))


if __name__ == "__main__":
    main(*sys.argv[1:])

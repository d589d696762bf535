"""Fixtures for all tests, and the rule that on the build server a skipped test is a failure."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from kvproxy.testing.servers.programs import heed_interrupts, slowness

# How long an example takes depends on what else the machine does, and says nothing about the law.
settings.register_profile("kvproxy", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=30)
# nox -s endurance tries far more.
settings.register_profile("endurance", settings.get_profile("kvproxy"), max_examples=1000)
settings.load_profile("kvproxy")

#: Folders of modules that take longest or least; all others are in between.
_TURNS = {"faults": 0, "hubsuite": 0, "integration": 2, "unit": 2}

pytest_plugins = ["pytester", "kvproxy.testing.fixtures", "kvproxy.testing.kv_fixtures"]


@pytest.fixture
def artefacts(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder for what people may want to look at after the run.

    It is one of the test's name below the folder that KVPROXY_ARTEFACTS names, else the test's own temporary one.
    """
    kept = os.environ.get("KVPROXY_ARTEFACTS")
    folder = Path(kept).absolute() / re.sub(r"\W+", "-", request.node.name) if kept else tmp_path / "artefacts"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    return folder


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Give a test the longer to end by itself, the busier the machine is; pytest-timeout ends those that hang."""
    given = item.get_closest_marker("timeout")
    seconds = float(given.args[0] if given else item.config.getini("timeout") or 0)
    item.add_marker(pytest.mark.timeout(seconds * slowness()), append=False)
    yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the folders whose modules take longest, so that at the end no process waits for the last of them."""
    turns = {Path(__file__).with_name(folder): turn for folder, turn in _TURNS.items()}
    items.sort(key=lambda item: next((turn for folder, turn in turns.items() if folder in item.path.parents), 1))


def _skips_fail() -> bool:
    return bool(os.environ.get("KVPROXY_CI")) or os.environ.get("CI", "").lower() in {"1", "true"}


class SkipsAreFailures:
    """Collects what was skipped and why, and fails the session for it."""

    def __init__(self) -> None:
        self.skipped: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # An expected failure is reported as "skipped" too; it did run.
        if report.skipped and not hasattr(report, "wasxfail"):
            self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._note(report)

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        self.skipped.append(f"{report.nodeid}: {reason.removeprefix('Skipped: ')}")

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.skipped and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.skipped:
            terminalreporter.section("skipped, which counts as failed here (KVPROXY_CI or CI is set)", red=True)
            for line in self.skipped:
                terminalreporter.line(line)


class NamesFailures:
    """Names a test as soon as it has failed: a whole run takes long."""

    def __init__(self, config: pytest.Config) -> None:
        self._plugins = config.pluginmanager

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        terminal = self._plugins.get_plugin("terminalreporter")
        if report.failed and terminal is not None:
            terminal.write_line(f"\nFAILED {report.nodeid} ({report.when})", red=True)


def pytest_configure(config: pytest.Config) -> None:
    heed_interrupts()
    # pytest-xdist's own processes have no terminal.
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(NamesFailures(config), "kvproxy-names-failures")
    if _skips_fail():
        config.pluginmanager.register(SkipsAreFailures(), "kvproxy-skips-are-failures")

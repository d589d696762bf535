"""The kits' report, and that no test of a kit is overridden away."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kvproxy.testing.conformance import StoreConformance, StoreServerConformance
from kvproxy.testing.conformance.suite import kits_of, subject_of
from kvproxy.testing.report import level_of, merge, put_into, table

DOCS = Path(__file__).parents[3] / "docs"


def test_a_test_of_the_kit_cannot_be_overridden_away() -> None:
    """Only marked as known to fail, strictly and with the reason."""
    with pytest.raises(TypeError, match=r"TestIt.test_deleted_is_gone overrides.*xfail"):

        class TestIt(StoreConformance):
            async def test_deleted_is_gone(self) -> None:  # type: ignore[override]
                """Nothing to see here."""

    with pytest.raises(TypeError, match="overrides"):

        class TestLax(StoreConformance):
            @pytest.mark.xfail(reason="sometimes")
            async def test_deleted_is_gone(self) -> None:  # type: ignore[override]
                """Neither."""

    class TestHonest(StoreConformance):
        @pytest.mark.xfail(strict=True, reason="it never forgets")
        async def test_deleted_is_gone(self) -> None:  # type: ignore[override]
            """This is the way."""

        async def test_something_of_its_own(self) -> None:
            """Of no concern to the kit."""

    assert subject_of(TestHonest) == "Honest"


def test_results_are_counted_by_kit_and_backend() -> None:
    """By the kit, and by whether the store has to claim it."""

    class TestIt(StoreServerConformance):
        subject = "it"

    assert subject_of(TestIt) == "it"
    assert kits_of(TestIt) == ["StoreServerConformance", "StoreConformance"]
    assert level_of("StoreConformance", "test_deleted_is_gone") == "store"
    assert level_of("StoreConformance", "test_a_transaction_of_the_most_bytes_is_applied") == "store, extended"
    assert level_of("TraefikServerConformance", "test_hosts") == "routes through Traefik"


KIT = """
import pytest
from kvproxy.testing.conformance import StoreConformance, StoreServer
from kvproxy.testing.memory import MemoryServer

class TestIt(StoreConformance):
    subject = "it"

    @pytest.fixture
    def server(self):
        return StoreServer(open=MemoryServer().open)

    @pytest.mark.xfail(strict=True, reason="to be seen in the report")
    async def test_deleted_is_gone(self, store):
        await super().test_deleted_is_gone(store)
        raise AssertionError
"""


@pytest.mark.parametrize("how", [[], ["--numprocesses", "2"]])
def test_the_report_is_the_same_whoever_runs_the_tests(pytester: pytest.Pytester, how: list[str]) -> None:
    """One process, or several whose outcomes come in any order."""
    pytester.makepyfile(KIT)
    pytester.makeini("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function")
    options = ["-p", "kvproxy.testing.report", "--conformance-report", "it.json", "-k"]
    pytester.runpytest_inprocess(*options, "deleted_is_gone or empty_store or values_change", *how)
    names = ["test_an_empty_store_is_empty", "test_values_change"]
    outcomes = {"passed": names, "expected failure": ["test_deleted_is_gone"]}
    assert json.loads((pytester.path / "it.json").read_text()) == {"it": {"store": outcomes}}


def test_the_table() -> None:
    """One row a subject, whatever reports it stands in."""
    one = {"b": {"store": {"passed": ["x", "y"], "expected failure": ["test_z"]}}}
    two = {"b": {"routes through Traefik": {"passed": ["x"]}}, "A": {"store": {"failed": ["x"]}}}
    lines = table(merge([one, two])).splitlines()
    assert lines[2:] == ["| A | 0 of 1 | – | – | – |", "| b | 2 of 3 (known: `test_z`) | – | 1 of 1 | – |"]
    page = put_into("a <!-- conformance -->old<!-- /conformance --> z", "new")
    assert page == "a <!-- conformance -->\nnew\n<!-- /conformance --> z"
    with pytest.raises(ValueError, match="has no"):
        put_into("nothing", "new")


def test_the_page_is_made_from_the_reports() -> None:
    """No number in it is typed by hand, and nothing failed."""
    page = (DOCS / "backends.md").read_text()
    report = merge(json.loads(file.read_text()) for file in sorted(DOCS.glob("conformance*.json")))
    assert put_into(page, table(report)) == page
    assert "failed" not in {outcome for levels in report.values() for made in levels.values() for outcome in made}
    assert {"Redis, Valkey", "etcd", "Consul", "local file", "ZooKeeper (example)"} <= report.keys()

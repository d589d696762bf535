"""The short form: kvproxy alone, beside what was recorded behind configurable-http-proxy."""

from __future__ import annotations

import asyncio

import pytest

from . import recording
from .__main__ import PAGE
from .case import SETUPS, Case, Expected, Facts, judge
from .cases import CASES
from .contestants import kvproxy, two_tiers
from .expected import EXPECTED, of
from .page import page
from .running import Views, run

SHORT = [case for case in CASES if not case.full]
RUNS = [(setup.name, case) for case in SHORT for setup in case.setups]
THERE = recording.read()
#: The known differences that have a number.
ROWS = {f"W{number}" for number in range(1, 13)}


@pytest.fixture(scope="module", params=[kvproxy, two_tiers], ids=["one tier", "two tiers"])
def here(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Views:
    """Observations behind kvproxy, in all cases; with two tiers, all routes are new ones."""
    return asyncio.run(run(request.param, SHORT, tmp_path_factory.mktemp("wire")))


@pytest.mark.parametrize(("setup", "case"), RUNS, ids=[f"{case.name}-{setup}" for setup, case in RUNS])
def test_requests_arrive_as_behind_configurable_http_proxy_but_for_declared_differences(
    setup: str, case: Case, here: Views
) -> None:
    """The differences are exactly the expected ones."""
    assert judge(of(case.name), THERE[setup][case.name], here[setup][case.name]) == []


def test_every_case_has_a_recording_and_every_expectation_a_case() -> None:
    """Names are unique; what was renamed or removed leaves nothing behind."""
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert set(EXPECTED) <= set(names)
    wanted = {(setup.name, case.name) for case in CASES for setup in case.setups}
    assert {(setup, case) for setup, views in THERE.items() for case in views} == wanted
    assert set(THERE) <= set(SETUPS)


def test_no_recording_is_of_a_case_that_went_wrong() -> None:
    """A timeout behind configurable-http-proxy would be "the same" as one behind kvproxy."""
    assert not [case for views in THERE.values() for case, facts in views.items() if "failed" in facts or not facts]


def test_every_known_difference_has_a_case() -> None:
    """Also those that have been mended."""
    assert {expected.row for expected in EXPECTED.values()} >= ROWS


def test_verdicts_come_with_their_differences_and_reasons() -> None:
    """Nothing is called the same that differs, or better or worse without a reason."""
    for name, expected in EXPECTED.items():
        assert (expected.verdict == "same") == (not expected.here), name
        assert expected.verdict == "same" or expected.why, name


def test_the_page_is_what_recording_and_expectations_say() -> None:
    """``nox -s wire -- --page`` writes it without running anything."""
    assert PAGE.read_text(encoding="utf-8") == page(THERE, recording.versions())


THERE_FACTS: Facts = {"arrives": "GET /a//b", "status": "200"}


@pytest.mark.parametrize(
    ("expected", "here_facts", "count"),
    [
        (Expected("same"), {"arrives": "GET /a//b", "status": "200"}, 0),
        (Expected("same"), {"arrives": "GET /a/b", "status": "200"}, 1),
        (Expected("same"), {"arrives": "GET /a//b"}, 1),
        (Expected("same"), {"arrives": "GET /a//b", "status": "200", "header via": "x"}, 1),
        (Expected("worse", {"arrives": "GET /a/b"}), {"arrives": "GET /a/b", "status": "200"}, 0),
        (Expected("worse", {"arrives": "GET /a/b"}), {"arrives": "GET /a", "status": "200"}, 1),
        (Expected("worse", {"arrives": "GET /a/b"}), {"arrives": "GET /a/b", "status": "404"}, 1),
        (Expected("worse", {"arrives": "GET /a/b"}), THERE_FACTS, 1),
        (Expected("worse", {"status": None}), {"arrives": "GET /a//b"}, 0),
        (Expected("worse", {"status": None}), THERE_FACTS, 1),
    ],
)
def test_a_difference_that_is_not_declared_and_one_that_is_gone_are_complaints(
    expected: Expected, here_facts: Facts, count: int
) -> None:
    """Each fact by itself."""
    assert len(judge(expected, THERE_FACTS, here_facts)) == count

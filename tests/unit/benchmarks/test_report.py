"""The benchmark's verdicts and tables, made from results that stand here; nothing is measured."""

from __future__ import annotations

import contextlib
import math
import re
import statistics
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import driver
from benchmarks.driver import Driver, Seat
from benchmarks.plan import QUICK, Plan
from benchmarks.plots import PLOTS, lines
from benchmarks.programs import Tool
from benchmarks.report import DOCUMENT, sections, write_document
from benchmarks.requirements import Check, checks
from benchmarks.results import Results, Row
from benchmarks.stores import NoStore
from benchmarks.tables import TABLES
from benchmarks.tools import Tools

LATE = "not finished in 90 s"


def row(contestant, routes, operation, metric, value, note="", sample=0):
    return Row(contestant, routes, operation, 0, sample, metric, value, note)


def results(*rows):
    return Results(rows)


def verdict(found, text):
    [check] = [check for check in checks(found) if check.text == text]
    return check.verdict


@pytest.mark.parametrize(
    ("text", "above", "below", "operation", "metric", "size", "limit"),
    [
        ("add_route at 100 routes, times faster than the peer", "peer", "", "add", "returned_s", 100, 30),
        ("50 at once at 100 routes, times faster than the peer", "peer", "", "storm-50", "returned_s", 100, 40),
        (
            "add_route at 1,000 routes, times faster than the peer",
            "peer", "", "add", "returned_s", 1000, 8,
        ),
        (
            "add_route at 5,000 routes, times faster than the peer",
            "peer", "", "add", "returned_s", 5000, 3,
        ),
        (
            "Traefik's CPU an added route at 5,000 routes, the peer's in times ours",
            "peer", "", "add", "proxy_cpu_s", 5000, 12,
        ),
        (
            "requests a second at 5,000 routes, times the peer, without last_activity as it",
            "kvproxy-uncounted", "peer", "small-16", "rate", 5000, 3,
        ),
        ("requests a second at 5,000 routes, times configurable-http-proxy", "", "chp", "small-16", "rate", 5000, 2.5),
    ],
)  # fmt: skip
def test_requirements_that_are_at_least(text, above, below, operation, metric, size, limit):
    ours = "kvproxy-quiet"
    text = f"kvproxy, quiet Redis: {text}"
    for factor, wanted in ((1.01, "PASS"), (0.99, "FAIL")):
        more = row(above or ours, size, operation, metric, 2 * limit * factor)
        less = row(below or ours, size, operation, metric, 2)
        assert verdict(results(more, less), text) == wanted


@pytest.mark.parametrize(
    ("text", "above", "below", "limit"),
    [
        *(
            (
                f"added route served at {size:,} routes, times the floor",
                ("kvproxy-quiet", size, "add_polled", "served_s"),
                ("floor-quiet", size, "add_polled", "served_s"),
                1.3,
            )
            for size in (100, 1000, 5000)
        ),
        (
            "200 at once at 1,000 routes, times one added route",
            ("kvproxy-quiet", 1000, "storm-200", "returned_s"),
            ("kvproxy-quiet", 1000, "add", "returned_s"),
            4,
        ),
        *(
            (
                f"CPU a request at {size:,} routes, times that at 10",
                ("kvproxy-quiet", size, "growth", "cpu_s"),
                ("kvproxy-quiet", 10, "growth", "cpu_s"),
                limit,
            )
            for size, limit in ((5000, 1.3), (10000, 1.5))
        ),
    ],
)
def test_requirements_that_are_at_most(text, above, below, limit):
    for factor, wanted in ((0.99, "PASS"), (1.01, "FAIL")):
        found = results(row(*above, 2 * limit * factor), row(*below, 2))
        assert verdict(found, f"kvproxy, quiet Redis: {text}") == wanted


@pytest.mark.parametrize("operation", ["get", "delete"])
def test_reading_is_at_most_five_milliseconds(operation):
    text = f"kvproxy, quiet Redis: {operation}_route at 5,000 routes, median"
    assert verdict(results(row("kvproxy-quiet", 5000, operation, "returned_s", 0.0049)), text) == "PASS"
    assert verdict(results(row("kvproxy-quiet", 5000, operation, "returned_s", 0.0051)), text) == "FAIL"


def test_the_noisy_way_is_information():
    found = results(row("peer", 100, "add", "returned_s", 1), row("kvproxy", 100, "add", "returned_s", 1))
    text = "add_route at 100 routes, times faster than the peer"
    assert verdict(found, f"kvproxy, noisy Redis: {text}") == "INFO"
    assert verdict(found, f"kvproxy, quiet Redis: {text}") == "NOT MEASURED"


def test_medians_and_means_of_what_they_are_about():
    found = results(
        *(row("peer", 5000, "add", "proxy_cpu_s", value, sample=value) for value in (10, 10, 40)),
        row("kvproxy-quiet", 5000, "add", "proxy_cpu_s", 1),
        *(row("peer", 5000, "add", "returned_s", value, sample=value) for value in (10, 10, 40)),
        row("kvproxy-quiet", 5000, "add", "returned_s", 1),
    )
    values = {check.text: check.value for check in checks(found)}
    who = "kvproxy, quiet Redis: "
    assert values[f"{who}Traefik's CPU an added route at 5,000 routes, the peer's in times ours"] == 20
    assert values[f"{who}add_route at 5,000 routes, times faster than the peer"] == 10


def test_gaps_of_other_ways_to_run_it_are_left_out():
    """By TCP only edits are measured, and there is no floor for it; what is, is told without a verdict."""
    found = results(row("peer", 1000, "add", "returned_s", 1.5), row("kvproxy-tcp", 1000, "add", "returned_s", 0.25))
    told = {check.text: check for check in checks(found) if check.text.startswith("kvproxy, quiet Redis by TCP: ")}
    assert not [text for text in told if "floor" in text or "request" in text]
    faster = told["kvproxy, quiet Redis by TCP: add_route at 1,000 routes, times faster than the peer"]
    assert (faster.verdict, faster.value) == ("INFO", 6)


def test_nothing_of_a_requirement_is_taken_for_kept():
    assert {check.verdict for check in checks(results())} == {"NOT MEASURED"}
    assert Check("x", None, "ms", 5, at_least=False).verdict == "NOT MEASURED"


def test_unfinished_operations_are_reported():
    found = results(
        row("peer", 1000, "storm-200", "error", 0, LATE),
        row("peer", 5000, "add", "error", 0, LATE),
        row("kvproxy-quiet", 5000, "add", "returned_s", 0.4),
        row("kvproxy-quiet", 5000, "add", "proxy_cpu_s", 0.4),
        row("peer", 5000, "small-16", "error", 0, LATE),
    )
    made = sections(found)
    rows = {name: re.findall(rf"^.*jupyterhub-traefik-proxy.*{LATE}.*$", made[name], re.MULTILINE) for name in made}
    for name in ("many", "adding", "small", "requirements"):
        assert rows[name], name
    assert f"(peer: {LATE})" in made["ratios"]


class Late:
    """A worker that never comes to the end of what it is asked."""

    name = "peer"

    def __init__(self):
        self.failed = {}

    def ask(self, label, request, limit):
        samples = [] if label in self.failed else [{"returned_s": 0.5}]
        self.failed[label] = f"not finished in {limit:g} s"
        return samples, self.failed[label]


def test_the_driver_notes_unfinished_operations_once(tmp_path):
    late = Driver(Plan(), ["peer"], Tools(Tool("wrk"), Tool("nginx")), tmp_path, keep=lambda _: None)
    seat = Seat(Late(), NoStore())
    for number in range(2):
        late.do(seat, 5000, number, ("storm-200", {"op": "storm", "count": 200}))
    assert [(r.operation, r.metric, r.value, r.note) for r in late.results.rows] == [
        ("storm-200", "returned_s", 0.5, ""),
        ("storm-200", "error", 0, LATE),
    ]
    assert f"500 (then {LATE})" in TABLES["many"].text(late.results)


class Prompt:
    """A worker that does all that it is asked in no time."""

    def __init__(self, name, place, python):
        self.name, self.place, self.failed = name, place, {}

    def ask(self, label, request, limit):
        return [{"returned_s": 0.0}], ""

    def close(self):
        pass


def test_a_whole_run_measures_everything_that_its_plan_names(tmp_path, monkeypatch):
    places = []

    def worker(name, place, python):
        places.append(place)
        return Prompt(name, place, python)

    monkeypatch.setattr(driver, "Worker", worker)
    monkeypatch.setattr(driver, "running", lambda *_, **__: contextlib.nullcontext(NoStore()))
    monkeypatch.setattr(driver, "Backend", lambda _: contextlib.nullcontext(SimpleNamespace(hub_url="", user_url="")))
    plan = replace(QUICK, growth_turns=3)
    names = ["kvproxy-quiet", "kvproxy-uncounted", "chp"]
    found = Driver(plan, names, Tools(Tool("wrk"), Tool("nginx")), tmp_path, keep=lambda _: None).run()
    assert len({place.directory for place in places}) == len(places)
    done = {(row.contestant, row.routes, row.operation) for row in found.rows}
    assert {("chp", 100, "add"), ("chp", 10, "restart"), ("kvproxy-uncounted", 10, "small-16")} <= done
    assert ("kvproxy-uncounted", 100, "add") not in done
    assert {row.round for row in found.rows if row.operation == "growth"} == {0, 1, 2}


def test_results_before_the_limit_are_kept():
    found = results(
        row("kvproxy", 5000, "storm-200", "returned_s", 0.5), row("kvproxy", 5000, "storm-200", "error", 0, LATE)
    )
    assert f"500 (then {LATE})" in TABLES["many"].text(found)


def test_failed_requests_are_reported():
    found = results(
        row("chp", 10, "small-16", "rate", 5000),
        row("chp", 10, "small-16", "requests", 20000),
        row("chp", 10, "small-16", "failed", 12),
    )
    assert "12 of 20,000" in TABLES["small"].text(found)


def test_the_document_has_a_place_for_everything(tmp_path):
    copy = tmp_path / "benchmarks.md"
    copy.write_text(DOCUMENT.read_text(encoding="utf-8"), encoding="utf-8")
    found = results(row("peer", 10, "add", "returned_s", 0.123))
    write_document(found, copy)
    text = copy.read_text(encoding="utf-8")
    assert "| 123 / 123" in text
    write_document(found, copy)
    assert copy.read_text(encoding="utf-8") == text
    for plot in PLOTS:
        assert f"(benchmarks/{plot.file}.svg)" in text


def test_every_contestant_is_a_line():
    rows = [
        row(name, size, "add_polled", "served_s", size / 1000) for name in ("kvproxy", "peer") for size in (10, 100)
    ]
    plot = next(plot for plot in PLOTS if plot.operation == "add_polled")
    assert list(lines(plot, results(*rows))) == [
        ("kvproxy, noisy Redis", [10, 100], [10, 100]),
        ("jupyterhub-traefik-proxy", [10, 100], [10, 100]),
    ]


def test_results_are_saved_and_read_again(tmp_path):
    found = results(row("peer", 5000, "add", "error", 0, LATE), row("chp", 10, "small-16", "rate", 5000.5))
    found.machine = {"cores": 2}
    found.save(tmp_path)
    again = Results.load(tmp_path)
    assert (again.summary(), again.machine) == (found.summary(), found.machine)


@given(st.lists(st.integers(0, 999_999), min_size=1, max_size=12))
def test_a_summary_answers_as_the_values_would(tmp_path_factory, values):
    """Without the values, which are not kept."""
    folder = tmp_path_factory.mktemp("results")
    found = results(*(row("chp", 10, "add", "returned_s", value) for value in values))
    found.save(folder)
    again, wanted = Results.load(folder), ("chp", 10, "add", "returned_s")
    assert again.rows == []
    assert again.median(*wanted) == pytest.approx(statistics.median(values), rel=1e-5)
    assert again.mean(*wanted) == pytest.approx(statistics.fmean(values), rel=1e-5)
    assert again.p90(*wanted) == sorted(values)[math.ceil(0.9 * len(values)) - 1]
    series = again.series(*wanted)
    assert (series.first, series.last, series.least, series.most, series.count) == (
        values[0], values[-1], min(values), max(values), len(values),
    )  # fmt: skip


def test_a_new_run_takes_the_place_of_an_earlier_one_where_both_measured(tmp_path):
    results(row("chp", 10, "add", "returned_s", 1), row("chp", 100, "add", "returned_s", 2)).save(tmp_path)
    again = Results.load(tmp_path)
    again.rows.append(row("chp", 10, "add", "returned_s", 3))
    again.save(tmp_path)
    both = Results.load(tmp_path)
    assert [both.median("chp", size, "add", "returned_s") for size in (10, 100)] == [3, 2]


def test_the_plan_measures_what_is_required():
    plan = Plan()
    steps = {size: [*plan.round(size), *plan.closing(size), *plan.load(size)] for size in plan.sizes}
    labels = {size: {label for label, _ in steps[size]} for size in plan.sizes}
    assert {size for size in labels if "small-16" in labels[size]} == {10, 100, 1000, 5000, 10000}
    assert {size for size in labels if "storm-200" in labels[size]} == {100, 1000, 5000}
    assert "storm-50" in labels[100]
    assert all({"add", "add_polled", "get", "delete", "restart"} <= found for found in labels.values())

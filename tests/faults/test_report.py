"""The tables of docs/faults.md, made from results that stand here or on disk; nothing is measured."""

from __future__ import annotations

from pathlib import Path

from benchmarks.results import Results, Row
from tests.faults import crashes, report, soak_report
from tests.faults.cell import Outcome

ROUTES = 50


def soaked(keys: int = 400, memory: float = 100.0, wrong: int = 0) -> Results:
    """A soak that ends with the given keys, MiB of the hub, and wrong routes."""
    begin = {("hub", "rss_b"): 100 * 2**20, ("store", "keys"): 400}
    end = {("hub", "rss_b"): memory * 2**20, ("store", "keys"): keys}
    rows = [
        Row(part, 100, "soak", number, 0, metric, float(values.get((part, metric), 20)))
        for number, values in enumerate((begin, end))
        for part, metric in soak_report.COUNTED
    ]
    return Results([*rows, Row("all", 100, "soak", 0, 0, "wrong", wrong), Row("all", 100, "soak", 0, 0, "minutes", 3)])


def cells(table: str, first: str) -> list[str]:
    (row,) = [line for line in table.splitlines() if line.startswith(f"| {first} ")]
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_the_pages_numbers_are_made_from_the_raw_results(tmp_path: Path) -> None:
    """No number on the page is typed by hand."""
    again = tmp_path / "faults.md"
    again.write_text(report.DOCUMENT.read_text(encoding="utf-8"), encoding="utf-8")
    report.write_document(Results.load(report.RESULTS), again)
    soak_report.write_document(Results.load(soak_report.RESULTS), again)
    crashes.write_document(Results.load(crashes.RESULTS), again)
    assert again.read_text(encoding="utf-8") == report.DOCUMENT.read_text(encoding="utf-8")


def test_a_cell_shows_what_failed_and_is_bold_if_it_is_not_as_it_should_be() -> None:
    good = Outcome(before=50, after=50, sent=1234, add=1.23, healed=2.0)
    bad = Outcome(before=50, after=49, sent=1000, failed=7, noticed=1.0, hit=5, problem="7 requests failed.")
    rows = [*good.rows("redis", "store-killed", ROUTES), *bad.rows("file", "keys-changed", ROUTES)]
    made = report.sections(Results(rows, {"versions": {}, "cores": 2, "cpu": "x", "started": "now"}))
    assert cells(made["matrix"], "store killed, started again")[1:] == ["50 → 50; 0 / 1,234; 1.2 s", "-"]
    assert cells(made["matrix"], "keys changed by hand")[2] == "**50 → 49; 7 / 1,000; never**"
    assert cells(made["hit"], "keys changed by hand")[2] == "1.0 s; never"
    assert made["problems"] == "- file, keys changed by hand: 7 requests failed."


def test_a_request_that_failed_is_a_problem_unless_traefik_was_being_restarted() -> None:
    lossy = soaked()
    lossy.rows.append(Row("all", 100, "soak", 0, 0, "excused", 12))
    assert "0 failed, and 12 more while Traefik was being restarted" in soak_report.story(lossy)
    assert soak_report.problems(lossy) == []
    lossy.rows.append(Row("all", 100, "soak", 0, 0, "failed", 1))
    assert soak_report.problems(lossy) == [
        "1 requests on routes of users who were there all the time failed while Traefik and store were there."
    ]


def test_growth_and_wrong_routes_are_reported() -> None:
    assert soak_report.problems(soaked()) == []
    assert soak_report.problems(soaked(memory=120)) == []
    assert soak_report.problems(soaked(keys=401, memory=123, wrong=2)) == [
        "hub: memory, MiB: 123 at the end, 100 after the warm-up.",
        "store: keys: 401 at the end, 400 after the warm-up.",
        "2 routes do not lead where they should at the end.",
    ]

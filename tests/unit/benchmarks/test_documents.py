"""What the documentation says was measured is what is in the raw results."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import burden, layout, layout_report, notifications, pprof, profile, throttle
from benchmarks.bare import looks
from benchmarks.contestants import laid_out
from benchmarks.document import write_places
from benchmarks.layout import collectors, layouts
from benchmarks.results import Results, Row
from benchmarks.workload import Place
from kvproxy.process.launch import DEFAULT_ENVIRONMENT
from kvproxy.routing.entry import Layout
from kvproxy.routing.group import Limits


@pytest.mark.parametrize(
    "page",
    [throttle, layout_report, profile, burden, notifications],
    ids=["throttle", "layouts", "profile", "burden", "notifications"],
)
def test_the_pages_numbers_are_made_from_the_raw_results(page, tmp_path: Path) -> None:
    """No number on these pages is typed by hand."""
    again = tmp_path / "page.md"
    again.write_text(page.DOCUMENT.read_text(encoding="utf-8"), encoding="utf-8")
    page.write_document(Results.load(page.RESULTS), again)
    assert again.read_text(encoding="utf-8") == page.DOCUMENT.read_text(encoding="utf-8")
    assert "<!-- machine -->\n\n" in again.read_text(encoding="utf-8")


def test_a_page_without_a_place_is_told(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- one -->\nold\n<!-- /one -->\n")
    write_places(page, {"one": "new"})
    assert page.read_text() == "<!-- one -->\n\nnew\n\n<!-- /one -->\n"
    with pytest.raises(LookupError, match=r"page\.md has no place for 'two'"):
        write_places(page, {"two": "new"})


def rows(name: str, routes: int, operation: str, metric: str, *values: float) -> list[Row]:
    return [Row(name, routes, operation, number, 0, metric, value) for number, value in enumerate(values)]


def some_layouts() -> Results:
    """At 64 routes there is no tree of kvproxy's; at 128 it is dearer in two rounds; from 256 on it is cheaper."""
    most = str(Limits().most)
    return Results(
        [
            *rows("flat", 64, "requests", "cpu_s", 50e-6, 51e-6, 52e-6),
            *rows("16", 64, "requests", "cpu_s", 102e-6, 102e-6, 102e-6),
            *rows("flat", 128, "requests", "cpu_s", 60e-6, 60e-6, 60e-6),
            *rows(most, 128, "requests", "cpu_s", 61e-6, 66e-6, 54e-6),
            *rows("flat", 256, "requests", "cpu_s", 70e-6, 70e-6, 70e-6),
            *rows(most, 256, "requests", "cpu_s", 56e-6, 35e-6, 69e-6),
            *rows("flat", 256, "reload", "proxy_cpu_s", 0.010, 0.010, 0.010),
            *rows(most, 256, "reload", "proxy_cpu_s", 0.011, 0.012, 0.013),
            *rows("flat", 5000, "requests", "cpu_s", 400e-6, 400e-6, 400e-6),
            *rows(most, 5000, "requests", "cpu_s", 80e-6, 80e-6, 80e-6),
            *rows("flat", 5000, "requests", "failed", 0, 2),
            *rows("flat", 5000, "requests", "requests", 5000, 6000),
            *rows("gogc-100", 5000, "requests", "cpu_s", 88e-6),
            *rows(f"gogc-{DEFAULT_ENVIRONMENT['GOGC']}", 5000, "requests", "cpu_s", 80e-6),
            *rows("gogc-100", 5000, "memory", "proxy_rss_b", 100 * 2**20),
            *rows(f"gogc-{DEFAULT_ENVIRONMENT['GOGC']}", 5000, "memory", "proxy_rss_b", 200 * 2**20),
        ],
        {"versions": {"traefik": "3.7.15"}, "cores": 2, "cpu": "a processor", "started": "today"},
    )


def cells(table: str, first: str) -> list[str]:
    """The cells of the row that begins so."""
    (row,) = [line for line in table.splitlines() if line.startswith(f"| {first} ")]
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_layouts_stand_beside_the_best_of_their_row() -> None:
    table = layout_report.sections(some_layouts())["requests"]
    assert cells(table, "64") == ["64", "1 x (51 µs)", "2 x (102 µs)", ""]
    assert cells(table, "5,000") == ["5,000", "5 x (400 µs)", "", "1 x (80 µs)"]


def test_routers_are_looked_at_in_the_order_of_their_priorities() -> None:
    """Of a hundred users and the hub, the hub is looked at last; in groups, a few routers on each level."""
    place = Place("", "", "", 0, "", "", "", "", "http://127.0.0.1:1", "http://127.0.0.1:2")
    flat, tree = (laid_out(place.residents(100), layout) for layout in (Layout(kind="flat"), Layout(kind="tree")))
    assert looks(flat.entries.values()) == pytest.approx((100 * 50.5 + 101) / 101)
    assert 10 < looks(tree.entries.values()) < 40


def test_the_threshold_is_where_the_tree_was_cheaper_in_most_rounds() -> None:
    found = some_layouts()
    table = layout_report.threshold(found)
    assert cells(table, "128")[1:3] == ["1.02 x", "1 of 3"]
    assert cells(table, "256") == ["256", "0.8 x", "3 of 3", "1.2 x"]
    assert not any(line.startswith("| 64 ") for line in table.splitlines())
    assert layout_report.begins(found) == 256
    assert layout_report.verdict(found).startswith("From 256 routes on a request was cheaper")
    dearer = Results(
        [
            *found.rows,
            *rows("flat", 9000, "requests", "cpu_s", 1e-6),
            *rows(str(Limits().most), 9000, "requests", "cpu_s", 2e-6),
        ]
    )
    assert layout_report.verdict(dearer).startswith("At none of these numbers")


def test_the_collectors_table_says_what_kvproxy_sets() -> None:
    made = layout_report.sections(some_layouts())
    assert cells(made["collector"], "`100`") == ["`100`", "1.1 x (88 µs)", "", "1 x (100 MiB)"]
    assert cells(made["collector"], f"`{DEFAULT_ENVIRONMENT['GOGC']}` (kvproxy)")[3] == "2 x (200 MiB)"
    assert made["answers"] == "2 of 11,000 requests failed."


def test_what_kvproxy_does_is_among_what_is_measured() -> None:
    """And at the threshold of its automatic layout."""
    measured = {variant.name: variant for variant in layouts()}
    assert measured["flat"].layout.kind == "flat"
    assert measured[str(Limits().most)].layout.limits == Limits()
    assert f"gogc-{DEFAULT_ENVIRONMENT['GOGC']}" in {variant.name for variant in collectors()}
    assert Layout().threshold in layout.LayoutPlan().sizes


TRACES = """File: traefik
Type: cpu
Duration: 5.11s, Total samples = 0.10s
-----------+-------------------------------------------------------
      20ms   runtime.memmove
             github.com/traefik/paerser/parser.filler.fill (inline)
             github.com/traefik/traefik/v3/pkg/config/kv.Decode
-----------+-------------------------------------------------------
      30ms   github.com/traefik/traefik/v3/pkg/muxer/http.routes.Less
             github.com/traefik/traefik/v3/pkg/muxer/http.(*Muxer).AddRoute
             github.com/traefik/traefik/v3/pkg/server.(*RouterFactory).CreateRouters
-----------+-------------------------------------------------------
      40ms   runtime.memmove
             runtime.gcAssistAlloc
             github.com/traefik/traefik/v3/pkg/config/kv.Decode
-----------+-------------------------------------------------------
      10ms   main.main
-----------+-------------------------------------------------------
"""


def test_a_profile_is_shared_out_among_the_parts() -> None:
    """A stack counts once, for the first part that it belongs to."""
    samples = pprof.parse(TRACES)
    assert [sample.milliseconds for sample in samples] == [20, 30, 40, 10]
    assert pprof.parts(samples) == {
        "decoding the keys": 0.2,
        "rules: parsing and sorting": 0.3,
        "garbage collection": 0.4,
        pprof.REST: 0.1,
    }
    assert pprof.functions(samples, 2) == {"runtime.memmove": 0.6, "pkg/muxer/http.routes.Less": 0.3}


def test_the_profiles_tables_have_a_column_a_size() -> None:
    found = Results(
        [
            *rows("adds", 1000, "decoding the keys", "part", 0.5),
            *rows("adds", 5000, "decoding the keys", "part", 0.625),
            *rows("adds", 5000, "the rest", "part", 0.375),
            *rows("python", 1000, "edit", "calls", 600, 605, 640),
        ]
    )
    made = profile.shares(found, "adds", "part", 9)
    assert cells(made, "decoding the keys") == ["decoding the keys", "50 %", "62.5 %"]
    assert cells(made, "the rest") == ["the rest", "", "37.5 %"]
    assert cells(profile.python(found), "1,000")[2] == "605"

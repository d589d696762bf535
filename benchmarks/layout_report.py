"""From the raw results of `benchmarks.layout` to the tables, the sentences and the plots of docs/layouts.md."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from pathlib import Path

from benchmarks.document import machine_line, write_places
from benchmarks.figures import beside, figure
from benchmarks.plots import Line, draw
from benchmarks.results import Results
from benchmarks.tables import markdown
from benchmarks.workload import ROOT
from kvproxy.process.launch import DEFAULT_ENVIRONMENT
from kvproxy.routing.entry import Layout
from kvproxy.routing.group import Limits

DOCUMENT = ROOT / "docs" / "layouts.md"
RESULTS = ROOT / "benchmarks" / "results" / "layouts"
PLOTS = ROOT / "docs" / "benchmarks"
_PROGRAMS = ("traefik", "redis-server", "valkey-server", "nginx", "wrk")
_GOGC = "gogc-"
#: What is compared: operation and metric in the results, factor and unit of what is shown.
_REQUEST = ("requests", "cpu_s", 1e6, "µs")
_RELOAD = ("reload", "proxy_cpu_s", 1e3, "ms")
_MEMORY = ("memory", "proxy_rss_b", 2**-20, "MiB")


def label(name: str) -> str:
    """What stands above the column of a layout."""
    if name == "flat":
        return name
    return f"at most {name}{' (kvproxy)' if name == str(Limits().most) else ''}"


def names(results: Results) -> list[str]:
    """The layouts, in the order in which they were measured; the flat one, which there always is, first."""
    return [name for name in results.contestants() if not name.startswith(_GOGC)]


def compared(results: Results, what: tuple[str, str, float, str]) -> str:
    """A table by size and layout: how many times the best of the row, and behind it the median itself."""
    operation, metric, scale, unit = what
    rows = []
    for size in _sizes(results):
        medians = [results.median(name, size, operation, metric) for name in names(results)]
        rows.append([f"{size:,}", *(beside(value, _least(medians), scale, unit) for value in medians)])
    return markdown(["routes", *map(label, names(results))], rows)


def looks(results: Results) -> str:
    """A table of what does not have to be measured: rules that are looked at for a request, and groups in brackets."""
    rows = []
    for size in _sizes(results):
        found = [
            [results.median(name, size, "table", metric) for metric in ("looks", "groups")] for name in names(results)
        ]
        cells = ["" if mean is None else f"{figure(mean)} ({groups:,.0f})" for mean, groups in found]
        rows.append([f"{size:,}", *cells])
    return markdown(["routes", *map(label, names(results))], rows)


def _least(values: Iterable[float | None]) -> float | None:
    return min((value for value in values if value), default=None)


def _sizes(results: Results) -> list[int]:
    return [size for size in results.sizes("requests") if results.values("flat", size, *_REQUEST[:2])]


def paired(results: Results, size: int, what: tuple[str, str, float, str] = _REQUEST) -> list[float]:
    """kvproxy's own tree in times the flat table, one ratio a round; empty if there was no tree."""
    tree, flat = (results.values(name, size, *what[:2]) for name in (str(Limits().most), "flat"))
    return [one / other for one, other in zip(tree, flat, strict=False)]


def threshold(results: Results) -> str:
    """A table of kvproxy's tree beside the flat table, round by round."""
    rows = []
    for size in _sizes(results):
        requests, reloads = paired(results, size), paired(results, size, _RELOAD)
        if requests:
            cheaper = sum(ratio < 1 for ratio in requests)
            shown = [f"{figure(statistics.median(ratios))} x" if ratios else "" for ratios in (requests, reloads)]
            rows.append([f"{size:,}", shown[0], f"{cheaper} of {len(requests)}", shown[1]])
    head = ["routes", "CPU a request", "rounds in which a request was cheaper", "CPU an added route"]
    return markdown(head, rows)


def begins(results: Results) -> int | None:
    """The number of routes from which on the tree was cheaper in two rounds of three; None if there is none."""
    always = None
    for size in reversed(_sizes(results)):
        ratios = paired(results, size)
        if not ratios or 3 * sum(ratio < 1 for ratio in ratios) < 2 * len(ratios):
            break
        always = size
    return always


def verdict(results: Results) -> str:
    """What follows for the threshold of the automatic layout, one sentence."""
    size, set_to = begins(results), Layout().threshold
    found = "at none of these numbers" if size is None else f"from {size:,} routes on"
    return (
        f"{found[0].upper()}{found[1:]} a request was cheaper with the tree in two rounds of three or more; "
        f"`auto` (`Layout.threshold`) makes groups above {set_to}."
    )


def collector(results: Results) -> str:
    """A table by GOGC."""
    found, size = [name for name in results.contestants() if name.startswith(_GOGC)], _collector_size(results)
    columns = []
    for operation, metric, scale, unit in (_REQUEST, _RELOAD, _MEMORY):
        medians = [results.median(name, size, operation, metric) for name in found]
        columns.append([beside(value, _least(medians), scale, unit) for value in medians])
    percents = [name.removeprefix(_GOGC) for name in found]
    labels = [f"`{percent}`{' (kvproxy)' if percent == DEFAULT_ENVIRONMENT['GOGC'] else ''}" for percent in percents]
    rows = [list(row) for row in zip(labels, *columns, strict=True)]
    return markdown(["`GOGC`", "CPU a request", "CPU an added route", "resident memory of Traefik"], rows)


def _collector_size(results: Results) -> int:
    return next((row.routes for row in results.rows if row.contestant.startswith(_GOGC)), 0)


def answers(results: Results) -> str:
    """Whether all requests were answered by the right server, one sentence."""
    found = {metric: 0.0 for metric in ("failed", "requests")}
    for row in results.rows:
        if row.metric in found:
            found[row.metric] += row.value
    return f"{found['failed']:,.0f} of {found['requests']:,.0f} requests failed."


def sections(results: Results) -> dict[str, str]:
    """Everything that is made from the results, by the names of the places in the document."""
    return {
        "looks": looks(results),
        "requests": compared(results, _REQUEST),
        "reloads": compared(results, _RELOAD),
        "threshold": threshold(results),
        "verdict": verdict(results),
        "collector": f"{_collector_size(results):,} routes:\n\n{collector(results)}",
        "answers": answers(results),
        "machine": machine_line(results, _PROGRAMS),
    }


def print_report(results: Results) -> None:
    """All of it."""
    for name, text in sections(results).items():
        print(f"\n{name}\n\n{text}")


def write_document(results: Results, document: Path = DOCUMENT) -> None:
    """Put everything into its place."""
    write_places(document, sections(results))


def write_layout_plots(results: Results, directory: Path = PLOTS) -> None:
    """One plot of requests, one of reloads."""
    for file, title, (operation, metric, scale, unit) in (
        ("layout-requests", "CPU of Traefik a request", _REQUEST),
        ("layout-reloads", "CPU of Traefik an added route", _RELOAD),
    ):
        drawn = [_line(results, name, operation, metric, scale) for name in names(results)]
        draw(directory / f"{file}.svg", title, unit, drawn, _sizes(results))


def _line(results: Results, name: str, operation: str, metric: str, scale: float) -> Line:
    found = {size: results.median(name, size, operation, metric) for size in _sizes(results)}
    known = {size: value * scale for size, value in found.items() if value}
    return label(name), list(known), list(known.values())

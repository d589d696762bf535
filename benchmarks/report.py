"""From raw results to tables: what is required, ratios first, absolute times as context."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from benchmarks.driver import ROOT
from benchmarks.results import Results

DOCUMENT = ROOT / "docs" / "benchmarks.md"
NAMES = {
    "kvproxy": "kvproxy",
    "kvproxy-quiet": "kvproxy, quiet Redis",
    "peer": "jupyterhub-traefik-proxy",
    "floor": "floor",
    "floor-quiet": "floor, quiet Redis",
    "chp": "configurable-http-proxy",
}
#: The contestants that stand for kvproxy.
OURS = ("kvproxy", "kvproxy-quiet")

Cell: TypeAlias = Callable[[Results, str, int], str]


@dataclass(frozen=True)
class Check:
    """One requirement: what was measured, what it is compared with, and whether that is enough; None: no limit."""

    text: str
    value: float | None
    unit: str
    limit: float | None = None
    at_least: bool = True

    @property
    def verdict(self) -> str:
        """PASS, FAIL, INFO, or that it was not measured."""
        if self.value is None:
            return "NOT MEASURED"
        if self.limit is None:
            return "INFO"
        return "PASS" if (self.value >= self.limit if self.at_least else self.value <= self.limit) else "FAIL"

    def cells(self) -> list[str]:
        """A row of a table."""
        wanted = (
            "" if self.limit is None else f"{'at least' if self.at_least else 'at most'} {self.limit:g} {self.unit}"
        )
        found = "" if self.value is None else f"{figure(self.value)} {self.unit}"
        return [self.verdict, self.text, found, wanted]


def checks(results: Results) -> list[Check]:
    """The requirements, in both ways of running kvproxy."""
    found: list[Check] = []
    for ours in (name for name in OURS if name in results.contestants()):
        who = NAMES[ours]
        for operation, text, limit in (("add", "add_route", 30), ("storm", "50 at once", 40)):
            times = quotient(results, "peer", ours, 100, operation)
            found.append(Check(f"{who}: {text} at 100 routes, times faster than the peer", times, "x", limit))
        for operation in ("get", "delete"):
            seconds = results.median(ours, 5000, operation, "returned_s")
            value = None if seconds is None else 1000 * seconds
            found.append(Check(f"{who}: {operation}_route at 5,000 routes, median", value, "ms", 5, at_least=False))
        found += [to_floor(results, ours, size) for size in results.sizes("add")]
    return found


def to_floor(results: Results, ours: str, size: int) -> Check:
    """How much longer until a new route is served than with a bare write under the same conditions."""
    times = quotient(results, ours, ours.replace("kvproxy", "floor"), size, "add")
    return Check(f"{NAMES[ours]}: add_route at {size:,} routes, times the floor", times, "x")


def quotient(results: Results, above: str, below: str, size: int, operation: str) -> float | None:
    """Median time of one contestant in times that of another; both until the call returned."""
    more = results.median(above, size, operation, "returned_s")
    less = results.median(below, size, operation, "returned_s")
    return more / less if more and less else None


def faster(operation: str) -> Cell:
    """A cell that says how many times faster than the peer."""

    def cell(results: Results, contestant: str, size: int) -> str:
        value = quotient(results, "peer", contestant, size, operation)
        if value is None and (why := results.error("peer", size, operation)):
            return f"(peer: {why})"
        return "" if value is None else f"{figure(value)} x"

    return cell


def time(operation: str, metric: str = "returned_s", *, p90: bool = True) -> Cell:
    """A cell with a median and, behind it, what nine of ten calls do not exceed, in milliseconds."""

    def cell(results: Results, contestant: str, size: int) -> str:
        median, most = (f(contestant, size, operation, metric) for f in (results.median, results.p90))
        why = results.error(contestant, size, operation)
        if median is None or most is None:
            return why
        shown = figure(1000 * median) + (f" / {figure(1000 * most)}" if p90 else "")
        return f"{shown} (then {why})" if why else shown

    return cell


def mean(operation: str, metric: str, scale: float = 1.0) -> Cell:
    """A cell with a mean."""

    def cell(results: Results, contestant: str, size: int) -> str:
        value = results.mean(contestant, size, operation, metric)
        return "" if value is None else figure(scale * value)

    return cell


def at_return(operation: str) -> Cell:
    """A cell that says how many of the new servers were reached when the calls had returned."""

    def cell(results: Results, contestant: str, size: int) -> str:
        value = results.mean(contestant, size, operation, "served_at_return")
        return "" if value is None else f"{100 * value:.3g} %"

    return cell


#: Name of each table in the document, its heading, and its columns behind contestant and routes.
TABLES: dict[str, tuple[str, dict[str, Cell]]] = {
    "ratios": (
        "Times faster than jupyterhub-traefik-proxy, median of each, until the call returned",
        {
            "add_route": faster("add"),
            "50 at once": faster("storm"),
            "delete_route": faster("delete"),
            "get_route": faster("get"),
            "get_all_routes": faster("get_all"),
        },
    ),
    "adding": (
        "Adding one route: ms, median / p90; CPU in ms a route, mean",
        {
            "returned": time("add"),
            "URL served": time("add_polled", "served_s"),
            "served when it returned": at_return("add"),
            "CPU proxy": mean("add", "proxy_cpu_s", 1000),
            "CPU store": mean("add", "store_cpu_s", 1000),
            "CPU Python": mean("add", "python_cpu_s", 1000),
        },
    ),
    "storm": (
        "50 routes added at once: ms, median; CPU in ms for all, mean",
        {
            "returned": time("storm", p90=False),
            "served when they returned": at_return("storm"),
            "CPU proxy": mean("storm", "proxy_cpu_s", 1000),
            "CPU Python": mean("storm", "python_cpu_s", 1000),
        },
    ),
    "reading": (
        "Looking up and removing: ms, median / p90; start over a full store: ms",
        {
            "get_route": time("get"),
            "delete_route": time("delete"),
            "get_all_routes": time("get_all", p90=False),
            "start": time("start", p90=False),
            "start, URL served": time("start", "served_s", p90=False),
            "served when it returned": at_return("start"),
        },
    ),
    "space": (
        "In the store, a route; resident memory of the processes",
        {
            "keys": mean("store", "keys"),
            "bytes": mean("store", "payload_b"),
            "proxy MiB": mean("memory", "proxy_rss_b", 2**-20),
            "Python MiB": mean("memory", "python_rss_b", 2**-20),
        },
    ),
}


def table(results: Results, columns: dict[str, Cell], leave_out: Iterable[str] = ()) -> str:
    """A table by size and contestant; rows in which nothing was measured are left out."""
    rows = []
    for size in results.sizes():
        for contestant in results.contestants():
            cells = [cell(results, contestant, size) for cell in columns.values()]
            if any(cells) and contestant not in leave_out:
                rows.append([f"{size:,}", NAMES[contestant], *cells])
    return markdown(["routes", "", *columns], rows)


def sections(results: Results) -> dict[str, str]:
    """Everything that is made from the results, by the names of the places in the document."""
    found = {"requirements": markdown(["", "what", "measured", "required"], [c.cells() for c in checks(results)])}
    for name, (_, columns) in TABLES.items():
        found[name] = table(results, columns, leave_out=["peer"] if name == "ratios" else [])
    return {**found, "machine": machine(results)}


def machine(results: Results) -> str:
    """What the results depend on."""
    about = dict(results.machine)
    versions = ", ".join(f"{name} {version}" for name, version in about.pop("versions", {}).items())
    rows = [[name.replace("_", " "), str(value)] for name, value in about.items()]
    return markdown(["", ""], [*rows, ["versions", versions]])


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A table that is as readable in a terminal as in a document."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    padded.insert(1, ["-" * max(width, 3) for width in widths])
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def figure(value: float) -> str:
    """Three significant digits, as anything beyond is noise."""
    if value >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"


def print_report(results: Results) -> None:
    """All tables, the requirements last."""
    made = sections(results)
    for name, (heading, _) in TABLES.items():
        print(f"\n{heading}\n\n{made[name]}")
    print(f"\n{made['machine']}\n\n{made['requirements']}\n")


def write_document(results: Results, document: Path = DOCUMENT) -> None:
    """Replace what stands between ``<!-- name -->`` and ``<!-- /name -->`` in the document."""
    text = document.read_text(encoding="utf-8")
    for name, content in sections(results).items():
        place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        found = place.search(text)
        if found is None:
            raise LookupError(f"{document.name} has no place for the table {name!r}.")
        text = f"{text[: found.end(1)]}\n{content}\n\n{text[found.start(2) :]}"
    document.write_text(text, encoding="utf-8")

"""The tables: what stands in their columns."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.figures import Cell, at_return, failures, faster, mean, pair, time, yes_or_no
from benchmarks.results import Results
from benchmarks.roster import ROSTER


@dataclass(frozen=True)
class Table:
    """heading: as it is printed. columns: behind the number of routes and the contestant. leave_out: contestants."""

    heading: str
    columns: dict[str, Cell]
    leave_out: tuple[str, ...] = ()

    def text(self, results: Results) -> str:
        """By size and contestant; rows in which nothing was measured are left out."""
        rows = []
        for size in results.sizes():
            for contestant in (name for name in ROSTER if name in results.contestants()):
                cells = [cell(results, contestant, size) for cell in self.columns.values()]
                if any(cells) and contestant not in self.leave_out:
                    rows.append([f"{size:,}", ROSTER[contestant].label, *cells])
        return markdown(["routes", "", *self.columns], rows)


def at_once(operation: str) -> dict[str, Cell]:
    """Columns about routes that are added at once."""
    return {
        "returned": time(operation, p90=False),
        "served when they returned": at_return(operation),
        "CPU proxy": mean(operation, "proxy_cpu_s", 1000),
        "CPU store": mean(operation, "store_cpu_s", 1000),
        "CPU Python": mean(operation, "python_cpu_s", 1000),
    }


def requests(kind: str) -> dict[str, Cell]:
    """Columns about one kind of answers."""
    columns: dict[str, Cell] = {}
    for connections in (16, 256):
        operation = f"{kind}-{connections}"
        columns |= {
            f"{connections}: a second": mean(operation, "rate", why=True),
            f"{connections}: CPU µs": mean(operation, "cpu_s", 1e6),
            f"{connections}: p50 / p99 ms": pair(operation, "p50_s", "p99_s"),
            f"{connections}: failed": failures(operation),
        }
    return columns


#: By the name of the table's place in the document.
TABLES = {
    "ratios": Table(
        "Times faster than jupyterhub-traefik-proxy, median of each, until the call returned",
        {
            "add_route": faster("add"),
            "50 at once": faster("storm-50"),
            "200 at once": faster("storm-200"),
            "delete_route": faster("delete"),
            "get_route": faster("get"),
            "get_all_routes": faster("get_all"),
            "restart": faster("restart"),
        },
        leave_out=("peer",),
    ),
    "adding": Table(
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
    "few": Table("50 routes added at once: ms, median; CPU in ms for all, mean", at_once("storm-50")),
    "many": Table("200 routes added at once, one time: ms; CPU in ms for all", at_once("storm-200")),
    "reading": Table(
        "Looking up and removing: ms, median / p90",
        {
            "get_route": time("get"),
            "delete_route": time("delete"),
            "get_all_routes": time("get_all", p90=False),
        },
    ),
    "starting": Table(
        "Start and restart over a full store, one time each: ms",
        {
            "start": time("start", p90=False),
            "start, URL served": time("start", "served_s", p90=False),
            "restart": time("restart", p90=False),
            "restart, URL served": time("restart", "served_s", p90=False),
            "served when it returned": at_return("restart"),
            "restart has written": yes_or_no("restart", "written"),
            "check_routes": time("check", p90=False),
        },
    ),
    "small": Table("Requests with small answers, over 16 and 256 connections", requests("small")),
    "large": Table("Requests with answers of 1 MiB, over 16 and 256 connections", requests("large")),
    "websockets": Table(
        "Messages over websockets",
        {
            "messages a second": mean("websockets", "rate", why=True),
            "CPU µs a message": mean("websockets", "cpu_s", 1e6),
            "roundtrip p50 / p99 ms": pair("websockets", "p50_s", "p99_s"),
            "connect p50 / p99 ms": pair("websockets", "connect_p50_s", "connect_p99_s"),
        },
    ),
    "space": Table(
        "In the store, a route; resident memory of the processes",
        {
            "keys": mean("store", "keys"),
            "bytes": mean("store", "payload_b"),
            "proxy MiB": mean("memory", "proxy_rss_b", 2**-20),
            "store MiB": mean("memory", "store_rss_b", 2**-20),
            "Python MiB": mean("memory", "python_rss_b", 2**-20),
        },
    ),
}


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A table that is as readable in a terminal as in a document."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    padded.insert(1, ["-" * max(width, 3) for width in widths])
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)

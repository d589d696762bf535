"""The output of `kvproxy routes`: a table for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import click
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from ..._text import counted
from ..console import console, dump, printable
from .compare import RouteStatus, Row, State, StoreState, TraefikState

_STYLES: Final = {
    State.SERVED: "green",
    State.GONE: "dim",
    State.PENDING: "yellow",
    State.UNKNOWN: "yellow",
    State.LEFT_OVER: "yellow",
    State.REJECTED: "bold red",
}


@dataclass(frozen=True)
class Choice:
    """The selection of routes to show.

    Args:
        prefix: the beginning of their routespecs; empty for all.
        differing: True to show only the routes that differ.
    """

    prefix: str = ""
    differing: bool = False

    def of(self, rows: Iterable[Row]) -> list[Row]:
        """Return the selected rows."""
        return [row for row in rows if self._fits(row) and (row.differs or not self.differing)]

    def _fits(self, row: Row) -> bool:
        return not self.prefix or (row.route is not None and row.route.routespec.startswith(self.prefix))


def replica_dict(seen: TraefikState) -> dict[str, Any]:
    """Return a Traefik for JSON."""
    return {"name": seen.name, "version": seen.version, "revision": seen.revision, "problem": seen.problem}


def print_document(held: StoreState, seen: Sequence[TraefikState], rows: Sequence[Row]) -> None:
    """Print one JSON document with one route per line, so that grep works on it too."""
    head = {"revision": held.revision, "replicas": [replica_dict(one) for one in seen]}
    lines = ",\n".join(dump(row.as_dict()) for row in rows)
    click.echo(f'{dump(head)[:-1]}, "routes": [\n{lines}\n]}}')


def summary(place: str, rows: Sequence[Row], seen: Sequence[TraefikState]) -> Text:
    """Return a one-line summary."""
    routes = sum(row.route is not None for row in rows)
    differing = sum(row.differs for row in rows)
    servers = "Traefik" if len(seen) == 1 else f"{len(seen)} Traefiks"
    text = Text(f"{counted(routes, 'route')} in the store, {place}")
    if not rows:
        return text.append(".")
    if any(one.problem for one in seen):
        return text.append("; not every Traefik answers.", style="bold yellow")
    if differing:
        return text.append(f"; {differing} {'differs' if differing == 1 else 'differ'}.", style="bold yellow")
    return text.append("; ").append(f"all served by {servers}.", style="green")


def replica_lines(seen: Sequence[TraefikState]) -> list[Text]:
    """Return one line about each Traefik; several are numbered."""
    lines = []
    for number, one in enumerate(seen, 1):
        line = Text(f"[{number}] {one.name}: " if len(seen) > 1 else f"Traefik at {one.name}: ")
        if one.problem:
            line.append(printable(one.problem), style="bold red")
        elif one.revision == one.stored:
            line.append(f"version {one.version}, has loaded what the store holds")
        else:
            line.append(f"version {one.version}, has not loaded what the store holds", style="yellow")
        lines.append(line)
    return lines


def table(rows: Sequence[Row], seen: Sequence[TraefikState]) -> Table:
    """Return the table of routes."""
    made = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    made.add_column("ROUTE", overflow="fold")
    made.add_column("TARGET", overflow="fold")
    made.add_column("FOR", overflow="fold")
    for number, _ in enumerate(seen, 1):
        made.add_column(f"[{number}]" if len(seen) > 1 else "TRAEFIK", no_wrap=True)
    made.add_column("REMARK" if any(row.differs for row in rows) else "", overflow="fold")
    for row in rows:
        made.add_row(*_cells(row, seen))
    return made


def _cells(row: Row, seen: Sequence[TraefikState]) -> list[Text]:
    route = row.route.as_dict() if row.route is not None else {}
    sights = [row.replicas.get(one.name) for one in seen]
    return [
        Text(printable(route.get("routespec") or row.name), style="yellow" if row.differs else ""),
        Text(route.get("target") or ""),
        Text(printable(whose(route.get("data") or {})), style="dim"),
        *(Text(sight.state.value, style=_STYLES[sight.state]) if sight is not None else Text() for sight in sights),
        Text(printable(_remark(row, filter(None, sights)))),
    ]


def _remark(row: Row, sights: Iterable[RouteStatus]) -> str:
    # An unreachable Traefik is reported once, above the table.
    said = [row.store, *(sight.why for sight in sights if sight.state is not State.UNKNOWN)]
    return " ".join(dict.fromkeys(filter(None, said)))


def whose(data: dict[str, Any]) -> str:
    """Return the owner of a route, from JupyterHub's data.

    >>> whose({"user": "ada", "server_name": "gpu"}), whose({"service": "cull"}), whose({"hub": True}), whose({})
    ('ada (gpu)', 'service cull', 'hub', '')
    """
    if "user" in data:
        return f"{data['user']} ({data['server_name']})" if data.get("server_name") else str(data["user"])
    if "service" in data:
        return f"service {data['service']}"
    return next((name for name in ("hub", "extra") if data.get(name)), "")


def page(
    place: str, held: StoreState, seen: Sequence[TraefikState], rows: Sequence[Row], shown: Sequence[Row]
) -> Group:
    """Return the whole output for people.

    Args:
        place: location of the routes in the store.
        held: the contents of the store.
        seen: the answers of each Traefik.
        rows: all routes.
        shown: the selected routes.
    """
    parts = [*replica_lines(seen), summary(place, rows, seen)]
    if shown:
        return Group(*parts, Text(), table(shown, seen))
    return Group(*parts, Text("None of them matches --prefix and --differing.")) if rows else Group(*parts)


def print_table(
    place: str, held: StoreState, seen: Sequence[TraefikState], rows: Sequence[Row], choice: Choice, paged: bool
) -> None:
    """Print the whole output for people, in a pager if it is longer than the terminal."""
    out = console()
    shown = choice.of(rows)
    made = page(place, held, seen, rows, shown)
    if not (paged and out.is_terminal and len(shown) + len(seen) + 4 > out.height):
        out.print(made)
        return
    click.echo_via_pager(rendered(out, made), color=out.color_system is not None)


def rendered(out: Console, made: Group) -> str:
    """Return the text that would be printed."""
    with out.capture() as capture:
        out.print(made)
    return capture.get()

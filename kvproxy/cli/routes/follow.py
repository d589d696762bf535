"""Comparing once, and comparing repeatedly."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, Final

import click
from rich.console import Group
from rich.live import Live
from rich.text import Text

from ...errors import StoreError
from ..console import console, dump, printable
from ..hub.config import Hub
from .compare import Row, TraefikState, changes
from .observe import Comparison, Routes, routes_of
from .output import Choice, page, replica_dict

#: Comparisons take at most one part in this number of all time.
_SHARE: Final = 20
#: Lines that are not routes.
_HEAD: Final = 4


async def look_once(hub: Hub) -> Comparison:
    """Compare store and Traefiks.

    Raises:
        KVProxyError: if the store cannot be read.
    """
    async with routes_of(hub) as routes:
        return await routes.look_steadily()


async def follow(hub: Hub, choice: Choice, interval: float, as_json: bool) -> None:
    """Compare repeatedly until interrupted, and show the result on the terminal or print the changes.

    Args:
        hub: the hub.
        choice: the routes to show.
        interval: minimum seconds between two comparisons.
        as_json: True to print changes.

    Raises:
        KVProxyError: if the store cannot be read the first time.
    """
    async with routes_of(hub) as routes:
        first = await routes.look_steadily()
        looks = _Looks(routes, interval)
        if as_json:
            await _print_changes(looks, choice, first)
        else:
            await _show(looks, choice, first, hub.proxy.store_place())


class _Looks:
    """Repeats the comparison, and takes only a small part of all time for it.

    Args:
        routes: the hub's routes.
        interval: minimum seconds between two comparisons.
    """

    def __init__(self, routes: Routes, interval: float) -> None:
        self._routes, self._interval = routes, interval
        self._took = 0.0

    async def next(self) -> Comparison:
        """Return the next comparison.

        Raises:
            StoreError: if the store cannot be read; the next call retries.
        """
        await asyncio.sleep(max(self._interval, _SHARE * self._took))
        begin = time.monotonic()
        found = await self._routes.look()
        self._took = time.monotonic() - begin
        return found


async def _print_changes(looks: _Looks, choice: Choice, first: Comparison) -> None:
    _, seen, rows = first
    before = _by_name(choice.of(rows))
    problem = ""
    for one in seen:
        _event("replica", replica_dict(one))
    for row in before.values():
        _event("found", row.as_dict())
    while True:
        try:
            _, later, rows = await looks.next()
        except StoreError as error:
            if problem != str(error):
                _event("problem", {"problem": str(error)})
            problem = str(error)
            continue
        problem = ""
        for one in later:
            # A new revision alone is not reported: every change brings one.
            if _news(one) not in map(_news, seen):
                _event("replica", replica_dict(one))
        after = _by_name(choice.of(rows))
        for kind, row in changes(before, after):
            _event(kind, row.as_dict())
        before, seen = after, later


def _news(seen: TraefikState) -> tuple[str, str, str]:
    return seen.name, seen.version, seen.problem


def _by_name(rows: Sequence[Row]) -> Mapping[str, Row]:
    return {row.name: row for row in rows}


def _event(kind: str, what: Mapping[str, Any]) -> None:
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    click.echo(dump({"time": now, "event": kind, **what}))


async def _show(looks: _Looks, choice: Choice, first: Comparison, place: str) -> None:
    out = console()
    held, seen, rows = first
    problem = ""
    with Live(console=out, screen=True, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            shown = choice.of(rows)[: max(out.height - len(seen) - _HEAD, 1)]
            made = page(place, held, seen, rows, shown)
            live.update(Group(Text(printable(problem), style="bold red"), made) if problem else made, refresh=True)
            try:
                held, seen, rows = await looks.next()
                problem = ""
            except StoreError as error:
                problem = str(error)

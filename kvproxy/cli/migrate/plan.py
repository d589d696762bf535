"""What a migration writes: routes from elsewhere, and a store that holds some already, as a plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ...errors import HookError
from ...reconcile.plan import diff
from ...routing.encode import encode_setup, unserved
from ...routing.entry import Entry, Layout
from ...routing.route import Route
from ...routing.table import DesiredTable
from ...store.base import Operation, Space
from ..routes.compare import Held


class Kind(str, Enum):
    """What a migration does with a route."""

    ADD = "add"
    CHANGE = "change"
    KEEP = "keep"
    REFUSE = "refuse"


@dataclass(frozen=True)
class Step:
    """One route of a migration.

    Args:
        kind: what is done with it.
        routespec: as JupyterHub gave it.
        target: URL of the server; of one that is refused, empty.
        why: why it is refused, or what it leads to up to now.
    """

    kind: Kind
    routespec: str
    target: str = ""
    why: str = ""

    def as_dict(self) -> dict[str, str]:
        """As JSON."""
        return {"step": self.kind.value, "routespec": self.routespec, "target": self.target, "why": self.why}


@dataclass(frozen=True)
class Plan:
    """What is written.

    Args:
        steps: each route.
        groups: operations that belong together.
        copied: how many keys that are not kvproxy's are copied.
    """

    steps: Sequence[Step]
    groups: Sequence[Sequence[Operation]]
    copied: int = 0

    @property
    def counts(self) -> Counter[Kind]:
        """How many routes of each kind."""
        return Counter(step.kind for step in self.steps)

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        counts = {kind.value: self.counts[kind] for kind in Kind}
        return {"counts": counts, "foreign_keys": self.copied, "steps": [step.as_dict() for step in self.steps]}


def plan_migration(
    routes: Iterable[Route],
    refused: Iterable[tuple[str, str]],
    held: Held,
    layout: Layout,
    foreign: Mapping[str, str] | None = None,
) -> Plan:
    """Decide what is written to a store, so that it has all routes from elsewhere besides those that it has.

    Routes take the places that the hub itself would give them; what is there already is not written again.

    Args:
        routes: from elsewhere; where one is there already, that from elsewhere wins.
        refused: routespec and reason of those that cannot be taken.
        held: what the store holds.
        layout: how the hub lays out its routes.
        foreign: keys of the configuration that are to be copied as they are.
    """
    # Whether Traefik can read groups is the hub's to ask: there are as many as before.
    table = DesiredTable(layout, encode_setup({}))
    table.restore(held.entries)
    steps = []
    touched: dict[str, None] = {}
    for route in sorted(routes, key=lambda route: route.key):
        name = layout.names.route(route.key)
        steps.append(_step(route, table.entries.get(name)))
        if steps[-1].kind is not Kind.KEEP:
            touched |= dict.fromkeys([name, *table.put(_entry(table, route))])
    steps += [Step(Kind.REFUSE, routespec, why=why) for routespec, why in refused]
    groups = [operations for name in touched if (operations := diff(held.entries.get(name), table.entries.get(name)))]
    more = {key: value for key, value in (foreign or {}).items() if held.foreign.get(key) != value}
    groups += [(Operation(Space.CONFIG, key, value),) for key, value in more.items()]
    return Plan(steps, groups, len(more))


def _entry(table: DesiredTable, route: Route) -> Entry:
    """Where a hook fails, the hub is to find the route all the same, and to say why it does not serve it."""
    try:
        return table.entry(route)
    except HookError:
        return unserved(route, table.names)


def _step(route: Route, before: Entry | None) -> Step:
    old = before.route if before is not None else None
    if _same(old, route):
        return Step(Kind.KEEP, route.routespec, route.target)
    if old is None:
        return Step(Kind.ADD, route.routespec, route.target)
    why = f"leads to {old.target} up to now" if old.target != route.target else "has other data up to now"
    return Step(Kind.CHANGE, route.routespec, route.target, why)


def missing(routes: Iterable[Route], held: Held) -> list[Route]:
    """The routes that a store does not hold as they are."""
    there = held.routes
    return [route for route in routes if not _same(there.get(held.names.route(route.key)), route)]


def _same(held: Route | None, route: Route) -> bool:
    """Whatever the order of their data, which says nothing: a store that has a key for each gives them in any."""
    return held == route or (held is not None and held.as_dict() == route.as_dict())


def deletions(groups: Iterable[Sequence[str]]) -> list[list[Operation]]:
    """The operations that remove keys of the configuration, those together that belong together."""
    return [[Operation(Space.CONFIG, key, None) for key in keys] for keys in groups]


def chunks(groups: Iterable[Sequence[str]], most: int | None) -> list[list[str]]:
    """Groups of keys, none of more than so many."""
    return [
        [*keys[start : start + (most or len(keys))]]
        for keys in groups
        for start in range(0, len(keys), most or max(len(keys), 1))
    ]

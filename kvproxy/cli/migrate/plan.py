"""The plan of a migration, made from the routes of a source and the present contents of the target."""

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
from ..routes.compare import StoreState


class Kind(str, Enum):
    """The action of a migration on a route."""

    ADD = "add"
    CHANGE = "change"
    KEEP = "keep"
    REFUSE = "refuse"


@dataclass(frozen=True)
class Step:
    """One route of a migration.

    Args:
        kind: the action.
        routespec: the route's routespec in JupyterHub.
        target: URL of the server; empty for a refused route.
        why: the reason of a refusal, or the present target.
    """

    kind: Kind
    routespec: str
    target: str = ""
    why: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return the step for JSON."""
        return {"step": self.kind.value, "routespec": self.routespec, "target": self.target, "why": self.why}


@dataclass(frozen=True)
class Plan:
    """The operations of a migration.

    Args:
        steps: one for each route.
        groups: batches of operations that stay together.
        copied: the number of foreign keys to copy.
    """

    steps: Sequence[Step]
    groups: Sequence[Sequence[Operation]]
    copied: int = 0

    @property
    def counts(self) -> Counter[Kind]:
        """The number of routes of each kind."""
        return Counter(step.kind for step in self.steps)

    def as_dict(self) -> dict[str, Any]:
        """Return the plan for JSON."""
        counts = {kind.value: self.counts[kind] for kind in Kind}
        return {"counts": counts, "foreign_keys": self.copied, "steps": [step.as_dict() for step in self.steps]}


def plan_migration(
    routes: Iterable[Route],
    refused: Iterable[tuple[str, str]],
    held: StoreState,
    layout: Layout,
    foreign: Mapping[str, str] | None = None,
) -> Plan:
    """Plan the changes to a store that add all routes of the source to its own.

    Routes get the groups that the hub itself would give them; existing routes are not rewritten.

    Args:
        routes: the routes of the source, which win over existing ones.
        refused: routespec and reason of the routes that cannot be migrated.
        held: the contents of the store.
        layout: the hub's layout of routes.
        foreign: keys of the configuration that are copied unchanged.
    """
    # The hub asks later if Traefik supports groups; until then the present groups are kept.
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
    """Return the entry of a route; if a hook fails, the hub still has to find the route, and to report the hook."""
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
    why = f"now leads to {old.target}" if old.target != route.target else "now has other data"
    return Step(Kind.CHANGE, route.routespec, route.target, why)


def missing(routes: Iterable[Route], held: StoreState) -> list[Route]:
    """Return the routes that a store does not hold unchanged."""
    there = held.routes
    return [route for route in routes if not _same(there.get(held.names.route(route.key)), route)]


def _same(held: Route | None, route: Route) -> bool:
    """Compare two routes regardless of the order of their data, which a store with one key per value may change."""
    return held == route or (held is not None and held.as_dict() == route.as_dict())


def deletions(groups: Iterable[Sequence[str]]) -> list[list[Operation]]:
    """Return the operations that delete keys of the configuration, in the same batches."""
    return [[Operation(Space.CONFIG, key, None) for key in keys] for keys in groups]


def chunks(groups: Iterable[Sequence[str]], most: int | None) -> list[list[str]]:
    """Split batches of keys so that none is larger than ``most``."""
    return [
        [*keys[start : start + (most or len(keys))]]
        for keys in groups
        for start in range(0, len(keys), most or max(len(keys), 1))
    ]

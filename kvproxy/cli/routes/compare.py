"""Comparison of a store with the Traefiks that read it, route by route."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property
from typing import Any

from ..._text import NAMED, and_more
from ...errors import HookError
from ...reconcile.plan import diff
from ...routing.decode import group_of, is_rooted, parent_name, parse_snapshot, route_of
from ...routing.encode import encode_route
from ...routing.entry import QUARANTINE, SETUP, Entry, Layout
from ...routing.group import Group
from ...routing.names import ALONE, Names
from ...routing.route import Route, RouteSpec
from ...store.base import Snapshot
from ...traefik.readiness import Pending, Ready, judge


@dataclass(frozen=True)
class StoreState:
    """The contents of a store.

    Args:
        entries: the hub's entries, by name.
        revision: the last revision, None if there is none.
        foreign: keys below the root of the configuration that are not the hub's, with their values.
        names: the hub's names of routers and services.
        quarantined: keys of the unreadable records that a hub has set aside.
    """

    entries: Mapping[str, Entry]
    revision: int | None = None
    foreign: Mapping[str, str] = field(default_factory=dict, repr=False)
    names: Names = ALONE
    quarantined: tuple[str, ...] = ()

    @cached_property
    def routes(self) -> dict[str, Route]:
        """The routes with a readable record, by name."""
        found = {name: route_of(entry) for name, entry in self.entries.items() if name != SETUP}
        return {name: route for name, route in found.items() if route is not None}

    @cached_property
    def groups(self) -> dict[str, Group]:
        """The groups of the routing tree, by name."""
        found = {name: group_of(entry, self.names) for name, entry in self.entries.items()}
        return {name: group for name, group in found.items() if group is not None}

    @property
    def unreadable(self) -> list[str]:
        """Names of routes' entries without a readable record."""
        known = self.routes.keys() | self.groups.keys() | {SETUP}
        return [name for name in self.entries if name not in known]


def store_state(snapshot: Snapshot, names: Names = ALONE) -> StoreState:
    """Parse a snapshot of a store."""
    entries = parse_snapshot(snapshot.config, snapshot.records, {}, names)
    ours = {key for entry in entries.values() for key in entry.config} | {names.revision_key}
    revision = snapshot.config.get(names.revision_key, "")
    foreign = {key: value for key, value in snapshot.config.items() if key not in ours}
    aside = tuple(key.removeprefix(QUARANTINE) for key in snapshot.records if key.startswith(QUARANTINE))
    return StoreState(entries, int(revision) if revision.isdigit() else None, foreign, names, aside)


@dataclass(frozen=True)
class TraefikState:
    """The answers of one Traefik.

    Args:
        name: its unique name.
        routers: its descriptions of routers, by name.
        services: its descriptions of services, by name.
        revision: the revision that it has loaded, None if none of kvproxy's.
        stored: the revision that the store held when it was asked.
        version: such as ``3.7.15``; empty if it was not asked.
        problem: the error of asking it; empty if it answered.
    """

    name: str
    routers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    services: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    revision: int | None = None
    stored: int | None = None
    version: str = ""
    problem: str = ""


class State(str, Enum):
    """The state of a route at a Traefik."""

    SERVED = "served"
    PENDING = "pending"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    #: Traefik serves a route that the store does not hold.
    LEFT_OVER = "left over"
    #: Traefik rightly does not serve a route that the store does not hold; another Traefik still does.
    GONE = "not served"


@dataclass(frozen=True)
class RouteStatus:
    """The state of a route at one Traefik; ``why`` is a sentence, empty if the route is served."""

    state: State
    why: str = ""


@dataclass(frozen=True)
class Row:
    """One route in a comparison.

    Args:
        name: name of its router and service in Traefik.
        route: the route, None if the store has no readable record of it.
        store: a sentence about its fault in the store; empty if there is none.
        replicas: its state at each Traefik, by the Traefik's name.
    """

    name: str
    route: Route | None
    store: str
    replicas: Mapping[str, RouteStatus]

    @property
    def differs(self) -> bool:
        """True if the store or a Traefik differs from the hub's desired state."""
        return bool(self.store) or any(s.state not in {State.SERVED, State.GONE} for s in self.replicas.values())

    def as_dict(self) -> dict[str, Any]:
        """Return the row for JSON."""
        known = self.route.as_dict() if self.route is not None else {"routespec": None, "target": None, "data": None}
        seen = {name: {"state": sight.state.value, "why": sight.why} for name, sight in self.replicas.items()}
        return {**known, "name": self.name, "differs": self.differs, "store": self.store, "replicas": seen}


def compare(held: StoreState, seen: Sequence[TraefikState], layout: Layout) -> list[Row]:
    """Compare all routes; those that differ come first, and each kind is sorted by routespec.

    Args:
        held: the contents of the store.
        seen: the answers of each Traefik.
        layout: the hub's layout of routes.
    """
    layout = replace(layout, rooted=is_rooted(held.entries.get(SETUP), held.names))
    routes, groups = held.routes, held.groups
    broken = {one.name: _broken_groups(held, groups, one) for one in seen}
    rows = []
    for name, entry in held.entries.items():
        if name == SETUP or name in groups:
            continue
        route = routes.get(name)
        parents = _parents(held, name)
        wanted, refused = (None, "") if route is None else _wanted(entry, name, route, layout, groups)
        sights = {one.name: _sight(name, entry, wanted, one, parents, broken[one.name]) for one in seen}
        rows.append(Row(name, route, refused or _wrong_in_store(entry, wanted, parents, groups), sights))
    rows += _left_over(held.entries, seen, layout.names)
    return sorted(rows, key=_order)


def merge(base: Sequence[Row], hot: Sequence[Row], leading: RouteSpec) -> list[Row]:
    """Return the rows of two tiers, each route once.

    Args:
        base: the rows of the base tier.
        hot: the rows of the hot tier. One that differs counts.
        leading: the place of the route that leads there; the row of the hot tier counts for it.
    """
    merged = {row.name: row for row in base}
    for row in hot:
        leads = row.route is not None and row.route.spec == leading
        if row.name not in merged or row.differs or (leads and not merged[row.name].differs):
            merged[row.name] = row
    return sorted(merged.values(), key=_order)


def _order(row: Row) -> tuple[bool, str, str]:
    return not row.differs, row.route.routespec if row.route else "", row.name


def _wanted(
    entry: Entry, name: str, route: Route, layout: Layout, groups: Mapping[str, Group]
) -> tuple[Entry | None, str]:
    """Return the entry that the hub would write, or the reason that a hook prevents the route from being served."""
    try:
        return encode_route(route, layout, groups.get(parent_name(entry, layout.names) or "")), ""
    except HookError as error:
        return None, f"The hub does not serve it. {error}"


def _parents(held: StoreState, name: str) -> list[str]:
    """Return the groups that an entry is in, the innermost first."""
    found: list[str] = []
    while (above := parent_name(held.entries[name], held.names)) is not None and above not in found:
        found.append(above)
        if above not in held.entries:
            break
        name = above
    return found


def _wrong_in_store(entry: Entry, wanted: Entry | None, parents: Sequence[str], groups: Mapping[str, Group]) -> str:
    if wanted is None:
        return "There is no readable record of it, so the hub removes it."
    if missing := [parent for parent in parents if parent not in groups]:
        return f"It is in the group {missing[0]}, which is not there."
    if keys := list(dict.fromkeys(operation.key for operation in diff(entry, wanted))):
        return f"The hub would write {', '.join(keys[:NAMED])}{and_more(len(keys))} otherwise."
    return ""


def _sight(
    name: str, entry: Entry, wanted: Entry | None, seen: TraefikState, parents: Iterable[str], broken: Mapping[str, str]
) -> RouteStatus:
    if seen.problem:
        return RouteStatus(State.UNKNOWN, seen.problem)
    judged = entry if _complete(entry, name) else wanted
    if judged is None:
        return RouteStatus(State.UNKNOWN, "Its keys are incomplete.")
    verdict = judge(judged, seen.routers.get(name), seen.services.get(name))
    if isinstance(verdict, Ready):
        why = next((broken[parent] for parent in parents if parent in broken), "")
        return RouteStatus(State.PENDING if why else State.SERVED, why)
    return RouteStatus(State.PENDING if isinstance(verdict, Pending) else State.REJECTED, verdict.why + ".")


def _complete(entry: Entry, name: str) -> bool:
    """Return True if an entry has all keys that Traefik can be asked about."""
    router, service = f"http/routers/{name}/", f"http/services/{name}/loadBalancer/servers/0/url"
    priority = entry.config.get(f"{router}priority", "0")
    return {f"{router}rule", f"{router}service", service} <= entry.config.keys() and priority.isdigit()


def _broken_groups(held: StoreState, groups: Iterable[str], seen: TraefikState) -> dict[str, str]:
    """Return the groups through which a Traefik passes no requests, with the reason."""
    broken = {}
    for name in groups:
        keys = held.entries[name].config
        for key in keys:
            # http/routers/NAME/rule
            _, _, router, field = key.split("/", 3)
            if field == "rule" and (why := _router_problem(seen.routers.get(router), keys[key])):
                broken[name] = f"{why} (the group {name})."
    return broken


def _router_problem(router: Mapping[str, Any] | None, rule: str) -> str:
    if router is None:
        return "Traefik does not know the router above it yet"
    if router.get("rule") != rule:
        return "Traefik still has an older router above it"
    if router.get("status") == "disabled":
        return "; ".join(map(str, router.get("error") or ["no reason given"]))
    return ""


def _left_over(entries: Mapping[str, Entry], seen: Sequence[TraefikState], ours: Names) -> list[Row]:
    """Return rows for the routes that Traefiks still serve and the store does not hold."""
    owned = {one.name: {ours.owner(f"http/routers/{router}/") for router in one.routers} for one in seen}
    names = sorted({name for names in owned.values() for name in names if name is not None and name not in entries})
    over, gone = RouteStatus(State.LEFT_OVER, "The store does not hold it any more."), RouteStatus(State.GONE)
    return [
        Row(name, None, "", {one.name: over if name in owned[one.name] else gone for one in seen}) for name in names
    ]


def transient(held: StoreState, later: StoreState, rows: Iterable[Row], seen: Iterable[TraefikState]) -> bool:
    """Return True if differences may come from changes that were in progress, so that a second look may help.

    Args:
        held: the store, read before Traefik was asked.
        later: the store, read after that.
        rows: the comparison.
        seen: the answers of each Traefik.
    """
    behind = any(one.revision != later.revision for one in seen if not one.problem)
    return any(row.differs for row in rows) and (behind or held.revision != later.revision)


def changes(before: Mapping[str, Row], after: Mapping[str, Row]) -> list[tuple[str, Row]]:
    """Return the rows that changed between two comparisons, each with ``added``, ``changed`` or ``removed``."""
    found = [
        ("added" if name not in before else "changed", row) for name, row in after.items() if before.get(name) != row
    ]
    return found + [("removed", row) for name, row in before.items() if name not in after]

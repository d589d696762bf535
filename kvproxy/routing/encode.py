"""The translation layer: routing table <-> Traefik's dynamic configuration <-> flat keys; hub records as exact JSON.

A route becomes three keys (a router's rule and service, a service's URL), a fourth, the priority, where the length of
the rule, which is Traefik's default, would put it in the wrong place, one for the group or the root routers that it is
behind or, where there are none, for the hub's error pages, and one for the certificates of an https server where the
hub has made them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from .entry import GROUP_RECORD, SETUP, Entry, Layout
from .flatten import Keys, flatten
from .group import ANY_IN_GROUP, ANY_REQUEST, NO_REQUEST, Group
from .manifest import of_default_store, write_manifest
from .names import Names
from .route import Route, RouteSpec
from .rule import rule_and_priority


def _unplaced(name: str, route: Route, spec: RouteSpec, layout: Layout) -> dict[str, Any]:
    """The section ``http`` of the dynamic configuration of one route, as far as it does not depend on its place."""
    rule, priority = rule_and_priority(spec)
    router: dict[str, Any] = {"rule": rule, "service": name}
    # Without one, Traefik takes the length of the rule.
    if priority != len(rule):
        router["priority"] = priority
    target = urlsplit(route.target)
    http: dict[str, Any] = {"routers": {name: router}}
    if target.path not in {"", "/"}:
        # Traefik's servers have no path before 3.2 (`preservePath`); the middleware works in every 3.x.
        router["middlewares"] = [name]
        http["middlewares"] = {name: {"addPrefix": {"prefix": target.path.rstrip("/")}}}
    balancer: dict[str, Any] = {"servers": [{"url": f"{target.scheme}://{target.netloc}"}]}
    if layout.transport and target.scheme == "https":
        balancer["serversTransport"] = layout.transport
    if layout.flushes:
        balancer["responseForwarding"] = {"flushInterval": "-1s"}
    http["services"] = {name: {"loadBalancer": balancer}}
    return http


def _placed(
    layout: Layout, parent: Group | None, item: RouteSpec | Group, middlewares: Sequence[str] = ()
) -> dict[str, Any]:
    """Everything that depends on where a router is: behind a group, behind the root routers, or at the entry points.

    Traefik allows entry points for routers without a parent only. These have the hub's pages too: what is behind others
    has them from there, and costs no key.

    The parents and the middlewares are one value each, which Traefik's decoder splits at commas: nodes less to decode.

    Args:
        layout: how routes are laid out as keys.
        parent: the group that it is in, None for none.
        item: where its route begins, or the group that it is the router of.
        middlewares: those that it has in any place.
    """
    placed: dict[str, Any] = {}
    pages = ""
    if parent is not None:
        placed["parentRefs"] = layout.names.group(parent)
    elif layout.behind_roots(item):
        placed["parentRefs"] = layout.names.roots
    else:
        pages = layout.pages(item if isinstance(item, RouteSpec) else None)
        if layout.entry_points:
            placed["entryPoints"] = list(layout.entry_points)
    if order := [pages, *middlewares] if pages else middlewares:
        placed["middlewares"] = ",".join(order)
    return placed


def encode_record(route: Route) -> str:
    """The hub's record of a route, one JSON value; its key is the route's key."""
    spelling = "" if route.routespec == route.key else f',"routespec":{json.dumps(route.routespec)}'
    return f'{{"target":{json.dumps(route.target)},"data":{route.data_text}{spelling}}}'


def encode_route(route: Route, layout: Layout, parent: Group | None = None) -> Entry:
    """A route as what stands in the store, in a group or in none.

    Raises:
        HookError: if a hook fails, or gives what cannot be used.
    """
    name, spec = layout.names.route(route.key), layout.spec(route)
    http, outermost = _customized(name, route, spec, layout)
    router = http["routers"][name]
    # Behind nothing: Traefik allows what the hook gave it for routers without a parent only.
    where = replace(layout, rooted=False) if outermost else layout
    middlewares = tuple(router.pop("middlewares", ()))
    router |= _placed(where, None if outermost else parent, spec, middlewares)
    return Entry(name, flatten({"http": http}), {route.key: encode_record(route)}, route, outermost, middlewares)


def _customized(name: str, route: Route, spec: RouteSpec, layout: Layout) -> tuple[dict[str, Any], bool]:
    """The section ``http`` of a route after the hooks, and True if its router must have no parent."""
    http = _unplaced(name, route, spec, layout)
    return http, layout.customize is not None and layout.customize(http, route, layout.names)


def alone(route: Route, layout: Layout) -> dict[str, Any]:
    """A route's dynamic configuration in the form of a file of Traefik's, as if there were no other route.

    Raises:
        HookError: if a hook fails, or gives what cannot be used.
    """
    return {"http": _customized(layout.names.route(route.key), route, layout.spec(route), layout)[0]}


def unserved(route: Route, names: Names) -> Entry:
    """A route that is known and not served: its hook fails, so the protection that it needs is unknown."""
    return Entry(names.route(route.key), {}, {route.key: encode_record(route)}, route)


def reparent(entry: Entry, layout: Layout, parent: Group | None) -> Entry:
    """A route's entry as it is in another group, or in none. No hook is asked again."""
    if entry.route is None or entry.outermost or not entry.config:
        return entry
    router = f"http/routers/{entry.name}/"
    places = (f"{router}parentRefs", f"{router}entryPoints/", f"{router}middlewares")
    rest = {key: value for key, value in entry.config.items() if not key.startswith(places)}
    placed = flatten(_placed(layout, parent, layout.spec(entry.route), entry.middlewares))
    return replace(entry, config={**rest, **{router + key: value for key, value in placed.items()}})


def encode_group(
    group: Group,
    parent: Group | None,
    active: bool,
    fallback: Entry | None,
    layout: Layout,
) -> Entry:
    """A group as what stands in the store.

    Args:
        group: the group.
        parent: the group it is in, None for none.
        active: whether requests may pass it.
        fallback: the route for requests that match the group and nothing in it, None if there is none. Its middlewares
            protect and change what reaches it from here too.
        layout: how routes are laid out as keys.
    """
    name = layout.names.group(group)
    rule = group.rule if active else NO_REQUEST
    routers: dict[str, Any] = {name: {"rule": rule, "priority": group.priority, **_placed(layout, parent, group)}}
    if fallback is not None:
        inner = _placed(layout, group, group, fallback.middlewares)
        routers[layout.names.last(name)] = {
            "rule": ANY_IN_GROUP if layout.behind_roots(group) and group.last_rule != ANY_REQUEST else group.last_rule,
            "service": fallback.name,
            **inner,
        }
    record = {GROUP_RECORD + name: json.dumps([group.prefix, *group.symbols])}
    return Entry(name, flatten({"http": {"routers": routers}}), record)


def encode_setup(configuration: Mapping[str, Any]) -> Entry:
    """The configuration that is not about routes, with a record of its keys.

    The record lets a later start remove what an earlier configuration had set and this one has not.
    """
    return _setup_entry(flatten(configuration))


def with_public_routers(setup: Entry, layout: Layout) -> Entry:
    """The setup together with the root routers, or with what is there in their place."""
    if layout.roots is None:
        return setup
    routers = layout.roots.routers(layout.entry_points, layout.rooted)
    return _setup_entry({**flatten({"http": {"routers": routers}}), **setup.config})


def without_default_store(entry: Entry) -> Entry:
    """A setup that leaves Traefik's default certificate to others."""
    return _setup_entry({key: value for key, value in entry.config.items() if not of_default_store(key)})


def _setup_entry(keys: Keys) -> Entry:
    return Entry(SETUP, keys, {SETUP: write_manifest(keys)} if keys else {})

"""The translation layer: routing table <-> Traefik's dynamic configuration <-> flat keys; hub records as exact JSON.

A route becomes three keys (a router's rule and service, a service's URL), a fourth, the priority, where the length of
the rule, which is Traefik's default, would put it in the wrong place, one for the group that it is in or, in none, for
the hub's error pages, and one for the certificates of an https server where the hub has made them.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from .errors import InvalidRouteError
from .grouping import NO_REQUEST, Group, Limits
from .names import ALONE, Names
from .routes import Route, RouteSpec, make_route
from .rules import priority, rule

#: Begins the key of a group's record; no routespec begins so.
_GROUP_RECORD: Final = "group:"

#: Begins the key of a record that nobody could read; it is kept for the administrator and belongs to nothing.
QUARANTINE: Final = "quarantine:"

#: Name of the entry that holds everything that is not a route: API router, certificate, extra configuration.
SETUP: Final = "setup"
#: A revision as Traefik may show it, and one in a store that there may be later ones than, in as many digits.
_REVISION = re.compile("[0-9]{1,15}")
_STORED_REVISION = re.compile("[0-8][0-9]{12}")

Keys: TypeAlias = dict[str, str]


@dataclass(frozen=True)
class Entry:
    """What one route (or a group of them, or the setup) is in the store: configuration keys, and one record.

    Args:
        config: keys of the configuration and their values.
        records: key and value of the record; a mapping so that a wrongly spelled second record can be seen and removed.
        route: the route that was encoded, None for groups, for the setup, and for what was found in a store.
    """

    config: Mapping[str, str]
    records: Mapping[str, str]
    route: Route | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Layout:
    """How routes are laid out as keys.

    Args:
        entry_points: names of the entry points that serve the routes; empty means Traefik's default ones, which saves
            a key a route where the static configuration marks the public entry point ``asDefault``.
        kind: ``tree`` for routes in groups, ``flat`` for none, ``auto`` for groups where there are many routes.
        threshold: with ``auto``, the number of routes above which there are groups. They are given up at half of it.
        hosts: whether all routes have a host.
        limits: when groups are made and given up.
        names: how routers and services are called.
        host: if not empty, routes without a host are served for this one only.
        transport: name of the serversTransport for servers with an https URL, empty for Traefik's default one.
        pages: name of the middleware with the hub's pages for users whose server does not answer, empty for none.
    """

    entry_points: tuple[str, ...] = ()
    kind: str = "auto"
    threshold: int = 256
    hosts: bool = False
    limits: Limits = field(default_factory=Limits)
    names: Names = ALONE
    host: str = ""
    transport: str = ""
    pages: str = ""

    def spec(self, route: Route) -> RouteSpec:
        """Where a route begins as Traefik is to see it."""
        return replace(route.spec, host=self.host) if self.host and not route.spec.host else route.spec


def flatten(configuration: Mapping[str, Any]) -> Keys:
    """Traefik's dynamic configuration, a nested mapping, as the flat keys that its key-value providers read.

    Lists become numbered keys, booleans ``true`` and ``false``. An empty mapping becomes the value ``true``, which is
    how Traefik's decoder is told of an option without fields (``tls = true``). None is left out.

    >>> flatten({"http": {"routers": {"r": {"entryPoints": ["a", "b"], "tls": {}}}}})
    {'http/routers/r/entryPoints/0': 'a', 'http/routers/r/entryPoints/1': 'b', 'http/routers/r/tls': 'true'}
    """
    keys: Keys = {}
    for name, value in configuration.items():
        _flatten_into(keys, str(name), value)
    return keys


def _flatten_into(keys: Keys, path: str, value: Any) -> None:
    if isinstance(value, Mapping) and value:
        for name, child in value.items():
            _flatten_into(keys, f"{path}/{name}", child)
    elif isinstance(value, (list, tuple)):
        for index, child in enumerate(value):
            _flatten_into(keys, f"{path}/{index}", child)
    elif isinstance(value, Mapping):
        keys[path] = "true"
    elif value is not None:
        keys[path] = str(value).lower() if isinstance(value, bool) else str(value)


def route_configuration(route: Route, layout: Layout, parent: Group | None = None) -> dict[str, Any]:
    """The dynamic configuration of one route, in a group or, if that is None, in none."""
    name, spec = layout.names.route(route.key), layout.spec(route)
    text = rule(spec)
    router: dict[str, Any] = {"rule": text, "service": name}
    if (wanted := priority(spec)) != len(text):
        router["priority"] = wanted
    router |= _above(layout, parent)
    if "user" in json.loads(route.data_text):
        router |= _pages(layout, parent)
    target = urlsplit(route.target)
    http: dict[str, Any] = {"routers": {name: router}}
    if target.path not in {"", "/"}:
        # Traefik's servers have no path before 3.2 (`preservePath`); the middleware works in every 3.x.
        router["middlewares"] = [*filter(None, [router.get("middlewares")]), name]
        http["middlewares"] = {name: {"addPrefix": {"prefix": target.path.rstrip("/")}}}
    balancer: dict[str, Any] = {"servers": [{"url": f"{target.scheme}://{target.netloc}"}]}
    if layout.transport and target.scheme == "https":
        balancer["serversTransport"] = layout.transport
    http["services"] = {name: {"loadBalancer": balancer}}
    return {"http": http}


def _above(layout: Layout, parent: Group | None) -> dict[str, Any]:
    """What a router is in front of: a group, or the entry points, which Traefik allows for the outermost ones only.

    The one parent is written as one value, which Traefik's decoder takes for a list: a node less to decode.
    """
    if parent is not None:
        return {"parentRefs": layout.names.group(parent)}
    return {"entryPoints": list(layout.entry_points)} if layout.entry_points else {}


def _pages(layout: Layout, parent: Group | None) -> dict[str, Any]:
    """The hub's pages, on the outermost routers only: what is in a group has them from there, and costs no key."""
    return {"middlewares": layout.pages} if layout.pages and parent is None else {}


def group_configuration(
    group: Group, parent: Group | None, active: bool, fallback: str | None, layout: Layout
) -> dict[str, Any]:
    """The dynamic configuration of a group.

    Args:
        group: the group.
        parent: the group it is in, None for none.
        active: whether requests may pass it.
        fallback: name of the service for requests that fit the group and nothing in it, None if there is none.
        layout: how routes are laid out as keys.
    """
    name = layout.names.group(group)
    rule = group.rule if active else NO_REQUEST
    routers: dict[str, Any] = {
        name: {"rule": rule, "priority": group.priority, **_above(layout, parent), **_pages(layout, parent)}
    }
    if fallback is not None:
        routers[layout.names.last(name)] = {"rule": group.last_rule, "service": fallback, "parentRefs": name}
    return {"http": {"routers": routers}}


def encode_record(route: Route) -> str:
    """The hub's record of a route, one JSON value; its key is the route's key."""
    spelling = "" if route.routespec == route.key else f',"routespec":{json.dumps(route.routespec)}'
    return f'{{"target":{json.dumps(route.target)},"data":{route.data_text}{spelling}}}'


def decode_record(key: str, value: str) -> Route:
    """A route from its record.

    Raises:
        InvalidRouteError: if the record is not one that :func:`encode_record` could have made.
    """
    try:
        record = json.loads(value)
        route = make_route(record.get("routespec", key), record["target"], record["data"])
    except InvalidRouteError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise InvalidRouteError(f"The record {key!r} in the store is not one of kvproxy's.") from None
    if route.key != key:
        raise InvalidRouteError(f"The record {key!r} in the store is about another route, {route.routespec!r}.")
    return route


def encode(route: Route, layout: Layout, parent: Group | None = None) -> Entry:
    """A route as what stands in the store, in a group or in none."""
    return Entry(flatten(route_configuration(route, layout, parent)), {route.key: encode_record(route)}, route)


def encode_group(group: Group, parent: Group | None, active: bool, fallback: str | None, layout: Layout) -> Entry:
    """A group as what stands in the store; see :func:`group_configuration`."""
    record = {_GROUP_RECORD + layout.names.group(group): json.dumps([group.prefix, *group.symbols])}
    return Entry(flatten(group_configuration(group, parent, active, fallback, layout)), record)


def group_of(entry: Entry, names: Names = ALONE) -> Group | None:
    """The group of an entry that was found in a store, None if it is none or is not one of kvproxy's."""
    for key, value in entry.records.items():
        with contextlib.suppress(ValueError, TypeError, RecursionError):
            prefix, *symbols = json.loads(value)
            group = Group(prefix, tuple(symbols))
            if group.proper and key == _GROUP_RECORD + names.group(group):
                return group
    return None


def is_active(entry: Entry, name: str) -> bool:
    """Whether requests may pass a group that was found in a store."""
    return entry.config.get(f"http/routers/{name}/rule") not in {None, NO_REQUEST}


def parent_name(entry: Entry, name: str) -> str | None:
    """The name of the group that an entry is in, None for none."""
    return entry.config.get(f"http/routers/{name}/parentRefs")


def encode_setup(configuration: Mapping[str, Any]) -> Entry:
    """The configuration that is not about routes, with a record of its keys.

    The record lets a later start remove what an earlier configuration had set and this one has not.
    """
    keys = flatten(configuration)
    manifest = json.dumps(sorted(keys), separators=(",", ":"))
    return Entry(keys, {SETUP: manifest} if keys else {})


def parse_revision(text: str) -> int | None:
    """A revision that Traefik shows, None for any other text."""
    return int(text) if _REVISION.fullmatch(text) else None


def stored_revision(text: str) -> int | None:
    """The revision in a store to go on from, None if kvproxy has not written it: it would have the time in ms."""
    return int(text) if _STORED_REVISION.fullmatch(text) else None


def _record_owner(key: str, names: Names) -> str:
    if key == SETUP:
        return SETUP
    return key.removeprefix(_GROUP_RECORD) if key.startswith(_GROUP_RECORD) else names.route(key)


def setup_keys(records: Mapping[str, str]) -> Iterable[str]:
    """The configuration keys that an earlier start set and that are not about routes."""
    try:
        manifest = json.loads(records.get(SETUP, "[]"))
    except (ValueError, RecursionError):
        return []
    return [key for key in manifest if isinstance(key, str)] if isinstance(manifest, list) else []


def group(
    config: Mapping[str, str], records: Mapping[str, str], setup: Iterable[str], names: Names = ALONE
) -> dict[str, Entry]:
    """What a store holds, sorted by the name of what it belongs to; keys of others are left out.

    Args:
        config: all keys below the root of the configuration.
        records: all records.
        setup: configuration keys that belong to the setup now (those of its stored manifest are added).
        names: how this hub calls its routers and services.
    """
    of_setup = {*setup, *setup_keys(records)}
    configs: dict[str, Keys] = {}
    for key, value in config.items():
        # Whatever a manifest says: a route's keys and the revision are no part of the setup.
        name = names.owner(key) or (SETUP if key in of_setup and key != names.revision_key else None)
        if name is not None:
            configs.setdefault(name, {})[key] = value
    recorded: dict[str, dict[str, str]] = {}
    for key, value in records.items():
        if not key.startswith(QUARANTINE):
            recorded.setdefault(_record_owner(key, names), {})[key] = value
    return {name: Entry(configs.get(name, {}), recorded.get(name, {})) for name in {**configs, **recorded}}


def route_of(entry: Entry) -> Route | None:
    """The route of an entry that was found in a store, None if its record is missing or is none of kvproxy's."""
    for key, value in entry.records.items():
        with contextlib.suppress(InvalidRouteError):
            return decode_record(key, value)
    return None

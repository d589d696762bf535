"""The translation layer: routing table <-> Traefik's dynamic configuration <-> flat keys; hub records as exact JSON.

A route becomes three keys (a router's rule and service, a service's URL), and a fourth, the priority, where the
length of the rule, which is Traefik's default, would put it in the wrong place. Each route's names come from a digest
of its routespec, digest first: Traefik looks up the children of a node one after another, and names that differ in
their first character are told apart at once.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from .errors import InvalidRouteError
from .routes import Route, make_route
from .rules import priority, rule

#: Characters of the digest in a name: 80 bits.
_DIGEST_LENGTH: Final = 16
#: Ends every name of ours. It marks the name as ours, and holds the letters that keep a digest of digits only
#: from being taken for a list index (seen in Traefik 3.7: such a router is broken without a word).
_SUFFIX: Final = "-kvp"
_OWNED = re.compile(rf"http/(?:routers|services|middlewares)/([a-z2-7]{{{_DIGEST_LENGTH}}}{_SUFFIX})/")

#: Name of the entry that holds everything that is not a route: API router, certificate, extra configuration.
SETUP: Final = "setup"
#: Where the revision of the configuration stands: a middleware that nothing uses and Traefik's API shows.
REVISION_NAME: Final = "kvproxy-revision"
REVISION_KEY: Final = f"http/middlewares/{REVISION_NAME}/headers/customResponseHeaders/X-Kvproxy-Revision"

Keys: TypeAlias = dict[str, str]


@dataclass(frozen=True)
class Entry:
    """What one route (or the setup) is in the store: configuration keys, and one record.

    Args:
        config: keys of the configuration and their values.
        records: key and value of the record; a mapping so that a wrongly spelled second record can be seen and removed.
        route: the route that was encoded, None for the setup and for what was found in a store.
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
    """

    entry_points: tuple[str, ...] = ()


def route_name(key: str) -> str:
    """The name of the router and the service of the route with this :attr:`~kvproxy.routes.RouteSpec.key`."""
    digest = hashlib.blake2b(key.encode(), digest_size=10).digest()
    return base64.b32encode(digest).decode().lower()[:_DIGEST_LENGTH] + _SUFFIX


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


def route_configuration(route: Route, layout: Layout) -> dict[str, Any]:
    """The dynamic configuration of one route."""
    name = route_name(route.key)
    text = rule(route.spec)
    router: dict[str, Any] = {"rule": text, "service": name}
    if (wanted := priority(route.spec)) != len(text):
        router["priority"] = wanted
    if layout.entry_points:
        router["entryPoints"] = list(layout.entry_points)
    target = urlsplit(route.target)
    http: dict[str, Any] = {"routers": {name: router}}
    if target.path not in {"", "/"}:
        # Traefik's servers have no path before 3.2 (`preservePath`); the middleware works in every 3.x.
        router["middlewares"] = [name]
        http["middlewares"] = {name: {"addPrefix": {"prefix": target.path.rstrip("/")}}}
    url = f"{target.scheme}://{target.netloc}"
    http["services"] = {name: {"loadBalancer": {"servers": [{"url": url}]}}}
    return {"http": http}


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
    except (ValueError, TypeError, KeyError, AttributeError):
        raise InvalidRouteError(f"The record {key!r} in the store is not one of kvproxy's.") from None
    if route.key != key:
        raise InvalidRouteError(f"The record {key!r} in the store is about another route, {route.routespec!r}.")
    return route


def encode(route: Route, layout: Layout) -> Entry:
    """A route as what stands in the store."""
    return Entry(flatten(route_configuration(route, layout)), {route.key: encode_record(route)}, route)


def encode_setup(configuration: Mapping[str, Any]) -> Entry:
    """The configuration that is not about routes, with a record of its keys.

    The record lets a later start remove what an earlier configuration had set and this one has not.
    """
    keys = flatten(configuration)
    manifest = json.dumps(sorted(keys), separators=(",", ":"))
    return Entry(keys, {SETUP: manifest} if keys else {})


def owner(config_key: str) -> str | None:
    """Name of the route whose key this is, None if it is no route's of ours."""
    match = _OWNED.match(config_key)
    return match.group(1) if match else None


def setup_keys(records: Mapping[str, str]) -> Iterable[str]:
    """The configuration keys that an earlier start set and that are not about routes."""
    try:
        manifest = json.loads(records.get(SETUP, "[]"))
    except ValueError:
        return []
    return [key for key in manifest if isinstance(key, str)] if isinstance(manifest, list) else []


def group(config: Mapping[str, str], records: Mapping[str, str], setup: Iterable[str]) -> dict[str, Entry]:
    """What a store holds, sorted by the name of what it belongs to; keys of others are left out.

    Args:
        config: all keys below the root of the configuration.
        records: all records.
        setup: configuration keys that belong to the setup now (those of its stored manifest are added).
    """
    of_setup = {*setup, *setup_keys(records)}
    configs: dict[str, Keys] = {}
    for key, value in config.items():
        name = SETUP if key in of_setup else owner(key)
        if name is not None:
            configs.setdefault(name, {})[key] = value
    recorded: dict[str, dict[str, str]] = {}
    for key, value in records.items():
        recorded.setdefault(SETUP if key == SETUP else route_name(key), {})[key] = value
    return {name: Entry(configs.get(name, {}), recorded.get(name, {})) for name in {**configs, **recorded}}


def route_of(entry: Entry) -> Route | None:
    """The route of an entry that was found in a store, None if its record is missing or is none of kvproxy's."""
    for key, value in entry.records.items():
        with contextlib.suppress(InvalidRouteError):
            return decode_record(key, value)
    return None

"""The data of jupyterhub-traefik-proxy 2.1 in a store, and the routes in it.

It keeps each value under a key of its own: what Traefik reads below ``kv_traefik_prefix``, and the ``routespec``, the
``target`` and ``data/…`` of each route below ``kv_jupyterhub_prefix``, in ``routes/router_…/`` (its ``proxy.py`` and
``kv_proxy.py``). All values are text: ``{"hub": True}`` has become ``{"hub": "true"}``. Empty objects are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

from ..errors import InvalidRouteError
from .flatten import Keys, flatten
from .route import Route, make_route

#: Keys that Traefik reads: of routes, and of the API's router and middleware.
_CONFIG: Final = re.compile(
    r"http/(?:routers/router_[^/]+|services/service_[^/]+|routers/route_api|middlewares/auth_api)/"
)
#: Keys of a route's record; in a configuration file they stand below ``jupyterhub``.
_RECORD: Final = re.compile(r"(?:jupyterhub/)?routes/(router_[^/]+)/(.+)")
#: The rules of its routers, and the key that says which of two routers wins. It never writes the latter.
_RULE: Final = re.compile(r"(http/routers/(?:router_[^/]+|route_api)/)rule")
_PRIORITY: Final = re.compile(r"http/routers/(?:router_[^/]+|route_api)/priority")
_API_ROUTER: Final = "http/routers/route_api/"
#: Beginnings of the keys that :func:`lowering` and :func:`left_routes` look at.
ROUTERS: Final = ("http/routers/router_", _API_ROUTER)
#: Added to the priority that a rule has by its length. No other router is behind this.
_BEHIND_ALL: Final = -1_000_000
_LOWERED: Final = re.compile("-9[0-9]{5}")
#: Data that JupyterHub gives as booleans; all else that it gives is text.
_BOOLEANS: Final = {"hub", "extra"}


@dataclass(frozen=True)
class PeerRoutes:
    """Routes and keys that were found.

    Args:
        routes: those that kvproxy can serve.
        refused: routespec (or the record's name) and the reason, of the others.
        records: the keys of each record, to remove them.
        older: how many others there are, which a hub of kvproxy's has put behind its own.
    """

    routes: Sequence[Route]
    refused: Sequence[tuple[str, str]]
    records: Sequence[Sequence[str]]
    older: int = 0


@dataclass(frozen=True)
class PeerEntry:
    """One route as jupyterhub-traefik-proxy keeps it.

    Args:
        name: of its router.
        config: keys that Traefik reads.
        records: keys below ``kv_jupyterhub_prefix`` or, in a file, below ``jupyterhub``.
    """

    name: str
    config: Keys = field(repr=False)
    records: Keys = field(repr=False)


def peer_entry(route: Route, entry_point: str) -> PeerEntry:
    """A route as jupyterhub-traefik-proxy 2.1 would add it (``generate_rule``, ``generate_alias``).

    Args:
        route: the route.
        entry_point: name of the public entry point.

    Raises:
        InvalidRouteError: if its rule would be a broken one.

    >>> peer_entry(make_route("/user/ada/", "http://h:1", {}), "http").name
    'router__2Fuser_2Fada_2F'
    """
    spec = unquote(route.routespec)
    if "`" in spec:
        raise InvalidRouteError("jupyterhub-traefik-proxy cannot serve a path with a back quote.")
    host, slash, path = spec.partition("/")
    path = slash + path
    rule = f"PathPrefix(`{path}`)" if path == "/" else f"( PathPrefix(`{path}`) || Path(`{path.rstrip('/')}`) )"
    alias = "".join(c if re.match("[A-Za-z0-9-]", c) else _escaped(c) for c in route.routespec)
    router, service = f"router_{alias}", f"service_{alias}"
    rule = f"Host(`{host}`) && {rule}" if host else rule
    server = {"servers": [{"url": route.target}], "passHostHeader": True}
    http = {
        "routers": {router: {"service": service, "rule": rule, "entryPoints": [entry_point]}},
        "services": {service: {"loadBalancer": server}},
    }
    data = route.as_dict()["data"]
    record = {"routespec": route.routespec, "target": route.target, "router": router, "service": service}
    records = flatten({"routes": {router: record | ({"data": data} if data else {})}})
    return PeerEntry(router, flatten({"http": http}), records)


def _escaped(character: str) -> str:
    return "".join(f"_{byte:X}" for byte in character.encode(errors="surrogatepass"))


def is_peers(config_key: str) -> bool:
    """True if a key below the root of the configuration is one of jupyterhub-traefik-proxy's.

    >>> is_peers("http/routers/router__2Fuser_2Fada_2F/rule"), is_peers("http/routers/mine/rule")
    (True, False)
    """
    return _CONFIG.match(config_key) is not None or _RECORD.fullmatch(config_key) is not None


def is_peers_record(record_key: str) -> bool:
    """True if the key of a record is that of one of jupyterhub-traefik-proxy's values, in a store with such keys."""
    # Each of kvproxy's own ends with a slash.
    return not record_key.endswith("/") and _RECORD.fullmatch(f"routes/{record_key}") is not None


def is_lowering(config_key: str, value: str) -> bool:
    """True if this is one of the keys that :func:`lowering` gives."""
    return _PRIORITY.fullmatch(config_key) is not None and _LOWERED.fullmatch(value) is not None


def lowering(config: Mapping[str, str], everything: bool) -> dict[str, str]:
    """Keys that put routers of jupyterhub-traefik-proxy behind all others, in the order that they had.

    Traefik takes the length of the rule for the priority of a router that has none (``GetRulePriority``, 3.0 to 3.7),
    and priorities may be negative. So one more key below its name takes the precedence from a router, and none of its
    own keys is changed.

    Args:
        config: all keys below the root of the configuration.
        everything: whether its routes are to be behind, too. If not, those are that are so already, and the router of
            the API, as the hub knows no password for that one.

    >>> lowering({"http/routers/router__2F/rule": "PathPrefix(`/`)"}, True)
    {'http/routers/router__2F/priority': '-999985'}
    """
    found = {}
    for key, rule in config.items():
        if match := _RULE.fullmatch(key):
            priority = f"{match[1]}priority"
            before = config.get(priority)
            if before is not None and not is_lowering(priority, before):
                continue
            if everything or before is not None or match[1] == _API_ROUTER:
                found[priority] = str(len(rule.encode(errors="surrogatepass")) + _BEHIND_ALL)
    return found


def left_routes(config: Iterable[str]) -> int:
    """Count the routes that jupyterhub-traefik-proxy has left in a configuration."""
    return sum(1 for key in config if key.startswith(ROUTERS[0]) and _RULE.fullmatch(key))


def peer_routes(keys: Mapping[str, str], config: Mapping[str, str] | None = None) -> PeerRoutes:
    """The routes in all keys below ``kv_jupyterhub_prefix``, or in a whole configuration file.

    Args:
        keys: all keys there.
        config: what Traefik reads. Of routes that are behind all others there, kvproxy's hub knows better.
    """
    fields: dict[str, dict[str, str]] = {}
    records: dict[str, list[str]] = {}
    # Sorted, as a store gives keys in any order and the same routes are to become the same records.
    for key, value in sorted(keys.items()):
        if match := _RECORD.fullmatch(key):
            fields.setdefault(match[1], {})[match[2]] = value
            records.setdefault(match[1], []).append(key)
    routes, refused = [], []
    older = {alias for alias in fields if _is_behind(alias, config or {})}
    for alias, record in fields.items():
        if alias in older:
            continue
        try:
            routes.append(_route(record))
        except InvalidRouteError as error:
            refused.append((record.get("routespec", alias), str(error)))
    return PeerRoutes(routes, refused, list(records.values()), len(older))


def _is_behind(router: str, config: Mapping[str, str]) -> bool:
    key = f"http/routers/{router}/priority"
    return is_lowering(key, config.get(key, ""))


def peer_groups(config_keys: Iterable[str]) -> list[list[str]]:
    """The keys that Traefik reads, those of each router, service or middleware together."""
    groups: dict[str, list[str]] = {}
    for key in config_keys:
        if match := _CONFIG.match(key):
            groups.setdefault(match[0], []).append(key)
    return list(groups.values())


def _route(record: Mapping[str, str]) -> Route:
    missing = [name for name in ("routespec", "target") if name not in record]
    if missing:
        raise InvalidRouteError(f"Its record has no {missing[0]}.")
    data = _nested((key.split("/")[1:], value) for key, value in record.items() if key.startswith("data/"))
    booleans = {key: data[key] == "true" for key in _BOOLEANS & data.keys() if data[key] in {"true", "false"}}
    return make_route(record["routespec"], record["target"], {**data, **booleans})


def _nested(pairs: Iterable[tuple[list[str], str]]) -> dict[str, Any]:
    """Flat keys as objects and lists.

    >>> _nested([(["user"], "ada"), (["tags", "0"], "x"), (["tags", "1"], "y")])
    {'user': 'ada', 'tags': ['x', 'y']}
    """
    tree: dict[str, Any] = {}
    for path, value in pairs:
        at = tree
        for part in path[:-1]:
            below = at.setdefault(part, {})
            # A value where others have a tree is nothing that the peer writes.
            at = below if isinstance(below, dict) else {}
        at[path[-1]] = value
    return {key: _listed(value) for key, value in tree.items()}


def _listed(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    values = {key: _listed(value) for key, value in node.items()}
    indices = [str(index) for index in range(len(values))]
    return [values[index] for index in indices] if values and values.keys() == set(indices) else values

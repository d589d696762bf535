"""Apply a hook to one route: its input, the fields that it may change, and errors in its answer.

A hook is given a mapping in the words of Traefik's file provider::

    {
        "router": {"middlewares": []},
        "service": {"loadBalancer": {"servers": [{"url": "http://127.0.0.1:40001"}]}},
        "middlewares": {},
    }

and changes it, or gives back another one. Where the route begins, its rule and its place among the others are
kvproxy's. Nothing here does I/O, and what comes out depends on the route and on the hooks alone.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

from ..errors import HookError, InvalidRouteError
from ..routing.names import Names
from ..routing.route import Route, parse_target
from ..traefik.schema import MIDDLEWARE, ROUTER, SERVICE, Fields
from ..traefik.validation import SchemaError, validate

#: A hook's input and answer.
Configuration: TypeAlias = dict[str, Any]

_PARTS: Final = ("router", "service", "middlewares")
#: Fields of a router that are kvproxy's own.
_OURS: Final = ("rule", "ruleSyntax", "service", "priority", "parentRefs", "entryPoints")
#: Fields that Traefik allows for routers without a parent only (``ParseRouterTree``, 3.7).
_OUTERMOST: Final = ("tls", "observability")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


@dataclass(frozen=True)
class Hook:
    """One hook.

    Args:
        name: what it is in a sentence: ``c.TraefikProxy.route_hook``, ``the plugin 'limits'``.
        call: the function.
    """

    name: str
    call: Callable[..., Any]


@dataclass(frozen=True)
class Hooks:
    """All hooks of a proxy, in the order in which they are called.

    Args:
        route_configuration: change a route; called with the route and its configuration.
        route_added: notified of a route that is served; called with the route and the seconds that it took.
        route_deleted: notified of a route that is gone from the store; called with its routespec.
        route_failed: notified of a route that is not as it was asked for; called with its routespec and the error.
    """

    route_configuration: tuple[Hook, ...] = ()
    route_added: tuple[Hook, ...] = ()
    route_deleted: tuple[Hook, ...] = ()
    route_failed: tuple[Hook, ...] = ()

    def then(self, later: Hooks) -> Hooks:
        """These, and behind them some more."""
        return Hooks(
            self.route_configuration + later.route_configuration,
            self.route_added + later.route_added,
            self.route_deleted + later.route_deleted,
            self.route_failed + later.route_failed,
        )

    @property
    def changing(self) -> list[str]:
        """Names of the hooks that change routes."""
        return [hook.name for hook in self.route_configuration]

    @property
    def observing(self) -> bool:
        """True if there is a hook to notify."""
        return bool(self.route_added or self.route_deleted or self.route_failed)


def customizing(hooks: Sequence[Hook]) -> Callable[[dict[str, Any], Route, Names], bool] | None:
    """Hooks as the one function that a layout takes, None if there are none; see :func:`apply_hooks`."""
    return partial(apply_hooks, hooks=tuple(hooks)) if hooks else None


def apply_hooks(http: dict[str, Any], route: Route, names: Names, hooks: Iterable[Hook]) -> bool:
    """Let hooks change the configuration of a route.

    Args:
        http: the section ``http`` of the route's dynamic configuration, as kvproxy has it; it is changed.
        route: the route.
        names: how the hub calls routers, services and middlewares.
        hooks: called one after another, each with what the one before made.

    Returns:
        whether the router may have no parent now.

    Raises:
        HookError: that names the hook and the route.
    """
    name = names.route(route.key)
    router = http["routers"][name]
    configuration: Configuration = {
        "router": {"middlewares": []},
        "service": http["services"][name],
        "middlewares": {},
    }
    for hook in hooks:
        configuration = _ask(hook, route, configuration)
    own = {given: names.middleware(route.key, given) for given in configuration["middlewares"]}
    changed = configuration["router"]
    # kvproxy's own come last: what they do to a request is for the server.
    if order := [*(own.get(given, given) for given in _in_order(configuration)), *router.get("middlewares", ())]:
        router["middlewares"] = order
    router |= {field: changed[field] for field in _OUTERMOST if field in changed}
    http["services"][name] = configuration["service"]
    if own:
        made = {own[given]: _renamed(one, own) for given, one in configuration["middlewares"].items()}
        http["middlewares"] = {**made, **http.get("middlewares", {})}
    return any(field in changed for field in _OUTERMOST)


def _ask(hook: Hook, route: Route, configuration: Configuration) -> Configuration:
    spec = route.routespec
    try:
        answer = hook.call(route, configuration)
    except Exception as error:
        raise HookError(f"{hook.name} failed for the route {spec!r}: {type(error).__name__}: {error}", spec) from error
    if inspect.isawaitable(answer):
        if inspect.iscoroutine(answer):
            answer.close()
        raise HookError(f"{hook.name} is asynchronous; what changes the route {spec!r} must not be.", spec)
    try:
        return check_configuration(configuration if answer is None else answer)
    except SchemaError as why:
        raise HookError(f"{hook.name} gives the route {spec!r} {why}.", spec) from None


def check_configuration(given: Any) -> Configuration:
    """A copy of what a hook gave back.

    Raises:
        SchemaError: if Traefik could not read it, or it changes what is kvproxy's; the text goes on after "the route".
    """
    if not isinstance(given, Mapping):
        raise SchemaError(f"a {type(given).__name__} instead of a configuration or None")
    if unknown := [part for part in given if part not in _PARTS]:
        raise SchemaError(f"{unknown[0]!r}, which is not one of {', '.join(_PARTS)}")
    if missing := [part for part in _PARTS if not isinstance(given.get(part), Mapping)]:
        raise SchemaError(f"no mapping {missing[0]!r}")
    configuration = {
        "router": _check_router(given["router"]),
        "service": _check_service(given["service"]),
        "middlewares": {name: _check_middleware(name, one) for name, one in given["middlewares"].items()},
    }
    _check_names(configuration["middlewares"])
    _check_chains(configuration)
    return configuration


def _check_router(router: Mapping[str, Any]) -> dict[str, Any]:
    if ours := [field for field in router if field in _OURS]:
        raise SchemaError(f"router.{ours[0]}, which is kvproxy's")
    kind = Fields(ROUTER.known, may_be_empty=True)
    # An empty list says nothing.
    given = {field: value for field, value in router.items() if field != "middlewares" or value not in ([], ())}
    return {"middlewares": [], **validate(given, kind, "router")}


def _check_service(service: Mapping[str, Any]) -> dict[str, Any]:
    if "loadBalancer" not in service or not isinstance(service["loadBalancer"], Mapping):
        raise SchemaError("a service without a loadBalancer")
    if not service["loadBalancer"].get("servers"):
        raise SchemaError("a service without servers")
    found: dict[str, Any] = validate(service, SERVICE, "service")
    for server in found["loadBalancer"]["servers"]:
        if "url" not in server:
            raise SchemaError("a server without a url")
        try:
            parse_target(server["url"])
        except InvalidRouteError as error:
            raise SchemaError(f"an invalid server: {str(error).rstrip('.')}") from None
    return found


def _check_middleware(name: Any, one: Any) -> dict[str, Any]:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SchemaError(f"a middleware with the name {name!r}; at most 40 of A-Z, a-z, 0-9, '-' and '_' make one")
    found: dict[str, Any] = validate(one, MIDDLEWARE, f"middlewares.{name}")
    if len(found) > 1:
        raise SchemaError(f"middlewares.{name} of several kinds, {', '.join(found)}; make one of each")
    return found


def _check_names(middlewares: Mapping[str, Any]) -> None:
    seen: dict[str, str] = {}
    for name in middlewares:
        other = seen.setdefault(name.lower().replace("-", "_"), name)
        if other != name:
            raise SchemaError(f"middlewares {other!r} and {name!r}, whose names are too much alike")


def _check_chains(configuration: Configuration) -> None:
    middlewares = configuration["middlewares"]
    chained = {name for one in middlewares.values() for name in _chained(one)}
    if inner := [name for name in chained if _chained(middlewares.get(name, {}))]:
        raise SchemaError(f"middlewares.{inner[0]}, a chain, inside of a chain")


def _in_order(configuration: Configuration) -> Sequence[str]:
    """Return the middlewares that the router names, then the others: each one that was made is used."""
    middlewares, named = configuration["middlewares"], configuration["router"]["middlewares"]
    used = {*named, *(name for one in middlewares.values() for name in _chained(one))}
    return [*named, *(name for name in middlewares if name not in used)]


def _chained(one: Mapping[str, Any]) -> Sequence[str]:
    return list(one["chain"].get("middlewares", ())) if "chain" in one else ()


def _renamed(one: Mapping[str, Any], own: Mapping[str, str]) -> Mapping[str, Any]:
    if "chain" not in one:
        return one
    return {"chain": {"middlewares": [own.get(name, name) for name in _chained(one)]}}

"""The hooks that a plugin can implement: to provide backends, to change routes, and to observe them.

A plugin is a distribution with an entry point in the group ``kvproxy`` that names a module. The module has at least one
function that is named like a hook here and marked with :data:`hookimpl`. A function may leave out arguments that it
does not use. The backends that come with kvproxy are made the same way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from typing import Any

import pluggy

from .routing.route import Route

#: Name of the pluggy project and of the entry-point group.
PROJECT = "kvproxy"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@dataclass(frozen=True)
class Backend:
    """A kind of store for routes.

    Args:
        name: a short unique name, such as ``"redis"``.
        schemes: the schemes of its URLs, such as ``("redis", "rediss")``; also unique.
        proxy_class: ``"module:ClassName"`` of its :class:`~kvproxy.proxy.base.KVTraefikProxy`. It is imported only
            when it is used, so that a missing client library does not affect other backends.
        url_trait: name of the trait of that class that takes the URL.

    Example::

        Backend("redis", ("redis", "rediss", "unix"), "kvproxy_redis.proxy:TraefikRedisProxy", "redis_url")
    """

    name: str
    schemes: tuple[str, ...]
    proxy_class: str
    url_trait: str


@hookspec
def kvproxy_backends() -> Iterable[Backend]:  # type: ignore[empty-body]
    """Return the backends that this plugin provides. Called once, when a backend is looked up.

    Importing the module and calling the hook must not need the store's client library.

    Example::

        from kvproxy.hookspecs import Backend, hookimpl

        @hookimpl
        def kvproxy_backends():
            return [Backend("redis", ("redis", "rediss"), "kvproxy_redis.proxy:TraefikRedisProxy", "redis_url")]
    """


@hookspec
def kvproxy_route_configuration(route: Route, configuration: dict[str, Any]) -> dict[str, Any] | None:
    """Change the configuration of a route that Traefik gets, in place or by returning another one.

    Called before a route is written and, at the hub's start, for each route in the store. The result must depend on the
    route alone, as it is compared with the contents of the store. The function must not be asynchronous.

    The plugins are called in pluggy's order, then ``c.TraefikProxy.route_hook``, each with the one before's result.

    Args:
        route: the route, with ``routespec``, ``target``, ``data`` (a copy) and ``spec`` (host and decoded segments of
            the path).
        configuration: the sections ``router`` (its ``middlewares``, ``tls`` and ``observability``), ``service`` (a
            ``loadBalancer`` with its ``servers``) and ``middlewares``, with the fields of Traefik's file provider. The
            names of ``middlewares`` are valid for this route only. They are used in the order in which the router
            names them; those that it does not name follow in the order of this section. Any other name in the router
            refers to a middleware elsewhere: in ``c.TraefikProxy.extra_dynamic_config``, or ``name@provider``.

    Raises:
        Exception: any exception; the hub gets a :class:`~kvproxy.errors.HookError` and the route is not served. The
            same happens if Traefik could not read the result, or if it changes a part that belongs to kvproxy.

    Example::

        from kvproxy.hookspecs import hookimpl

        @hookimpl
        def kvproxy_route_configuration(route, configuration):
            if "user" in route.data:
                configuration["middlewares"]["limit"] = {"rateLimit": {"average": 100, "burst": 200}}
    """


@hookspec
def kvproxy_route_added(route: Route, seconds: float) -> Awaitable[None] | None:
    """Handle a new or changed route that every Traefik serves. May be asynchronous; a failure is only logged.

    Args:
        route: the route as the hub added it.
        seconds: seconds since the hub asked for it.

    Example::

        from kvproxy.hookspecs import hookimpl

        @hookimpl
        def kvproxy_route_added(route, seconds):
            print(f"{route.routespec} leads to {route.target} after {seconds:.3f} s")
    """


@hookspec
def kvproxy_route_deleted(routespec: str) -> Awaitable[None] | None:
    """Handle a route that is gone from the store. May be asynchronous; a failure is only logged.

    Args:
        routespec: the route's routespec in the hub.

    Example::

        from kvproxy.hookspecs import hookimpl

        @hookimpl
        async def kvproxy_route_deleted(routespec):
            print(f"{routespec} is gone")
    """


@hookspec
def kvproxy_route_failed(routespec: str, error: Exception) -> Awaitable[None] | None:
    """Handle a failed route, one not added, changed or removed in time. May be asynchronous; a failure is only logged.

    Args:
        routespec: the route's routespec in the hub.
        error: one of :mod:`kvproxy.errors`, with a sentence for the administrator.

    Example::

        from kvproxy.hookspecs import hookimpl

        @hookimpl
        def kvproxy_route_failed(routespec, error):
            print(f"{routespec}: {error}")
    """

"""The hooks that a plugin can implement: which backends it has, what it changes in a route, what it wants to be told.

A plugin is a distribution with an entry point in the group ``kvproxy`` that names a module; the module has functions
named like the hooks here and marked with :data:`hookimpl`, at least one of them; each may leave out arguments that it
has no use for. The backends that come with kvproxy are made the same way.
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
    """A kind of store that routes can be kept in.

    Args:
        name: a short name, such as ``"redis"``; no two backends may share one.
        schemes: the schemes of the URLs that lead to it, such as ``("redis", "rediss")``; likewise.
        proxy_class: ``"module:ClassName"`` of its :class:`~kvproxy.proxy.base.KVTraefikProxy`. It is imported only
            when it is used, so that a missing client library hurts nobody else.
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
    """The backends that this plugin provides. Called once, when a backend is looked for.

    Importing the module and calling the hook must not need the store's client library.

    Example::

        from kvproxy.hookspecs import Backend, hookimpl

        @hookimpl
        def kvproxy_backends():
            return [Backend("redis", ("redis", "rediss"), "kvproxy_redis.proxy:TraefikRedisProxy", "redis_url")]
    """


@hookspec
def kvproxy_route_configuration(route: Route, configuration: dict[str, Any]) -> dict[str, Any] | None:
    """Change what Traefik is told of a route, in place or by giving back another configuration.

    Called before a route is written and, at the hub's start, for each that the store holds. The answer must follow from
    the route alone: it is compared with what stands in the store. The function must not be asynchronous.

    The plugins are called in pluggy's order, then ``c.TraefikProxy.route_hook``, each with what the one before made.

    Args:
        route: with ``routespec``, ``target``, ``data`` (a copy) and ``spec`` (host and decoded segments of the path).
        configuration: in the words of Traefik's file provider: ``router`` (its ``middlewares``, ``tls`` and
            ``observability``), ``service`` (a ``loadBalancer`` with its ``servers``) and ``middlewares``, by names that
            count for this route only. They are used in the order in which the router names them; those that it does
            not name follow in the order in which they stand here. A name that is not among them is that of a
            middleware elsewhere: of ``c.TraefikProxy.extra_dynamic_config``, or ``name@provider``.

    Raises:
        Exception: anything; the hub gets a :class:`~kvproxy.errors.HookError` and the route is not served so. What
            Traefik could not read, or what is kvproxy's own, comes to the same.

    Example::

        from kvproxy.hookspecs import hookimpl

        @hookimpl
        def kvproxy_route_configuration(route, configuration):
            if "user" in route.data:
                configuration["middlewares"]["limit"] = {"rateLimit": {"average": 100, "burst": 200}}
    """


@hookspec
def kvproxy_route_added(route: Route, seconds: float) -> Awaitable[None] | None:
    """A route, or a change of one, is served by every Traefik. May be asynchronous; a failure is only logged.

    Args:
        route: as the hub asked for it.
        seconds: from when the hub asked for it.

    Example::

        from kvproxy.hookspecs import hookimpl

        @hookimpl
        def kvproxy_route_added(route, seconds):
            print(f"{route.routespec} leads to {route.target} after {seconds:.3f} s")
    """


@hookspec
def kvproxy_route_deleted(routespec: str) -> Awaitable[None] | None:
    """A route is gone from the store. May be asynchronous; a failure is only logged.

    Args:
        routespec: as the hub had it.

    Example::

        from kvproxy.hookspecs import hookimpl

        @hookimpl
        async def kvproxy_route_deleted(routespec):
            print(f"{routespec} is gone")
    """


@hookspec
def kvproxy_route_failed(routespec: str, error: Exception) -> Awaitable[None] | None:
    """A route could not be added or changed, or not be removed in time. May be asynchronous; a failure is only logged.

    Args:
        routespec: as the hub has it.
        error: one of :mod:`kvproxy.errors`, with a sentence for the administrator.

    Example::

        from kvproxy.hookspecs import hookimpl

        @hookimpl
        def kvproxy_route_failed(routespec, error):
            print(f"{routespec}: {error}")
    """

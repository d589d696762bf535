"""The hooks that a plugin can implement: one, which says what backends it has.

A plugin is a distribution with an entry point in the group ``kvproxy`` that names a module; the module has functions
named like the hooks here and marked with :data:`hookimpl`. The backends that come with kvproxy are made the same way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pluggy

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
        proxy_class: ``"module:ClassName"`` of its :class:`~kvproxy.proxy.KVTraefikProxy`. It is imported only when it
            is used, so that a missing client library hurts nobody else.
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

"""The target of a request: longest-prefix matching on path segments, written down once.

The reference is the trie of configurable-http-proxy: of all routes whose host is the request's (or who have none) and
whose segments begin the request's path, a route with a host wins over one without, and then the longest one wins.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote

from kvproxy.routing.route import Route


def segments_of(path: str) -> tuple[str, ...]:
    """The decoded segments of a request's path, as it stands in the request line.

    >>> segments_of("/user/a%2Fb/lab?x=1")
    ('user', 'a/b', 'lab')
    """
    raw = path.partition("?")[0].removeprefix("/")
    return tuple(unquote(segment) for segment in raw.split("/"))


def lead(routes: Iterable[Route], host: str, path: str) -> Route | None:
    """The route that a request must reach, None if none.

    Args:
        routes: the routing table.
        host: the request's host without a port.
        path: the request's path as it stands in the request line.
    """
    wanted = segments_of(path)
    fitting = [
        route
        for route in routes
        if route.spec.host in {"", host.lower()} and wanted[: len(route.spec.segments)] == route.spec.segments
    ]
    return max(fitting, key=lambda route: (route.spec.host != "", len(route.spec.segments)), default=None)

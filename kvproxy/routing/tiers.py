"""The decision which routes may be in the hot tier, and which of them are moved to the base tier next.

With two tiers, requests come to the *base* Traefik, which has all settled routes and leads everything else to the *hot*
one, which has the newest routes. The base Traefik answers first. So a route is in the hot tier only if no base Traefik
has, or may still have, a route that would take its requests.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final

from .route import RouteSpec

#: The route for all paths of all hosts. The base Traefik's leads to the hot one, and the hub's own is in the hot tier.
EVERYTHING: Final = RouteSpec("", ())


def covering(spec: RouteSpec) -> Iterator[RouteSpec]:
    """Return the places of all routes, the one itself among them, that match every request for a route.

    The one for everything is left out. It never wins over another route.

    >>> [place.key for place in covering(RouteSpec("", ("user", "ada")))]
    ['/user/', '/user/ada/']
    """
    for host in dict.fromkeys(("", spec.host)):
        for length in range(len(spec.segments) + 1):
            if (place := RouteSpec(host, spec.segments[:length])) != EVERYTHING:
                yield place


def may_be_hot(spec: RouteSpec, served: Callable[[RouteSpec], bool]) -> bool:
    """Return True if a route in the hot tier would get all its requests.

    Args:
        spec: the place of the route.
        served: returns True for the place of a route that a base Traefik may serve.
    """
    return not any(map(served, covering(spec)))


def movable(hot: Collection[RouteSpec]) -> list[RouteSpec]:
    """Return the hot routes that can be moved to the base tier now.

    A base Traefik that has a route answers all requests below it, too. So a route has to wait for the hot routes that
    it covers.
    """
    waiting = {place for spec in hot for place in covering(spec) if place != spec}
    return [spec for spec in hot if spec not in waiting and spec != EVERYTHING]


def below(spec: RouteSpec, hot: Iterable[RouteSpec]) -> list[RouteSpec]:
    """Return the hot routes that a route covers, itself excepted."""
    return [other for other in hot if other != spec and spec in set(covering(other))]

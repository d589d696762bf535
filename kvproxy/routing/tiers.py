"""The decision which routes may be in the hot tier, and which of them are moved to the base tier next.

With two tiers, requests come to the *base* Traefik, which has all settled routes and leads everything else to the *hot*
one, which has the newest routes. The base Traefik answers first. So a route is in the hot tier only if no base Traefik
has, or may still have, a route that would take its requests.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from .route import Route, RouteSpec, make_route

#: The route for all paths of all hosts.
EVERYTHING: Final = RouteSpec("", ())

#: Data of the base route that leads to the hot Traefik; the hub's own routes have others.
_MARK: Final = {"kvproxy_tier": "hot"}

#: The number of routes from which on a second Traefik is worthwhile: with fewer, an addition costs a few tens of
#: milliseconds (benchmarks/tiers.py).
WORTHWHILE: Final = 300


@dataclass(frozen=True)
class CatchAll:
    """The base Traefik's routes to the hot one, and to the hub.

    Args:
        url: URL of the hot Traefik's entry point, for all paths without a route of their own.
        place: where these paths are: the place of the hub's own route.
        hub_pages: place of the hub's own pages, to which the base Traefik leads by itself, so that they do not depend
            on the hot one; None if it does not.
    """

    url: str
    place: RouteSpec = EVERYTHING
    hub_pages: RouteSpec | None = None

    @property
    def places(self) -> list[RouteSpec]:
        """The places of the base routes that are not the hub's."""
        return [place for place in (self.place, self.hub_pages) if place is not None]

    @cached_property
    def route(self) -> Route:
        """The base route that leads to the hot Traefik."""
        return make_route(self.place.key, self.url, _MARK)

    def leads(self, found: Route | None) -> bool:
        """Return True if the base tier leads to the hot Traefik.

        Args:
            found: the route that the base tier has at this place, None if there is none.
        """
        # Not by its target: the hot Traefik may have had another address at the last start.
        return found is not None and found.data_text == self.route.data_text


def covering(spec: RouteSpec, catch_all: RouteSpec = EVERYTHING) -> Iterator[RouteSpec]:
    """Return the places of all routes, the one itself among them, that would take a route's requests from the hot tier.

    They match all its requests, and win over the route that leads to the hot tier.

    Args:
        spec: the place of the route.
        catch_all: the place of the route that leads to the hot tier.

    >>> [place.key for place in covering(RouteSpec("", ("user", "ada")))]
    ['/user/', '/user/ada/']
    """
    for host in dict.fromkeys(("", spec.host)):
        for length in range(len(spec.segments) + 1):
            if _wins(place := RouteSpec(host, spec.segments[:length]), catch_all):
                yield place


def _wins(place: RouteSpec, catch_all: RouteSpec) -> bool:
    if bool(place.host) != bool(catch_all.host):
        return bool(place.host)
    return len(place.segments) > len(catch_all.segments)


def is_below(spec: RouteSpec, catch_all: RouteSpec) -> bool:
    """Return True if another route would get all requests for a place."""
    path = spec.segments[: len(catch_all.segments)]
    return spec != catch_all and catch_all.host in ("", spec.host) and path == catch_all.segments


def may_be_hot(
    spec: RouteSpec, served: Callable[[RouteSpec], bool], hostless: bool, catch_all: RouteSpec = EVERYTHING
) -> bool:
    """Return True if a route in the hot tier would get all its requests.

    Args:
        spec: the place of the route.
        served: returns True for the place of a route that a base Traefik may serve.
        hostless: True if a base Traefik may serve routes for all hosts, other than the one that leads to the hot tier.
            Such a route would win there over a hot one with a host, which is to win over all of them.
        catch_all: the place of the route that leads to the hot tier.
    """
    led = is_below(spec, catch_all) and not (spec.host and hostless)
    return led and not any(map(served, covering(spec, catch_all)))


def movable(hot: Collection[RouteSpec], catch_all: RouteSpec = EVERYTHING) -> list[RouteSpec]:
    """Return the hot routes that can be moved to the base tier now.

    A base Traefik that has a route takes requests from hot ones: from those that the route covers, and those with a
    host if it has none. So it has to wait for these.
    """
    waiting = {place for spec in hot for place in covering(spec, catch_all) if place != spec}
    hosts = any(spec.host for spec in hot)
    return [spec for spec in hot if spec not in waiting and spec != catch_all and (spec.host or not hosts)]


def hindering(spec: RouteSpec, hot: Iterable[RouteSpec], catch_all: RouteSpec = EVERYTHING) -> list[RouteSpec]:
    """Return the hot routes that have to be moved before a route comes to the base tier; see :func:`movable`."""
    others = (other for other in hot if other not in (spec, catch_all))
    return [other for other in others if spec in set(covering(other, catch_all)) or (other.host and not spec.host)]

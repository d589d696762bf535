"""Two tiers of routes, each kept by a reconciler of its own: all settled routes, and the newest ones.

A Traefik reads and rebuilds its whole table at each change. With two tiers, a new route changes only the small table of
a second Traefik, the *hot* one, to which the *base* Traefik leads all requests that it has no route for. From time to
time the hot routes are moved to the base tier, all in one commit.

A route is moved by the same operations as any other: it is added to the base tier, the base Traefik is seen to serve
it, and only then it is deleted from the hot tier. Meanwhile it is in both, and either answers correctly. A hub that
ends in between leaves it so, and the next one goes on with it. docs/explanation/two-tiers.md has a picture.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

from .._text import counted
from .._types import Log
from ..errors import KVProxyError
from ..routing.route import Route, RouteSpec, make_route
from ..routing.tiers import EVERYTHING, hindering, may_be_hot, movable
from ..traefik.replicas import Replica
from .reconciler import Reconciler

#: The number of settled routes for each hot route from which on the hot ones are moved, and the most hot ones then
#: (benchmarks/tiers.py).
_SETTLED_EACH: Final = 24
_MOST: Final = 256
#: Seconds between two attempts to move routes if one has failed.
_PAUSE: Final = 5.0


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
        return make_route(self.place.key, self.url, {})

    def leads(self, found: Route | None) -> bool:
        """Return True if the base tier leads to the hot Traefik.

        Args:
            found: the route that the base tier has at this place, None if there is none.
        """
        return found is not None and found.target == self.route.target


async def drop_unreachable(base: Reconciler, hot: Reconciler, catch_all: CatchAll, timeout: float) -> None:
    """Remove the routes that an earlier hub has left in a hot tier to which the base Traefik does not lead.

    Since that hub was killed, another one may have had a single tier, and the hot routes have become old.

    Args:
        base: keeps the settled routes.
        hot: keeps the hot ones, before there are any of this hub.
        catch_all: leads from one to the other.
        timeout: seconds for the store.

    Raises:
        KVProxyError: if the store cannot be written to.
    """
    # A store that was emptied cannot tell what the base Traefik has loaded from it before.
    if not base.held_back and not catch_all.leads(base.route(catch_all.place)):
        await asyncio.gather(*(hot.remove(route.key, timeout) for route in list(hot.routes())))


class CountedTier:
    """One of two tiers, for the metrics.

    Args:
        tier: keeps its routes.
        leading: the number of its routes that only lead to the other tier.
    """

    def __init__(self, tier: Reconciler, leading: int) -> None:
        self._tier, self._leading = tier, leading

    @property
    def count(self) -> int:
        """The number of the hub's routes in this tier."""
        return max(self._tier.count - self._leading, 0)

    @property
    def waiting(self) -> int:
        """See :attr:`.Status.waiting`."""
        return self._tier.waiting

    @property
    def revision(self) -> int:
        """See :attr:`.Status.revision`."""
        return self._tier.revision

    @property
    def replicas(self) -> list[Replica]:
        """See :attr:`.Status.replicas`."""
        return self._tier.replicas


class Tiers:
    """The routing table in two tiers.

    Args:
        base: keeps the settled routes.
        hot: keeps the newest routes, and the one for everything.
        catch_all: leads from one to the other.
        timeout: seconds that a move may take.
        log: takes the message that routes cannot be moved.
        many: the number of hot routes from which on they are moved, at least; more if moving them costs more.
        old: seconds after which a hot route is moved even if there are few, at least; likewise more.
    """

    def __init__(
        self,
        base: Reconciler,
        hot: Reconciler,
        catch_all: CatchAll,
        timeout: float,
        log: Log,
        *,
        many: int = 64,
        old: float = 60.0,
    ) -> None:
        self._base, self._hot, self._catch_all = base, hot, catch_all
        self._place = place = catch_all.place
        self._default = catch_all.route
        self._timeout = timeout
        self._log = log
        self._many, self._old = many, old
        self._since: dict[RouteSpec, float] = {}
        # True once the base tier has had a route for all hosts, other than the one for everything.
        settled = (route.spec for route in base.routes())
        self._hostless = any(not spec.host for spec in [*catch_all.places, *settled] if spec != place)
        self._due = asyncio.Event()

    @property
    def hot(self) -> dict[RouteSpec, Route]:
        """The routes in the hot tier by their places, without the one for everything."""
        return {route.spec: route for route in self._hot.routes() if route.spec != self._place}

    @property
    def count(self) -> int:
        """The number of the hub's routes."""
        lead = sum(self._base.route(place) is not None for place in self._catch_all.places)
        both = sum(self._base.route(spec) is not None for spec in self.hot)
        return self._base.count - lead + self._hot.count - both

    async def add(self, route: Route, timeout: float) -> None:
        """See :meth:`.Reconciler.add`."""
        if route.spec == self._place:
            await self._add_everything(route, timeout)
        elif await self._may_be_hot(route):
            if self._hot.count >= self._enough:
                self._due.set()
            await self._hot.add(route, timeout)
        else:
            await self._add_to_base(route, timeout)

    async def _add_everything(self, route: Route, timeout: float) -> None:
        # The hot one first, which the base one leads to.
        await self._hot.add(route, timeout)
        await self._lead(route, timeout)

    async def _lead(self, everything: Route | None, timeout: float) -> None:
        led = [self._default]
        if everything is not None and (pages := self._catch_all.hub_pages) is not None:
            led.append(replace(everything, spec=pages, routespec=pages.key))
        await asyncio.gather(*(self._base.serve(one, timeout) for one in led))

    @property
    def _leads(self) -> bool:
        """True if the base Traefik leads to the hot one."""
        return self._catch_all.leads(self._base.route(self._place)) and self._base.serves(self._place)

    async def _add_to_base(self, route: Route, timeout: float) -> None:
        while others := hindering(route.spec, self.hot, self._place):
            await self._move(movable(others, self._place), timeout)
        self._hostless = self._hostless or not route.spec.host
        await self._base.add(route, timeout)

    async def _may_be_hot(self, route: Route) -> bool:
        # A route that hooks have changed may depend on being the first to see the request.
        if not self._leads or not self._hot.answers or self._base.hooked(route):
            return False
        # Requests come by the base Traefik, which may just have died.
        await self._base.look()
        # One that leads to the hot Traefik has loaded what this hub has written, so it serves nothing unknown.
        if not self._leads or self._base.may_misroute(route):
            return False
        return may_be_hot(route.spec, self._base.may_serve, self._hostless, self._place)

    async def delete(self, key: str, timeout: float) -> None:
        """See :meth:`.Reconciler.delete`."""
        if key == self._place.key:
            led = [pages.key] if (pages := self._catch_all.hub_pages) is not None else []
            await asyncio.gather(self._hot.delete(key, timeout), *(self._base.remove(one, timeout) for one in led))
        elif (settled := self._base.get(key)) is not None:
            # A hot route that leads there has taken over the address of its server.
            may_wait = not self._hot.leads_to(settled["target"])
            base = self._base.delete(key, timeout, may_wait=may_wait)
            await asyncio.gather(self._hot.remove(key, timeout), base)
        else:
            await asyncio.gather(self._hot.delete(key, timeout), self._base.remove(key, timeout))

    def get(self, key: str) -> dict[str, Any] | None:
        """See :meth:`.Reconciler.get`. A route in both tiers is as in the base tier, which answers first."""
        if key == self._place.key:
            return self._hot.get(key)
        if any(key == place.key for place in self._catch_all.places):
            return None
        return self._base.get(key) or self._hot.get(key)

    def merge(self, base: Mapping[str, dict[str, Any]], hot: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Return the routes of both tiers by routespec, each once and without those that lead to the other tier."""
        own = {place.key for place in self._catch_all.places}
        return {**hot, **{routespec: route for routespec, route in base.items() if routespec not in own}}

    @contextmanager
    def checking(self) -> Iterator[None]:
        """See :meth:`.Reconciler.checking`."""
        with ExitStack() as stack:
            stack.enter_context(self._hot.checking())
            stack.enter_context(self._base.checking())
            yield

    async def run(self) -> None:
        """Lead from the base Traefik to the hot one, and move routes when there are many or old ones; never return."""
        while True:
            due = self._next()
            try:
                await self.lead()
                await self._move(due, self._timeout)
            except KVProxyError as error:
                self._log.warning("Routes stay in the hot tier for now. %s", error)
                await asyncio.sleep(_PAUSE)
            await self._rest()

    async def lead(self) -> None:
        """Have the base Traefik lead to the hot one, which first gets a route for everything that is there already."""
        found = self._base.route(self._place)
        if found is not None and not self._catch_all.leads(found) and self._hot.route(self._place) is None:
            await self._hot.serve(found, self._timeout)
        await self._lead(self._hot.route(self._place), self._timeout)

    async def settle(self, timeout: float) -> None:
        """Move all hot routes to the base tier.

        Args:
            timeout: seconds that one move may take.

        Raises:
            KVProxyError: if that fails; the rest stays hot.
        """
        while due := movable(self.hot, self._place):
            await self._move(due, timeout)

    async def leave(self, timeout: float) -> None:
        """Leave the base tier as if there were no other, as the hub is about to stop; :meth:`run` must have ended.

        Args:
            timeout: seconds after which the rest is left where it is, for the next start.
        """
        try:
            await asyncio.wait_for(self._leave(timeout), timeout)
        except (KVProxyError, asyncio.TimeoutError) as error:
            # That of asyncio has no words.
            why = str(error) or f"Moving took more than {timeout:g} s."
            self._log.warning("%s left in the hot tier until the next start. %s", counted(len(self.hot), "route"), why)

    async def _leave(self, timeout: float) -> None:
        await self.settle(timeout)
        if (everything := self._hot.route(self._place)) is not None:
            await self._base.serve(everything, timeout)
        else:
            await self._base.remove(self._place.key, timeout)
        if (pages := self._catch_all.hub_pages) is not None:
            await self._base.remove(pages.key, timeout)
        await self._hot.remove(self._place.key, timeout)

    async def _rest(self) -> None:
        timer = asyncio.get_running_loop().call_later(1.0, self._due.set)
        await self._due.wait()
        timer.cancel()
        self._due.clear()

    @property
    def _enough(self) -> int:
        # A move costs the base Traefik more the more routes it has, and an addition costs the hot one more.
        return max(self._many, min(self._base.count // _SETTLED_EACH, _MOST))

    def _next(self) -> list[RouteSpec]:
        """Return the routes that are to be moved now."""
        hot, now = self.hot, _now()
        self._since = {spec: self._since.get(spec, now) for spec in hot}
        if self._base.behind:
            return []
        oldest = self._old * self._enough / self._many
        many = len(hot) >= self._enough or any(now - since >= oldest for since in self._since.values())
        # A hub that ended amid a move has left routes in both tiers.
        return [s for s in movable(hot, self._place) if not self._hot.awaited(s) and (many or self._base.may_serve(s))]

    async def _move(self, specs: Iterable[RouteSpec], timeout: float) -> None:
        """Have the base Traefik serve these hot routes, and then take them out of the hot tier."""
        moving = {spec: route for spec, route in self.hot.items() if spec in set(specs)}
        self._hostless = self._hostless or any(not spec.host for spec in moving)
        # A route in the base tier is served already, and may be newer.
        wanted = [self._base.route(spec) or route for spec, route in moving.items()]
        await asyncio.gather(*(self._base.serve(route, timeout) for route in wanted))
        # One that was deleted meanwhile cannot be a hot one again before the base Traefik has loaded that.
        await asyncio.gather(*(self._hot.remove(spec.key, timeout) for spec in moving))


def _now() -> float:
    return asyncio.get_running_loop().time()

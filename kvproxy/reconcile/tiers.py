"""Two tiers of routes, each kept by a reconciler of its own: all settled routes, and the newest ones.

A Traefik reads and rebuilds its whole table at each change. With two tiers, a new route changes only the small table of
a second Traefik, the *hot* one, to which the *base* Traefik leads all requests that it has no route for. From time to
time the hot routes are moved to the base tier, all in one commit.

A route is moved by the same operations as any other: it is added to the base tier, the base Traefik is seen to serve
it, and only then it is deleted from the hot tier. Meanwhile it is in both, and either answers correctly. A hub that
ends in between leaves it so, and the next one goes on with it. docs/explanation/two-tiers.md has a picture.

There may be several pairs of Traefiks, none of which the hub has started. As long as a hot Traefik does not work, all
routes are added to the base tier, which then leads to the hub itself: the same as with one tier.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from .._text import counted
from .._types import Log
from ..errors import KVProxyError, RouteRejectedError
from ..routing.route import Route, RouteSpec
from ..routing.tiers import CatchAll, hindering, may_be_hot, movable
from ..traefik.static_config import TIERS_SINCE
from .first_routes import LONGEST_START
from .reconciler import Reconciler

#: The number of settled routes for each hot route from which on the hot ones are moved, and the most hot ones then
#: (benchmarks/tiers.py): with 10,000 routes, a stream of 512 is moved in two parts.
_SETTLED_EACH: Final = 39
_MOST: Final = 256
#: Seconds between two attempts to move routes if one has failed.
_PAUSE: Final = 5.0


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
        margin: seconds for which a moved route stays in the hot tier too. A base Traefik that has just been started may
            be unknown to the hub for so long.
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
        margin: float = 0.0,
    ) -> None:
        self._base, self._hot, self._catch_all = base, hot, catch_all
        self._place = place = catch_all.place
        self._default = catch_all.route
        self._timeout, self._log = timeout, log
        self._many, self._old, self._margin = many, old, margin
        # The time since which a route is hot only, and the time since which the base Traefiks serve it too.
        self._since: dict[RouteSpec, float] = {}
        self._served: dict[RouteSpec, float] = {}
        self._begun, self._checked, self._said = _now(), False, False
        # Held while the base route for everything is changed.
        self._turning = asyncio.Lock()
        # True once the base tier has had a route for all hosts, other than the one for everything.
        settled = (route.spec for route in base.routes())
        self._hostless = any(not spec.host for spec in [*catch_all.places, *settled] if spec != place)
        self._due = asyncio.Event()

    @property
    def hot(self) -> dict[RouteSpec, Route]:
        """The routes in the hot tier by their places, without the one for everything."""
        return {route.spec: route for route in self._hot.routes() if route.spec != self._place}

    @property
    def _unsettled(self) -> list[RouteSpec]:
        """The hot routes that the base Traefiks are not seen to serve."""
        return [spec for spec in self.hot if not self._base.serves(spec)]

    @property
    def leading(self) -> int:
        """The number of base routes that are not the hub's, but lead to the hot tier and to the hub's pages."""
        return len(self._led)

    @property
    def _led(self) -> set[str]:
        places = self._catch_all.places
        return {p.key for p in places if (route := self._base.route(p)) is not None and not self._is_hubs(route)}

    def _is_hubs(self, route: Route) -> bool:
        """Return True for the hub's own route for everything, which the base tier has if it leads to no hot one."""
        return route.spec == self._place and not self._catch_all.leads(route)

    @property
    def count(self) -> int:
        """The number of the hub's routes."""
        led = self._led
        both = sum(r.spec.key not in led and self._base.route(r.spec) is not None for r in self._hot.routes())
        return self._base.count - len(led) + self._hot.count - both

    @property
    def _usable(self) -> bool:
        """True if base Traefiks may lead to the hot ones: all of these work, and none adds to X-Forwarded-For."""
        return not (self._hot.held_back or self._lost) and self._hot.follows

    @property
    def _lost(self) -> bool:
        """True if base Traefiks must not lead to the hot ones: one of these does not work, or one is too old."""
        versions = self._hot.version, self._base.version
        return self._hot.lost or any(version is not None and version < TIERS_SINCE for version in versions)

    @property
    def _leads(self) -> bool:
        """True if all base Traefiks are seen to lead to a hot one."""
        return self._place.key in self._led and self._base.serves(self._place)

    async def add(self, route: Route, timeout: float) -> None:
        """See :meth:`.Reconciler.add`."""
        if route.spec == self._place:
            await self._add_everything(route, timeout)
        elif not await self._add_if_all_work(route, timeout):
            await self._add_to_base(route, timeout)

    async def _add_if_all_work(self, route: Route, timeout: float) -> bool:
        """Add a route to the hot tier; return False if it may not be there, or if it shows meanwhile that it may not.

        Requests come by the base Traefik and then the hot one, either of which may just have died. Asking them takes as
        long as adding the route, so both are done at once.
        """
        # A route that hooks have changed may depend on being the first to see the request.
        if not self._hot_ones_answer or self._base.hooked(route):
            return False
        adding = asyncio.create_task(self._add_to_hot(route, timeout))
        try:
            await self._base.look()
            if self._may_be_hot(route) and not adding.done():
                await self._hot.look(at_once=False)
            return self._may_be_hot(route) and (await adding or await self._add_to_hot(route, timeout))
        finally:
            adding.cancel()
            await asyncio.gather(adding, return_exceptions=True)

    async def _add_to_hot(self, route: Route, timeout: float) -> bool:
        if not self._may_be_hot(route):
            return False
        if self._hot.count >= self._enough:
            self._due.set()
        await self._hot.add(route, timeout)
        return True

    async def _add_everything(self, route: Route, timeout: float) -> None:
        async with self._turning:
            await asyncio.gather(self._base.look(), self._hot.look())
            if self._usable:
                # The hot one first, which the base one leads to.
                await self._hot.add(route, timeout)
                led = [self._default]
            else:
                await self.settle(timeout)
                await self._base.add(route, timeout)
                led = []
            led += self._pages(route)
            await asyncio.gather(*(self._base.serve(one, timeout) for one in led))

    def _pages(self, everything: Route | None) -> list[Route]:
        """Return the base route to the hub's pages."""
        if everything is None or (pages := self._catch_all.hub_pages) is None:
            return []
        return [replace(everything, spec=pages, routespec=pages.key)]

    async def _add_to_base(self, route: Route, timeout: float) -> None:
        while others := hindering(route.spec, self._unsettled, self._place):
            await self._serve(movable(others, self._place), timeout)
        self._hostless = self._hostless or not route.spec.host
        await self._base.add(route, timeout)

    def _may_be_hot(self, route: Route) -> bool:
        # One that leads to the hot Traefik has loaded what this hub has written, so it serves nothing unknown.
        if not self._hot_ones_answer or self._base.may_misroute(route):
            return False
        return may_be_hot(route.spec, self._base.may_serve, self._hostless, self._place)

    @property
    def _hot_ones_answer(self) -> bool:
        return self._leads and self._hot.answers and not self._lost

    async def delete(self, key: str, timeout: float) -> None:
        """See :meth:`.Reconciler.delete`."""
        if key == self._place.key:
            # The base route to the hot Traefik stays.
            own = self._led ^ {key}
            await asyncio.gather(self._hot.delete(key, timeout), *(self._base.remove(one, timeout) for one in own))
        elif (settled := self._base.get(key)) is not None:
            # A hot route that leads there has taken over the address of its server.
            may_wait = not self._hot.leads_to(settled["target"])
            base = self._base.delete(key, timeout, may_wait=may_wait)
            await asyncio.gather(self._hot.remove(key, timeout), base)
        else:
            await asyncio.gather(self._hot.delete(key, timeout), self._base.remove(key, timeout))

    def get(self, key: str) -> dict[str, Any] | None:
        """See :meth:`.Reconciler.get`. A route in both tiers is as in the base tier, which answers first."""
        return (self._base.get(key) if key not in self._led else None) or self._hot.get(key)

    def merge(self, base: Mapping[str, dict[str, Any]], hot: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Return the routes of both tiers by routespec, each once and without those that lead to the other tier."""
        led = self._led
        return {**hot, **{routespec: route for routespec, route in base.items() if routespec not in led}}

    @contextmanager
    def checking(self) -> Iterator[None]:
        """See :meth:`.Reconciler.checking`."""
        with self._base.checking():
            yield
        self._checked = True

    async def run(self) -> None:
        """Lead from the base Traefik to the hot one, and move routes when there are many or old ones; never return."""
        while True:
            try:
                self._release()
                await self.lead()
                await self._move(self._next(), self._timeout)
            except KVProxyError as error:
                self._log.warning("Routes stay in the hot tier for now. %s", error)
                await asyncio.sleep(_PAUSE)
            await self._rest()

    def _release(self) -> None:
        """Write a hot tier that was held back, as the base Traefiks serve what the hot ones may have served."""
        base = self._base
        quiet = _now() - self._begun >= LONGEST_START and not (base.behind or base.waiting)
        # JupyterHub's check has waited for all routes that it has added.
        if self._hot.held_back and not base.held_back and (self._checked or quiet):
            self._hot.let_load()

    async def lead(self) -> None:
        """Have the base Traefiks lead to the hot ones or, as long as one of these does not work, to the hub."""
        async with self._turning:
            found = self._base.route(self._place)
            if self._usable:
                await self._turn_to_hot(found)
            elif found is not None and not self._is_hubs(found) and self._lost:
                await self._turn_to_hub()

    async def _turn_to_hot(self, found: Route | None) -> None:
        if found is not None and self._is_hubs(found):
            await self._hot.serve(found, self._timeout)
        led = [self._default, *self._pages(self._hot.route(self._place))]
        new = [one for one in led if self._base.route(one.spec) != one or not self._base.serves(one.spec)]
        await asyncio.gather(*(self._base.serve(one, self._timeout) for one in new))
        if self._said:
            self._said = False
            self._log.info("The hot tier is used again.")

    async def _turn_to_hub(self) -> None:
        everything = self._hot.route(self._place)
        if everything is None:
            return
        if not self._said:
            self._said = True
            back = "every second Traefik answers again (c.TraefikProxy.hot_traefik_api_url)"
            until = back if self._hot.lost else "no Traefik is older than 3.7"
            self._log.warning("All routes are in the base tier until %s.", until)
        await self.settle(self._timeout)
        await self._base.serve(everything, self._timeout)

    async def settle(self, timeout: float) -> None:
        """Move all hot routes to the base tier.

        Args:
            timeout: seconds that one move may take.

        Raises:
            KVProxyError: if that fails; the rest stays hot.
        """
        while due := movable(self._unsettled, self._place):
            await self._move(due, timeout)
        await self._clear()

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
        if self._place.key in self._led:
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
        unsettled, now = self._unsettled, _now()
        self._since = {spec: self._since.get(spec, now) for spec in unsettled}
        if self._base.behind:
            return []
        oldest = self._old * self._enough / self._many
        many = len(unsettled) >= self._enough or any(now - since >= oldest for since in self._since.values())
        ready = [spec for spec in movable(unsettled, self._place) if not self._hot.awaited(spec)]
        # A hub that ended amid a move has left routes in both tiers.
        return ready if many else [spec for spec in ready if self._base.may_serve(spec)]

    async def _move(self, specs: Iterable[RouteSpec], timeout: float) -> None:
        """Have the base Traefiks serve these hot routes, and take what they serve out of the hot tier."""
        try:
            await self._serve(specs, timeout)
        except KVProxyError:
            await self._clear()
            raise
        await self._clear()

    async def _serve(self, specs: Iterable[RouteSpec], timeout: float) -> None:
        """Have the base Traefiks serve these hot routes; raise the first error when all others are served."""
        moving = {spec: route for spec, route in self.hot.items() if spec in set(specs)}
        self._hostless = self._hostless or any(not spec.host for spec in moving)
        # A route in the base tier is served already, and may be newer.
        wanted = [self._base.route(spec) or route for spec, route in moving.items()]
        each = await asyncio.gather(*(self._base.serve(route, timeout) for route in wanted), return_exceptions=True)
        # One that Traefik refuses waits for its next turn.
        now = _now()
        self._since |= {
            spec: now for spec, error in zip(moving, each, strict=True) if isinstance(error, RouteRejectedError)
        }
        for error in each:
            if isinstance(error, BaseException):
                raise error

    async def _clear(self) -> None:
        """Take the routes that all base Traefiks serve out of the hot tier.

        One that is out of the hub's sight may lead users to the hot tier for them.
        """
        now = _now()
        self._served = {spec: self._served.get(spec, now) for spec in self.hot if self._base.serves(spec)}
        if self._base.lost:
            return
        gone = [spec for spec, since in self._served.items() if now - since >= self._margin]
        # One that was deleted meanwhile cannot be a hot one again before the base Traefik has loaded that.
        await asyncio.gather(*(self._hot.remove(spec.key, self._timeout) for spec in gone))


def _now() -> float:
    return asyncio.get_running_loop().time()

"""The operations on the routing table that JupyterHub calls, each of which waits until it has taken effect.

The state is in two places, each with a loop of its own: :mod:`~kvproxy.reconcile.store_loop` brings the store to the
desired state, :mod:`~kvproxy.reconcile.traefik_loop` follows what Traefik has loaded. A call here changes what is
desired and waits for one of them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from .._loop_stalls import LoopStalls
from .._tasks import begin
from .._types import Log
from ..errors import (
    InvalidRouteError,
    KVProxyError,
    RouteNotReadyError,
    RouteRejectedError,
    StoppedError,
    StoreError,
)
from ..routing.encode import encode_setup
from ..routing.entry import Entry, Layout
from ..routing.route import Route
from ..routing.table import DesiredTable
from ..store.base import Store
from ..traefik.readiness import Pending
from ..traefik.replicas import Fleet
from .advice import log_forced_flat, log_notification_cost
from .deletions import Deletions
from .first_routes import LONGEST_START, FirstRoutes
from .leader import LeaseHolder
from .observed import ObservedState
from .observer import Observer
from .plan import check_size
from .progress import Progress, Waiter
from .reasons import explain
from .resync import ResyncSchedule
from .startup import first_step
from .status import Status
from .store_loop import StoreLoop
from .traefik_loop import TraefikLoop

#: Seconds that a failed add_route waits for its own rollback before it raises all the same.
_ROLLBACK_WAIT: Final = 5.0
#: Seconds that the last read of the store and the last poll of Traefik may take before a deadline counts.
_LAST_LOOK: Final = 1.0
_FIRST: Final = asyncio.FIRST_COMPLETED


class Reconciler(Status):
    """Keeps a store equal to a routing table.

    Args:
        store: takes the table.
        fleet: the replicas of Traefik that read the store.
        log: the hub's logger.
        layout: the layout of routes as keys.
        setup: dynamic configuration that is not about routes.
        patience: seconds for which a commit waits at most until Traefik has loaded the commit before.
        grace: seconds for which a replica of Traefik that does not answer is waited for, if another one does.
        interval: minimum seconds between two regular full reads of the store; 0 for none.
        place: location of the routes in the store, for messages; None to let other hubs write there too.
        observer: receives the events.
        concurrency: requests to Traefik's API under way at once.
        groups_allowed: True if Traefik supports groups of routes; None to ask it for its version.
        serves_already: see :class:`~kvproxy.reconcile.store_loop.StoreLoop`; None if no Traefik runs yet.
        provider_error: see :class:`~kvproxy.reconcile.traefik_loop.TraefikLoop`.
        longest: maximum seconds to wait for JupyterHub's check of all routes, from the first route on.
        regroup_wait: see :class:`~kvproxy.reconcile.regroup.Regrouper`.
        delete_grace: seconds for which a deletion may wait for another commit; 0 for none.
    """

    def __init__(
        self,
        store: Store,
        fleet: Fleet,
        *,
        log: Log,
        layout: Layout | None = None,
        setup: Mapping[str, Any] | None = None,
        patience: float = 10.0,
        grace: float = 5.0,
        interval: float = 2.0,
        place: str | None = None,
        observer: Observer | None = None,
        concurrency: int = 10,
        groups_allowed: bool | None = None,
        serves_already: Callable[[], Awaitable[bool]] | None = None,
        provider_error: Callable[[float], str | None] = lambda since: None,
        longest: float = LONGEST_START,
        regroup_wait: float = 0.0,
        delete_grace: float = 0.0,
    ) -> None:
        self._store, self._log = store, log
        self._observer = observer or Observer()
        self._tasks: list[asyncio.Task[None]] = []
        self._following: asyncio.Task[None] | None = None
        self._running = self._serving = self._said_flat = False
        self._stalls = LoopStalls()
        self._table = table = DesiredTable(layout or Layout(), encode_setup(setup or {}), groups_allowed)
        self._progress, observed = Progress(patience), ObservedState(table.names)
        self._lease = LeaseHolder(store, place, log) if place is not None else None
        self._traefik_loop = TraefikLoop(
            *(fleet, self._progress, table, observed),
            provider_error=provider_error,
            grace=grace,
            stalls=self._stalls,
            observer=self._observer,
            concurrency=concurrency,
            log=log,
        )
        self._store_loop = StoreLoop(
            *(store, self._progress, table, observed, ResyncSchedule(interval), self._lease),
            serves_already=serves_already,
            regroup_wait=regroup_wait,
            observer=self._observer,
            log=log,
        )
        self._deletions = Deletions(
            *(self._store_loop, self._progress, table, self._stalls, self._observer), grace=delete_grace
        )
        self._first = FirstRoutes(self._store_loop.let_load, longest)

    async def start(self) -> None:
        """Read the store, bring it to the desired state, and begin to work.

        Raises:
            OwnershipError: if another hub uses the same roots.
            StoreError: the store's error; nothing runs then.
        """
        if self._lease is not None:
            await self._lease.acquire()
        try:
            await first_step(self._store_loop, self._progress)
        except BaseException:
            if self._lease is not None:
                await self._lease.release()
            raise
        self._say_flat()
        self._stalls.start()
        self._following = begin(self._traefik_loop.run(), "The task that follows Traefik", self._log)
        self._tasks = [begin(self._store_loop.run(), "The task that keeps the store", self._log), self._following]
        self._running = self._serving = True

    async def released(self) -> None:
        """Return when the first commit is not held back, or not any more."""
        if self._store_loop.held_back:
            await self._first.known.wait()

    async def leave_traefik(self) -> None:
        """Stop polling Traefik, which is about to be stopped; routes can still be removed from the store.

        Callers that wait for Traefik get a :class:`StoppedError`.
        """
        self._serving = False
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        self._progress.fail_waiters(_stopped())

    async def aclose(self) -> None:
        """Stop; callers that still wait get a :class:`StoppedError`. The store is left as it is."""
        self._running = self._serving = False
        self._first.aclose()
        self._stalls.aclose()
        self._store_loop.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        if self._lease is not None:
            await self._lease.release()
        self._progress.fail_waiters(_stopped())
        self._progress.fail_commits_and_reads(_stopped())
        await self._observer.aclose()

    async def log_notification_cost(self) -> None:
        """Log the cost of an added route at the present number, if the store notifies Traefik per key.

        To be called when Traefik runs, as Traefik switches these notifications on.
        """
        await log_notification_cost(self._store, self._table, self._log)

    def set_up(self, configuration: Mapping[str, Any]) -> None:
        """Change the desired dynamic configuration that is not about routes."""
        entry = encode_setup(configuration)
        if self._table.asked != entry:
            self._store_loop.want(entry)

    def prevail(self) -> int:
        """See :meth:`kvproxy.routing.table.DesiredTable.prevail`."""
        left = self._table.prevail()
        self._store_loop.want(self._table.asked)
        return left

    @contextlib.contextmanager
    def checking(self) -> Iterator[None]:
        """Enclose JupyterHub's check of all routes, which adds those that Traefik serves and the store has lost."""
        with self._first.checking(), self._deletions.checking():
            yield

    def let_load(self) -> None:
        """Let Traefik load the present routes, as no Traefik serves any that could be lost."""
        self._first.over()

    async def all(self, timeout: float) -> dict[str, dict[str, Any]]:
        """Read the store in full, start the repair of differences, and return all routes.

        Only the first read takes over the routes in the store. After that, the hub's own routes count.

        Raises:
            StoreError: if the store could not be read within ``timeout`` seconds.
        """
        self._check_running()
        await self._deletions.wait(self._progress.next_read(), timeout, "read")
        routes = (entry.route for entry in self._table.entries.values() if entry.route is not None)
        return {route.routespec: route.as_dict() for route in routes}

    async def add(self, route: Route, timeout: float) -> None:
        """Add a route, or change it, and return when Traefik serves it.

        A route that is stored and served already costs nothing. After a failure or a cancellation, the earlier route
        is put back.

        Raises:
            InvalidRouteError: before anything is written; a HookError if a hook fails.
            RouteRejectedError: with Traefik's reason.
            RouteNotReadyError: after ``timeout`` seconds, with what was and was not seen.
            StoreError: if the store refuses the write.
        """
        self._check_serving()
        start = asyncio.get_running_loop().time()
        try:
            changed = await self.serve(route, timeout)
        except KVProxyError as error:
            self._observer.not_served(route.routespec, error)
            raise
        if changed:
            self._observer.served(route, asyncio.get_running_loop().time() - start)

    async def serve(self, route: Route, timeout: float) -> bool:
        """Do the work of :meth:`add` without telling the observer; return True if there was any."""
        self._check_serving()
        entry = self._table.entry(route)
        self._check_size(route, entry)
        before = self._table.entries.get(entry.name)
        if before == entry:
            if self._progress.served.get(entry.name) == before.generation:
                return False
            entry = before
        waiter = self._progress.expect(entry, self._fallback(entry.name, before))
        if self._store_loop.holds(entry):
            self._progress.committed([waiter])
        else:
            self._store_loop.want(entry)
            if self._store_loop.held_back:
                self._first.added()
        try:
            await self._await_served(waiter, route, timeout)
        finally:
            self._progress.forget(waiter)
        self._say_flat()
        return True

    async def look(self, *, at_once: bool = True) -> None:
        """Poll Traefik, so that what it serves is known as of now. See :meth:`.Progress.next_poll`."""
        self._check_serving()
        await self._progress.next_poll(at_once=at_once)

    async def delete(self, key: str, timeout: float, *, may_wait: bool = True) -> None:
        """Remove a route. A missing one is no error.

        Return when it is gone from the store. With a ``delete_grace``, return at once, and delete it together with the
        next change, at the latest at the end of that time. Traefik leads to its server until then.

        Args:
            key: the key of its place.
            timeout: seconds for the store.
            may_wait: False to delete it at once in any case.

        Raises:
            StoreError: if that took more than ``timeout`` seconds; the route is still going to be removed.
        """
        self._check_running()
        await self._deletions.delete(key, timeout, may_wait=may_wait and self._serving)

    async def remove(self, key: str, timeout: float) -> Route | None:
        """Do the work of :meth:`delete` at once, and without telling the observer; return the route that was there."""
        self._check_running()
        return await self._deletions.remove(key, timeout)

    def _check_running(self) -> None:
        if not self._running:
            raise StoppedError("The proxy is not running.")

    def _check_serving(self) -> None:
        if not self._serving:
            self._check_running()
            raise _stopped()

    def _say_flat(self) -> None:
        if not self._said_flat and (routespec := self._table.forced_flat):
            self._said_flat = True
            log_forced_flat(routespec, self._log)

    def _check_size(self, route: Route, entry: Entry) -> None:
        try:
            check_size(entry, self._store.capabilities)
        except StoreError as error:
            raise InvalidRouteError(f"The route {route.routespec!r} cannot be stored. {error}") from None

    def _fallback(self, name: str, before: Entry | None) -> Entry | None:
        waiters = self._progress.waiters(name)
        return waiters[-1].fallback if waiters else before

    async def _await_served(self, waiter: Waiter, route: Route, timeout: float) -> None:
        try:
            stood_still = await self._stalls.wait(waiter.done, timeout)
            if not waiter.done.done():
                await self._look_once_more(waiter)
            if not waiter.done.done():
                why = self._explain(waiter, stood_still)
                await self._take_back(waiter)
                raise RouteNotReadyError(
                    f"The route {route.routespec!r} was not served by Traefik within {timeout:g} s "
                    f"(check_route_timeout), so it has been taken back: {why}"
                )
            waiter.done.result()
        except (RouteRejectedError, StoreError):
            await self._take_back(waiter)
            raise
        except asyncio.CancelledError:
            self._revert(waiter)
            raise

    async def _look_once_more(self, waiter: Waiter) -> None:
        """Read the store and poll Traefik before a deadline counts: their latest state may not have been seen yet."""
        end = asyncio.get_running_loop().time() + _LAST_LOOK
        if waiter.revision is None and not self._store_loop.held_back:
            await asyncio.wait(
                {waiter.done, read := self._progress.next_read()}, timeout=_LAST_LOOK, return_when=_FIRST
            )
            read.cancel()
        left = end - asyncio.get_running_loop().time()
        if not waiter.done.done() and left > 0:
            polled = self._progress.next_poll()
            await asyncio.wait({waiter.done, polled}, timeout=left, return_when=_FIRST)
            polled.cancel()

    def _revert(self, waiter: Waiter) -> bool:
        self._progress.forget(waiter)
        name, before = waiter.entry.name, waiter.fallback
        overtaken = not waiter.entry.is_generation_of(self._table.entries.get(name))
        if overtaken or self._progress.waiters(name) or waiter.entry.is_generation_of(before):
            return False
        if before is None or before.route is None:
            self._store_loop.drop(name)
        else:
            self._store_loop.want(self._table.again(before))
        return True

    async def _take_back(self, waiter: Waiter) -> None:
        if self._revert(waiter) and self._store_loop.problem is None:
            with contextlib.suppress(asyncio.TimeoutError, KVProxyError):
                await asyncio.wait_for(self._progress.next_commit(waiter.entry.name), _ROLLBACK_WAIT)

    def _explain(self, waiter: Waiter, stood_still: float) -> str:
        verdict = waiter.verdict
        return explain(
            replace(
                self._traefik_loop.facts(waiter.revision),
                stored=waiter.revision is not None,
                behind_traefik=self._progress.behind,
                held_back=self._store_loop.held_back,
                store_problem=self._store_loop.problem or "",
                verdict=verdict.why if isinstance(verdict, Pending) else "",
                stood_still=stood_still,
            )
        )


def _stopped() -> StoppedError:
    return StoppedError("The proxy was stopped before the change was made.")

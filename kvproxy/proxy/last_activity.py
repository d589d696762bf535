"""``last_activity`` of routes: each Traefik's counters are read whenever the hub asks for all routes.

The hub does so every few minutes (``JupyterHub.last_activity_interval``) and at its start, and needs it no more often.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, Final

from .._tasks import begin
from .._types import Log
from ..errors import KVProxyError, TraefikError
from ..routing.entry import Entry
from ..traefik.api import TraefikApi
from ..traefik.request_counts import Activity, Sample, many_counters

#: Maximum seconds that the hub waits for Traefik's counters. A later answer counts the next time.
_PATIENCE: Final = 3.0


class ActivityTracker:
    """Reads the counters of all replicas, and adds the last activity to routes.

    Args:
        members: returns the replicas; never raises.
        prepare: awaited before the replicas are asked.
        log: takes the message that a replica does not count.
        set_up: True if kvproxy sets up the router to the replicas' counters.
    """

    def __init__(
        self,
        members: Callable[[], Awaitable[Sequence[TraefikApi]]],
        prepare: Callable[[], Awaitable[None]],
        log: Log,
        set_up: bool = False,
    ) -> None:
        self._members, self._prepare, self._log, self._set_up = members, prepare, log, set_up
        self._activity = Activity()
        self._asking: dict[TraefikApi, asyncio.Task[None]] = {}
        self._silent: set[TraefikApi] = set()
        self._told: set[TraefikApi] = set()
        self._entries: Mapping[str, Entry] = {}
        self._named: dict[TraefikApi, set[str]] = {}
        self._memory: dict[TraefikApi, float] = {}
        self._looking: asyncio.Task[None] | None = None

    @property
    def memory(self) -> dict[str, float]:
        """Bytes of memory that each replica used when it was asked last, by its label."""
        return {replica.label: used for replica, used in self._memory.items()}

    async def get_all(self, reading: Awaitable[dict[str, Any]], entries: Mapping[str, Entry]) -> dict[str, Any]:
        """Return all routes with their last activity, which is read at the same time.

        Args:
            reading: returns the routes by routespec; they are changed in place.
            entries: the same routes by name.

        Raises:
            StoreError: the error of reading.
        """
        if self._looking is None or self._looking.done():
            self._looking = begin(self._look(entries), "The task that reads Traefik's counters", self._log)
        routes = await reading
        await asyncio.wait([self._looking], timeout=_PATIENCE)
        for name in self._activity.names:
            entry = entries.get(name)
            if entry is not None and entry.route is not None and entry.route.routespec in routes:
                self.annotate(name, routes[entry.route.routespec])
        return routes

    def annotate(self, name: str, route: dict[str, Any] | None) -> dict[str, Any] | None:
        """Add the last known activity to a route, in place and without a request, and return the route."""
        last = self._activity.last(name)
        if route is not None and last is not None:
            route["data"]["last_activity"] = last
        return route

    async def aclose(self) -> None:
        """Cancel all requests."""
        tasks = [*self._asking.values(), *([self._looking] if self._looking is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self, entries: Mapping[str, Entry]) -> None:
        try:
            await self._prepare()
        except KVProxyError as error:
            self._log.error("%s", error)
        members = await self._members()
        self._entries = entries
        self._activity.keep(members, entries)
        self._forget_others(members)
        for member in members:
            if member not in self._asking or self._asking[member].done():
                self._asking[member] = asyncio.create_task(self._ask(member))
        # A replica that did not answer the last time is asked too, but not waited for.
        if waited := [self._asking[member] for member in members if member not in self._silent]:
            await asyncio.wait(waited)

    def _forget_others(self, members: Sequence[TraefikApi]) -> None:
        for gone in self._asking.keys() - set(members):
            self._asking.pop(gone).cancel()
        self._silent &= set(members)
        self._told &= set(members)
        self._named = {replica: names for replica, names in self._named.items() if replica in members}
        self._memory = {replica: used for replica, used in self._memory.items() if replica in members}

    async def _may_count(self, replica: TraefikApi) -> bool:
        """Return True if a Traefik that shows no metrics may do so soon.

        Before it has loaded the hub's first commit, its API does not answer, and the router to its metrics is written
        only after it has shown that it has some.
        """
        return await replica.revision() is None or (self._set_up and await replica.has_metrics())

    def _look_at_size(self, replica: TraefikApi, sample: Sample) -> None:
        """Record the memory of a Traefik, and warn once of each server that makes it grow."""
        if sample.memory is not None:
            self._memory[replica] = sample.memory
        for name in sample.many.keys() - self._named.get(replica, set()):
            entry = self._entries.get(name)
            what = entry.route.routespec if entry is not None and entry.route is not None else name
            self._log.warning("%s", many_counters(replica.label, what, sample.many[name], sample.memory))
        self._named[replica] = set(sample.many)

    async def _ask(self, replica: TraefikApi) -> None:
        at = datetime.now(timezone.utc)
        try:
            sample = await replica.sample()
            counts = sample is not None or await self._may_count(replica)
        except TraefikError as error:
            # The code that waits for routes logs that it does not answer.
            self._log.debug("Traefik's counters could not be read. %s", error)
            self._silent.add(replica)
            return
        except Exception:
            self._log.exception("%s shows metrics that kvproxy does not understand.", replica.label)
            return
        self._silent.discard(replica)
        if sample is not None:
            self._activity.learn(replica, sample, at)
            self._look_at_size(replica, sample)
        elif not counts and replica not in self._told:
            self._told.add(replica)
            self._log.info(
                "%s shows no metrics, so JupyterHub does not learn which servers are in use unless they report it "
                "themselves. Regenerate Traefik's static configuration with `kvproxy static-config`, or set "
                "c.TraefikProxy.track_last_activity = False.",
                replica.label,
            )

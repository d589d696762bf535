"""One run of a proxy: the parts that a start creates and a stop closes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

from .._tasks import begin
from .._types import Log
from ..process.supervisor import TraefikSupervisor
from ..reconcile.metrics import GAUGES
from ..reconcile.reconciler import Reconciler
from ..store.base import Store
from ..traefik.discovery import ReplicaDiscovery
from ..traefik.features import Features, probe_features
from ..traefik.replicas import Replica
from .last_activity import ActivityTracker


class Session:
    """The parts of one run.

    Args:
        log: the hub's logger.
        store: the store, not yet connected.
        discovery: the replicas of Traefik.
        set_up_for: returns the dynamic configuration that is not about routes, for a Traefik with the given features.
        adjusts: True for Traefiks that the hub sets up and does not start, whose features may change.
    """

    def __init__(
        self,
        log: Log,
        store: Store,
        discovery: ReplicaDiscovery,
        set_up_for: Callable[[Features | None], dict[str, Any]],
        *,
        adjusts: bool,
    ) -> None:
        self._log = log
        self._tasks: list[asyncio.Task[None]] = []
        self.store = store
        self.discovery = discovery
        self._set_up_for = set_up_for
        self._adjusts = adjusts
        #: The reconciler; None before it was started.
        self.reconciler: Reconciler | None = None
        #: The Traefik that the hub starts; None if it starts none, or has not started it yet.
        self.supervisor: TraefikSupervisor | None = None
        #: The first check of a Traefik that the hub has not started.
        self.first_look: asyncio.Task[None] | None = None
        self._tracker: ActivityTracker | None = None

    @property
    def traefik_pid(self) -> int | None:
        """Process id of the hub's Traefik, None if there is none."""
        return self.supervisor.pid if self.supervisor is not None else None

    @property
    def replicas(self) -> list[Replica]:
        """Every replica of Traefik with its last known state."""
        return self.reconciler.replicas if self.reconciler is not None else []

    def work(self, reconciler: Reconciler) -> None:
        """Take over a started reconciler."""
        self.reconciler = reconciler
        GAUGES.watch(reconciler)

    def begin(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start a task that is cancelled at the end of the session."""
        task = begin(work, name, self._log)
        self._tasks.append(task)
        return task

    def track_activity(self, reconciler: Reconciler, *, sets_up: bool) -> None:
        """Track the requests to each user's server from now on.

        Args:
            reconciler: knows the routes.
            sets_up: True if the hub sets up the router of Traefik's metrics.
        """
        adjust = partial(self.adjust, reconciler)
        self._tracker = ActivityTracker(self.discovery.members, adjust, self._log, sets_up)
        GAUGES.watch_memory(self._tracker)

    async def adjust(self, reconciler: Reconciler) -> None:
        """Set up an external Traefik for its present features; nothing changes as long as no replica answers."""
        if self._adjusts and (able := await probe_features(await self.discovery.members())):
            reconciler.set_up(self._set_up_for(able))

    def annotate(self, name: str, route: dict[str, Any] | None) -> dict[str, Any] | None:
        """Add the last known activity to a route, in place, and return the route."""
        return self._tracker.annotate(name, route) if self._tracker is not None else route

    async def get_all(
        self, reading: Coroutine[Any, Any, dict[str, dict[str, Any]]], reconciler: Reconciler
    ) -> dict[str, dict[str, Any]]:
        """Await all routes, and add their last activity.

        Raises:
            StoreError: the error of reading.
        """
        return await (self._tracker.get_all(reading, reconciler.desired) if self._tracker is not None else reading)

    async def aclose(self, *, failed: bool = False) -> None:
        """Close all parts, each even if another one fails.

        Args:
            failed: True if the start has failed; then a Traefik that serves is left to the next start.
        """
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.reconciler is not None:
            GAUGES.forget(self.reconciler)
        GAUGES.forget_memory(self._tracker)
        ends: list[Callable[[], Awaitable[None]]] = []
        if self.supervisor is not None:
            ends.append(self.supervisor.give_up if failed else self.supervisor.stop)
        parts = (self._tracker, self.reconciler, self.store, self.discovery)
        for end in [*ends, *(part.aclose for part in parts if part is not None)]:
            try:
                await end()
            except Exception:
                # The other parts must be closed too: above all Traefik, and then the hub's lease on the store.
                self._log.exception("A part of kvproxy could not be stopped properly.")

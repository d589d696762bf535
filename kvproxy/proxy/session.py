"""One run of a proxy: the parts that a start creates and a stop closes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from .._tasks import begin
from .._text import shown
from ..errors import KVProxyError, TraefikError
from ..hooks.customize import Hooks
from ..hooks.notify import HookNotifier
from ..process.adoption import Decision
from ..process.launch import launch_spec, secrets_in
from ..process.supervisor import TraefikSupervisor
from ..reconcile.first_routes import LONGEST_START
from ..reconcile.metrics import GAUGES, Counters, State
from ..reconcile.observer import Observer
from ..reconcile.reconciler import Reconciler
from ..reconcile.startup import (
    check_certificate,
    check_replicas,
    given_certificate,
    serves_already,
    wait_for_store,
    wait_for_traefik,
    warn_once,
)
from ..reconcile.status import CountedTier
from ..reconcile.tiers import Tiers, drop_unreachable
from ..routing.tiers import CatchAll
from ..store.base import Store
from ..store.renewal import tell_renewals
from ..traefik.entry_point import reserved_advice
from ..traefik.features import Features, probe_features
from ..traefik.replicas import Replica
from .last_activity import ActivityTracker
from .preparation import Prepared
from .setup import advice, discovery, dynamic_config, hub_secret, layout, make_access, make_setup
from .traits import TraefikProxy

#: Maximum seconds for which a hub that stops waits for routes to be moved to the base tier.
_SETTLING: Final = 10.0
#: Maximum seconds for which a replica serves users before the hub knows of it (:mod:`kvproxy.traefik.discovery`).
_UNKNOWN: Final = 10.0
#: See :class:`kvproxy.reconcile.regroup.Regrouper`.
_REGROUP_WAIT: Final = 10.0
_STORE_TIMEOUT: Final = "c.KVTraefikProxy.store_timeout"


@dataclass(frozen=True)
class StoreSettings:
    """The store of a proxy, and the settings about it.

    Args:
        store: the store, not yet connected.
        place: its location, for messages.
        timeout: seconds that it may be unreachable.
        check_interval: minimum seconds between two checks of its contents.
        certificates: names of the TLS files for Traefik's connection to it.
    """

    store: Store
    place: str
    timeout: float
    check_interval: float
    certificates: Sequence[str] = ()


class Session:
    """The parts of one run.

    Args:
        proxy: gives the settings.
        entry_points: the entry points of the routes; none for Traefik's default ones.
        tiers: the number of tiers that the routes may be in.

    Raises:
        ConfigurationError: if the certificate of the authority for Traefik's API cannot be used.
    """

    def __init__(self, proxy: TraefikProxy, entry_points: tuple[str, ...], *, tiers: int = 1) -> None:
        secret = hub_secret(proxy.app)
        access = make_access(proxy, secret)
        self._proxy = proxy
        self._log = proxy.log
        self._entry_points = entry_points
        # With two tiers, changes of this one are few and come together.
        self._regroup_wait = _REGROUP_WAIT if tiers > 1 else 0.0
        self._set_up_for = partial(make_setup, proxy, access, secret, entry_points=entry_points)
        self._tasks: list[asyncio.Task[None]] = []
        self._store: Store | None = None
        self._tracker: ActivityTracker | None = None
        #: The replicas of Traefik.
        self.discovery = discovery(proxy, access)
        self._hot: Session | None = None
        self._watched: State | None = None
        self._moving: asyncio.Task[None] | None = None
        #: The tiers of routes; None if there is one.
        self.tiers: Tiers | None = None
        #: The reconciler; None before it was started.
        self.reconciler: Reconciler | None = None
        #: The Traefik that the hub starts; None if it starts none, or has not started it yet.
        self.supervisor: TraefikSupervisor | None = None
        #: The first check of a Traefik that the hub has not started.
        self.first_look: asyncio.Task[None] | None = None

    @property
    def _open(self) -> Reconciler:
        assert self.reconciler is not None  # noqa: S101 - for the type checker
        return self.reconciler

    @property
    def routes(self) -> Reconciler | Tiers:
        """The routes of the hub, to be added, deleted and looked up; the session must be open."""
        return self.tiers or self._open

    @property
    def traefik_pid(self) -> int | None:
        """Process id of the hub's Traefik, None if there is none."""
        return self.supervisor.pid if self.supervisor is not None else None

    @property
    def traefik_pids(self) -> list[int]:
        """Process ids of all the hub's Traefiks that run, the one of the hot tier last."""
        hot = self._hot.traefik_pids if self._hot is not None else []
        return [*([self.traefik_pid] if self.traefik_pid is not None else []), *hot]

    @property
    def replicas(self) -> list[Replica]:
        """Every replica of Traefik with its last known state."""
        own = self.reconciler.replicas if self.reconciler is not None else []
        return [*own, *self._hot.replicas] if self._hot is not None else own

    async def open(
        self,
        stored: StoreSettings,
        allowed: bool | None,
        able: Features | None = None,
        *,
        there_already: bool,
        provider_error: Callable[[float], str | None] = lambda since: None,
    ) -> Reconciler:
        """Connect to the store and bring it to the desired state.

        Args:
            stored: the store.
            allowed: whether routes may be grouped; None if that depends on Traefik's version.
            able: the features of the Traefik that the hub is about to start; None if it starts none.
            there_already: True if a Traefik may serve routes of an earlier start.
            provider_error: returns the last error of Traefik's provider since a moment.

        Raises:
            KVProxyError: with one sentence that names the remedy.
        """
        proxy, log, members = self._proxy, self._log, self.discovery.members
        self._store = store = stored.store
        for warning in await wait_for_store(store.check, stored.timeout, _STORE_TIMEOUT, log):
            # The second Traefik's routes are in the same store.
            (log.debug if proxy.hot else log.warning)("%s", shown(warning))
        if not proxy.should_start:
            dynamic_config(proxy, able := await probe_features(await members()))

        async def serves() -> bool:
            # A hub checks all routes later, so an unknown Traefik may count as serving until then. Without a hub, that
            # check never comes, and only a Traefik that is seen to serve counts.
            unknown = proxy.app is not None and not proxy.should_start
            return await serves_already(await members(), unknown=unknown)

        reconciler = Reconciler(
            store,
            self.discovery,
            log=log,
            layout=layout(proxy, self._entry_points),
            setup=self._set_up_for(able),
            concurrency=proxy.concurrency,
            groups_allowed=allowed,
            grace=proxy.traefik_replica_grace,
            interval=stored.check_interval,
            place=stored.place,
            observer=make_observer(proxy.hooks, log),
            serves_already=serves if there_already else None,
            provider_error=provider_error,
            longest=min(LONGEST_START, proxy.check_route_timeout / 2),
            regroup_wait=self._regroup_wait,
            delete_grace=proxy.delete_grace,
        )
        await wait_for_store(reconciler.start, stored.timeout, _STORE_TIMEOUT, log)
        self.reconciler = reconciler
        self._watched = reconciler
        GAUGES.watch(reconciler)
        if stored.certificates:
            self._begin(tell_renewals(stored.certificates, log), "The check for renewed certificates")
        if proxy.tracks_activity:
            adjust = partial(self._adjust, reconciler)
            self._tracker = ActivityTracker(members, adjust, log, proxy.sets_up)
            GAUGES.watch_memory(self._tracker)
        return reconciler

    async def start_traefik(
        self,
        supervisor: TraefikSupervisor,
        decision: Decision,
        check_ports: Callable[[], None],
        version: tuple[int, ...],
        reconciler: Reconciler,
        refused_login: Callable[[str], str],
    ) -> None:
        """Start Traefik, or take over the one of an earlier hub, and wait until it serves the routes.

        Args:
            supervisor: starts it.
            decision: the supervisor's decision about an earlier Traefik.
            check_ports: raises an error if Traefik's ports are not free.
            version: Traefik's version.
            reconciler: knows the routes.
            refused_login: returns the remedy if an error of the provider is permanent, empty if it is not.

        Raises:
            TraefikError: if it does not start.
        """
        [traefik] = await self.discovery.members()
        self.supervisor, log, timeout = supervisor, self._log, self._proxy.check_route_timeout

        def check() -> None:
            supervisor.check_alive()
            if refused := refused_login(supervisor.provider_error()):
                raise TraefikError(refused)

        async def loaded() -> None:
            if not await serves_already([traefik], unknown=False):
                reconciler.let_load()
            await wait_for_traefik(traefik, reconciler.revision, timeout, log, check, supervisor.provider_error)

        await supervisor.start(decision, check_ports, loaded, reconciler.followed_since, reconciler.stuck)
        warn_once([*reserved_advice(version), *advice(self._proxy, version)], log)
        await check_certificate([traefik], given_certificate(reconciler.desired), log)
        file = Path(self._proxy.static_config_file)
        log.info("Traefik %s runs (process %s), configured by %s.", ".".join(map(str, version)), supervisor.pid, file)
        await reconciler.log_notification_cost()

    async def pair(self, hot: Session, catch_all: CatchAll) -> None:
        """Keep the newest routes in another session from now on, that of the second Traefik.

        Args:
            hot: the other session, open.
            catch_all: the way from this session's Traefik to the other one.
        """
        tiers = await self._share(hot, catch_all)
        if self._proxy.should_start and not self._open.held_back:
            await hot._open.look()
            await tiers.lead()

    async def _share(self, hot: Session, catch_all: CatchAll) -> Tiers:
        timeout = self._proxy.check_route_timeout
        await drop_unreachable(self._open, hot._open, catch_all, timeout)
        self._hot = hot
        # No other replica can appear beside a Traefik that the hub has started.
        margin = 0.0 if self._proxy.should_start else _UNKNOWN
        self.tiers = tiers = Tiers(self._open, hot._open, catch_all, timeout, self._log, margin=margin)
        GAUGES.forget(self._open)
        self._watched = CountedTier(self._open, lambda: tiers.leading)
        GAUGES.watch(self._watched)
        self._moving = self._begin(tiers.run(), "The task that moves routes")
        return tiers

    def pair_when(
        self, worthwhile: Callable[[], Awaitable[None]], start: Callable[[], Awaitable[Session]], catch_all: CatchAll
    ) -> None:
        """Start the second Traefik as soon as that is worthwhile, and then do :meth:`pair`.

        Args:
            worthwhile: returns then.
            start: starts it and returns its session.
            catch_all: see :meth:`pair`.
        """
        self._moving = self._begin(self._pair_when(worthwhile, start, catch_all), "The second Traefik's start")

    async def _pair_when(
        self, worthwhile: Callable[[], Awaitable[None]], start: Callable[[], Awaitable[Session]], catch_all: CatchAll
    ) -> None:
        try:
            await worthwhile()
            await self._share(await start(), catch_all)
        except KVProxyError as error:
            self._log.warning("All routes stay with one Traefik, as two tiers could not be set up. %s", error)

    def checking(self) -> AbstractContextManager[None]:
        """Enclose JupyterHub's check of all routes."""
        return self.routes.checking() if self.reconciler is not None else nullcontext()

    async def leave_traefik(self) -> None:
        """See :meth:`.Reconciler.leave_traefik`; a Traefik that the hub has started then has all routes in one tier."""
        if self._moving is not None:
            self._moving.cancel()
            await asyncio.gather(self._moving, return_exceptions=True)
        if self.tiers is not None and self._proxy.should_start:
            await self.tiers.leave(_SETTLING)
        for session in (self, self._hot):
            if session is not None and session.reconciler is not None:
                await session.reconciler.leave_traefik()

    def check_external(self, reconciler: Reconciler) -> None:
        """Begin to check Traefiks that the hub has not started; their faults are logged."""
        self.first_look = self._begin(self._check_external(reconciler), "The first check of Traefik")

    async def _check_external(self, reconciler: Reconciler) -> None:
        # Before that, Traefik's API is that of whatever set it up before.
        await reconciler.released()
        proxy, log, replicas = self._proxy, self._log, await self.discovery.members()
        timeout, entry_point = proxy.check_route_timeout, proxy.traefik_entrypoint
        advise = partial(advice, proxy)
        revision, entries = reconciler.revision, reconciler.desired
        await check_replicas(replicas, revision, timeout, entry_point, proxy.route_layout, log, advise)
        await check_certificate(replicas, given_certificate(entries), log)
        await self._adjust(reconciler)
        await reconciler.log_notification_cost()

    async def _adjust(self, reconciler: Reconciler) -> None:
        """Set up an external Traefik for its present features; nothing changes as long as no replica answers."""
        adjusts = self._proxy.sets_up and not self._proxy.should_start
        if adjusts and (able := await probe_features(await self.discovery.members())):
            reconciler.set_up(self._set_up_for(able))

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start a task that is cancelled at the end of the session."""
        task = begin(work, name, self._log)
        self._tasks.append(task)
        return task

    def annotate(self, name: str, route: dict[str, Any] | None) -> dict[str, Any] | None:
        """Add the last known activity to a route, in place, and return the route."""
        route = self._hot.annotate(name, route) if self._hot is not None else route
        return self._tracker.annotate(name, route) if self._tracker is not None else route

    async def get_all(self, timeout: float) -> dict[str, dict[str, Any]]:
        """Return all routes with their last activity.

        Raises:
            StoreError: the error of reading.
        """
        reconciler = self._open
        reading = reconciler.all(timeout)
        own = self._tracker.get_all(reading, reconciler.desired) if self._tracker is not None else reading
        if self._hot is None or self.tiers is None:
            return await own
        return self.tiers.merge(*await asyncio.gather(own, self._hot.get_all(timeout)))

    async def aclose(self, *, failed: bool = False) -> None:
        """Close all parts, each even if another one fails.

        Args:
            failed: True if the start has failed; then a Traefik that serves is left to the next start.
        """
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._watched is not None:
            GAUGES.forget(self._watched)
        GAUGES.forget_memory(self._tracker)
        ends: list[Callable[[], Awaitable[None]]] = []
        if self.supervisor is not None:
            ends.append(self.supervisor.give_up if failed else self.supervisor.stop)
        parts = (self._tracker, self.reconciler, self._store, self.discovery)
        for end in [*ends, *(part.aclose for part in parts if part is not None)]:
            try:
                await end()
            except Exception:
                # The other parts must be closed too: above all Traefik, and then the hub's lease on the store.
                self._log.exception("A part of kvproxy could not be stopped properly.")


def make_observer(hooks: Hooks, log: Any) -> Observer:
    """Return the observer that updates the metrics and calls the hooks."""
    if names := hooks.changing:
        log.info("Routes are changed by %s.", ", then ".join(names))
    return HookNotifier(hooks, log, Counters()) if hooks.observing else Counters()


def make_supervisor(proxy: TraefikProxy, prepared: Prepared, secrets: Sequence[str]) -> TraefikSupervisor:
    """Return the supervisor of the Traefik that the hub is about to start.

    Args:
        proxy: gives the settings.
        prepared: the Traefik.
        secrets: the store's strings that must never be logged.
    """
    file, settings = Path(proxy.static_config_file), prepared.settings
    return TraefikSupervisor(
        *(file, launch_spec(prepared.binary, prepared.version, prepared.environment, settings, file.name), proxy.log),
        secrets=[*secrets, proxy.traefik_api_password, *secrets_in(proxy.traefik_env)],
        provider=proxy.provider_name,
        stuck_timeout=proxy.traefik_stuck_timeout,
        outlives=proxy.app is not None and not proxy.app.cleanup_proxy,
    )

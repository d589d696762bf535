"""The base class of kvproxy's proxies: traits, and thin methods over the reconciler and the Traefik process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from jupyterhub.metrics import PROXY_POLL_DURATION_SECONDS

from .._text import counted, shown
from ..errors import (
    ConfigurationError,
    InvalidRouteError,
    KVProxyError,
    StoppedError,
    StoreUnavailableError,
    TraefikError,
)
from ..plugins import warn_of_rivals
from ..process.adoption import Adopt, Start, certificate_files
from ..process.launch import check_free, launch_spec, secrets_in
from ..process.supervisor import TraefikSupervisor
from ..reconcile.reconciler import Reconciler
from ..reconcile.startup import serves_already, wait_for_store, wait_for_traefik, warn_once
from ..routing.route import make_route, parse_routespec
from ..store.renewal import tell_renewals
from ..traefik.features import Features, probe_features
from ..traefik.replicas import Replica
from ..traefik.static_config import groups_allowed
from .preparation import PreparedProxy
from .session import Session
from .succession import SucceedingProxy

#: Maximum seconds to wait for JupyterHub's check of all routes, from the first route on.
_LONGEST_START: Final = 10.0


class KVTraefikProxy(SucceedingProxy, PreparedProxy):
    """A proxy whose routes are in a key-value store that Traefik reads.

    A backend derives from it, names the provider, opens its store, and configures Traefik to read the same store, both
    from the same traits::

        class MyProxy(KVTraefikProxy):
            provider_name = "zooKeeper"
            my_url = Unicode("my://127.0.0.1:2181", config=True, help="Where it is.")

            def open_store(self, roots):
                return MyStore(self.my_url, roots.traefik, roots.jupyterhub)

            def traefik_provider(self):
                endpoint = self.my_url.removeprefix("my://")
                return {"zooKeeper": {"endpoints": [endpoint], "rootKey": self.traefik_root}}
    """

    former_section = "TKvProxy"

    _starting: asyncio.Lock | None = None
    _stopping: asyncio.Task[None] | None = None

    @property
    def traefik_pid(self) -> int | None:
        """Process id of the Traefik that the hub started, None if it started none, or it does not run at the moment."""
        return self._session.traefik_pid if self._session is not None else None

    @property
    def traefik_replicas(self) -> list[Replica]:
        """Every replica of Traefik with its last known state; none before the proxy has started."""
        return self._session.replicas if self._session is not None else []

    def store_certificates(self) -> list[str]:
        """Return the names of the TLS files for Traefik's connection to the store; some may be contents instead."""
        with contextlib.suppress(ConfigurationError):
            return certificate_files(self.traefik_provider())
        # An external Traefik, which the hub's settings cannot configure.
        return []

    async def start(self) -> None:
        """Start Traefik and bring the store to the desired state; stop what was started if that fails.

        Raises:
            KVProxyError: with one sentence that names the remedy.
        """
        try:
            await self._start()
        except KVProxyError as error:
            self.log.critical("%s", error)
            await self._close(failed=True)
            # The sentence is sufficient; a traceback in the hub's log would only hide it.
            raise error.with_traceback(None) from None
        except BaseException:
            await self._close(failed=True)
            raise

    async def _start(self) -> None:
        prepared = await self.prepare()
        assert prepared is not None  # noqa: S101 - for the type checker
        warn_once(prepared.warnings, self.log)
        version, file, loop = prepared.version, Path(self.static_config_file), asyncio.get_running_loop()
        launch = launch_spec(prepared.binary, version, prepared.environment, prepared.settings, file.name)
        outlives = self.app is not None and not self.app.cleanup_proxy
        secrets = [*self.store_secrets(), self.traefik_api_password, *secrets_in(self.traefik_env)]
        provider = self.provider_name
        process = TraefikSupervisor(
            *(file, launch, self.log),
            secrets=secrets,
            provider=provider,
            stuck_timeout=self.traefik_stuck_timeout,
            outlives=outlives,
        )
        decision = await loop.run_in_executor(None, process.decide)
        check_ports = partial(check_free, self.listen_addresses())
        if isinstance(decision, Start):
            check_ports()
        allowed = groups_allowed(self.route_layout, version)
        # A Traefik that an earlier hub has left keeps serving until the store is reached.
        able, adopts = Features(version, metrics=True, ping=True), isinstance(decision, Adopt)
        session, reconciler = await self._begin(
            (), allowed, able, there_already=adopts, provider_error=process.provider_error
        )
        [traefik] = await session.discovery.members()
        session.supervisor = process
        timeout = self.check_route_timeout

        def check() -> None:
            process.check_alive()
            if refused := self.refused_login(process.provider_error()):
                raise TraefikError(refused)

        async def loaded() -> None:
            if not await serves_already([traefik], unknown=False):
                reconciler.let_load()
            revision, told = reconciler.revision, process.provider_error
            await wait_for_traefik(traefik, revision, timeout, self.log, check, told)

        await process.start(decision, check_ports, loaded, reconciler.followed_since, reconciler.stuck)
        await self._look_at_own(traefik, version, reconciler.desired)
        self.log.info("Traefik %s runs (process %s), configured by %s.", ".".join(map(str, version)), process.pid, file)
        await reconciler.log_notification_cost()

    async def _begin(
        self,
        entry_points: tuple[str, ...],
        allowed: bool | None,
        able: Features | None = None,
        *,
        there_already: bool,
        provider_error: Callable[[float], str | None] = lambda since: None,
    ) -> tuple[Session, Reconciler]:
        """Open the store and bring it to the desired state; the session is kept, so that a failure closes it."""
        access = self._access(secret := self._secret())
        warn_of_rivals(type(self), self.named_as, self.log)
        set_up_for = partial(self._setup, access, secret, entry_points=entry_points)
        discovery, adjusts = self._fleet(access), bool(self.sets_up and not self.should_start)
        store = self.open_store(self.roots)
        self._session = session = Session(self.log, store, discovery, set_up_for, adjusts=adjusts)
        members = session.discovery.members
        timeout, setting = self.store_timeout, "c.KVTraefikProxy.store_timeout"
        for warning in await wait_for_store(store.check, timeout, setting, self.log):
            self.log.warning("%s", shown(warning))
        if not self.should_start:
            self.dynamic_config(able := await probe_features(await members()))

        async def serves() -> bool:
            # A hub checks all routes later, so an unknown Traefik may count as serving until then. Without a hub, that
            # check never comes, and only a Traefik that is seen to serve counts.
            unknown = self.app is not None and not self.should_start
            return await serves_already(await members(), unknown=unknown)

        reconciler = Reconciler(
            store,
            session.discovery,
            log=self.log,
            layout=self.layout(entry_points),
            setup=set_up_for(able),
            concurrency=self.concurrency,
            groups_allowed=allowed,
            grace=self.traefik_replica_grace,
            interval=self.store_check_interval,
            place=self.store_place(),
            observer=self.observer(),
            serves_already=serves if there_already else None,
            provider_error=provider_error,
            longest=min(_LONGEST_START, self.check_route_timeout / 2),
        )
        await wait_for_store(reconciler.start, timeout, setting, self.log)
        session.work(reconciler)
        if files := self.store_certificates():
            session.begin(tell_renewals(files, self.log), "The check for renewed certificates")
        if self.tracks_activity:
            session.track_activity(reconciler, sets_up=self.sets_up)
        return session, reconciler

    async def _running(self) -> Reconciler:
        """Return the reconciler; if the hub does not start the proxy, the first use starts it."""
        if self._reconciler is None and self.should_start:
            raise StoppedError("The proxy is not running: it was not started, or has been stopped.")
        if self._starting is None:
            self._starting = asyncio.Lock()
        async with self._starting:
            if self._reconciler is None:
                await self._start_external()
        assert self._reconciler is not None  # noqa: S101 - for the type checker
        return self._reconciler

    async def _start_external(self) -> None:
        try:
            await self.prepare()
            session, reconciler = await self._begin((self.traefik_entrypoint,), None, there_already=True)
        except KVProxyError as error:
            self.log.critical("%s", error)
            await self._close()
            raise error.with_traceback(None) from None
        session.first_look = session.begin(self._check_external(session, reconciler), "The first check of Traefik")

    async def _check_external(self, session: Session, reconciler: Reconciler) -> None:
        # Before that, Traefik's API is that of whatever set it up before.
        await reconciler.released()
        await self._look_at_external(await session.discovery.members(), reconciler.revision, reconciler.desired)
        await session.adjust(reconciler)
        await reconciler.log_notification_cost()

    async def stop(self) -> None:
        """Stop Traefik; the routes stay in the store. Concurrent calls wait for the same stop."""
        if self._stopping is None or self._stopping.done():
            self._stopping = asyncio.create_task(self._stop())
        # JupyterHub calls this once per signal. Cancelling one caller must not interrupt the stop for the others.
        await asyncio.shield(self._stopping)

    async def _stop(self) -> None:
        if self._reconciler is not None:
            self.log.info(
                "Leaving %s in the store, %s, for the next start to find.",
                counted(self._reconciler.count, "route"),
                self.store_place(),
            )
            await self._reconciler.leave_traefik()
        await self._close()

    async def _close(self, *, failed: bool = False) -> None:
        if self._session is not None:
            await self._session.aclose(failed=failed)
        self._session = None

    async def add_route(self, routespec: str, target: str, data: Mapping[str, Any]) -> None:
        """Add a route, or change it, and return when Traefik serves it.

        Args:
            routespec: ``[host]/path/``, percent-encoded.
            target: URL of the server.
            data: any JSON object.

        Raises:
            InvalidRouteError: a ValueError; nothing has been written.
            RouteRejectedError: with Traefik's reason.
            RouteNotReadyError: a TimeoutError, with what was and was not seen.
            StoreError: if the store refuses the write.
        """
        route = make_route(self.validate_routespec(routespec), target, data)
        await (await self._running()).add(route, self.check_route_timeout)

    async def delete_route(self, routespec: str) -> None:
        """Remove a route and return when it is gone from the store. A missing one is no error.

        If the store is unreachable for longer than ``store_timeout``, that is logged, and the route is removed as soon
        as the store is back.

        Raises:
            StoreError: if it cannot be removed; this is logged too, as JupyterHub drops the error.
        """
        routespec = self.validate_routespec(routespec)
        try:
            key = parse_routespec(routespec).key
        except InvalidRouteError:
            return
        try:
            await (await self._running()).delete(key, self.store_timeout)
        except StoppedError:
            # The hub stops its users' servers and the proxy concurrently; no Traefik serves the route any more.
            self.log.info("The proxy is stopped; the route %r is left to the check at the hub's next start.", routespec)
        except StoreUnavailableError as error:
            self.log.error("The route %r is removed as soon as the store is back. %s", routespec, error)
        except KVProxyError as error:
            self.log.error("The route %r was not removed. %s", routespec, error)
            raise

    async def get_route(self, routespec: str) -> dict[str, Any] | None:
        """Return one route, None if there is none, at the same cost for any number of routes.

        Its data are as they were given, with ``last_activity`` if that is known (see :meth:`get_all_routes`).
        """
        routespec = self.validate_routespec(routespec)
        try:
            key = parse_routespec(routespec).key
        except InvalidRouteError:
            return None
        route = (await self._running()).get(key)
        return self._session.annotate(self.names.route(key), route) if self._session is not None else route

    async def get_all_routes(self) -> dict[str, dict[str, Any]]:
        """Return all routes by routespec, after a full read of the store; differences from the hub's are repaired.

        The data of a route are as they were given, with ``last_activity`` (UTC, ISO 8601) if ``track_last_activity`` is
        True and Traefik has answered requests for it since this hub was started.

        Raises:
            StoreError: if the store cannot be read.
        """
        with PROXY_POLL_DURATION_SECONDS.time():
            reconciler = await self._running()
            reading = reconciler.all(self.store_timeout)
            return await (self._session.get_all(reading, reconciler) if self._session is not None else reading)

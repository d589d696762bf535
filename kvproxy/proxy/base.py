"""The base class of kvproxy's proxies: the settings of the store, and methods over the modules beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import partial
from typing import Any

from jupyterhub.metrics import PROXY_POLL_DURATION_SECONDS
from traitlets import Float, Unicode

from .._text import counted
from ..errors import ConfigurationError, KVProxyError, StoppedError, StoreUnavailableError
from ..plugins import named_proxy_class, warn_of_rivals
from ..process.adoption import Adopt, Start, certificate_files
from ..process.launch import check_free
from ..reconcile.reconciler import Reconciler
from ..reconcile.startup import warn_once
from ..routing.route import key_of, make_route
from ..store.base import Roots, Store, make_roots
from ..traefik.features import Features
from ..traefik.replicas import Replica
from ..traefik.static_config import check_url, groups_allowed
from . import setup
from .former_names import tell_remarks
from .hot import allows_tiers, catch_all, make_hot, starts_with_two, until_worthwhile
from .preparation import Prepared, check_certificate, check_hooks, prepare_traefik
from .session import Session, StoreSettings, make_supervisor
from .succession import tell_left
from .traits import TraefikProxy


class KVTraefikProxy(TraefikProxy):
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

    kv_traefik_prefix = Unicode(
        "traefik",
        config=True,
        help="""The root of the keys that Traefik reads from the store (its `rootKey`), with or without outer slashes.

        Keys that you add below it are picked up by Traefik and left alone by kvproxy. No other root in the same store
        may begin with the same characters.
        """,
    )
    kv_jupyterhub_prefix = Unicode(
        "jupyterhub", config=True, help="The root of the hub's own records in the store, with or without outer slashes."
    )
    store_timeout = Float(
        60,
        min=0,
        config=True,
        help="""Seconds that the store may be unreachable when the hub starts, or while a route is removed.""",
    )
    store_check_interval = Float(
        2,
        min=0,
        config=True,
        help="""Minimum seconds between two checks that the store still holds what the hub wrote; differences are
        repaired. Large tables are read less often: the checks take at most a fiftieth of the time. A store that was
        emptied, or has gone back to old data, is noticed within a second at any size. 0 switches both off.
        """,
    )

    _session: Session | None = None
    _hot: KVTraefikProxy | None = None
    _starting: asyncio.Lock | None = None
    _stopping: asyncio.Task[None] | None = None
    _told_of_left = False

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        setup.offer_templates(self.app)

    def open_store(self, roots: Roots) -> Store:
        """Return a store with these roots, not yet connected.

        Args:
            roots: :attr:`roots`, or others in the same store that a migration reads.

        Raises:
            ConfigurationError: if a setting cannot work, or the store's client library is not installed.
        """
        raise NotImplementedError

    def traefik_provider(self) -> dict[str, Any]:
        """Return the section of Traefik's static configuration that makes it read the same store.

        Raises:
            ConfigurationError: if Traefik cannot use the hub's settings.
        """
        raise NotImplementedError

    def traefik_environment(self) -> dict[str, str]:
        """Return environment variables that Traefik needs to read the same store."""
        return {}

    def refused_login(self, provider_error: str) -> str:
        """Return the remedy if the store refuses Traefik's login permanently; empty for any other error.

        Args:
            provider_error: the last error of Traefik's provider, in its own words; empty if there is none.
        """
        return ""

    def store_secrets(self) -> list[str]:
        """Return the strings that must never be logged."""
        return []

    def store_place(self) -> str:
        """Return the location of the routes in the store, for messages."""
        return str(self.roots)

    def hot_settings(self) -> dict[str, Any]:
        """Return settings for other places in the same store, for a second Traefik; no root may begin with another."""
        return {n: f"hot-{getattr(self, n).strip('/')}" for n in ("kv_traefik_prefix", "kv_jupyterhub_prefix")}

    def hot_proxy(self) -> KVTraefikProxy | None:
        """Return the proxy of the second Traefik, which is not started; None with one tier of routes."""
        return make_hot(self, self.hot_settings()) if self.route_tiers != "one" else None

    @property
    def traefik_root(self) -> str:
        """:attr:`kv_traefik_prefix` without outer slashes."""
        return self.roots.traefik

    @property
    def jupyterhub_root(self) -> str:
        """:attr:`kv_jupyterhub_prefix` without outer slashes."""
        return self.roots.jupyterhub

    @property
    def roots(self) -> Roots:
        """Both roots.

        Raises:
            ConfigurationError: if they cannot be used.
        """
        return make_roots(self.kv_traefik_prefix, self.kv_jupyterhub_prefix, self.hub_id)

    def store_certificates(self) -> list[str]:
        """Return the names of the TLS files for Traefik's connection to the store; some may be contents instead."""
        with suppress(ConfigurationError):
            return certificate_files(self.traefik_provider())
        # An external Traefik, which the hub's settings cannot configure.
        return []

    # The functions of setup.py take the proxy first, so they are methods here.
    advice = setup.advice
    api_access = setup.hub_access
    discovery = setup.discovery
    dynamic_config = setup.dynamic_config
    gives_placeholder = setup.gives_placeholder
    key_in_store = setup.key_in_store
    layout = setup.layout
    listen_addresses = setup.listen_addresses
    says_provider = property(setup.says_provider)
    static_settings = setup.static_settings

    async def prepare(self) -> Prepared | None:
        """Refuse settings that cannot work. Nothing is written, started or requested over the network.

        A start and ``kvproxy check`` both begin with this, so both find the same mistakes.

        Returns:
            the Traefik that the hub is about to start; None if it starts none.

        Raises:
            KVProxyError: with one sentence that names the setting.
        """
        check_url(self.public_url, "JupyterHub.bind_url")
        tell_remarks(self.setting_remarks(), self.log)
        check_certificate(self.ssl_cert, self.ssl_key)
        prepared = None
        if self.should_start:
            prepared = await asyncio.to_thread(prepare_traefik, self, self.traefik_provider, self.traefik_environment)
        self._hot = hot = self.hot_proxy() if allows_tiers(self, prepared) else None
        if hot is not None:
            second = await hot.prepare()
            prepared = prepared and replace(prepared, hot=second)
        self.dynamic_config(Features(prepared.version) if prepared is not None else None)
        layout = self.layout(() if self.should_start else (self.traefik_entrypoint,))
        check_hooks(layout, self.hub if self.app is not None else None)
        return prepared

    @property
    def traefik_pid(self) -> int | None:
        """Process id of the Traefik that the hub started, None if it started none, or it does not run at the moment."""
        return self._session.traefik_pid if self._session is not None else None

    @property
    def traefik_replicas(self) -> list[Replica]:
        """Every replica of Traefik with its last known state; none before the proxy has started."""
        return self._session.replicas if self._session is not None else []

    async def start(self) -> None:
        """Start Traefik and bring the store to the desired state; stop what was started if that fails.

        Raises:
            KVProxyError: with one sentence that names the remedy.
        """
        try:
            await self._start()
        except KVProxyError as error:
            self.log.critical("%s", error)
            # The sentence is sufficient; a traceback in the hub's log would only hide it.
            raise error.with_traceback(None) from None

    async def _start(self, prepared: Prepared | None = None) -> Session:
        try:
            return await self._start_traefik(prepared or await self.prepare())
        except BaseException:
            await self._close(failed=True)
            raise

    async def _start_traefik(self, prepared: Prepared | None) -> Session:
        assert prepared is not None  # noqa: S101 - for the type checker
        warn_once(prepared.warnings, self.log)
        version, supervisor = prepared.version, make_supervisor(self, prepared, self.store_secrets())
        decision = await asyncio.get_running_loop().run_in_executor(None, supervisor.decide)
        check_ports = partial(check_free, self.listen_addresses())
        if isinstance(decision, Start):
            check_ports()
        allowed, able = groups_allowed(self.route_layout, version), Features(version, metrics=True, ping=True)
        # A Traefik that an earlier hub has left keeps serving until the store is reached.
        adopts = isinstance(decision, Adopt)
        session = self._new_session(())
        reconciler = await session.open(
            self._store_settings(), allowed, able, there_already=adopts, provider_error=supervisor.provider_error
        )
        hot = self._hot
        # Before the first Traefik, which leads to it.
        paired = await hot._start(prepared.hot) if hot is not None and starts_with_two(self, reconciler) else None
        await session.start_traefik(supervisor, decision, check_ports, version, reconciler, self.refused_login)
        if paired is not None:
            await session.pair(paired, catch_all(self))
        elif hot is not None and prepared.hot is not None:
            many = partial(until_worthwhile, reconciler, make_supervisor(hot, prepared.hot, hot.store_secrets()))
            session.pair_when(many, partial(hot._start, prepared.hot), catch_all(self))
        return session

    def _new_session(self, entry_points: tuple[str, ...]) -> Session:
        """Return a session that is not open yet; it is kept, so that a failure closes it."""
        warn_of_rivals(type(self), named_proxy_class(self.config), self.log)
        self._session = Session(self, entry_points, tiers=2 if self._hot is not None else 1)
        return self._session

    def _store_settings(self) -> StoreSettings:
        store, certificates = self.open_store(self.roots), self.store_certificates()
        return StoreSettings(store, self.store_place(), self.store_timeout, self.store_check_interval, certificates)

    @property
    def _reconciler(self) -> Reconciler | None:
        return self._session.reconciler if self._session is not None else None

    async def _running(self) -> Session:
        """Return the open session; if the hub does not start the proxy, the first use starts it."""
        if self._reconciler is None and self.should_start:
            raise StoppedError("The proxy is not running: it was not started, or has been stopped.")
        if self._starting is None:
            self._starting = asyncio.Lock()
        async with self._starting:
            if self._session is None or self._session.reconciler is None:
                return await self._start_external()
            return self._session

    async def _start_external(self) -> Session:
        try:
            await self.prepare()
            return await self._open_external()
        except KVProxyError as error:
            self.log.critical("%s", error)
            await self._close()
            raise error.with_traceback(None) from None

    async def _open_external(self) -> Session:
        hot = await self._hot._open_external() if self._hot is not None else None
        session = self._new_session((self.traefik_entrypoint,))
        session.check_external(await session.open(self._store_settings(), None, there_already=True))
        if hot is not None:
            await session.pair(hot, catch_all(self))
        return session

    async def stop(self) -> None:
        """Stop Traefik; the routes stay in the store. Concurrent calls wait for the same stop."""
        if self._stopping is None or self._stopping.done():
            self._stopping = asyncio.create_task(self._stop())
        # JupyterHub calls this once per signal. Cancelling one caller must not interrupt the stop for the others.
        await asyncio.shield(self._stopping)

    async def _stop(self) -> None:
        if self._session is not None and self._reconciler is not None:
            self.log.info(
                "Leaving %s in the store, %s, for the next start to find.",
                counted(self._session.routes.count, "route"),
                self.store_place(),
            )
            await self._session.leave_traefik()
        await self._close()

    async def _close(self, *, failed: bool = False) -> None:
        if self._session is not None:
            await self._session.aclose(failed=failed)
        self._session = None
        if self._hot is not None:
            await self._hot._close(failed=failed)

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
        await (await self._running()).routes.add(route, self.check_route_timeout)

    async def delete_route(self, routespec: str) -> None:
        """Remove a route and return when it is gone from the store, or at once with ``delete_grace``.

        If the store is unreachable for longer than ``store_timeout``, that is logged, and the route is removed as soon
        as the store is back.

        Raises:
            StoreError: if it cannot be removed; this is logged too, as JupyterHub drops the error.
        """
        routespec = self.validate_routespec(routespec)
        if (key := key_of(routespec)) is None:
            return
        try:
            await (await self._running()).routes.delete(key, self.store_timeout)
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
        if (key := key_of(self.validate_routespec(routespec))) is None:
            return None
        session = await self._running()
        return session.annotate(self.names.route(key), session.routes.get(key))

    async def get_all_routes(self) -> dict[str, dict[str, Any]]:
        """Return all routes by routespec, after a full read of the store; differences from the hub's are repaired.

        The data of a route are as they were given, with ``last_activity`` (UTC, ISO 8601) if ``track_last_activity`` is
        True and Traefik has answered requests for it since this hub was started.

        Raises:
            StoreError: if the store cannot be read.
        """
        with PROXY_POLL_DURATION_SECONDS.time():
            return await (await self._running()).get_all(self.store_timeout)

    async def check_routes(self, *arguments: Any, **named: Any) -> None:
        """Do JupyterHub's check of all routes, and then put the routes that another proxy has left behind the hub's.

        The hub calls it at the end of its start, when it knows which servers run.
        """
        with self._session.checking() if self._session is not None else nullcontext():
            await super().check_routes(*arguments, **named)
        if self._reconciler is not None and (left := self._reconciler.prevail()) and not self._told_of_left:
            self._told_of_left = True
            tell_left(left, self.app, self.log)

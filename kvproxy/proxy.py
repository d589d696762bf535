"""JupyterHub's view of kvproxy: traits, and thin methods over the reconciler and the launcher."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from jupyterhub.metrics import PROXY_POLL_DURATION_SECONDS
from traitlets import Float, Unicode

from .adoption import Launch, Start, certificate_files
from .errors import ConfigurationError, InvalidRouteError, KVProxyError, StoppedError, TraefikError
from .launcher import RUNTIME, check_free, file_digests, find_traefik, traefik_version
from .plugins import rivals
from .process import TraefikProcess
from .reconciler import Reconciler
from .routes import make_route, parse_routespec
from .startup import wait_for_store, wait_for_traefik
from .static import check_url, groups_allowed, parse_version, static_configuration, static_file
from .store import Store, normalise_root
from .traefik import TraefikApi
from .traefik_proxy import TraefikProxy
from .translate import Layout


class KVTraefikProxy(TraefikProxy):
    """A proxy whose routes are in a key-value store that Traefik reads.

    A backend derives from it, names the provider, and says how to open its store and how Traefik is to open it, both
    from the same traits::

        class MyProxy(KVTraefikProxy):
            provider_name = "zooKeeper"
            my_url = Unicode("my://127.0.0.1:2181", config=True, help="Where it is.")

            def open_store(self):
                return MyStore(self.my_url, self.traefik_root, self.jupyterhub_root)

            def traefik_provider(self):
                endpoint = self.my_url.removeprefix("my://")
                return {"zooKeeper": {"endpoints": [endpoint], "rootKey": self.traefik_root}}
    """

    kv_traefik_prefix = Unicode(
        "traefik",
        config=True,
        help="""The root of what Traefik reads from the store (its `rootKey`), with or without slashes at its ends.

        Keys that you add below it are picked up by Traefik and left alone by kvproxy. No other root in the same store
        may begin with the same characters.
        """,
    )
    kv_jupyterhub_prefix = Unicode(
        "jupyterhub",
        config=True,
        help="""The root of what the hub keeps in the store about its routes, with or without slashes at its ends.""",
    )
    store_timeout = Float(
        60,
        min=0,
        config=True,
        help="""Seconds that the store may be late when the hub starts, or away while a route is removed.""",
    )

    _reconciler: Reconciler | None = None
    _store: Store | None = None
    _traefik: TraefikApi | None = None
    _process: TraefikProcess | None = None
    _starting: asyncio.Lock | None = None
    _watching: asyncio.Task[None] | None = None

    def open_store(self) -> Store:
        """The store, not yet connected.

        Raises:
            ConfigurationError: if a setting cannot work, or the store's client library is not installed.
        """
        raise NotImplementedError

    def traefik_provider(self) -> dict[str, Any]:
        """The section of Traefik's static configuration that makes it read the same store.

        Raises:
            ConfigurationError: if Traefik cannot follow where the hub goes.
        """
        raise NotImplementedError

    def traefik_environment(self) -> dict[str, str]:
        """What makes Traefik read the same store as well, where its configuration has no place for it."""
        return {}

    def store_secrets(self) -> list[str]:
        """Texts that must never be logged."""
        return []

    def store_place(self) -> str:
        """Where in the store the routes are, for the log."""
        return f"below {self.traefik_root!r} and {self.jupyterhub_root!r}"

    @property
    def traefik_pid(self) -> int | None:
        """Process id of the Traefik that the hub started, None if it started none or it does not run just now."""
        return self._process.pid if self._process is not None else None

    @property
    def traefik_root(self) -> str:
        """:attr:`kv_traefik_prefix` without slashes at its ends."""
        return self._roots()[0]

    @property
    def jupyterhub_root(self) -> str:
        """:attr:`kv_jupyterhub_prefix` without slashes at its ends."""
        return self._roots()[1]

    def _roots(self) -> tuple[str, str]:
        traefik = normalise_root(self.kv_traefik_prefix, "kv_traefik_prefix")
        jupyterhub = normalise_root(self.kv_jupyterhub_prefix, "kv_jupyterhub_prefix")
        if jupyterhub.startswith(traefik):
            raise ConfigurationError(
                f"kv_jupyterhub_prefix = {jupyterhub!r} begins with kv_traefik_prefix = {traefik!r}, so Traefik would "
                "read the hub's records as its configuration; choose another."
            )
        return traefik, jupyterhub

    async def start(self) -> None:
        """Start Traefik and bring the store to the desired state; stop what was started if that fails.

        Raises:
            KVProxyError: with one sentence that says what to do.
        """
        try:
            await self._start()
        except KVProxyError as error:
            self.log.critical("%s", error)
            await self._close(failed=True)
            # The sentence says it all: spare the administrator what the hub would print of our inner life.
            raise error.with_traceback(None) from None
        except BaseException:
            await self._close(failed=True)
            raise

    async def _start(self) -> None:
        check_url(self.public_url, "JupyterHub.bind_url")
        binary = find_traefik()
        loop = asyncio.get_running_loop()
        version = await loop.run_in_executor(None, traefik_version, binary)
        configuration = static_configuration(self.static_settings(self.traefik_provider(), version))
        file = Path(self.static_config_file)
        text = static_file(configuration, file.name)
        environment = {**RUNTIME, **self.traefik_environment(), **self.traefik_env}
        launch = Launch(binary, version, environment, text, file_digests(certificate_files(configuration)))
        outlives = self.app is not None and not self.app.cleanup_proxy
        process = TraefikProcess(file, launch, self.log, secrets=self.store_secrets(), outlives=outlives)
        decision = await loop.run_in_executor(None, process.decide)
        check_ports = partial(check_free, self.listen_addresses())
        if isinstance(decision, Start):
            check_ports()
        allowed = groups_allowed(self.route_layout, version)
        # A Traefik that an earlier hub has left serves on until the store is reached.
        reconciler, traefik = await self._start_reconciler((), allowed)
        self._process = process
        loaded = (traefik, reconciler.revision, self.check_route_timeout, self.log, process.check_alive)
        await process.start(decision, check_ports, partial(wait_for_traefik, *loaded))
        self.log.info("Traefik %s runs (process %s), configured by %s.", ".".join(map(str, version)), process.pid, file)
        await reconciler.tell_noise()

    async def _start_reconciler(
        self, entry_points: tuple[str, ...], allowed: bool | None
    ) -> tuple[Reconciler, TraefikApi]:
        secret = self._secret()
        access = self._access(secret)
        if others := rivals():
            self.log.warning(
                "This hub uses %s of kvproxy, but another package provides proxies of the same names: %s. Uninstall "
                "it, or name the class in full in c.JupyterHub.proxy_class.",
                f"{type(self).__module__}.{type(self).__name__}",
                ", ".join(others),
            )
        self._store = store = self.open_store()
        self._traefik = traefik = self._api(access)
        timeout, setting = self.store_timeout, "c.KVTraefikProxy.store_timeout"
        for warning in await wait_for_store(store.check, timeout, setting, self.log):
            self.log.warning("%s", warning)
        reconciler = Reconciler(
            store,
            traefik,
            log=self.log,
            layout=Layout(entry_points, self.route_layout, hosts=self.app is not None and self.host_routing),
            setup=self._setup(access, secret),
            concurrency=self.concurrency,
            groups_allowed=allowed,
        )
        await wait_for_store(reconciler.start, timeout, setting, self.log)
        self._reconciler = reconciler
        return reconciler, traefik

    async def _running(self) -> Reconciler:
        """The reconciler; if the hub does not start the proxy, it begins to work when it is first used."""
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
            check_url(self.public_url, "JupyterHub.bind_url")
            reconciler, traefik = await self._start_reconciler((self.traefik_entrypoint,), None)
        except KVProxyError as error:
            self.log.critical("%s", error)
            await self._close()
            raise error.with_traceback(None) from None
        self._watching = asyncio.create_task(self._check_external(traefik, reconciler))

    async def _check_external(self, traefik: TraefikApi, reconciler: Reconciler) -> None:
        """Tell the administrator early what an external Traefik lacks; whoever adds a route waits on his own."""
        try:
            await wait_for_traefik(traefik, reconciler.revision, self.check_route_timeout, self.log)
            await reconciler.tell_noise()
            if await traefik.entry_point(self.traefik_entrypoint) is None:
                self.log.error(
                    "Traefik has no entry point %r; set c.TraefikProxy.traefik_entrypoint to its public one.",
                    self.traefik_entrypoint,
                )
            version = await traefik.version()
            self.log.info("Traefik %s serves the routes.", version)
            groups_allowed(self.route_layout, parse_version(version))
        except (TraefikError, ConfigurationError) as error:
            self.log.error("%s", error)

    async def stop(self) -> None:
        """Stop Traefik; the routes stay in the store."""
        if self._reconciler is not None:
            self.log.info(
                "Leaving %d routes in the store, %s, for the next start to find.",
                self._reconciler.count,
                self.store_place(),
            )
        await self._close()

    async def _close(self, *, failed: bool = False) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        if self._process is not None:
            await (self._process.give_up() if failed else self._process.stop())
        for part in (self._reconciler, self._store, self._traefik):
            if part is not None:
                await part.aclose()
        self._watching = self._process = self._reconciler = self._store = self._traefik = None

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

        Example::

            await proxy.add_route("/user/ada/", "http://127.0.0.1:4321", {"user": "ada", "server_name": ""})
        """
        route = make_route(self.validate_routespec(routespec), target, data)
        await (await self._running()).add(route, self.check_route_timeout)

    async def delete_route(self, routespec: str) -> None:
        """Remove a route and return when it is gone from the store. A missing one is no error.

        Raises:
            StoreError: if it could not be removed; this is logged too, as JupyterHub swallows it.
        """
        routespec = self.validate_routespec(routespec)
        try:
            key = parse_routespec(routespec).key
        except InvalidRouteError:
            return
        try:
            await (await self._running()).delete(key, self.store_timeout)
        except StoppedError:
            # The hub stops its users' servers and the proxy side by side; nobody serves the route any more.
            self.log.info("The proxy is stopped; the route %r is left to the check at the hub's next start.", routespec)
        except KVProxyError as error:
            self.log.error("The route %r was not removed. %s", routespec, error)
            raise

    async def get_route(self, routespec: str) -> dict[str, Any] | None:
        """One route, None if there is none. Costs the same at any number of routes."""
        routespec = self.validate_routespec(routespec)
        try:
            key = parse_routespec(routespec).key
        except InvalidRouteError:
            return None
        return (await self._running()).get(key)

    async def get_all_routes(self) -> dict[str, dict[str, Any]]:
        """All routes, by routespec, after a full read of the store; what differs from what the hub wants is repaired.

        Raises:
            StoreError: if the store cannot be read.
        """
        with PROXY_POLL_DURATION_SECONDS.time():
            return await (await self._running()).all(self.store_timeout)

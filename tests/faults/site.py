"""A place of work: a store, Traefik, a hub's proxy in a process of its own, and users' servers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil

from kvproxy.cli.routes.observe import opened
from kvproxy.process.launch import default_environment, find_traefik, traefik_version, write_private
from kvproxy.proxy import KVTraefikProxy
from kvproxy.reconcile.plan import diff, transactions
from kvproxy.routing.encode import encode_setup
from kvproxy.routing.route import Route, make_route
from kvproxy.routing.table import DesiredTable
from kvproxy.store import Operation, Snapshot, Space
from kvproxy.testing.servers import TraefikServer, free_port
from kvproxy.testing.servers.echo import EchoServer
from kvproxy.testing.servers.named import Doors, RawClient, port_of
from kvproxy.traefik.static_config import static_configuration, static_file
from tests.faults.hub_process import Hub, HubError
from tests.faults.network import APART, Network, redirect
from tests.faults.stores import Killable, StoreUnderFault

_DOORS = 100  # users' servers that can be told apart; where there are more routes, some share one
_LOOK = 0.1  # seconds between two looks at what is waited for
_STILL = 5  # polls at which no reader was left
#: Name of the router that is added by hand, with a field that Traefik does not know.
FOREIGN = "http/routers/by-hand/nosuchfield"
#: Seconds that the hub itself waits for a route, as JupyterHub has it.
ROUTE_TIMEOUT = 30


class Site:
    """Everything that a fault can hit, and what is right there. Made by `Site.open`.

    store: where the routes are. directory: for all files. managed: whether the hub starts Traefik. network: whether
    there is one between store, hub and Traefik; the store needs processes then.
    """

    def __init__(self, store: StoreUnderFault, directory: Path, *, managed: bool, network: bool = False):
        self.store, self.managed, self._directory = store, managed, directory
        self.port, api = free_port(), free_port()
        static = directory / "traefik.toml"
        traits = {
            "public_url": f"http://127.0.0.1:{self.port}/",
            "traefik_api_url": f"http://127.0.0.1:{api}",
            "static_config_file": str(static),
            "should_start": managed,
            **store.traits,
        }
        #: None if the parts are connected directly.
        self.network = Network(store.port, api) if network and isinstance(store, Killable) else None
        #: It never starts; it knows how to come to the store, and how the hub calls things there.
        self.proxy = store.proxy_class(**traits)
        self.hub = Hub(*self._by_network(store.proxy_class, traits, api), directory / "hub.log")
        self.traefik = (
            None if managed else TraefikServer(directory / "external.toml", [self.port, api], self._variables)
        )
        self._doors = Doors()
        self._echo = EchoServer("socket")
        #: Where each route leads: routespec -> what the server there answers. And those that are gone.
        self.table: dict[str, str] = {}
        self.gone: set[str] = set()
        #: A user who holds a websocket open; it leads to another kind of server than the others.
        self.socket = "/user/socket/"
        self._targets: list[str] = []
        self._logins = 0

    @classmethod
    @asynccontextmanager
    async def open(
        cls, store: StoreUnderFault, directory: Path, *, routes: int, managed: bool, network: bool = False
    ) -> AsyncIterator[Site]:
        """A site at work with the given number of routes."""
        site = cls(store, directory, managed=managed, network=network)
        try:
            if site.network is not None:
                site.network.start()
            await asyncio.to_thread(store.start)
            await site._fill(routes)
            await site.hub.start()
            if site.traefik is not None:
                await asyncio.to_thread(site._start_traefik, site.traefik)
            await site.log_in("/user/first/")
            await site.settle()
            yield site
        finally:
            await site._close()

    @property
    def _variables(self) -> dict[str, str]:
        return {**os.environ, **default_environment(hot=False), **self.proxy.traefik_environment()}

    def _by_network(
        self, proxy_class: type[KVTraefikProxy], traits: dict[str, Any], api: int
    ) -> tuple[type[KVTraefikProxy], dict[str, Any]]:
        """The hub's class and traits, by which it and its Traefik come through the network, if there is one."""
        if self.network is None:
            return proxy_class, traits
        hub, traefik = self.network.to_store
        traits = redirect(traits, {hub.target_port: hub.port})
        if not self.managed:
            return proxy_class, redirect(traits, {api: self.network.api.port})
        return APART[proxy_class], {**traits, "traefik_ports": {str(hub.port): traefik.port}}

    def _start_traefik(self, traefik: TraefikServer) -> None:
        provider = self.proxy.traefik_provider()
        if self.network is not None:
            provider = redirect(provider, {self.network.traefik.target_port: self.network.traefik.port})
        settings = self.proxy.static_settings(provider, traefik_version(find_traefik()))
        write_private(traefik.config_path, static_file(static_configuration(settings), traefik.config_path.name))
        traefik.start()

    async def _fill(self, count: int) -> None:
        """Write the routes as kvproxy comes to lay them out; Traefik need not follow yet."""
        self._targets = [await self._doors.open() for _ in range(min(count, _DOORS))]
        self._echo.start()
        table = DesiredTable(self.proxy.layout(self._entry_points), encode_setup({}), groups_allowed=True)
        # One route is added in the ordinary way, and the websocket's is one more.
        specs = ["/", *(f"/user/student{number:05d}/" for number in range(count - 2))]
        for number, spec in enumerate(specs):
            target = self._targets[number % len(self._targets)]
            self.table[spec] = port_of(target)
            self._put(table, self._route(spec, target))
        self._put(table, self._route(self.socket, self._echo.url))
        while table.step(lambda name: False, None):
            continue
        groups = [diff(None, entry) for entry in table.entries.values()]
        await self._write([operation for group in groups for operation in group], wake=False)

    @property
    def _entry_points(self) -> tuple[str, ...]:
        return () if self.managed else (self.proxy.traefik_entrypoint,)

    @staticmethod
    def _put(table: DesiredTable, route: Route) -> None:
        table.put(table.entry(route))

    @staticmethod
    def _route(spec: str, target: str) -> Route:
        return make_route(spec, target, {"user": spec, "server_name": ""})

    async def _close(self) -> None:
        await self.hub.stop()
        with contextlib.suppress(OSError, ValueError, psutil.Error):
            # Of a hub that was killed.
            left = psutil.Process(int((self._directory / "traefik.toml.pid").read_text()))
            if str(self._directory) in " ".join(left.cmdline()):
                left.resume()
                left.kill()
        if self.traefik is not None:
            if self.traefik.running:
                psutil.Process(self.traefik.pid).resume()
            await asyncio.to_thread(self.traefik.kill)
        if self.network is not None:
            self.network.stop()
        await asyncio.to_thread(self.store.close)
        await asyncio.to_thread(self._echo.stop)
        await self._doors.close()

    # -- users

    async def log_in(self, spec: str, timeout: int = ROUTE_TIMEOUT) -> None:
        """Add a route as JupyterHub does, and see that it leads where it should. Raises HubError if it is not added."""
        # Not where the hub is: a request to a route that is missing is answered there. One after another, as a route
        # waits until no Traefik leads to its address for an earlier user.
        self._logins += 1
        target = self._targets[1 + self._logins % (len(self._targets) - 1)]
        await self.hub.call("add", routespec=spec, target=target, timeout=timeout)
        self.table[spec] = port_of(target)
        self.gone.discard(spec)
        async with self._client() as client:
            answer = await client.ask(spec)
        if answer != (200, self.table[spec]):
            raise HubError(f"{spec} was added, and answers {answer}.")

    async def log_out(self, spec: str) -> None:
        """Remove a route."""
        await self.hub.call("delete", routespec=spec)
        del self.table[spec]
        self.gone.add(spec)

    async def check_routes(self) -> None:
        """Have the hub do the check with which JupyterHub's start ends; it adds what is missing."""
        servers = {spec: f"http://127.0.0.1:{port}" for spec, port in self.table.items()}
        await self.hub.call("check", table={**servers, self.socket: self._echo.url})

    async def seconds_to_log_in(self, spec: str, limit: float) -> float:
        """Add a route, again and again if need be. Raises HubError with the last reason when the time is over."""
        begin = time.monotonic()
        while True:
            try:
                await self.log_in(spec)
                return time.monotonic() - begin
            except (HubError, OSError, EOFError, asyncio.TimeoutError):
                if time.monotonic() - begin > limit:
                    raise
                await asyncio.sleep(_LOOK)

    # -- what is right

    async def wrong(self) -> list[str]:
        """All routes that do not lead where they should, through the public port."""
        hub = self.table["/"]
        expected = {**self.table, **dict.fromkeys(self.gone, hub)}
        async with self._client() as client:
            return [spec for spec, port in expected.items() if not await _leads(client, spec + "lab", port)]

    async def differs(self) -> str:
        """How the keys in the store differ from what the hub wants; empty if they do not."""
        found, desired = await self.contents(), await self.hub.call("desired")
        for space, held, wanted in (
            ("the configuration", found.config, desired["config"]),
            ("the records", found.records, desired["records"]),
        ):
            if held != wanted:
                keys = sorted(key for key in {*held, *wanted} if held.get(key) != wanted.get(key))
                return f"{len(keys)} keys of {space} are not as the hub wants them, such as {keys[0]}"
        return ""

    async def seconds_to_heal(self, limit: float) -> float | None:
        """Until all is right in the store and at the public port, without asking the hub to do anything; None if not.

        The hub is not told to look: what it does, it does by itself.
        """
        begin = time.monotonic()
        while time.monotonic() - begin <= limit:
            with contextlib.suppress(HubError):
                if not await self.differs() and not await self.wrong():
                    return time.monotonic() - begin
            await asyncio.sleep(_LOOK)
        return None

    async def settle(self) -> None:
        """Wait until all is right. Raises HubError if it does not become so."""
        if await self.seconds_to_heal(ROUTE_TIMEOUT) is None:
            raise HubError(f"All is not right: {await self.differs()} {', '.join((await self.wrong())[:3])}")

    async def until_read(self) -> None:
        """Wait until Traefik has read all that the store notified it of, which a noisy Redis does once a key.

        Traefik reads twice for each notification, and takes an empty store for an empty configuration if the first
        read has found something (3.7, `pkg/provider/kv`, and kvtools/redis 1.2). A store that returns empty
        between these two leaves no routes for half a second, whatever is written then.
        """
        still, seen = 0, -1
        while still < _STILL:
            await asyncio.sleep(_LOOK)
            before, seen = seen, await asyncio.to_thread(self.store.scans)
            still = still + 1 if seen == before else 0

    async def until_served(self) -> None:
        """Wait until Traefik serves the hub's own route."""
        async with self._client() as client:
            while not await _leads(client, "/", self.table["/"]):
                await asyncio.sleep(_LOOK)

    async def contents(self) -> Snapshot:
        """The keys of the store, but for the revision."""
        async with opened(self.proxy) as store:
            found = await store.snapshot()
        revision = self.proxy.names.revision_key
        return Snapshot({key: value for key, value in found.config.items() if key != revision}, found.records)

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[RawClient]:
        client = RawClient(self.port)
        try:
            yield client
        finally:
            await client.close()

    # -- by hand

    async def by_hand(self, operations: Iterable[Operation]) -> None:
        """Change keys of the store behind the hub's back, and wake Traefik."""
        await self._write(list(operations), wake=True)

    async def _write(self, operations: list[Operation], *, wake: bool) -> None:
        async with opened(self.proxy) as store:
            for transaction in transactions([(one,) for one in operations], store.capabilities, wake=wake):
                await store.apply(transaction)

    def keys_of(self, found: Snapshot, spec: str) -> list[str]:
        """The keys of a route's configuration."""
        name = self.proxy.names.route(make_route(spec, "http://127.0.0.1:1", {}).key)
        return [key for key in found.config if self.proxy.names.owner(key) == name]

    # -- Traefik

    async def traefik_pid(self, *, hot: bool = False) -> int:
        """Process id of Traefik, of any parent; with two tiers, also of the second one."""
        if self.traefik is not None:
            return self.traefik.pid
        pid = await self.hub.call("traefik", hot=hot)
        assert isinstance(pid, int)
        return pid


async def _leads(client: RawClient, path: str, port: str) -> bool:
    try:
        return await client.ask(path) == (200, port)
    except (OSError, EOFError, asyncio.TimeoutError):
        await client.close()
        return False


def foreign(value: str | None) -> Operation:
    """The command that sets, or removes if None, a key that is not kvproxy's and that Traefik cannot decode."""
    return Operation(Space.CONFIG, FOREIGN, value)

"""The conformance kit for whole backends: routes through the real Traefik, as tests to inherit.

A plugin's author derives a class whose name begins with ``Test`` and overrides one fixture::

    class TestMyBackend(TraefikConformance):
        @pytest.fixture
        def backend(self):
            with MyServer() as running:
                yield BackendUnderTest(MyProxy, {"my_url": running.url}, running.stop, running.start)
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import signal
import string
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from kvproxy.errors import InvalidRouteError
from kvproxy.proxy import KVTraefikProxy
from kvproxy.routes import make_route
from kvproxy.store import Operation, Space, Store, Transaction
from kvproxy.testing import oracle
from kvproxy.testing.doors import Doors, RawClient, port_of
from kvproxy.testing.kit import Kit
from kvproxy.testing.servers import free_port
from kvproxy.testing.tree_conformance import TreeTests
from kvproxy.translate import Layout, encode

PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F))
UNICODE = ["é", "ß", "中文", "имя", "😀", "e\u0301", "\u200d", "\ufb01", "\u0130", "\u00a0", "ÿ"]
NAMES = [f"a{c}b" for c in PRINTABLE] + [c for c in PRINTABLE if c != "."] + ["..a", "a.", *UNICODE, PRINTABLE]
#: RFC 3986's characters of a path segment: a client may send these as they are.
LITERAL = string.ascii_letters + string.digits + "-._~!$&'()*+,;=:@"

Start = Callable[..., Awaitable[KVTraefikProxy]]
ClientOf = Callable[[KVTraefikProxy], RawClient]


@dataclass(frozen=True)
class BackendUnderTest:
    """A backend and a running, empty server of its store.

    Args:
        proxy_class: the backend's proxy class.
        traits: what leads it to the server.
        stop: makes the server unreachable, keeping its data; None if there is no server.
        start: makes it reachable again.
    """

    proxy_class: type[KVTraefikProxy]
    traits: Mapping[str, Any] = field(default_factory=dict)
    stop: Callable[[], Any] | None = None
    start: Callable[[], Any] | None = None


def as_hub(name: str) -> str:
    """As JupyterHub writes a name in a URL."""
    return quote(name, safe="@~")


def as_browser(name: str) -> str:
    """As JavaScript's encodeURIComponent does."""
    return quote(name, safe="!~*'()")


def as_literal(name: str) -> str:
    """With every character sent as it is that may be."""
    return quote(name, safe=LITERAL)


def all_encoded(name: str) -> str:
    """With every character percent-encoded, in lower case."""
    return "".join(f"%{byte:02x}" for byte in name.encode())


SPELLINGS = [as_hub, as_browser, as_literal, all_encoded]


async def add_all(proxy: KVTraefikProxy, routes: Iterable[tuple[str, str]]) -> None:
    """Add many routes at once."""
    await asyncio.gather(*(proxy.add_route(spec, target, {}) for spec, target in routes))


async def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for a condition, for so many seconds at most."""

    async def wait() -> None:
        while not condition():  # noqa: ASYNC110 - what is waited for is outside of this process
            await asyncio.sleep(0.01)

    await asyncio.wait_for(wait(), seconds)


class TraefikConformance(TreeTests, Kit):
    """Tests of one backend; see the module."""

    @pytest.fixture
    def backend(self) -> BackendUnderTest:
        """To be overridden: the backend, its server running and empty."""
        raise NotImplementedError(f"{type(self).__name__} must override the fixture 'backend'")

    @pytest.fixture
    async def start_proxy(self, backend: BackendUnderTest, tmp_path: Path) -> AsyncIterator[Start]:
        """Makes a proxy on free ports and starts it; traits as keyword arguments. All are stopped in the end."""
        async with AsyncExitStack() as stack:

            async def start(**traits: Any) -> KVTraefikProxy:
                settings = {
                    "public_url": f"http://127.0.0.1:{free_port()}/",
                    "traefik_api_url": f"http://127.0.0.1:{free_port()}",
                    "static_config_file": str(tmp_path / "traefik.toml"),
                    "check_route_timeout": 20,
                    "store_timeout": 20,
                    "log": logging.getLogger("kvproxy.test"),
                }
                proxy = backend.proxy_class(**{**settings, **backend.traits, **traits})
                stack.push_async_callback(proxy.stop)
                await proxy.start()
                return proxy

            yield start

    @pytest.fixture
    async def doors(self) -> AsyncIterator[Doors]:
        """Opens servers: ``await doors.open()``."""
        made = Doors()
        yield made
        await made.close()

    @pytest.fixture
    async def client_of(self) -> AsyncIterator[ClientOf]:
        """Makes clients of a proxy's public port."""
        clients: list[RawClient] = []

        def make(proxy: KVTraefikProxy) -> RawClient:
            clients.append(RawClient(int(port_of(proxy.public_url))))
            return clients[-1]

        yield make
        for client in clients:
            await client.close()

    @pytest.fixture
    async def store_of(self) -> AsyncIterator[Callable[[KVTraefikProxy], Awaitable[Store]]]:
        """Opens a second store where a proxy keeps its routes."""
        stores: list[Store] = []

        async def open_store(proxy: KVTraefikProxy) -> Store:
            stores.append(proxy.open_store())
            await stores[-1].check()
            return stores[-1]

        yield open_store
        for store in stores:
            await store.aclose()

    # -- names

    @pytest.mark.parametrize("prefix", ["/user/", "/user/zo%C3%AB/", "/@/space%20word/user/"])
    async def test_every_name_reaches_its_server_in_every_spelling(
        self, prefix: str, start_proxy: Start, doors: Doors, client_of: ClientOf
    ) -> None:
        """As a user's name, as a named server's, and below a base URL; a longer name is not it."""
        proxy = await start_proxy()
        hub, *targets = [await doors.open() for _ in ["/", *NAMES]]
        specs = [f"{prefix}{as_hub(name)}/" for name in NAMES]
        await add_all(proxy, [("/", hub), *zip(specs, targets, strict=True)])
        client = client_of(proxy)
        for name, target in zip(NAMES, targets, strict=True):
            for spelling in SPELLINGS:
                await self._assert_reaches(client, prefix + spelling(name), port_of(target))
            if name + "x" not in NAMES:
                await self._assert_reaches(client, f"{prefix}{as_hub(name)}x", port_of(hub))
        routes = await proxy.get_all_routes()
        assert {spec: routes[spec]["target"] for spec in specs} == dict(zip(specs, targets, strict=True))

    @staticmethod
    async def _assert_reaches(client: RawClient, path: str, port: str) -> None:
        for tail in ("", "/", "/tree/x?y=/user/z/"):
            assert (path + tail, await client.ask(path + tail)) == (path + tail, (200, port))

    async def test_a_named_server_cannot_take_over_the_hub(
        self, start_proxy: Start, doors: Doors, client_of: ClientOf
    ) -> None:
        """Shown on jupyterhub-traefik-proxy 2.1: the first of these names took every route."""
        proxy = await start_proxy()
        hub, ada, evil = [await doors.open() for _ in range(3)]
        names = ["x`) || HostRegexp(`.*", 'x") || PathPrefix("/', "x') || Path('/user/ada", 'x\\") || Host("127.0.0.1']
        specs = [f"/user/eve/{as_hub(name)}/" for name in names]
        await add_all(proxy, [("/", hub), ("/user/ada/", ada), *((spec, evil) for spec in specs)])
        client = client_of(proxy)
        for path, port in [("/", hub), ("/hub/", hub), ("/user/ada/x", ada), ("/user/eve/", hub), ("/user/eve/x", hub)]:
            assert await client.ask(path) == (200, port_of(port))
        for spec in specs:
            assert await client.ask(spec) == (200, port_of(evil))

    async def test_hosts(self, start_proxy: Start, doors: Doors, client_of: ClientOf) -> None:
        """With subdomains a route belongs to its host, whatever the case, with a port or without."""
        proxy = await start_proxy()
        hub, ada, bob, server = [await doors.open() for _ in range(4)]
        table = {"/": hub, "ada.example.org/user/ada/": ada, "bob.example.org/user/bob/": bob}
        await add_all(proxy, [*table.items(), ("ada.example.org/user/ada/a%2Bb/", server)])
        client = client_of(proxy)
        for host, path, port in [
            ("ada.example.org", "/user/ada/", ada),
            ("ADA.example.org:8000", "/user/ada", ada),
            ("ada.example.org", "/user/ada/a+b/x", server),
            ("bob.example.org", "/user/bob/x", bob),
            ("bob.example.org", "/user/ada/", hub),
            ("example.org", "/user/ada/", hub),
            ("ada.example.org", "/hub/", hub),
        ]:
            assert await client.ask(path, host) == (200, port_of(port)), (host, path)

    @pytest.mark.parametrize("seed", range(2))
    async def test_a_random_table_leads_where_longest_prefix_matching_leads(
        self, seed: int, start_proxy: Start, doors: Doors, client_of: ClientOf
    ) -> None:
        """Nested routes, hosts, hostile names, names that are prefixes of others."""
        chance = random.Random(seed)  # noqa: S311 - a repeatable test
        names = ["a", "ab", "a b", "a+b", "a@b", "%", "é", '"', "`", "(a", "a)", ".a", "a/b", "$", "^a", "*", "user"]
        hosts = ["", "", "", "x.example.org", "y.example.org"]
        proxy, table = await start_proxy(), {}
        for _ in range(60):
            path = "".join(as_hub(name) + "/" for name in chance.choices(names, k=chance.randint(0, 4)))
            route = make_route(f"{chance.choice(hosts)}/{path}", await doors.open(), {})
            table[route.key] = route
        await add_all(proxy, [(route.routespec, route.target) for route in table.values()])
        client = client_of(proxy)
        for _ in range(400):
            near = chance.choice(list(table.values()))
            segments = [*near.spec.segments[: chance.randint(0, 4)], *chance.choices(names, k=chance.randint(0, 2))]
            path = "/" + "/".join(chance.choice(SPELLINGS)(segment) for segment in segments)
            host = chance.choice(hosts[2:]) or "127.0.0.1"
            wanted = oracle.lead(table.values(), host, path)
            status, body = await client.ask(path, host)
            assert (path, host, status, body if status == 200 else "") == (
                (path, host, 200, port_of(wanted.target)) if wanted else (path, host, 404, "")
            )

    # -- the life of routes

    async def test_a_route_is_served_the_moment_add_route_returns(
        self, start_proxy: Start, doors: Doors, client_of: ClientOf
    ) -> None:
        """New ones, changed ones, ones that were removed and come back; the old target is never seen again."""
        proxy = await start_proxy()
        hub, *targets = [await doors.open() for _ in range(3)]
        await proxy.add_route("/", hub, {"hub": True})
        client = client_of(proxy)
        for turn in range(30):
            target = targets[turn % 2]
            await proxy.add_route("/user/ada/", target, {})
            assert await client.ask("/user/ada/lab") == (200, port_of(target)), turn
            if turn % 5 == 4:
                await proxy.delete_route("/user/ada/")
            await proxy.add_route(f"/user/u{turn}/", target, {})
            assert await client.ask(f"/user/u{turn}/") == (200, port_of(target)), turn

    async def test_a_hundred_simultaneous_calls_are_as_few_transactions_as_the_store_allows(
        self, backend: BackendUnderTest, start_proxy: Start, doors: Doors, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And all of them are served."""
        applied: list[Transaction] = []
        open_store = backend.proxy_class.open_store

        def open_counting(proxy: KVTraefikProxy) -> Store:
            store = open_store(proxy)
            apply = store.apply

            async def counted(transaction: Transaction) -> None:
                applied.append(transaction)
                await apply(transaction)

            monkeypatch.setattr(store, "apply", counted)
            return store

        monkeypatch.setattr(backend.proxy_class, "open_store", open_counting)
        proxy, target = await start_proxy(), await doors.open()
        applied.clear()
        await add_all(proxy, [(f"/user/u{n}/", target) for n in range(100)])
        operations = sum(len(transaction.operations) for transaction in applied)
        most = applied[0].operations and (proxy.open_store().capabilities.max_operations or operations)
        assert len(applied) <= 3 + 2 * operations / int(most or 1)
        assert sum(transaction.wake for transaction in applied) <= 3
        assert len(await proxy.get_all_routes()) == 100

    @pytest.mark.parametrize(
        "data",
        [
            {"hub": True},
            {},
            {"user": "ada", "server_name": "", "n": 1, "f": 1.5, "big": 2**60, "none": None, "no": False},
            {"nested": {"list": [1, {"": ""}], "empty": {}, "text": "中文 \u2028 \" ' \\ /\n"}, "": [[]]},
        ],
    )
    async def test_data_comes_back_exactly_also_after_a_restart(
        self, data: Any, start_proxy: Start, doors: Doors
    ) -> None:
        """As JSON gave it: ``{"hub": True}`` does not become ``{"hub": "true"}``."""
        proxy, target = await start_proxy(), await doors.open()
        await proxy.add_route("/x/", target, data)
        wanted = {"routespec": "/x/", "target": target, "data": json.loads(json.dumps(data))}
        assert await proxy.get_route("/x/") == wanted
        await proxy.stop()
        again = await start_proxy()
        assert await again.get_all_routes() == {"/x/": wanted}

    async def test_the_last_route_can_be_deleted(self, start_proxy: Start, doors: Doors, client_of: ClientOf) -> None:
        """Traefik ignores an empty tree; what it must not do is go on serving what was there."""
        proxy, target = await start_proxy(), await doors.open()
        await proxy.add_route("/user/ada/", target, {})
        await proxy.delete_route("/user/ada/")
        await proxy.delete_route("/user/ada/")
        client, deadline = client_of(proxy), asyncio.get_running_loop().time() + 10
        while (await client.ask("/user/ada/"))[0] != 404:
            assert asyncio.get_running_loop().time() < deadline
        assert await proxy.get_all_routes() == {}

    async def test_what_cannot_be_routed_is_refused(self, start_proxy: Start) -> None:
        """With InvalidRouteError, which is a ValueError; nothing is written."""
        proxy = await start_proxy()
        for routespec in ("/user/../", "/user/%zz/", "/a?b/", "host with blank/x/"):
            with pytest.raises(InvalidRouteError):
                await proxy.add_route(routespec, "http://127.0.0.1:1", {})
            assert await proxy.get_route(routespec) is None
        assert await proxy.get_all_routes() == {}

    async def test_keys_of_others_work_and_stay(
        self,
        start_proxy: Start,
        store_of: Callable[[KVTraefikProxy], Awaitable[Store]],
        doors: Doors,
        client_of: ClientOf,
    ) -> None:
        """An administrator's own router, added by hand."""
        proxy, mine, target = await start_proxy(), await doors.open(), await doors.open()
        keys = {
            "http/routers/mine/rule": "PathPrefix(`/mine`)",
            "http/routers/mine/service": "mine",
            "http/services/mine/loadBalancer/servers/0/url": mine,
        }
        store = await store_of(proxy)
        await store.apply(Transaction(tuple(Operation(Space.CONFIG, key, value) for key, value in keys.items())))
        await proxy.add_route("/", target, {})
        assert await client_of(proxy).ask("/mine/x") == (200, port_of(mine))
        assert set(await proxy.get_all_routes()) == {"/"}
        await proxy.delete_route("/")
        await proxy.stop()
        found = (await store.list()).config
        assert {key: found.get(key) for key in keys} == keys

    async def test_a_full_read_repairs_what_was_changed_by_hand(
        self,
        start_proxy: Start,
        store_of: Callable[[KVTraefikProxy], Awaitable[Store]],
        doors: Doors,
        client_of: ClientOf,
    ) -> None:
        """JupyterHub reads all routes every five minutes; it sees, and may delete, what is not its own."""
        proxy, target = await start_proxy(), await doors.open()
        await proxy.add_route("/user/ada/", target, {"user": "ada"})
        store = await store_of(proxy)
        held, stale = await store.list(), encode(make_route("/user/stale/", target, {}), Layout())
        spaces = [(Space.CONFIG, held.config, stale.config), (Space.RECORDS, held.records, stale.records)]
        for space, old, new in spaces:
            await store.apply(Transaction(tuple(Operation(space, key, None) for key in old)))
            await store.apply(Transaction(tuple(Operation(space, key, value) for key, value in new.items())))
        assert set(await proxy.get_all_routes()) == {"/user/ada/", "/user/stale/"}
        await proxy.delete_route("/user/stale/")
        await proxy.add_route("/user/bob/", target, {})
        assert await client_of(proxy).ask("/user/ada/") == (200, port_of(target))
        assert set(await proxy.get_all_routes()) == {"/user/ada/", "/user/bob/"}

    async def test_a_restart_of_hub_and_traefik_changes_nothing(
        self,
        start_proxy: Start,
        store_of: Callable[[KVTraefikProxy], Awaitable[Store]],
        doors: Doors,
        client_of: ClientOf,
    ) -> None:
        """The routes are there, and are served."""
        more: dict[str, Any] = {"extra_dynamic_config": {"http": {"middlewares": {"zip": {"compress": {}}}}}}
        proxy, target = await start_proxy(**more), await doors.open()
        await add_all(proxy, [("/", target), ("/user/a%2Bb/", target)])
        routes = await proxy.get_all_routes()
        await proxy.stop()
        again = await start_proxy(**more)
        assert await again.get_all_routes() == routes
        assert await client_of(again).ask("/user/a+b/x") == (200, port_of(target))

    async def test_a_traefik_that_dies_is_started_again(
        self, start_proxy: Start, doors: Doors, client_of: ClientOf
    ) -> None:
        """All routes are served again."""
        proxy, target = await start_proxy(), await doors.open()
        await proxy.add_route("/user/ada/", target, {})
        first = proxy.traefik_pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(lambda: proxy.traefik_pid not in {None, first})
        await proxy.add_route("/user/bob/", target, {})
        assert await client_of(proxy).ask("/user/ada/") == (200, port_of(target))


class TraefikServerConformance(TraefikConformance):
    """Tests of a backend whose store has a server, which may be away."""

    async def test_a_store_that_is_away_delays_and_loses_nothing(
        self, backend: BackendUnderTest, start_proxy: Start, doors: Doors, client_of: ClientOf
    ) -> None:
        """Routes go on being served; what was asked for meanwhile is done when the store is back."""
        assert backend.stop is not None
        assert backend.start is not None
        proxy, target = await start_proxy(check_route_timeout=60, store_timeout=60), await doors.open()
        await add_all(proxy, [("/user/ada/", target), ("/user/bob/", target)])
        client = client_of(proxy)
        backend.stop()
        adding = asyncio.create_task(proxy.add_route("/user/eve/", target, {}))
        deleting = asyncio.create_task(proxy.delete_route("/user/bob/"))
        assert await client.ask("/user/ada/") == (200, port_of(target))
        backend.start()
        await asyncio.gather(adding, deleting)
        assert await client.ask("/user/eve/") == (200, port_of(target))
        assert set(await proxy.get_all_routes()) == {"/user/ada/", "/user/eve/"}

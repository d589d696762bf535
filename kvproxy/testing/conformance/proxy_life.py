"""The part of the backends' conformance kit that is about the life of routes: added, kept, repaired, removed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from typing import Any

import pytest

from kvproxy.errors import InvalidRouteError
from kvproxy.proxy.base import KVTraefikProxy
from kvproxy.routing.encode import encode_route
from kvproxy.routing.entry import Layout
from kvproxy.routing.route import make_route
from kvproxy.store.base import Operation, Roots, Space, Store, Transaction
from kvproxy.testing.conformance.proxy_suite import BackendUnderTest, ClientOf, Start, StoreOf, add_all, until
from kvproxy.testing.servers.named import Doors, port_of


class LifeTests:
    """Tests to inherit, with the fixtures of :class:`~kvproxy.testing.conformance.proxy_suite.TraefikKit`."""

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

        def open_counting(proxy: KVTraefikProxy, roots: Roots) -> Store:
            store = open_store(proxy, roots)
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
        most = applied[0].operations and (proxy.open_store(proxy.roots).capabilities.max_operations or operations)
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

    async def test_invalid_routespecs_are_refused(self, start_proxy: Start) -> None:
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
        store_of: StoreOf,
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
        found = (await store.snapshot()).config
        assert {key: found.get(key) for key in keys} == keys

    async def test_a_full_read_repairs_what_was_changed_by_hand(
        self,
        start_proxy: Start,
        store_of: StoreOf,
        doors: Doors,
        client_of: ClientOf,
    ) -> None:
        """JupyterHub reads all routes every five minutes; what the hub did not make is removed."""
        proxy, target = await start_proxy(), await doors.open()
        await proxy.add_route("/user/ada/", target, {"user": "ada"})
        store = await store_of(proxy)
        held, stale = await store.snapshot(), encode_route(make_route("/user/stale/", target, {}), Layout())
        spaces = [(Space.CONFIG, held.config, stale.config), (Space.RECORDS, held.records, stale.records)]
        for space, old, new in spaces:
            await store.apply(Transaction(tuple(Operation(space, key, None) for key in old)))
            await store.apply(Transaction(tuple(Operation(space, key, value) for key, value in new.items())))
        assert set(await proxy.get_all_routes()) == {"/user/ada/"}
        await proxy.add_route("/user/bob/", target, {})
        assert await client_of(proxy).ask("/user/ada/") == (200, port_of(target))
        assert set(await proxy.get_all_routes()) == {"/user/ada/", "/user/bob/"}
        deadline = asyncio.get_running_loop().time() + 20
        while not (await store.snapshot()).records.keys().isdisjoint({"/user/stale/"}):
            assert asyncio.get_running_loop().time() < deadline

    async def test_a_restart_of_hub_and_traefik_changes_nothing(
        self,
        start_proxy: Start,
        store_of: StoreOf,
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

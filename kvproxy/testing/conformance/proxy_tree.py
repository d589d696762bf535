"""The part of the backends' conformance kit that is about many routes: the routing tree on the real Traefik."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest

from kvproxy.routing.group import NO_REQUEST
from kvproxy.routing.route import make_route
from kvproxy.store.base import Store
from kvproxy.testing.conformance import oracle
from kvproxy.testing.conformance.proxy_suite import ClientOf, Start, StoreOf
from kvproxy.testing.servers import within
from kvproxy.testing.servers.named import Doors, RawClient, port_of

#: Routes that come and go; ``KVPROXY_CHURN=5000`` is what is promised, and takes its time.
CHURN = int(os.environ.get("KVPROXY_CHURN", "240"))
_SEGMENTS = ["a", "ab", "abc", "b", "a+b", "a@b", "50%", "a/b", "é", "中文", "x`) || Host(`y", "(", "a.b", "A", "zz"]
#: A hub that gives every user a domain, as far as a proxy looks at it.
_HUB_OF_HOSTS: Mapping[str, Any] = {
    "app": SimpleNamespace(cookie_secret=b"0123456789abcdef" * 2, cleanup_proxy=True),
    "host_routing": True,
}


def groups_in(config: Mapping[str, str]) -> int:
    """The number of groups of routes in use."""
    rules = [value for key, value in config.items() if "-kvg" in key and key.endswith("/rule")]
    return len(rules) - rules.count(NO_REQUEST)


async def until_groups(store: Store, wanted: Callable[[int], bool], seconds: float) -> None:
    """Wait until the number of groups is such, and has not changed between two reads."""

    async def wait() -> None:
        before = -1
        while not (wanted(now := groups_in((await store.snapshot()).config)) and now == before):
            before = now
            await asyncio.sleep(0.2)

    await within(wait(), seconds)


class Crowd:
    """Clients that ask for the same routes all the time.

    Args:
        clients: one for each path that is under way at once.
        expected: path -> what must answer.
    """

    def __init__(self, clients: list[RawClient], expected: Mapping[str, str]) -> None:
        self._clients = clients
        self._expected = list(expected.items())
        self.asked = 0
        self.wrong: list[tuple[str, object]] = []
        self._over = False

    async def _ask(self, client: RawClient, start: int) -> None:
        while not self._over:
            path, port = self._expected[(start + self.asked) % len(self._expected)]
            self.asked += 1
            try:
                answer: object = await client.ask(path)
            except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError) as error:
                answer = error
                await client.close()
            if answer != (200, port):
                self.wrong.append((path, answer))

    @asynccontextmanager
    async def asking(self) -> AsyncIterator[None]:
        """Ask as long as the block runs."""
        tasks = [asyncio.create_task(self._ask(client, 3 * n)) for n, client in enumerate(self._clients)]
        try:
            yield
        finally:
            self._over = True
            await asyncio.gather(*tasks)


class TreeTests:
    """Tests to inherit, with the fixtures of :class:`~kvproxy.testing.conformance.proxy_suite.TraefikKit`."""

    @pytest.mark.timeout(120 + CHURN)
    async def test_nobody_notices_that_many_routes_come_and_go(
        self, start_proxy: Start, doors: Doors, client_of: ClientOf, store_of: StoreOf
    ) -> None:
        """Groups are made and given up meanwhile; all routes keep leading where they led, at every moment."""
        proxy = await start_proxy(route_layout="tree", check_route_timeout=120)
        hub, guest = await doors.open(), await doors.open()
        residents = [f"/user/student{number:05d}/" for number in range(0, CHURN, CHURN // 20)]
        residents += ["/user/student00000/lab/", "/user/", "/services/x/", "/user/a%2Bb/", "/user/a@b.org/"]
        table = {"/": hub} | {spec: await doors.open() for spec in residents}
        await asyncio.gather(*(proxy.add_route(spec, target, {}) for spec, target in table.items()))
        expected = {spec + "x?y": port_of(target) for spec, target in table.items()}
        expected |= {"/user": port_of(table["/user/"]), "/user/student00000a/": port_of(table["/user/"])}
        crowd, store = Crowd([client_of(proxy) for _ in range(3)], expected), await store_of(proxy)
        guests = [spec for n in range(CHURN) if (spec := f"/user/student{n:05d}/") not in table]
        # Where Traefik reads everything again for each key, groups come and go too slowly to be waited for.
        noisy = await store.notifies_per_key()
        least = -1 if noisy else CHURN // 30
        async with crowd.asking():
            for _ in range(2):
                for at in range(0, len(guests), 100):
                    await asyncio.gather(*(proxy.add_route(spec, guest, {}) for spec in guests[at : at + 100]))
                await until_groups(store, lambda count: count > least, 60 + CHURN / 10)
                await asyncio.gather(*map(proxy.delete_route, guests))
                await until_groups(store, lambda count: noisy or count <= len(residents) // 4, 60 + CHURN / 10)
        assert crowd.wrong == []
        assert crowd.asked > CHURN

    @pytest.mark.parametrize("hosts", [False, True], ids=["paths", "hosts"])
    async def test_a_random_tree_leads_where_longest_prefix_matching_leads(
        self, hosts: bool, start_proxy: Start, doors: Doors, client_of: ClientOf, store_of: StoreOf
    ) -> None:
        """Nested routes, hostile names, names that begin one another, and all that is near them."""
        chance = random.Random(4)  # noqa: S311 - it is no secret
        proxy = await start_proxy(route_layout="tree", **(_HUB_OF_HOSTS if hosts else {}))
        targets = [await doors.open() for _ in range(20)]
        specs = {_random_spec(chance, hosts) for _ in range(400)}
        routes = [make_route(spec, chance.choice(targets), {}) for spec in sorted(specs)]
        await asyncio.gather(*(proxy.add_route(route.routespec, route.target, {}) for route in routes))
        await until_groups(await store_of(proxy), lambda count: count > 3, 60)
        client = client_of(proxy)
        for _ in range(400):
            near = chance.choice(routes).spec
            segments = (*near.segments, *chance.choice([(), ("a",), ("x", "lab")]))
            path = "/" + "/".join(map(quote, segments)) + chance.choice(["", "/", "a", "/tree?x=/user/y"])
            host = chance.choice([near.host, "u1a.h.org"]) or "127.0.0.1"
            wanted = oracle.lead(routes, host, path)
            status, body = await client.ask(path, host)
            assert (status, body) == ((200, port_of(wanted.target)) if wanted else (404, body)), (host, path)


def _random_spec(chance: random.Random, hosts: bool) -> str:
    names = chance.choices(_SEGMENTS, k=chance.randrange(4))
    path = "".join(f"{quote(name, safe='@~')}/" for name in names)
    return f"u{chance.randrange(150)}.h.org/{path}" if hosts else f"/user/{path}"

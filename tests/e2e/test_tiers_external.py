"""Two tiers of routes with Traefiks that the administrator runs, as pairs: a base one, and a hot one beside it.

Their static configuration is that of `kvproxy static-config`. Hubs and parts of pairs are killed; a request
to a route that is there and not being changed is answered by the right server all the time.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from redis import Redis

from kvproxy.cli.main import group
from kvproxy.proxy import KVTraefikProxy, session
from kvproxy.testing.conformance.proxy_suite import until
from kvproxy.testing.servers import RedisServer, TraefikServer, free_port
from kvproxy.testing.servers.etcd import EtcdServer
from kvproxy_etcd import TraefikEtcdProxy
from kvproxy_redis import TraefikRedisProxy
from tests.faults.hub_process import Hub

from .proxies import Client, Doors, making, port_of, until_true

GRACE = 2.0
#: More than the hot tier takes before they are moved.
MANY = 70
#: The number of them that are not moved yet.
FEW = 12
_NUMBERS = itertools.count()


class Pair:
    """A base Traefik and the hot one that it leads to.

    Args:
        directory: where their files go.
        proxy_class, traits: the hub's proxy.
        hot_url: URL of the hot Traefik's entry point.
        shared: True if several hot Traefiks listen there, as a machine of their own would let each.
    """

    def __init__(
        self, directory: Path, proxy_class: type[KVTraefikProxy], traits: dict[str, Any], hot_url: str, shared: bool
    ) -> None:
        self.public, api, hot_api = free_port(), free_port(), free_port()
        self.api_url, self.hot_api_url = f"http://127.0.0.1:{api}", f"http://127.0.0.1:{hot_api}"
        settings = {
            **{f"{proxy_class.__name__}.{name}": value for name, value in traits.items()},
            "JupyterHub.proxy_class": f"{proxy_class.__module__}.{proxy_class.__name__}",
            "JupyterHub.bind_url": f"http://127.0.0.1:{self.public}/",
            "TraefikProxy.should_start": False,
            "TraefikProxy.route_tiers": "two",
            "TraefikProxy.traefik_api_url": self.api_url,
            "TraefikProxy.hot_traefik_url": hot_url,
            "TraefikProxy.hot_traefik_api_url": self.hot_api_url,
        }
        config = directory / f"hub-{self.public}.py"
        config.write_text("".join(f"c.{name} = {value!r}\n" for name, value in settings.items()))
        base, hot = directory / f"base-{self.public}.toml", directory / f"hot-{self.public}.toml"
        _static_config(config, base)
        _static_config(config, hot, "--hot")
        if shared:
            point = "[entryPoints.hot]\n"
            assert point in hot.read_text()
            hot.write_text(hot.read_text().replace(point, f"{point}reusePort = true\n"))
        self.base = TraefikServer(base, [self.public, api])
        self.hot = TraefikServer(hot, [int(port_of(hot_url)), hot_api])
        self.client = Client(self.public)

    async def leads(self, path: str, target: str) -> bool:
        """True if a request gets to the server with this URL."""
        try:
            return await self.client.ask(path) == (200, port_of(target))
        except (OSError, asyncio.IncompleteReadError):
            await self.client.close()
            return False


def _static_config(config: Path, output: Path, *arguments: str) -> None:
    ran = CliRunner().invoke(group, ["static-config", "-f", str(config), "--output", str(output), *arguments])
    assert ran.exit_code == 0, ran.output


class Watch:
    """Asks for routes all the time, by each pair, and keeps what was answered wrongly."""

    def __init__(self, pairs: list[Pair], routes: dict[str, str]) -> None:
        self.routes, self.wrong, self.asked, self._ended = routes, list[str](), 0, False
        self._tasks = [asyncio.create_task(self._ask(Client(pair.public))) for pair in pairs]

    async def _ask(self, client: Client) -> None:
        try:
            while not self._ended:
                for spec, target in list(self.routes.items()):
                    answer = await client.ask(f"{spec}x")
                    # A route that was changed meanwhile may lead to either.
                    if answer != (200, port_of(target)) and self.routes.get(spec) == target:
                        self.wrong.append(f"{spec}: {answer} instead of {port_of(target)}")
                    self.asked += 1
                await asyncio.sleep(0.01)
        finally:
            await client.close()

    async def end(self) -> None:
        """Look whether all was right."""
        self._ended = True
        assert set(await asyncio.gather(*self._tasks, return_exceptions=True)) == {None}
        assert self.wrong[:5] == []
        assert self.asked > 10


Watching = Callable[[list[Pair], dict[str, str]], contextlib.AbstractAsyncContextManager[Watch]]


@contextlib.asynccontextmanager
async def watching(pairs: list[Pair], routes: dict[str, str]) -> AsyncIterator[Watch]:
    """Ask for these routes until the end; the mapping may be changed."""
    watch = Watch(pairs, routes)
    try:
        yield watch
    except BaseException:
        with contextlib.suppress(AssertionError):
            await watch.end()
        raise
    await watch.end()


class ExternalPairs:
    """Tests to inherit; `store` gives the proxy class and its traits."""

    @pytest.fixture
    def store(self) -> tuple[type[KVTraefikProxy], dict[str, Any]]:
        raise NotImplementedError

    @pytest.fixture
    async def pairs_of(
        self, store: tuple[type[KVTraefikProxy], dict[str, Any]], tmp_path: Path
    ) -> AsyncIterator[Callable[[int], list[Pair]]]:
        """Makes pairs, which do not run yet."""
        made: list[Pair] = []

        def make(number: int) -> list[Pair]:
            url = f"http://127.0.0.1:{free_port()}"
            made.extend(Pair(tmp_path, *store, url, number > 1) for _ in range(number))
            self.traits = {
                **store[1],
                "should_start": False,
                "route_tiers": "two",
                "public_url": f"http://127.0.0.1:{made[0].public}/",
                "traefik_api_url": [pair.api_url for pair in made],
                "hot_traefik_url": url,
                "hot_traefik_api_url": [pair.hot_api_url for pair in made],
                "traefik_replica_grace": GRACE,
                "placeholder_certificate": True,
                "check_route_timeout": 20,
            }
            return made

        yield make
        for pair in made:
            await pair.client.close()
            pair.base.kill()
            pair.hot.kill()

    @pytest.fixture
    async def make(
        self, store: tuple[type[KVTraefikProxy], dict[str, Any]], tmp_path: Path
    ) -> AsyncIterator[Callable[..., KVTraefikProxy]]:
        """Makes proxies of these pairs; all are stopped in the end."""
        async with making(store[0], tmp_path) as make:
            yield lambda **more: make(**{**self.traits, **more})

    @pytest.fixture
    async def hub(
        self, store: tuple[type[KVTraefikProxy], dict[str, Any]], tmp_path: Path
    ) -> AsyncIterator[Callable[[], Awaitable[Hub]]]:
        """Starts hubs, each a process of its own that can be killed; its routes are checked as by JupyterHub."""
        made: list[Hub] = []

        async def start() -> Hub:
            made.append(Hub(store[0], self.traits, tmp_path / "hub.log"))
            await made[-1].start()
            return made[-1]

        yield start
        for one in made:
            await one.kill()

    async def test_routes_live_in_two_tiers_and_outlive_all_parts(
        self, pairs_of: Callable[[int], list[Pair]], make: Callable[..., KVTraefikProxy], doors: Doors
    ) -> None:
        """They are added, changed, deleted and moved; then each Traefik is restarted, with a hub and without one."""
        (pair,), proxy = pairs_of(1), None
        pair.base.start()
        pair.hot.start()
        proxy = make()
        hub, one, other = [await doors.open() for _ in range(3)]
        await proxy.add_route("/", hub, {"hub": True})
        await until_true(lambda: _is_hot(proxy, one), 20)
        routes = {f"/user/u{number}/": one for number in range(MANY)}
        async with watching([pair], {"/": hub}) as watch:
            for spec in routes:
                await proxy.add_route(spec, one, {})
                assert await pair.leads(spec, one)
                watch.routes[spec] = one
            await until(lambda: len(proxy._session.tiers.hot) < FEW, 60)
            for spec, target in (("/user/u0/", other), ("/user/u69/", other), ("/user/new/", other)):
                watch.routes.pop(spec, None)
                await proxy.add_route(spec, target, {})
                assert await pair.leads(spec, target)
                watch.routes[spec] = routes[spec] = target
            for spec in ("/user/u1/", "/user/new/"):
                del watch.routes[spec], routes[spec]
                await proxy.delete_route(spec)
                await until_true(lambda spec=spec: pair.leads(spec, hub), 20)
        found = {spec: route["target"] for spec, route in (await proxy.get_all_routes()).items()}
        assert found == {**routes, "/": hub}
        await self._restarts(pair, {**routes, "/": hub})
        await proxy.add_route("/user/late/", one, {})
        await proxy.stop()
        await self._restarts(pair, {**routes, "/user/late/": one, "/": hub})
        again = make()
        assert {s: r["target"] for s, r in (await again.get_all_routes()).items()} == {**found, "/user/late/": one}
        await again.add_route("/user/later/", other, {})
        assert await pair.leads("/user/later/", other)

    async def _restarts(self, pair: Pair, routes: dict[str, str]) -> None:
        for server in (pair.hot, pair.base):
            server.kill()
            server.start()
            for spec, target in routes.items():
                await until_true(lambda spec=spec, target=target: pair.leads(spec, target), 20)

    async def test_several_hubs_share_a_pair(
        self, pairs_of: Callable[[int], list[Pair]], make: Callable[..., KVTraefikProxy], doors: Doors
    ) -> None:
        """Two by their hosts, one by its base URL; the new routes of each are in the second Traefik."""
        (pair,) = pairs_of(1)
        pair.base.start()
        pair.hot.start()
        hubs = {
            "blue": make(hub_id="blue", hub_host="blue.org", hub=SimpleNamespace(routespec="/")),
            "red": make(hub_id="red", hub_host="red.org", hub=SimpleNamespace(routespec="/")),
            "green": make(
                hub_id="green",
                public_url=f"http://127.0.0.1:{pair.public}/green/",
                hub=SimpleNamespace(routespec="/green/"),
            ),
        }
        wanted: dict[tuple[str, str], str] = {}
        for name, proxy in hubs.items():
            base, host = ("/green/", "any.org") if name == "green" else ("/", f"{name}.org")
            pages, ada = await doors.open(), await doors.open()
            await proxy.add_route(base, pages, {"hub": True})
            await until_true(partial(_is_hot, proxy, ada, base), 20)
            for number in range(FEW):
                await proxy.add_route(f"{base}user/u{number}/", ada, {})
            wanted |= {(host, f"{base}user/u{number}/x"): ada for number in (0, FEW - 1)}
            wanted |= {(host, f"{base}hub/home"): pages, (host, f"{base}user/none/"): pages}
        assert all(proxy._session.tiers.hot for proxy in hubs.values())
        for (host, path), target in wanted.items():
            assert await pair.client.ask(path, host) == (200, port_of(target)), (host, path)
        for name, proxy in hubs.items():
            spec = f"{'/green' if name == 'green' else ''}/user/u{FEW - 1}/"
            assert len(await proxy.get_all_routes()) == FEW + 1
            await proxy.delete_route(spec)
        for (host, path), target in wanted.items():
            pages = next(t for (h, p), t in wanted.items() if h == host and p.endswith("/hub/home"))
            leads = pages if path.endswith(f"u{FEW - 1}/x") else target

            async def is_led(host: str = host, path: str = path, leads: str = leads) -> bool:
                return await pair.client.ask(path, host) == (200, port_of(leads))

            await until_true(is_led, 20)

    async def test_a_hub_is_killed_amid_moves(
        self, pairs_of: Callable[[int], list[Pair]], hub: Callable[[], Awaitable[Hub]], doors: Doors
    ) -> None:
        """At any moment of them; all routes are served all the time, and the next hub goes on with the move."""
        pairs = pairs_of(2)
        for pair in pairs:
            pair.base.start()
            pair.hot.start()
        pages, target = await doors.open(), await doors.open()
        table = {"/": pages}
        async with watching(pairs, {}) as watch:
            for turn, seconds in enumerate((0.0, 0.05, 0.3, 1.5)):
                running = await hub()
                await running.call("check", table=dict(table))
                watch.routes.update(table)
                new = [f"/user/t{turn}n{number}/" for number in range(MANY)]
                await asyncio.gather(*(running.call("add", routespec=s, target=target, timeout=20) for s in new))
                table.update(dict.fromkeys(new, target))
                watch.routes.update(table)
                await asyncio.sleep(seconds)
                await running.kill()
                assert "Traceback" not in running.log_text()
            last = await hub()
            await last.call("check", table=dict(table))
            assert await last.call("routes") == table
            del watch.routes["/user/t0n0/"]
            await last.call("delete", routespec="/user/t0n0/")
            for pair in pairs:
                await until_true(lambda pair=pair: pair.leads("/user/t0n0/", pages), 20)

    async def test_the_way_to_two_tiers_and_back(
        self, pairs_of: Callable[[int], list[Pair]], hub: Callable[[], Awaitable[Hub]], doors: Doors
    ) -> None:
        """Each hub has the routes of the one before; with one tier, no hot Traefik is needed."""
        (pair,) = pairs_of(1)
        pair.base.start()
        pair.hot.start()
        pages, target = await doors.open(), await doors.open()
        table = {"/": pages}
        for tiers in ("one", "two", "one"):
            self.traits["route_tiers"] = tiers
            running = await hub()
            await running.call("check", table=dict(table))
            for number in range(FEW):
                spec = f"/user/{len(table)}n{number}/"
                await running.call("add", routespec=spec, target=target, timeout=20)
                table[spec] = target
            assert await running.call("routes") == table
            for spec, leads in table.items():
                assert await pair.leads(spec, leads), (tiers, spec)
            await running.kill()
        pair.hot.kill()
        for spec, leads in table.items():
            assert await pair.leads(f"{spec}x", leads)

    async def test_a_hot_traefik_is_absent_comes_dies_and_comes_back(
        self,
        pairs_of: Callable[[int], list[Pair]],
        make: Callable[..., KVTraefikProxy],
        doors: Doors,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Without it all is as with one tier; a route that was hot is served by the base Traefik after some seconds."""
        (pair,) = pairs_of(1)
        pair.base.start()
        proxy = make()
        hub, target = await doors.open(), await doors.open()
        await proxy.add_route("/", hub, {"hub": True})
        await proxy.add_route("/user/ada/", target, {})
        async with watching([pair], {"/": hub, "/user/ada/": target}):
            pair.hot.start()
            await until_true(lambda: _is_hot(proxy, target), 30)
        await proxy.add_route("/user/bob/", target, {})
        routes = {"/": hub, "/user/ada/": target, "/user/bob/": target}
        for spec, leads in routes.items():
            assert await pair.leads(spec, leads)
        pair.hot.kill()
        for spec, leads in routes.items():
            await until_true(lambda spec=spec, leads=leads: pair.leads(f"{spec}x", leads), 20)
        assert "All routes are in the base tier until every second Traefik answers again" in caplog.text
        async with watching([pair], routes):
            await proxy.add_route("/user/eve/", target, {})
            assert await pair.leads("/user/eve/", target)
            assert {**routes, "/user/eve/": target}.keys() <= (await proxy.get_all_routes()).keys()
            pair.hot.start()
            await until_true(lambda: _is_hot(proxy, target), 30)

    async def test_a_base_traefik_that_was_out_of_sight_serves_moved_routes(
        self,
        pairs_of: Callable[[int], list[Pair]],
        make: Callable[..., KVTraefikProxy],
        doors: Doors,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """It has not loaded that they are in its tier now; its users get to them by the hot one."""
        monkeypatch.setattr(session, "_UNKNOWN", 0.0)
        pairs = pairs_of(2)
        for pair in pairs:
            pair.base.start()
            pair.hot.start()
        proxy = make()
        hub, target = await doors.open(), await doors.open()
        await proxy.add_route("/", hub, {"hub": True})
        await until_true(lambda: _is_hot(proxy, target), 20)
        await proxy.add_route("/user/ada/", target, {})
        for pair in pairs:
            assert await pair.leads("/user/ada/", target)
        tiers, away = proxy._session.tiers, pairs[1].base
        os.kill(away.pid, signal.SIGSTOP)
        try:
            await until(lambda: proxy._session.reconciler.lost, 20)
            for number in range(MANY):
                await proxy.add_route(f"/user/u{number}/", target, {})
            await until(lambda: len(tiers._unsettled) < FEW, 60)
            # The next looks of the task that moves routes, which could take them out of the hot tier.
            await asyncio.sleep(2.5)
        finally:
            os.kill(away.pid, signal.SIGCONT)
        for number in range(MANY):
            assert await pairs[1].leads(f"/user/u{number}/", target), number
        await until(lambda: len(tiers.hot) < FEW, 60)
        async with watching(pairs, {f"/user/u{number}/": target for number in range(MANY)}):
            await proxy.add_route("/user/eve/", target, {})


async def _is_hot(proxy: KVTraefikProxy, target: str, base: str = "/") -> bool:
    """True if a new route is added to the hot tier."""
    # One that was deleted from the base tier may linger there.
    probe = f"{base}probe/{next(_NUMBERS)}/"
    await proxy.add_route(probe, target, {})
    hot = any(spec.key == probe for spec in proxy._session.tiers.hot)
    await proxy.delete_route(probe)
    return hot


class TestRedis(ExternalPairs):
    """With Redis, where the hot routes are in the next database."""

    @pytest.fixture
    def store(self, redis_server: RedisServer) -> tuple[type[KVTraefikProxy], dict[str, Any]]:
        return TraefikRedisProxy, {"redis_url": redis_server.url}

    async def test_a_store_that_was_emptied_while_no_hub_ran(
        self,
        pairs_of: Callable[[int], list[Pair]],
        hub: Callable[[], Awaitable[Hub]],
        redis_server: RedisServer,
        doors: Doors,
    ) -> None:
        """Both Traefiks keep what they have until the hub has checked its routes, and the base one has all of them."""
        (pair,) = pairs_of(1)
        pair.hot.start()
        pair.base.start()
        pages, target = await doors.open(), await doors.open()
        table = {"/": pages}
        running = await hub()
        await running.call("check", table=dict(table))
        while _hot_routes(redis_server) < FEW:
            spec = f"/user/u{len(table)}/"
            await running.call("add", routespec=spec, target=target, timeout=20)
            table[spec] = target
        await running.kill()
        with Redis(port=redis_server.port) as redis:
            # It would load nothing if the store were emptied amid a read (docs/explanation/traefik.md).
            await until(lambda: _seconds_since_a_read(redis) >= 1, 20)
        async with watching([pair], table):
            with Redis(port=redis_server.port) as redis:
                redis.flushall()
            again = await hub()
            await again.call("check", table=dict(table))
            assert await again.call("routes") == table
            assert not _hot_routes(redis_server)
            # The hot tier is used again after that.
            for number in itertools.count():
                await again.call("add", routespec=f"/user/later{number}/", target=target, timeout=20)
                assert await pair.leads(f"/user/later{number}/", target)
                if _hot_routes(redis_server):
                    break


def _hot_routes(server: RedisServer) -> int:
    """The number of routes in the hot tier, besides the one for everything."""
    with Redis(port=server.port, db=1) as redis:
        return max(len(list(redis.scan_iter("hot-traefik/http/routers/*-kvp/rule"))) - 1, 0)


def _seconds_since_a_read(redis: Redis) -> int:
    """Seconds for which no other client has sent a command, apart from those that listen to messages."""
    own = str(redis.client_id())
    return min(int(c["idle"]) for c in redis.client_list() if c["id"] != own and "P" not in c["flags"])


@pytest.mark.endurance
class TestEtcd(ExternalPairs):
    """With etcd, where they are below other roots."""

    @pytest.fixture
    def store(self, etcd_server: EtcdServer) -> tuple[type[KVTraefikProxy], dict[str, Any]]:
        return TraefikEtcdProxy, {"etcd_url": etcd_server.url}

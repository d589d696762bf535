"""Two tiers of routes, with two real Traefiks."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from traitlets.config import Config

from kvproxy.proxy import KVTraefikProxy, hot, session
from kvproxy.proxy.any_store import TraefikKVProxy
from kvproxy.routing.tiers import WORTHWHILE
from kvproxy.testing.conformance.proxy import TraefikConformance, TraefikServerConformance
from kvproxy.testing.conformance.proxy_suite import BackendUnderTest, ClientOf, Start, add_all, until
from kvproxy.testing.servers import RedisServer, free_port
from kvproxy.testing.servers.consul import ConsulServer
from kvproxy.testing.servers.etcd import EtcdServer
from kvproxy.testing.servers.named import Doors, RawClient, port_of
from kvproxy_consul import TraefikConsulProxy
from kvproxy_etcd import TraefikEtcdProxy
from kvproxy_file import TraefikFileProviderProxy
from kvproxy_redis import TraefikRedisProxy

from .test_adoption import EarlierHub


def two() -> dict[str, Any]:
    """The settings of two tiers, on free ports."""
    urls = {name: f"http://127.0.0.1:{free_port()}" for name in ("hot_traefik_url", "hot_traefik_api_url")}
    return {"route_tiers": "two", **urls}


async def adds_three_routes(proxy: KVTraefikProxy, doors: Doors, client_of: ClientOf) -> None:
    """All are added, and served."""
    many = await doors.open()
    await add_all(proxy, ((f"/user/u{number}/", many) for number in range(3)))
    assert await client_of(proxy).ask("/user/u2/") == (200, port_of(many))


class TestRedis(TraefikServerConformance):
    """All that the kit asks of a proxy holds with two tiers."""

    @pytest.fixture
    def backend(self, redis_server: RedisServer) -> BackendUnderTest:
        traits = {"redis_url": redis_server.url, **two()}
        return BackendUnderTest(TraefikRedisProxy, traits, redis_server.stop, redis_server.start)

    async def test_only_the_first_traefik_has_memory_to_spare(
        self, start_proxy: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Unless the administrator has set how often garbage is collected, which then holds for both."""
        monkeypatch.delenv("GOGC", raising=False)
        for env, found in (({}, ["300", None]), ({"GOGC": "50"}, ["50", "50"])):
            proxy = await start_proxy(traefik_env=env)
            assert [psutil.Process(pid).environ().get("GOGC") for pid in proxy._session.traefik_pids] == found
            await proxy.stop()

    async def test_the_way_to_two_tiers_and_back_loses_no_route(
        self, start_proxy: Start, doors: Doors, client_of: ClientOf
    ) -> None:
        """All routes are served before the hub has added any again."""
        hub, old, new = [await doors.open() for _ in range(3)]
        routes = {"/": hub, "/user/old/": old}
        proxy = await start_proxy(route_tiers="one")
        await add_all(proxy, routes.items())
        for tiers in ("two", "one"):
            await proxy.stop()
            proxy = await start_proxy(route_tiers=tiers)
            found = {spec: route["target"] for spec, route in (await proxy.get_all_routes()).items()}
            assert found == routes
            for spec, target in routes.items():
                assert await client_of(proxy).ask(spec) == (200, port_of(target))
            await proxy.add_route("/user/new/", new, {})
            routes["/user/new/"] = new

    async def test_a_second_traefik_starts_when_there_are_many_routes(
        self, start_proxy: Start, doors: Doors, client_of: ClientOf
    ) -> None:
        """With `auto`, and soon after the next start; the first Traefik leads to it, which has new routes."""
        hub, first, many, new = [await doors.open() for _ in range(4)]
        wanted = {"/": hub, "/user/first/": first}
        proxy = await start_proxy(route_tiers="auto")
        await add_all(proxy, wanted.items())
        assert len(proxy.traefik_replicas) == 1
        await add_all(proxy, ((f"/user/u{number}/", many) for number in range(WORTHWHILE)))
        wanted |= {"/user/u0/": many, f"/user/u{WORTHWHILE - 1}/": many}
        await until(lambda: len(proxy.traefik_replicas) == 2)
        for name in ("/user/new/", "/user/newer/"):
            await until(lambda proxy=proxy: proxy._session.tiers._leads)
            await proxy.add_route(name, new, {})
            wanted[name] = new
            for spec, target in wanted.items():
                assert await client_of(proxy).ask(spec) == (200, port_of(target)), spec
            second = RawClient(urlsplit(proxy.hot_traefik_url).port)
            assert await second.ask(name) == (200, port_of(new))
            await second.close()
            await proxy.stop()
            proxy = await start_proxy(route_tiers="auto")
            await until(lambda proxy=proxy: len(proxy.traefik_replicas) == 2)
            assert wanted.keys() <= (await proxy.get_all_routes()).keys()

    @pytest.mark.parametrize("tiers", ["auto", "two"])
    async def test_old_routes_in_the_hot_tier_do_not_come_back(
        self,
        start_proxy: Start,
        make_proxy: Callable[..., TraefikRedisProxy],
        doors: Doors,
        client_of: ClientOf,
        monkeypatch: pytest.MonkeyPatch,
        tiers: str,
    ) -> None:
        """A hub that was killed has left them there, and one with a single tier has worked since."""
        monkeypatch.setattr(hot, "WORTHWHILE", 3)
        old, now, ada = [await doors.open() for _ in range(3)]
        killed = make_proxy(route_tiers="two").hot_proxy()
        assert killed is not None
        await killed.start()
        await add_all(killed, [("/", old), ("/user/gone/", old)])
        await killed.stop()
        proxy = await start_proxy(route_tiers="one")
        wanted = {"/": now, "/user/ada/": ada, "/user/bob/": ada}
        await add_all(proxy, wanted.items())
        await proxy.stop()

        proxy = await start_proxy(route_tiers=tiers)
        await until(lambda: proxy._session.tiers is not None and proxy._session.tiers._leads)
        assert (await proxy.get_all_routes()).keys() == wanted.keys()
        for path in ("/", "/user/gone/"):
            assert await client_of(proxy).ask(path) == (200, port_of(now))

    async def test_a_second_traefik_that_was_left_running_is_stopped_if_there_are_few_routes(
        self, start_proxy: Start, redis_server: RedisServer, doors: Doors, tmp_path: Path
    ) -> None:
        """With `auto`; an earlier hub was killed, and the first Traefik does not lead to it."""
        traits = {
            "redis_url": redis_server.url,
            "kv_traefik_prefix": "other",
            "kv_jupyterhub_prefix": "records",
            "static_config_file": str(tmp_path / "traefik-hot.toml"),
            "public_url": f"http://127.0.0.1:{free_port()}",
            "traefik_api_url": f"http://127.0.0.1:{free_port()}",
        }
        with contextlib.closing(EarlierHub(traits, await doors.open())) as killed:
            killed.kill()
            assert killed.traefik.is_running()
            await start_proxy(route_tiers="auto")
            await until(lambda: not killed.traefik.is_running() and not list(tmp_path.glob("*-hot*")))

    async def test_a_stop_while_the_first_traefik_hangs_ends_and_loses_no_route(
        self,
        start_proxy: Start,
        doors: Doors,
        client_of: ClientOf,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """The log says why the routes have not been moved, and the next start serves them."""
        monkeypatch.setattr(session, "_SETTLING", 1.0)
        hub, ada = await doors.open(), await doors.open()
        proxy = await start_proxy(route_tiers="two")
        await add_all(proxy, [("/", hub), ("/user/ada/", ada)])
        first = proxy.traefik_pid
        assert first is not None
        os.kill(first, signal.SIGSTOP)
        await proxy.stop()
        said = "1 route left in the hot tier until the next start. Moving took more than 1 s."
        assert said in caplog.messages
        proxy = await start_proxy(route_tiers="auto")
        for path, target in {"/": hub, "/user/ada/": ada}.items():
            assert await client_of(proxy).ask(path) == (200, port_of(target))

    async def test_there_is_one_traefik_where_the_second_one_cannot_start(
        self,
        start_proxy: Start,
        doors: Doors,
        client_of: ClientOf,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """With `auto`, at the start as well; its routes are served all the same."""
        monkeypatch.setattr(hot, "WORTHWHILE", 1)
        ada = await doors.open()
        proxy = await start_proxy(route_tiers="one")
        await proxy.add_route("/user/ada/", ada, {})
        await proxy.stop()
        with socket.create_server(("127.0.0.1", int(port_of(proxy.hot_traefik_url)))):
            proxy = await start_proxy(route_tiers="auto")
            await until(lambda: "All routes stay with one Traefik" in caplog.text)
        assert await client_of(proxy).ask("/user/ada/") == (200, port_of(ada))
        await proxy.add_route("/user/bob/", ada, {})
        assert await client_of(proxy).ask("/user/bob/") == (200, port_of(ada))
        assert len(proxy._session.traefik_pids) == 1

    @pytest.mark.parametrize(
        ("own", "user", "pages", "named"),
        [
            ("/", "/user/ada/", ("127.0.0.1", "/hub/home"), {}),
            ("/base/", "/base/user/ada/", ("127.0.0.1", "/base/hub/home"), {}),
            ("/", "ada.hub.org/user/ada/", ("hub.org", "/hub/home"), {"host_routing": True}),
        ],
        ids=["by path", "below a base URL", "by host"],
    )
    async def test_new_servers_are_in_the_second_traefik_wherever_the_hub_is(
        self, start_proxy: Start, doors: Doors, own: str, user: str, pages: tuple[str, str], named: dict[str, Any]
    ) -> None:
        """And the first one leads to the hub's pages by itself."""
        hub, ada = await doors.open(), await doors.open()
        port, base = free_port(), "/base/" if own == "/base/" else "/"
        app = SimpleNamespace(domain="hub.org", cookie_secret=b"secret", cleanup_proxy=True, internal_ssl=False)
        proxy = await start_proxy(
            public_url=f"http://127.0.0.1:{port}{base}", hub=SimpleNamespace(routespec=own), app=app, **named
        )
        await proxy.add_route(own, hub, {"hub": True})
        await proxy.add_route(user, ada, {})
        host, slash, path = user.partition("/")
        first, second = RawClient(port), RawClient(int(port_of(proxy.hot_traefik_url)))
        for client in (first, second):
            assert await client.ask(slash + path, host or "127.0.0.1") == (200, port_of(ada))
            await client.close()
        os.kill(proxy._session.traefik_pids[-1], signal.SIGKILL)
        assert await first.ask(*pages[::-1]) == (200, port_of(hub))
        await first.close()

    @pytest.mark.parametrize(
        "named",
        [
            {
                "extra_dynamic_config": {"http": {"serversTransports": {"own": {"maxIdleConnsPerHost": 7}}}},
                "traefik_servers_transport": "own@redis",
            },
            {"hub": SimpleNamespace(routespec="/hub/")},
        ],
        ids=["traefik_servers_transport", "hub_routespec"],
    )
    async def test_there_is_one_traefik_where_two_tiers_are_not_possible(
        self,
        start_proxy: Start,
        doors: Doors,
        client_of: ClientOf,
        monkeypatch: pytest.MonkeyPatch,
        named: dict[str, Any],
    ) -> None:
        """With `auto`; with `two`, the hub would not start."""
        monkeypatch.setattr(hot, "WORTHWHILE", 1)
        app = SimpleNamespace(domain="", cookie_secret=b"secret", cleanup_proxy=True, internal_ssl=False)
        proxy = await start_proxy(route_tiers="auto", app=app, **named)
        await adds_three_routes(proxy, doors, client_of)
        assert proxy._hot is None

    async def test_there_is_one_traefik_where_redis_has_one_database(
        self,
        start_proxy: Start,
        doors: Doors,
        client_of: ClientOf,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        redis_factory: Callable[..., RedisServer],
    ) -> None:
        """With `auto`; the log says what would change that."""
        monkeypatch.setattr(hot, "WORTHWHILE", 1)
        redis = redis_factory(settings={"databases": "1"})
        proxy = await start_proxy(redis_url=redis.url, route_tiers="auto")
        await adds_three_routes(proxy, doors, client_of)
        await until(lambda: "All routes stay with one Traefik" in caplog.text)
        assert "has no database 1" in caplog.text


@pytest.mark.endurance
class TestEtcd(TraefikServerConformance):
    """The same on etcd."""

    @pytest.fixture
    def backend(self, etcd_server: EtcdServer) -> BackendUnderTest:
        traits = {"etcd_url": etcd_server.url, **two()}
        return BackendUnderTest(TraefikEtcdProxy, traits, etcd_server.stop, etcd_server.start)


@pytest.mark.endurance
class TestConsul(TraefikServerConformance):
    """The same on Consul."""

    @pytest.fixture
    def backend(self, consul_server: ConsulServer) -> BackendUnderTest:
        traits = {"consul_url": consul_server.url, **two()}
        return BackendUnderTest(TraefikConsulProxy, traits, consul_server.stop, consul_server.start)


@pytest.mark.endurance
class TestAnyStore(TraefikServerConformance):
    """The same where a URL says which store it is, whose own class has the password."""

    @pytest.fixture
    def backend(self, redis_factory: Callable[..., RedisServer]) -> BackendUnderTest:
        redis = redis_factory(password="any-password")
        config = Config({"TraefikRedisProxy": {"redis_password": redis.password}})
        traits = {"store_url": f"redis://127.0.0.1:{redis.port}", "config": config, **two()}
        return BackendUnderTest(TraefikKVProxy, traits, redis.stop, redis.start)


@pytest.mark.endurance
class TestFile(TraefikConformance):
    """The same with local files."""

    @pytest.fixture
    def backend(self, tmp_path: Path) -> BackendUnderTest:
        traits = {"dynamic_config_file": str(tmp_path / "rules.toml"), **two()}
        return BackendUnderTest(TraefikFileProviderProxy, traits)

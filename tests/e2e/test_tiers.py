"""Two tiers of routes, with two real Traefiks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from traitlets.config import Config

from kvproxy.proxy.any_store import TraefikKVProxy
from kvproxy.testing.conformance.proxy import TraefikConformance, TraefikServerConformance
from kvproxy.testing.conformance.proxy_suite import BackendUnderTest, ClientOf, Start, add_all
from kvproxy.testing.servers import RedisServer, free_port
from kvproxy.testing.servers.consul import ConsulServer
from kvproxy.testing.servers.etcd import EtcdServer
from kvproxy.testing.servers.named import Doors, port_of
from kvproxy_consul import TraefikConsulProxy
from kvproxy_etcd import TraefikEtcdProxy
from kvproxy_file import TraefikFileProviderProxy
from kvproxy_redis import TraefikRedisProxy


def two() -> dict[str, Any]:
    """The settings of two tiers, on free ports."""
    urls = {name: f"http://127.0.0.1:{free_port()}" for name in ("hot_traefik_url", "hot_traefik_api_url")}
    return {"route_tiers": "two", **urls}


class TestRedis(TraefikServerConformance):
    """All that the kit asks of a proxy holds with two tiers."""

    @pytest.fixture
    def backend(self, redis_server: RedisServer) -> BackendUnderTest:
        traits = {"redis_url": redis_server.url, **two()}
        return BackendUnderTest(TraefikRedisProxy, traits, redis_server.stop, redis_server.start)

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

"""The main job on every backend: log in, spawn, compute, restart the hub, go on, stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from kvproxy.testing.consul_server import ConsulServer
from kvproxy.testing.etcd_server import EtcdServer
from kvproxy.testing.hub import HubClient, HubProcess
from kvproxy.testing.servers import RedisServer

pytestmark = [pytest.mark.hub, pytest.mark.timeout(240)]


@pytest.fixture(params=["redis", "kv", "etcd", "consul", "file"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Mapping[str, Any]:
    """The settings that choose a backend, its server running."""

    def server(name: str) -> Any:
        return request.getfixturevalue(name)

    if request.param == "redis":
        redis: RedisServer = server("redis_server")
        return {"JupyterHub.proxy_class": "traefik_redis", "TraefikRedisProxy.redis_url": redis.url}
    if request.param == "kv":
        redis = server("redis_server")
        return {"JupyterHub.proxy_class": "traefik_kv", "KVTraefikProxy.store_url": redis.url}
    if request.param == "etcd":
        etcd: EtcdServer = server("etcd_server")
        return {"JupyterHub.proxy_class": "traefik_etcd", "TraefikEtcdProxy.etcd_url": etcd.url}
    if request.param == "consul":
        consul: ConsulServer = server("consul_server")
        return {"JupyterHub.proxy_class": "traefik_consul", "TraefikConsulProxy.consul_url": consul.url}
    rules = str(tmp_path / "rules.toml")
    return {"JupyterHub.proxy_class": "traefik_file", "TraefikFileProviderProxy.dynamic_config_file": rules}


async def test_a_day_with_a_restart(hub_factory: Callable[..., HubProcess], backend: Mapping[str, Any]) -> None:
    """The user's server lives on through the hub's restart, and so does the route to it."""
    hub = hub_factory({**backend, "JupyterHub.cleanup_servers": False})
    hub.start()
    async with HubClient(hub, "ada@x+y") as user:
        await user.log_in()
        await user.spawn()
        assert await user.run("print(6*7)") == "42\n"
        before = await user.routes()
    assert hub.end() == 0
    hub.start()
    async with HubClient(hub, "ada@x+y") as user:
        await user.log_in()
        assert await user.run("print(7*7)") == "49\n"
        assert await user.routes() == before
        await user.stop_server()
        assert not any("ada" in spec for spec in await user.routes())
    assert hub.end() == 0
    assert hub.log_text.partition("Traceback")[2][:3000] == ""

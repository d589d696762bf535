"""Real hubs for the end-to-end tests."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from kvproxy.testing.hub import HubProcess
from kvproxy.testing.servers import RedisServer
from kvproxy.testing.servers.consul import ConsulServer
from kvproxy.testing.servers.etcd import EtcdServer

from .proxies import client_of, doors, external, make_proxy, start_proxy  # noqa: F401 - fixtures
from .sentinels import sentinel_factory  # noqa: F401 - a fixture


@pytest.fixture
def hub_factory(tmp_path) -> Iterator[Callable[..., HubProcess]]:
    """Makes hubs that are not started yet, ``hub_factory(settings, config="…")``, and ends what is left of them."""
    with contextlib.ExitStack() as stack:

        def make(*arguments, **options) -> HubProcess:
            hub = HubProcess(tmp_path, *arguments, **options)
            stack.callback(hub.close)
            return hub

        yield make


@pytest.fixture(scope="module")
def redis_of_hub() -> Iterator[RedisServer]:
    """The Redis of the module's hub."""
    with RedisServer(appendonly=True) as server:
        yield server


@pytest.fixture(scope="module")
def hub(tmp_path_factory, redis_of_hub) -> Iterator[HubProcess]:
    """A running hub below ``/base/`` that the tests of a module share, each with users of its own."""
    settings = {"TraefikRedisProxy.redis_url": redis_of_hub.url}
    with HubProcess(tmp_path_factory.mktemp("hub"), settings, base_url="/base/") as running:
        yield running
        assert running.end() == 0
        assert running.log_text.partition("Traceback")[2][:3000] == ""
        assert running.family() == []


@pytest.fixture(params=["redis", pytest.param("kv", marks=pytest.mark.endurance), "etcd", "consul", "file"])
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

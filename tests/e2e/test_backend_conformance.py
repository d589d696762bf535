"""The conformance kit for what a backend says, on the backends of this distribution."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvproxy.testing.conformance.backend import BackendConformance
from kvproxy.testing.conformance.proxy_suite import BackendUnderTest
from kvproxy.testing.servers import RedisServer
from kvproxy.testing.servers.consul import ConsulServer
from kvproxy.testing.servers.etcd import EtcdServer
from kvproxy_consul import TraefikConsulProxy
from kvproxy_etcd import TraefikEtcdProxy
from kvproxy_file import TraefikFileProviderProxy
from kvproxy_redis import TraefikRedisProxy


class TestRedis(BackendConformance):
    """Redis or Valkey."""

    subject = "Redis, Valkey"

    scheme = "redis"

    @pytest.fixture
    def backend(self, redis_server: RedisServer) -> BackendUnderTest:
        return BackendUnderTest(TraefikRedisProxy, {"redis_url": redis_server.url})


class TestEtcd(BackendConformance):
    """etcd."""

    subject = "etcd"

    scheme = "etcd"

    @pytest.fixture
    def backend(self, etcd_server: EtcdServer) -> BackendUnderTest:
        return BackendUnderTest(TraefikEtcdProxy, {"etcd_url": f"http://127.0.0.1:{etcd_server.port}"})


class TestConsul(BackendConformance):
    """Consul, with a token."""

    subject = "Consul"

    scheme = "consul"

    @pytest.fixture
    def backend(self, guarded_consul: ConsulServer) -> BackendUnderTest:
        traits = {"consul_url": f"http://127.0.0.1:{guarded_consul.port}", "consul_token": guarded_consul.token}
        return BackendUnderTest(TraefikConsulProxy, traits)


class TestFile(BackendConformance):
    """A local file."""

    subject = "local file"

    scheme = "file"

    @pytest.fixture
    def backend(self, tmp_path: Path) -> BackendUnderTest:
        return BackendUnderTest(TraefikFileProviderProxy, {"dynamic_config_file": str(tmp_path / "rules.toml")})

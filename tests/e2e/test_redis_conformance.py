"""The conformance kit for whole backends on Redis."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kvproxy.testing.conformance.proxy import TraefikServerConformance
from kvproxy.testing.conformance.proxy_suite import BackendUnderTest
from kvproxy.testing.servers import RedisServer
from kvproxy.testing.servers.redis import TRAEFIK_RIGHTS
from kvproxy_redis import TraefikRedisProxy


class TestRedis(TraefikServerConformance):
    """Redis or Valkey, whose Traefik may switch keyspace notifications on, or has a login of its own and may not."""

    subject = "Redis, Valkey"

    @pytest.fixture(params=["quiet", "noisy"])
    def backend(self, request: pytest.FixtureRequest) -> Iterator[BackendUnderTest]:
        with RedisServer(appendonly=True, acl=[f"traefik on >secret {TRAEFIK_RIGHTS}"]) as redis:
            login = {"redis_traefik_username": "traefik", "redis_traefik_password": "secret"}
            traits = {"redis_url": redis.url} | (login if request.param == "quiet" else {})
            yield BackendUnderTest(TraefikRedisProxy, traits, redis.stop, redis.start)

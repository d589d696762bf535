"""The conformance kit for whole backends on Redis."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kvproxy.testing.servers import RedisServer
from kvproxy.testing.traefik_conformance import BackendUnderTest, TraefikServerConformance
from kvproxy_redis import TraefikRedisProxy


class TestRedis(TraefikServerConformance):
    """Redis or Valkey."""

    subject = "Redis, Valkey"

    @pytest.fixture
    def backend(self) -> Iterator[BackendUnderTest]:
        with RedisServer(appendonly=True) as redis:
            yield BackendUnderTest(TraefikRedisProxy, {"redis_url": redis.url}, redis.stop, redis.start)

"""The conformance kit on the stores of this distribution."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kvproxy.testing.conformance import StoreCredentialsConformance, StoreServer, StoreServerConformance
from kvproxy.testing.memory import MemoryServer
from kvproxy.testing.servers import RedisServer
from kvproxy_redis.connection import parse_connection
from kvproxy_redis.store import RedisStore


class TestMemoryStore(StoreServerConformance):
    """The store that unit tests use."""

    @pytest.fixture
    def server(self) -> StoreServer:
        memory = MemoryServer()
        return StoreServer(open=memory.open, stop=memory.stop, start=memory.start)


class TestRedisStore(StoreServerConformance, StoreCredentialsConformance):
    """Redis or Valkey."""

    @pytest.fixture
    def server(self) -> Iterator[StoreServer]:
        with RedisServer(acl=["default on >right ~* &* +@all"], appendonly=True) as redis:

            def connect(password: str, traefik: str, hub: str) -> RedisStore:
                return RedisStore(parse_connection(redis.url, password=password), traefik, hub)

            yield StoreServer(
                open=lambda traefik, hub: connect("right", traefik, hub),
                stop=redis.stop,
                start=redis.start,
                open_refused=lambda: connect("wrong", "traefik", "jupyterhub"),
            )

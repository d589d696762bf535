"""The conformance kit on the stores of this distribution."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kvproxy.store import Store
from kvproxy.testing.conformance import (
    StoreConformance,
    StoreCredentialsConformance,
    StoreServer,
    StoreServerConformance,
)
from kvproxy.testing.memory import MemoryServer
from kvproxy.testing.servers import RedisServer
from kvproxy_file.store import FileStore
from kvproxy_redis.connection import parse_connection
from kvproxy_redis.store import RedisStore


class TestMemoryStore(StoreServerConformance):
    """The store that unit tests use."""

    subject = "memory (for tests)"

    @pytest.fixture
    def server(self) -> StoreServer:
        memory = MemoryServer()
        return StoreServer(open=memory.open, stop=memory.stop, start=memory.start)


class TestRedisStore(StoreServerConformance, StoreCredentialsConformance):
    """Redis or Valkey."""

    subject = "Redis, Valkey"

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


class TestFileStore(StoreConformance):
    """A local file, in both of its formats; a file has no roots, so each root here is a file of its own."""

    subject = "local file"

    @pytest.fixture(params=["toml", "yaml"])
    def server(self, request: pytest.FixtureRequest, tmp_path: Path) -> StoreServer:
        def open_store(traefik: str, hub: str) -> FileStore:
            return FileStore(tmp_path / f"{traefik.replace('/', '+')}.{request.param}")

        return StoreServer(open=open_store)

    @pytest.mark.xfail(strict=True, reason="a file is a tree, in which what has a value has nothing below it")
    async def test_a_key_is_not_a_prefix(self, store: Store) -> None:
        await super().test_a_key_is_not_a_prefix(store)

"""Pytest fixtures for real servers. Load them with ``pytest_plugins = ["kvproxy.testing.fixtures"]``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from kvproxy.testing.servers import Certificates, EchoServer, RedisServer, TraefikServer
from kvproxy.testing.servers import free_port as choose_port
from kvproxy.testing.servers.resp import ReplyError

# Settings that a test may change in the shared server, with the values that `RedisServer` starts with.
_DEFAULTS = {
    "appendonly": "no",
    "save": "",
    "notify-keyspace-events": "",
    "maxmemory": "0",
    "maxmemory-policy": "noeviction",
    "requirepass": "",
}


class _SharedRedis:
    """One server for the whole session, replaced when a test left it in a state that cannot be undone."""

    def __init__(self) -> None:
        self.server: RedisServer | None = None

    def clean(self) -> RedisServer:
        if self.server is None or not self._reset(self.server):
            self.close()
            self.server = RedisServer()
            self.server.start()
        return self.server

    def close(self) -> None:
        if self.server is not None:
            self.server.close()
            self.server = None

    @staticmethod
    def _reset(server: RedisServer) -> bool:
        try:
            server.command("FLUSHALL")
            for name, value in _DEFAULTS.items():
                server.command("CONFIG", "SET", name, value)
            users = server.command("ACL", "USERS")
            added = [str(user) for user in users if user != "default"] if isinstance(users, list) else []
            if added:
                server.command("ACL", "DELUSER", *added)
        except (OSError, ReplyError):
            return False
        return True


@pytest.fixture(scope="session")
def _shared_redis() -> Iterator[_SharedRedis]:
    shared = _SharedRedis()
    yield shared
    shared.close()


@pytest.fixture
def redis_server(_shared_redis: _SharedRedis) -> RedisServer:
    """A running, empty Redis with default settings; a test may stop it or change its settings."""
    return _shared_redis.clean()


@pytest.fixture
def redis_factory() -> Iterator[Callable[..., RedisServer]]:
    """Starts a Redis with options of the test's own: ``redis_factory(password="x")``, see `RedisServer`."""
    with contextlib.ExitStack() as stack:

        def start(**options: Any) -> RedisServer:
            return stack.enter_context(RedisServer(**options))

        yield start


@pytest.fixture
def echo_server() -> Iterator[Callable[[str], EchoServer]]:
    """Starts an HTTP and websocket server of that name: ``echo_server("alice")``, see `EchoServer`."""
    with contextlib.ExitStack() as stack:

        def start(name: str = "echo") -> EchoServer:
            return stack.enter_context(EchoServer(name))

        yield start


@pytest.fixture
def traefik_server() -> Iterator[Callable[..., TraefikServer]]:
    """Starts Traefik on a configuration file: ``traefik_server(path, [port])``, see `TraefikServer`."""
    with contextlib.ExitStack() as stack:

        def start(
            config_path: Path, ports: Sequence[int] = (), environment: Mapping[str, str] | None = None
        ) -> TraefikServer:
            return stack.enter_context(TraefikServer(config_path, ports, environment))

        yield start


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """An authority with a server's and a client's certificate, see `Certificates`."""
    return Certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def free_port() -> int:
    """A free TCP port on 127.0.0.1."""
    return choose_port()

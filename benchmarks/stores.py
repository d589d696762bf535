"""The contestants' stores: real servers, each its contestant's own, and what is asked of them from outside."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import redis

from kvproxy.testing.servers import RedisServer
from kvproxy.testing.servers.consul import ConsulServer
from kvproxy.testing.servers.etcd import EtcdServer
from kvproxy.testing.servers.redis import TRAEFIK_RIGHTS

PASSWORD = "of-a-benchmark"  # of stores on the loopback interface, for minutes


class Store(Protocol):
    """Where a contestant keeps its routes. url: what its class is given. pid: of the server, 0 if there is none."""

    url: str
    pid: int

    def footprint(self) -> tuple[int, int]:
        """How many keys it holds (fields of hashes count as keys), and the bytes of their names and values."""

    def changes(self) -> int:
        """A number that grows whenever something is written, and by nothing else."""


class RedisStore:
    """See :class:`Store`; ``changes`` counts changed keys."""

    def __init__(self, server: RedisServer, *, socket: bool):
        self.url = f"unix://{server.unix_socket}?db=0" if socket else server.url
        self.pid = server.pid
        self._server = server

    def footprint(self) -> tuple[int, int]:
        """See :meth:`Store.footprint`."""
        keys = payload = 0
        with redis.Redis.from_url(self.url) as client:
            for key in client.scan_iter(count=1000):
                found, size = _weigh(client, key)
                keys, payload = keys + found, payload + size
        return keys, payload

    def changes(self) -> int:
        """See :meth:`Store.changes`; the servers never save, so that this one is never set back."""
        told = str(self._server.command("INFO", "persistence")).splitlines()
        return next(int(line.partition(":")[2]) for line in told if line.startswith("rdb_changes_since_last_save:"))


def _weigh(client: Any, key: bytes) -> tuple[int, int]:
    if client.type(key) != b"hash":
        return 1, len(key) + client.strlen(key)
    fields = client.hgetall(key)
    return len(fields), sum(len(name) + len(value) for name, value in fields.items())


class EtcdStore:
    """See :class:`Store`; ``changes`` counts transactions."""

    def __init__(self, server: EtcdServer):
        self.url, self.pid = server.url, server.pid
        self._server = server

    def footprint(self) -> tuple[int, int]:
        """See :meth:`Store.footprint`."""
        return _sum(self._server.all())

    def changes(self) -> int:
        """See :meth:`Store.changes`."""
        return self._server.revision()


class ConsulStore:
    """See :class:`Store`; ``changes`` is the index of the latest change that still shows."""

    def __init__(self, server: ConsulServer):
        self.url, self.pid = server.url, server.pid
        self._server = server

    def footprint(self) -> tuple[int, int]:
        """See :meth:`Store.footprint`."""
        return _sum(self._server.all())

    def changes(self) -> int:
        """See :meth:`Store.changes`; a mere deletion is not seen."""
        return max(self._server.indices(), default=0)


class LocalFile:
    """See :class:`Store`; ``changes`` is the time of the last change in nanoseconds."""

    pid = 0

    def __init__(self, path: Path):
        self.url = str(path)

    def footprint(self) -> tuple[int, int]:
        """See :meth:`Store.footprint`; a file has no keys, so only the bytes are told."""
        return 0, Path(self.url).stat().st_size

    def changes(self) -> int:
        """See :meth:`Store.changes`."""
        return Path(self.url).stat().st_mtime_ns


class NoStore:
    """See :class:`Store`; for a proxy that keeps its routes in its own memory."""

    url = ""
    pid = 0

    def footprint(self) -> tuple[int, int]:
        """See :meth:`Store.footprint`."""
        return 0, 0

    def changes(self) -> int:
        """See :meth:`Store.changes`."""
        return 0


@contextlib.contextmanager
def running(kind: str, directory: Path, password: str, *, socket: bool = False) -> Iterator[Store]:
    """A store of that kind, empty; in Redis there is a user ``traefik`` with lesser rights and this password.

    socket: whether the URL of a Redis is that of its unix socket.
    """
    if kind == "redis":
        # The same settings for all logins.
        with RedisServer(acl=[f"traefik on >{password} {TRAEFIK_RIGHTS}"]) as server:
            yield RedisStore(server, socket=socket)
    elif kind == "etcd":
        with EtcdServer() as etcd:
            yield EtcdStore(etcd)
    elif kind == "consul":
        with ConsulServer() as consul:
            yield ConsulStore(consul)
    else:
        yield LocalFile(directory / "rules.toml") if kind == "file" else NoStore()


def _sum(found: dict[str, str]) -> tuple[int, int]:
    return len(found), sum(len(name.encode()) + len(value.encode()) for name, value in found.items())

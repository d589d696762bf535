"""Stores that things happen to: real servers, and a file, with the operations that the faults are made of."""

from __future__ import annotations

import abc
import re
import secrets
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from kvproxy.proxy import KVTraefikProxy
from kvproxy.testing.servers import RedisServer, free_port
from kvproxy.testing.servers.base import Server
from kvproxy.testing.servers.consul import ConsulServer
from kvproxy.testing.servers.etcd import EtcdServer
from kvproxy_consul import TraefikConsulProxy
from kvproxy_etcd import TraefikEtcdProxy
from kvproxy_file import TraefikFileProviderProxy
from kvproxy_redis import TraefikRedisProxy

_REDIS_DATA = "appendonlydir"


class StoreUnderFault(abc.ABC):
    """A store, and what can happen to it; each method returns when it has happened. One with processes is restarted
    after it was killed.

    Its keys are changed by hand through a store of kvproxy's own, see `tests.faults.site`.
    """

    #: Settings that lead the hub and its Traefik to the store.
    proxy_class: type[KVTraefikProxy]
    traits: dict[str, Any]

    @abc.abstractmethod
    def start(self) -> None:
        """Start it, with what it held."""

    @abc.abstractmethod
    def start_empty(self) -> None:
        """Start it without what it held, at the same place."""

    @abc.abstractmethod
    def save(self) -> None:
        """Keep a copy of what it holds."""

    @abc.abstractmethod
    def start_old(self) -> None:
        """Start it with what was kept."""

    def scans(self) -> int:
        """How often its keys were read in further steps; 0 always if each read is one step."""
        return 0

    @abc.abstractmethod
    def close(self) -> None:
        """Stop it and remove what it leaves."""


class Killable(StoreUnderFault):
    """A store with processes."""

    @abc.abstractmethod
    def kill(self) -> None:
        """End it at once (SIGKILL)."""

    @abc.abstractmethod
    def pause(self) -> None:
        """Stop it in its tracks (SIGSTOP)."""

    @abc.abstractmethod
    def resume(self) -> None:
        """Let it go on (SIGCONT)."""

    @property
    @abc.abstractmethod
    def pids(self) -> list[int]:
        """Its processes."""

    @property
    @abc.abstractmethod
    def port(self) -> int:
        """Where it listens, on 127.0.0.1."""


class OneServer(Killable):
    """A store that is one server.

    data: name of the directory, in the server's own, that holds its data.
    """

    def __init__(self, server: Server, directory: Path, data: str):
        self._server = server
        self._data = directory / data
        self._saved = directory / "saved"

    @property
    def pids(self) -> list[int]:
        """See `Killable`."""
        return [self._server.pid]

    @property
    def port(self) -> int:
        """See `Killable`."""
        return self._server.port

    def start(self) -> None:
        """See `StoreUnderFault`."""
        self._server.start()

    def kill(self) -> None:
        """See `Killable`."""
        self._server.kill()

    def start_empty(self) -> None:
        """See `StoreUnderFault`."""
        shutil.rmtree(self._data)
        self._server.start()

    def save(self) -> None:
        """See `StoreUnderFault`; it stands still meanwhile, so that the copy is what a crash would leave."""
        self.pause()
        try:
            shutil.copytree(self._data, self._saved)
        finally:
            self.resume()

    def start_old(self) -> None:
        """See `StoreUnderFault`."""
        shutil.rmtree(self._data)
        shutil.copytree(self._saved, self._data)
        self._server.start()

    def pause(self) -> None:
        """See `Killable`."""
        psutil.Process(self._server.pid).suspend()

    def resume(self) -> None:
        """See `Killable`."""
        psutil.Process(self._server.pid).resume()

    def close(self) -> None:
        """See `StoreUnderFault`."""
        if self._server.running:
            self.resume()
            self._server.kill()
        self._server.close()


class OpenRedis(OneServer):
    """A Redis that Traefik comes to as the hub does, at any time, and reads in steps."""

    _server: RedisServer

    def scans(self) -> int:
        """See `StoreUnderFault`."""
        found = re.search(r"cmdstat_scan:calls=(\d+)", str(self._server.command("INFO", "commandstats")))
        return int(found[1]) if found else 0


def quiet_redis(_: Path) -> StoreUnderFault:
    """Redis to which the hub admits Traefik, as a user that may not switch keyspace notifications on."""
    server = RedisServer(appendonly=True)
    store = OneServer(server, server.directory, _REDIS_DATA)
    login = {"redis_traefik_username": "traefik", "redis_traefik_password": secrets.token_hex(16)}
    store.proxy_class = TraefikRedisProxy
    store.traits = {"redis_url": server.url, "redis_admit_traefik": True, **login}
    return store


def two_tiers(directory: Path) -> StoreUnderFault:
    """The same with the newest routes in a second Traefik."""
    store = quiet_redis(directory)
    urls = {name: f"http://127.0.0.1:{free_port()}" for name in ("hot_traefik_url", "hot_traefik_api_url")}
    store.traits = {**store.traits, "route_tiers": "two", **urls}
    return store


def noisy_redis(_: Path) -> StoreUnderFault:
    """Redis that notifies of every key."""
    server = RedisServer(appendonly=True, notify_keyspace_events="KEA")
    store = OpenRedis(server, server.directory, _REDIS_DATA)
    store.proxy_class, store.traits = TraefikRedisProxy, {"redis_url": server.url}
    return store


def etcd(_: Path) -> StoreUnderFault:
    """One member."""
    server = EtcdServer()
    store = OneServer(server, server.directory, "data")
    store.proxy_class, store.traits = TraefikEtcdProxy, {"etcd_url": server.url}
    return store


def consul(_: Path) -> StoreUnderFault:
    """One server, to which the hub admits Traefik."""
    server = ConsulServer(acl=True)
    store = OneServer(server, server.directory, "data")
    tokens = {"consul_token": server.token, "consul_traefik_token": str(uuid.uuid4())}
    store.proxy_class = TraefikConsulProxy
    store.traits = {"consul_url": server.url, "consul_admit_traefik": True, **tokens}
    return store


class LocalFile(StoreUnderFault):
    """A configuration file, which has no server: its restart is another file in its place."""

    proxy_class = TraefikFileProviderProxy

    def __init__(self, directory: Path):
        self._file = directory / "rules.toml"
        self._saved = directory / "saved"
        self.traits = {"dynamic_config_file": str(self._file)}

    def start(self) -> None:
        """See `StoreUnderFault`; Traefik's file provider watches no file that is missing when it starts."""
        self._file.touch(0o600)

    def start_empty(self) -> None:
        """See `StoreUnderFault`: the file is gone."""
        self._file.unlink()

    def save(self) -> None:
        """See `StoreUnderFault`."""
        shutil.copy2(self._file, self._saved)

    def start_old(self) -> None:
        """See `StoreUnderFault`: as a backup is put back."""
        self._saved.replace(self._file)

    def close(self) -> None:
        """See `StoreUnderFault`; the directory is the caller's."""


#: The store of which the hub starts both Traefiks in any case.
TWO_TIERS = "redis-tiers"
#: By the names that the results have: the heading of the table's column, and what makes one, given a directory.
STORES: dict[str, tuple[str, Callable[[Path], StoreUnderFault]]] = {
    "redis": ("Redis", quiet_redis),
    "redis-noisy": ("Redis, notifying of every key", noisy_redis),
    TWO_TIERS: ("Redis, two tiers", two_tiers),
    "file": ("file", LocalFile),
    "etcd": ("etcd", etcd),
    "consul": ("Consul", consul),
}

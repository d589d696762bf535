"""Pytest fixtures for real etcd and Consul servers. Load them as those of :mod:`kvproxy.testing.fixtures`.

They take their time to start, so there are some for the whole session, emptied before each test.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

import pytest

from kvproxy.testing.servers.consul import ConsulServer
from kvproxy.testing.servers.etcd import EtcdServer
from kvproxy.testing.servers.programs import ServerError

ROOT_PASSWORD: Final = "any-password"  # noqa: S105

S = TypeVar("S", EtcdServer, ConsulServer)


@pytest.fixture(scope="session")
def _shared_etcd() -> Iterator[EtcdServer]:
    with _made(EtcdServer) as server:
        yield server


@pytest.fixture(scope="session")
def _shared_consul() -> Iterator[ConsulServer]:
    with _made(ConsulServer) as server:
        yield server


@pytest.fixture(scope="session")
def _shared_guarded_consul() -> Iterator[ConsulServer]:
    with _made(ConsulServer, acl=True) as server:
        yield server


@pytest.fixture
def etcd_server(_shared_etcd: EtcdServer) -> EtcdServer:
    """A running, empty etcd without authentication; a test may stop it."""
    return _ready(_shared_etcd)


@pytest.fixture(scope="session")
def _shared_guarded_etcd() -> Iterator[Callable[[str], EtcdServer]]:
    with contextlib.ExitStack() as stack:

        @functools.cache
        def of(version: str) -> EtcdServer:
            return stack.enter_context(_made(EtcdServer, version=version, root_password=ROOT_PASSWORD))

        yield of


@pytest.fixture
def guarded_etcd(_shared_guarded_etcd: Callable[[str], EtcdServer]) -> Callable[[str], EtcdServer]:
    """Gives a running, empty etcd of a version whose root has ROOT_PASSWORD: ``guarded_etcd("3.5")``; see above."""
    return lambda version: _ready(_shared_guarded_etcd(version))


@pytest.fixture
def consul_server(_shared_consul: ConsulServer) -> ConsulServer:
    """A running, empty Consul without access control; a test may stop it."""
    return _ready(_shared_consul)


@pytest.fixture
def guarded_consul(_shared_guarded_consul: ConsulServer) -> ConsulServer:
    """The same with access control: a client without a token has no rights."""
    return _ready(_shared_guarded_consul)


@pytest.fixture
def etcd_factory() -> Iterator[Callable[..., EtcdServer]]:
    """Starts an etcd with options of the test's own: ``etcd_factory(root_password="x")``, see `EtcdServer`."""
    with contextlib.ExitStack() as stack:

        def start(**options: Any) -> EtcdServer:
            return stack.enter_context(_made(EtcdServer, **options))

        yield start


@pytest.fixture
def consul_factory() -> Iterator[Callable[..., ConsulServer]]:
    """Starts a Consul with options of the test's own: ``consul_factory(acl=True)``, see `ConsulServer`."""
    with contextlib.ExitStack() as stack:

        def start(**options: Any) -> ConsulServer:
            return stack.enter_context(_made(ConsulServer, **options))

        yield start


def _made(kind: type[S], **options: Any) -> S:
    """A server that is not started yet; the test is skipped where no program for it can be had."""
    try:
        return kind(**options)
    except ServerError as error:
        pytest.skip(str(error))


def _ready(server: S) -> S:
    """The server, running and empty, whatever the test before has done to it."""
    if not server.running:
        server.start()
    server.clear()
    return server

"""A ZooKeeper for the session, emptied before each test."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from kazoo.client import KazooClient

sys.path.insert(0, str(Path(__file__).parent))

from zookeeper_server import ZooKeeperServer


@pytest.fixture(scope="session")
def _shared() -> Iterator[ZooKeeperServer]:
    with ZooKeeperServer() as server:
        yield server


@pytest.fixture
def zookeeper(_shared: ZooKeeperServer) -> ZooKeeperServer:
    """A running, empty ZooKeeper; a test may stop it."""
    if not _shared._program.running:
        _shared.start()
    client = KazooClient(f"127.0.0.1:{_shared.port}", auth_data=[("digest", "hub:right")])
    client.start()
    for name in client.get_children("/"):
        if name != "zookeeper":
            client.delete(f"/{name}", recursive=True)
    client.stop()
    client.close()
    return _shared

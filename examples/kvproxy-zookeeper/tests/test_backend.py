"""The conformance kit for whole backends on a real ZooKeeper and a real Traefik."""

from __future__ import annotations

import pytest
from kvproxy_zookeeper import TraefikZooKeeperProxy
from kvproxy_zookeeper.connection import parse_connection
from zookeeper_server import ZooKeeperServer

from kvproxy import ConfigurationError
from kvproxy.testing.conformance.backend import BackendConformance
from kvproxy.testing.conformance.proxy import TraefikServerConformance
from kvproxy.testing.conformance.proxy_suite import BackendUnderTest, ClientOf, Start, StoreOf
from kvproxy.testing.servers.named import Doors


@pytest.fixture
def backend(zookeeper: ZooKeeperServer) -> BackendUnderTest:
    """With a user, so that Traefik has to show the password too."""
    traits = {"zookeeper_url": zookeeper.url, "zookeeper_username": "hub", "zookeeper_password": "right"}
    return BackendUnderTest(TraefikZooKeeperProxy, traits, zookeeper.stop, zookeeper.start)


class TestZooKeeper(TraefikServerConformance):
    """Routes through Traefik."""

    subject = "ZooKeeper (example)"

    @pytest.fixture
    def backend(self, backend: BackendUnderTest) -> BackendUnderTest:
        return backend

    @pytest.mark.xfail(strict=True, reason="Traefik takes a node that is deleted while it reads for no routes at all")
    async def test_nobody_notices_that_many_routes_come_and_go(
        self, start_proxy: Start, doors: Doors, client_of: ClientOf, store_of: StoreOf
    ) -> None:
        await super().test_nobody_notices_that_many_routes_come_and_go(start_proxy, doors, client_of, store_of)


class TestZooKeeperBackend(BackendConformance):
    """What it says of itself; it has to be installed."""

    subject = "ZooKeeper (example)"

    scheme = "zookeeper"

    @pytest.fixture
    def backend(self, backend: BackendUnderTest) -> BackendUnderTest:
        return backend


def test_urls() -> None:
    """Several servers, ports, users, and what of the traits wins."""
    made = parse_connection("zookeeper://h%40b:p%3A@zk1,zk2:2182,[::1]:2183/", username="hub")
    assert made.hosts == "zk1,zk2:2182,[::1]:2183"
    assert (made.username, made.password) == ("hub", "p:")
    assert "p:" not in repr(made)


@pytest.mark.parametrize("url", ["zk://h", "zookeeper://", "zookeeper://h,", "zookeeper://h/chroot", "zookeeper://u@h"])
def test_urls_that_lead_nowhere(url: str) -> None:
    """One sentence."""
    with pytest.raises(ConfigurationError):
        parse_connection(url)

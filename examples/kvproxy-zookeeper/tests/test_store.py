"""The conformance kit for stores on a real ZooKeeper."""

from __future__ import annotations

import asyncio

import pytest
from kvproxy_zookeeper.connection import parse_connection
from kvproxy_zookeeper.store import ZooKeeperStore
from zookeeper_server import ZooKeeperServer

from kvproxy import Operation, Space, StoreError, Transaction
from kvproxy.testing.conformance import StoreCredentialsConformance, StoreServer, StoreServerConformance, put, setting


def connect(zookeeper: ZooKeeperServer, password: str, traefik: str, hub: str) -> ZooKeeperStore:
    """A store of the user ``hub``, or of nobody without a password."""
    return ZooKeeperStore(parse_connection(zookeeper.url, "hub" if password else "", password), traefik, hub)


class TestZooKeeperStore(StoreServerConformance):
    """As nobody in particular."""

    subject = "ZooKeeper (example)"

    @pytest.fixture
    def server(self, zookeeper: ZooKeeperServer) -> StoreServer:
        return StoreServer(
            open=lambda traefik, hub: connect(zookeeper, "", traefik, hub), stop=zookeeper.stop, start=zookeeper.start
        )

    async def test_a_node_with_a_value_may_be_a_folder_too(self, store: ZooKeeperStore) -> None:
        """Whichever comes first; folders that are needed no more are removed, the roots stay."""
        await put(store, *setting(**{"a/b/c": "1"}))
        await put(store, *setting(a="2", **{"a/b": "3"}))
        assert (await store.snapshot()).config == {"a": "2", "a/b": "3", "a/b/c": "1"}
        await put(store, *setting(**{"a/b": None}))
        await put(store, *setting(**{"a/b/c": None}))
        assert (await store.snapshot()).config == {"a": "2"}
        await put(store, *setting(a=None))
        assert store._client.get_children("/traefik") == []

    @pytest.mark.parametrize("key", ["a//b", "/a", "a/../b", "a\ud800", "a\x00"])
    async def test_what_cannot_be_a_path_is_refused(self, store: ZooKeeperStore, key: str) -> None:
        """With an error of kvproxy's own, and nothing is written."""
        with pytest.raises(StoreError):
            await put(store, Operation(Space.CONFIG, "x", "1"), Operation(Space.CONFIG, key, "1"))
        assert (await store.snapshot()).config == {}

    async def test_what_the_server_would_not_take_is_refused(self, store: ZooKeeperStore) -> None:
        """It would end the connection without a word, for ever."""
        with pytest.raises(StoreError, match="at most"):
            await put(store, *(Operation(Space.CONFIG, f"{n}/{'y' * 500}/{'z' * 500}", "1") for n in range(1000)))

    async def test_only_some_transactions_touch_what_traefik_watches(self, store: ZooKeeperStore) -> None:
        """Those that are to wake it, and all that delete something."""
        await put(store, *setting(**{"http/a": "1"}))
        seen = []
        for operations, wake in [
            (setting(**{"http/b": "1"}), False),
            (setting(**{"http/b": "2"}), True),
            (setting(**{"http/b": None}), False),
        ]:
            before = store._client.exists("/traefik").children_version
            await store.apply(Transaction(tuple(operations), wake=wake))
            seen.append(store._client.exists("/traefik").children_version > before)
        assert seen == [False, True, True]


class TestZooKeeperStoreOfOneUser(StoreCredentialsConformance):
    """Who comes with other credentials is refused what this user has created."""

    subject = "ZooKeeper (example)"

    @pytest.fixture
    def server(self, zookeeper: ZooKeeperServer) -> StoreServer:
        async def create() -> None:
            store = connect(zookeeper, "right", "traefik", "jupyterhub")
            await put(store, *setting(a="1"))
            await put(store, *setting(a=None))
            await store.aclose()

        # The kit opens the refused store first: there has to be something already that it may not read.
        asyncio.run(create())
        return StoreServer(
            open=lambda traefik, hub: connect(zookeeper, "right", traefik, hub),
            open_refused=lambda: connect(zookeeper, "wrong", "traefik", "jupyterhub"),
        )

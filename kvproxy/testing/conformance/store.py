"""The conformance kit for stores: what every :class:`~kvproxy.store.base.Store` has to do, as tests to inherit.

A plugin's author derives a class whose name begins with ``Test``, overrides the fixture :meth:`StoreConformance.server`
and runs pytest. A store with a server, or with credentials, derives from the classes for these as well::

    class TestMyStore(StoreServerConformance, StoreCredentialsConformance):
        @pytest.fixture
        def server(self):
            with MyServer() as running:            # a real one, empty, of this test's own
                yield StoreServer(
                    open=lambda traefik, hub: MyStore(running.url, traefik, hub),
                    stop=running.stop,
                    start=running.start,
                )

Which tests of the second, *extended*, level run is decided by the store's own
:class:`~kvproxy.store.base.Capabilities`, the same that the core plans its transactions by: what a store
claims is tested. A test may be marked as a strict expected failure in the derived class, but not be overridden away:
see :class:`Kit`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from kvproxy.errors import StoreAuthError, StoreChangedError, StoreError, StoreUnavailableError
from kvproxy.store.base import Capabilities, Operation, Snapshot, Space, Store, Transaction
from kvproxy.testing.conformance.suite import Kit
from kvproxy.testing.servers import within

#: Seconds within which a store has to notice that its server is gone, or is back.
PATIENCE = 30.0

CONFIG, RECORDS = Space.CONFIG, Space.RECORDS


@dataclass(frozen=True)
class StoreServer:
    """A real server of a store, empty at the beginning, and how to reach it.

    Args:
        open: makes a store, not yet connected, from the root of the configuration and that of the records.
        stop: makes the server unreachable, keeping its data; None if there is no server.
        start: makes it reachable again.
        open_refused: makes a store whose credentials are wrong; None if there are none.
    """

    open: Callable[[str, str], Store]
    stop: Callable[[], Any] | None = None
    start: Callable[[], Any] | None = None
    open_refused: Callable[[], Store] | None = None


def setting(**pairs: str | None) -> list[Operation]:
    """Operations on the configuration: ``setting(a="1", b=None)`` sets a and deletes b."""
    return [Operation(CONFIG, key, value) for key, value in pairs.items()]


async def put(store: Store, *operations: Operation) -> None:
    """Apply one transaction."""
    await store.apply(Transaction(tuple(operations)))


class StoreConformance(Kit):
    """Tests of one store; see the module."""

    @pytest.fixture
    def server(self) -> StoreServer:
        """To be overridden: a running, empty server."""
        raise NotImplementedError(f"{type(self).__name__} must override the fixture 'server'")

    @pytest.fixture
    async def store(self, server: StoreServer) -> AsyncIterator[Store]:
        """A connected store with the roots ``traefik`` and ``jupyterhub``."""
        async with self.opened(server) as store:
            yield store

    @asynccontextmanager
    async def opened(
        self, server: StoreServer, traefik: str = "traefik", hub: str = "jupyterhub"
    ) -> AsyncIterator[Store]:
        """A connected store; closed in the end."""
        store = server.open(traefik, hub)
        try:
            await store.check()
            yield store
        finally:
            await store.aclose()

    # -- core

    async def test_an_empty_store_is_empty(self, store: Store) -> None:
        """Nothing in either space, and no error."""
        assert await store.snapshot() == Snapshot()

    async def test_what_was_set_is_listed(self, store: Store) -> None:
        """In the space that it was set in; the same key may be in both."""
        await put(store, Operation(CONFIG, "a/b", "1"), Operation(RECORDS, "a/b", "2"))
        assert await store.snapshot() == Snapshot({"a/b": "1"}, {"a/b": "2"})

    async def test_one_value_is_what_the_list_says(self, store: Store) -> None:
        """In the configuration only; None if there is none, also for what a key begins with."""
        await put(store, *setting(**{"a/b": "1", "a/bc": "2"}), Operation(RECORDS, "r", "3"))
        assert [await store.get(key) for key in ("a/b", "a/bc", "a", "a/", "r", "nosuch")] == ["1", "2", *[None] * 4]
        await put(store, *setting(**{"a/b": None}))
        assert await store.get("a/b") is None

    async def test_a_claim_is_seen_by_whoever_has_the_same_roots(self, server: StoreServer, store: Store) -> None:
        """It is in neither space, and a store with other roots does not see it. A store may also keep none at all."""
        await store.write_lease("one")
        if await store.read_lease() is None:
            return
        async with self.opened(server) as same, self.opened(server, "traefik2", "jupyterhub2") as another:
            assert (await same.read_lease(), await another.read_lease()) == ("one", None)
            await same.write_lease("two")
            assert await store.read_lease() == "two"
            assert await store.snapshot() == Snapshot()
            await another.write_lease("three")
            await store.write_lease(None)
            assert (await same.read_lease(), await another.read_lease()) == (None, "three")
            await another.write_lease(None)

    async def test_a_clock_is_that_of_this_machine(self, store: Store) -> None:
        """If the store tells the time at all; here it runs on the same machine."""
        told = await store.server_time()
        assert told is None or abs(told - time.time()) < PATIENCE

    async def test_values_change(self, store: Store) -> None:
        """The last one counts; others stay."""
        await put(store, *setting(a="1", b="1"))
        await put(store, *setting(a="2"))
        assert (await store.snapshot()).config == {"a": "2", "b": "1"}

    async def test_deleted_is_gone(self, store: Store) -> None:
        """In both spaces; a missing key is no error."""
        await put(store, *setting(a="1", b="1"), Operation(RECORDS, "/x/", "r"))
        await put(
            store, *setting(a=None, nosuch=None), Operation(RECORDS, "/x/", None), Operation(RECORDS, "/n/", None)
        )
        assert await store.snapshot() == Snapshot({"b": "1"}, {})

    async def test_a_key_is_not_a_prefix(self, store: Store) -> None:
        """Deleting ``a`` leaves ``a/b`` and ``ab``."""
        await put(store, *setting(**{"a": "1", "a/b": "2", "ab": "3"}))
        await put(store, *setting(a=None))
        assert (await store.snapshot()).config == {"a/b": "2", "ab": "3"}

    @pytest.mark.parametrize("other", ["traefik2", "traefi", "traefik-x", "x/traefik"])
    async def test_another_root_is_another_store(self, server: StoreServer, other: str) -> None:
        """Also one that begins with the same characters."""
        async with self.opened(server) as store, self.opened(server, other, "hub-" + other) as stranger:
            await put(stranger, *setting(theirs="1"), Operation(RECORDS, "/theirs/", "1"))
            await put(store, *setting(ours="1"), Operation(RECORDS, "/ours/", "1"))
            assert await store.snapshot() == Snapshot({"ours": "1"}, {"/ours/": "1"})
            assert await stranger.snapshot() == Snapshot({"theirs": "1"}, {"/theirs/": "1"})

    @pytest.mark.parametrize(
        "text",
        [
            "naïve 中文 😀",
            "a\nb\tc",
            '"quoted" \\ `back`',
            "#;=[]{}",
            " space ",
            "*?[a]",
            "x" * 1000,
            "-----BEGIN\nx\n-----END\n",
        ],
    )
    async def test_texts_come_back_to_the_letter(self, store: Store, text: str) -> None:
        """As values, and as keys of records, which are routespecs."""
        await put(store, Operation(CONFIG, "key", text), Operation(RECORDS, f"/user/{text}/", text))
        assert await store.snapshot() == Snapshot({"key": text}, {f"/user/{text}/": text})

    async def test_applying_twice_is_applying_once(self, store: Store) -> None:
        """An answer may get lost, and the transaction be sent again."""
        await put(store, *setting(a="0", b="0"))
        for _ in range(2):
            await put(store, *setting(a="1", b=None, c="1"), Operation(RECORDS, "/x/", "1"))
        assert await store.snapshot() == Snapshot({"a": "1", "c": "1"}, {"/x/": "1"})

    async def test_a_store_that_is_not_as_it_was_left_is_not_written_to(
        self, server: StoreServer, store: Store
    ) -> None:
        """If it says that it is fenced: not before all of it has been read again."""
        await put(store, *setting(a="1"))
        async with self.opened(server) as other:
            await put(other, *setting(b="1"))
        if store.capabilities.fenced:
            with pytest.raises(StoreChangedError):
                await put(store, *setting(c="1"))
            assert (await store.snapshot()).config == {"a": "1", "b": "1"}
        await put(store, *setting(c="1"))
        assert (await store.snapshot()).config == {"a": "1", "b": "1", "c": "1"}

    async def test_what_only_reads_is_in_nobodys_way(self, server: StoreServer, store: Store) -> None:
        """Such as a command that lists the routes, while a hub is at work."""
        await put(store, *setting(a="1"))
        async with self.opened(server) as other:
            assert (await other.snapshot()).config == {"a": "1"}
        await put(store, *setting(b="1"))
        assert (await store.snapshot()).config == {"a": "1", "b": "1"}

    async def test_it_is_there_for_the_next_connection(self, server: StoreServer) -> None:
        """Routes survive the hub."""
        async with self.opened(server) as store:
            await put(store, *setting(a="1"), Operation(RECORDS, "/x/", "1"))
        async with self.opened(server) as again:
            assert await again.snapshot() == Snapshot({"a": "1"}, {"/x/": "1"})

    async def test_many_keys_are_listed(self, store: Store) -> None:
        """More than any page of an answer holds."""
        wanted = Snapshot({f"k{n:05}": str(n) for n in range(3000)}, {f"/{n:05}/": str(n) for n in range(1500)})
        operations = [Operation(CONFIG, key, value) for key, value in wanted.config.items()]
        operations += [Operation(RECORDS, key, value) for key, value in wanted.records.items()]
        step = _most(store.capabilities)
        for at in range(0, len(operations), step):
            await put(store, *operations[at : at + step])
        assert await store.snapshot() == wanted

    async def test_a_transaction_without_wake_is_applied_too(self, store: Store) -> None:
        """It only does not call Traefik."""
        await store.apply(Transaction(tuple(setting(a="1")), wake=False))
        assert (await store.snapshot()).config == {"a": "1"}

    async def test_asking_whether_it_is_noisy_changes_nothing(self, store: Store) -> None:
        """A plain yes or no, the same again, and both spaces as they were; an empty one stays empty."""
        noisy = await store.notifies_per_key()
        assert isinstance(noisy, bool)
        assert await store.snapshot() == Snapshot()
        await put(store, *setting(a="1"), Operation(RECORDS, "/x/", "1"))
        assert await store.notifies_per_key() is noisy
        assert await store.snapshot() == Snapshot({"a": "1"}, {"/x/": "1"})
        if noisy:
            assert store.notification_advice

    async def test_a_cancelled_call_leaves_all_or_nothing_and_a_working_store(self, store: Store) -> None:
        """The hub gives up on slow calls."""
        await put(store, *setting(a="0", b="0"))
        for steps in range(6):
            call = asyncio.create_task(put(store, *setting(a="1", b="1")))
            for _ in range(steps):
                # A turn of the event loop, or, from the fourth on, time for a server to begin with its work.
                await asyncio.sleep(0.0005 * max(steps - 3, 0))
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            found = (await store.snapshot()).config
            assert found in ({"a": "0", "b": "0"}, {"a": "1", "b": "1"})
            # A read shuts out what was given up and has not come to the server yet.
            await put(store, *setting(a="0", b="0"))

    async def test_a_closed_store_can_be_closed_again(self, server: StoreServer) -> None:
        """Cleaning up twice is no error."""
        store = server.open("traefik", "jupyterhub")
        await store.aclose()
        await store.aclose()

    # -- extended: what the store's capabilities claim

    async def test_a_transaction_of_the_most_operations_is_applied(self, store: Store) -> None:
        """Exactly as many as are claimed; sets and deletes alike."""
        most = _most(store.capabilities)
        await put(store, *(Operation(CONFIG, f"k{n}", "1") for n in range(most)))
        await put(store, *(Operation(CONFIG, f"k{n}", None) for n in range(most)))
        assert await store.snapshot() == Snapshot()

    async def test_one_operation_more_is_all_or_nothing(self, store: Store) -> None:
        """Refused with one of kvproxy's errors, or applied in full; never in part."""
        more = _most(store.capabilities) + 1
        wanted = {f"k{n}": "1" for n in range(more)}
        try:
            await put(store, *setting(**wanted))
        except StoreError:
            wanted = {}
        assert (await store.snapshot()).config == wanted

    async def test_a_transaction_of_the_most_bytes_is_applied(self, store: Store) -> None:
        """Exactly as many as are claimed."""
        size = store.capabilities.max_bytes
        if size is None:
            size = 256 * 1024
        half = size // 2
        await put(store, Operation(CONFIG, "a", "x" * (half - 1)), Operation(RECORDS, "b", "y" * (size - half - 1)))
        found = await store.snapshot()
        assert (len(found.config["a"]), len(found.records["b"])) == (half - 1, size - half - 1)

    async def test_readers_never_see_half_a_transaction(self, server: StoreServer) -> None:
        """Values that are set together change together, also across the two spaces, for another reader."""
        async with self.opened(server) as writer, self.opened(server) as reader:
            await put(writer, *setting(a="0", b="0"))
            writing = asyncio.create_task(self._alternate(writer))
            try:
                for _ in range(30):
                    await asyncio.sleep(0)
                    config = (await reader.snapshot()).config
                    assert config["a"] == config["b"]
            finally:
                writing.cancel()
                await asyncio.gather(writing, return_exceptions=True)

    @staticmethod
    async def _alternate(store: Store) -> None:
        for turn in range(100_000):
            await put(store, *setting(a=str(turn), b=str(turn)))
            # A store that never waits must let others have their turn.
            await asyncio.sleep(0)


class StoreServerConformance(StoreConformance):
    """Tests of a store that has a server, which may be away: :class:`StoreServer` says how to stop and start it."""

    async def test_a_server_that_is_gone_is_unavailable_and_then_back(self, server: StoreServer) -> None:
        """No exception of the client's own library comes out; the same store works again afterwards."""
        assert server.stop is not None
        assert server.start is not None
        async with self.opened(server) as store:
            await put(store, *setting(a="1"))
            server.stop()
            for call in (store.snapshot, store.check, lambda: put(store, *setting(b="1"))):
                with pytest.raises(StoreUnavailableError):
                    await within(call(), PATIENCE)
            assert await within(store.unreachable(), PATIENCE) in {True, False}
            server.start()
            await within(_until_available(lambda: put(store, *setting(c="1"))), PATIENCE)
            assert not await store.unreachable()
            assert (await store.snapshot()).config["c"] == "1"


class StoreCredentialsConformance(StoreConformance):
    """Tests of a store that asks for credentials: :class:`StoreServer` opens one that is refused."""

    async def test_refused_credentials_are_told_at_once(self, server: StoreServer) -> None:
        """And never as an empty store."""
        assert server.open_refused is not None
        store = server.open_refused()
        try:
            with pytest.raises(StoreAuthError):
                await within(store.check(), 5)
            with pytest.raises(StoreAuthError):
                await within(store.snapshot(), PATIENCE)
        finally:
            await store.aclose()


def _most(capabilities: Capabilities) -> int:
    return 500 if capabilities.max_operations is None else capabilities.max_operations


async def _until_available(call: Callable[[], Any]) -> None:
    while True:
        try:
            await call()
        except StoreUnavailableError:
            await asyncio.sleep(0.1)
        else:
            return

"""Deletions that wait for another commit, on a store in memory."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kvproxy.errors import StoreAuthError, StoreUnavailableError
from kvproxy.reconcile.observer import Observer
from kvproxy.reconcile.reconciler import Reconciler
from kvproxy.routing.names import ALONE
from kvproxy.routing.route import Route, make_route
from kvproxy.store import Transaction
from kvproxy.testing.clock import ClockLoop, on_a_clock
from kvproxy.testing.memory import MemoryStore

from .examples import share
from .test_reconciler import SOON, foreign, key, route, running, until

LOG = logging.getLogger("test.grace")
LOG.disabled = True
GRACE = 5.0


class Told(Observer):
    """Records deleted routes, and those that were not deleted."""

    def __init__(self) -> None:
        self.gone: list[str] = []
        self.kept: list[str] = []

    def removed(self, routespec: str) -> None:
        """See :meth:`kvproxy.reconcile.observer.Observer.removed`."""
        self.gone.append(routespec)

    def not_removed(self, routespec: str, error: Exception) -> None:
        """See :meth:`kvproxy.reconcile.observer.Observer.not_removed`."""
        self.kept.append(routespec)


async def filled(it: Reconciler, count: int = 5) -> None:
    """Add routes to servers with a port each."""
    await asyncio.gather(*(it.add(route(f"u{n}", n + 1), SOON) for n in range(count)))


@asynccontextmanager
async def with_routes(store: MemoryStore, grace: float = GRACE) -> AsyncIterator[Reconciler]:
    """A reconciler at work that has five routes."""
    async with running(store, delete_grace=grace) as it:
        await filled(it)
        yield it


@on_a_clock
async def test_deletions_within_the_grace_are_one_reload() -> None:
    """Each returns at once, and its route is gone for the hub; Traefik keeps it until the oldest has waited enough."""
    store, told = MemoryStore(), Told()
    async with running(store, delete_grace=GRACE, observer=told) as it:
        await filled(it)
        begin, commits, reloads = _now(), len(store.applied), store.traefik.reloads
        for n in range(4):
            await it.delete(key(f"u{n}"), SOON)
            assert it.get(key(f"u{n}")) is None
            await asyncio.sleep(1)
        assert _now() - begin < GRACE
        assert set(await it.all(SOON)) == {key("u4")}
        assert it.count == 1
        assert it.waiting == 4
        assert (len(store.applied), len(store.records), told.gone) == (commits, 5, [])
        await until(lambda: len(store.records) == 1)
        assert GRACE <= _now() - begin < GRACE + 0.1
        assert (len(store.applied), store.traefik.reloads) == (commits + 1, reloads + 1)
        assert told.gone == [key(f"u{n}") for n in range(4)]


@on_a_clock
async def test_a_deletion_goes_with_the_next_change() -> None:
    """One commit, one reload for both."""
    store = MemoryStore()
    async with with_routes(store) as it:
        await it.delete(key("u0"), SOON)
        commits = len(store.applied)
        await it.add(route("new", 9), SOON)
        assert set(store.records) == {key("new"), *(key(f"u{n}") for n in range(1, 5))}
        assert len(store.applied) == commits + 1
        await asyncio.sleep(2 * GRACE)
        assert len(store.applied) == commits + 1


@on_a_clock
async def test_the_same_route_again_costs_no_reload() -> None:
    """As if it had never been deleted; with another target it is an ordinary change."""
    store = MemoryStore()
    async with with_routes(store) as it:
        commits = len(store.applied)
        await it.delete(key("u0"), SOON)
        await it.add(route("u0", 1), SOON)
        assert len(store.applied) == commits
        assert it.get(key("u0")) == route("u0", 1).as_dict()
        await it.delete(key("u0"), SOON)
        await it.add(route("u0", 99), SOON)
        assert len(store.applied) == commits + 1
        await asyncio.sleep(2 * GRACE)
        assert len(store.records) == 5
        assert len(store.applied) == commits + 1


@on_a_clock
async def test_a_route_to_the_address_of_a_deleted_one_is_in_the_same_commit() -> None:
    """No request for the deleted route may reach the new server once the new route is served."""
    store = MemoryStore()
    async with with_routes(store) as it:
        await it.delete(key("u0"), SOON)
        commits = len(store.applied)
        await it.add(make_route(key("new"), "http://127.0.0.1:1/elsewhere", {}), SOON)
        assert len(store.applied) == commits + 1
        assert key("u0") in {o.key for o in store.applied[-1].operations if o.value is None}
        assert key("new") in {o.key for o in store.applied[-1].operations if o.value is not None}


@on_a_clock
async def test_a_route_whose_address_another_one_has_is_deleted_at_once() -> None:
    """Its server has been replaced before the hub noticed."""
    store = MemoryStore()
    async with with_routes(store) as it:
        await it.add(route("new", 1), SOON)
        await it.delete(key("u0"), SOON)
        assert key("u0") not in store.records


@on_a_clock
async def test_addresses_are_known_after_restarts_and_changes() -> None:
    """Those of an earlier hub's routes count; that of a route's former target does not."""
    store = MemoryStore()
    async with with_routes(store):
        pass
    async with running(store, delete_grace=GRACE) as it:
        await it.add(route("new", 1), SOON)
        await it.delete(key("new"), SOON)
        assert key("new") not in store.records
        await it.add(route("u0", 99), SOON)
        await it.add(route("new", 1), SOON)
        await it.delete(key("new"), SOON)
        assert key("new") in store.records


@on_a_clock
async def test_a_deletion_that_is_asked_for_twice_waits_as_long_as_the_first() -> None:
    """Nor does the second call wait for the store."""
    store = MemoryStore()
    async with with_routes(store) as it:
        begin = _now()
        await it.delete(key("u0"), SOON)
        await asyncio.sleep(3)
        await it.delete(key("u0"), SOON)
        assert _now() - begin == pytest.approx(3, abs=0.1)
        assert key("u0") in store.records
        await until(lambda: key("u0") not in store.records)
        assert _now() - begin == pytest.approx(GRACE, abs=0.1)


@on_a_clock
async def test_reads_and_repairs_know_a_deletion_that_waits(caplog: pytest.LogCaptureFixture) -> None:
    """The store's route is nobody's mistake; a repair of another one takes it along."""
    store = MemoryStore()
    async with with_routes(store, 60.0) as it:
        commits = len(store.applied)
        await it.delete(key("u0"), SOON)
        store.config["udp/x"] = "another program's"
        await it.all(SOON)
        await asyncio.sleep(10)
        # Only the notification of another program's key, which is a commit.
        assert key("u0") not in store.records
        assert len(store.applied) == commits + 1
        await it.delete(key("u1"), SOON)
        await asyncio.sleep(10)
        assert key("u1") in store.records
        assert len(store.applied) == commits + 1
        assert "not as the hub left it" not in caplog.text
        del store.records[key("u2")]
        await it.all(SOON)
        await until(lambda: key("u2") in store.records)
        assert key("u1") not in store.records
        assert len(store.applied) == commits + 2
        assert "removed" not in caplog.text


@on_a_clock
async def test_an_emptied_store_gets_no_deleted_route_back() -> None:
    """It is rewritten without it."""
    store = MemoryStore()
    async with with_routes(store, 60.0) as it:
        await it.delete(key("u0"), SOON)
        store.config.clear()
        store.records.clear()
        await until(lambda: len(store.records) == 4)
        assert key("u0") not in store.records


@on_a_clock
async def test_the_hubs_check_of_all_routes_deletes_at_once() -> None:
    """Servers that it finds gone may be so for hours."""
    store = MemoryStore()
    async with with_routes(store) as it:
        commits = len(store.applied)
        with it.checking():
            await asyncio.gather(*(it.delete(key(f"u{n}"), SOON) for n in range(3)))
        assert len(store.records) == 2
        assert len(store.applied) == commits + 1


@pytest.mark.parametrize("end", ["stopped", "cancelled"])
@on_a_clock
async def test_at_the_hubs_end_no_deletion_waits_any_more(end: str) -> None:
    """JupyterHub stops its proxy, or cancels all tasks if it leaves the proxy running."""
    store = MemoryStore()
    it = Reconciler(store, store.traefik, log=LOG, delete_grace=GRACE)
    await it.start()
    await filled(it)
    await it.delete(key("u0"), SOON)
    if end == "cancelled":
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    else:
        await it.aclose()
    assert key("u0") not in store.records
    await it.aclose()


@on_a_clock
async def test_a_commit_that_the_hubs_end_interrupts_is_repeated() -> None:
    """It may have been applied or not."""
    store = MemoryStore()
    apply, begun = store.apply, asyncio.Event()

    async def hang(transaction: Transaction) -> None:
        store.apply = apply  # type: ignore[method-assign]
        begun.set()
        await asyncio.sleep(60)

    async with with_routes(store) as it:
        await it.delete(key("u0"), SOON)
        store.apply = hang  # type: ignore[method-assign]
        await begun.wait()
    assert set(store.records) == {key(f"u{n}") for n in range(1, 5)}


@on_a_clock
async def test_after_a_crash_the_next_hub_deletes_the_route() -> None:
    """It finds it in the store, and JupyterHub's check of all routes does not want it."""
    store = MemoryStore()
    async with with_routes(store) as it:
        await it.delete(key("u0"), SOON)
        store.failure = StoreUnavailableError("The hub was killed.")
    store.failure = None
    assert key("u0") in store.records
    async with running(store, delete_grace=GRACE) as it:
        assert it.get(key("u0")) is not None
        with it.checking():
            await it.delete(key("u0"), SOON)
        assert key("u0") not in store.records


@on_a_clock
async def test_a_deletion_that_the_store_refuses_is_reported_when_that_is_known() -> None:
    """Its caller has gone on; the route is deleted as soon as the store allows it."""
    store, told = MemoryStore(), Told()
    async with running(store, delete_grace=GRACE, observer=told) as it:
        await filled(it)
        await it.delete(key("u0"), SOON)
        store.refusal = StoreAuthError("Not allowed.")
        await asyncio.sleep(GRACE)
        await until(lambda: bool(told.kept))
        assert (told.kept, told.gone) == ([key("u0")], [])
        store.refusal = None
        await until(lambda: key("u0") not in store.records)


@on_a_clock
async def test_without_a_grace_a_deletion_has_left_the_store_when_it_returns() -> None:
    """As by default."""
    store = MemoryStore()
    async with running(store) as it:
        await filled(it)
        await it.delete(key("u0"), SOON)
        assert key("u0") not in store.records
        assert it.waiting == 0


@on_a_clock
async def test_groups_that_a_deletion_changes_wait_with_it() -> None:
    """A large table has its routes in groups, which are made again when few are left."""
    store = MemoryStore()
    async with running(store, delete_grace=GRACE) as it:
        await filled(it, 300)
        await asyncio.sleep(60)
        commits = len(store.applied)
        for n in range(250):
            await it.delete(key(f"u{n}"), SOON)
        await asyncio.sleep(GRACE - 0.5)
        assert len(store.applied) == commits
        await asyncio.sleep(60)
        assert len(store.records) < 60
        assert not any("-kvg" in k for k in foreign(store))


class Addresses(RuleBasedStateMachine):
    """Users whose servers start and stop at a few addresses, and a Traefik that may be slow."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = ClockLoop()
        self.store = MemoryStore()
        self.deleted: dict[str, float] = {}
        self.served: dict[str, Route] = {}
        self.busy: dict[str, asyncio.Task[None]] = {}

    @initialize(grace=st.sampled_from([0.0, 1.0, GRACE]))
    def start(self, grace: float) -> None:
        """A hub with any grace."""
        self.grace = grace
        self.hub = Reconciler(self.store, self.store.traefik, log=LOG, delete_grace=grace)
        self.loop.run(self.hub.start())

    @rule(name=st.sampled_from("abcd"), port=st.integers(1, 3))
    def add(self, name: str, port: int) -> None:
        """A server has started at an address that another one may have had, or has."""
        if name not in self.busy:
            self.busy[name] = self.loop.create_task(self._add(name, route(name, port)))

    async def _add(self, name: str, added: Route) -> None:
        self.deleted.pop(name, None)
        if self.served.pop(name, None) == added:
            self.served[name] = added
            return
        gone = set(self.deleted)
        await self.hub.add(added, 60.0)
        self.served[name] = added
        for other in gone & self.deleted.keys():
            assert self._leads(other) != added.target, f"{other} leads to {name}'s server"

    def _leads(self, name: str) -> str | None:
        """Where Traefik leads requests for a user's server."""
        service = ALONE.route(key(name))
        return self.store.traefik._loaded.get(f"http/services/{service}/loadBalancer/servers/0/url")

    @rule(name=st.sampled_from("abcd"))
    def delete(self, name: str) -> None:
        """A server stops."""
        if name not in self.busy:
            if self.served.pop(name, None) is not None:
                self.deleted[name] = self.loop.time()
            self.loop.run(self.hub.delete(key(name), SOON))

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.7, 3.0]))
    def time_passes(self, seconds: float) -> None:
        """As it does."""
        self.loop.run(asyncio.sleep(seconds))

    @rule(frozen=st.booleans())
    def traefik_is_slow(self, frozen: bool) -> None:
        """Traefik takes long to load what it is told, or has loaded it."""
        self.store.traefik.frozen = frozen
        if not frozen:
            self.store.traefik.wake()

    @invariant()
    def no_deletion_waits_too_long_or_at_a_used_address(self) -> None:
        """After any event."""
        for task in [task for task in self.busy.values() if task.done()]:
            task.result()
        self.busy = {name: task for name, task in self.busy.items() if not task.done()}
        used = {route.target for route in self.served.values()}
        for name, since in self.deleted.items():
            record = self.store.records.get(key(name))
            if record is not None:
                assert self.loop.time() - since <= self.grace + 0.01, name
                assert json.loads(record)["target"] not in used, name

    def teardown(self) -> None:
        """All that is deleted is gone in the end."""
        self.traefik_is_slow(False)
        self.loop.run(asyncio.sleep(90))
        try:
            assert set(self.store.records) == {key(name) for name in self.served}
        finally:
            self.loop.run(self.hub.aclose())
            self.loop.close_all()


def _now() -> float:
    return asyncio.get_running_loop().time()


TestAddresses = Addresses.TestCase
TestAddresses.settings = share(0.5, steps=25)

"""The one loop, on a store in memory: grouping, waiting, rollback, repair."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from kvproxy.errors import (
    InvalidRouteError,
    RouteNotReadyError,
    RouteRejectedError,
    StoppedError,
    StoreAuthError,
    StoreUnavailableError,
    TraefikError,
)
from kvproxy.reconcile.reconciler import Reconciler
from kvproxy.routing.encode import encode_route
from kvproxy.routing.entry import Layout
from kvproxy.routing.names import ALONE
from kvproxy.routing.root_routers import RootRouters
from kvproxy.routing.route import Route, make_route
from kvproxy.store import Capabilities, Operation, Space, Transaction
from kvproxy.testing.clock import on_a_clock
from kvproxy.testing.memory import MemoryStore
from kvproxy.traefik.api import Table

LOG = logging.getLogger("test")
SOON = 5.0


def route(name: str, port: int = 1, **data: Any) -> Route:
    """A user's route."""
    return make_route(f"/user/{name}/", f"http://127.0.0.1:{port}", data)


def key(name: str) -> str:
    """The key of a user's route."""
    return f"/user/{name}/"


@asynccontextmanager
async def running(store: MemoryStore, **options: Any) -> AsyncIterator[Reconciler]:
    """A reconciler at work."""
    reconciler = Reconciler(store, store.traefik, log=LOG, **options)
    await reconciler.start()
    try:
        yield reconciler
    finally:
        await reconciler.aclose()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""

    async def wait() -> None:
        while not condition():
            await asyncio.sleep(0.001)

    await asyncio.wait_for(wait(), SOON)


def foreign(store: MemoryStore) -> dict[str, str]:
    """The configuration without the revision."""
    return {k: v for k, v in store.config.items() if k != ALONE.revision_key}


async def test_a_traefik_that_is_just_seen_to_hang_is_restarted_with_the_reason() -> None:
    """The poll that it does not answer goes on."""
    store = MemoryStore()
    async with running(store) as it:
        await it.add(route("ada"), SOON)
        [replica] = it.replicas
        replica.problem, replica.silent = "It did not answer within 5 s.", True
        assert it.stuck() == "It hangs. It did not answer within 5 s."


async def test_added_changed_read_and_deleted() -> None:
    """The life of a route; nothing is left of it."""
    store = MemoryStore()
    async with running(store) as it:
        await it.add(route("ada", 1, user="ada", n=1, nested={"x": None}), SOON)
        assert it.get(key("ada")) == {
            "routespec": "/user/ada/",
            "target": "http://127.0.0.1:1",
            "data": {"user": "ada", "n": 1, "nested": {"x": None}},
        }
        await it.add(route("ada", 2), SOON)
        assert (await it.all(SOON))["/user/ada/"]["target"] == "http://127.0.0.1:2"
        await it.delete(key("ada"), SOON)
        assert it.get(key("ada")) is None
        assert foreign(store) == {}
        assert store.records == {}


async def test_a_hundred_simultaneous_calls_are_a_handful_of_commits() -> None:
    """Each one transaction, one reload."""
    store = MemoryStore()
    async with running(store) as it:
        before = len(store.applied)
        await asyncio.gather(*(it.add(route(f"u{n}"), SOON) for n in range(100)))
        assert len(store.applied) - before <= 3
        assert sum(t.wake for t in store.applied[before:]) <= 3
        await asyncio.gather(*(it.delete(key(f"u{n}"), SOON) for n in range(100)))
        assert len(store.applied) - before <= 6
        assert it.count == 0


async def test_a_route_that_is_regrouped_while_it_is_waited_for_is_served() -> None:
    """As in the moment in which Traefik's version becomes known, which decides how routes are laid out."""
    store = MemoryStore()
    table, looked, shown = store.traefik.table, asyncio.Event(), asyncio.Event()

    async def slow() -> Table:
        looked.set()
        await shown.wait()
        return await table()

    store.traefik.table = slow  # type: ignore[method-assign]
    layout = Layout(entry_points=("http",), roots=RootRouters(pages=ALONE.pages))
    async with running(store, layout=layout) as it:
        adding = asyncio.create_task(it.add(route("ada"), SOON))
        await looked.wait()
        parents = f"http/routers/{ALONE.route(key('ada'))}/parentRefs"
        assert parents not in store.config
        adding_more = asyncio.create_task(it.add(route("bob"), SOON))
        await until(lambda: parents in store.config)
        shown.set()
        await asyncio.gather(adding, adding_more)


async def test_equal_state_writes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """JupyterHub adds its extra routes again at every check."""
    store = MemoryStore()
    async with running(store) as it:
        await it.add(route("ada", x=[1]), SOON)
        written = len(store.applied)
        await it.add(route("ada", x=[1]), SOON)
        await it.delete(key("nobody"), SOON)
        await it.all(SOON)
        assert len(store.applied) == written
    assert "putting them right" not in caplog.text


async def test_a_changed_target_writes_what_differs() -> None:
    """The URL, the record and the revision; rule and service stay untouched."""
    store = MemoryStore()
    async with running(store) as it:
        await it.add(route("ada", 1), SOON)
        await it.add(route("ada", 2), SOON)
        assert len(store.applied[-1].operations) == 3


async def test_a_restart_over_an_unchanged_store_writes_nothing() -> None:
    """And knows all routes."""
    store = MemoryStore()
    setup = {"http": {"middlewares": {"m": {"compress": {}}}}}
    async with running(store, setup=setup) as it:
        await it.add(route("ada", 7, a={"b": 1}), SOON)
        table = await it.all(SOON)
    written = len(store.applied)
    async with running(store, setup=setup) as it:
        assert await it.all(SOON) == table
        await it.add(route("ada", 7, a={"b": 1}), SOON)
        assert len(store.applied) == written


async def test_a_setup_that_shrinks_leaves_nothing_behind() -> None:
    """Settings removed from extra_dynamic_config are removed from the store."""
    store = MemoryStore()
    async with running(store, setup={"http": {"middlewares": {"m": {"compress": {}}}}}):
        assert foreign(store) == {"http/middlewares/m/compress": "true"}
    async with running(store):
        assert foreign(store) == {}


async def test_keys_of_others_are_never_touched() -> None:
    """With any edits around them."""
    store = MemoryStore()
    mine = {"http/routers/mine/rule": "Path(`/mine`)", "http/routers/mine/service": "mine", "udp/x": ""}
    store.config |= mine
    async with running(store, setup={"http": {"middlewares": {"m": {"compress": {}}}}}) as it:
        await it.add(route("ada"), SOON)
        await it.all(SOON)
        await it.delete(key("ada"), SOON)
    touched = {o.key for t in store.applied for o in t.operations}
    assert not touched & mine.keys()
    assert {k: store.config[k] for k in mine} == mine


async def test_deleted_and_changed_keys_are_repaired_by_a_full_read() -> None:
    """With the record or without it."""
    store = MemoryStore()
    async with running(store) as it:
        await asyncio.gather(*(it.add(route(name), SOON) for name in ("ada", "bob", "eve")))
        whole = foreign(store), dict(store.records)
        for k in [k for k in store.config if ALONE.route(key("ada")) in k]:
            del store.config[k]
        store.config[f"http/services/{ALONE.route(key('bob'))}/loadBalancer/servers/0/url"] = "http://evil"
        del store.records[key("eve")]
        assert set(await it.all(SOON)) == {key("ada"), key("bob"), key("eve")}
        await until(lambda: (foreign(store), store.records) == whole)


async def test_a_flushed_store_is_rewritten() -> None:
    """Revision included, so that Traefik is told."""
    store = MemoryStore()
    async with running(store, setup={"http": {"middlewares": {"m": {"compress": {}}}}}) as it:
        await it.add(route("ada"), SOON)
        whole = foreign(store)
        store.config.clear()
        store.records.clear()
        reloads = store.traefik.reloads
        await it.all(SOON)
        await until(lambda: foreign(store) == whole and ALONE.revision_key in store.config)
        assert store.traefik.reloads > reloads


async def test_a_foreign_route_is_removed() -> None:
    """Such as one that an old copy of the store's data brings back; nothing but the hub says which routes there are."""
    store = MemoryStore()
    async with running(store) as it:
        stale = encode_route(route("stale"), Layout())
        store.config |= stale.config
        store.records |= stale.records
        assert await it.all(SOON) == {}
        await until(lambda: foreign(store) == {} and store.records == {})


async def test_keys_of_ours_without_a_record_are_removed_at_start() -> None:
    """They could not be deleted otherwise."""
    store = MemoryStore()
    store.config |= encode_route(route("orphan"), Layout()).config
    store.records["/user/corrupt/"] = "{"
    async with running(store):
        assert foreign(store) == {}


async def test_a_rejected_route_is_taken_back_with_traefiks_reason() -> None:
    """And the route that was there before comes back."""
    store = MemoryStore()
    async with running(store) as it:
        store.traefik.rejects[ALONE.route(key("new"))] = "no such thing"
        with pytest.raises(RouteRejectedError, match="no such thing"):
            await it.add(route("new"), SOON)
        assert foreign(store) == {}
        assert store.records == {}
        await it.add(route("ada", 1), SOON)
        store.traefik.rejects[ALONE.route(key("ada"))] = "not that"
        with pytest.raises(RouteRejectedError, match="not that"):
            await it.add(route("ada", 2), SOON)
        assert it.get(key("ada")) == route("ada", 1).as_dict()
        assert foreign(store) == dict(encode_route(route("ada", 1), Layout()).config)


@pytest.mark.parametrize(
    ("trouble", "sentence"),
    [("frozen", "not loaded the store's latest contents"), ("down", "cannot be reached"), ("empty", "rootKey")],
)
@on_a_clock
async def test_a_route_that_does_not_get_ready_is_taken_back(trouble: str, sentence: str) -> None:
    """With what was and was not seen."""
    store = MemoryStore()
    if trouble == "empty":
        store.traefik.frozen = True
    async with running(store, patience=0.01) as it:
        store.traefik.frozen = trouble != "down"
        if trouble == "down":
            store.traefik.failure = TraefikError("Traefik's API cannot be reached.")
        with pytest.raises(RouteNotReadyError, match=sentence) as failed:
            await it.add(route("ada"), 0.3)
        assert isinstance(failed.value, TimeoutError)
        assert "/user/ada/" in str(failed.value)
        assert foreign(store) == {}
        assert it.get(key("ada")) is None


async def test_a_cancelled_call_leaves_no_half_route() -> None:
    """The hub gives up on slow spawns."""
    store = MemoryStore()
    async with running(store, patience=0.01) as it:
        store.traefik.frozen = True
        call = asyncio.create_task(it.add(route("ada"), SOON))
        await until(lambda: bool(store.records))
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await until(lambda: not foreign(store) and not store.records)


async def test_a_later_call_overtakes_an_earlier_one() -> None:
    """Both return, and the later one is what is served."""
    store = MemoryStore()
    async with running(store) as it:
        await asyncio.gather(it.add(route("ada", 1), SOON), it.add(route("ada", 2), SOON))
        assert it.get(key("ada")) == route("ada", 2).as_dict()
        await asyncio.gather(it.add(route("bob"), SOON), it.delete(key("bob"), SOON))
        assert it.get(key("bob")) is None
        assert key("bob") not in store.records


async def test_the_earlier_of_two_equal_calls_may_fail_alone() -> None:
    """Its time running out does not take the route from the one who still waits."""
    store = MemoryStore()
    async with running(store, patience=0.01) as it:
        store.traefik.frozen = True
        impatient = asyncio.create_task(it.add(route("ada"), 0.1))
        patient = asyncio.create_task(it.add(route("ada"), SOON))
        with pytest.raises(RouteNotReadyError):
            await impatient
        store.traefik.frozen = False
        store.traefik.wake()
        await patient
        assert key("ada") in store.records


@on_a_clock
async def test_a_deleted_and_added_route_is_not_ready_by_what_traefik_remembers() -> None:
    """Traefik still shows the old one, which is the same to the letter; that proves nothing."""
    store = MemoryStore()
    async with running(store, patience=0.01) as it:
        await it.add(route("ada"), SOON)
        store.traefik.frozen = True
        await it.delete(key("ada"), SOON)
        again = asyncio.create_task(it.add(route("ada"), SOON))
        await until(lambda: key("ada") in store.records)
        seen = store.applied[-1]
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(again), 0.2)
        assert ALONE.revision_key in {o.key for o in seen.operations}
        store.traefik.frozen = False
        store.traefik.wake()
        await again


async def test_deletions_do_not_wait_for_a_busy_traefik_but_additions_are_grouped() -> None:
    """A login storm is a handful of reloads, and a stop is gone from the store at once."""
    store = MemoryStore()
    async with running(store) as it:
        await asyncio.gather(*(it.add(route(f"u{n}"), SOON) for n in range(3)))
        store.traefik.frozen = True
        await it.delete(key("u0"), SOON)  # Traefik is told, and stays behind
        adds = [asyncio.create_task(it.add(route(f"v{n}"), SOON)) for n in range(20)]
        for n in (1, 2):
            await it.delete(key(f"u{n}"), SOON)
        assert store.records == {}
        store.traefik.frozen = False
        store.traefik.wake()
        reloads = store.traefik.reloads
        await asyncio.gather(*adds)
        assert store.traefik.reloads - reloads <= 2


@on_a_clock
async def test_while_the_store_is_away_calls_wait_and_nothing_is_lost() -> None:
    """Everything is made when it comes back."""
    store = MemoryStore()
    async with running(store) as it:
        await it.add(route("old"), SOON)
        store.failure = StoreUnavailableError("The store is away.")
        calls = [asyncio.create_task(it.add(route("new"), SOON)), asyncio.create_task(it.delete(key("old"), SOON))]
        with pytest.raises(RouteNotReadyError, match="The store is away"):
            await it.add(route("late"), 0.2)
        with pytest.raises(StoreUnavailableError, match="The store is away"):
            await it.all(0.2)
        store.failure = None
        await asyncio.gather(*calls)
        assert set(store.records) == {key("new")}


async def test_an_error_that_waiting_does_not_mend_is_told_at_once() -> None:
    """And the edit is taken back."""
    store = MemoryStore()
    async with running(store) as it:
        store.failure = StoreAuthError("Not allowed.")
        with pytest.raises(StoreAuthError, match="Not allowed"):
            await asyncio.wait_for(it.add(route("ada"), 60), SOON + 6)
        store.failure = None
        await it.all(SOON + 6)
        assert it.get(key("ada")) is None
        assert store.records == {}


async def test_a_transaction_that_failed_but_was_applied_is_found() -> None:
    """An answer that gets lost leaves no doubt for long."""

    class Torn(MemoryStore):
        torn = False

        async def apply(self, transaction: Transaction) -> None:
            await super().apply(transaction)
            if self.torn:
                self.torn = False
                raise StoreUnavailableError("The answer was lost.")

    store = Torn()
    async with running(store) as it:
        store.torn = True
        await it.add(route("ada"), SOON)
        await it.delete(key("ada"), SOON)
        assert foreign(store) == {}


async def test_transactions_keep_to_the_stores_limit() -> None:
    """The store refuses larger ones; a route that is larger is refused before."""
    store = MemoryStore(Capabilities(max_operations=8, max_bytes=4000))
    async with running(store) as it:
        await asyncio.gather(*(it.add(route(f"u{n}"), SOON) for n in range(20)))
        assert len(store.records) == 20
        with pytest.raises(InvalidRouteError, match="cannot be stored"):
            await it.add(route("big", text="x" * 5000), SOON)
        assert it.count == 20


async def test_after_each_transaction_other_routes_are_whole() -> None:
    """A route is never half there."""
    store = MemoryStore(Capabilities(max_operations=6))
    async with running(store) as it:
        await asyncio.gather(*(it.add(route(f"u{n}", n + 1), SOON) for n in range(10)))
    for transaction in store.applied:
        names = [o.key for o in transaction.operations if o.space is Space.RECORDS]
        for name in names:
            assert sum(ALONE.route(name) in o.key for o in transaction.operations) == 3


async def test_after_stop_no_route_is_taken_and_no_caller_is_left_waiting() -> None:
    """Each with one of kvproxy's errors."""
    store = MemoryStore()
    async with running(store, patience=0.01) as it:
        store.traefik.frozen = True
        call = asyncio.create_task(it.add(route("ada"), SOON))
        await until(lambda: bool(store.records))
    with pytest.raises(StoppedError):
        await call
    with pytest.raises(StoppedError):
        await it.delete(key("ada"), SOON)


async def test_a_read_costs_nothing_but_a_full_read() -> None:
    """get_route and delete_route never list the store."""
    store = MemoryStore()
    async with running(store) as it:
        await asyncio.gather(*(it.add(route(f"u{n}"), SOON) for n in range(50)))
        reads = store.reads
        it.get(key("u7"))
        await it.delete(key("u7"), SOON)
        await it.add(route("u7"), SOON)
        assert store.reads == reads


async def test_a_wake_is_in_the_last_transaction_with_the_revision() -> None:
    """So that the revision says that everything before it is there."""
    store = MemoryStore(Capabilities(max_operations=5))
    async with running(store) as it:
        await asyncio.gather(*(it.add(route(f"u{n}"), SOON) for n in range(5)))
    for transaction in store.applied:
        has_revision = any(o.key == ALONE.revision_key for o in transaction.operations)
        assert has_revision == transaction.wake
        assert not has_revision or transaction.operations[-1] == Operation(
            Space.CONFIG, ALONE.revision_key, str(transaction.operations[-1].value)
        )

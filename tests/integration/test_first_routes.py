"""A hub that starts over an emptied store: Traefik keeps what it serves until JupyterHub has said its routes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from kvproxy.reconcile.reconciler import Reconciler
from kvproxy.reconcile.startup import serves_already
from kvproxy.routing.names import ALONE
from kvproxy.routing.route import Route, make_route
from kvproxy.store import Capabilities
from kvproxy.testing.clock import ClockLoop
from kvproxy.testing.memory import MemoryStore

LOG = logging.getLogger("test")
SETUP = {"http": {"routers": {"kvproxy-api": {"rule": "PathPrefix(`/api`)", "service": "api@internal"}}}}
USERS = [f"u{number}" for number in range(10)]
LONGEST = 10.0
PATIENCE = 30.0


def route(name: str) -> Route:
    """A user's route."""
    return make_route(f"/user/{name}/", "http://127.0.0.1:1", {"user": name})


def hub_on(store: MemoryStore) -> Reconciler:
    """A hub that comes to a Traefik that is there."""
    return Reconciler(
        store,
        store.traefik,
        log=LOG,
        setup=SETUP,
        serves_already=lambda: serves_already([store.traefik], unknown=False),
        longest=LONGEST,
    )


async def served(store: MemoryStore) -> set[str]:
    """The users whom Traefik serves."""
    routers = (await store.traefik.table()).routers
    return {name for name in USERS if ALONE.route(f"/user/{name}/") in routers}


def play(
    scene: Callable[[MemoryStore, Reconciler], Awaitable[None]],
    store: MemoryStore | None = None,
    *,
    keeps: bool = False,
    before: bool = True,
) -> None:
    """Start a hub over a store that has lost what an earlier one wrote, on a clock of its own.

    keeps: the store has lost nothing. before: there was an earlier hub.
    """
    loop = ClockLoop()

    async def whole() -> None:
        at = store or MemoryStore()
        if before:
            earlier = hub_on(at)
            await earlier.start()
            await asyncio.gather(*(earlier.add(route(name), PATIENCE) for name in USERS))
            await earlier.aclose()
        if not keeps:
            at.config.clear()
            at.records.clear()
        at.applied.clear()
        hub = hub_on(at)
        await hub.start()
        try:
            await scene(at, hub)
        finally:
            await hub.aclose()

    try:
        loop.run(whole())
    finally:
        loop.close_all()


async def check(hub: Reconciler) -> None:
    """Add all routes at the same time, as JupyterHub's check does at the end of its start."""
    with hub.checking():
        await hub.all(PATIENCE)
        await asyncio.gather(*(hub.add(route(name), PATIENCE) for name in USERS))


@pytest.mark.parametrize("limit", [None, 10])
def test_traefik_serves_all_users_while_the_services_start_and_after(limit: int | None) -> None:
    """Also where the routes take several transactions, of each of which Traefik is told."""
    store = MemoryStore(Capabilities(max_operations=limit))
    store.tells_all = True

    async def scene(store: MemoryStore, hub: Reconciler) -> None:
        lost = []
        wake = store.traefik.wake

        def watched() -> None:
            wake()
            lost.append(asyncio.ensure_future(served(store)))

        store.traefik.wake = watched  # type: ignore[method-assign]
        await asyncio.sleep(60)
        assert store.applied == []
        await check(hub)
        assert all(seen == set(USERS) for seen in await asyncio.gather(*lost))
        assert lost
        assert set(hub.desired) == {"setup", *(ALONE.route(f"/user/{name}/") for name in USERS)}

    play(scene, store)


def test_a_route_added_before_the_check_is_served_with_all_others() -> None:
    """The services may take longer than that is waited for after the first route, if the check comes in time."""

    async def scene(store: MemoryStore, hub: Reconciler) -> None:
        early = asyncio.create_task(hub.add(route("early"), PATIENCE))
        await asyncio.sleep(LONGEST - 1)
        assert store.applied == []
        await check(hub)
        await early
        assert await served(store) == set(USERS)

    play(scene)


def test_without_a_check_the_first_route_is_served_after_some_seconds() -> None:
    """As by a program that drives the proxy and is no hub."""

    async def scene(store: MemoryStore, hub: Reconciler) -> None:
        start = asyncio.get_running_loop().time()
        await hub.add(route("u1"), PATIENCE)
        assert LONGEST <= asyncio.get_running_loop().time() - start < LONGEST + 1
        await hub.add(route("u2"), 1)

    play(scene)


def test_a_check_that_fails_has_said_nothing() -> None:
    """Nothing is written for it; the next one, or the first route and some seconds, count."""

    async def scene(store: MemoryStore, hub: Reconciler) -> None:
        with pytest.raises(LookupError), hub.checking():
            raise LookupError
        await asyncio.sleep(1)
        assert store.applied == []
        await check(hub)
        assert await served(store) == set(USERS)

    play(scene)


@pytest.mark.parametrize(("keeps", "before"), [(True, True), (False, False)], ids=["lost-nothing", "first-start"])
def test_nothing_is_held_back_where_nothing_can_be_lost(keeps: bool, before: bool) -> None:
    """A store that has its routes, or a Traefik that serves none."""

    async def scene(store: MemoryStore, hub: Reconciler) -> None:
        await hub.add(route("new"), 1)
        assert await served(store) == (set(USERS) if before else set())

    play(scene, keeps=keeps, before=before)


def test_a_hub_that_waits_for_the_check_complains_of_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """It says what it waits for, once."""
    caplog.set_level(logging.INFO)

    async def scene(store: MemoryStore, hub: Reconciler) -> None:
        await asyncio.sleep(600)

    play(scene)
    assert sum("until JupyterHub has checked all routes" in message for message in caplog.messages) == 1
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_traefik_is_not_examined_before_the_first_commit() -> None:
    """Until then its API is that of whatever wrote to the store before, with another password perhaps."""

    async def scene(store: MemoryStore, hub: Reconciler) -> None:
        released = asyncio.create_task(hub.released())
        await asyncio.sleep(LONGEST)
        assert not released.done()
        await check(hub)
        await asyncio.wait_for(released, 1)

    play(scene)

    async def at_once(store: MemoryStore, hub: Reconciler) -> None:
        await asyncio.wait_for(hub.released(), 1)

    play(at_once, before=False)

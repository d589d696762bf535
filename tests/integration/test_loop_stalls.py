"""An event loop of the hub's that stands still: the time is not Traefik's, and no route is lost by it."""

from __future__ import annotations

import asyncio
import logging

import pytest

from kvproxy._loop_stalls import LoopStalls
from kvproxy.errors import RouteNotReadyError, TraefikError
from kvproxy.reconcile.reconciler import Reconciler
from kvproxy.routing.names import ALONE
from kvproxy.routing.route import Route, make_route
from kvproxy.testing.clock import ClockLoop, on_a_clock
from kvproxy.testing.memory import MemoryStore, MemoryTraefik

LOG = logging.getLogger("test")
#: Seconds for which the loop is blocked, and for which a route is waited for.
BLOCKED, PATIENCE = 2.0, 0.5


def route(name: str) -> Route:
    """A user's route."""
    return make_route(f"/user/{name}/", "http://127.0.0.1:1", {"user": name})


def now() -> float:
    """The running loop's time."""
    return asyncio.get_running_loop().time()


def block() -> None:
    """Work as JupyterHub does in a storm of logins."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ClockLoop)
    loop.pass_time(BLOCKED)


async def started(store: MemoryStore) -> Reconciler:
    """A reconciler that has come to rest."""
    it = Reconciler(store, store.traefik, log=LOG)
    await it.start()
    await it.add(route("first"), 5)
    return it


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 8])
@on_a_clock
async def test_a_route_is_not_taken_back_because_the_loop_stood_still(steps: int) -> None:
    """At whatever point of its way to the store and to Traefik that is."""
    store = MemoryStore()
    it = await started(store)
    try:
        adding = asyncio.create_task(it.add(route("ada"), PATIENCE))
        for _ in range(steps):
            await asyncio.sleep(0)
        block()
        await adding
        assert await store.traefik.router(ALONE.route("/user/ada/")) is not None
    finally:
        await it.aclose()


@on_a_clock
async def test_a_route_that_traefik_does_not_serve_is_given_up_with_what_is_known() -> None:
    """The hub's own part in it is named."""
    store = MemoryStore()
    it = await started(store)
    try:
        store.traefik.frozen = True
        start = now()
        adding = asyncio.create_task(it.add(route("ada"), 4 * PATIENCE))
        await asyncio.sleep(0.1)
        block()
        with pytest.raises(RouteNotReadyError, match="was blocked for 2 s"):
            await adding
        assert now() - start >= BLOCKED + 3 * PATIENCE
    finally:
        await it.aclose()


@on_a_clock
async def test_an_answer_that_could_not_be_read_in_time_is_asked_for_again(caplog: pytest.LogCaptureFixture) -> None:
    """Traefik is not said to be away."""
    caplog.set_level(logging.WARNING)

    class Impatient(MemoryTraefik):
        async def revision(self) -> int | None:
            asked = now()
            await asyncio.sleep(0.01)
            if now() - asked > BLOCKED / 2:
                raise TraefikError("Traefik did not answer.")
            return await super().revision()

    store = MemoryStore()
    store.traefik = Impatient(store)
    it = await started(store)
    try:
        looks = [asyncio.create_task(it.add(route(f"u{number}"), 5)) for number in range(3)]
        await asyncio.sleep(0.005)
        block()
        await asyncio.gather(*looks)
        await it.add(route("ada"), 5)
        assert caplog.messages == []
    finally:
        await it.aclose()


def test_only_a_loop_that_stands_still_loses_time() -> None:
    """One that has nothing to do, or waits, does not; on a clock of its own."""
    loop = ClockLoop()

    async def scene() -> None:
        stalls = LoopStalls()
        stalls.start()
        done = loop.create_future()
        assert await stalls.wait(done, 60) == 0
        start = loop.time()
        waiting = asyncio.create_task(stalls.wait(done, 60))
        await asyncio.sleep(10)
        loop.pass_time(100)
        assert 99 <= stalls.lost <= 100
        assert 99 <= await waiting <= 100
        assert 159 <= loop.time() - start <= 160
        assert await stalls.wait(done, 1) == 0
        stalls.aclose()

    try:
        loop.run(scene())
    finally:
        loop.close_all()

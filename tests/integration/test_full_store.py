"""Stores that can be read and take no changes for a while: what the hub does meanwhile, and what it says."""

from __future__ import annotations

import asyncio
import logging

import pytest

from kvproxy.errors import RouteNotReadyError, StoreUnavailableError, StoreWriteRefusedError
from kvproxy.testing.clock import on_a_clock
from kvproxy.testing.memory import MemoryStore

from .test_reconciler import SOON, key, route, running, until

FULL = StoreWriteRefusedError("The memory is full; give it more.")


@on_a_clock
async def test_a_route_waits_for_a_store_that_is_full_and_is_served_then(caplog: pytest.LogCaptureFixture) -> None:
    """It is told once, and that it is over when something has been written, not when something was read."""
    caplog.set_level(logging.INFO)
    store = MemoryStore()
    async with running(store, interval=0.01) as reconciler:
        await reconciler.add(route("ada"), SOON)
        store.refusal = FULL
        adding = asyncio.create_task(reconciler.add(route("bob"), SOON))
        await until(lambda: "is full" in caplog.text)
        reads = store.reads
        await reconciler.all(SOON)
        await until(lambda: store.reads > reads + 1)
        assert not adding.done()
        assert "answers again" not in caplog.text
        store.refusal = None
        await adding
    assert caplog.text.count("is full") == caplog.text.count("all changes that were waiting have been made") == 1


@on_a_clock
async def test_a_route_that_waits_in_vain_is_told_what_the_store_says_and_the_outage_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nothing is left to be written when it has been taken back, and the store is as full as before."""
    caplog.set_level(logging.INFO)
    store = MemoryStore()
    async with running(store, interval=0.01) as reconciler:
        store.refusal = FULL
        for name in ("ada", "bob"):
            with pytest.raises(RouteNotReadyError, match="The memory is full; give it more"):
                await reconciler.add(route(name), 0.3)
            await reconciler.all(SOON)
        store.refusal = None
        await reconciler.add(route("cyd"), SOON)
    assert caplog.text.count("ERROR") == 1
    assert caplog.text.count("answers again") == 1


@on_a_clock
async def test_a_hub_starts_on_a_full_store_and_serves_what_is_there(caplog: pytest.LogCaptureFixture) -> None:
    """With another set-up to be written; that happens as soon as the store takes it."""
    store = MemoryStore()
    async with running(store, place="here") as reconciler:
        await reconciler.add(route("ada"), SOON)
    store.refusal = FULL
    async with running(store, place="here", setup={"http": {"middlewares": {"new": {"x": {"y": "z"}}}}}) as reconciler:
        assert reconciler.get(key("ada")) is not None
        assert set(await reconciler.all(SOON)) == {key("ada")}
        with pytest.raises(RouteNotReadyError, match="is full"):
            await reconciler.add(route("bob"), 0.3)
        store.refusal = None
        await reconciler.add(route("bob"), SOON)
        assert store.config["http/middlewares/new/x/y"] == "z"
    assert caplog.text.count("is full") == 1


@on_a_clock
async def test_a_hub_does_not_start_on_a_full_store_that_is_empty() -> None:
    """There is no API of Traefik's in it, so nothing would work."""
    store = MemoryStore()
    store.refusal = FULL
    with pytest.raises(StoreWriteRefusedError):
        async with running(store, place="here"):
            pass


@on_a_clock
async def test_a_store_that_was_only_away_answers_again_when_it_is_read(caplog: pytest.LogCaptureFixture) -> None:
    """No changes were waiting, and none are said to have been made."""
    caplog.set_level(logging.INFO)
    store = MemoryStore()
    async with running(store, interval=0.01):
        store.failure = StoreUnavailableError("The memory cannot be reached.")
        await until(lambda: "cannot be reached" in caplog.text)
        store.failure = None
        await until(lambda: "The store answers again." in caplog.text)
    assert "have been made" not in caplog.text


@on_a_clock
async def test_a_route_that_the_silent_store_has_not_taken_is_not_blamed_on_traefik() -> None:
    """Traefik has nothing to do with it as long as the store does not answer."""
    store = MemoryStore()
    never = asyncio.Event()

    async def silent(_: object) -> None:
        await never.wait()

    async with running(store) as reconciler:
        store.apply = silent  # type: ignore[method-assign]
        with pytest.raises(RouteNotReadyError, match="The store has not answered the request yet"):
            await reconciler.add(route("ada"), 0.3)
        never.set()

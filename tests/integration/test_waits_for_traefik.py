"""Work on the store that waits for Traefik is done as soon as Traefik has caught up, without probes of the store."""

from __future__ import annotations

import asyncio

from kvproxy.errors import TraefikError
from kvproxy.routing.names import ALONE
from kvproxy.testing.clock import on_a_clock
from kvproxy.testing.conformance.proxy_tree import groups_in
from kvproxy.testing.memory import MemoryStore, MemoryTraefik

from .test_reconciler import SOON, key, route, running, until

#: Seconds that Traefik takes to load the store.
RELOAD = 1.0
#: Seconds that one takes for an answer.
ANSWER = 0.01


class SlowTraefik(MemoryTraefik):
    """Begins to use what it has read some time after it was notified."""

    _used = 0

    def wake(self) -> None:
        self.reloads += 1
        asyncio.get_running_loop().call_later(RELOAD, self._use, self.reloads, dict(self._store.config))

    def _use(self, reload: int, config: dict[str, str]) -> None:
        # Timers of the same time may come in any order.
        if reload > self._used:
            self._used, self._loaded = reload, config


class ThoughtfulTraefik(MemoryTraefik):
    """Takes its time for an answer."""

    async def revision(self) -> int | None:
        await asyncio.sleep(ANSWER)
        return await super().revision()


class HalfReadingTraefik(MemoryTraefik):
    """Has listed the keys before a commit, reads their values after it, and misses its notification."""

    half = False

    def wake(self) -> None:
        before = self._loaded
        super().wake()
        if self.half:
            self.half, self._loaded = False, {key: self._loaded[key] for key in before}


def slow_store() -> MemoryStore:
    """A store with such a Traefik."""
    store = MemoryStore()
    store.traefik = SlowTraefik(store)
    return store


@on_a_clock
async def test_a_route_that_was_held_back_is_written_when_traefik_has_caught_up() -> None:
    """It comes one reload later, not more."""
    store, loop = slow_store(), asyncio.get_running_loop()
    async with running(store, interval=0) as it:
        await it.add(route("ada"), SOON)
        first = asyncio.create_task(it.add(route("bob"), SOON))
        await asyncio.sleep(RELOAD / 2)
        second, start = asyncio.create_task(it.add(route("eve"), SOON)), loop.time()
        await asyncio.sleep(RELOAD / 4)
        assert key("eve") not in store.records
        await asyncio.gather(first, second)
        assert loop.time() - start < 2 * RELOAD


@on_a_clock
async def test_traefik_is_notified_of_a_deletion_that_it_may_have_missed() -> None:
    """One that was written while it was loading an earlier change."""
    store = slow_store()
    async with running(store, interval=0) as it:
        await it.add(route("ada"), SOON)
        adding = asyncio.create_task(it.add(route("bob"), SOON))
        await asyncio.sleep(RELOAD / 2)
        await it.delete(key("ada"), SOON)
        await adding
        await asyncio.sleep(2 * RELOAD)
        assert await store.traefik.router(ALONE.route(key("ada"))) is None


@on_a_clock
async def test_groups_are_made_when_traefik_was_replaced_by_a_newer_one() -> None:
    """The older one could not read them."""
    store = MemoryStore()
    store.traefik.release = "3.5.4"
    await fill_flat(store)
    async with running(store, interval=0) as it:
        await until(lambda: it.followed_since(0))
        await asyncio.sleep(SOON)
        assert groups_in(store.config) == 0
        store.traefik.failure = TraefikError("Traefik is being replaced.")
        await until(lambda: not it.answers)
        await asyncio.sleep(SOON)
        store.traefik.failure, store.traefik.release = None, "3.7.15"
        await until(lambda: groups_in(store.config) > 0)


@on_a_clock
async def test_traefik_is_asked_again_at_once_if_that_was_wanted_while_it_was_asked() -> None:
    """As by many logins at the same time."""
    store, loop = MemoryStore(), asyncio.get_running_loop()
    store.traefik = ThoughtfulTraefik(store)
    async with running(store) as it:
        await it.add(route("ada"), SOON)
        await asyncio.sleep(3 * SOON)
        start, first = loop.time(), asyncio.create_task(it.look())
        await asyncio.sleep(ANSWER / 2)
        await it.look()
        assert first.done()
        assert loop.time() - start < 4 * ANSWER


@on_a_clock
async def test_a_route_of_which_traefik_has_read_only_the_revision_is_read_again() -> None:
    """Otherwise it would be there only after the next change."""
    store = MemoryStore()
    store.traefik = traefik = HalfReadingTraefik(store)
    async with running(store, interval=0) as it:
        await it.add(route("ada"), SOON)
        traefik.half = True
        await it.add(route("bob"), SOON)
        assert not traefik.half
        assert await traefik.router(ALONE.route(key("bob"))) is not None


async def fill_flat(store: MemoryStore) -> None:
    """Routes enough for groups."""
    async with running(store) as it:
        await asyncio.gather(*(it.add(route(f"student{n:05d}"), SOON) for n in range(300)))

"""Two hubs on the same roots notice each other, on a clock of our own."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from kvproxy.errors import OwnershipError
from kvproxy.reconcile import leader as tenure
from kvproxy.reconcile.lease import Lease, decode, must_yield
from kvproxy.reconcile.reconciler import Reconciler
from kvproxy.routing.entry import SETUP
from kvproxy.routing.route import Route, make_route
from kvproxy.testing.clock import ClockLoop
from kvproxy.testing.memory import MemoryServer, MemoryStore

LOG = logging.getLogger("test")
PLACE = "below 'traefik' and 'jupyterhub'"
SOON = 5.0


def route(name: str) -> Route:
    """A user's route."""
    return make_route(f"/user/{name}/", "http://127.0.0.1:1", {})


class Site:
    """One store and as many hubs as are made."""

    def __init__(self) -> None:
        self.server = MemoryServer()
        self.stores: list[MemoryStore] = []

    def hub(self) -> Reconciler:
        """A further hub."""
        self.stores.append(self.server.open("traefik", "jupyterhub"))
        return Reconciler(self.stores[-1], self.stores[-1].traefik, log=LOG, place=PLACE)

    def records(self) -> set[str]:
        """The routes in the store."""
        return {key for key in self.stores[0].records if key != SETUP}


def play(scene: Callable[[Site], Awaitable[None]]) -> None:
    """Play a scene on a clock of its own."""
    loop = ClockLoop()
    try:
        loop.run(scene(Site()))  # type: ignore[arg-type]
    finally:
        loop.close_all()


def answer_late(store: MemoryStore) -> None:
    """Let others go on between what a store found and its answer."""
    claimed = store.read_lease

    async def late() -> str | None:
        found = await claimed()
        await asyncio.sleep(0.01)
        return found

    store.read_lease = late  # type: ignore[method-assign]


def test_a_second_hub_on_the_same_roots_does_not_start() -> None:
    """And the first goes on as if nothing had been; when it has stopped, the second need not wait."""

    async def scene(site: Site) -> None:
        first, second = site.hub(), site.hub()
        await first.start()
        await first.add(route("ada"), SOON)
        with pytest.raises(OwnershipError, match=r"Another hub \(process \d+ on .*\) is using the routes below"):
            await second.start()
        await first.add(route("bob"), SOON)
        assert site.records() == {"/user/ada/", "/user/bob/"}
        await first.aclose()
        now = asyncio.get_running_loop().time()
        await second.start()
        assert asyncio.get_running_loop().time() - now < 0.1
        assert set(await second.all(SOON)) == {"/user/ada/", "/user/bob/"}
        await second.aclose()

    play(scene)


def test_a_hub_takes_over_from_one_that_has_gone_silent_which_then_writes_no_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As one on a machine that was held up and goes on later; when the other has stopped, it is at work again."""

    async def scene(site: Site) -> None:
        first, second = site.hub(), site.hub()
        await first.start()
        await first.add(route("ada"), SOON)
        held_up = first._tasks[0]
        held_up.cancel()
        await second.start()
        await second.add(route("bob"), SOON)
        first._tasks[0] = asyncio.create_task(first._store_loop.run())
        with pytest.raises(OwnershipError, match="has taken over"):
            await first.add(route("eve"), SOON)
        with pytest.raises(OwnershipError, match="has taken over"):
            await first.all(SOON)
        await asyncio.sleep(60)
        await second.add(route("joe"), SOON)
        assert site.records() == {"/user/ada/", "/user/bob/", "/user/joe/"}
        assert sum("has taken over" in message for message in caplog.messages) == 1
        await second.aclose()
        await asyncio.sleep(SOON)
        await first.add(route("eve"), SOON)
        await first.aclose()

    play(scene)


def test_of_two_that_start_at_once_one_remains() -> None:
    """Both find no lease; each sees the other a beat later."""

    async def scene(site: Site) -> None:
        hubs = [site.hub(), site.hub()]
        for store in site.stores:
            answer_late(store)
        await asyncio.gather(*(hub.start() for hub in hubs))
        await asyncio.sleep(60)
        added = await asyncio.gather(
            *(hub.add(route(f"u{number}"), SOON) for number, hub in enumerate(hubs)), return_exceptions=True
        )
        assert sorted(type(outcome).__name__ for outcome in added) == ["NoneType", "OwnershipError"]
        await asyncio.gather(*(hub.aclose() for hub in hubs))

    play(scene)


def test_a_process_of_this_machine_that_has_ended_is_not_waited_for() -> None:
    """Nor is another one that has its number now."""
    claim = tenure.new_lease()
    assert not tenure.is_dead(claim)
    assert tenure.is_dead(replace(claim, born="1.0"))
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    assert tenure.is_dead(replace(claim, pid=ended.pid))
    assert not tenure.is_dead(replace(claim, pid=ended.pid, machine="another"))


def test_an_invalid_lease_decodes_to_none() -> None:
    """With any text there."""
    claim = tenure.new_lease()
    assert decode(claim.encode()) == claim
    wrong = [None, "", "{", "[]", "1", '{"instance": 1}', claim.encode().replace('"term":1', '"term":"1"')]
    assert [decode(text) for text in wrong] == [None] * len(wrong)


def test_the_higher_term_remains() -> None:
    """Of two equal ones, one of both."""
    one, two = tenure.new_lease(), tenure.new_lease()
    assert must_yield(one, two) != must_yield(two, one)
    later: Lease = two.after(one)
    assert must_yield(one, later)
    assert not must_yield(later, one)
    assert not must_yield(one, one.next())
    assert not must_yield(one, None)

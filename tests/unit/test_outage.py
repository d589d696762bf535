"""What is logged while a store is away, and when it is tried again."""

from __future__ import annotations

import asyncio
import logging

import pytest

from kvproxy.errors import StoreChanged, StoreUnavailable
from kvproxy.observing import Observer
from kvproxy.outage import Outage
from kvproxy.testing.memory import MemoryStore

LOG = logging.getLogger(__name__)


class Telling(MemoryStore):
    """Can tell whether it is away; keeps count of how often it was asked."""

    def __init__(self, *away: bool) -> None:
        super().__init__()
        self.said = list(away)
        self.asked = 0

    async def away(self) -> bool:
        self.asked += 1
        return self.said.pop(0) if self.said else False


class Leaky(MemoryStore):
    """Its author has forgotten an exception."""

    async def away(self) -> bool:
        raise OSError("nobody caught this")


async def seconds_of(outage: Outage) -> float:
    """How long it waits."""
    begin = asyncio.get_running_loop().time()
    await outage.wait()
    return asyncio.get_running_loop().time() - begin


async def test_it_is_tried_more_and_more_rarely_until_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the tenth of a second to two seconds; the next outage begins anew."""
    slept: list[float] = []
    now = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        slept.append(round(seconds, 6))
        now += seconds

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
    outage = Outage(MemoryStore(), Observer(), LOG)
    for _ in range(7):
        await outage.wait()
    assert slept == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    outage.over()
    await outage.wait()
    assert slept[-1] == 0.1


async def test_a_store_that_is_seen_to_be_back_is_tried_at_once() -> None:
    """However long the pause has become."""
    outage = Outage(store := Telling(*[True] * 9), Observer(), LOG)
    for _ in range(3):
        await outage.wait()
    assert store.said == []
    store.said = [True, True, False]
    before = store.asked
    assert await seconds_of(outage) < 0.7
    assert store.asked - before == 3


async def test_a_store_that_fails_though_it_is_there_is_not_pressed() -> None:
    """It is asked once whether it is away, and then left alone for the whole time."""
    outage = Outage(store := Telling(), Observer(), LOG)
    assert await seconds_of(outage) >= 0.09
    assert store.asked == 1


async def test_a_store_that_cannot_tell_is_waited_for_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    """A plugin's mistake neither ends the loop nor makes it spin."""
    assert await seconds_of(Outage(Leaky(), Observer(), LOG)) >= 0.09
    assert "leaked an error" in caplog.text
    assert "nobody caught this" in caplog.text


def test_each_outage_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Its beginning and its end; a store that is not as it was left is none."""
    caplog.set_level(logging.INFO)
    outage = Outage(MemoryStore(), Observer(), LOG)
    outage.failed(StoreChanged("It is not as it was left."))
    outage.over()
    assert caplog.text == ""
    for _ in range(3):
        outage.failed(StoreUnavailable("It is away."))
    assert outage.problem == "It is away."
    outage.over()
    assert [record.message for record in caplog.records] == [
        "It is away. Trying again.",
        "The store answers again; all changes that were waiting have been made.",
    ]
    assert outage.problem is None

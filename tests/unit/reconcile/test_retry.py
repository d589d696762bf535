"""The log while a store is unreachable, and the time of retries."""

from __future__ import annotations

import logging
from itertools import pairwise

import pytest

from kvproxy.errors import StoreChangedError, StoreUnavailableError
from kvproxy.reconcile.observer import Observer
from kvproxy.reconcile.retry import StoreRetry
from kvproxy.testing.clock import ClockLoop
from kvproxy.testing.memory import MemoryStore

LOG = logging.getLogger(__name__)


class Telling(MemoryStore):
    """Can tell whether it is away; keeps count of how often it was asked."""

    def __init__(self, *away: bool) -> None:
        super().__init__()
        self.said = list(away)
        self.asked = 0

    async def unreachable(self) -> bool:
        self.asked += 1
        return self.said.pop(0) if self.said else False


class Leaky(MemoryStore):
    """Its author has forgotten an exception."""

    async def unreachable(self) -> bool:
        raise OSError("nobody caught this")


def pauses(store: MemoryStore, times: int) -> list[float]:
    """The length of each of the waits, on a clock of its own."""
    loop = ClockLoop()

    async def scene() -> list[float]:
        outage, moments = StoreRetry(store, Observer(), LOG), [loop.time()]
        for _ in range(times):
            await outage.wait()
            moments.append(loop.time())
        outage.over()
        await outage.wait()
        assert loop.time() - moments[-1] == pytest.approx(0.1)
        return [after - before for before, after in pairwise(moments)]

    try:
        return loop.run(scene())
    finally:
        loop.close_all()


def test_it_is_tried_more_and_more_rarely_until_it_works() -> None:
    """From the tenth of a second to two seconds; the next outage starts over."""
    assert pauses(MemoryStore(), 7) == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0])


def test_a_store_that_is_seen_to_be_back_is_tried_at_once() -> None:
    """However long the pause has become."""
    store = Telling(*[False] * 5, True, True, False)
    assert pauses(store, 6) == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 0.04])
    assert store.said == []


def test_a_store_that_stays_away_is_tried_all_the_same() -> None:
    """Seen by such a look or not."""
    assert pauses(Telling(*[True] * 6), 1) == pytest.approx([0.1])


def test_a_store_that_fails_though_it_is_there_is_not_pressed() -> None:
    """It is asked once whether it is away, and then left alone for the whole time."""
    store = Telling()
    assert pauses(store, 1) == pytest.approx([0.1])
    assert store.asked == 2  # once before each of the two waits


def test_a_store_that_cannot_tell_is_waited_for_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    """A plugin's mistake neither ends the loop nor makes it spin."""
    assert pauses(Leaky(), 2) == pytest.approx([0.1, 0.2])
    assert "raised an error that is not a StoreError" in caplog.text
    assert "nobody caught this" in caplog.text


def test_each_outage_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Its beginning and its end; a store that is not as it was left is none."""
    caplog.set_level(logging.INFO)
    outage = StoreRetry(MemoryStore(), Observer(), LOG)
    outage.failed(StoreChangedError("It is not as it was left."))
    outage.over()
    assert caplog.text == ""
    for _ in range(3):
        outage.failed(StoreUnavailableError("It is away."))
    assert outage.problem == "It is away."
    outage.wrote()
    outage.over()
    assert [record.message for record in caplog.records] == [
        "It is away. Trying again.",
        "The store answers again; all changes that were waiting have been made.",
    ]
    assert outage.problem is None

"""Cancellation ends a call, though the client forgets it now and then."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest

from kvproxy.testing.clock import on_a_clock
from kvproxy_redis import standby
from kvproxy_redis.admission import Login
from kvproxy_redis.cancellation import all_of, insist
from kvproxy_redis.checks import Keys
from kvproxy_redis.connection import Connection
from kvproxy_redis.standby import Address, Standby


@on_a_clock
async def test_a_cancellation_that_is_lost_is_repeated() -> None:
    """As often as it takes."""
    lost = []

    async def work() -> None:
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                if len(lost) == 2:
                    raise
                lost.append(1)

    task = asyncio.create_task(insist(work()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 30)
    assert len(lost) == 2


async def test_a_cancelled_call_stays_cancelled_though_its_work_was_done() -> None:
    """A client that forgets a cancellation goes on to its end; its caller has gone elsewhere."""

    async def work() -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        return "done"

    task = asyncio.create_task(insist(work()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_result_is_returned_or_raised() -> None:
    """As without it."""

    async def good() -> int:
        return 7

    assert await insist(good()) == 7

    async def work() -> None:
        raise ValueError("no store")

    with pytest.raises(ValueError, match="no store"):
        await insist(work())


async def close_slowly(closed: list[int], turns: int) -> None:
    """Something that waits, and then takes some turns of the event loop to close what it has opened."""
    try:
        await asyncio.sleep(60)
    finally:
        for _ in range(turns):
            await asyncio.sleep(0)
        closed.append(turns)


async def test_several_calls_have_all_ended_when_they_are_cancelled() -> None:
    """Not only the first of them."""
    closed: list[int] = []
    task = asyncio.create_task(all_of(close_slowly(closed, turns) for turns in (0, 9, 3)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(closed) == [0, 3, 9]


async def test_several_calls_have_all_ended_when_one_fails() -> None:
    """Its error is raised, and the others are not waited for in vain."""
    closed: list[int] = []

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("no store")

    with pytest.raises(ValueError, match="no store"):
        await all_of([close_slowly(closed, 5), fail()])
    assert closed == [5]


async def test_several_calls_give_their_results_in_their_order() -> None:
    async def after(turns: int) -> int:
        for _ in range(turns):
            await asyncio.sleep(0)
        return turns

    assert await all_of(map(after, [5, 0, 2])) == [5, 0, 2]
    assert await all_of([]) == []


class Slow:
    """A client that gets no answer, and takes some turns of the event loop to close its connection."""

    def __init__(self, turns: int, closed: list[int]) -> None:
        self._turns, self._closed = turns, closed

    async def __aenter__(self) -> Slow:
        return self

    async def ping(self) -> None:
        await close_slowly(self._closed, self._turns)

    async def info(self, section: str) -> None:
        await close_slowly(self._closed, self._turns)

    async def __aexit__(self, *error: object) -> None:
        pass


@pytest.mark.parametrize("look", [Standby.attend, Standby.examine])
async def test_a_look_at_replicas_has_closed_all_connections_when_it_is_cancelled(
    look: Callable[[Standby, list[Address]], Awaitable[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub may end right after it."""
    closed: list[int] = []
    monkeypatch.setattr(standby, "connect", lambda connection, *_, **__: Slow(connection.port, closed))
    keys = Keys("traefik/", "jupyterhub/routes", "jupyterhub/fence", "channel")
    servers = [("127.0.0.1", port) for port in (1, 9, 3)]
    task = asyncio.ensure_future(look(Standby(Connection(), keys, Login("traefik", "a password")), servers))
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(closed) == [1, 3, 9]

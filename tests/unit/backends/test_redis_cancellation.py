"""Cancellation ends a call, though the client forgets it now and then."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from kvproxy.testing.clock import on_a_clock
from kvproxy_redis.cancellation import insist


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

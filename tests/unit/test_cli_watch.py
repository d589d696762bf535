"""What goes on until Ctrl-C ends at Ctrl-C."""

from __future__ import annotations

import asyncio

import pytest

from kvproxy.cli.routes_watch import insist


async def test_a_cancellation_that_is_lost_is_repeated() -> None:
    """As redis-py loses one now and then."""
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


async def test_what_goes_wrong_is_raised() -> None:
    """A store that cannot be read at first is an error of the command."""

    async def work() -> None:
        raise ValueError("no store")

    with pytest.raises(ValueError, match="no store"):
        await insist(work())

"""No connection to Redis is left open, wherever its task is cancelled."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Iterator

import pytest

from kvproxy.testing.servers import RedisServer
from kvproxy_redis.client import connect
from kvproxy_redis.connection import parse_connection
from kvproxy_redis.exposure import answers_strangers


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """A real one."""
    with RedisServer() as server:
        yield server


async def test_a_cancelled_call_leaves_no_connection_open(redis: RedisServer) -> None:
    """At any of the steps of the event loop that it takes."""
    connection, turns, done = parse_connection(redis.url), 0, False
    # Not the connections of earlier tests.
    gc.collect()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        while not done:
            task = asyncio.create_task(answers_strangers(connection))
            for _ in range(turns):
                await asyncio.sleep(0)
            done = task.done()
            task.cancel()
            await asyncio.wait([task])
            turns += 1
        gc.collect()
    assert turns > 10
    assert [str(warning.message) for warning in caught] == []
    async with connect(connection) as client:
        assert len(await client.client_list()) == 1

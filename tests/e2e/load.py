"""Requests without a pause, so that a test can say that users noticed nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping

from kvproxy.proxy import KVTraefikProxy
from kvproxy.testing.servers.named import Doors, RawClient, port_of

_CLIENTS = 3
_ROUTES = 20
_ENOUGH = 100  # requests, without which a test would show nothing
_PAUSE = 0.002  # seconds, so that others can work on two cores, too


class Load:
    """Asks for routes without a pause to speak of, and keeps what was not as it should be.

    Args:
        clients: connections to the proxy.
        expected: path -> body.
    """

    def __init__(self, clients: list[RawClient], expected: Mapping[str, str]) -> None:
        self._clients, self._expected = clients, expected
        self._ended = False
        self.requests = 0
        self.failures: list[object] = []

    async def _ask(self, client: RawClient) -> None:
        while not self._ended:
            for path, body in self._expected.items():
                try:
                    answer = await client.ask(path)
                except (OSError, EOFError, asyncio.TimeoutError) as error:
                    self.failures.append(error)
                    await client.close()
                else:
                    self.failures += [] if answer == (200, body) else [(path, answer)]
                self.requests += 1
                await asyncio.sleep(_PAUSE)

    async def __aenter__(self) -> Load:
        self._tasks = [asyncio.create_task(self._ask(client)) for client in self._clients]
        return self

    async def __aexit__(self, *_: object) -> None:
        # Not by cancelling them, which asyncio.wait_for may swallow (Python before 3.12).
        self._ended = True
        await asyncio.gather(*self._tasks)


@contextlib.asynccontextmanager
async def under_load(proxy: KVTraefikProxy, doors: Doors, client_of: Callable[..., RawClient]) -> AsyncIterator[str]:
    """Routes that are asked for all the time, without a failure; gives back where they lead."""
    target = await doors.open()
    paths = [f"/user/u{number}/" for number in range(_ROUTES)]
    await asyncio.gather(*(proxy.add_route(path, target, {}) for path in paths))
    async with Load([client_of(proxy) for _ in range(_CLIENTS)], dict.fromkeys(paths, port_of(target))) as load:
        yield target
        while load.requests <= _ENOUGH:
            await asyncio.sleep(_PAUSE)
    assert load.failures == []
    assert set(paths) <= set(await proxy.get_all_routes())

"""Users at work: requests and a websocket on routes that are there, each answer checked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import aiohttp

from kvproxy.testing.servers.named import RawClient

_PAUSE = 0.01  # seconds between two requests of a client: the machine has other work to do
_RETRY = 0.05  # seconds until a broken websocket is reopened
_PATIENCE = 10.0  # seconds for a message to come back
_KEPT = 3  # failures that are kept as examples


@dataclass
class Tally:
    """Outcomes of requests. Times are seconds of `time.monotonic`."""

    sent: int = 0
    failed: int = 0
    longest: float = 0.0
    examples: list[str] = field(default_factory=list)
    #: When those that failed began and ended, and what was wrong.
    failures: list[tuple[float, float, str]] = field(default_factory=list)

    def note(self, begin: float, problem: str) -> None:
        """Count a request that began then; problem: what was wrong with its answer, empty if nothing."""
        now = time.monotonic()
        self.sent += 1
        self.longest = max(self.longest, now - begin)
        if problem:
            self.failed += 1
            self.failures.append((begin, now, problem))
            self.examples = [*self.examples, problem][:_KEPT]

    @property
    def noticed(self) -> float:
        """Seconds from the first request that failed to the last one."""
        return self.failures[-1][1] - self.failures[0][0] if self.failures else 0.0


class Load:
    """Clients that ask for the same routes all the time, as long as the block runs.

    port: of the proxy. expected: path -> what answers there. clients: requests under way at once.
    """

    def __init__(self, port: int, expected: Mapping[str, str], clients: int = 3):
        self.tally = Tally()
        self._clients = [RawClient(port) for _ in range(clients)]
        self._expected = list(expected.items())
        self._over = False
        self._next = 0

    async def __aenter__(self) -> Load:
        clients = self._clients if self._expected else []
        self._tasks = [asyncio.create_task(self._ask(client)) for client in clients]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._over = True
        await asyncio.gather(*self._tasks)
        for client in self._clients:
            await client.close()

    async def a_round(self) -> None:
        """Until every route has been asked for once more, by requests that began after this."""
        wanted = self._next + len(self._expected) + len(self._clients)
        while self._expected and self._next < wanted:
            await asyncio.sleep(_PAUSE)

    async def _ask(self, client: RawClient) -> None:
        while not self._over:
            path, wanted = self._expected[self._next % len(self._expected)]
            self._next += 1
            begin = time.monotonic()
            self.tally.note(begin, await _problem(client, path, wanted))
            await asyncio.sleep(_PAUSE)


async def _problem(client: RawClient, path: str, wanted: str) -> str:
    try:
        status, body = await client.ask(path)
    except (OSError, EOFError, asyncio.TimeoutError) as error:
        await client.close()
        return f"{path}: {type(error).__name__}"
    return "" if (status, body) == (200, wanted) else f"{path}: {status} {body[:40].strip()}"


class OpenSocket:
    """A websocket that a user's notebook holds open, with a message to and fro all the time.

    url: where; whatever is there sends each message back.
    """

    def __init__(self, url: str):
        self.tally = Tally()
        self._url = url

    async def __aenter__(self) -> OpenSocket:
        self._session = aiohttp.ClientSession()
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._session.close()

    async def _run(self) -> None:
        while True:
            begin = time.monotonic()
            try:
                async with self._session.ws_connect(self._url) as socket:
                    await self._talk(socket)
            except (aiohttp.ClientError, OSError, TypeError, asyncio.TimeoutError) as error:
                # TypeError: the connection was closed instead of answered.
                self.tally.note(begin, f"websocket: {type(error).__name__}")
            await asyncio.sleep(_RETRY)

    async def _talk(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            begin = time.monotonic()
            await socket.send_str("x")
            await socket.receive_str(timeout=_PATIENCE)
            self.tally.note(begin, "")
            await asyncio.sleep(_PAUSE)

"""A server behind the proxy that records what it receives and answers byte for byte as a case says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from .http1 import LIMIT, Message, read_body, read_head

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"


class Talk:
    """One connection to the server.

    number: 0 for the first connection, 1 for the second …
    """

    def __init__(self, backend: Backend, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.backend = backend
        self.number = number
        self.reader = reader
        self.writer = writer

    async def head(self) -> Message | None:
        """The next request's head, None if the connection ends instead; it is recorded."""
        message = await read_head(self.reader)
        if message is not None:
            self.backend.requests.append(message)
        return message

    async def request(self) -> Message | None:
        """The next request with its body."""
        message = await self.head()
        if message is not None:
            await read_body(self.reader, message, until_end=False)
        return message

    async def send(self, *pieces: bytes) -> None:
        """Send pieces, each of them at once."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def gone(self) -> None:
        """Wait until the other side has closed the connection, and note it."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65536):
                pass
        self.backend.left.set()


Behaviour = Callable[[Talk], Awaitable[None]]


def answering(answer: bytes = OK) -> Behaviour:
    """Answers each request, once it is there with its body; closes the connection after an answer without a length."""
    head = answer.partition(b"\r\n\r\n")[0].lower()
    ends = (b"content-length" not in head and b"chunked" not in head) or b"connection: close" in head

    async def behave(talk: Talk) -> None:
        while await talk.request():
            await talk.send(answer)
            if ends:
                return

    return behave


class Backend:
    """The server of one case.

    Args:
        behave: what it does with each connection, which is closed when that returns.
    """

    def __init__(self, behave: Behaviour):
        self._behave = behave
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._count = 0
        #: All that was received, in the order of the heads' arrival.
        self.requests: list[Message] = []
        #: Messages between the case's two sides.
        self.go_on = asyncio.Event()
        self.left = asyncio.Event()
        self.received = b""

    async def open(self) -> str:
        """Listen on a free port; the server's URL."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=LIMIT)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Close the port and all connections."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._count += 1
        try:
            await self._behave(Talk(self, self._count - 1, reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # as the proxy likes
        finally:
            writer.close()

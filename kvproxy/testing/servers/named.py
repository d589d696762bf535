"""Servers that say which one they are, and a client that sends a path byte for byte."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from kvproxy.testing.servers.programs import within

#: Turns of the event loop in which an accepted connection has come to its handler.
_TURNS: Final = 5


class Doors:
    """Many servers in one: each port answers with its own number, whatever it is asked."""

    def __init__(self) -> None:
        self._servers: list[asyncio.Server] = []
        self._writers: set[asyncio.StreamWriter] = set()

    async def open(self) -> str:
        """A new server on 127.0.0.1 and a free port; gives back its URL."""
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self._servers.append(server)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Close all of them, and their connections."""
        for server in self._servers:
            server.close()
        # A connection that was just accepted is among the writers some turns of the loop later.
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        for writer in list(self._writers):
            writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        port = str(writer.get_extra_info("sockname")[1]).encode()
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(port), port))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()


class RawClient:
    """One kept-alive connection to a proxy; sends a path byte for byte, which HTTP libraries do not.

    Args:
        port: the proxy's public port on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, path: str, host: str = "127.0.0.1") -> tuple[int, str]:
        """Status and body of the answer to GET."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(b"GET %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (path.encode(), host.encode()))
        head = (await within(reader.readuntil(b"\r\n\r\n"), 10)).decode("latin-1").lower()
        length = int(head.partition("content-length: ")[2].partition("\r")[0] or 0)
        body = (await reader.readexactly(length)).decode()
        if "connection: close" in head:
            await self.close()
        return int(head.split()[1]), body

    async def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def port_of(url: str) -> str:
    """Return the answer of the server with this URL."""
    return url.rstrip("/").rpartition(":")[2]

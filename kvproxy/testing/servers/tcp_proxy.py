"""A TCP proxy on loopback whose network can be made bad while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Final, cast

from kvproxy.testing.servers.loops import LoopThread
from kvproxy.testing.servers.ports import free_port

#: Bytes that one direction of a connection holds before it stops reading.
_HELD: Final = 1 << 18

#: Bytes that are sent at once where the bandwidth is limited.
_PIECE: Final = 1 << 14

#: Seconds in which closed connections have to be gone.
_FAREWELL: Final = 5.0


class TcpProxy:
    """Passes the bytes of connections on a port of 127.0.0.1 to another port there, as badly as it is told to.

    Faults may be set, changed and ended at any time and from any thread, and hold for the connections that are open
    too. Bytes are never lost within a stream that goes on, as with TCP: a direction either brings all of them, in
    order, or nothing any more.

    Args:
        target_port: where the server listens.
        tls: if given, clients speak TLS, which ends here; the server is reached without it.

    Attributes:
        port: where clients come to.
        latency: seconds that a byte takes longer, in each direction.
        bandwidth: bytes a second in each direction of one connection; 0 for no limit.
    """

    def __init__(self, target_port: int, *, tls: ssl.SSLContext | None = None) -> None:
        self.target_port = target_port
        self.port = free_port()
        self.latency = 0.0
        self.bandwidth = 0
        self._silent = False
        self._tls = tls
        self._thread: LoopThread | None = None
        self._server: asyncio.Server | None = None
        self._sides: set[_Side] = set()
        self._waiting: set[asyncio.Task[None]] = set()

    @property
    def silent(self) -> bool:
        """True if connections are taken and every byte is held back until this is False again."""
        return self._silent

    @silent.setter
    def silent(self, silent: bool) -> None:
        self._silent = silent
        self._in_loop(self._go_on)

    @property
    def connections(self) -> int:
        """The number of connected clients."""
        return sum(side.is_client for side in tuple(self._sides))

    def start(self) -> TcpProxy:
        """Listen; on the same port again if it ran before. Raises OSError if another program listens there."""
        self._thread = LoopThread("tcp-proxy")
        self.accept()
        return self

    def stop(self) -> None:
        """Close the port and all connections; nothing happens if it does not run."""
        if self._thread is not None:
            self.refuse()
            self._thread.stop()
            self._thread = None

    def accept(self) -> None:
        """Listen again after `refuse`."""
        if self._thread is not None and self._server is None:
            self._server = self._thread.run(self._listen())

    def refuse(self) -> None:
        """Reset all connections and refuse new ones, as a host does on which the server does not run."""
        self._in_loop(self._close_port)
        self.reset()

    def reset(self) -> None:
        """End all connections at once by a reset (RST); returns when they are gone. New ones are taken."""
        if self._thread is not None:
            self._thread.run(self._reset())

    def forget(self, *, answers_only: bool = False) -> None:
        """Pass nothing any more on the connections that are open and leave them open; new ones work.

        So does a firewall or a proxy between that has lost its table of connections.

        Args:
            answers_only: whether what clients say still arrives.
        """
        self._in_loop(self._forget, answers_only)

    def heal(self) -> None:
        """End all faults; what was forgotten stays so."""
        self.latency, self.bandwidth, self.silent = 0.0, 0, False
        self.accept()

    def __enter__(self) -> TcpProxy:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _in_loop(self, work: Callable[..., None], *arguments: object) -> None:
        if self._thread is not None:
            self._thread.run(_called(work, *arguments))

    async def _listen(self) -> asyncio.Server:
        return await asyncio.get_running_loop().create_server(lambda: _Side(self, None), "127.0.0.1", self.port)

    def _close_port(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _go_on(self) -> None:
        for side in tuple(self._sides):
            side.send_on()

    def _forget(self, answers_only: bool) -> None:
        for side in self._sides:
            side.forgotten = side.forgotten or side.is_client or not answers_only

    async def _reset(self) -> None:
        waiting = tuple(self._waiting)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        ending = tuple(self._sides)
        for side in ending:
            side.reset()
        await asyncio.wait_for(asyncio.gather(*(side.gone for side in ending)), _FAREWELL)

    def _opened(self, side: _Side) -> None:
        self._sides.add(side)
        if side.is_client:
            task = asyncio.ensure_future(self._connect(side, _Side(self, side)))
            self._waiting.add(task)
            task.add_done_callback(self._waiting.discard)

    async def _connect(self, client: _Side, server: _Side) -> None:
        loop = asyncio.get_running_loop()
        try:
            if self._tls is not None:
                await client.secure(self._tls)
            await loop.create_connection(lambda: server, "127.0.0.1", self.target_port)
        except OSError:
            client.end()
            # Where TLS failed, Python 3.10 does not say so.
            client.connection_lost(None)


async def _called(work: Callable[..., None], *arguments: object) -> None:
    work(*arguments)


class _Side(asyncio.Protocol):
    """One end of a connection: what the other one has read waits here until it is due.

    Args:
        proxy: whose connection it is.
        client: the end that it was opened for; None if it is the client.
    """

    def __init__(self, proxy: TcpProxy, client: _Side | None) -> None:
        self.is_client = client is None
        self.forgotten = False
        self.gone = asyncio.get_running_loop().create_future()
        self._proxy = proxy
        self._other = client
        self._transport: asyncio.Transport | None = None
        self._due: deque[tuple[float, bytes]] = deque()
        self._held = 0
        self._other_is_gone = False
        self._full = False
        self._free_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        if client is not None:
            client._other = self

    async def secure(self, context: ssl.SSLContext) -> None:
        """Speak TLS from now on; raises OSError where it fails."""
        assert self._transport is not None
        loop = asyncio.get_running_loop()
        secure = await loop.start_tls(self._transport, self, context, server_side=True)
        if secure is None:
            raise ConnectionAbortedError
        self._transport = secure

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._proxy._opened(self)
        self.send_on()

    def data_received(self, data: bytes) -> None:
        if self._other is not None:
            self._other._take(data)

    def eof_received(self) -> bool:
        if self._other is not None:
            self._other._take(b"")
        return self._proxy._tls is None

    def connection_lost(self, error: Exception | None) -> None:
        if self.gone.done():
            return
        if self._timer is not None:
            self._timer.cancel()
        if self._other is not None:
            self._other._other_is_gone = True
            self._other._take(b"")
        self._proxy._sides.discard(self)
        self.gone.set_result(None)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self.send_on()

    def _take(self, data: bytes) -> None:
        """Hold what is to be sent to this end; nothing where the other has ended."""
        if self.forgotten:
            return
        self._due.append((asyncio.get_running_loop().time() + self._proxy.latency, data))
        self._held += len(data)
        if self._held > _HELD and self._other is not None:
            self._other._read(False)
        self.send_on()

    def send_on(self) -> None:
        """Send what is due, and come back when more is."""
        loop, proxy = asyncio.get_running_loop(), self._proxy
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._due and self._can_write():
            due, data = self._due.popleft()
            if (at := max(due, self._free_at)) > loop.time():
                self._due.appendleft((due, data))
                self._timer = loop.call_at(at, self.send_on)
                return
            if proxy.bandwidth:
                if rest := data[_PIECE:]:
                    self._due.appendleft((due, rest))
                    data = data[:_PIECE]
                self._free_at = loop.time() + len(data) / proxy.bandwidth
            self._write(data)
        if self._held <= _HELD // 2 and self._other is not None:
            self._other._read(True)

    def _can_write(self) -> bool:
        if self._transport is None or self._transport.is_closing():
            return False
        return not (self.forgotten or self._full or self._proxy.silent)

    def _write(self, data: bytes) -> None:
        assert self._transport is not None
        self._held -= len(data)
        if data:
            self._transport.write(data)
        elif (self._other_is_gone and not self._due) or not self._transport.can_write_eof():
            self._transport.close()
        else:
            self._transport.write_eof()

    def _read(self, more: bool) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if more:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def end(self) -> None:
        """End the connection without waiting for what was not sent."""
        if self._transport is not None:
            self._transport.abort()

    def reset(self) -> None:
        """End the connection by a reset."""
        assert self._transport is not None
        sock = self._transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.end()

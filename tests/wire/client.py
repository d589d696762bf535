"""The client before the proxy: bytes out, bytes in."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field

from .backend import Backend
from .http1 import LIMIT, Message, read_body, read_head

#: Seconds that count as "at once" on a machine with much to do.
AT_ONCE = 6.0


class Link:
    """One connection to the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.reader = reader
        self.writer = writer

    async def send(self, *pieces: bytes) -> None:
        """Send pieces, each of them at once. A proxy that has closed the connection does not mind."""
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                self.writer.write(piece)
                await self.writer.drain()

    async def head(self) -> Message:
        """The next answer's head; answers below 200 but 101 are kept in it.

        A connection that ends instead is the answer "closed".
        """
        early = []
        while True:
            message = await read_head(self.reader) or Message("closed", whole=False)
            if not message.status.startswith("1") or message.status == "101":
                message.early = early
                return message
            early.append(message)

    async def answer(self, method: str = "GET") -> Message:
        """The next answer with its body."""
        message = await self.head()
        if message.first != "closed" and method != "HEAD" and message.status not in {"101", "204", "304"}:
            await read_body(self.reader, message, until_end=True)
        return message

    async def ended(self) -> bool:
        """Wait until the proxy has closed the connection; whether nothing came before."""
        try:
            return not await self.reader.read(1)
        except ConnectionError:
            return True

    @property
    def protocol(self) -> str:
        """The protocol agreed on in TLS's handshake."""
        return self.writer.get_extra_info("ssl_object").selected_alpn_protocol() or "none"

    def close(self) -> None:
        """Close it."""
        self.writer.close()


@dataclass
class Site:
    """The view of a case's client: one route of a proxy.

    Args:
        port: the proxy's on 127.0.0.1.
        host: the name that the route has, as the value of Host.
        base: the hub's base URL without a slash at its end.
        path: of the route, without a slash at its end.
        backend: the server that the route leads to.
        tls: whether the proxy speaks TLS.
    """

    port: int
    host: str
    base: str
    path: str
    backend: Backend
    tls: bool = False
    links: list[Link] = field(default_factory=list)

    async def connect(self, context: ssl.SSLContext | None = None, name: str | None = None) -> Link:
        """A connection, which is closed when the case ends.

        name: what the TLS handshake names instead of the site's host; empty for nothing.
        """
        if self.tls and context is None:
            context = trusting()
        name = (self.host if name is None else name) if context else None
        opened = await asyncio.open_connection("127.0.0.1", self.port, limit=LIMIT, ssl=context, server_hostname=name)
        self.links.append(Link(*opened))
        return self.links[-1]

    def head(self, method: str = "GET", target: str = "{path}/", *fields: str, host: str = "") -> bytes:
        """A request's head; ``{path}`` and ``{base}`` in the target are the route's path and the hub's base URL.

        It says ``Accept-Encoding: identity`` unless a field says otherwise: what is added where it is missing has a
        case of its own.
        """
        lines = [f"{method} {self.fill(target)} HTTP/1.1", f"Host: {host or self.host}", *fields]
        if not any(line.lower().startswith("accept-encoding:") for line in fields):
            lines.append("Accept-Encoding: identity")
        return ("\r\n".join(line for line in lines if line != "Accept-Encoding:") + "\r\n\r\n").encode("latin-1")

    def fill(self, target: str) -> str:
        """A target with what stands for the route's path and the base URL replaced."""
        return target.replace("{path}", self.path).replace("{base}", self.base)

    def plain(self, text: str) -> str:
        """The inverse: what depends on the case's name and the set-up replaced."""
        text = text.replace(self.path, "/user/x").replace(self.host, "HOST")
        return text.replace(f"{self.base}/", "/") if self.base else text

    async def ask(self, *request: bytes, method: str = "GET") -> Message:
        """Send a request on a connection of its own and read the answer."""
        link = await self.connect()
        await link.send(*request)
        return await link.answer(method)


def trusting(protocols: tuple[str, ...] = ()) -> ssl.SSLContext:
    """A client's TLS that takes any certificate: which one there is, is not the question here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


def span(seconds: float, *edges: float) -> str:
    """A time in words that two runs have in common: ``3 to 15 s``.

    >>> span(5.2, 3, 15), span(0.1, 3, 15), span(20, 3, 15)
    ('3 to 15 s', 'below 3 s', 'above 15 s')
    """
    below = [edge for edge in edges if seconds >= edge]
    above = [edge for edge in edges if seconds < edge]
    if not below:
        return f"below {above[0]:g} s"
    return f"{below[-1]:g} to {above[0]:g} s" if above else f"above {below[-1]:g} s"


class Watch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """So many."""
        return time.monotonic() - self._start


async def in_time(work: Awaitable[object], seconds: float = AT_ONCE) -> bool:
    """True if something happens within that time."""
    try:
        await asyncio.wait_for(work, seconds)
    except asyncio.TimeoutError:
        return False
    return True


def when(soon: bool) -> str:
    """The words for it."""
    return "at once" if soon else "late"

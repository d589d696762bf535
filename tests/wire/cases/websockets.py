"""Websockets: the handshake, and then every byte in both directions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from websockets.frames import Close, Frame, Opcode

from ..backend import Behaviour, Talk
from ..case import ALL, SHORT, Case, Facts, brief, chosen, seen
from ..client import Link, Site
from .headers import with_fields

FIELDS = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
_SWITCH = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
_AGREED = ("Upgrade: websocket", "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")


def from_client(data: bytes, opcode: Opcode = Opcode.BINARY) -> bytes:
    """A frame of a client's."""
    return Frame(opcode, data).serialize(mask=True)


def from_server(data: bytes, opcode: Opcode = Opcode.BINARY) -> bytes:
    """A frame of a server's."""
    return Frame(opcode, data).serialize(mask=False)


def agreeing(
    *fields: str,
    first: bytes = b"",
    receive: int = 0,
    answer: bytes = b"",
    end: bool = False,
    agreed: tuple[str, ...] = _AGREED,
) -> Behaviour:
    """Agrees, sends bytes right away, receives so many, sends others, and closes or waits for the end."""

    async def behave(talk: Talk) -> None:
        await talk.head()
        await talk.send("".join([_SWITCH, *(f"{field}\r\n" for field in (*agreed, *fields)), "\r\n"]).encode() + first)
        talk.backend.received = await talk.reader.readexactly(receive)
        await talk.send(answer)
        talk.backend.go_on.set()
        if not end:
            await talk.gone()

    return behave


Further = Callable[[Site, Link], Awaitable[Facts]]


def shaking(
    *fields: str,
    further: Further | None = None,
    only: tuple[str, ...] = (),
    path: str = "/ws?a=1",
    asked: tuple[str, ...] = FIELDS,
) -> Callable[[Site], Awaitable[Facts]]:
    """A client that asks for a websocket, and goes on if it gets one."""

    async def run(site: Site) -> Facts:
        link = await site.connect()
        await link.send(site.head("GET", "{path}" + path, *asked, *fields))
        facts = chosen(seen(site, await link.answer()), only)
        return {**facts, **(await further(site, link) if further and facts["status"] == "101" else {})}

    return run


def compared(sent: bytes, received: bytes) -> str:
    """True if bytes arrived as they were sent."""
    return f"all {len(sent):,} bytes" if sent == received else brief(received)


def exchanging(data: bytes, expected: bytes, wait: float = 0) -> Further:
    """Sends bytes, after a while, and receives what the server sends."""

    async def run(site: Site, link: Link) -> Facts:
        await asyncio.sleep(wait)
        await link.send(data)
        back = await asyncio.wait_for(link.reader.readexactly(len(expected)), 30)
        await asyncio.wait_for(site.backend.go_on.wait(), 30)
        return {
            "to the server": compared(data, site.backend.received),
            "to the client": compared(expected, back),
        }

    return run


async def until_closed(site: Site, link: Link) -> Facts:
    """All that comes until the connection is closed."""
    with contextlib.suppress(ConnectionError):
        return {"to the client": brief(await asyncio.wait_for(link.reader.read(), 10)), "then": "closed"}
    return {"then": "reset"}


async def leaving(site: Site, link: Link) -> Facts:
    """Closes with a code and a reason, as a browser does, and without waiting."""
    await link.send(_BYE)
    await asyncio.wait_for(site.backend.go_on.wait(), 10)
    link.close()
    await asyncio.wait_for(site.backend.left.wait(), 10)
    return {"to the server": compared(_BYE, site.backend.received), "then": "closed"}


def refused(status: str, *fields: str) -> Case:
    """A server that refuses."""
    code = status[:3]
    return Case(
        f"ws-{code}", f"Refused with {code}", shaking(), with_fields(*fields, status=status, body=b"no"), show=_REFUSED
    )


_FIREFOX = ("Connection: keep-alive, Upgrade", *FIELDS[1:])
_OWN = ("Connection: Upgrade", "Upgrade: own")
_REFUSED = ("status", "answer body")
_BOTH = ("to the server", "to the client")
_HELLO, _HI = from_client(b"hello"), from_server(b"hi")
_BIG, _BACK = from_client(b"x" * 3_000_000), from_server(b"y" * 3_000_000)
_BYE = from_client(Close(4001, "bye").serialize(), Opcode.CLOSE)
_LAST = from_server(Close(4001, "gone to lunch").serialize(), Opcode.CLOSE)

CASES = [
    Case(
        "ws",
        "A websocket",
        shaking(further=exchanging(_HELLO, _HI)),
        agreeing(receive=len(_HELLO), answer=_HI),
        setups=ALL,
        show=("status", *_BOTH),
    ),
    Case("ws-path", "Its path and query", shaking(path="/a//b%2Fc?d=/e;f"), agreeing(), show=("arrives",)),
    Case(
        "ws-firefox",
        "`Connection: keep-alive, Upgrade`, as Firefox sends it",
        shaking(asked=_FIREFOX),
        agreeing(),
        show=("status",),
    ),
    Case(
        "own-protocol",
        "Another protocol than websocket",
        shaking(asked=_OWN, further=exchanging(_HELLO, _HI), only=SHORT),
        agreeing(receive=len(_HELLO), answer=_HI, agreed=("Upgrade: own",)),
        show=("status", *_BOTH),
    ),
    Case(
        "ws-protocols",
        "Subprotocols",
        shaking("Sec-WebSocket-Protocol: a, b"),
        agreeing("Sec-WebSocket-Protocol: b"),
        show=("header sec-websocket-protocol", "answer header sec-websocket-protocol"),
    ),
    Case(
        "ws-extensions",
        "Compression",
        shaking("Sec-WebSocket-Extensions: permessage-deflate"),
        agreeing("Sec-WebSocket-Extensions: permessage-deflate"),
        show=("header sec-websocket-extensions", "answer header sec-websocket-extensions"),
    ),
    Case(
        "ws-fields",
        "Cookies, origin and token",
        shaking("Cookie: a=1", "Origin: https://a.example", "Authorization: token x"),
        agreeing("Set-Cookie: b=2", "X-B: 1"),
        show=("header cookie", "answer header set-cookie"),
    ),
    Case(
        "ws-big",
        "Messages of 3 MB",
        shaking(further=exchanging(_BIG, _BACK)),
        agreeing(receive=len(_BIG), answer=_BACK),
        setups=ALL,
        show=_BOTH,
    ),
    Case(
        "ws-at-once",
        "A message of the server's along with its answer",
        shaking(further=exchanging(_HELLO, _HI)),
        agreeing(first=_HI, receive=len(_HELLO)),
        show=_BOTH,
    ),
    Case(
        "ws-close",
        "The server closes, with 4001 and a reason",
        shaking(further=until_closed),
        agreeing(answer=_LAST, end=True),
        show=("to the client", "then"),
    ),
    Case(
        "ws-leave",
        "The client closes, with 4001 and a reason",
        shaking(further=leaving),
        agreeing(receive=len(_BYE)),
        show=("to the server", "then"),
    ),
    Case("ws-cut", "The server closes silently", shaking(further=until_closed), agreeing(end=True), show=("then",)),
    *map(
        refused,
        [
            "403 Forbidden",
            "404 Not Found",
            "500 Internal Server Error",
            "503 Service Unavailable",
            "426 Upgrade Required",
        ],
    ),
    refused("302 Found", "Location: /login"),
    Case("ws-no-upgrade", "The server answers 200", shaking(), with_fields(), show=_REFUSED),
    Case(
        "ws-idle",
        "Nothing is said for 305 s",
        shaking(further=exchanging(_HELLO, _HI, wait=305)),
        agreeing(receive=len(_HELLO), answer=_HI),
        full=True,
        show=_BOTH,
    ),
]

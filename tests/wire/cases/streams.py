"""Answers that come piece by piece, are cut off, or have something before or behind them; and clients that leave."""

from __future__ import annotations

import asyncio

from ..backend import OK, Behaviour, Talk
from ..case import ALL, Ask, Case, Facts, answered, chosen, get
from ..client import Link, Site, in_time, when
from ..http1 import Message, chunk, read_chunk_size

_CHUNKS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_ENDLESS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
_LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
_SHOW = ("head", "first piece", "rest")


def streaming(head: bytes, first: bytes = b"", rest: bytes = b"", wait: float = 0) -> Behaviour:
    """Sends a head and a first piece; the rest when the client has seen them, or after a while."""

    async def behave(talk: Talk) -> None:
        await talk.request()
        await talk.send(head + first)
        await (asyncio.sleep(wait) if wait else talk.backend.go_on.wait())
        await talk.send(rest)

    return behave


async def events(site: Site) -> Facts:
    """A client that reads a head, then a piece, and then lets the server send the rest."""
    link = await site.connect()
    await link.send(site.head("GET", "{path}/", "Accept: text/event-stream"))
    head = asyncio.ensure_future(link.head())
    facts = {"head": when(await in_time(asyncio.shield(head)))}
    if facts["head"] == "late":
        site.backend.go_on.set()
    reading = asyncio.ensure_future(_piece(link, await head))
    facts["first piece"] = when(await in_time(asyncio.shield(reading)))
    site.backend.go_on.set()
    await reading
    rest = await asyncio.wait_for(link.reader.read(65536), 10)
    return {**facts, "rest": "arrives" if b"last" in rest else "is missing"}


async def only_head(site: Site) -> Facts:
    """A client that waits for a head without anything behind it."""
    link = await site.connect()
    await link.send(site.head("GET", "{path}/", "Accept: text/event-stream"))
    head = asyncio.ensure_future(link.head())
    facts = {"head": when(await in_time(asyncio.shield(head)))}
    site.backend.go_on.set()
    await head
    return facts


async def _piece(link: Link, head: Message) -> None:
    if "chunked" in head.get("transfer-encoding"):
        size = await read_chunk_size(link.reader)
        await link.reader.readexactly((size or 0) + 2)
    else:
        await link.reader.read(5)


def waiting(seconds: float) -> Behaviour:
    """An event stream that says nothing for a while."""
    return streaming(_CHUNKS, chunk(b"first"), chunk(b"last") + chunk(b""), wait=seconds)


async def silent(site: Site) -> Facts:
    """A client that waits for the end of a stream, however long nothing comes."""
    link = await site.connect()
    await link.send(site.head())
    answer = await link.answer()
    return chosen(answered(site, answer), ("status", "answer body", "answer ends"))


async def left(talk: Talk) -> None:
    """Waits for the end of the client, without an answer."""
    await talk.request()
    talk.backend.go_on.set()
    await talk.gone()


async def leaving(site: Site) -> Facts:
    """A client that goes before it has its answer."""
    link = await site.connect()
    await link.send(site.head())
    await asyncio.wait_for(site.backend.go_on.wait(), 10)
    link.close()
    return {"the server notices": when(await in_time(site.backend.left.wait()))}


def leaving_stream(head: bytes) -> Behaviour:
    """Sends a first event and waits for the end of the client."""

    async def behave(talk: Talk) -> None:
        await talk.request()
        await talk.send(head + chunk(b"first"))
        talk.backend.go_on.set()
        await talk.gone()

    return behave


def cut(*pieces: bytes) -> Behaviour:
    """Sends what is too little, and closes the connection."""

    async def behave(talk: Talk) -> None:
        await talk.request()
        await talk.send(*pieces)

    return behave


async def until_cut(site: Site) -> Facts:
    """A client that waits for the end of an answer that is cut off."""
    link = await site.connect()
    await link.send(site.head())
    answer = asyncio.ensure_future(link.answer())
    if not await in_time(asyncio.shield(answer)):
        answer.cancel()
        return {"ends": "late, if ever"}
    return {"ends": "at once", **chosen(answered(site, await answer), ("status", "answer ends"))}


def hints(head: str) -> Behaviour:
    """Sends an answer ahead of the answer."""

    async def behave(talk: Talk) -> None:
        while await talk.request():
            await talk.send(head.encode(), OK)

    return behave


async def trailing(talk: Talk) -> None:
    """Has fields behind its body."""
    await talk.request()
    await talk.send(
        b"HTTP/1.1 200 OK\r\nTrailer: X-T\r\nTransfer-Encoding: chunked\r\n\r\n", chunk(b"a"), b"0\r\nX-T: 1\r\n\r\n"
    )


async def fickle(talk: Talk) -> None:
    """Closes its first connection when the second request comes on it, as a server that has been idle for long does."""
    while await talk.request():
        if talk.number == 0 and len(talk.backend.requests) == 2:
            return
        await talk.send(OK)


def twice(method: str) -> Ask:
    """A client that asks twice."""

    async def run(site: Site) -> Facts:
        await site.ask(site.head(method, "{path}/", "Content-Length: 0"))
        answer = await site.ask(site.head(method, "{path}/", "Content-Length: 0"))
        return {"second answer": answer.status, "requests": str(len(site.backend.requests))}

    return run


_ENDS = ("ends", "status", "answer ends")

CASES = [
    Case(
        "events",
        "A stream of events",
        events,
        streaming(_CHUNKS, chunk(b"first"), chunk(b"last") + chunk(b"")),
        setups=ALL,
        show=_SHOW,
    ),
    Case("pieces", "Pieces without length or chunks", events, streaming(_ENDLESS, b"first", b"last"), show=_SHOW),
    Case(
        "pieces-of-length",
        "Pieces of a known length",
        events,
        streaming(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", b"first", b"last"),
        show=_SHOW,
    ),
    Case(
        "only-head",
        "A stream's head before its first event",
        only_head,
        streaming(_CHUNKS, b"", chunk(b"last") + chunk(b"")),
        show=("head",),
    ),
    Case(
        "silent-stream",
        "A stream that is silent for 200 s",
        silent,
        waiting(200),
        full=True,
        show=("status", "answer body"),
    ),
    Case("client-leaves", "A client that leaves before its answer", leaving, left, show=("the server notices",)),
    Case(
        "client-leaves-stream",
        "A client that leaves a stream",
        leaving,
        leaving_stream(_CHUNKS),
        show=("the server notices",),
    ),
    Case("cut-length", "An answer that is cut off", until_cut, cut(_LENGTH + b"0123456789"), show=_ENDS),
    Case("cut-chunks", "A chunked answer that is cut off", until_cut, cut(_CHUNKS, chunk(b"first")), show=_ENDS),
    Case(
        "early-hints",
        "103 before the answer",
        get(),
        hints("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
        show=("answers before", "status"),
    ),
    Case(
        "processing",
        "102 before the answer",
        get(),
        hints("HTTP/1.1 102 Processing\r\n\r\n"),
        show=("answers before", "status"),
    ),
    Case("trailers", "Trailers of an answer", get(), trailing, show=("answer trailer x-t",)),
    Case(
        "kept-get", "A `GET` on a kept connection that the server closes", twice("GET"), fickle, show=("second answer",)
    ),
    Case(
        "kept-post",
        "A `POST` on a kept connection that the server closes",
        twice("POST"),
        fickle,
        show=("second answer", "requests"),
    ),
]

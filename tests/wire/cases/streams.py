"""Bodies that come piece by piece: events, progress, uploads."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable

from ..backend import OK, Behaviour, Talk
from ..case import ALL, BELOW, HOSTS, PLAIN, Case, Facts, answered, chosen, get, seen
from ..client import AT_ONCE, Link, Site
from ..http1 import Message, chunk, read_chunk_size

_CHUNKS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_ENDLESS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
_LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
_SHOW = ("head", "first piece", "rest")


async def in_time(work: Awaitable[object], seconds: float = AT_ONCE) -> bool:
    """Whether something happens within that time."""
    try:
        await asyncio.wait_for(work, seconds)
    except asyncio.TimeoutError:
        return False
    return True


def _when(soon: bool) -> str:
    return "at once" if soon else "late"


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
    facts = {"head": _when(await in_time(asyncio.shield(head)))}
    if facts["head"] == "late":
        site.backend.go_on.set()
    reading = asyncio.ensure_future(_piece(link, await head))
    facts["first piece"] = _when(await in_time(asyncio.shield(reading)))
    site.backend.go_on.set()
    await reading
    rest = await asyncio.wait_for(link.reader.read(65536), 10)
    return {**facts, "rest": "arrives" if b"last" in rest else "is missing"}


async def only_head(site: Site) -> Facts:
    """A client that waits for a head without anything behind it."""
    link = await site.connect()
    await link.send(site.head("GET", "{path}/", "Accept: text/event-stream"))
    head = asyncio.ensure_future(link.head())
    facts = {"head": _when(await in_time(asyncio.shield(head)))}
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
    return {"the server notices": _when(await in_time(site.backend.left.wait()))}


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


async def both_ways(talk: Talk) -> None:
    """Sends back each chunk as it comes."""
    await talk.head()
    await talk.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while size := await read_chunk_size(talk.reader):
        piece = (await talk.reader.readexactly(size + 2))[:-2]
        await talk.send(chunk(piece))
    await talk.send(chunk(b""))


async def duplex(site: Site) -> Facts:
    """A client that goes on sending when it has the beginning of the answer."""
    link = await site.connect()
    await link.send(site.head("POST", "{path}/", "Transfer-Encoding: chunked") + chunk(b"one"))
    head = asyncio.ensure_future(link.head())
    facts = {"the answer begins": _when(await in_time(asyncio.shield(head)))}
    await link.send(chunk(b"two") + chunk(b""))
    answer = await asyncio.wait_for(head, 10)
    rest = b""
    try:
        while b"\r\n0\r\n\r\n" not in rest and (data := await asyncio.wait_for(link.reader.read(65536), AT_ONCE)):
            rest += data
    except (ConnectionError, asyncio.TimeoutError):
        pass
    return {**facts, "status": answer.status, "what comes back": "all" if b"two" in rest else "only the beginning"}


def early_refusal(head: bytes) -> Behaviour:
    """Answers before it has read the body, and reads nothing more."""

    async def behave(talk: Talk) -> None:
        await talk.head()
        await talk.send(head)
        await talk.backend.go_on.wait()

    return behave


async def refused_upload(site: Site) -> Facts:
    """A client that sends much, and gets a refusal meanwhile."""
    link = await site.connect()
    await link.send(site.head("POST", "{path}/", "Content-Length: 50000000") + b"x" * 100_000)
    answer = asyncio.ensure_future(link.answer())
    soon = await in_time(asyncio.shield(answer))
    for _ in range(49):
        if not answer.done():
            await link.send(b"x" * 1_000_000)
    site.backend.go_on.set()
    return {"the refusal comes": _when(soon), "status": (await asyncio.wait_for(answer, 10)).status}


async def wanting(talk: Talk) -> None:
    """Thinks, and then wants the body."""
    await talk.head()
    await asyncio.sleep(0.3)
    talk.backend.go_on.set()
    await talk.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    await talk.reader.readexactly(3)
    await talk.send(OK)


async def refusing(talk: Talk) -> None:
    """Thinks, and then does not want the body."""
    await talk.head()
    await asyncio.sleep(0.3)
    talk.backend.go_on.set()
    await talk.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
    await talk.gone()


async def expecting(site: Site) -> Facts:
    """A client that sends its body when it is asked to."""
    link = await site.connect()
    await link.send(site.head("POST", "{path}/", "Expect: 100-continue", "Content-Length: 3"))
    first = (await asyncio.wait_for(link.reader.readuntil(b"\r\n\r\n"), 10)).decode().split()[1]
    facts = {
        "first answer": first,
        "it comes": "when the server has decided" if site.backend.go_on.is_set() else "at once",
    }
    if first == "100":
        await link.send(b"abc")
        facts["status"] = (await link.answer()).status
    return facts


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


def twice(method: str):
    """A client that asks twice."""

    async def run(site: Site) -> Facts:
        await site.ask(site.head(method, "{path}/", "Content-Length: 0"))
        answer = await site.ask(site.head(method, "{path}/", "Content-Length: 0"))
        return {"second answer": answer.status, "requests": str(len(site.backend.requests))}

    return run


def sized(size: int) -> Behaviour:
    """Takes a body and sends as much."""

    async def behave(talk: Talk) -> None:
        request = await talk.request()
        assert request is not None
        talk.backend.received = hashlib.sha256(request.body).digest()
        await talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // 1_000_000):
            await talk.send(b"y" * 1_000_000)

    return behave


def large(size: int):
    """A client that sends much and gets as much."""

    async def run(site: Site) -> Facts:
        link = await site.connect()
        await link.send(site.head("POST", "{path}/", f"Content-Length: {size}"))
        digest = hashlib.sha256()
        for _ in range(size // 1_000_000):
            digest.update(b"x" * 1_000_000)
            await link.send(b"x" * 1_000_000)
        answer = await link.answer()
        whole = site.backend.received == digest.digest()
        back = answer.body == b"y" * size
        return {
            "status": answer.status,
            "to the server": "all" if whole else "not all",
            "to the client": "all" if back else "not all",
        }

    return run


def slow_upload(seconds: float):
    """A client that needs so long to send ten bytes."""

    async def run(site: Site) -> Facts:
        link = await site.connect()
        await link.send(site.head("POST", "{path}/", "Content-Length: 10"))
        for _ in range(10):
            await asyncio.sleep(seconds / 10)
            await link.send(b"x")
        return chosen(seen(site, await link.answer()), ("body", "status"))

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
    Case("duplex", "An answer that begins before its upload has ended", duplex, both_ways, show=("what comes back",)),
    Case(
        "refused-upload",
        "A refusal while an upload goes on",
        refused_upload,
        early_refusal(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
        show=("status", "the refusal comes"),
    ),
    Case("continue", "`Expect: 100-continue`", expecting, wanting, show=("first answer", "it comes", "status")),
    Case(
        "continue-refused",
        "`Expect: 100-continue`, and a server that refuses",
        expecting,
        refusing,
        show=("first answer", "it comes", "status"),
    ),
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
    Case(
        "three-mb",
        "3 MB in both directions",
        large(3_000_000),
        sized(3_000_000),
        setups=(PLAIN, BELOW, HOSTS),
        show=("to the server", "to the client"),
    ),
    Case(
        "hundred-mb",
        "100 MB in both directions",
        large(100_000_000),
        sized(100_000_000),
        full=True,
        show=("to the server", "to the client"),
    ),
    Case("very-slow-upload", "An upload that takes 370 s", slow_upload(370), full=True, show=("body", "status")),
    Case("slow-upload", "An upload that takes 320 s", slow_upload(320), full=True, show=("body", "status")),
]

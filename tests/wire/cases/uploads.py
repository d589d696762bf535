"""Uploads: answers that come meanwhile, sizes, and how long one may take."""

from __future__ import annotations

import asyncio
import hashlib

from ..backend import OK, Behaviour, Talk
from ..case import ALL, Ask, Case, Facts, chosen, seen
from ..client import AT_ONCE, Site, in_time, when
from ..http1 import chunk, read_chunk_size


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
    facts = {"the answer begins": when(await in_time(asyncio.shield(head)))}
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
    """Thinks when it has the beginning of the body, answers, and reads nothing more."""

    async def behave(talk: Talk) -> None:
        await talk.head()
        # A proxy that still has something to pass on when the refusal comes does not wait for the client.
        # It may keep a few kB until there are more.
        await talk.reader.readexactly(80_000)
        await asyncio.sleep(0.2)
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
    return {"the refusal comes": when(soon), "status": (await asyncio.wait_for(answer, 10)).status}


async def wanting(talk: Talk) -> None:
    """Thinks, and then wants the body."""
    await talk.head()
    await asyncio.sleep(0.2)
    talk.backend.go_on.set()
    await talk.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    await talk.reader.readexactly(3)
    await talk.send(OK)


async def refusing(talk: Talk) -> None:
    """Thinks, and then does not want the body."""
    await talk.head()
    await asyncio.sleep(0.2)
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


def large(size: int) -> Ask:
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


def slow_upload(seconds: float) -> Ask:
    """A client that needs so long to send ten bytes."""

    async def run(site: Site) -> Facts:
        link = await site.connect()
        await link.send(site.head("POST", "{path}/", "Content-Length: 10"))
        for _ in range(10):
            await asyncio.sleep(seconds / 10)
            await link.send(b"x")
        return chosen(seen(site, await link.answer()), ("body", "status"))

    return run


CASES = [
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
        "three-mb",
        "3 MB in both directions",
        large(3_000_000),
        sized(3_000_000),
        setups=ALL,
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
    Case("slow-upload", "An upload that takes 320 s", slow_upload(320), full=True, show=("body", "status")),
    Case("very-slow-upload", "An upload that takes 370 s", slow_upload(370), full=True, show=("body", "status")),
]

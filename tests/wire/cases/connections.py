"""Connections of clients: TLS, HTTP/2, and how long one may be idle."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import warnings

from ..backend import Talk
from ..case import HOSTS, PLAIN, SHORT, Ask, Case, Facts, chosen, seen
from ..client import AT_ONCE, Link, Site, Watch, in_time, span, trusting
from ..http1 import chunk
from ..http2 import Http2
from .uploads import both_ways


def speaking(version: ssl.TLSVersion, ciphers: str = "") -> Ask:
    """A client that speaks one version of TLS, and some ciphers of it only."""

    async def run(site: Site) -> Facts:
        context = trusting()
        with warnings.catch_warnings():
            # That old versions should not be used is what the case is about.
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = version
        if ciphers:
            context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
        try:
            link = await site.connect(context)
        except (ssl.SSLError, ConnectionError):
            return {"handshake": "refused"}
        await link.send(site.head())
        return {"handshake": "done", "status": (await link.answer()).status}

    return run


def offering(*protocols: str) -> Ask:
    """A client that offers protocols in its handshake."""

    async def run(site: Site) -> Facts:
        return {"agreed on": (await site.connect(trusting(protocols))).protocol}

    return run


def naming(name: str) -> Ask:
    """A client whose TLS handshake names another host than its request, or none."""

    async def run(site: Site) -> Facts:
        link = await site.connect(name=name)
        await link.send(site.head())
        return chosen(seen(site, await link.answer()), SHORT)

    return run


async def cleartext(site: Site) -> Facts:
    """A client that sends plain HTTP to a port of TLS."""
    link = Link(*await asyncio.open_connection("127.0.0.1", site.port))
    site.links.append(link)
    await link.send(site.head())
    return {"status": (await asyncio.wait_for(link.answer(), 10)).status}


def upgrading(*fields: str) -> Ask:
    """A client that offers another protocol and takes HTTP/1.1 too."""

    async def run(site: Site) -> Facts:
        link = await site.connect()
        await link.send(site.head("GET", "{path}/", *fields))
        try:
            answer = await asyncio.wait_for(link.answer(), AT_ONCE)
        except asyncio.TimeoutError:
            return {"status": "none"}
        return chosen(seen(site, answer), SHORT)

    return run


async def prior_knowledge(site: Site) -> Facts:
    """A client that begins with HTTP/2 at once, without TLS."""
    link = await site.connect()
    await link.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0")
    try:
        first = await asyncio.wait_for(link.reader.readexactly(9), AT_ONCE)
    except (asyncio.TimeoutError, asyncio.IncompleteReadError, ConnectionError):
        return {"answer": "none"}
    return {"answer": "HTTP/2" if first[3] == 4 else "HTTP/1.1"}


async def http2(site: Site) -> Facts:
    """A request over HTTP/2 if it is to be had, else over HTTP/1.1."""
    link = await site.connect(trusting(("h2", "http/1.1")))
    if link.protocol != "h2":
        await link.send(site.head("GET", "{path}/a%2Fb?c", "Cookie: a=1; b=2"))
        return {"over": "HTTP/1.1", **seen(site, await link.answer())}
    asking = Http2(link)
    await asking.start("GET", site.fill("{path}/a%2Fb?c"), site.host, end=True)
    while not asking.ended:
        await asking.receive()
    return {"over": "HTTP/2", **seen(site, asking.answer)}


async def http2_duplex(site: Site) -> Facts:
    """An answer that begins before its upload has ended, over HTTP/2 if it is to be had."""
    link = await site.connect(trusting(("h2", "http/1.1")))
    if link.protocol != "h2":
        await link.send(site.head("POST", "{path}/", "Transfer-Encoding: chunked") + chunk(b"one"))
        await asyncio.wait_for(link.head(), 10)
        await link.send(chunk(b"two") + chunk(b""))
        rest = b""
        while b"two" not in rest and (data := await asyncio.wait_for(link.reader.read(65536), 10)):
            rest += data
        return {"over": "HTTP/1.1", "what comes back": "all" if b"two" in rest else "only the beginning"}
    asking = Http2(link)
    await asking.start("POST", site.fill("{path}/"), site.host, end=False)
    await asking.send(b"one", end=False)
    while asking.answer.body != b"one" and not asking.ended:
        await asking.receive()
    await asking.send(b"two", end=True)
    while not asking.ended:
        await asking.receive()
    return {"over": "HTTP/2", "what comes back": "all" if asking.answer.body == b"onetwo" else "only the beginning"}


async def half_head(site: Site) -> Facts:
    """A client that sends half a head and then nothing."""
    link = await site.connect()
    await link.send(b"GET / HTTP/1.1\r\nHost: ")
    watch = Watch()
    closing = asyncio.ensure_future(link.answer())
    if not await in_time(asyncio.shield(closing), 140):
        closing.cancel()
        return {"after 140 s": "open"}
    return {"after 140 s": "closed", "status": (await closing).status, "closed after": span(watch.seconds, 5, 50, 120)}


async def slow_body(site: Site) -> Facts:
    """A client that stops within its body."""
    link = await site.connect()
    await link.send(site.head("POST", "{path}/", "Content-Length: 10") + b"x")
    closing = asyncio.ensure_future(link.answer())
    if not await in_time(asyncio.shield(closing), 330):
        closing.cancel()
        return {"after 330 s": "open"}
    return {"after 330 s": "closed", "status": (await closing).status}


async def idle(site: Site) -> Facts:
    """A client that keeps its connection and asks nothing more."""
    link = await site.connect()
    await link.send(site.head())
    status, watch = (await link.answer()).status, Watch()
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(link.ended(), 250)
    return {"status": status, "closed after": span(watch.seconds, 3, 30, 150, 220)}


async def slow_answer(talk: Talk) -> None:
    """Thinks for long."""
    await talk.request()
    await asyncio.sleep(330)
    await talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


async def patient(site: Site) -> Facts:
    """A client that waits."""
    return {"status": (await site.ask(site.head())).status}


_TLS, _HELLO = (HOSTS,), ("handshake",)
_TWO, _THREE = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3

CASES = [
    Case("tls-1-3", "TLS 1.3", speaking(_THREE), setups=_TLS, show=_HELLO),
    Case(
        "tls-1-2",
        "TLS 1.2, ECDHE with AES-GCM",
        speaking(_TWO, "ECDHE-RSA-AES128-GCM-SHA256"),
        setups=_TLS,
        show=_HELLO,
    ),
    Case(
        "tls-1-2-chacha",
        "TLS 1.2, ECDHE with ChaCha20",
        speaking(_TWO, "ECDHE-RSA-CHACHA20-POLY1305"),
        setups=_TLS,
        show=_HELLO,
    ),
    Case("tls-rsa", "TLS 1.2, RSA key exchange", speaking(_TWO, "AES128-GCM-SHA256"), setups=_TLS, show=_HELLO),
    Case(
        "tls-cbc",
        "TLS 1.2, ECDHE with AES-CBC and SHA-1",
        speaking(_TWO, "ECDHE-RSA-AES128-SHA"),
        setups=_TLS,
        show=_HELLO,
    ),
    Case(
        "tls-cbc-256",
        "TLS 1.2, ECDHE with AES-CBC and SHA-256",
        speaking(_TWO, "ECDHE-RSA-AES128-SHA256"),
        setups=_TLS,
        show=_HELLO,
    ),
    Case("tls-1-1", "TLS 1.1", speaking(ssl.TLSVersion.TLSv1_1, "ALL"), setups=_TLS, show=_HELLO),
    Case("alpn", "HTTP/2 is offered", offering("h2", "http/1.1"), setups=_TLS, show=("agreed on",)),
    Case(
        "alpn-1",
        "Only HTTP/1.1 is offered, as by browsers for websockets",
        offering("http/1.1"),
        setups=_TLS,
        show=("agreed on",),
    ),
    Case("no-sni", "A handshake that names no host", naming(""), setups=_TLS),
    Case("other-sni", "A handshake that names another host than the request", naming("other.example"), setups=_TLS),
    Case("cleartext", "Plain HTTP at a port of TLS", cleartext, setups=_TLS, show=("status",)),
    Case(
        "h2c",
        "`Upgrade: h2c`",
        upgrading("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"),
    ),
    Case("upgrade-tls", "`Upgrade: TLS/1.0`", upgrading("Connection: Upgrade", "Upgrade: TLS/1.0")),
    Case("h2c-prior", "HTTP/2 at once, without TLS", prior_knowledge, show=("answer",)),
    Case("http2", "A request over the best protocol", http2, setups=_TLS, full=True, show=("over",)),
    Case(
        "http2-duplex",
        "An answer that begins before its upload has ended, over the best protocol",
        http2_duplex,
        both_ways,
        setups=_TLS,
        full=True,
        show=("over", "what comes back"),
    ),
    Case("half-head", "Half a head", half_head, full=True, setups=(PLAIN,)),
    Case("half-body", "A client that stops within its body", slow_body, full=True, show=("after 330 s",)),
    Case("idle", "A connection that is kept, and idle", idle, full=True, show=("closed after",)),
    Case("slow-answer", "A server that thinks for 330 s", patient, slow_answer, full=True, show=("status",)),
]

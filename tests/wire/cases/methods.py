"""Methods and bodies of requests."""

from __future__ import annotations

from ..backend import answering
from ..case import SHORT, Case, Facts, chosen, get, seen
from ..client import Site
from ..http1 import chunk

_CHUNKED = "Transfer-Encoding: chunked"
_CHUNKS = chunk(b"abc") + chunk(b"defg") + chunk(b"")
_BODY = ("arrives", "body", "status")


async def pipelined(site: Site) -> Facts:
    """Two requests at once on one connection."""
    link = await site.connect()
    await link.send(site.head("GET", "{path}/1") + site.head("GET", "{path}/2"))
    answers = [(await link.answer()).status for _ in range(2)]
    return {
        "arrive": ", ".join(site.plain(request.first) for request in site.backend.requests),
        "answers": str(answers),
    }


async def connecting(site: Site) -> Facts:
    """A client that takes the proxy for a forward proxy."""
    link = await site.connect()
    await link.send(b"CONNECT wire.test:443 HTTP/1.1\r\nHost: wire.test:443\r\n\r\n")
    return chosen(seen(site, await link.answer()), SHORT)


def plain_method(method: str) -> Case:
    """A case of one method."""
    return Case(f"method-{method.lower()}", f"`{method}`", get(method=method, only=SHORT))


CASES = [
    Case(
        "method-head",
        "`HEAD`",
        get(method="HEAD"),
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-B: 1\r\n\r\n"),
    ),
    Case("method-options", "`OPTIONS`", get(method="OPTIONS")),
    *map(plain_method, ["PATCH", "PROPFIND", "REPORT", "MKCALENDAR", "LOCK", "SEARCH", "QUERY", "TRACE"]),
    Case("method-own", "A method that nobody knows", get(method="FROBNICATE", only=SHORT)),
    Case("method-lower", "`get` in lower case", get(method="get", only=SHORT)),
    Case("connect", "`CONNECT`", connecting),
    Case("put", "`PUT` with a body", get("Content-Length: 3", method="PUT", body=b"abc"), show=_BODY),
    Case("get-body", "`GET` with a body", get("Content-Length: 3", body=b"abc"), show=_BODY),
    Case("get-chunks", "`GET` with a chunked body", get(_CHUNKED, body=_CHUNKS), show=_BODY),
    Case("post-chunks", "`POST` with a chunked body", get(_CHUNKED, method="POST", body=_CHUNKS), show=_BODY),
    Case("post-empty", "`POST` without a body", get("Content-Length: 0", method="POST"), show=_BODY),
    Case("post-nothing", "`POST` without a length", get(method="POST"), show=_BODY),
    Case("delete-body", "`DELETE` with a body", get("Content-Length: 3", method="DELETE", body=b"abc"), show=_BODY),
    Case("delete-chunks", "`DELETE` with a chunked body", get(_CHUNKED, method="DELETE", body=_CHUNKS), show=_BODY),
    Case("options-chunks", "`OPTIONS` with a chunked body", get(_CHUNKED, method="OPTIONS", body=_CHUNKS), show=_BODY),
    Case(
        "chunk-extensions",
        "Extensions of chunks",
        get(_CHUNKED, method="POST", body=b"3;a=b\r\nabc\r\n0\r\n\r\n"),
        show=_BODY,
    ),
    Case(
        "request-trailers",
        "Trailers of a request",
        get(_CHUNKED, "Trailer: X-T", method="POST", body=b"1\r\na\r\n0\r\nX-T: 1\r\n\r\n"),
    ),
    Case("pipelined", "Two requests at once on a connection", pipelined, show=("arrive", "answers")),
]

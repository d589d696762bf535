"""Header fields of requests and answers."""

from __future__ import annotations

from ..backend import OK, Behaviour, Talk, answering
from ..case import SHORT, Ask, Case, Facts, get, seen
from ..client import Site


def with_fields(*fields: str, status: str = "200 OK", body: bytes = b"ok") -> Behaviour:
    """Answers with these fields."""
    head = "\r\n".join([f"HTTP/1.1 {status}", *fields, f"Content-Length: {len(body)}"])
    return answering(f"{head}\r\n\r\n".encode("latin-1") + body)


def big(kilobytes: int) -> str:
    """A field of that size."""
    return "X-Big: " + "x" * (1000 * kilobytes)


async def connection(site: Site) -> Facts:
    """Headers about the connection, on both sides."""
    answer = await site.ask(site.head())
    said = {"to the server": site.backend.requests[0].get("connection"), "to the client": answer.get("connection")}
    return {name: value.lower() or "nothing" for name, value in said.items()}


async def name_case(site: Site) -> Facts:
    """How names are written that were sent as ``X-mixED``."""
    answer = await site.ask(site.head("GET", "{path}/", "X-mixED: 1"))
    sides = {"to the server": site.backend.requests[0].fields, "to the client": answer.fields}
    return {side: next(name for name, _ in fields if name.lower() == "x-mixed") for side, fields in sides.items()}


async def reason(site: Site) -> Facts:
    """The words behind the status."""
    return {"reason": (await site.ask(site.head())).reason}


async def date(site: Site) -> Facts:
    """A date of the server's own, as it arrives."""
    answer = await site.ask(site.head())
    return {
        "date": "kept" if answer.values("date") == ["Thu, 01 Jan 1970 00:00:00 GMT"] else str(answer.values("date"))
    }


async def no_encoding(site: Site) -> Facts:
    """A client that says nothing of encodings."""
    return seen(site, await site.ask(site.head("GET", "{path}/", "Accept-Encoding:")))


#: The same as gzip has it; another zlib would make other bytes of it.
_ZIPPED = bytes.fromhex("1f8b08000000000002033330343236313533b7b03418658db24659c3940500f18f857ce8030000")


async def zipping(talk: Talk) -> None:
    """Zips if it is asked to, as many servers do."""
    while request := await talk.request():
        body, more = b"0123456789" * 100, ""
        if "gzip" in request.get("accept-encoding"):
            body, more = _ZIPPED, "Content-Encoding: gzip\r\n"
        await talk.send(f"HTTP/1.1 200 OK\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode() + body)


async def particular(talk: Talk) -> None:
    """Closes the connection silently if a request's head has more than 64 kB, as tornado does."""
    while request := await talk.request():
        if sum(len(name) + len(value) for name, value in request.fields) > 65536:
            return
        await talk.send(OK)


def raw(text: str, *, method: str = "GET", only: tuple[str, ...] = ()) -> Ask:
    """A client that sends these bytes, with ``{path}`` and ``{host}`` filled in."""

    async def run(site: Site) -> Facts:
        answer = await site.ask(site.fill(text).replace("{host}", site.host).encode("latin-1"), method=method)
        facts = seen(site, answer)
        return {name: fact for name, fact in facts.items() if name.startswith(only)} if only else facts

    return run


CASES = [
    Case("repeated", "A field that is sent twice", get("X-A: 1", "X-A: 2"), show=("header x-a",)),
    Case("two-cookies", "Two `Cookie` fields", get("Cookie: a=1", "Cookie: b=2"), show=("header cookie",)),
    Case("underscore", "A name with an underscore", get("X_A: 1"), show=("header x_a",)),
    Case(
        "latin-1",
        "Values in Latin-1",
        get("X-A: zoë"),
        with_fields("X-B: zoë"),
        show=("header x-a", "answer header x-b"),
    ),
    Case("empty-value", "An empty value", get("X-A:"), show=("header x-a",)),
    Case(
        "name-case",
        "The spelling of names",
        name_case,
        with_fields("X-mixED: 2"),
        show=("to the server", "to the client"),
    ),
    Case("connection", "`Connection` on both sides", connection, show=("to the server", "to the client")),
    Case(
        "hop-by-hop", "A field that `Connection` names", get("Connection: X-Drop, keep-alive", "X-Drop: 1", "X-Keep: 2")
    ),
    Case(
        "proxy-fields",
        "`Proxy-Authorization`, `Proxy-Connection`, `TE`",
        get("Proxy-Authorization: Basic eDp4", "Proxy-Connection: keep-alive", "TE: trailers"),
    ),
    Case("no-user-agent", "A client without `User-Agent`", get()),
    Case("no-accept-encoding", "A client without `Accept-Encoding`, and a server that can zip", no_encoding, zipping),
    Case(
        "accept-encoding",
        "A client that takes gzip",
        get("Accept-Encoding: gzip, br"),
        zipping,
        show=("header accept-encoding", "answer header content-encoding"),
    ),
    Case("big-header", "A header of 20 kB", get(big(20), only=SHORT)),
    Case("very-big-header", "A header of 900 kB", get(big(900), only=SHORT)),
    Case("giant-header", "A header of 2 MB", get(big(2000), only=SHORT)),
    Case(
        "many-fields",
        "A header of 1,000 fields",
        get(*(f"X-{n}: 1" for n in range(1000)), only=("status", "header x-999")),
    ),
    Case(
        "big-cookies",
        "Cookies of 70 kB, and a server that takes 64 kB",
        get("Accept: text/html", "Cookie: a=" + "x" * 70_000, only=("status", "answer body")),
        particular,
    ),
    Case("big-answer-header", "An answer's header of 20 kB", get(only=SHORT), with_fields(big(20))),
    Case(
        "set-cookies",
        "Two `Set-Cookie` fields",
        get(),
        with_fields("Set-Cookie: a=1; Path=/", "Set-Cookie: b=2; HttpOnly"),
        show=("answer header set-cookie",),
    ),
    Case(
        "reason", "A reason phrase of the server's own", reason, with_fields(status="200 Very well"), show=("reason",)
    ),
    Case("no-reason", "An answer without a reason phrase", reason, with_fields(status="200 "), show=("reason",)),
    Case("unknown-status", "A status that nobody knows", get(), with_fields(status="299 Odd")),
    Case(
        "date", "A date of the server's own", date, with_fields("Date: Thu, 01 Jan 1970 00:00:00 GMT"), show=("date",)
    ),
    Case(
        "location",
        "`Location` is not rewritten",
        get(),
        with_fields("Location: http://127.0.0.1:1/x", status="302 Found"),
        show=("answer header location", "status"),
    ),
    Case(
        "answer-fields",
        "Fields of answers",
        get(),
        with_fields(
            "Server: s",
            "X-B: 1",
            "Content-Encoding: br",
            "WWW-Authenticate: Basic",
            "Content-Security-Policy: x",
        ),
        show=("answer header x-b", "answer header server"),
    ),
    Case(
        "not-modified",
        "304 with a length",
        get(),
        answering(b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n'),
        show=("status", "answer header etag"),
    ),
    Case("no-content", "204", get(), answering(b"HTTP/1.1 204 No Content\r\nX-B: 1\r\n\r\n"), show=("status",)),
    Case(
        "no-content-type",
        "An answer without `Content-Type`",
        get(),
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n<p>hi</p>"),
        show=("answer body",),
    ),
    Case(
        "http-1-0",
        "A client of HTTP/1.0",
        raw("GET {path}/ HTTP/1.0\r\nHost: {host}\r\nAccept-Encoding: identity\r\n\r\n"),
    ),
    Case(
        "no-host",
        "A request without `Host`",
        raw("GET {path}/ HTTP/1.1\r\nAccept-Encoding: identity\r\n\r\n", only=SHORT),
    ),
    Case("two-hosts", "Two `Host` fields", raw("GET {path}/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", only=SHORT)),
    Case(
        "two-lengths",
        "Two lengths",
        raw("POST {path}/ HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", only=SHORT),
    ),
    Case(
        "length-and-chunks",
        "A length and chunks, as smugglers send them",
        raw(
            "POST {path}/ HTTP/1.1\r\nHost: {host}\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n"
            "0\r\n\r\nX",
            only=(*SHORT, "header content-length", "header transfer-encoding"),
        ),
    ),
    Case(
        "space-before-colon",
        "A space before the colon",
        raw("GET {path}/ HTTP/1.1\r\nHost: {host}\r\nX-A : 1\r\n\r\n", only=SHORT),
    ),
    Case(
        "folded",
        "A field on two lines",
        raw("GET {path}/ HTTP/1.1\r\nHost: {host}\r\nX-A: 1\r\n  2\r\n\r\n", only=(*SHORT, "header x-a")),
    ),
]

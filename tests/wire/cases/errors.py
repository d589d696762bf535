"""Servers that do not answer, answer nonsense or an error of their own; and requests that no route fits."""

from __future__ import annotations

import asyncio
import socket

from kvproxy.testing.servers.ports import free_port

from ..backend import OK, Behaviour, Talk
from ..case import BELOW, HOSTS, HUBLESS, PLAIN, Case, Facts, Setup, answered, ask, chosen, get
from ..client import Site, Watch, span
from .headers import with_fields
from .websockets import shaking

_PAGE = ("status", "answer body")
_HTML, _JSON = "Accept: text/html,*/*", "Accept: application/json"
#: As TLS servers answer to HTTP: a fatal alert, "unexpected message".
_ALERT = b"\x15\x03\x01\x00\x02\x02\x0a"
#: Connections that fill queues; they live as long as the process.
_HELD: list[socket.socket] = []


async def nobody() -> str:
    """The URL of a server that is gone."""
    return f"http://127.0.0.1:{free_port()}"


async def no_machine() -> str:
    """The URL of a machine that is gone: no packet of a handshake is answered, as the queue is full (Linux)."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    _HELD.append(listener)
    for _ in range(3):
        waiting = socket.socket()
        waiting.setblocking(False)
        waiting.connect_ex(listener.getsockname())
        _HELD.append(waiting)
    await asyncio.sleep(0.1)
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def saying(data: bytes) -> Behaviour:
    """Says that to whatever comes, and closes the connection."""

    async def behave(talk: Talk) -> None:
        await talk.request()
        await talk.send(data)

    return behave


async def handshake(talk: Talk) -> None:
    """Speaks first, as no HTTP server does."""
    await talk.send(b"SSH-2.0-OpenSSH_9.9\r\n")
    await talk.gone()


async def patience(site: Site) -> Facts:
    """How long a client waits for an answer."""
    watch = Watch()
    answer = await site.ask(site.head("GET", "{path}/", _HTML))
    return {**chosen(answered(site, answer), _PAGE), "after": span(watch.seconds, 10, 25, 45, 110, 150)}


def gone(name: str, what: str, *fields: str, method: str = "GET", setup: Setup = PLAIN, **more: object) -> Case:
    """A user's server that is gone."""
    asking = get(*fields, method=method, only=_PAGE, **more)  # type: ignore[arg-type]
    return Case(name, what, asking, target=nobody, setups=(setup,), show=_PAGE)


def own(status: str, *fields: str, name: str, what: str) -> Case:
    """A server's own error."""
    return Case(name, what, get(*fields, only=_PAGE), with_fields(status=status, body=b"its own"), show=_PAGE)


def unrouted(name: str, what: str, target: str, setup: Setup, host: str = "", accept: str = _HTML) -> Case:
    """A request that no route fits."""
    return Case(name, what, ask(accept, target=target, only=_PAGE, host=host), setups=(setup,), show=_PAGE)


CASES = [
    gone("gone", "A user's server that is gone, for a browser", _HTML),
    gone("gone-json", "A user's server that is gone, for a script", _JSON),
    gone("gone-any", "A user's server that is gone, for a client without `Accept`"),
    gone("gone-token", "A user's server that is gone, for a URL with a token", _HTML, path="/lab?token=secret"),
    gone(
        "gone-post",
        "A user's server that is gone, with an upload",
        _HTML,
        "Content-Length: 100000",
        method="POST",
        body=b"x" * 100_000,
    ),
    gone("gone-head", "A user's server that is gone, for `HEAD`", _HTML, method="HEAD"),
    Case("gone-ws", "A user's server that is gone, for a websocket", shaking(only=_PAGE), target=nobody, show=_PAGE),
    gone("gone-below", "A user's server that is gone, below a base URL", _HTML, setup=BELOW),
    gone("gone-hosts", "A user's server that is gone, with a host name of its own", _HTML, setup=HOSTS),
    gone("gone-hubless", "A user's server that is gone, and the hub too", _HTML, setup=HUBLESS),
    Case(
        "service-gone",
        "A service that is gone",
        ask(_HTML, target="{base}/services/a/", only=_PAGE),
        target=nobody,
        spec="{base}/services/a/",
        show=_PAGE,
    ),
    Case(
        "hub-gone", "The hub is gone", ask(_HTML, target="{base}/hub/home", only=_PAGE), setups=(HUBLESS,), show=_PAGE
    ),
    Case(
        "hub-gone-json",
        "The hub is gone, for a script",
        ask(_JSON, target="{base}/hub/api", only=_PAGE),
        setups=(HUBLESS,),
        show=_PAGE,
    ),
    own("502 Bad Gateway", _HTML, name="own-502", what="A server's own 502, for a browser"),
    own("504 Gateway Timeout", _HTML, name="own-504", what="A server's own 504, for a browser"),
    own("502 Bad Gateway", _JSON, name="own-502-json", what="A server's own 502, for a script"),
    own("504 Gateway Timeout", _JSON, name="own-504-json", what="A server's own 504, for a script"),
    own("502 Bad Gateway", name="own-502-any", what="A server's own 502, for a client that sends no `Accept`"),
    Case(
        "own-502-ws",
        "A server's own 502 to a websocket",
        shaking(only=_PAGE),
        with_fields(status="502 Bad Gateway", body=b"its own"),
        show=_PAGE,
    ),
    Case(
        "own-502-excepted",
        "A server's own 502, for a browser, at a path that is excepted",
        get(_HTML, only=_PAGE),
        with_fields(status="502 Bad Gateway", body=b"its own"),
        setups=(BELOW,),
        show=_PAGE,
    ),
    Case(
        "own-502-service",
        "A service's own 502, for a browser",
        ask(_HTML, target="{base}/services/b/", only=_PAGE),
        with_fields(status="502 Bad Gateway", body=b"its own"),
        spec="{base}/services/b/",
        show=_PAGE,
    ),
    *(
        own(f"{code} Own", _HTML, name=f"own-{code}", what=f"A server's own {code}")
        for code in (400, 401, 403, 404, 424, 500, 501, 503, 599)
    ),
    unrouted("no-route", "`/` where the hub is below a base URL", "/", BELOW),
    unrouted("no-route-json", "`/` where the hub is below a base URL, for a script", "/", BELOW, accept=_JSON),
    unrouted("no-route-path", "A path beside the base URL", "/other/path?a=1", BELOW),
    unrouted("no-route-host", "A host that nobody has", "/", HOSTS, host="other.example"),
    unrouted("no-route-user", "The host of a user who has no server", "/user/nobody/", HOSTS, host="nobody.wire.test"),
    unrouted("stopped-user", "A user who has no server", "/user/nobody/", PLAIN),
    unrouted("error-page", "The hub's own pages for errors", "/hub/error/503", PLAIN),
    Case("no-http", "A server that answers no HTTP", get(_HTML, only=_PAGE), saying(b"hello\r\n\r\n"), show=_PAGE),
    Case("no-http-first", "A server that speaks first, and no HTTP", get(_HTML, only=_PAGE), handshake, show=_PAGE),
    Case(
        "speaks-tls",
        "A server that speaks TLS where HTTP is expected",
        get(_HTML, only=_PAGE),
        saying(_ALERT),
        show=_PAGE,
    ),
    Case("no-answer", "A server that dies before it answers", get(_HTML, only=_PAGE), saying(b""), show=_PAGE),
    Case(
        "half-answer",
        "A server that dies within its answer's head",
        get(_HTML, only=_PAGE),
        saying(b"HTTP/1.1 200 OK\r\nContent-"),
        show=_PAGE,
    ),
    Case(
        "bad-field",
        "A line that is no field in an answer's head",
        get(_HTML, only=_PAGE),
        saying(b"HTTP/1.1 200 OK\r\nno field\r\nContent-Length: 2\r\n\r\nok"),
        show=_PAGE,
    ),
    Case(
        "bad-length",
        "A length that is no number",
        get(_HTML, only=_PAGE),
        saying(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nok"),
        show=_PAGE,
    ),
    Case("too-long", "An answer that is longer than it says", get(_HTML, only=_PAGE), saying(OK + b"more"), show=_PAGE),
    Case(
        "http-1-0-server",
        "A server of HTTP/1.0",
        get(_HTML, only=_PAGE),
        saying(b"HTTP/1.0 200 OK\r\n\r\nold"),
        show=_PAGE,
    ),
    Case("machine-gone", "A machine that is gone", patience, target=no_machine, full=True, show=("status", "after")),
]

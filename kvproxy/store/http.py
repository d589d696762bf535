"""A client for stores that speak HTTP and JSON: several endpoints, stale connections, errors in plain words."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from typing import Any, Final

import aiohttp

from ..errors import ConfigurationError, StoreAuthError, StoreChangedError, StoreError, StoreUnavailableError
from .certificate_errors import reason, untrusted
from .connection import HttpConnection

#: Seconds that a server may take to accept a connection, or to answer as long as there is another one to ask. A cluster
#: that has lost its leader has a new one by then; a server that is suspended or cut off never answers.
_PATIENCE: Final = 3.0
#: The key below the root of the records that every transaction compares and changes.
FENCE: Final = "kvproxy-fence"
#: Errors of a kept-alive connection whose server has been restarted.
_STALE: Final = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)


@dataclass(frozen=True)
class Answer:
    """An answer of a store.

    Args:
        status: HTTP status.
        body: the unchanged body.
        endpoint: the endpoint that gave it, ``host:port``.
        date: its ``Date`` header.
        alone: True if the request was sent only once, so that this answer is the complete result.
    """

    status: int
    body: bytes = field(repr=False)
    endpoint: str
    date: str = ""
    alone: bool = True

    @property
    def text(self) -> str:
        """The body for a message: one line, not too long."""
        return " ".join(self.body.decode(errors="replace").split())[:300].rstrip(".")

    def json(self) -> Any:
        """The body as JSON, None if it is not."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            # Tens of thousands of brackets raise a RecursionError.
            return None


@dataclass(frozen=True)
class _Request:
    """A request, for any endpoint."""

    method: str
    path: str
    data: bytes | None = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


class HttpClient:
    """Sends requests to a store, to any endpoint that answers. A request may be sent twice.

    Connects when it is first used. Repeating a request must have the same result.

    Args:
        connection: the endpoints and credentials; of the latter, only those for `authorization` are sent.
        headers: headers of each request.
        authorization: True if user and password are sent with each request, as HTTP basic authentication.
        passing: returns the error for an answer of a server that cannot help at the moment, such as one that has lost
            the rest of its cluster; None for any other answer.
    """

    def __init__(
        self,
        connection: HttpConnection,
        headers: Mapping[str, str] | None = None,
        *,
        authorization: bool = False,
        passing: Callable[[Answer], StoreUnavailableError | None] = lambda answer: None,
    ) -> None:
        self._connection = connection
        self._passing = passing
        self._headers = {"User-Agent": "kvproxy", **(headers or {})}
        if authorization and connection.username:
            # aiohttp has two ways to make this header, and each version has only one of them.
            login = base64.b64encode(f"{connection.username}:{connection.password}".encode()).decode()
            self._headers["Authorization"] = f"Basic {login}"
        self._stamp = connection.tls.stamp() if connection.tls else ()
        self._context = connection.tls.context() if connection.tls else None
        self._session: aiohttp.ClientSession | None = None
        self._at = 0

    async def request(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Ask the endpoint that answered last, and then each of the others if it is silent or cannot help.

        Args:
            method: the method, such as ``"POST"``.
            path: the path with a slash at its beginning; a query may follow.
            body: the body, sent as JSON; None for none.
            headers: further headers of this request.

        Raises:
            StoreUnavailableError: if no endpoint helps in time, with the error of each.
            StoreError: if one cannot be trusted or speaks another protocol.
        """
        request = self._request(method, path, body, headers)
        problems: list[str] = []
        for left in reversed(range(len(self._connection.endpoints))):
            answer = await self._try(self._at, request, others=left > 0)
            if isinstance(answer, Answer):
                return replace(answer, alone=answer.alone and not problems)
            problems.append(str(answer))
            self._at = (self._at + 1) % len(self._connection.endpoints)
        raise StoreUnavailableError(" ".join(problems))

    async def ask_each(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> list[Answer | StoreUnavailableError]:
        """Send a request to every endpoint, one after another.

        Raises:
            StoreError: if one cannot be trusted or speaks another protocol.
        """
        request = self._request(method, path, body, headers)
        return [await self._try(at, request, others=True) for at in range(len(self._connection.endpoints))]

    async def aclose(self) -> None:
        """Close all connections; a later request opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _request(self, method: str, path: str, body: Any, headers: Mapping[str, str] | None) -> _Request:
        data = None if body is None else json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        kind = {} if data is None else {"Content-Type": "application/json"}
        return _Request(method, path, data, {**self._headers, **kind, **(headers or {})})

    async def _try(self, at: int, request: _Request, *, others: bool) -> Answer | StoreUnavailableError:
        """Ask the endpoint of this index, with less time if there are others to ask."""
        silence = min(_PATIENCE, self._connection.timeout) if others else None
        timeout = aiohttp.ClientTimeout(self._connection.timeout, sock_connect=_PATIENCE, sock_read=silence)
        try:
            answer = await self._ask(at, request, timeout)
        except StoreUnavailableError as error:
            return error
        return self._passing(answer) or answer

    async def _renew(self) -> None:
        """Reload renewed TLS files. The old ones stay in use while the new ones are incomplete."""
        tls = self._connection.tls
        if tls is None or (now := tls.stamp()) == self._stamp:
            return
        with contextlib.suppress(ConfigurationError):
            self._context, self._stamp = tls.context(), now
            await self.aclose()

    async def _ask(self, at: int, request: _Request, timeout: aiohttp.ClientTimeout) -> Answer:
        await self._renew()
        # aiohttp repeats requests of some methods by itself, so every transmission of this one is recorded.
        sent: list[str] = []
        for last in (False, True):
            try:
                return replace(await self._send(at, request, timeout, sent), alone=len(sent) == 1)
            except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as error:
                # Kept-alive connections do not survive a restart of the server, which shows only when they are used.
                # The request is repeated once over a new connection.
                if last or not isinstance(error, _STALE) or isinstance(error, aiohttp.ClientConnectorError):
                    raise self._explain(self._connection.endpoints[at], error) from None
                await self.aclose()
        raise AssertionError("unreachable")

    async def _send(self, at: int, request: _Request, timeout: aiohttp.ClientTimeout, sent: list[str]) -> Answer:
        if self._session is None:
            connector = aiohttp.TCPConnector(ssl=self._context if self._context is not None else True)
            self._session = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trace_configs=[_sending()]
            )
        url = self._connection.urls[at] + request.path
        # A stream, as aiohttp warns about large bodies that are not streams.
        stream = None if request.data is None else io.BytesIO(request.data)
        async with self._session.request(
            request.method,
            url,
            data=stream,
            headers=request.headers,
            allow_redirects=False,
            timeout=timeout,
            trace_request_ctx=sent,
        ) as answer:
            endpoint, date = self._connection.endpoints[at], answer.headers.get("Date", "")
            return Answer(answer.status, await answer.read(), endpoint, date)

    def _explain(self, endpoint: str, error: Exception) -> StoreError:
        """Return kvproxy's error for an error of the client."""
        connection, dialect = self._connection, self._connection.dialect
        where = connection.at(endpoint)
        text = connection.redact(str(error).strip().rstrip(".")) or type(error).__name__
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            return StoreError(untrusted(where, text, dialect.ca, dialect.url))
        if "ALERT_CERTIFICATE_REQUIRED" in text or "ALERT_BAD_CERTIFICATE" in text or "ALERT_UNKNOWN_CA" in text:
            return StoreAuthError(
                f"{where} asks for a client certificate that it trusts; give {dialect.cert} and {dialect.key}."
            )
        if isinstance(error, aiohttp.ClientSSLError):
            return StoreError(f"{where} does not speak TLS as kvproxy does ({reason(text)}); does it speak TLS there?")
        if isinstance(error, asyncio.TimeoutError):
            return StoreUnavailableError(f"{where} does not answer in time.")
        cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
        if connection.tls is not None and isinstance(cause, ConnectionResetError):
            return StoreUnavailableError(f"{where} ends the connection at once; does it speak TLS there?")
        if connection.tls is not None and connection.tls.cert and isinstance(error, aiohttp.ServerDisconnectedError):
            return StoreUnavailableError(
                f"{where} has ended the connection; if it is there, does it still trust the client certificate "
                f"{connection.tls.cert}?"
            )
        if connection.tls is None and isinstance(error, aiohttp.ServerDisconnectedError):
            return StoreUnavailableError(
                f"{where} ends the connection at once; if it wants TLS, begin {dialect.url} with {dialect.scheme}s://."
            )
        if isinstance(cause, OSError) and cause.errno:
            text = os.strerror(cause.errno) if cause.errno > 0 else cause.strerror or text
        return StoreUnavailableError(f"{where} cannot be reached ({text}).")


def _sending() -> aiohttp.TraceConfig:
    """Make aiohttp record each transmission of a request in the list that is the request's context."""

    async def note(session: Any, context: Any, request: aiohttp.TraceRequestHeadersSentParams) -> None:
        context.trace_request_ctx.append(request.method)

    tracing = aiohttp.TraceConfig()
    tracing.on_request_headers_sent.append(note)
    return tracing


def time_of(date: str) -> float | None:
    """Return the time in a ``Date`` header in seconds since 1970, in the middle of its second; None if it has none.

    >>> time_of("Thu, 01 Jan 1970 00:01:00 GMT")
    60.5
    """
    try:
        return parsedate_to_datetime(date).timestamp() + 0.5
    except (TypeError, ValueError):
        return None


def moved(connection: HttpConnection) -> StoreChangedError:
    """Return the error for a fence that is not as it was left."""
    return StoreChangedError(f"{connection} is not as kvproxy left it.")


def strange(connection: HttpConnection) -> StoreError:
    """Return the error for an answer that does not have the form of this kind of store."""
    return StoreError(f"{connection} gives an answer that kvproxy does not understand.")


def wrong_protocol(connection: HttpConnection, answer: Answer) -> StoreError | None:
    """Return the error for an answer that only a server with TLS gives, None for any other answer."""
    if answer.status == 400 and b"HTTP request to an HTTPS server" in answer.body:
        dialect = connection.dialect
        return StoreError(
            f"{connection.at(answer.endpoint)} speaks TLS; begin {dialect.url} with {dialect.scheme}s:// or https://."
        )
    return None

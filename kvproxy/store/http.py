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

#: Seconds that a server may take to accept a connection, and be silent as long as there is another one to ask. A
#: cluster that has lost its leader has a new one by then; a server that is paused or cut off is silent for ever.
_PATIENCE: Final = 3.0
#: Below the root of the records, the key that every transaction looks at and changes.
FENCE: Final = "kvproxy-fence"
#: What a kept-alive connection says whose server has been restarted.
_STALE: Final = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)


@dataclass(frozen=True)
class Answer:
    """What a store said.

    Args:
        status: HTTP status.
        body: as it came.
        endpoint: which endpoint said it, ``host:port``.
        date: when, as its header says.
        alone: whether the request was sent only once, so that this answer says all about what has come of it.
    """

    status: int
    body: bytes = field(repr=False)
    endpoint: str
    date: str = ""
    alone: bool = True

    @property
    def text(self) -> str:
        """The body for a sentence: one line, not too long."""
        return " ".join(self.body.decode(errors="replace").split())[:300].rstrip(".")

    def json(self) -> Any:
        """The body as JSON, None if it is not."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            # The latter comes of tens of thousands of brackets.
            return None


@dataclass(frozen=True)
class _Request:
    """What is sent, to whichever endpoint."""

    method: str
    path: str
    data: bytes | None = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


class HttpClient:
    """Requests to a store, at whichever of its endpoints answers. They may be sent twice.

    Connects when it is first used. Give it requests that come to the same when they are repeated.

    Args:
        connection: where the store is; of its credentials only `authorization` is sent by itself.
        headers: to be sent with each request.
        authorization: whether user and password are sent with each request, as HTTP basic authentication.
        passing: the error for an answer by which a server says that it cannot help at the moment, as one does that has
            lost the rest of its cluster; None for any other answer.
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
            # aiohttp has two ways to make this header, of which each version has but one.
            login = base64.b64encode(f"{connection.username}:{connection.password}".encode()).decode()
            self._headers["Authorization"] = f"Basic {login}"
        self._stamp = connection.tls.stamp() if connection.tls else ()
        self._context = connection.tls.context() if connection.tls else None
        self._session: aiohttp.ClientSession | None = None
        self._at = 0

    async def request(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Ask the endpoint that helped last, and each of the others if it is silent or says that it cannot help.

        Args:
            method: such as ``"POST"``.
            path: with a slash at its beginning; a query may follow.
            body: to be sent as JSON; None for none.
            headers: for this request.

        Raises:
            StoreUnavailableError: if no endpoint helps in time, with what is wrong with each.
            StoreError: if one cannot be trusted or speaks another language.
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
        """Ask every endpoint, one after another, for what :meth:`request` asks one.

        Raises:
            StoreError: if one cannot be trusted or speaks another language.
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
        """Ask the endpoint of that number, with less time if there are others to be asked."""
        silence = min(_PATIENCE, self._connection.timeout) if others else None
        timeout = aiohttp.ClientTimeout(self._connection.timeout, sock_connect=_PATIENCE, sock_read=silence)
        try:
            answer = await self._ask(at, request, timeout)
        except StoreUnavailableError as error:
            return error
        return self._passing(answer) or answer

    async def _renew(self) -> None:
        """Use the TLS files as they are now. Those before are good enough while new ones are not complete."""
        tls = self._connection.tls
        if tls is None or (now := tls.stamp()) == self._stamp:
            return
        with contextlib.suppress(ConfigurationError):
            self._context, self._stamp = tls.context(), now
            await self.aclose()

    async def _ask(self, at: int, request: _Request, timeout: aiohttp.ClientTimeout) -> Answer:
        await self._renew()
        # aiohttp repeats requests of some methods by itself, so it is asked how often this one has gone out.
        sent: list[str] = []
        for last in (False, True):
            try:
                return replace(await self._send(at, request, timeout, sent), alone=len(sent) == 1)
            except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as error:
                # Connections that were kept do not outlive a restart of the server, and tell it only when they are
                # used: with new ones the request is sent once more.
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
        # A stream, as aiohttp warns of large bodies that are not one.
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
        """One of kvproxy's errors for one of the client's."""
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
    """Has aiohttp note, in the list that is a request's context, each time that the request goes out."""

    async def note(session: Any, context: Any, request: aiohttp.TraceRequestHeadersSentParams) -> None:
        context.trace_request_ctx.append(request.method)

    tracing = aiohttp.TraceConfig()
    tracing.on_request_headers_sent.append(note)
    return tracing


def time_of(date: str) -> float | None:
    """What a ``Date`` header says, in seconds since 1970, in the middle of its second; None if there is none.

    >>> time_of("Thu, 01 Jan 1970 00:01:00 GMT")
    60.5
    """
    try:
        return parsedate_to_datetime(date).timestamp() + 0.5
    except (TypeError, ValueError):
        return None


def moved(connection: HttpConnection) -> StoreChangedError:
    """The error for a fence that is not where it was left."""
    return StoreChangedError(f"{connection} is not as kvproxy left it.")


def strange(connection: HttpConnection) -> StoreError:
    """The error for an answer of another form than that of this kind of store."""
    return StoreError(f"{connection} gives an answer that kvproxy does not understand.")


def wrong_protocol(connection: HttpConnection, answer: Answer) -> StoreError | None:
    """The error for an answer that only a server gives that wants TLS, None for any other."""
    if answer.status == 400 and b"HTTP request to an HTTPS server" in answer.body:
        dialect = connection.dialect
        return StoreError(
            f"{connection.at(answer.endpoint)} speaks TLS; begin {dialect.url} with {dialect.scheme}s:// or https://."
        )
    return None

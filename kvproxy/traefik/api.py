"""A read-only asynchronous client of Traefik's API."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import quote, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from .._text import shown
from ..errors import ConfigurationError, TraefikAuthError, TraefikError, TraefikSilentError
from ..routing.names import ALONE, HUB_HEADER, Names
from ..store.certificate_errors import reason, untrusted
from .readiness import revision_of
from .request_counts import Sample, Sieve

T = TypeVar("T")

#: The version of what does not answer as Traefik's API does.
UNKNOWN: Final = "unknown"
_STRANGER: Final = "perhaps another program listens there"
#: Characters of a version that are shown.
_SHOWN: Final = 100


@dataclass(frozen=True)
class Table:
    """All that Traefik says about routers and services, by their names without the provider."""

    routers: Mapping[str, Mapping[str, Any]]
    services: Mapping[str, Mapping[str, Any]]


class TraefikView(Protocol):
    """The reconciler's questions to one Traefik. Each method raises :class:`TraefikError` without an answer."""

    @property
    def label(self) -> str:
        """The name of this Traefik in sentences: ``Traefik's API at http://…``."""

    async def revision(self) -> int | None:
        """The revision of the configuration that Traefik has loaded, None if it has loaded none of ours."""

    async def router(self, name: str) -> Mapping[str, Any] | None:
        """Return Traefik's description of a router, None if it knows none of that name."""

    async def service(self, name: str) -> Mapping[str, Any] | None:
        """Return Traefik's description of a service, None if it knows none of that name."""

    async def version(self) -> str:
        """Traefik's version, such as ``3.7.15``."""

    async def table(self) -> Table:
        """All routers and services at once; cheaper than one by one where many are asked for."""


class TraefikApi:
    """Traefik's API over one kept-alive connection.

    Args:
        url: where the API is, ``http[s]://host:port[/base]``, without ``/api``.
        provider: the name behind ``@`` in names, such as ``redis``.
        username: for basic authentication; empty for none.
        password: likewise.
        tls: how an https URL's certificate is checked, see :func:`api_trust`.
        timeout: seconds that one request may take.
        names: how the hub calls what it has there.
        address: the address of this replica, if the URL's name has several; the name is still what it is asked for.
    """

    def __init__(
        self,
        url: str,
        provider: str,
        *,
        username: str = "",
        password: str = "",
        tls: ssl.SSLContext | bool = True,
        timeout: float = 10.0,
        names: Names = ALONE,
        address: str | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._provider = provider
        token = base64.b64encode(f"{username}:{password}".encode()).decode()
        self._names = names
        self._headers = {"Authorization": f"Basic {token}"} if username else {}
        self._headers |= {HUB_HEADER: self._names.hub} if self._names.hub else {}
        self._tls = tls
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._session: aiohttp.ClientSession | None = None
        self._address = address

    @property
    def label(self) -> str:
        """See :attr:`TraefikView.label`."""
        return f"Traefik's API at {self._url}" + (f" ({self._address})" if self._address else "")

    @property
    def host(self) -> str:
        """The host that is asked."""
        return self._address or urlsplit(self._url).hostname or ""

    async def members(self) -> Sequence[TraefikView]:
        """See :meth:`kvproxy.traefik.replicas.Fleet.members`: this one alone."""
        return [self]

    async def revision(self) -> int | None:
        """See :meth:`TraefikView.revision`."""
        return revision_of(await self._get(f"/api/http/middlewares/{self._qualified(self._names.revision)}"))

    async def router(self, name: str) -> Mapping[str, Any] | None:
        """See :meth:`TraefikView.router`."""
        return await self._get(f"/api/http/routers/{self._qualified(name)}")

    async def service(self, name: str) -> Mapping[str, Any] | None:
        """See :meth:`TraefikView.service`."""
        return await self._get(f"/api/http/services/{self._qualified(name)}")

    async def table(self) -> Table:
        """See :meth:`TraefikView.table`."""
        raw = await self._get("/api/rawdata") or {}
        return Table(self._ours(raw.get("routers")), self._ours(raw.get("services")))

    def _ours(self, answers: Any) -> dict[str, Any]:
        end, found = f"@{self._provider}", answers if isinstance(answers, dict) else {}
        return {name.removesuffix(end): answer for name, answer in found.items() if name.endswith(end)}

    async def entry_point(self, name: str) -> Mapping[str, Any] | None:
        """Return Traefik's description of an entry point, None if it has none of that name."""
        return await self._get(f"/api/entrypoints/{quote(name, safe='')}")

    async def version(self) -> str:
        """See :meth:`TraefikView.version`."""
        return shown(str((await self._get("/api/version") or {}).get("Version", UNKNOWN)), _SHOWN)

    async def overview(self) -> Mapping[str, Any]:
        """Return Traefik's overview of itself: its providers, and since 3.7 how many certificates it has."""
        return await self._get("/api/overview") or {}

    async def has_certificate(self, certificate: bytes) -> bool | None:
        """True if Traefik serves a certificate, by its name or by default; None if it does not tell (before 3.7).

        Args:
            certificate: in DER.
        """
        if "certificates" not in await self.overview():
            return None
        return await self._get(f"/api/certificates/{sha256(certificate).hexdigest()}") is not None

    async def has_metrics(self) -> bool:
        """True if Traefik counts requests and could show it to Prometheus."""
        return await self._get("/api/http/services/prometheus@internal") is not None

    async def has_ping(self) -> bool:
        """True if Traefik answers health checks."""
        return await self._get("/api/http/services/ping@internal") is not None

    async def sample(self) -> Sample | None:
        """Return Traefik's counters of the services of the provider, None if it shows no metrics.

        Raises:
            TraefikError: if it cannot be asked.
        """
        sieve = await self._ask("/metrics", _sieved, {"Accept-Encoding": "identity"})
        if sieve is None:
            return None
        try:
            # Of thousands of services that takes a while.
            return await asyncio.get_running_loop().run_in_executor(None, sieve.sample, self._provider)
        except ValueError:
            raise TraefikError(f"{self.label} shows metrics that kvproxy does not understand.") from None

    async def aclose(self) -> None:
        """Close the connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _qualified(self, name: str) -> str:
        return quote(f"{name}@{self._provider}", safe="@")

    async def _get(self, path: str) -> Mapping[str, Any] | None:
        answer = await self._ask(path, lambda response: response.json(content_type=None))
        if answer is not None and not isinstance(answer, dict):
            raise TraefikError(f"{self.label} gave no proper answer to {path}; {_STRANGER}.")
        return answer

    async def _ask(
        self,
        path: str,
        read: Callable[[aiohttp.ClientResponse], Awaitable[T]],
        headers: Mapping[str, str] | None = None,
    ) -> T | None:
        if self._session is None:
            connector = aiohttp.TCPConnector(resolver=_Pinned(self._address)) if self._address else None
            self._session = aiohttp.ClientSession(
                headers=self._headers, timeout=self._timeout, trust_env=False, connector=connector
            )
        where, url = self.label, self._url + path
        try:
            async with self._session.get(url, ssl=self._tls, allow_redirects=False, headers=headers) as response:
                if response.status == 404:
                    return None
                if response.status in {401, 403}:
                    raise TraefikAuthError(
                        f"{where} refuses the credentials; check traefik_api_username and traefik_api_password."
                    )
                if response.status != 200:
                    raise TraefikError(f"{where} answers {response.status} to {path}.")
                return await read(response)
        except aiohttp.ClientConnectorCertificateError as error:
            raise TraefikError(untrusted(where, str(error), "traefik_api_ca", "traefik_api_url")) from None
        except aiohttp.ClientConnectorError as error:
            raise TraefikError(f"{where} cannot be reached ({_reason(error.os_error)}).") from None
        except asyncio.TimeoutError:
            raise TraefikSilentError(f"{where} did not answer within {self._timeout.total:g} s.") from None
        except (aiohttp.ClientError, ValueError, LookupError, RecursionError) as error:
            raise TraefikError(f"{where} gave no proper answer ({type(error).__name__}); {_STRANGER}.") from None


def api_trust(ca: str, validate: bool) -> ssl.SSLContext | bool:
    """The certificates that a client of Traefik's API trusts, as aiohttp takes it.

    Args:
        ca: path of the authorities' certificates, PEM; empty for those that the system trusts.
        validate: False to take any certificate.

    Raises:
        ConfigurationError: if the file cannot be used, or both are set.
    """
    if not ca:
        return validate
    if not validate:
        raise ConfigurationError(
            "c.TraefikProxy.traefik_api_ca names the authority to trust, and traefik_api_validate_cert = False trusts "
            "everybody; remove one of them."
        )
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:
        why = reason(str(error)).lower() if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigurationError(
            f"c.TraefikProxy.traefik_api_ca = {ca!r} cannot be used ({why}); it must be the path of a PEM file with "
            "the certificate of the authority of Traefik's API, which the hub's user may read."
        ) from None


def _reason(error: OSError) -> str:
    """Why a connection was not made, without the addresses that were tried.

    >>> _reason(OSError("Multiple exceptions: [Errno 111] Connect call failed ('::1', 1, 0, 0), [Errno 111] Connect …"))
    'Connection refused'
    """
    numbers = [error.errno] if error.errno else map(int, re.findall(r"\[Errno (\d+)\]", str(error)))
    reasons = dict.fromkeys(os.strerror(number) for number in numbers if number > 0)
    return ", ".join(reasons) or error.strerror or str(error)


async def _sieved(response: aiohttp.ClientResponse) -> Sieve:
    """The useful part of the metrics, which may be many megabytes."""
    sieve, rest = Sieve(), b""
    async for chunk in response.content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        sieve.take(lines)
    return sieve


class _Pinned(AbstractResolver):
    """Says that every name has the one address."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        family = socket.AF_INET6 if ":" in self._address else socket.AF_INET
        return [ResolveResult(hostname=host, host=self._address, port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        """Nothing is open."""

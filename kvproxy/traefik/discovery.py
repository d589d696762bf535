"""Replicas of Traefik: those that are named, and each address of a name that has several."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Final

from .._tasks import begin
from .._types import Log
from .api import TraefikApi
from .static_config import address

#: Seconds for which the addresses of a name are taken to be the same.
_FRESH: Final = 5.0


class ReplicaDiscovery:
    """The APIs of all replicas.

    Args:
        urls: where they are; each name in them may have several addresses.
        make: makes a client for a URL, and for one address of its name if that is not None.
        log: the hub's logger.
        resolve: whether names are looked up at all.
    """

    def __init__(
        self, urls: Sequence[str], make: Callable[[str, str | None], TraefikApi], log: Log, *, resolve: bool = True
    ) -> None:
        self._urls = list(urls)
        self._make = make
        self._log = log
        self._resolve = resolve
        self._clients: dict[tuple[str, str | None], TraefikApi] = {}
        self._looked: float | None = None
        self._looking: asyncio.Future[None]

    async def members(self) -> Sequence[TraefikApi]:
        """See :meth:`kvproxy.traefik.replicas.Fleet.members`. A name that cannot be looked up keeps its replicas."""
        now = asyncio.get_running_loop().time()
        if self._looked is None or (self._resolve and now - self._looked >= _FRESH and self._looking.done()):
            self._looked, self._looking = now, begin(self._look(), "The look-up of Traefik's addresses", self._log)
        if not self._clients:
            # Later on, a slow name server does not hold anything up.
            await asyncio.wait([self._looking])
        return list(self._clients.values())

    async def _look(self) -> None:
        found = await asyncio.gather(*map(self._addresses, self._urls))
        await self._take([(url, place) for url, places in zip(self._urls, found, strict=True) for place in places])

    async def _take(self, wanted: list[tuple[str, str | None]]) -> None:
        gone = [client for key, client in self._clients.items() if key not in wanted]
        self._clients = {key: self._clients.get(key) or self._make(*key) for key in wanted}
        for client in gone:
            await client.aclose()

    async def _addresses(self, url: str) -> list[str | None]:
        """The addresses to tell apart; ``[None]`` for a name that has one, which the client looks up by itself."""
        before = [place for known, place in self._clients if known == url] or [None]
        if not self._resolve:
            return before
        host, port = address(url, "traefik_api_url")
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            # UnicodeError: a name that IDNA does not allow.
            return before
        return several([(family, str(where[0])) for family, _, _, _, where in found])

    async def aclose(self) -> None:
        """Close all connections."""
        if self._looked is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await self._take([])


def several(found: Sequence[tuple[int, str]]) -> list[str | None]:
    """The addresses of replicas among those that a name has, sorted; ``[None]`` if it is one machine.

    A machine may have an address of each family, as ``localhost`` has: replicas are told by several of one family.

    >>> several([(10, "::1"), (2, "127.0.0.1")])
    [None]
    >>> several([(2, "10.0.0.7"), (10, "fd00::7"), (2, "10.0.0.3"), (10, "fd00::3")])
    ['10.0.0.3', '10.0.0.7']
    """
    for family in (socket.AF_INET, socket.AF_INET6):
        places = sorted({place for known, place in found if known == family})
        if len(places) > 1:
            return [*places]
    return [None]

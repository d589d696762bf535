"""Clients of Redis: of one server, of the master that sentinels name, and of the sentinels themselves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.connection import SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool, SentinelManagedSSLConnection
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from kvproxy import ConfigurationError
from kvproxy.store.renewal import Stamp, stamp

from .cancellation import finish
from .connection import Connection, client_options, sentinel_options
from .sentinels import Sentinels

#: Seconds to wait for one server. A dead one is given up; there is no other to go to.
_PATIENCE: Final = {"socket_connect_timeout": 5.0, "socket_timeout": 10.0}
#: Seconds to wait for a master: one that is cut off says nothing, and meanwhile there may be another.
_PATIENCE_WITH_MASTER: Final = {"socket_connect_timeout": 2.0, "socket_timeout": 3.0}
#: Seconds to wait for a sentinel. They are asked one after another; the one that answers is asked first from then on.
_PATIENCE_WITH_SENTINEL: Final = {"socket_connect_timeout": 1.0, "socket_timeout": 1.0}
_RETRYING: Final = ("retry_on_error", "retry_on_timeout")


def connect(connection: Connection, patience: Mapping[str, float] | None = None, *, named: bool = True) -> Any:
    """A client that tries once.

    Args:
        connection: where to connect.
        patience: timeouts of the client (``socket_timeout`` …, in seconds) that win over those of the settings.
        named: gives the connection a name, for which Redis 6.2 asks for a right that Traefik's user does not need.

    redis-py can try again by itself, but only at the same address, one command at a time, and what was refused as well;
    options about that are accepted and without effect.

    Raises:
        ConfigurationError: if an option is none of the client's.
    """
    usual = _PATIENCE if connection.sentinels is None else _PATIENCE_WITH_MASTER
    introduced = {"client_name": "kvproxy"} if named else {}
    options = {**usual, **introduced, **client_options(connection), **(patience or {}), "retry": _once()}
    for name in _RETRYING:
        options.pop(name, None)
    try:
        if connection.sentinels is None:
            return _renewing(Client(**options))
        return _following(connection, connection.sentinels, options)
    except TypeError as error:
        raise ConfigurationError(
            f"redis_client_kwargs holds an option that the Redis client refuses: {error}."
        ) from None


class Client(Redis):
    """A client whose ``async with`` closes what is open although its task is cancelled; redis-py's (8.1) may not."""

    async def __aexit__(self, *error: Any) -> None:
        """Close all connections; a cancellation comes afterwards."""
        await finish(super().__aexit__(*error))  # type: ignore[no-untyped-call]


class Renewing(SSLConnection):
    """A connection for which the TLS files are read again if they have changed; redis-py (8.1) reads them once."""

    _stamp: Stamp | None = None

    async def connect(self) -> None:
        """Connect, by the files as they are now; those before are good enough while new ones are not complete."""
        tls = self.ssl_context
        before, now = tls.context, stamp([tls.ca_certs or "", tls.certfile or "", tls.keyfile or ""])
        if now != self._stamp:
            tls.context = None
            try:
                tls.get()
                self._stamp = now
            except (OSError, ValueError):
                if before is None:
                    raise
                tls.context = before
        await super().connect()  # type: ignore[no-untyped-call]


class RenewingManaged(Renewing, SentinelManagedSSLConnection):
    """The same to whichever server is the master."""


def _renewing(client: Any) -> Any:
    pool = client.connection_pool
    kinds = {SSLConnection: Renewing, SentinelManagedSSLConnection: RenewingManaged}
    pool.connection_class = kinds.get(pool.connection_class, pool.connection_class)
    return client


class Guide(Sentinel):
    """Says where the master is: what was heard of it last, else what the first sentinel to answer says."""

    #: Host and port as heard last, None if nothing was.
    heard: tuple[str, int] | None = None

    async def discover_master(self, service_name: str) -> Any:
        """See redis-py's own."""
        return self.heard or await super().discover_master(service_name)


class MasterPool(SentinelConnectionPool):
    """Connections to the master; one to a server that has been replaced meanwhile is not used again."""

    async def lead(self, address: tuple[str, int]) -> None:
        """Have each connection that is idle, or will be, be to this server."""
        self.master_address = address
        with contextlib.suppress(RedisError, OSError):
            await self.disconnect(inuse_connections=False)

    async def release(self, connection: Any) -> None:
        """Take a connection back."""
        if (connection.host, connection.port) != self.master_address:
            with contextlib.suppress(RedisError, OSError):
                await connection.disconnect()
        await super().release(connection)


class FollowingRedis(Client):
    """A client of whichever server is the master; asks the sentinels at each new connection."""

    connection_pool: MasterPool
    #: Its connections to the sentinels.
    guide: Any = None
    #: Clients of the sentinels, in the order of the settings; the guide changes the order of its own.
    sentinels: Sequence[Any] = ()

    async def lead(self, address: tuple[str, int]) -> None:
        """Connect to this server from now on."""
        await self.connection_pool.lead(address)

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Close the connections to the sentinels as well, which redis-py leaves to the caller."""
        await super().aclose(close_connection_pool)
        await asyncio.gather(*(sentinel.aclose() for sentinel in self.sentinels))


def _following(connection: Connection, sentinels: Sentinels, options: dict[str, Any]) -> Any:
    guide: Any = Guide(  # type: ignore[no-untyped-call]
        sentinels.addresses, sentinel_kwargs=_sentinel_options(connection)
    )
    client: Any = guide.master_for(
        sentinels.master, redis_class=FollowingRedis, connection_pool_class=MasterPool, **options
    )
    client.guide, client.sentinels = guide, tuple(map(_renewing, guide.sentinels))
    _renewing(client)
    # The pool would look at the options only when it first connects.
    client.connection_pool.make_connection()
    return client


def sentinel_client(connection: Connection, host: str, port: int) -> Any:
    """A client of one sentinel, which tries once."""
    return _renewing(Client(host=host, port=port, **_sentinel_options(connection)))


def _sentinel_options(connection: Connection) -> dict[str, Any]:
    return {**_PATIENCE_WITH_SENTINEL, "retry": _once(), **sentinel_options(connection)}


def _once() -> Retry:
    """Must be of the asynchronous class: the synchronous one is accepted and does nothing (redis-py issue 4262)."""
    return Retry(NoBackoff(), 0)

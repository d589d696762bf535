"""Clients of Redis: of one server, of the master that sentinels name, and of the sentinels themselves."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from kvproxy.errors import ConfigurationError

from .connection import Connection, client_options, sentinel_options
from .sentinels import Sentinels

#: Seconds to wait for one server. A dead one is given up; there is no other to go to.
_PATIENCE: Final = {"socket_connect_timeout": 5.0, "socket_timeout": 10.0}
#: Seconds to wait for a master: one that is cut off says nothing, and meanwhile there may be another.
_PATIENCE_WITH_MASTER: Final = {"socket_connect_timeout": 2.0, "socket_timeout": 3.0}
#: Seconds to wait for a sentinel. They are asked one after another; the one that answers is asked first from then on.
_PATIENCE_WITH_SENTINEL: Final = {"socket_connect_timeout": 1.0, "socket_timeout": 1.0}
_RETRYING: Final = ("retry_on_error", "retry_on_timeout")


def connect(connection: Connection) -> Any:
    """A client that tries once.

    redis-py can try again by itself, but only at the same address, one command at a time, and what was refused as well;
    options about that are accepted and without effect.

    Raises:
        ConfigurationError: if an option is none of the client's.
    """
    patience = _PATIENCE if connection.sentinels is None else _PATIENCE_WITH_MASTER
    options = {**patience, "client_name": "kvproxy", **client_options(connection), "retry": _once()}
    for name in _RETRYING:
        options.pop(name, None)
    try:
        if connection.sentinels is None:
            return Redis(**options)
        return _following(connection, connection.sentinels, options)
    except TypeError as error:
        raise ConfigurationError(
            f"redis_client_kwargs holds an option that the Redis client refuses: {error}."
        ) from None


class FollowingRedis(Redis):
    """A client of whichever server is the master; asks the sentinels at each new connection.

    A master that has become a replica says so at the first write (READONLY), or closes all connections at the
    sentinels' behest; either way the next connection is to the new one.
    """

    #: Its connections to the sentinels.
    guide: Any = None

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Close the connections to the sentinels as well, which redis-py leaves to whoever made them."""
        await super().aclose(close_connection_pool)
        if self.guide is not None:
            await asyncio.gather(*(sentinel.aclose() for sentinel in self.guide.sentinels))


def _following(connection: Connection, sentinels: Sentinels, options: dict[str, Any]) -> Any:
    guide: Any = Sentinel(  # type: ignore[no-untyped-call]
        sentinels.addresses, sentinel_kwargs=_sentinel_options(connection)
    )
    client: Any = guide.master_for(sentinels.master, redis_class=FollowingRedis, **options)
    client.guide = guide
    # The pool would look at the options only when it first connects.
    client.connection_pool.make_connection()
    return client


def sentinel_client(connection: Connection, host: str, port: int) -> Any:
    """A client of one sentinel, which tries once."""
    return Redis(host=host, port=port, **_sentinel_options(connection))


def _sentinel_options(connection: Connection) -> dict[str, Any]:
    return {**_PATIENCE_WITH_SENTINEL, "retry": _once(), **sentinel_options(connection)}


def _once() -> Retry:
    """Must be of the asynchronous class: the synchronous one is accepted and does nothing (redis-py issue 4262)."""
    return Retry(NoBackoff(), 0)

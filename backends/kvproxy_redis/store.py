"""Routes in Redis or Valkey.

The configuration is one string key a value below the root; the records are one hash, which Traefik's scan of the key
space passes in one step, however large it is.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ConnectionError,
    NoPermissionError,
    ReadOnlyError,
    RedisError,
    TimeoutError,
)

from kvproxy.errors import ConfigurationError, StoreAuthError, StoreError, StoreUnavailable
from kvproxy.store import Capabilities, Operation, Snapshot, Space, Store, Transaction

from .checks import findings, notifies_of_keys
from .connection import Connection, client_options

#: Keys asked for at once in a full read.
_PAGE: Final = 1000
_GLOB: Final = re.compile(r"([\\*?\[\]^-])")


def connect(connection: Connection, retries: int = 6) -> Any:
    """A client that retries for about two seconds before it gives up, or as often as is said.

    ``Redis`` alone retries with redis-py's own default only when it is not built from a pool; the asynchronous Retry
    class is needed, as the synchronous one is accepted and does nothing (redis-py issue 4262).
    """
    options: dict[str, Any] = {
        "socket_connect_timeout": 5,
        "socket_timeout": 10,
        "retry": Retry(ExponentialBackoff(base=0.05, cap=1), retries),
        "retry_on_error": [ConnectionError, TimeoutError, BusyLoadingError],
        "client_name": "kvproxy",
    }
    options |= client_options(connection)
    options.pop("retry_on_timeout", None)
    try:
        return Redis(**options)
    except TypeError as error:
        raise ConfigurationError(
            f"redis_client_kwargs holds an option that the Redis client refuses: {error}."
        ) from None


class RedisStore(Store):
    """A :class:`~kvproxy.store.Store` in Redis.

    Args:
        connection: where Redis is.
        traefik_root: root of the configuration, without slashes at its ends.
        jupyterhub_root: root of the records, likewise.
    """

    #: Redis has no limit of its own; this one keeps a transaction from holding up everybody else for long.
    capabilities = Capabilities(max_operations=20_000)
    quieter = (
        "Redis notifies it of every key (notify-keyspace-events), which a Traefik that may run CONFIG switches on. "
        "Give it a Redis user that may not: c.TraefikRedisProxy.redis_traefik_username and redis_traefik_password, and "
        "the ACL SETUSER line in docs/how-to/redis.md; then say CONFIG SET notify-keyspace-events '' once in Redis."
    )

    def __init__(self, connection: Connection, traefik_root: str, jupyterhub_root: str) -> None:
        self._connection = connection
        self._redis = connect(connection)
        self._root = traefik_root + "/"
        self._records = jupyterhub_root + "/routes"
        self._claim = jupyterhub_root + "/hub"
        self._probe = jupyterhub_root + "/probe-"
        # Traefik listens to `__keyspace*:<root>*`: one message under the name of a key below the root wakes it once,
        # whether or not the server sends notifications of its own (kvtools/redis 1.2, `WatchTree`).
        self._channel = f"__keyspace@{connection.db}__:{self._root}"

    async def check(self) -> list[str]:
        """See :meth:`kvproxy.store.Store.check`; reads the server's configuration where it may."""
        # Who checks wants to know at once, and tries again by himself; redis-py would retry even refused credentials.
        async with self._errors(), connect(self._connection, retries=0) as redis:
            await redis.ping()
            return await findings(redis, self._connection)

    async def list(self) -> Snapshot:
        """See :meth:`kvproxy.store.Store.list`."""
        async with self._errors():
            config: dict[str, str] = {}
            async for keys in self._pages():
                values = await self._redis.mget(keys)
                config |= {
                    key.decode()[len(self._root) :]: value.decode()
                    for key, value in zip(keys, values, strict=True)
                    if value is not None
                }
            records = await self._redis.hgetall(self._records)
            return Snapshot(config, {key.decode(): value.decode() for key, value in records.items()})

    async def get(self, key: str) -> str | None:
        """See :meth:`kvproxy.store.Store.get`."""
        async with self._errors():
            value = await self._redis.get(self._root + key)
            return None if value is None else str(value.decode())

    async def apply(self, transaction: Transaction) -> None:
        """See :meth:`kvproxy.store.Store.apply`: one MULTI, with one PUBLISH in it if Traefik is to be woken."""
        async with self._errors(), self._redis.pipeline(transaction=True) as pipe:
            self._queue(pipe, transaction.operations)
            if transaction.wake:
                pipe.publish(self._channel, "set")
            await pipe.execute()

    def _queue(self, pipe: Any, operations: tuple[Operation, ...]) -> None:
        config = [operation for operation in operations if operation.space is Space.CONFIG]
        records = [operation for operation in operations if operation.space is Space.RECORDS]
        if values := {self._root + o.key: o.value for o in config if o.value is not None}:
            pipe.mset(values)
        if values := {o.key: o.value for o in records if o.value is not None}:
            pipe.hset(self._records, mapping=values)
        if gone := [self._root + o.key for o in config if o.value is None]:
            pipe.delete(*gone)
        if gone := [o.key for o in records if o.value is None]:
            pipe.hdel(self._records, *gone)

    async def claim(self, text: str | None) -> None:
        """See :meth:`kvproxy.store.Store.claim`."""
        async with self._errors():
            await (self._redis.delete(self._claim) if text is None else self._redis.set(self._claim, text))

    async def claimed(self) -> str | None:
        """See :meth:`kvproxy.store.Store.claimed`."""
        async with self._errors():
            value = await self._redis.get(self._claim)
            return None if value is None else str(value.decode(errors="replace"))

    async def noisy(self) -> bool:
        """See :meth:`kvproxy.store.Store.noisy`: whether Redis sends keyspace notifications, to whomever."""
        async with self._errors():
            return await notifies_of_keys(self._redis, self._connection.db, f"{self._probe}{secrets.token_hex(8)}")

    async def aclose(self) -> None:
        """See :meth:`kvproxy.store.Store.aclose`."""
        await self._redis.aclose()

    async def _pages(self) -> AsyncIterator[Sequence[bytes]]:
        pattern = _GLOB.sub(r"\\\1", self._root) + "*"
        page = []
        async for key in self._redis.scan_iter(match=pattern, count=_PAGE, _type="string"):
            page.append(key)
            if len(page) == _PAGE:
                yield page
                page = []
        if page:
            yield page

    @asynccontextmanager
    async def _errors(self) -> AsyncIterator[None]:
        try:
            yield
        except (RedisError, OSError, UnicodeDecodeError) as error:
            raise explain(error, self._connection) from None


def explain(error: Exception, connection: Connection) -> StoreError:
    """One of kvproxy's errors for one of the client's."""
    text = _safe(error, connection)
    where = f"Redis at {connection}"
    if isinstance(error, NoPermissionError):
        who = connection.username or "default"
        return StoreAuthError(
            f"{where} does not let the user {who!r} do what kvproxy needs ({text}); see the docs' ACL."
        )
    if isinstance(error, AuthenticationError) or "WRONGPASS" in text or "NOAUTH" in text:
        return StoreAuthError(f"{where} refuses the credentials; check redis_username and redis_password.")
    if isinstance(error, ReadOnlyError):
        return StoreError(f"{where} is a read-only replica; name the master in redis_url.")
    if isinstance(error, BusyLoadingError):
        return StoreUnavailable(f"{where} is still loading its data.")
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return StoreError(f"{where} has a certificate that is not trusted; give its authority with ssl_ca_certs.")
    if isinstance(error, TimeoutError) and connection.tls is not None:
        return StoreUnavailable(f"{where} does not answer ({text}); does it speak TLS there?")
    if isinstance(error, (ConnectionError, TimeoutError, OSError)):
        return StoreUnavailable(f"{where} cannot be reached ({text}).")
    if isinstance(error, UnicodeDecodeError):
        return StoreError(f"{where} holds a key or value below kvproxy's roots that is not UTF-8 text; remove it.")
    return StoreError(f"{where} answers: {text}.")


def _safe(error: Exception, connection: Connection) -> str:
    text = str(error).strip().rstrip(".") or type(error).__name__
    return text.replace(connection.password, "…") if connection.password else text

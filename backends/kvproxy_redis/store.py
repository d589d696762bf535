"""Routes in Redis or Valkey.

The configuration is one string key a value below the root; the records are one hash, which Traefik's scan of the key
space passes in one step, however large it is.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, TypeVar

from redis.exceptions import RedisError, WatchError

from kvproxy.errors import StoreChanged, StoreError, StoreUnavailable
from kvproxy.store import Capabilities, Operation, Snapshot, Space, Store, Transaction

from .admission import Login
from .cancelling import insist
from .checks import findings, notifies_of_keys, try_admitting, try_rights
from .client import connect
from .connection import Connection
from .explain import explain
from .exposure import exposure, in_clear_text
from .sentinel_checks import sentinel_findings

T = TypeVar("T")

#: Seconds between tries, after the last of which an operation fails.
_PAUSES: Final = (0.05, 0.1, 0.2, 0.4, 0.8, 1.0)
#: Keys asked for at once in a full read.
_PAGE: Final = 1000
_GLOB: Final = re.compile(r"([\\*?\[\]^-])")


class RedisStore(Store):
    """A :class:`~kvproxy.store.Store` in Redis.

    A server may be emptied, replaced by one that lags behind, or be handed a transaction that was given up long ago. So
    each transaction holds only if the fence, a key of its own, is as this store saw it last, and changes it.

    Args:
        connection: where Redis is.
        traefik_root: root of the configuration, without slashes at its ends.
        jupyterhub_root: root of the records, likewise.
        admits: the user that Traefik comes as, if it is this store that lets it in.
    """

    #: Redis has no limit of its own; this one keeps a transaction from holding up everybody else for long.
    capabilities = Capabilities(max_operations=20_000, fenced=True)
    quieter = (
        "Redis notifies it of every key (notify-keyspace-events), which a Traefik that may run CONFIG switches on. "
        "Give it a Redis user that may not: c.TraefikRedisProxy.redis_traefik_username and redis_traefik_password, and "
        "the ACL SETUSER line in docs/how-to/redis.md; then say CONFIG SET notify-keyspace-events '' once in Redis."
    )

    def __init__(
        self, connection: Connection, traefik_root: str, jupyterhub_root: str, admits: Login | None = None
    ) -> None:
        self._connection = connection
        self._admits = admits
        self._redis = connect(connection)
        self._root = traefik_root + "/"
        self._records = jupyterhub_root + "/routes"
        self._claim = jupyterhub_root + "/hub"
        self._fence_key = jupyterhub_root + "/fence"
        # What it holds, None if there is none; and whether that is known.
        self._fence: bytes | None = None
        self._knows = False
        # Whether a transaction may be under way that nobody waits for any more; a read shuts it out.
        self._unsure = False
        self._probe = jupyterhub_root + "/probe-"
        # Traefik listens to `__keyspace*:<root>*`: one message under the name of a key below the root wakes it once,
        # whether or not the server sends notifications of its own (kvtools/redis 1.2, `WatchTree`).
        self._channel = f"__keyspace@{connection.db}__:{self._root}"

    async def check(self) -> list[str]:
        """See :meth:`kvproxy.store.Store.check`; reads the server's configuration where it may."""
        return await insist(self._check())

    async def _check(self) -> list[str]:
        # Who checks wants to know at once, and tries again by himself.
        found = await sentinel_findings(self._connection)
        async with self._errors(), connect(self._connection) as redis:
            await redis.ping()
            found += await findings(redis, self._connection)
            found += await exposure(redis, self._connection)
            await try_rights(redis, self._root, self._records, self._fence_key, self._channel)
            if self._admits is not None:
                await try_admitting(redis, self._admits, self._fence_key)
            return found

    def in_clear_text(self) -> list[str]:
        """See :meth:`kvproxy.store.Store.in_clear_text`."""
        return in_clear_text(self._connection)

    async def list(self) -> Snapshot:
        """See :meth:`kvproxy.store.Store.list`."""
        return await self._try(self._list)

    async def _list(self) -> Snapshot:
        # On one connection, whose end is an error: another one may be to another server, where the scan's cursor means
        # something else. It is given back also if this is cancelled before it has been connected.
        async with aclosing(self._redis.client()) as redis:
            # First: whatever is written while the rest is read is going to be noticed.
            if self._unsure:
                await redis.set(self._fence_key, secrets.token_hex(8))
                self._unsure = False
            fence = await redis.get(self._fence_key)
            config: dict[str, str] = {}
            async for keys in self._pages(redis):
                values = await redis.mget(keys)
                config |= {
                    self._text(key, key)[len(self._root) :]: self._text(value, key)
                    for key, value in zip(keys, values, strict=True)
                    if value is not None
                }
            records = await redis.hgetall(self._records)
            self._fence, self._knows = fence, True
            return Snapshot(config, {self._text(key, key): self._text(value, key) for key, value in records.items()})

    def _text(self, data: bytes, key: bytes) -> str:
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise StoreError(
                f"Redis at {self._connection} holds something that is not UTF-8 text below kvproxy's roots, at the key "
                f"{repr(key)[1:]}; remove it."
            ) from None

    async def get(self, key: str) -> str | None:
        """See :meth:`kvproxy.store.Store.get`."""
        value = await self._try(lambda: self._redis.get(self._root + key))
        return None if value is None else str(value.decode(errors="replace"))

    async def apply(self, transaction: Transaction) -> None:
        """See :meth:`kvproxy.store.Store.apply`: one MULTI, with one PUBLISH in it if Traefik is to be woken."""
        mark, knows, self._knows = secrets.token_hex(8).encode(), self._knows, False
        self._unsure = True
        try:
            await self._try(lambda: self._apply(transaction, mark, knows))
        except StoreChanged:
            self._unsure = False
            raise
        self._fence, self._knows, self._unsure = mark, True, False

    async def _apply(self, transaction: Transaction, mark: bytes, knows: bool) -> None:
        async with self._redis.pipeline(transaction=True) as pipe:
            await pipe.watch(self._fence_key)
            found = await pipe.get(self._fence_key)
            if found == mark:
                return  # it was applied before, and only the answer was lost
            if knows and found != self._fence:
                raise self._moved()
            pipe.multi()
            self._queue(pipe, transaction.operations)
            pipe.set(self._fence_key, mark)
            if transaction.wake:
                pipe.publish(self._channel, "set")
            await pipe.execute()

    def _moved(self) -> StoreChanged:
        return StoreChanged(f"Redis at {self._connection} is not as kvproxy left it.")

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
        await self._try(lambda: self._redis.delete(self._claim) if text is None else self._redis.set(self._claim, text))

    async def claimed(self) -> str | None:
        """See :meth:`kvproxy.store.Store.claimed`."""
        value = await self._try(lambda: self._redis.get(self._claim))
        return None if value is None else str(value.decode(errors="replace"))

    async def admitted(self) -> bool:
        """See :meth:`kvproxy.store.Store.admitted`."""
        login = self._admits
        return login is None or await self._try(lambda: login.is_known(self._redis))

    async def admit(self) -> None:
        """See :meth:`kvproxy.store.Store.admit`: behind the fence, so that it is done where all was written."""
        if (login := self._admits) is not None:
            await self._try(lambda: self._admit(login))

    async def _admit(self, login: Login) -> None:
        async with self._redis.pipeline(transaction=True) as pipe:
            await pipe.watch(self._fence_key)
            if self._knows and await pipe.get(self._fence_key) != self._fence:
                raise self._moved()
            pipe.multi()
            pipe.execute_command(*login.command)
            await pipe.execute()

    async def forget(self) -> None:
        """See :meth:`kvproxy.store.Store.forget`: the fence."""
        self._knows = False
        await self._try(lambda: self._redis.delete(self._fence_key))

    async def noisy(self) -> bool:
        """See :meth:`kvproxy.store.Store.noisy`: whether Redis sends keyspace notifications, to whomever."""
        key = f"{self._probe}{secrets.token_hex(8)}"
        return await self._try(lambda: notifies_of_keys(self._redis, self._connection.db, key))

    async def clock(self) -> float | None:
        """See :meth:`kvproxy.store.Store.clock`; few ACL users may ask."""
        async with self._errors():
            seconds, microseconds = await insist(self._redis.time())
            return float(seconds) + float(microseconds) / 1e6

    async def aclose(self) -> None:
        """See :meth:`kvproxy.store.Store.aclose`."""
        await self._redis.aclose()

    async def _pages(self, redis: Any) -> AsyncIterator[Sequence[bytes]]:
        pattern = _GLOB.sub(r"\\\1", self._root) + "*"
        page = []
        async for key in redis.scan_iter(match=pattern, count=_PAGE, _type="string"):
            page.append(key)
            if len(page) == _PAGE:
                yield page
                page = []
        if page:
            yield page

    async def _try(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Try for about two seconds, and longer where the server is silent; always as a whole."""
        return await insist(self._tries(operation))

    async def _tries(self, operation: Callable[[], Awaitable[T]]) -> T:
        for pause in _PAUSES:
            try:
                async with self._errors():
                    return await operation()
            except StoreChanged:
                raise
            except StoreUnavailable:
                await asyncio.sleep(pause)
        async with self._errors():
            return await operation()

    @asynccontextmanager
    async def _errors(self) -> AsyncIterator[None]:
        try:
            yield
        except WatchError:
            raise StoreUnavailable(f"Redis at {self._connection} was written to at the same moment.") from None
        except (RedisError, OSError) as error:
            raise explain(error, self._connection) from None

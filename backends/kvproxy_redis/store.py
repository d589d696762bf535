"""Routes in Redis or Valkey.

The configuration is one string key a value below the root; the records are one hash, which Traefik's scan of the key
space passes in one step, however large it is.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, TypeVar

from redis.exceptions import RedisError, ResponseError

from kvproxy import (
    Capabilities,
    Snapshot,
    Store,
    StoreAuthError,
    StoreChangedError,
    StoreError,
    StoreUnavailableError,
    StoreWriteRefusedError,
    Transaction,
)
from kvproxy._types import Log

from .admission import Login, described
from .cancellation import insist
from .checks import Keys, crowded, findings, may_configure, try_admitting, try_reading, try_rights
from .client import connect
from .commands import commands_of, pattern_of
from .connection import Connection
from .errors import MasterMissing, explain, explain_login
from .exposure import exposure, in_clear_text
from .following import Follower
from .notifications import QUIETER_WITH_OWN_USER, Notifications, notifies_of_keys
from .sentinel_checks import ask_all, sentinel_findings, why_no_master
from .sentinels import endpoint
from .standby import Address, Standby
from .transactions import Command, KeyChanged, is_wrong_type, transact, value_of

T = TypeVar("T")

_LOG: Final = logging.getLogger(__name__)
#: Seconds between tries, after the last of which an operation fails.
_PAUSES: Final = (0.05, 0.1, 0.2, 0.4, 0.8, 1.0)
#: Seconds after which there is no further try: then the server counts as unreachable.
_ENOUGH: Final = 3.0
#: Keys asked for at once in a full read.
_PAGE: Final = 1000


class RedisStore(Store):
    """A :class:`~kvproxy.store.base.Store` in Redis.

    A server may be emptied, replaced by one that lags behind, or be handed a transaction that was given up long ago. So
    each transaction holds only if the fence, a key of its own, is as this store saw it last, and changes it.

    Args:
        connection: where Redis is.
        traefik_root: root of the configuration, without slashes at its ends.
        jupyterhub_root: root of the records, likewise.
        admits: the user that Traefik comes as, if it is this store that lets it in.
        log: where to say which server is the master, and what is wrong with the replicas.
        traefik: as whom Traefik comes otherwise; None if that is not known.
        starts_traefik: whether the hub starts that Traefik, which then comes so and in no other way.
        notifications: what to do about keyspace notifications: ``auto``, ``keep`` or ``off``, see
            :func:`.notifications.unwanted`.
    """

    #: Redis has no limit of its own; this one keeps a transaction from holding up other clients for long.
    capabilities = Capabilities(max_operations=20_000, fenced=True)
    notification_advice = (
        "Redis notifies it of every key (notify-keyspace-events), which a Traefik that may run CONFIG switches on. "
        "If nothing else needs that, set c.TraefikRedisProxy.redis_notifications = 'off', and the hub switches it off. "
        "Or give Traefik a Redis user that may not run CONFIG: redis_traefik_username and redis_traefik_password, and "
        "the ACL SETUSER line in docs/how-to/redis.md; then say CONFIG SET notify-keyspace-events '' once in Redis."
    )

    def __init__(
        self,
        connection: Connection,
        traefik_root: str,
        jupyterhub_root: str,
        admits: Login | None = None,
        log: Log | None = None,
        traefik: Connection | None = None,
        notifications: str = "auto",
        starts_traefik: bool = False,
    ) -> None:
        self._connection = connection
        self._starts_traefik = starts_traefik
        if admits is not None or traefik not in (None, connection):
            self.notification_advice = QUIETER_WITH_OWN_USER
        self._admits = admits
        self._notifications = Notifications(notifications, log)
        self._redis = connect(connection)
        self._root = traefik_root + "/"
        self._records = jupyterhub_root + "/routes"
        self._claim = jupyterhub_root + "/hub"
        self._fence_key = jupyterhub_root + "/fence"
        # Its contents, None if there is none; and whether that is known.
        self._fence: bytes | None = None
        self._knows = False
        # True if a transaction may be under way that is no longer waited for; a read fences it off.
        self._unsure = False
        # True if the records' key holds something else than records.
        self._spoilt = False
        # How Redis described Traefik's user when the hub had just made it.
        self._made: Mapping[str, Any] | None = None
        self._let_in_at: Address | None = None  # the master it was made on last
        self._probe = jupyterhub_root + "/probe-"
        # Traefik listens to `__keyspace*:<root>*`: one message under the name of a key below the root wakes it once,
        # whether or not the server sends notifications of its own (kvtools/redis 1.2, `WatchTree`).
        self._channel = f"__keyspace@{connection.db}__:{self._root}"
        self._keys = Keys(self._root, self._records, self._fence_key, self._channel)
        self._standby = Standby(connection, self._keys, admits, traefik)
        self._follower = None
        if connection.sentinels is not None:
            self._follower = Follower(connection, self._redis, self._standby, log or _LOG)

    def watch(self, changed: Callable[[], None]) -> None:
        """See :meth:`kvproxy.store.base.Store.watch`: when the sentinels have named another master."""
        if self._follower is not None:
            self._follower.moved, self._follower.wake = changed, self._wake_at_former
            self._follower.begin()

    async def check(self) -> list[str]:
        """See :meth:`kvproxy.store.base.Store.check`; reads the server's configuration where it may."""
        return await insist(self._check())

    async def _check(self) -> list[str]:
        # The caller of a check wants the answer at once, and retries by itself.
        found = await sentinel_findings(self._standby)
        if self._follower is not None:
            self._follower.said = set(found)
        async with self._errors(), connect(self._connection) as redis:
            await redis.ping()
            # Before Traefik comes, and switches them on.
            await self._notifications.learn(redis)
            found += await findings(redis, self._connection)
            found += await exposure(redis, self._connection)
            found += await crowded(redis, [pattern_of(self._root), pattern_of(self._claim[:-3])], self._connection)
            found += await self._try_all(redis)
        return [*found, *await self._try_as_traefik()]

    async def _try_all(self, redis: Any) -> Sequence[str]:
        try:
            await try_rights(redis, self._keys)
            if self._admits is not None:
                await try_admitting(redis, self._admits, self._fence_key)
        except ResponseError as error:
            refused = explain(error, self._connection)
            if isinstance(refused, StoreWriteRefusedError):
                return [f"{refused} Routes that are there are served; new ones have to wait."]
            raise
        return []

    async def _try_as_traefik(self) -> Sequence[str]:
        """Log in as the user that Traefik has for itself: refused is a start that would wait for it in vain."""
        traefik = self._standby.traefik
        if self._admits is not None or traefik is None or traefik == self._connection:
            return []
        try:
            async with connect(traefik, named=False) as redis:
                await try_reading(redis, self._root.rstrip("/"))
                return await may_configure(redis, traefik)
        except (RedisError, OSError) as error:
            refused = explain_login(error, traefik)
            if self._starts_traefik or not isinstance(refused, StoreAuthError):
                raise refused from None
            # A Traefik of somebody else's may come otherwise.
            return [str(refused)]

    def in_clear_text(self) -> list[str]:
        """See :meth:`kvproxy.store.base.Store.in_clear_text`."""
        return in_clear_text(self._connection)

    async def snapshot(self) -> Snapshot:
        """See :meth:`kvproxy.store.base.Store.snapshot`."""
        return await self._try(self._list)

    async def _list(self) -> Snapshot:
        # On one connection, whose end is an error: another one may be to another server, where the scan's cursor means
        # something else. It is given back also if this is cancelled before it has been connected.
        async with aclosing(self._redis.client()) as redis:
            # First: whatever is written while the rest is read is going to be noticed.
            if self._unsure:
                await redis.set(self._fence_key, secrets.token_hex(8))
                self._unsure = False
            fence = await self._string(redis, self._fence_key)
            config: dict[str, str] = {}
            async for keys in self._pages(redis):
                values = await redis.mget(keys)
                config |= {
                    self._text(key, key)[len(self._root) :]: self._text(value, key)
                    for key, value in zip(keys, values, strict=True)
                    if value is not None
                }
            records, self._spoilt = await self._hash(redis)
            self._fence, self._knows = fence, True
            return Snapshot(config, {self._text(key, key): self._text(value, key) for key, value in records.items()})

    async def _hash(self, redis: Any) -> tuple[dict[bytes, bytes], bool]:
        """The records, none if their key is not a hash, and whether it has to be removed first, as it is none."""
        try:
            return await redis.hgetall(self._records), False
        except ResponseError as error:
            if is_wrong_type(error):
                return {}, True
            raise

    async def _string(self, redis: Any, key: str) -> bytes | None:
        """A key's value, :data:`OTHER_TYPE` if it is not a string: every SET writes over it."""
        try:
            return value_of(await redis.get(key))
        except ResponseError as error:
            return value_of(error)

    def _text(self, data: bytes, key: bytes) -> str:
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise StoreError(
                f"Redis at {self._connection} holds something that is not UTF-8 text below kvproxy's roots, at the key "
                f"{repr(key)[1:]}; remove it."
            ) from None

    async def get(self, key: str) -> str | None:
        """See :meth:`kvproxy.store.base.Store.get`."""
        value = await self._try(lambda: self._string(self._redis, self._root + key))
        return None if value is None else str(value.decode(errors="replace"))

    async def apply(self, transaction: Transaction) -> None:
        """See :meth:`kvproxy.store.base.Store.apply`: one MULTI, with one PUBLISH in it if Traefik is to be woken."""
        mark, knows, self._knows = secrets.token_hex(8).encode(), self._knows, False
        try:
            await self._try(lambda: self._apply(transaction, mark, knows))
        except StoreChangedError:
            self._unsure = False
            raise
        self._fence, self._knows, self._unsure, self._spoilt = mark, True, False, False
        if transaction.wake:
            self._wake_at_former()

    async def _apply(self, transaction: Transaction, mark: bytes, knows: bool) -> None:
        before = self._unsure

        def commands(found: bytes | None) -> list[Command]:
            if found == mark:
                return []  # it was applied before, and only the answer was lost
            if knows and found != self._fence:
                raise self._moved()
            self._unsure = True
            wake = [("PUBLISH", self._channel, "set")] if transaction.wake else []
            changes = commands_of(transaction.operations, self._root, self._records, replace=self._spoilt)
            return [*changes, ("SET", self._fence_key, mark), *wake]

        try:
            await transact(self._redis, self._fence_key, commands)
        except (ResponseError, KeyChanged):
            # The server has answered, so nothing of this try is under way any more.
            self._unsure = before
            raise

    def _moved(self) -> StoreChangedError:
        return StoreChangedError(f"Redis at {self._connection} is not as kvproxy left it.")

    async def write_lease(self, text: str | None) -> None:
        """See :meth:`kvproxy.store.base.Store.write_lease`."""
        await self._try(lambda: self._redis.delete(self._claim) if text is None else self._redis.set(self._claim, text))

    async def read_lease(self) -> str | None:
        """See :meth:`kvproxy.store.base.Store.read_lease`."""
        value = await self._try(lambda: self._string(self._redis, self._claim))
        return None if value is None else str(value.decode(errors="replace"))

    async def traefik_admitted(self) -> bool:
        """See :meth:`.Store.traefik_admitted`: whether Redis knows Traefik's user just as the hub has made it."""
        if (login := self._admits) is None:
            return True
        user = await self._try(lambda: login.known(self._redis))
        if not user or self._made not in (None, user):
            return False
        self._let_in_at = self._master()
        return True

    async def admit_traefik(self) -> None:
        """See :meth:`kvproxy.store.base.Store.admit_traefik`: behind the fence, so where all was written."""
        if (login := self._admits) is not None:
            await self._try(lambda: self._admit(login))
            await self._try(lambda: login.revoke_former(self._redis))

    async def _admit(self, login: Login) -> None:
        def commands(found: bytes | None) -> list[Command]:
            if self._knows and found != self._fence:
                raise self._moved()
            return [login.command, login.question]

        _, answer = await transact(self._redis, self._fence_key, commands, await login.pause(self._redis))
        self._made = described(answer)
        if not self._lets_in():
            self._let_in_at = self._master()
            self._wake_at_former()

    def _master(self) -> Address | None:
        return self._follower.master if self._follower is not None else None

    def _lets_in(self) -> bool:
        """True if Traefik may read from the present master; being refused is an error to it, which costs it time."""
        return self._admits is None or self._let_in_at == self._master()

    def _wake_at_former(self) -> None:
        if self._follower is not None and self._lets_in():
            self._follower.publish(self._channel, "set")

    async def purge(self) -> None:
        """See :meth:`kvproxy.store.base.Store.purge`: the fence."""
        self._knows = False
        await self._try(lambda: self._redis.delete(self._fence_key))

    async def disable_key_notifications(self) -> None:
        """See :meth:`.Store.disable_key_notifications`: the keyspace notifications that Traefik has switched on."""
        await self._try(lambda: self._notifications.hush(self._redis))

    async def notifies_per_key(self) -> bool:
        """See :meth:`.Store.notifies_per_key`: True if Redis sends keyspace notifications, to whomever."""
        key = f"{self._probe}{secrets.token_hex(8)}"
        return await self._try(lambda: notifies_of_keys(self._redis, self._connection.db, key))

    async def server_time(self) -> float | None:
        """See :meth:`kvproxy.store.base.Store.server_time`; few ACL users may ask."""
        async with self._errors():
            seconds, microseconds = await insist(self._redis.time())
            return float(seconds) + float(microseconds) / 1e6

    async def aclose(self) -> None:
        """See :meth:`kvproxy.store.base.Store.aclose`."""
        if self._follower is not None:
            await self._follower.aclose()
        await self._redis.aclose()

    async def _pages(self, redis: Any) -> AsyncIterator[Sequence[bytes]]:
        pattern = pattern_of(self._root)
        page = []
        async for key in redis.scan_iter(match=pattern, count=_PAGE, _type="string"):
            page.append(key)
            if len(page) == _PAGE:
                yield page
                page = []
        if page:
            yield page

    async def _try(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Try for about two seconds, always as a whole; a server that was silent for longer is not asked again."""
        try:
            return await insist(self._tries(operation))
        except MasterMissing:
            raise await self._without_master() from None

    async def _without_master(self) -> StoreUnavailableError:
        """Why no sentinel names a master: the client takes a refused password, too, for a master that is missing."""
        sentinels = self._connection.sentinels
        assert sentinels is not None  # noqa: S101 - for the type checker
        return StoreUnavailableError(why_no_master(await insist(ask_all(self._connection)), sentinels))

    async def _tries(self, operation: Callable[[], Awaitable[T]]) -> T:
        loop = asyncio.get_running_loop()
        end = loop.time() + _ENOUGH
        for pause in _PAUSES:
            try:
                async with self._errors():
                    return await operation()
            except (StoreChangedError, StoreWriteRefusedError):
                raise
            except StoreUnavailableError:
                if loop.time() + pause > end:
                    raise
                await asyncio.sleep(pause)
        async with self._errors():
            return await operation()

    @asynccontextmanager
    async def _errors(self) -> AsyncIterator[None]:
        try:
            yield
        except KeyChanged:
            raise StoreUnavailableError(f"Redis at {self._connection} was written to at the same moment.") from None
        except (RedisError, OSError) as error:
            if is_wrong_type(error):
                # Only the hub's own keys are asked for as one type; which one it is, a full read finds.
                raise self._moved() from None
            master = self._master()
            raise explain(error, self._connection, endpoint(*master) if master is not None else "") from None

"""The master, as all sentinels see it, from one moment to the next.

In a planned failover the replica is made the master at once, while the one before goes on taking writes for some ten
seconds until it is made a replica. Traefik reads from the new one as soon as a sentinel says so, and listens to the old
one until its connection is closed (go-redis 9.21, as in Traefik 3.7). So the hub has to hear of it at the same
moment, and a message to Traefik has to go to both.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Final

from redis.exceptions import RedisError

from kvproxy import StoreUnavailableError
from kvproxy._tasks import begin
from kvproxy._types import Log

from .cancellation import end
from .client import FollowingRedis, connect
from .connection import Connection
from .sentinel_checks import ask_all, said_of_replica, troubles
from .sentinels import endpoint
from .standby import Address, Standby, alone, replicas

#: The channel in which a sentinel says that it holds another server for the master.
_CHANGES: Final = "+switch-master"
#: Seconds after which a sentinel is asked though it has said nothing.
_PAUSE: Final = 1.0
#: Seconds after which Traefik is notified again, one after another. Its client may hear of the new master later than
#: the hub, or in the midst of a read, which then is of a part of each server.
_REMINDERS: Final = (0.1, 0.2, 0.3, 0.4, 0.5)
#: Seconds between two visits to the replicas.
_ROUND: Final = 1.0
#: Seconds between two looks at whether hub and Traefik could work there.
_EXAMINED: Final = 60.0
#: Seconds for which Traefik may listen to a server that is not the master any more. Sentinels make it a replica after
#: some ten, and close its connections then.
_FORMER: Final = 60.0
#: Seconds that such a server is waited for.
_PATIENCE: Final = {"socket_connect_timeout": 0.5, "socket_timeout": 0.5}


@dataclass(frozen=True)
class Opinion:
    """The answer of one sentinel about the master.

    Args:
        address: host and port.
        epoch: number of the vote by which it became the master; the greatest is the newest.
        is_down: whether the sentinel misses it.
    """

    address: Address
    epoch: int
    is_down: bool = False


def newest(opinions: Iterable[Opinion], believed: Address | None = None) -> Opinion | None:
    """The opinion to follow: a sentinel that was away does not know of later votes.

    Args:
        opinions: one of each sentinel that has any.
        believed: the master until now, which counts if they disagree within one vote.
    """
    return max(opinions, key=lambda one: (one.epoch, one.address == believed, not one.is_down), default=None)


async def opinion(sentinel: Any, name: str) -> Opinion | None:
    """Ask a sentinel (a ``redis.asyncio.Redis``) for the master of this name; None if it does not know it.

    The one that leads a failover keeps the old address in its table until the replicas have followed, but answers with
    the new one when it is asked for that alone (``sentinelGetCurrentMasterAddress``, Redis 7.0).
    """
    found = await sentinel.sentinel_get_master_addr_by_name(name)
    state = (await sentinel.sentinel_masters()).get(name)
    if found is None or state is None:
        return None
    address = _text(found[0]), int(found[1])
    is_down = address == (state["ip"], int(state["port"])) and bool(state["is_sdown"] or state["is_odown"])
    return Opinion(address, int(state["config-epoch"]), is_down)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


class Follower:
    """Leads a client to whichever server is the master, without being asked.

    Args:
        connection: names the sentinels.
        redis: the client.
        standby: what to do at the other servers.
        log: the hub's logger.
    """

    def __init__(self, connection: Connection, redis: FollowingRedis, standby: Standby, log: Log) -> None:
        assert connection.sentinels is not None  # noqa: S101 - for the type checker
        self._connection = connection
        self._sentinels = connection.sentinels
        self._redis = redis
        self._standby = standby
        self._log = log
        #: The last warnings about sentinels and replicas.
        self.said: set[str] = set()
        self._opinions: dict[int, Opinion] = {}
        self._tasks: list[asyncio.Task[None]] = []
        # Those that were the master, with the moment from which on no client can be listening there.
        self._former: dict[Address, tuple[Any, float]] = {}
        self._messages: set[asyncio.Task[None]] = set()
        self._closed = False
        #: The master, None as long as no sentinel has said.
        self.master: Address | None = None
        #: Called when another server has become the master.
        self.moved: Callable[[], None] = lambda: None
        #: Called to have Traefik read again what is there.
        self.wake: Callable[[], None] = lambda: None

    def begin(self) -> None:
        """Begin to follow, if that was not done before."""
        if not self._tasks:
            work = [self._hear(number, sentinel) for number, sentinel in enumerate(self._redis.sentinels)]
            work.append(self._attend())
            self._tasks = [begin(one, "Following Redis' sentinels", self._log) for one in work]

    async def aclose(self) -> None:
        """End it."""
        self._closed = True
        await end({*self._tasks, *self._messages})
        await asyncio.gather(*(redis.aclose() for redis, _ in self._former.values()), return_exceptions=True)

    def publish(self, channel: str, message: str) -> None:
        """Publish a message on former masters too, for clients that still listen there; without waiting."""
        now = asyncio.get_running_loop().time()
        for redis, until in self._former.values():
            if now < until:
                self._begin(_publish(redis, channel, message))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        if self._closed:
            work.close()
            return
        task = asyncio.ensure_future(work)
        self._messages.add(task)
        task.add_done_callback(self._messages.discard)

    async def _remind(self) -> None:
        for pause in _REMINDERS:
            await asyncio.sleep(pause)
            self.wake()

    async def _hear(self, number: int, sentinel: Any) -> None:
        """Follow one sentinel: ask it whenever it says that something has changed, and now and then."""
        while True:
            with contextlib.suppress(RedisError, OSError, asyncio.TimeoutError):
                async with sentinel.pubsub() as channel:
                    await channel.subscribe(_CHANGES)
                    while True:
                        await self._ask(number, sentinel)
                        await channel.get_message(timeout=_PAUSE)
            self._heard(number, None)
            await asyncio.sleep(_PAUSE)

    async def _attend(self) -> None:
        """Visit the replicas now and then; each complaint is logged once."""
        examined, wrong = float("-inf"), list[str]()
        while True:
            await asyncio.sleep(_ROUND)
            known = await replicas(self._redis.sentinels, self._sentinels.master, self.master)
            shut_out = await self._standby.attend(known)
            now = asyncio.get_running_loop().time()
            if now >= examined + _EXAMINED:
                examined = now
                errors = await self._standby.examine(known)
                wrong = [said_of_replica(error) for error in errors if not isinstance(error, StoreUnavailableError)]
                wrong += troubles(await ask_all(self._connection))
            found = {*shut_out, *wrong}
            for sentence in sorted(found - self.said):
                self._log.warning("%s", sentence)
            self.said = found

    async def _ask(self, number: int, sentinel: Any) -> None:
        found = await opinion(sentinel, self._sentinels.master)
        self._heard(number, found)
        best = newest(self._opinions.values(), self.master)
        if best is not None and best.address != self.master:
            await self._follow(best.address)

    def _heard(self, number: int, found: Opinion | None) -> None:
        """Learn what a sentinel says, None if nothing."""
        if found is None:
            self._opinions.pop(number, None)
        else:
            self._opinions[number] = found
        best = newest(self._opinions.values(), self.master)
        self._redis.guide.heard = best.address if best is not None and not best.is_down else None

    async def _follow(self, address: Address) -> None:
        before, self.master = self.master, address
        self._log.info("The master of Redis is now %s, as the sentinels say.", endpoint(*address))
        if before is not None:
            redis, _ = self._former.get(before) or (connect(alone(self._connection, before), _PATIENCE), 0.0)
            self._former[before] = redis, asyncio.get_running_loop().time() + _FORMER
            self.moved()
            self._begin(self._remind())
        await self._redis.lead(address)


async def _publish(redis: Any, channel: str, message: str) -> None:
    with contextlib.suppress(RedisError, OSError):
        await redis.publish(channel, message)

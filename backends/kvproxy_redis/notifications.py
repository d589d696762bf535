"""Keyspace notifications that only Traefik has asked Redis for.

A Traefik that may run CONFIG has Redis notify it of every key of every database whenever it connects, and then reads
the whole configuration again for each key of a change. It needs none of that: each change ends with a message of the
hub's.
"""

from __future__ import annotations

import contextlib
import logging
from typing import Any, Final

from redis.exceptions import NoPermissionError, ResponseError

from kvproxy._types import Log

from .checks import PATIENCE, settings_of

_LOG: Final = logging.getLogger(__name__)
_SETTING: Final = "notify-keyspace-events"
#: Flags that Traefik sets (kvtools/redis 1.2, `New` and `WatchTree`); Redis gives it back in an order of its own.
_TRAEFIKS: Final = frozenset("KEA")

#: The remedy where Traefik has a user that need not run CONFIG, and something was switched on before.
QUIETER_WITH_OWN_USER: Final = (
    "Redis notifies it of every key (notify-keyspace-events), though Traefik has a user of its own. If nothing else "
    "needs that, set c.TraefikRedisProxy.redis_notifications = 'off', or say CONFIG SET notify-keyspace-events '' once "
    "in Redis."
)


def unwanted(wish: str, before: str | None, now: str) -> bool:
    """Tell if notifications are to be switched off.

    Args:
        wish: ``off``, ``keep`` for never, or ``auto``: if they were off before Traefik came.
        before: what was set when this hub saw it first; None if it has not.
        now: what is set.

    >>> unwanted("auto", "", "AKE"), unwanted("auto", "AKE", "AKE"), unwanted("auto", "", "Ex")
    (True, False, False)
    """
    if wish == "auto":
        return before == "" and frozenset(now) == _TRAEFIKS
    return wish == "off" and now != ""


async def flags_of(redis: Any) -> str | None:
    """The present setting; None for a user that may not read it, or on a Redis without CONFIG."""
    return (await settings_of(redis, _SETTING)).get(_SETTING)


class Notifications:
    """Keeps Redis from sending what only Traefik has switched on.

    Args:
        wish: see :func:`unwanted`.
        log: where to say so.
    """

    def __init__(self, wish: str, log: Log | None = None) -> None:
        self._wish = wish
        self._log = log or _LOG
        self._before: str | None = None
        self._refused = False
        self._said = False

    async def learn(self, redis: Any) -> None:
        """See what is set before Traefik comes, if it was not seen before.

        Args:
            redis: a ``redis.asyncio.Redis``.
        """
        if self._before is None:
            self._before = await flags_of(redis)

    async def hush(self, redis: Any) -> None:
        """Look what is set, and switch it off if it is unwanted. Nothing happens where CONFIG is refused."""
        if self._idle:
            return
        if (now := await flags_of(redis)) is None:
            self._refused = True
        elif unwanted(self._wish, self._before, now):
            with contextlib.suppress(ResponseError):
                await redis.config_set(_SETTING, "")
                self._tell()
        elif now or self._before is None:
            # Flags that another program sets meanwhile are needed by it.
            self._before = now

    @property
    def _idle(self) -> bool:
        """True where a look, made every second, could change nothing."""
        return self._refused or self._wish == "keep" or (self._wish == "auto" and bool(self._before))

    def _tell(self) -> None:
        if not self._said:
            self._said = True
            self._log.debug(
                "Traefik has had Redis notify it of every key; that is off again (redis_notifications = %r).",
                self._wish,
            )


async def notifies_of_keys(redis: Any, db: int, key: str) -> bool:
    """True if writes of keys reach listeners of the key space, such as Traefik; False if that is not known.

    Asks for the setting, and where it may not, listens whether a key that is set and deleted makes itself heard.

    Args:
        redis: a connected ``redis.asyncio.Redis``.
        db: number of its database.
        key: name of a key that is not used, and that no Traefik listens to.
    """
    if (flags := await flags_of(redis)) is not None:
        return notifies(flags)
    try:
        return await _hears(redis, f"__keyspace@{db}__:{key}", key)
    except NoPermissionError:
        return False


async def _hears(redis: Any, channel: str, key: str) -> bool:
    """True if the server itself says anything in the key's channel before we do, in one transaction with the key."""
    ours = b"kvproxy"
    async with redis.pubsub() as listener, redis.pipeline(transaction=True) as pipe:
        await listener.subscribe(channel)
        await listener.get_message(timeout=PATIENCE)  # that it listens now
        # The key is never seen, and no waiting is needed: messages come in the order of the commands.
        pipe.set(key, "").delete(key).publish(channel, ours)
        await pipe.execute()
        first = await listener.get_message(timeout=PATIENCE)
        return first is not None and first["data"] != ours


def notifies(flags: str) -> bool:
    """True if these ``notify-keyspace-events`` flags make writes of keys below the root reach Traefik.

    >>> notifies("AKE"), notifies("Ex"), notifies("")
    (True, False, False)
    """
    return "K" in flags and any(flag in flags for flag in "A$gn")

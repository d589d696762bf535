"""Keyspace notifications that nobody but Traefik has asked Redis for.

A Traefik that may run CONFIG has Redis notify it of every key of every database whenever it connects, and then reads
the whole configuration again for each key of a change. It needs none of that: each change ends with a message of the
hub's.
"""

from __future__ import annotations

import contextlib
import logging
from typing import Any, Final

from redis.exceptions import ResponseError

from kvproxy._types import Log

_LOG: Final = logging.getLogger(__name__)
_SETTING: Final = "notify-keyspace-events"
#: What Traefik sets (kvtools/redis 1.2, `New` and `WatchTree`); Redis gives it back in an order of its own.
_TRAEFIKS: Final = frozenset("KEA")


def unwanted(wish: str, before: str | None, now: str) -> bool:
    """Whether notifications are to be switched off.

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


class Notifications:
    """Keeps Redis from sending what only Traefik has switched on.

    Args:
        wish: see :func:`unwanted`.
        log: where to say so.
    """

    def __init__(self, wish: str, log: Log | None = None) -> None:
        self._wish: str = wish
        self._log = log or _LOG
        self._before: str | None = None
        self._refused = self._said = False

    async def learn(self, redis: Any) -> None:
        """See what is set before Traefik comes, if it was not seen before.

        Args:
            redis: a ``redis.asyncio.Redis``.
        """
        if self._before is None:
            self._before = await self._ask(redis)

    async def hush(self, redis: Any) -> None:
        """Look what is set, and switch it off if it is unwanted. Nothing happens where CONFIG is refused."""
        if self._wish == "keep" or (now := await self._ask(redis)) is None:
            return
        if unwanted(self._wish, self._before, now):
            with contextlib.suppress(ResponseError):
                await redis.config_set(_SETTING, "")
                self._tell()
        elif now or self._before is None:
            # Whoever sets something else while the hub is at work needs it.
            self._before = now

    async def _ask(self, redis: Any) -> str | None:
        """What is set; None where it is not told: to a user that may not ask, or by a Redis without CONFIG."""
        if self._refused:
            return None
        try:
            found = await redis.config_get(_SETTING)
        except ResponseError:
            self._refused = True
            return None
        value = next(iter(found.values()), b"")
        return value.decode() if isinstance(value, bytes) else str(value)

    def _tell(self) -> None:
        if not self._said:
            self._said = True
            self._log.debug(
                "Traefik has had Redis notify it of every key; that is off again (redis_notifications = %r).",
                self._wish,
            )

"""While a store does not do what it is asked for: what the hub's log says, and when it is tried again."""

from __future__ import annotations

import asyncio
from typing import Final

from .._types import Log
from ..errors import OwnershipError, StoreChangedError, StoreError, StoreWriteRefusedError
from ..store.base import Store
from .observer import Observer

#: Seconds between two tries while the store is away: doubled from the first to the second.
_FIRST_RETRY: Final = 0.1
_LAST_RETRY: Final = 2.0
#: Seconds between two looks at a store that tells whether it is away.
_LOOK: Final = 0.02


class StoreRetry:
    """The time from the first error to the next success; each is logged once.

    Args:
        store: what is tried again.
        observer: is told of each error.
        log: the hub's logger.
    """

    def __init__(self, store: Store, observer: Observer, log: Log) -> None:
        self._store = store
        self._observer = observer
        self._log = log
        self._retry = _FIRST_RETRY
        #: What the store said last, None if it works.
        self.problem: str | None = None
        # Whether it refuses changes, so that only a change tells that this is over; and whether one has been made.
        self._refuses = self._written = False

    def failed(self, error: Exception) -> None:
        """The store could not do what it was asked for."""
        if isinstance(error, StoreChangedError):
            # No failure: it is read again at once, and the log says then what is put right.
            return
        if not isinstance(error, StoreError):
            self._leaked(error)
        elif self.problem is None:
            self._log.error("%s%s", error, "" if isinstance(error, OwnershipError) else " Trying again.")
        self.problem = str(error)
        self._refuses, self._written = isinstance(error, StoreWriteRefusedError), False
        self._observer.store_failed()

    async def wait(self) -> None:
        """Until it is worth trying again: as soon as the store is seen to be back, else after a while."""
        seconds, self._retry = self._retry, min(2 * self._retry, _LAST_RETRY)
        if not await self._is_away():
            await asyncio.sleep(seconds)
            return
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while loop.time() < end:
            await asyncio.sleep(_LOOK)
            if not await self._is_away():
                return

    async def _is_away(self) -> bool:
        try:
            return await self._store.unreachable()
        except Exception as error:
            self._leaked(error)
            return False

    def _leaked(self, error: Exception) -> None:
        self._log.error("A store of kvproxy leaked an error that it should have named.", exc_info=error)

    def wrote(self) -> None:
        """Record that the store has taken a change."""
        self._written = True

    def over(self) -> None:
        """Record that the store has done all that it was asked for. After a refused change, reading proves nothing."""
        if self._refuses and not self._written:
            return
        if self.problem is not None:
            done = "; all changes that were waiting have been made" if self._written else ""
            self._log.info("The store answers again%s.", done)
        self.problem, self._refuses = None, False
        self._retry = _FIRST_RETRY

"""Logging and retries while the store is failing."""

from __future__ import annotations

import asyncio
from typing import Final

from .._types import Log
from ..errors import OwnershipError, StoreChangedError, StoreError, StoreWriteRefusedError
from ..store.base import Store
from .observer import Observer

#: Seconds before the first retry while the store is failing. They are doubled at each retry, up to the second number.
_FIRST_RETRY: Final = 0.1
_LAST_RETRY: Final = 2.0
#: Seconds between two checks of a store that can tell cheaply that it is unreachable.
_LOOK: Final = 0.02


class StoreRetry:
    """Handles the time from the first error to the next success, and logs each of the two once.

    Args:
        store: the store that fails.
        observer: receives each error.
        log: the hub's logger.
    """

    def __init__(self, store: Store, observer: Observer, log: Log) -> None:
        self._store = store
        self._observer = observer
        self._log = log
        self._retry = _FIRST_RETRY
        #: The store's last error, None if it works.
        self.problem: str | None = None
        # True if it refuses changes, so that only a change can prove that it works again; True if one has been made.
        self._refuses = self._written = False

    def failed(self, error: Exception) -> None:
        """Record an error of the store."""
        if isinstance(error, StoreChangedError):
            # Not a failure: the store is read again at once, and the repair is logged then.
            return
        if not isinstance(error, StoreError):
            self._leaked(error)
        elif self.problem is None:
            self._log.error("%s%s", error, "" if isinstance(error, OwnershipError) else " Trying again.")
        self.problem = str(error)
        self._refuses, self._written = isinstance(error, StoreWriteRefusedError), False
        self._observer.store_failed()

    async def wait(self) -> None:
        """Wait for the next retry: until the store is reachable again if it can tell, otherwise for a back-off."""
        seconds, self._retry = self._retry, min(2 * self._retry, _LAST_RETRY)
        if not await self._is_unreachable():
            await asyncio.sleep(seconds)
            return
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while loop.time() < end:
            await asyncio.sleep(_LOOK)
            if not await self._is_unreachable():
                return

    async def _is_unreachable(self) -> bool:
        try:
            return await self._store.unreachable()
        except Exception as error:
            self._leaked(error)
            return False

    def _leaked(self, error: Exception) -> None:
        self._log.error("A store's backend raised an error that is not a StoreError.", exc_info=error)

    def wrote(self) -> None:
        """Record that the store has taken a change."""
        self._written = True

    def over(self) -> None:
        """Record that the store works again. After a refused change, only an accepted one proves that."""
        if self._refuses and not self._written:
            return
        if self.problem is not None:
            done = "; all changes that were waiting have been made" if self._written else ""
            self._log.info("The store answers again%s.", done)
        self.problem, self._refuses = None, False
        self._retry = _FIRST_RETRY

"""What the hub's log says while a store does not do what it is asked for."""

from __future__ import annotations

from .errors import OwnershipError, StoreChanged, StoreError
from .observing import Observer
from .replicas import Log


class Outage:
    """The time from the first error to the next success; each is logged once.

    Args:
        observer: is told of each error.
        log: the hub's logger.
    """

    def __init__(self, observer: Observer, log: Log) -> None:
        self._observer = observer
        self._log = log
        #: What the store said last, None if it works.
        self.problem: str | None = None

    def failed(self, error: Exception) -> None:
        """The store could not do what it was asked for."""
        if isinstance(error, StoreChanged):
            # No failure: it is read again at once, and the log says then what is put right.
            return
        if not isinstance(error, StoreError):
            self._log.error("A store of kvproxy leaked an error that it should have named.", exc_info=error)
        elif self.problem is None:
            self._log.error("%s%s", error, "" if isinstance(error, OwnershipError) else " Trying again.")
        self.problem = str(error)
        self._observer.store_failed()

    def over(self) -> None:
        """The store has done all that it was asked for."""
        if self.problem is not None:
            self._log.info("The store answers again; all changes that were waiting have been made.")
        self.problem = None

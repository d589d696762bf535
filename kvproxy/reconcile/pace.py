"""How quickly Traefik loads what it is told, and when to notify it again."""

from __future__ import annotations

from typing import Final

#: A Traefik that has not caught up is told again after this many times as long as it took last, in seconds from the
#: least to the most.
_TIMES_AS_LONG: Final = 4
_LEAST: Final = 2.0
_MOST: Final = 120.0
#: The pause is doubled each time, up to so many seconds if it is not longer anyway.
_LAST_TELLING: Final = 30.0
#: Tellings in vain after which something must be wrong.
_IN_VAIN: Final = 1


class Pace:
    """How quickly Traefik catches up, and when it is to be told again because it does not. Times are in seconds."""

    def __init__(self) -> None:
        self._stalled = 0.0
        self._told = 0.0
        self._took = 0.0
        self._tellings = 0
        self._unseen = False

    @property
    def usual(self) -> float:
        """Seconds after which a Traefik that has made no progress has most likely missed the message."""
        return min(max(_LEAST, _TIMES_AS_LONG * self._took), _MOST)

    @property
    def in_vain(self) -> bool:
        """True if it was notified so often that something must be wrong."""
        return self._tellings > _IN_VAIN

    @property
    def since(self) -> float:
        """When it made progress last, or was told of something new after it had caught up."""
        return self._stalled

    def stalled(self, now: float) -> float:
        """Seconds since the last progress."""
        return now - self._stalled

    def begin(self, now: float) -> None:
        """Say that Traefik, which had caught up, has been told of something new."""
        self._stalled = now

    def not_seen(self) -> None:
        """Say that it could not be asked, so that nobody knows how long it takes for what it is at."""
        self._unseen = True

    def progress(self, now: float, *, all_of_it: bool) -> None:
        """Say that it has loaded something new.

        Args:
            now: when that was seen.
            all_of_it: whether it was told of nothing newer. Else it has followed an earlier message, however often it
                was told again: unless that is learned, one that is slower than it is waited for is told again for ever.
        """
        if not self._unseen and (not self._tellings or not all_of_it):
            self._took = now - self._stalled
        self._unseen = False
        self._stalled = now
        self._tellings = 0

    def due(self, now: float) -> bool:
        """True if it is time to notify it again."""
        pause = max(self.usual, min(self.usual * 2.0**self._tellings, _LAST_TELLING))
        return now - max(self._stalled, self._told) >= pause

    def told(self, now: float) -> None:
        """Say that it has been told again."""
        self._told = now
        self._tellings += 1
